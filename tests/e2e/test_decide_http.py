# SPDX-License-Identifier: Apache-2.0
"""Decisions over HTTP, on the small models of tests/data/decide.

The model called trend has scores (up, down, 0) for rise, fall and stay, then softmax; its baselines are 0.
"""
import concurrent.futures
import json
import math
import shutil
import threading

import pytest

from conftest import ROOT

MODELS = ROOT / "tests" / "data" / "decide" / "models"
CONFIG = """
threads: 2
decisions:
  - path: /decide
    model: {model}
    features: [up, down]
    actions: {{rise: buy, fall: sell, stay: keep}}
    min_confidence: 0.5
    fallback_action: wait
    limits:
      amount: {{field: context.income, times: 0.25, min: 0, max: 1000}}
    contract: contract.json
"""


@pytest.fixture
def decide(server, tmp_path):
    """decide(model="trend", contract={…}) → a server with one decision at /decide."""

    def start(model="trend", contract=None, config=CONFIG, extra=""):
        models = tmp_path / "models"
        models.mkdir()
        shutil.copy(MODELS / f"{model}.onnx", models)
        (tmp_path / "contract.json").write_text(json.dumps(contract or {"type": "object"}))
        return server(config=config.format(model=model) + extra, models=models)

    return start


def request(up=2, down=1, income=900):
    return {"user_id": "u", "features": {"up": up, "down": down}, "context": {"income": income}}


def softmax(up, down):
    weights = [math.exp(up), math.exp(down), 1]
    return [weight / sum(weights) for weight in weights]


def test_fallback_below_the_threshold(decide):
    server = decide()
    answer = server.request("POST", "/decide", request(up=0.1, down=0.2))
    assert answer.status == 200
    assert answer.json["action"] == "wait"
    assert answer.json["confidence"] == pytest.approx(softmax(0.1, 0.2)[1], abs=1e-6)
    assert "to be safe" in answer.json["reason"]["summary"]
    assert server.request("POST", "/decide", request(up=2, down=0)).json["action"] == "buy"


@pytest.mark.parametrize(
    "income, amount", [(900, 225), (4000, 1000), (1e300, 1000), (-1, 0), (0, 0), (1.2, 0.3), (33.33, 8.3325)]
)
def test_limits_are_clamped(decide, income, amount):
    answer = decide().request("POST", "/decide", request(income=income))
    assert answer.status == 200
    assert answer.json["limits"] == {"amount": amount}


def test_a_broken_contract_never_leaves(decide):
    narrow = {"properties": {"limits": {"properties": {"amount": {"maximum": 800}}}}}
    server = decide(contract=narrow)
    assert server.request("POST", "/decide", request(income=3200)).status == 200
    answer = server.request("POST", "/decide", request(income=3300))
    assert answer.status == 500
    assert answer.json["pointer"] == "/limits/amount"
    assert set(answer.json) == {"error", "pointer"}
    assert "825" not in json.dumps({**answer.json, "error": ""})
    assert server.wait_for_log(r"/decide: an answer would have broken the contract", 5)
    assert server.request("POST", "/decide", request(income=3200)).status == 200


def test_numbers_json_does_not_have(decide):
    server = decide()
    for number in (b"NaN", b"Infinity", b"-Infinity", b"1e999", b"-1e999", b"01", b"+1", b".5"):
        body = b'{"user_id":"u","features":{"up":' + number + b',"down":1},"context":{"income":1}}'
        answer = server.request("POST", "/decide", body, {"Content-Type": "application/json"})
        assert answer.status == 400, number
        assert answer.json["error"]
    assert server.request("POST", "/decide", request(up=1e39)).status == 422
    assert server.request("POST", "/decide", request()).status == 200


def test_unicode(decide):
    server = decide()
    body = request()
    body["user_id"] = "Zoë 日本 😀"
    assert server.request("POST", "/decide", body).status == 200
    body["features"]["höhe/~😀"] = "ü"
    answer = server.request("POST", "/decide", body)
    assert answer.status == 400
    assert answer.json["faults"] == [
        {"pointer": "/features/höhe~1~0😀", "expected": "no member of this name", "got": 'the string "ü"'}
    ]
    broken = json.dumps(request()).encode().replace(b'"u"', b'"\xff"')
    assert server.request("POST", "/decide", broken, {"Content-Type": "application/json"}).status == 400


def test_too_much_and_too_deep(decide):
    server = decide(extra="http:\n  body_bytes_max: 64KiB\n")
    assert server.request("POST", "/decide", b"[" * 50000, {"Content-Type": "application/json"}).status == 400
    assert server.request("POST", "/decide", b" " * 100000, {"Content-Type": "application/json"}).status == 413
    many = {**request(), "features": {f"f{i}": i for i in range(2000)}}
    answer = server.request("POST", "/decide", many)
    assert answer.status == 400
    assert len(answer.json["faults"]) == 100
    assert answer.json["faults_not_listed"] == 1902
    assert server.request("POST", "/decide", request()).status == 200


def test_only_post(decide):
    server = decide()
    answer = server.request("GET", "/decide")
    assert answer.status == 405
    assert "POST" in answer.headers["Allow"]


def test_a_model_that_no_longer_fits_is_503_until_it_does(decide, tmp_path):
    server = decide()
    live = tmp_path / "models" / "trend.onnx"
    assert server.request("POST", "/decide", request()).status == 200
    for model, status in (("other", 503), ("turned", 200), ("trend", 200)):
        shutil.copy(MODELS / f"{model}.onnx", tmp_path / "next.onnx")
        (tmp_path / "next.onnx").rename(live)
        assert server.request("POST", "/v2/repository/models/trend/load").status == 200
        answer = server.request("POST", "/decide", request())
        assert answer.status == status, (model, answer)
        if status == 200:
            assert answer.json["confidence"] == pytest.approx(softmax(2, 1)[0], abs=1e-6)
        else:
            assert "'flat'" in answer.json["error"]


def one_of_many(server, i):
    """Sends request i, whose answer nobody else gets, and says what is wrong with it, if anything."""
    up, down, income = (i % 97) / 20, (i % 89) / 30, i
    kind = i % 5
    if kind == 3:
        body, status = {**request(up, down, income), f"extra-{i}": i}, 400
    elif kind == 4:
        body, status = request(1e39, down, income), 422
    else:
        body, status = request(up, down, income), 200
    answer = server.request("POST", "/decide", body, {"X-Request-Id": f"r-{i}"})
    if answer.status != status or answer.headers["X-Request-Id"] != f"r-{i}":
        return f"{i}: {answer}"
    got = answer.json
    if status == 400:
        return None if [one["pointer"] for one in got["faults"]] == [f"/extra-{i}"] else f"{i}: {answer}"
    if status == 422:
        return None if got["faults"][0]["pointer"] == "/features/up" else f"{i}: {answer}"
    odds = softmax(up, down)
    right = (
        got["id"] == f"r-{i}"
        and abs(got["confidence"] - max(odds)) < 1e-6
        and got["limits"]["amount"] == min(income / 4, 1000)
    )
    return None if right else f"{i}: {answer}"


def test_a_thousand_at_once_each_get_their_own_answer(decide):
    server = decide()
    with concurrent.futures.ThreadPoolExecutor(64) as pool:
        wrong = [fault for fault in pool.map(lambda i: one_of_many(server, i), range(1000)) if fault]
    assert not wrong, wrong[:5]


def test_a_dear_model_serves_many(decide):
    server = decide(model="dear")
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        wrong = [fault for fault in pool.map(lambda i: one_of_many(server, i), range(100)) if fault]
    assert not wrong, wrong[:5]


def test_reloads_under_load(decide, tmp_path):
    """While a model is replaced over and over, every answer is right for one of its versions."""
    server = decide()
    over = threading.Event()
    seen = set()

    def ask(i):
        up, down = 2 + (i % 7) / 7, 1
        while not over.is_set():
            answer = server.request("POST", "/decide", request(up, down))
            seen.add(answer.status)
            if answer.status == 503 and "'flat'" in answer.json["error"]:
                continue
            if answer.status != 200:
                return str(answer)
            # The effect of up: against 0 (trend) or 1 (turned).
            effect = answer.json["reason"]["factors"][0]["effect"]
            ways = [softmax(up, down)[0] - softmax(usual, down)[0] for usual in (0, 1)]
            if min(abs(effect - way) for way in ways) > 1e-6:
                return str(answer)
        return None

    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        asked = [pool.submit(ask, i) for i in range(6)]
        for i in range(30):
            shutil.copy(MODELS / f"{('turned', 'other', 'trend')[i % 3]}.onnx", tmp_path / "next.onnx")
            (tmp_path / "next.onnx").rename(tmp_path / "models" / "trend.onnx")
            assert server.request("POST", "/v2/repository/models/trend/load").status == 200
            if i % 3 == 1:
                assert server.request("POST", "/decide", request()).status == 503
        over.set()
        wrong = [one.result() for one in asked if one.result()]
    assert not wrong, wrong[:3]
    assert 200 in seen


# ---- pacer check ----------------------------------------------------------------------------------


def test_check_finds_a_contract_that_no_answer_can_satisfy(run, tmp_path):
    models = tmp_path / "models"
    models.mkdir()
    shutil.copy(MODELS / "trend.onnx", models)
    file = tmp_path / "pacer.yaml"
    file.write_text("models_dir: models\n" + CONFIG.format(model="trend"))
    contract = tmp_path / "contract.json"
    contract.write_text('{"type": "object"}')
    assert run("check", file).returncode == 0
    contract.write_text('{"properties": {"action": {"enum": ["sell", "keep", "wait"]}}}')
    done = run("check", file)
    said = (done.stdout + done.stderr).decode()
    assert done.returncode != 0
    assert "'buy'" in said and "pacer.yaml:13:15" in said, said
