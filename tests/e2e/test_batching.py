# SPDX-License-Identifier: Apache-2.0
"""Requests that share runs: over real connections everybody gets the answer that he would get alone."""
import concurrent.futures
import http.client
import json
import random
import re
import shutil
import signal
import socket
import struct
import threading
import time

import pytest

from conftest import MODELS, ROOT

COACH = ROOT / "examples" / "coach"
REQUEST = json.loads((COACH / "request.json").read_text())
WORDS = ["", "a", "Zürich", "two words", "日本"]


def fp32(name, shape, data):
    return {"name": name, "datatype": "FP32", "shape": shape, "data": data}


def make_requests(source, n):
    """(path, body, headers) of every kind, in no order; each with values of its own."""
    for _ in range(n):
        x = [round(source.uniform(-9, 9), 3) for _ in range(4)]
        rows = source.randint(1, 3)
        kind = source.randrange(7)
        if kind == 0:
            yield "/v2/models/plus1/infer", json.dumps({"inputs": [fp32("X", [rows, 4], x * rows)]}), {}
        elif kind == 1:
            yield "/v2/models/plus2/infer", json.dumps({"inputs": [fp32("X", [1, 4], x)], "id": str(x[0])}), {}
        elif kind == 2:
            yield "/v2/models/slow/infer", json.dumps({"inputs": [fp32("X", [rows, 4], x * rows)]}), {}
        elif kind == 3:
            text = {"name": "INPUT0", "datatype": "BYTES", "shape": [1, 2], "data": source.choices(WORDS, k=2)}
            yield "/v2/models/identity_string/infer", json.dumps({"inputs": [text]}), {}
        elif kind == 4:
            head = {"inputs": [{"name": "X", "datatype": "FP32", "shape": [1, 4], "parameters": {"binary_data_size": 16}}],
                    "outputs": [{"name": "Y", "parameters": {"binary_data": True}}]}
            head = json.dumps(head).encode()
            yield ("/v2/models/plus1/infer", head + struct.pack("<4f", *x),
                   {"Inference-Header-Content-Length": str(len(head))})
        elif kind == 5:
            yield "/v2/models/long_rows/infer", json.dumps({"inputs": [fp32("X", [1, 2], x[:2])]}), {}
        else:
            request = json.loads(json.dumps(REQUEST))
            request["features"]["return_5d"] = x[0] / 100
            yield "/api/coach/recommend", json.dumps(request), {}


def ask(connection, path, body, headers):
    connection.request("POST", path, body, headers)
    response = connection.getresponse()
    data = response.read()
    if path.startswith("/api"):
        answer = json.loads(data)
        answer.pop("id", None)  # the request's own
        data = json.dumps(answer)
    return response.status, data


@pytest.fixture
def crowd(server, models):
    folder = models("plus1", "plus2", "slow", "identity_string", "long_rows", "gather", "softmax_rows")
    shutil.copy(COACH / "models" / "regime.onnx", folder / "regime.onnx")
    decisions = (COACH / "pacer.yaml").read_text()
    decisions = decisions[decisions.index("decisions:"):decisions.index("# The same question")].replace("contracts/", f"{COACH}/contracts/")

    def start(config="threads: 2\nworkers: 2\n"):
        return server(config=config + decisions, models=folder)

    return start


def test_everybody_gets_the_answer_he_would_get_alone(crowd):
    one = crowd()
    cases = list(make_requests(random.Random(7), 400))
    connection = http.client.HTTPConnection("127.0.0.1", one.port, timeout=60)
    alone = [ask(connection, *case) for case in cases]
    assert {status for status, _ in alone} == {200}
    wrong, lock = [], threading.Lock()

    def work(number):
        source = random.Random(number)
        mine = http.client.HTTPConnection("127.0.0.1", one.port, timeout=60)
        for _ in range(150):
            i = source.randrange(len(cases))
            got = ask(mine, *cases[i])
            if got != alone[i]:
                with lock:
                    wrong.append((cases[i][0], got, alone[i]))
        mine.close()

    with concurrent.futures.ThreadPoolExecutor(24) as pool:
        list(pool.map(work, range(24)))
    assert not wrong, wrong[0]
    stats = {model["name"]: model for model in one.request("GET", "/v2/models/stats").json["model_stats"]}
    assert stats["slow"]["execution_count"] < stats["slow"]["inference_stats"]["success"]["count"]


def test_pipelined_requests_are_answered_in_order(crowd):
    one = crowd("threads: 1\nhttp:\n  pipelined_max: 100\n")
    bodies = [json.dumps({"inputs": [fp32("X", [1, 4], [i] * 4)]}).encode() for i in range(60)]
    models = ["slow" if i % 7 == 0 else "plus1" for i in range(60)]
    raw = b"".join(b"POST /v2/models/%s/infer HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n%s\r\n%s"
                   % (model.encode(), len(body), b"Connection: close\r\n" if i == 59 else b"", body)
                   for i, (model, body) in enumerate(zip(models, bodies)))
    values = [float(data.split(",")[0]) for data in re.findall(r'"data":\[([^]]*)\]', one.raw(raw).decode())]
    assert values == [i if model == "slow" else i + 1 for i, model in enumerate(models)]


def test_one_poisoned_request_spoils_nobody_elses(crowd):
    one = crowd("threads: 1\n")

    def post(index):
        data = {"inputs": [{"name": "INDEX", "datatype": "INT64", "shape": [1], "data": [index]}]}
        return index, one.request("POST", "/v2/models/gather/infer", data)

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(post, [k % 11 for k in range(220)]))
    for index, answer in answers:
        if index == 10:
            assert answer.status == 500 and "idx=10" in answer.json["error"]
        else:
            assert answer.status == 200 and answer.json["outputs"][0]["data"] == [index * index]


def test_rows_that_change_each_other_are_not_shared_with_strangers(crowd):
    one = crowd()
    one.wait_for_log("model 'softmax_rows': requests do not share runs")

    def post(i):
        body = {"inputs": [fp32("X", [1, 4], [i, 2, 3, 4])]}
        return one.request("POST", "/v2/models/softmax_rows/infer", body).json["outputs"][0]["data"]

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        assert all(answer == [1, 1, 1, 1] for answer in pool.map(post, range(200)))
    stats = one.request("GET", "/v2/models/softmax_rows/stats").json["model_stats"][0]
    assert stats["batching"]["rows"] == "together" and stats["batching"]["merges"] is False
    assert stats["execution_count"] == stats["inference_count"] == 200


def test_the_documents_say_so(crowd):
    one = crowd()
    paths = one.request("GET", "/openapi.json").json["paths"]
    for path in ("/v2/models/{model}/infer", "/api/coach/recommend"):
        names = {parameter["name"]: parameter["in"] for parameter in paths[path]["post"]["parameters"]}
        assert names["X-Request-Timeout-Ms"] == "header"
    assert "parameters" not in paths["/v2"]["get"]
    assert "dynamic_batching" in one.request("GET", "/v2/models/plus1/config").json
    assert "dynamic_batching" not in one.request("GET", "/v2/models/softmax_rows/config").json


def retry_after(answer):
    return int(answer.headers["Retry-After"])


def test_deadlines_of_the_header_the_parameter_and_the_model(server, models):
    one = server(config="threads: 1\nworkers: 1\nmodels:\n  slow: {timeout_ms: 1}\n", models=models("slow", "plus1"))
    body = {"inputs": [fp32("X", [1, 4], [1, 2, 3, 4])]}
    path = "/v2/models/slow/infer"
    answer = one.request("POST", path, body)  # the model's own: forty products of matrices take longer
    assert answer.status == 503 and "even if nothing else waited" in answer.json["error"]
    assert "Retry-After" not in answer.headers  # nor would they another time
    assert one.request("POST", path, body, headers={"X-Request-Timeout-Ms": "20000"}).status == 200
    assert one.request("POST", path, {**body, "parameters": {"timeout": 20000000}}).status == 200
    assert one.request("POST", path, {**body, "parameters": {"timeout": 500}},
                       headers={"X-Request-Timeout-Ms": "20000"}).status == 503
    for bad in ("0", "-1", "soon", "1.5", "99999999999", ""):
        answer = one.request("POST", path, body, headers={"X-Request-Timeout-Ms": bad})
        assert answer.status == 400 and "X-Request-Timeout-Ms" in answer.json["error"], bad
    assert one.request("POST", "/v2/models/plus1/infer", body, headers={"X-Request-Timeout-Ms": "5000"}).status == 200
    stats = one.request("GET", "/v2/models/slow/stats").json["model_stats"][0]
    assert stats["batching"]["not_computed"]["deadline_foreseen"] >= 1
    assert stats["inference_stats"]["success"]["count"] == 2


def test_time_is_counted_from_the_first_byte_not_from_the_rest_before_it(server, models):
    one = server(config="threads: 1\n", models=models("plus1"))
    body = {"inputs": [fp32("X", [1, 4], [1, 2, 3, 4])]}

    def said_ns():
        return one.request("GET", "/v2/models/plus1/stats").json["model_stats"][0]["inference_stats"]["success"]["ns"]

    for _ in range(5):
        before = said_ns()
        time.sleep(0.15)
        one.process.send_signal(signal.SIGSTOP)  # so that the request is there when its connection is accepted
        began = time.monotonic_ns()
        connection = one.connect()
        connection.request("POST", "/v2/models/plus1/infer", json.dumps(body))
        one.process.send_signal(signal.SIGCONT)
        assert connection.getresponse().status == 200
        connection.close()
        assert said_ns() - before <= time.monotonic_ns() - began


def test_a_full_queue_is_said_with_when_to_come_back(server, models):
    one = server(config="threads: 1\nworkers: 1\nmodels:\n  slow: {max_queue: 2, merge: off}\n", models=models("slow"))
    body = {"inputs": [fp32("X", [1, 4], [1, 2, 3, 4])]}
    with concurrent.futures.ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(lambda _: one.request("POST", "/v2/models/slow/infer", body), range(64)))
    refused = [answer for answer in answers if answer.status == 503]
    assert refused and {answer.status for answer in answers} == {200, 503}
    assert all("is busy" in answer.json["error"] and 1 <= retry_after(answer) < 60 for answer in refused)
    stats = one.request("GET", "/v2/models/slow/stats").json["model_stats"][0]["batching"]
    assert stats["not_computed"]["queue_full"] == len(refused) and stats["merges"] is False


def test_requests_whose_client_is_gone_leave_the_queue(server, models):
    one = server(config="threads: 1\nworkers: 1\nmodels:\n  slow: {merge: off}\n", models=models("slow"))
    body = json.dumps({"inputs": [fp32("X", [1, 4], [1, 2, 3, 4])]}).encode()
    raw = b"POST /v2/models/slow/infer HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    sockets = []
    for _ in range(20):
        sock = socket.create_connection(("127.0.0.1", one.port))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # close() resets
        sock.sendall(raw)
        sockets.append(sock)
    for sock in sockets:
        sock.close()
    end = time.monotonic() + 20
    while time.monotonic() < end:
        stats = one.request("GET", "/v2/models/slow/stats").json["model_stats"][0]
        counts = stats["inference_stats"]
        if counts["success"]["count"] + counts["fail"]["count"] == 20:
            break
        time.sleep(0.01)
    assert stats["batching"]["not_computed"]["client_gone"] >= 10
    assert stats["execution_count"] + stats["batching"]["not_computed"]["client_gone"] == 20
    assert stats["batching"]["waiting"] == 0


def test_a_slow_model_delays_no_other(server, models):
    one = server(config="threads: 1\nworkers: 2\nmodels:\n  slow: {instances: 1, merge: off}\n",
                 models=models("slow", "slow_by", "plus1"))
    stop = threading.Event()

    def burden():
        body = {"inputs": [fp32("X", [1, 4], [1, 2, 3, 4])]}
        while not stop.is_set():
            one.request("POST", "/v2/models/slow/infer", body)

    threads = [threading.Thread(target=burden) for _ in range(6)]
    for thread in threads:
        thread.start()
    try:
        body = {"inputs": [fp32("X", [1, 4], [1, 2, 3, 4]),
                           {"name": "STEPS", "datatype": "INT64", "shape": [], "data": [2]}]}
        for _ in range(20):  # the other worker is free for it, whatever waits for the slow one
            assert one.request("POST", "/v2/models/slow_by/infer", body).status == 200
            assert one.request("GET", "/v2/health/live").status == 200
            plus = one.request("POST", "/v2/models/plus1/infer", {"inputs": [fp32("X", [1, 4], [1, 2, 3, 4])]})
            assert plus.json["outputs"][0]["data"] == [2, 3, 4, 5]
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_reloads_under_load_lose_and_mix_up_nothing(server, models):
    folder = models("plus1", "slow")
    one = server(config="threads: 2\nworkers: 2\n", models=folder)
    (folder / "plus1.onnx").rename(folder / "m.onnx")
    assert one.request("POST", "/v2/repository/models/m/load").status == 200
    stop, faults, seen = threading.Event(), [], set()

    def work(number):
        x = float(number)
        connection = http.client.HTTPConnection("127.0.0.1", one.port, timeout=60)
        while not stop.is_set():
            body = json.dumps({"inputs": [fp32("X", [2, 4], [x] * 4 + [x + 10] * 4)]})
            connection.request("POST", "/v2/models/m/infer", body)
            response = connection.getresponse()
            data = response.read()
            answer = json.loads(data)["outputs"][0]["data"] if response.status == 200 else data
            plus = {1.0, 2.0} & {answer[0] - x} if response.status == 200 else set()
            if len(plus) != 1 or answer != [x + min(plus)] * 4 + [x + 10 + min(plus)] * 4:
                faults.append((response.status, answer))
            seen.update(plus)
            x += 1

    threads = [threading.Thread(target=work, args=(1000 * k,)) for k in range(8)]
    for thread in threads:
        thread.start()
    for k in range(24):
        shutil.copy(MODELS / f"plus{2 - k % 2}.onnx", folder / "new")
        (folder / "new").rename(folder / "m.onnx")
        assert one.request("POST", "/v2/repository/models/m/load").status == 200
        time.sleep(0.1)
    stop.set()
    for thread in threads:
        thread.join()
    assert not faults, faults[0]
    assert seen == {1.0, 2.0}
