# SPDX-License-Identifier: Apache-2.0
"""Models that change while they are served: by watching their directory, by the repository API, by SIGHUP.

Whatever the way, a model is replaced whole or not at all, no request fails for it, and what was refused is said once.
"""
import concurrent.futures
import json
import os
import pathlib
import re
import shutil
import signal
import threading
import time

import pytest

from conftest import MODELS, ROOT

COACH = ROOT / "examples" / "coach"
REQUEST = json.loads((COACH / "request.json").read_text())
SANITIZER_BUILD = re.compile(rb"__(asan|tsan|ubsan)_")
LOOK_MS = 100
WATCH = f"watch_models_ms: {LOOK_MS}\n"
# Refused by our own checks, by ONNX Runtime's, or by the first run.
MALFORMED = ["truncated", "empty", "notonnx", "noise", "no_graph", "future_opset", "future_ir", "unknown_op",
             "unknown_domain", "type_mismatch", "missing_input", "cycle", "huge_dims", "external_missing",
             "external_up", "external_abs", "external_outside", "zipmap"]


def decision():
    return f"""
decisions:
  - path: /api/coach/recommend
    model: regime
    features: [return_5d, return_20d, volatility_20d, drawdown_60d, correlation_20d]
    actions: {{calm: deposit, choppy: hold, stress: rebalance}}
    limits:
      max_amount: {{field: context.disposable_income, times: 0.25, min: 0, max: 1000}}
    contract: {COACH / "contracts" / "recommendation.schema.json"}
"""


def put(source, target):
    """As a careful deployment does: a copy beside it, then a rename."""
    beside = target.parent / f".{target.name}.new"
    if isinstance(source, bytes):
        beside.write_bytes(source)
    else:
        shutil.copy(source, beside)
    os.replace(beside, target)


def put_model(name, target):
    put(MODELS / f"{name}.onnx", target)


def variant(model, text):
    """The same model with another producer_version: an unlike file that answers alike."""
    return model.read_bytes() + b"\x1a" + bytes([len(text)]) + text.encode()


def added(one, model="plus1", version=None):
    """What the model adds to a row of ones, and the version that says so."""
    path = f"/v2/models/{model}" + (f"/versions/{version}" if version else "") + "/infer"
    body = {"inputs": [{"name": "X", "shape": [1, 4], "datatype": "FP32", "data": [1, 1, 1, 1]}]}
    answer = one.request("POST", path, body)
    assert answer.status == 200, answer
    return answer.json["outputs"][0]["data"][0] - 1


def index(one):
    return {(line["name"], line["version"]): line for line in one.request("POST", "/v2/repository/index", {}).json}


def until(one, check, seconds=20):
    end = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < end, one.log
        assert one.process.poll() is None, one.log
        time.sleep(0.02)


def logged(one, pattern):
    return len(re.findall(pattern, one.log))


def some_looks():
    time.sleep(6 * LOOK_MS / 1000)


# --- what is taken --------------------------------------------------------------------------------------
def test_changed_new_and_removed_models_are_taken(server, models):
    directory = models("plus1", "simple")
    one = server(config=WATCH, models=directory)
    assert added(one) == 1
    put_model("plus2", directory / "plus1.onnx")
    until(one, lambda: added(one) == 2)
    one.wait_for_log(r"server: .*models: plus1\.onnx changed\n")
    one.wait_for_log("server: changed models are served")
    put_model("mixed", directory / "mixed.onnx")
    until(one, lambda: one.request("GET", "/v2/models/mixed/ready").status == 200)
    assert re.search(r"(?m)server: .*models: mixed\.onnx is new$", one.log)
    (directory / "simple.onnx").unlink()
    until(one, lambda: one.request("GET", "/v2/models/simple/ready").status == 404)
    assert re.search(r"(?m)server: .*models: simple\.onnx is gone$", one.log)
    assert set(index(one)) == {("plus1", "1"), ("mixed", "1")}
    assert "error" not in one.log
    some_looks()
    assert logged(one, "changed models are served") == 3


def test_nothing_is_watched_unless_it_is_asked_for(server, models):
    directory = models("plus1")
    one = server(models=directory)
    put_model("plus2", directory / "plus1.onnx")
    some_looks()
    assert added(one) == 1
    assert one.stop() == 0
    flagged = server(models=directory, args=["--watch-models", f"{LOOK_MS}ms"])
    put_model("plus1", directory / "plus1.onnx")
    until(flagged, lambda: added(flagged) == 1)


def test_a_reload_switches_the_watch(server, models):
    directory = models("plus1")
    one = server(models=directory)
    for config, taken in ((WATCH, True), ("", False), (WATCH, True)):
        before = logged(one, "server: reloaded")
        one.config.write_text(config)
        one.process.send_signal(signal.SIGHUP)
        until(one, lambda: logged(one, "server: reloaded") > before)
        wanted = 3 - added(one)
        put_model(f"plus{wanted:.0f}", directory / "plus1.onnx")
        if taken:
            until(one, lambda: added(one) == wanted)
        else:
            some_looks()
            assert added(one) == 3 - wanted


def test_versions_are_served_side_by_side(server, tmp_path):
    directory = tmp_path / "versions"
    (directory / "m" / "1").mkdir(parents=True)
    put_model("plus1", directory / "m" / "1" / "model.onnx")
    one = server(config=WATCH, models=directory)
    assert added(one, "m") == 1
    (directory / "m" / "2").mkdir()
    put_model("plus2", directory / "m" / "2" / "model.onnx")
    until(one, lambda: added(one, "m") == 2)  # the highest, if none is asked for
    assert added(one, "m", 1) == 1 and added(one, "m", 2) == 2
    assert one.request("GET", "/v2/models/m").json["versions"] == ["1", "2"]
    shutil.rmtree(directory / "m" / "2")
    until(one, lambda: one.request("GET", "/v2/models/m/versions/2/ready").status == 404)
    assert added(one, "m") == 1
    put(b"version_policy { specific { versions: 3 } }", directory / "m" / "config.pbtxt")
    (directory / "m" / "3").mkdir()
    put_model("plus2", directory / "m" / "3" / "model.onnx")
    until(one, lambda: set(index(one)) == {("m", "3")})
    assert added(one, "m") == 2


def test_weights_beside_the_model_are_watched(server, models):
    directory = models("external_inside")
    shutil.copy(MODELS / "external_inside.bin", directory)
    one = server(config=WATCH, models=directory)
    assert added(one, "external_inside") == 1
    put(bytes(16), directory / "external_inside.bin")  # four zeros
    until(one, lambda: added(one, "external_inside") == 0)


def test_links_that_change_over_are_followed(server, tmp_path):
    directory = tmp_path / "volume"
    for name, model in (("..1", "plus1"), ("..2", "plus2")):
        (directory / name).mkdir(parents=True)
        shutil.copy(MODELS / f"{model}.onnx", directory / name / "m.onnx")
    (directory / "..data").symlink_to("..1")
    (directory / "m.onnx").symlink_to("..data/m.onnx")
    one = server(config=WATCH, models=directory)
    assert added(one, "m") == 1
    (directory / "..new").symlink_to("..2")
    os.replace(directory / "..new", directory / "..data")
    until(one, lambda: added(one, "m") == 2)


def test_a_model_unloaded_on_request_stays_unloaded(server, models):
    directory = models("plus1", "simple")
    one = server(config=WATCH, models=directory)
    assert one.request("POST", "/v2/repository/models/plus1/unload", {}).status == 200
    put_model("plus2", directory / "plus1.onnx")
    put_model("mixed", directory / "mixed.onnx")
    until(one, lambda: one.request("GET", "/v2/models/mixed/ready").status == 200)
    assert index(one)[("plus1", "1")]["reason"] == "unloaded"
    assert one.request("POST", "/v2/repository/models/plus1/load", {}).status == 200
    assert added(one) == 2


def test_the_configuration_is_read_on_sighup_only(server, models):
    directory = models("plus1")
    one = server(config=WATCH, models=directory)
    one.config.write_text(WATCH + "server_name: other\nno_such_key: 1\n")
    put_model("plus2", directory / "plus1.onnx")
    until(one, lambda: added(one) == 2)
    assert one.request("GET", "/v2").json["name"] == "pacer"
    assert "no_such_key" not in one.log


def test_a_file_that_is_no_model_changes_nothing(server, models):
    directory = models("plus1")
    shutil.copy(COACH / "models" / "regime.onnx", directory)
    one = server(config=WATCH + decision(), models=directory)
    assert one.request("POST", "/api/coach/recommend", REQUEST).status == 200
    (directory / "notes.txt").write_text("for people")
    one.wait_for_log("server: no model has changed")
    answers = r'pacer_decision_answers_total\{path="/api/coach/recommend"\} 1'
    assert re.search(answers, one.request("GET", "/metrics").body.decode())  # it is the same decision as before
    some_looks()
    assert logged(one, "no model has changed") == 1


def test_a_load_by_request_leaves_the_watch_nothing_to_do(server, models):
    directory = models("plus1")
    one = server(config=WATCH, models=directory)
    put_model("plus2", directory / "plus1.onnx")
    assert one.request("POST", "/v2/repository/models/plus1/load", {}).status == 200
    assert added(one) == 2
    some_looks()
    assert "changed models are served" not in one.log and "error" not in one.log


# --- what is not taken, or not yet ----------------------------------------------------------------------
def test_a_file_that_is_still_being_copied_is_left_alone(server, models):
    directory = models("plus1")
    one = server(config="watch_models_ms: 400\n", models=directory)
    model = variant(MODELS / "plus2.onnx", "x" * 120)
    with open(directory / "plus1.onnx", "wb", buffering=0) as file:  # in place: it is cut short at once
        for i in range(0, len(model), len(model) // 60):
            assert added(one) == 1
            file.write(model[i:i + len(model) // 60])
            time.sleep(0.02)
    until(one, lambda: added(one) == 2)
    assert "error" not in one.log, one.log
    assert logged(one, "changed models are served") == 1


def test_a_copy_that_pauses_is_refused_once_and_taken_when_it_is_whole(server, models):
    directory = models("plus1")
    one = server(config=WATCH, models=directory)
    model = (MODELS / "plus2.onnx").read_bytes()
    with open(directory / "plus1.onnx", "wb", buffering=0) as file:
        file.write(model[:len(model) // 2])
        one.wait_for_log(r"error repository: model 'plus1' version 1: .*; the one loaded before goes on serving")
        some_looks()
        assert added(one) == 1
        assert logged(one, "error repository") == 1
        file.write(model[len(model) // 2:])
    until(one, lambda: added(one) == 2)
    assert index(one)[("plus1", "1")]["reason"] == ""


def test_a_refused_file_is_not_tried_again_until_it_changes(server, models):
    directory = models("plus1", "simple")
    one = server(config=WATCH, models=directory)
    put_model("truncated", directory / "plus1.onnx")
    one.wait_for_log("error repository: model 'plus1'")
    put_model("unknown_op", directory / "new.onnx")
    one.wait_for_log("error repository: model 'new'")
    for i in range(3):  # others come and go
        put_model("mixed", directory / f"other{i}.onnx")
        until(one, lambda: one.request("GET", f"/v2/models/other{i}/ready").status == 200)
        (directory / f"notes{i}.txt").write_text("for people")
        until(one, lambda: f"notes{i}.txt is new" in one.log)
    some_looks()
    assert logged(one, "error repository: model 'plus1'") == 1
    assert logged(one, "error repository: model 'new'") == 1
    assert added(one) == 1
    put_model("future_opset", directory / "plus1.onnx")
    until(one, lambda: logged(one, "error repository: model 'plus1'") == 2)
    some_looks()
    assert logged(one, "error repository: model 'plus1'") == 2
    assert added(one) == 1


def bytes_read(one):
    """What the process has read so far, from files and connections."""
    return int(re.search(r"rchar: (\d+)", pathlib.Path(f"/proc/{one.process.pid}/io").read_text()).group(1))


def test_a_refused_file_is_not_even_read_again(server, models):
    directory = models("plus1")
    one = server(config=WATCH, models=directory)
    put(bytes(64 << 20), directory / "large.onnx")
    one.wait_for_log("error repository: model 'large'")
    before = bytes_read(one)
    put_model("plus2", directory / "plus1.onnx")
    until(one, lambda: added(one) == 2)
    assert bytes_read(one) - before < 64 << 20
    put(bytes(65 << 20), directory / "large.onnx")
    until(one, lambda: bytes_read(one) - before > 64 << 20)


def test_a_decision_keeps_the_model_that_fits_it(server, models):
    directory = models("plus1")
    regime = directory / "regime.onnx"
    shutil.copy(COACH / "models" / "regime.onnx", regime)
    one = server(config=WATCH + decision(), models=directory)

    def version():
        answer = one.request("POST", "/api/coach/recommend", REQUEST)
        assert answer.status == 200, answer
        return answer.json["model"]["version"]

    before = version()
    put_model("plus2", directory / "plus1.onnx")
    put_model("simple", regime)  # a fine model, but not for this decision
    one.wait_for_log("error server: changed models are not served: what ran before goes on unchanged")
    assert re.search(r"error config: .*regime", one.log)
    some_looks()
    assert version() == before
    assert added(one) == 1  # all or nothing
    assert one.request("GET", "/v2/health/ready").status == 200
    assert logged(one, "changed models are not served") == 1
    regime.unlink()  # nor may it go
    until(one, lambda: logged(one, "changed models are not served") == 2)
    assert version() == before
    put(variant(COACH / "models" / "regime.onnx", "2"), regime)
    until(one, lambda: version() != before)
    until(one, lambda: added(one) == 2)


def test_a_directory_that_goes_away_takes_nothing_with_it(server, models, tmp_path):
    directory = models("plus1")
    one = server(config=WATCH, models=directory)
    directory.rename(tmp_path / "elsewhere")
    one.wait_for_log("warn +server: the models directory .* cannot be read: .*; what is loaded goes on serving")
    some_looks()
    assert logged(one, "cannot be read") == 1
    assert added(one) == 1
    (tmp_path / "elsewhere").rename(directory)
    put_model("plus2", directory / "plus1.onnx")
    until(one, lambda: added(one) == 2)


# --- a model that is refused never replaces a good one ---------------------------------------------------
def by_watch(one, _):
    end = time.monotonic() + 20
    before = len(one.stderr)
    while not re.search("server: changed models are|server: no model has changed", "\n".join(one.stderr[before:])):
        assert time.monotonic() < end and one.process.poll() is None, one.log
        time.sleep(0.01)


def by_sighup(one, _):
    before = logged(one, "server: reloaded")
    one.process.send_signal(signal.SIGHUP)
    until(one, lambda: logged(one, "server: reloaded") > before)


def by_request(one, bad):
    answer = one.request("POST", "/v2/repository/models/plus1/load", {})
    assert answer.status == (500 if bad else 200), answer
    if bad:
        assert "failed to load 'plus1'" in answer.json["error"]


@pytest.mark.parametrize("change", [by_watch, by_sighup, by_request])
def test_a_malformed_model_never_replaces_a_good_one(change, server, models):
    directory = models("plus1")
    one = server(config=WATCH if change == by_watch else "", models=directory)
    for round_number, name in enumerate(MALFORMED):
        good = 1 + round_number % 2
        assert added(one) == good, name
        put_model(name, directory / "plus1.onnx")
        change(one, True)
        line = index(one)[("plus1", "1")]
        assert line["state"] == "READY" and "the file that is there now was refused" in line["reason"], (name, line)
        assert one.request("GET", "/v2/models/plus1/ready").status == 200
        assert one.request("GET", "/v2/health/ready").status == 200
        assert added(one) == good, name
        put_model(f"plus{3 - good}", directory / "plus1.onnx")
        change(one, False)
        assert index(one)[("plus1", "1")]["reason"] == ""
    assert logged(one, r"model 'plus1' .*; the one loaded before goes on serving") == len(MALFORMED)


def test_a_good_model_torn_at_any_place_never_replaces_itself(server, models):
    directory = models("plus1")
    one = server(models=directory)
    model = (MODELS / "plus1.onnx").read_bytes()
    for end in range(0, len(model), 7):
        put(model[:end], directory / "plus1.onnx")
        answer = one.request("POST", "/v2/repository/models/plus1/load", {})
        assert answer.status in (200, 500), answer  # a cut between two fields may leave a whole model
        if answer.status == 500:
            assert added(one) == 1
        assert one.process.poll() is None


# --- under load -----------------------------------------------------------------------------------------
class Load:
    """Connections that ask without a pause; each request has a number of its own, so that no answer can be taken for
    another's."""

    def __init__(self, one, model, n=4):
        self.one, self.model = one, model
        self.over = threading.Event()
        self.seen, self.faults, self.n = set(), [], 0
        self.pool = concurrent.futures.ThreadPoolExecutor(n)
        self.asking = [self.pool.submit(self.ask, i) for i in range(n)]

    def ask(self, worker):
        connection = self.one.connect()
        i = 0
        while not self.over.is_set():
            i += 1
            x = worker * 1_000_000 + i  # exact in FP32
            rows = 1 + i % 3
            body = {"id": f"{worker}-{i}", "inputs": [{"name": "X", "shape": [rows, 4], "datatype": "FP32",
                                                       "data": [x] * 4 * rows}]}
            connection.request("POST", f"/v2/models/{self.model}/infer", json.dumps(body))
            answer = connection.getresponse()
            text = answer.read()
            if answer.status != 200:
                self.faults.append(text)
                continue
            got = json.loads(text)
            plus = {y - x for y in got["outputs"][0]["data"]}
            if got["id"] != body["id"] or len(got["outputs"][0]["data"]) != 4 * rows or len(plus) != 1:
                self.faults.append(text)
            self.seen.add((got["model_version"], *plus))
            self.n += 1
        connection.close()

    def end(self):
        self.over.set()
        for future in self.asking:
            future.result()
        self.pool.shutdown()
        assert self.faults == []
        assert self.n > 100
        return self.seen


def test_versions_come_and_go_under_load(server, tmp_path):
    directory = tmp_path / "versions"
    (directory / "m" / "1").mkdir(parents=True)
    (directory / "m" / ".2").mkdir()
    put_model("plus1", directory / "m" / "1" / "model.onnx")
    put_model("plus2", directory / "m" / ".2" / "model.onnx")
    one = server(config="threads: 2\nwatch_models_ms: 20ms\n", models=directory)
    load = Load(one, "m")
    hidden, shown = directory / "m" / ".2", directory / "m" / "2"
    for _ in range(8):
        hidden.rename(shown)
        until(one, lambda: ("m", "2") in index(one))
        shown.rename(hidden)
        until(one, lambda: ("m", "2") not in index(one))
    assert load.end() == {("1", 1), ("2", 2)}  # every answer is that of the version it names


def test_a_model_is_replaced_by_request_under_load(server, models):
    directory = models("plus1")
    one = server(config="threads: 2\n", models=directory)
    load = Load(one, "plus1")
    for i in range(100):
        wanted = 2 - i % 2
        put_model(f"plus{wanted}", directory / "plus1.onnx")
        assert one.request("POST", "/v2/repository/models/plus1/load", {}).status == 200
        assert added(one) == wanted  # from the answer on it is the new one
    assert load.end() == {("1", 1), ("1", 2)}


def test_a_decisions_model_is_replaced_under_load(server, models):
    directory = models()
    regime = directory / "regime.onnx"
    shutil.copy(COACH / "models" / "regime.onnx", regime)
    one = server(config="threads: 2\nwatch_models_ms: 20ms\n" + decision(), models=directory)
    over = threading.Event()
    versions = set()

    def ask():
        connection = one.connect()
        n = 0
        while not over.is_set():
            connection.request("POST", "/api/coach/recommend", json.dumps(REQUEST))
            answer = connection.getresponse()
            text = answer.read()
            assert answer.status == 200, text
            versions.add(json.loads(text)["model"]["version"])
            n += 1
        connection.close()
        return n

    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        asking = [pool.submit(ask) for _ in range(3)]
        try:
            for i in range(5):
                put(variant(COACH / "models" / "regime.onnx", f"v{i}"), regime)
                until(one, lambda: logged(one, "changed models are served") == i + 1)
        finally:
            over.set()
        assert all(future.result() > 10 for future in asking)
    assert len(versions) == 6


def test_memory_is_given_back_after_a_thousand_loads(server, models):
    directory = models("plus1")
    one = server(config="threads: 1\nworkers: 1\n", models=directory)
    if SANITIZER_BUILD.search(pathlib.Path(one.process.args[0]).read_bytes()):
        pytest.skip("sanitizers keep freed memory")

    def resident_kib():
        return int(re.search(r"VmRSS:\s+(\d+)", pathlib.Path(f"/proc/{one.process.pid}/status").read_text()).group(1))

    def load(times):
        for i in range(times):
            put_model(f"plus{1 + i % 2}", directory / "plus1.onnx")
            assert one.request("POST", "/v2/repository/models/plus1/load", {}).status == 200
            assert added(one) == 1 + i % 2

    load(200)
    warm = resident_kib()
    for _ in range(3):  # the allocator may take another arena once; a leak grows every time
        load(1000)
        grown, warm = resident_kib() - warm, resident_kib()
        if grown < 2048:
            break
    assert grown < 2048, f"grown by {grown} KiB to {warm} KiB"  # two KiB a load would be seen
