# SPDX-License-Identifier: Apache-2.0
"""Requests that share runs while other things happen: priorities, windows, reloads, pipelines, a machine that stands
still."""
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

from conftest import MODELS, ROOT

COACH = ROOT / "examples" / "coach"
REQUEST = json.loads((COACH / "request.json").read_text())


def fp32(name, shape, data):
    return {"name": name, "datatype": "FP32", "shape": shape, "data": data}


def ones(x=1.0, **more):
    return {"inputs": [fp32("X", [1, 4], [x] * 4)], **more}


def stats_of(one, model):
    return one.request("GET", f"/v2/models/{model}/stats").json["model_stats"][0]


def wait_for(check, seconds=30):
    end = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < end
        time.sleep(0.005)


# --- order --------------------------------------------------------------------------------------------
def test_priorities_overtake(server, models):
    one = server(config="threads: 1\nworkers: 1\n", models=models("slow_by"))
    order, lock = [], threading.Lock()

    def post(priority):
        body = ones(parameters={"priority": priority})
        body["inputs"].append({"name": "STEPS", "datatype": "INT64", "shape": [], "data": [300]})
        answer = one.request("POST", "/v2/models/slow_by/infer", body, timeout=120)
        with lock:
            order.append((priority, answer.status))

    with concurrent.futures.ThreadPoolExecutor(32) as pool:
        low = [pool.submit(post, 3) for _ in range(16)]
        wait_for(lambda: stats_of(one, "slow_by")["batching"]["waiting"] >= 12)
        high = [pool.submit(post, 1) for _ in range(2)]
        for future in low + high:
            future.result()
    assert {status for _, status in order} == {200}
    # Those that waited before run now: at most the one under way, and one batch in eight for the oldest.
    assert max(i for i, (priority, _) in enumerate(order) if priority == 1) < 14


def test_an_urgent_request_is_not_refused_for_the_others(server, models):
    one = server(config="threads: 1\nworkers: 1\nmodels:\n  slow: {merge: off}\n", models=models("slow"))

    def post(priority, timeout_ms=None):
        headers = {"X-Request-Timeout-Ms": str(timeout_ms)} if timeout_ms else {}
        body = ones(parameters={"priority": priority})
        return one.request("POST", "/v2/models/slow/infer", body, headers, timeout=120).status

    def is_answered(priority):
        run_ms = stats_of(one, "slow")["batching"]["cost_ns"]["run"] / 1e6
        with concurrent.futures.ThreadPoolExecutor(64) as pool:
            others = [pool.submit(post, 2) for _ in range(60)]
            while stats_of(one, "slow")["batching"]["waiting"] < 30 and not all(f.done() for f in others):
                pass
            urgent = post(priority, timeout_ms=int(run_ms * 12) + 1)  # of thirty that take their time
            assert {future.result() for future in others} == {200}
        return urgent == 200

    assert any(is_answered(1) for _ in range(10))  # a busy machine may be late now and then


def test_a_window_is_shared(server, models):
    one = server(config="threads: 1\nworkers: 2\nmodels:\n  plus1: {max_wait_ms: 400}\n", models=models("plus1"))
    before = stats_of(one, "plus1")["execution_count"]
    began = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda k: one.request("POST", "/v2/models/plus1/infer", ones(k)).json, range(8)))
    assert time.monotonic() - began >= 0.4
    assert [answer["outputs"][0]["data"] for answer in answers] == [[k + 1] * 4 for k in range(8)]
    assert 1 <= stats_of(one, "plus1")["execution_count"] - before <= 4
    began = time.monotonic()  # a window makes nobody late
    answer = one.request("POST", "/v2/models/plus1/infer", ones(), headers={"X-Request-Timeout-Ms": "200"})
    assert answer.status == 503 or time.monotonic() - began < 0.4


# --- faults -------------------------------------------------------------------------------------------
def test_a_word_among_numbers_fails_alone(server, models):
    one = server(config="threads: 1\nworkers: 1\n", models=models("simple_string"))

    def post(k):
        texts = ["secret-%d" % k if k % 10 == 3 else str(k)] * 16
        body = {"inputs": [{"name": name, "datatype": "BYTES", "shape": [1, 16], "data": texts}
                           for name in ("INPUT0", "INPUT1")]}
        return k, one.request("POST", "/v2/models/simple_string/infer", body)

    with concurrent.futures.ThreadPoolExecutor(31) as pool:
        answers = list(pool.map(post, range(310)))
    for k, answer in answers:
        if k % 10 == 3:
            assert answer.status in (400, 500) and "outputs" not in answer.json
            told = set(re.findall(r"secret-\d+", answer.json["error"]))
            assert told <= {f"secret-{k}"}  # nobody else's
        else:
            assert answer.status == 200
            sums, differences = (output["data"] for output in answer.json["outputs"])
            assert sums == [str(2 * k)] * 16 and differences == ["0"] * 16
    counts = stats_of(one, "simple_string")["inference_stats"]
    assert counts["fail"]["count"] == 31 and counts["success"]["count"] == 279


def test_a_standstill_does_not_refuse_everybody_for_good(server, models):
    one = server(config="threads: 1\nworkers: 1\nmodels:\n  slow: {timeout_ms: 200, merge: off}\n",
                 models=models("slow"))
    stop = threading.Event()

    def burden():
        while not stop.is_set():
            one.request("POST", "/v2/models/slow/infer", ones())

    threads = [threading.Thread(target=burden) for _ in range(12)]
    for thread in threads:
        thread.start()
    wait_for(lambda: stats_of(one, "slow")["inference_stats"]["success"]["count"] > 20)
    for _ in range(3):
        one.process.send_signal(signal.SIGSTOP)
        time.sleep(0.7)
        one.process.send_signal(signal.SIGCONT)
        time.sleep(0.3)
    stop.set()
    for thread in threads:
        thread.join()
    row, tries = 0, 0
    while row < 10:  # one at a time; a busy machine may be late now and then
        tries += 1
        assert tries < 2000, stats_of(one, "slow")
        row = row + 1 if one.request("POST", "/v2/models/slow/infer", ones()).status == 200 else 0


# --- everything at once -------------------------------------------------------------------------------
def http_request(path, body, headers=()):
    lines = [f"POST {path} HTTP/1.1", "Host: a", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def make_call(source):
    """(request, check) of a random kind; `check` tells whether a body is the right answer."""
    x, rows = float(source.randrange(100000)), source.randint(1, 3)
    kind = source.randrange(5)
    if kind < 2:
        model, plus = (("plus1", 1), ("slow", 0))[kind]
        body = json.dumps({"inputs": [fp32("X", [rows, 4], [x] * 4 * rows)], "id": str(x)}).encode()

        def check(answer):
            answer = json.loads(answer)
            return answer["id"] == str(x) and answer["outputs"][0]["data"] == [x + plus] * 4 * rows

        return http_request(f"/v2/models/{model}/infer", body), check
    if kind == 2:
        head = json.dumps({"inputs": [{"name": "X", "datatype": "FP32", "shape": [rows, 4],
                                       "parameters": {"binary_data_size": 16 * rows}}],
                           "parameters": {"binary_data_output": True}}).encode()
        body = head + struct.pack(f"<{4 * rows}f", *[x] * 4 * rows)
        return (http_request("/v2/models/plus2/infer", body, [f"Inference-Header-Content-Length: {len(head)}"]),
                lambda answer: answer.endswith(struct.pack(f"<{4 * rows}f", *[x + 2] * 4 * rows)))
    if kind == 3:
        body = json.dumps({"inputs": [fp32("X", [1, 2], [x, -x])]}).encode()
        return (http_request("/v2/models/long_rows/infer", body),
                lambda answer: json.loads(answer)["outputs"][0]["data"] == [x, -x] * 2048)
    request = json.loads(json.dumps(REQUEST))
    request["context"]["disposable_income"] = income = 100 + source.randrange(2000)
    body = json.dumps(request).encode()

    def is_decision(answer):
        answer = json.loads(answer)
        return "action" in answer and (answer.get("amount") is None or answer["amount"] <= 0.25 * income + 1e-6)

    return http_request("/api/coach/recommend", body), is_decision


def read_answer(file):
    status = int(file.readline().split()[1])
    headers = http.client.parse_headers(file)
    return status, file.read(int(headers["Content-Length"]))


def test_pipelined_crowds_are_answered_rightly_through_reloads(server, models):
    folder = models("plus1", "plus2", "slow", "long_rows")
    shutil.copy(COACH / "models" / "regime.onnx", folder / "regime.onnx")
    decisions = (COACH / "pacer.yaml").read_text()
    decisions = decisions[decisions.index("decisions:"):decisions.index("# The same question")].replace("contracts/", f"{COACH}/contracts/")
    configs = ["threads: 2\nworkers: 2\nmodels:\n  plus1: {merge: off}\n" + decisions,
               "threads: 2\nworkers: 2\nmodels:\n  slow: {instances: 1}\n" + decisions]
    one = server(config=configs[0], models=folder)
    stop, wrong, lock, count = threading.Event(), [], threading.Lock(), [0]

    def work(number):
        source = random.Random(number)
        with socket.create_connection(("127.0.0.1", one.port), timeout=60) as sock:
            file = sock.makefile("rb")
            while not stop.is_set():
                calls = [make_call(source) for _ in range(source.randint(1, 8))]
                sock.sendall(b"".join(request for request, _ in calls))
                for request, check in calls:
                    status, body = read_answer(file)
                    if status != 200 or not check(body):
                        with lock:
                            wrong.append((request, status, body[:300]))
                with lock:
                    count[0] += len(calls)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(12)]
    for thread in threads:
        thread.start()
    try:
        for k in range(16):
            one.config.write_text(configs[(k + 1) % 2])
            before = one.log.count("server: reloaded")
            one.process.send_signal(signal.SIGHUP)
            wait_for(lambda: one.log.count("server: reloaded") > before)  # pylint: disable=cell-var-from-loop
            time.sleep(0.2)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not wrong, wrong[0]
    assert count[0] > 200


def test_reloads_swap_a_model_between_two_answers(server, models):
    folder = models("plus1")
    shutil.copy(MODELS / "plus1.onnx", folder / "m.onnx")
    one = server(config="threads: 2\nworkers: 1\n", models=folder)
    stop, faults, seen = threading.Event(), [], set()

    def work(number):
        connection = http.client.HTTPConnection("127.0.0.1", one.port, timeout=60)
        x = 1000.0 * number
        while not stop.is_set():
            x += 1
            connection.request("POST", "/v2/models/m/infer", json.dumps(ones(x)))
            response = connection.getresponse()
            body = response.read()
            data = json.loads(body)["outputs"][0]["data"] if response.status == 200 else body
            plus = data[0] - x if response.status == 200 else None
            if plus not in (1.0, 2.0) or data != [x + plus] * 4:
                faults.append((response.status, data))
            seen.add(plus)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
    for thread in threads:
        thread.start()
    try:
        for k in range(20):
            shutil.copy(MODELS / f"plus{2 - k % 2}.onnx", folder / "new")
            (folder / "new").rename(folder / "m.onnx")
            before = one.log.count("server: reloaded")
            one.process.send_signal(signal.SIGHUP)
            wait_for(lambda: one.log.count("server: reloaded") > before)  # pylint: disable=cell-var-from-loop
            time.sleep(0.2)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not faults, faults[0]
    assert seen == {1.0, 2.0}
