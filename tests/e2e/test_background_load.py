# SPDX-License-Identifier: Apache-2.0
"""The start: the server listens at once, says that its models are being loaded, and is ready when all are.

A model takes long here because it is large: weights of a gigabyte (a sparse file, hashed like any other), or a graph of
hundreds of thousands of nodes.
"""
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time

import pytest

from conftest import MODELS, ROOT, Server, example_request

COACH = ROOT / "examples" / "coach"
REQUEST = json.loads((COACH / "request.json").read_text())


def decision(more=""):
    return f"""
decisions:
  - path: /api/coach/recommend
    model: regime
    features: [return_5d, return_20d, volatility_20d, drawdown_60d, correlation_20d]
    actions: {{calm: deposit, choppy: hold, stress: rebalance}}
    limits:
      max_amount: {{field: context.disposable_income, times: 0.25, min: 0, max: 1000}}
    contract: {COACH / "contracts" / "recommendation.schema.json"}
{more}"""


@pytest.fixture
def large(models):
    """large(GiB) → a directory of models of which one has so much weights; a GiB takes one to five seconds."""

    def make(gib=1.0):
        directory = models("plus1", "external_inside")
        shutil.copy(COACH / "models" / "regime.onnx", directory)
        weights = directory / "external_inside.bin"
        shutil.copy(MODELS / "external_inside.bin", weights)
        os.truncate(weights, int(gib * (1 << 30)))
        return directory

    return make


def varint(n):
    out = b""
    while n > 0x7F:
        out += bytes([n & 0x7F | 0x80])
        n >>= 7
    return out + bytes([n])


def field(number, value):
    """One field of a protobuf message: a number, or text, bytes or a message."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    value = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(value)) + value


def chain(n_nodes):
    """An ONNX model of that many operators in a row: X FP32 [n,4] → Y."""
    shape = field(1, field(2, "n")) + field(1, field(1, 4))
    names = ["X", *(f"v{i}" for i in range(1, n_nodes)), "Y"]
    nodes = b"".join(field(1, field(1, a) + field(2, b) + field(4, "Sin")) for a, b in zip(names, names[1:]))
    ends = [field(1, name) + field(2, field(1, field(1, 1) + field(2, shape))) for name in ("X", "Y")]
    graph = nodes + field(2, "chain") + field(11, ends[0]) + field(12, ends[1])
    return field(1, 8) + field(7, graph) + field(8, field(1, "") + field(2, 13))


def is_loading(one):
    return "ready on" not in one.log


def test_it_answers_while_models_are_loaded_and_tells_the_truth(server, large):
    one = server(config=decision(), models=large(), wait=False)
    one.wait_listening()
    assert one.request("GET", "/v2/health/live").status == 200
    assert one.request("GET", "/v2").status == 200
    assert one.request("GET", "/v2/health/ready").status == 503
    ready = one.request("GET", "/v2/models/plus1/ready")
    assert (ready.status, ready.json) == (503, {"name": "plus1", "ready": False})
    index = one.request("POST", "/v2/repository/index", {}).json
    assert [(line["name"], line["version"], line["state"]) for line in index] == [
        ("external_inside", "1", "LOADING"), ("plus1", "1", "LOADING"), ("regime", "1", "LOADING")]
    assert one.request("POST", "/v2/repository/index", {"ready": True}).json == []
    for method, path, body in (("POST", "/v2/models/plus1/infer", example_request("plus1")),
                               ("POST", "/v2/models/plus1/versions/1/infer", example_request("plus1")),
                               ("POST", "/api/coach/recommend", REQUEST), ("GET", "/v2/models/regime", None),
                               ("GET", "/openapi.json", None), ("GET", "/api/contracts", None)):
        answer = one.request(method, path, body)
        assert (answer.status, answer.headers["Retry-After"]) == (503, "1"), (path, answer)
        assert "still being loaded" in answer.json["error"], (path, answer)
    assert one.request("POST", "/v2/models/nobody/infer", example_request("plus1")).status == 404
    assert one.request("GET", "/api/coach/recommend").status == 405
    metrics = one.request("GET", "/metrics").body.decode()
    assert re.findall(r'pacer_model_ready\{model="(\w+)",version="1"\} (\d)', metrics) == [
        ("external_inside", "0"), ("plus1", "0"), ("regime", "0")]
    assert is_loading(one)
    one.wait_ready()
    assert {line["state"] for line in one.request("POST", "/v2/repository/index", {}).json} == {"READY"}
    assert one.request("POST", "/api/coach/recommend", REQUEST).status == 200
    assert one.request("POST", "/v2/models/plus1/infer", example_request("plus1")).status == 200
    assert one.request("GET", "/openapi.json").json["paths"]["/api/coach/recommend"]


def test_what_was_said_to_be_ready_is_ready_on_every_loop(server):
    for _ in range(5):
        one = server(config="threads: 4\n" + decision(), models=COACH / "models")
        statuses = {one.request("POST", "/api/coach/recommend", REQUEST).status for _ in range(20)}
        assert statuses == {200}
        assert one.stop() == 0


def test_the_service_manager_hears_of_readiness_only_when_it_is_true(server, large, tmp_path):
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(path))
        one = server(models=large(), env={"NOTIFY_SOCKET": str(path)}, wait=False)
        one.wait_listening()
        manager.settimeout(0.3)
        with pytest.raises(socket.timeout):
            manager.recv(200)
        assert is_loading(one)
        manager.settimeout(30)
        assert manager.recv(200) == b"READY=1"
        one.wait_ready()


def test_many_models_are_loaded_in_the_background_too(server, tmp_path):
    directory = tmp_path / "many"
    directory.mkdir()
    for i in range(200):
        shutil.copy(MODELS / "classifier.onnx", directory / f"m{i:03}.onnx")
    one = server(models=directory, wait=False)
    one.wait_listening()
    assert one.request("GET", "/v2/health/live").status == 200
    index = one.request("POST", "/v2/repository/index", {}).json
    assert [line["name"] for line in index] == [f"m{i:03}" for i in range(200)]
    one.wait_ready()
    assert len(one.request("POST", "/v2/repository/index", {"ready": True}).json) == 200


# --- signals meanwhile ----------------------------------------------------------------------------------
def test_a_sighup_while_loading_is_remembered(server, large):
    one = server(config=decision(), models=large(0.5), wait=False)
    one.wait_listening()
    one.config.write_text("server_name: other\n" + decision())
    for _ in range(3):
        one.process.send_signal(signal.SIGHUP)
    time.sleep(0.1)
    assert is_loading(one)
    one.wait_for_log("server: reloaded")
    assert one.log.index("ready on") < one.log.index("server: reloaded")
    assert one.request("GET", "/v2").json["name"] == "other"
    assert one.log.count("server: reloaded") == 1


def seconds_to_stop(one):
    assert is_loading(one)
    began = time.monotonic()
    assert one.stop() == 0
    assert "drained" in one.log and is_loading(one), one.log
    assert "error" not in one.log, one.log
    return time.monotonic() - began


def test_a_sigterm_while_a_large_file_is_loaded_ends_at_once(server, large):
    one = server(models=large(4), wait=False)
    one.wait_listening()
    assert seconds_to_stop(one) < 2


def test_a_sigterm_while_many_models_are_loaded_ends_at_once(server, tmp_path):
    directory = tmp_path / "many"
    directory.mkdir()
    for i in range(300):
        shutil.copy(MODELS / "slow.onnx", directory / f"m{i:03}.onnx")
    one = server(models=directory, wait=False)
    one.wait_listening()
    assert seconds_to_stop(one) < 4


def test_a_sigterm_while_onnx_runtime_cannot_be_interrupted_ends_soon(server, models):
    directory = models()
    (directory / "chain.onnx").write_bytes(chain(400_000))
    one = server(models=directory, wait=False)
    one.wait_listening()
    time.sleep(0.5)  # by now it has read the file
    assert seconds_to_stop(one) < 5
    assert "leaving without it" in one.log


def test_a_sigterm_ends_a_reload_that_loads_a_large_file(server, models, large):
    one = server(models=models("plus1"))
    large(4)
    one.process.send_signal(signal.SIGHUP)
    time.sleep(0.3)
    began = time.monotonic()
    assert one.stop() == 0
    assert time.monotonic() - began < 2
    assert "reloaded" not in one.log


# --- what stands in its way -----------------------------------------------------------------------------
def test_decisions_that_do_not_fit_end_the_process_after_all(pacer, large, tmp_path):
    file = tmp_path / "own.yaml"
    file.write_text("listen: 127.0.0.1:0\nmodels_dir: models\n" + decision().replace("calm:", "clam:"))
    large(0.5)
    one = Server(pacer, file, [], None)
    one.wait_listening()
    with socket.create_connection(("127.0.0.1", one.port), timeout=30) as client:
        assert one.process.wait(30) == 3
        assert client.recv(1) == b""
    assert one.stop() == 3
    checked = subprocess.run([pacer, "check", file], capture_output=True, text=True, timeout=60, check=False)
    fault = re.search(rf"{re.escape(str(file))}:\d+:\d+: .*", checked.stdout + checked.stderr).group()
    assert fault in one.log
    assert "ready on" not in one.log and "drained" not in one.log


def test_a_port_in_use_is_noticed_before_models_are_loaded(pacer, large):
    directory = large(4)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        began = time.monotonic()
        done = subprocess.run([pacer, "serve", "--listen", address, "--models", directory], capture_output=True,
                              text=True, timeout=30, check=False)
    assert done.returncode == 1 and "another process uses it" in done.stderr
    assert time.monotonic() - began < 2


def test_a_load_that_is_asked_for_meanwhile_waits_for_its_turn(server, large):
    one = server(models=large(0.5), wait=False)
    one.wait_listening()
    assert one.request("POST", "/v2/repository/models/plus1/load", {}).status == 200
    assert one.request("GET", "/v2/models/plus1/ready").status == 200


def test_a_model_that_fails_does_not_keep_the_others_from_being_served(server, large):
    directory = large(0.25)
    shutil.copy(MODELS / "truncated.onnx", directory)
    one = server(models=directory, wait=False)
    one.wait_listening()
    states = {line["name"]: line["state"] for line in one.request("POST", "/v2/repository/index", {}).json}
    assert states["truncated"] == "LOADING"
    one.wait_for_log("ready on")
    states = {line["name"]: line["state"] for line in one.request("POST", "/v2/repository/index", {}).json}
    assert states == {"external_inside": "READY", "plus1": "READY", "regime": "READY", "truncated": "UNAVAILABLE"}
    assert one.request("GET", "/v2/health/ready").status == 503
