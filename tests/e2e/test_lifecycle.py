# SPDX-License-Identifier: Apache-2.0
"""The life of a server: start, readiness, reload, drain, and what stands in its way."""
import concurrent.futures
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import threading
import time

import pytest

from conftest import MODELS, ROOT, example_request

COACH = ROOT / "examples" / "coach"
REQUEST = json.loads((COACH / "request.json").read_text())


def coach_config(fallback="hold", contract=COACH / "contracts" / "recommendation.schema.json"):
    return f"""
decisions:
  - path: /api/coach/recommend
    model: regime
    features: [return_5d, return_20d, volatility_20d, drawdown_60d, correlation_20d]
    actions: {{calm: deposit, choppy: hold, stress: rebalance}}
    min_confidence: 0.99
    fallback_action: {fallback}
    limits:
      max_amount: {{field: context.disposable_income, times: 0.25, min: 0, max: 1000}}
    contract: {contract}
"""


def test_a_port_in_use_is_named_with_a_remedy(pacer, models):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = subprocess.run([pacer, "serve", "--listen", f"127.0.0.1:{port}", "--models", models("plus1")],
                              capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1
    assert f"127.0.0.1:{port}: another process uses it" in done.stderr


def test_a_second_pacer_on_the_same_port_is_refused(server, pacer, models):
    one = server(models=models("plus1"))
    done = subprocess.run([pacer, "serve", "--listen", f"127.0.0.1:{one.port}", "--models", models("plus1")],
                          capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1
    assert "another process uses it" in done.stderr
    assert one.request("GET", "/v2/health/live").status == 200


def test_the_service_manager_hears_of_readiness_reload_and_stop(server, models, tmp_path):
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(path))
        manager.settimeout(20)
        one = server(models=models("plus1"), env={"NOTIFY_SOCKET": str(path)})
        assert manager.recv(200) == b"READY=1"
        one.process.send_signal(signal.SIGHUP)
        reloading = manager.recv(200).decode().splitlines()
        assert reloading[0] == "RELOADING=1" and reloading[1].startswith("MONOTONIC_USEC=")
        assert manager.recv(200) == b"READY=1"
        one.process.send_signal(signal.SIGTERM)
        assert manager.recv(200) == b"STOPPING=1"


def test_a_unix_socket_serves(server, models, tmp_path):
    path = tmp_path / "pacer.sock"
    one = server(models=models("plus1"), args=["--listen", f"unix:{path}"], wait=False)
    one.wait_for_log(r"ready on ")
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        client.sendall(b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = b"".join(iter(lambda: client.recv(4096), b""))
    assert answer.startswith(b"HTTP/1.1 200 ")


def test_a_repeated_sigterm_does_no_harm(server, models):
    one = server(models=models("plus1"))
    for _ in range(3):
        one.process.send_signal(signal.SIGTERM)
    assert one.process.wait(20) == 0


def test_drain_finishes_what_is_running_and_takes_no_more(server, models):
    one = server(models=models("slow"), config="drain_ms: 20s\n")
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(one.request, "POST", "/v2/models/slow/infer", example_request("slow")) for _ in range(8)]
        time.sleep(0.005)
        one.process.send_signal(signal.SIGTERM)
        statuses = []
        for answer in answers:
            try:
                statuses.append(answer.result().status)
            except OSError:
                statuses.append("not accepted any more")
    assert one.process.wait(20) == 0
    assert set(statuses) <= {200, "not accepted any more"}
    with pytest.raises(OSError):
        one.request("GET", "/v2/health/live", timeout=2)


def test_reload_takes_over_a_new_configuration_without_losing_a_request(server):
    one = server(config=coach_config("hold"), models=COACH / "models")
    stop = threading.Event()
    failures = []
    actions = set()

    def ask():
        connection = one.connect()
        while not stop.is_set():
            connection.request("POST", "/api/coach/recommend", json.dumps(REQUEST), {"Content-Type": "application/json"})
            answer = connection.getresponse()
            body = answer.read()
            if answer.status != 200:
                failures.append(body)
            else:
                actions.add(json.loads(body)["action"])
        connection.close()

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for round_number in range(1, 11):
        one.config.write_text(coach_config("rebalance" if round_number % 2 else "hold"))
        one.process.send_signal(signal.SIGHUP)
        end = time.monotonic() + 20
        while one.log.count("server: reloaded") < round_number and time.monotonic() < end:
            time.sleep(0.01)
        assert one.log.count("server: reloaded") >= round_number, one.log
    stop.set()
    for thread in threads:
        thread.join()
    assert failures == []
    assert actions == {"hold", "rebalance"}


def test_a_faulty_configuration_changes_nothing(server):
    one = server(config=coach_config("hold"), models=COACH / "models")
    before = one.request("POST", "/api/coach/recommend", REQUEST).json["action"]
    one.config.write_text(coach_config("rebalance") + "no_such_key: 1\n")
    one.process.send_signal(signal.SIGHUP)
    one.wait_for_log("not reloaded")
    assert "no_such_key" in one.log and f"{one.config}:" in one.log
    assert one.request("POST", "/api/coach/recommend", REQUEST).json["action"] == before


def test_reload_picks_up_changed_and_new_models(server, models):
    directory = models("plus1")
    one = server(models=directory)
    body = {"inputs": [{"name": "X", "shape": [1, 1], "datatype": "FP32", "data": [1]}]}
    metadata = one.request("GET", "/v2/models/plus1").json
    body["inputs"][0] |= {"name": metadata["inputs"][0]["name"], "datatype": metadata["inputs"][0]["datatype"],
                          "shape": [1 if d < 0 else d for d in metadata["inputs"][0]["shape"]]}
    count = 1
    for d in body["inputs"][0]["shape"]:
        count *= d
    body["inputs"][0]["data"] = [1] * count
    assert set(one.request("POST", "/v2/models/plus1/infer", body).json["outputs"][0]["data"]) == {2}
    replacement = directory / ".new"
    shutil.copy(MODELS / "plus2.onnx", replacement)
    os.replace(replacement, directory / "plus1.onnx")
    shutil.copy(MODELS / "simple.onnx", directory)
    one.process.send_signal(signal.SIGHUP)
    one.wait_for_log("server: reloaded")
    assert set(one.request("POST", "/v2/models/plus1/infer", body).json["outputs"][0]["data"]) == {3}
    assert one.request("GET", "/v2/models/simple/ready").status == 200


def test_a_bad_model_never_replaces_a_good_one(server, models):
    directory = models("plus1")
    one = server(models=directory)
    shutil.copy(MODELS / "truncated.onnx", directory / ".new")
    os.replace(directory / ".new", directory / "plus1.onnx")
    one.process.send_signal(signal.SIGHUP)
    one.wait_for_log(r"(?i)plus1.*(truncated|keeps|not replaced|goes on)")
    assert one.request("GET", "/v2/models/plus1/ready").status == 200


def test_the_access_log_is_one_json_object_a_line(server, models):
    one = server(config="access_log: true\n", models=models("plus1"))
    one.request("GET", "/v2/models/plus1?x=1", headers={"X-Request-Id": "abc-1"})
    one.request("GET", '/no"such\\path')
    assert one.stop() == 0
    lines = [json.loads(line) for line in one.stdout]
    by_id = [line for line in lines if line["id"] == "abc-1"]
    assert len(by_id) == 1
    assert (by_id[0]["method"], by_id[0]["path"], by_id[0]["status"]) == ("GET", "/v2/models/plus1", 200)
    assert by_id[0]["duration_us"] >= 0 and by_id[0]["response_bytes"] > 0
    assert [line["status"] for line in lines if "such" in line["path"]] == [404]


def test_logs_can_be_json(server, models):
    one = server(config="log_format: json\n", models=models("plus1"), wait=False)
    one.wait_for_log(r"ready on")
    for line in list(one.stderr):
        assert json.loads(line)["level"] in {"info", "warn", "error"}


def test_idle_memory_and_threads_are_bounded(server, models):
    one = server(config="threads: 2\nworkers: 2\n", models=models("plus1", "simple", "mixed"))
    status = pathlib.Path(f"/proc/{one.process.pid}/status").read_text()
    fields = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    if re.search(b"__(asan|tsan|ubsan)_", pathlib.Path(one.process.args[0]).read_bytes()):
        pytest.skip("sanitizers have memory and threads of their own")
    assert int(fields["VmRSS"].split()[0]) < 60 * 1024
    assert int(fields["Threads"]) <= 2 + 2 + 3
