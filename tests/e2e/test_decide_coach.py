# SPDX-License-Identifier: Apache-2.0
"""The coach example as it is served: its own configuration, request, model and contract."""
import json
import random

import pytest

from conftest import ROOT

COACH = ROOT / "examples" / "coach"
PATH = "/api/coach/recommend"
ACTIONS = {"calm": "deposit", "choppy": "hold", "stress": "rebalance"}
CLASSES = ["calm", "choppy", "stress"]
COLUMNS = ["return_5d", "return_20d", "volatility_20d", "drawdown_60d", "correlation_20d"]
REPORT = json.loads((COACH / "report.json").read_text())


@pytest.fixture
def coach(server):
    # The configuration as committed, but for the place of the contract, as the fixture writes it elsewhere.
    text = (COACH / "pacer.yaml").read_text().replace("contract: ", f"contract: {COACH}/")
    return server(config=text, models=COACH / "models")


@pytest.fixture
def example():
    return json.loads((COACH / "request.json").read_text())


def probabilities(server, rows):
    """What the model says over the inference protocol."""
    data = [row[name] for row in rows for name in COLUMNS]
    body = {
        "inputs": [{"name": "input", "datatype": "FP32", "shape": [len(rows), 5], "data": data}],
        "outputs": [{"name": "probabilities"}],
    }
    answer = server.request("POST", "/v2/models/regime/infer", body)
    assert answer.status == 200, answer
    flat = answer.json["outputs"][0]["data"]
    return [flat[i : i + 3] for i in range(0, len(flat), 3)]


def test_the_example_request_gets_a_clear_answer(coach, example):
    answer = coach.request("POST", PATH, example, {"X-Request-Id": "try-1"})
    assert answer.status == 200, answer
    assert answer.headers["Content-Type"].startswith("application/json")
    got = answer.json
    assert list(got) == ["id", "action", "confidence", "reason", "limits", "model"]
    assert got["id"] == "try-1"
    assert got["action"] == "deposit"
    assert got["confidence"] == pytest.approx(REPORT["examples"]["calm"]["probabilities"]["calm"], abs=1e-5)
    assert got["limits"] == {"max_amount": 225.0}
    assert got["model"]["name"] == "regime"
    assert got["reason"]["source"] == "template"
    assert 1 <= len(got["reason"]["factors"]) <= 3
    summary = got["reason"]["summary"]
    assert summary.startswith("Deposit: the model sees calm (76% sure), mainly because the "), summary
    assert "the 20-day volatility (0.00381) is below its usual 0.00796" in summary


@pytest.mark.parametrize("regime", CLASSES)
def test_the_rows_of_the_report_get_their_action(coach, regime):
    row = REPORT["examples"][regime]
    answer = coach.request(
        "POST", PATH, {"user_id": "u", "features": row["features"], "context": {"disposable_income": 10000}}
    )
    assert answer.status == 200, answer
    assert answer.json["action"] == ACTIONS[regime]
    assert answer.json["confidence"] == pytest.approx(row["probabilities"][regime], abs=1e-5)
    assert answer.json["limits"]["max_amount"] == 1000


def test_the_order_of_features_is_irrelevant(coach, example):
    names = list(example["features"])
    seen = set()
    for shift in range(len(names)):
        turned = {name: example["features"][name] for name in names[shift:] + names[:shift]}
        body = {"context": example["context"], "features": turned, "user_id": "u-17"}
        answer = coach.request("POST", PATH, body, {"X-Request-Id": "same"})
        assert answer.status == 200, answer
        seen.add(answer.body)
    assert len(seen) == 1


def test_effects_are_what_the_model_says(coach, example):
    """Each effect is worked out again from the model itself, on made-up rows too, to 1e-6."""
    chance = random.Random(17)
    baseline = REPORT["baseline"]
    rows = [example["features"]] + [REPORT["examples"][name]["features"] for name in CLASSES]
    rows += [{name: value * chance.uniform(-3, 5) for name, value in baseline.items()} for _ in range(20)]
    for row in rows:
        answer = coach.request("POST", PATH, {"user_id": "u", "features": row, "context": {"disposable_income": 1}})
        assert answer.status == 200, answer
        changed = [{**row, name: baseline[name]} for name in COLUMNS]
        as_is, *without = probabilities(coach, [row] + changed)
        chosen = as_is.index(max(as_is))
        sure = max(as_is) >= 0.5
        assert answer.json["action"] == (ACTIONS[CLASSES[chosen]] if sure else "hold")
        assert answer.json["confidence"] == pytest.approx(as_is[chosen], abs=1e-6)
        want = [(name, as_is[chosen] - altered[chosen]) for name, altered in zip(COLUMNS, without)]
        want = sorted((one for one in want if abs(one[1]) >= 0.0005), key=lambda one: -abs(one[1]))[:3]
        got = [(one["feature"], one["effect"]) for one in answer.json["reason"]["factors"]]
        assert [name for name, _ in got] == [name for name, _ in want]
        for (name, effect), (_, expected) in zip(got, want):
            assert effect == pytest.approx(expected, abs=1e-6), name
        for one in answer.json["reason"]["factors"]:
            assert one["value"] == row[one["feature"]]


def test_every_fault_is_listed(coach):
    body = {
        "user_id": None,
        "features": {"return_5d": "x", "return_20d": 0.1, "volatilty_20d": 0.01, "drawdown_60d": [], "extra": 1},
        "context": {"disposable_income": "much"},
        "surprise": True,
    }
    answer = coach.request("POST", PATH, body)
    assert answer.status == 400
    faults = {fault["pointer"]: fault for fault in answer.json["faults"]}
    assert set(faults) == {
        "/user_id",
        "/features/return_5d",
        "/features/volatility_20d",
        "/features/volatilty_20d",
        "/features/drawdown_60d",
        "/features/correlation_20d",
        "/features/extra",
        "/context/disposable_income",
        "/surprise",
    }
    assert faults["/features/return_5d"] == {
        "pointer": "/features/return_5d",
        "expected": "a finite number",
        "got": 'the string "x"',
    }
    assert 'did you mean "volatility_20d"?' in faults["/features/volatilty_20d"]["expected"]
    assert faults["/features/correlation_20d"]["got"] == "nothing"


def test_openapi_and_contracts_tell_the_truth(coach):
    listed = coach.request("GET", "/api/contracts").json
    text = json.dumps(listed)
    assert PATH in text and "Recommendation" in text
    document = coach.request("GET", "/openapi.json").json
    operation = document["paths"][PATH]["post"]
    request_schema = operation["requestBody"]["content"]["application/json"]["schema"]
    example = request_schema["examples"][0]
    assert set(request_schema["properties"]["features"]["required"]) == set(COLUMNS)
    assert coach.request("POST", PATH, example).status == 200
