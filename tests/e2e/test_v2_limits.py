# SPDX-License-Identifier: Apache-2.0
"""What a request may cost others: the end of the server, deadlines, clients that went away, bodies that are large."""
import json
import pathlib
import re
import socket
import struct
import threading
import time

import pytest

MONTHS = 1 << 40  # turns of a loop


def slow_by(steps):
    return {"inputs": [{"name": "X", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]},
                       {"name": "STEPS", "datatype": "INT64", "shape": [], "data": [steps]}]}


def statistics(one, model):
    return one.request("GET", f"/v2/models/{model}/stats").json["model_stats"][0]


def raw_request(path, body):
    return (f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n").encode() + body


def test_the_end_is_bounded_by_drain_ms_however_busy_the_workers(server, models):
    one = server(config="threads: 1\nworkers: 2\ndrain_ms: 500ms\n", models=models("slow_by"))
    body = raw_request("/v2/models/slow_by/infer", json.dumps(slow_by(MONTHS)).encode())
    clients = []
    for _ in range(20):  # two run, the others wait
        client = socket.create_connection(("127.0.0.1", one.port))
        client.sendall(body)
        clients.append(client)
    time.sleep(0.3)
    began = time.monotonic()
    one.process.terminate()
    assert one.process.wait(20) == 0
    took = time.monotonic() - began
    for client in clients:
        client.close()
    assert 0.4 <= took < 3, took


@pytest.mark.parametrize("binary", [True, False])
def test_an_answer_that_no_connection_can_carry_is_refused_with_a_remedy(server, models, binary):
    one = server(config="threads: 1\nworkers: 1\n", models=models("fill"))
    body = {"inputs": [{"name": "SHAPE", "datatype": "INT64", "shape": [1], "data": [(68 if binary else 132) << 20]}],
            "parameters": {"binary_data_output": binary}}
    answer = one.request("POST", "/v2/models/fill/infer", body, timeout=120)
    assert answer.status == 400
    assert "larger than" in answer.json["error"] and "'fill'" in answer.json["error"]
    assert one.request("GET", "/v2/health/live").status == 200


def fill(elements):
    return {"inputs": [{"name": "SHAPE", "datatype": "INT64", "shape": [1], "data": [elements]}],
            "parameters": {"binary_data_output": True}}


@pytest.mark.parametrize("elements", [1 << 29, 1 << 40, 1 << 60])  # from 2 GiB on
def test_a_client_cannot_take_the_servers_memory(server, models, elements):
    one = server(config="threads: 1\nworkers: 1\n", models=models("fill"))
    for _ in range(3):
        answer = one.request("POST", "/v2/models/fill/infer", fill(elements))
        assert answer.status == 400
        assert elements == 1 << 60 or "run_memory_max (1024 MiB)" in answer.json["error"]
        assert one.request("POST", "/v2/models/fill/infer", fill(3)).status == 200
    status = pathlib.Path(f"/proc/{one.process.pid}/status").read_text()
    assert int(re.search(r"VmHWM:\s*(\d+) kB", status).group(1)) < 1 << 20


def occupy(one, steps, seconds=0.3):
    """A connection whose request keeps the only worker busy, or waits for it."""
    client = socket.create_connection(("127.0.0.1", one.port))
    client.sendall(raw_request("/v2/models/slow_by/infer", json.dumps(slow_by(steps)).encode()))
    time.sleep(seconds)
    return client


def steps_of(one, seconds):
    """Turns of the loop that take about that long here."""
    steps = 1000
    while True:
        began = time.monotonic()
        assert one.request("POST", "/v2/models/slow_by/infer", slow_by(steps), timeout=60).status == 200
        took = time.monotonic() - began
        if took > 0.2:
            return int(steps * seconds / took)
        steps *= 4


def test_a_request_whose_client_went_away_is_not_computed(server, models):
    one = server(config="threads: 1\nworkers: 1\n", models=models("slow_by"))
    steps = steps_of(one, 2)
    before = statistics(one, "slow_by")
    busy = occupy(one, steps)
    for _ in range(10):
        client = occupy(one, steps, 0.02)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset
        client.close()
    assert busy.recv(15) == b"HTTP/1.1 200 OK"
    busy.close()
    assert one.request("POST", "/v2/models/slow_by/infer", slow_by(1), timeout=60).status == 200
    after = statistics(one, "slow_by")
    assert after["execution_count"] - before["execution_count"] == 2
    assert after["inference_stats"]["fail"]["count"] - before["inference_stats"]["fail"]["count"] == 10


def test_what_waited_too_long_is_told_to_try_again(server, models):
    one = server(config="threads: 1\nworkers: 1\nrequest_timeout_ms: 200\n", models=models("slow_by"))
    busy = occupy(one, steps_of(one, 1.5))
    answer = one.request("POST", "/v2/models/slow_by/infer", slow_by(1), timeout=60)
    assert answer.status == 503
    assert int(answer.headers["Retry-After"]) >= 1
    assert "time was up" in answer.json["error"]
    assert busy.recv(15) == b"HTTP/1.1 200 OK"  # what has begun is finished
    busy.close()


def test_without_a_request_timeout_requests_wait(server, models):
    one = server(config="threads: 1\nworkers: 1\nrequest_timeout_ms: 0\n", models=models("slow_by"))
    busy = occupy(one, steps_of(one, 1))
    assert one.request("POST", "/v2/models/slow_by/infer", slow_by(1), timeout=60).status == 200
    busy.close()


def test_statistics_count_reading_running_and_writing_alike(server, models):
    one = server(config="threads: 1\nworkers: 1\n", models=models("fill"))
    body = {"inputs": [{"name": "SHAPE", "datatype": "INT64", "shape": [1], "data": [1000]}]}
    for _ in range(3):
        assert one.request("POST", "/v2/models/fill/infer", body).status == 200
    stats = statistics(one, "fill")["inference_stats"]
    for part in ("success", "queue", "compute_input", "compute_infer", "compute_output"):
        assert stats[part]["count"] == 3, part
    for part in ("success", "compute_input", "compute_infer", "compute_output"):
        assert stats[part]["ns"] > 0, part
    assert (stats["compute_input"]["ns"] + stats["compute_infer"]["ns"] + stats["compute_output"]["ns"]
            <= stats["success"]["ns"])


@pytest.mark.parametrize("large", ["body", "answer"])
def test_what_is_large_holds_up_no_other_connection_of_the_loop(server, models, large):
    one = server(config="threads: 1\nworkers: 1\n", models=models("fill", "identity_fp32"))
    n = 6_000_000
    if large == "body":
        name = one.request("GET", "/v2/models/identity_fp32").json["inputs"][0]["name"]
        path = "/v2/models/identity_fp32/infer"
        body = (f'{{"inputs":[{{"name":"{name}","datatype":"FP32","shape":[1,{n}],"data":['.encode()
                + b"0.5," * (n - 1) + b'0.5]}],"parameters":{"binary_data_output":true}}')
    else:
        path = "/v2/models/fill/infer"
        body = json.dumps({"inputs": [{"name": "SHAPE", "datatype": "INT64", "shape": [1], "data": [n]}]}).encode()
    with socket.create_connection(("127.0.0.1", one.port)) as client:
        began = time.monotonic()
        client.sendall(raw_request(path, body))
        done = threading.Event()
        statuses = []

        def read():
            statuses.append(client.recv(12))
            done.set()

        reader = threading.Thread(target=read)
        reader.start()
        worst = 0
        probe = one.connect()
        while not done.is_set():
            start = time.monotonic()
            probe.request("GET", "/v2/health/live")
            probe.getresponse().read()
            worst = max(worst, time.monotonic() - start)
        took = time.monotonic() - began
        reader.join()
        probe.close()
    print(f"{large}: {took * 1000:.0f} ms, the slowest other answer {worst * 1000:.0f} ms")
    assert statuses == [b"HTTP/1.1 200"]
    assert worst < max(0.1, took / 3), (worst, took)
