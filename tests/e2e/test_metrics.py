# SPDX-License-Identifier: Apache-2.0
"""GET /metrics: strictly the text exposition format 0.0.4, and numbers that move with what happens."""
import json
import re
import shutil
import socket
import threading
import time

import pytest

from conftest import ROOT

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABEL = r'[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\\\|\\"|\\n)*"'
SAMPLE = re.compile(rf"({NAME})(?:\{{({LABEL}(?:,{LABEL})*)\}})? ([0-9]+(?:\.[0-9]+)?)")
INPUTS = [{"name": "INPUT0", "datatype": "INT32", "shape": [2, 16], "data": [2] * 32},
          {"name": "INPUT1", "datatype": "INT32", "shape": [2, 16], "data": [1] * 32}]
DECIDE = """
decisions:
  - path: /decide
    model: trend
    features: [up, down]
    actions: {rise: buy, fall: sell, stay: keep}
    min_confidence: 0.5
    fallback_action: wait
    limits:
      amount: {field: context.income, times: 0.25, min: 0, max: 1000}
    contract: contract.json
"""


def labels_of(text):
    pairs = re.findall(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\.)*)"', text or "")
    assert len({name for name, _ in pairs}) == len(pairs), text
    return frozenset((name, re.sub(r"\\(.)", lambda match: "\n" if match[1] == "n" else match[1], value))
                     for name, value in pairs)


def parse(text):
    """{(name, labels): value}; fails on anything that a strict reader of the format would refuse."""
    assert text.endswith("\n") and "\r" not in text
    families, samples, head = {}, {}, None
    for line in text[:-1].split("\n"):
        if line.startswith("# HELP "):
            name, words = re.fullmatch(rf"# HELP ({NAME}) (\S.*)", line).groups()
            assert name not in families, f"{name} in two blocks"
            assert "\\" not in words
            families[name], head = None, name
        elif line.startswith("# TYPE "):
            name, kind = re.fullmatch(rf"# TYPE ({NAME}) (counter|gauge|histogram)", line).groups()
            assert name == head and families[name] is None
            families[name] = kind
        else:
            match = SAMPLE.fullmatch(line)
            assert match, line
            name, labels, value = match.groups()
            parts = ("_bucket", "_sum", "_count") if families[head] == "histogram" else ("",)
            assert name in {head + part for part in parts}, f"{name} outside of its block"
            key = (name, labels_of(labels))
            assert key not in samples, f"{line} is there twice"
            samples[key] = float(value)
    assert all(families.values())
    for name, kind in families.items():
        assert name.startswith("pacer_") or name == "process_start_time_seconds"
        assert name.endswith("_total") == (kind == "counter"), name
        assert not re.search(r"_(ms|us|ns|milliseconds|kb)(_|$)", name), name
    check_histograms(samples, [name for name, kind in families.items() if kind == "histogram"])
    return samples


def check_histograms(samples, names):
    for name in names:
        for labels in {labels for (sample, labels) in samples if sample == f"{name}_count"}:
            buckets = sorted((float(dict(of)["le"]), value) for (sample, of), value in samples.items()
                             if sample == f"{name}_bucket" and of - {("le", dict(of).get("le"))} == labels)
            assert buckets[-1] == (float("inf"), samples[f"{name}_count", labels])
            assert all(a[1] <= b[1] for a, b in zip(buckets, buckets[1:])), "buckets are cumulative"
            assert (f"{name}_sum", labels) in samples


def scrape(one):
    answer = one.request("GET", "/metrics")
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    samples = parse(answer.body.decode("utf-8"))

    def get(name, **labels):
        return samples[(name, frozenset(labels.items()))]

    get.samples = samples
    return get


def test_the_process(server, models):
    before = time.time()
    one = server(config="threads: 2\n", models=models("simple"))
    builds = [dict(labels) for name, labels in scrape(one).samples if name == "pacer_build_info"]
    assert len(builds) == 1 and builds[0]["version"] == one.request("GET", "/v2").json["version"]
    assert re.match(r"\d+\.\d+", builds[0]["onnxruntime"])
    starts = {scrape(one)("process_start_time_seconds") for _ in range(10)}
    assert len(starts) == 1, "every loop says the same"
    assert before - 1 < starts.pop() < time.time()


def test_connections_and_requests_of_all_loops_are_summed(server, models):
    one = server(config="threads: 3\nhttp:\n  header_timeout_ms: 200\n", models=models("simple"))
    before = scrape(one)
    idle = [socket.create_connection(("127.0.0.1", one.port)) for _ in range(8)]
    for sock in idle:
        sock.sendall(b"GET /v2/health/live HTTP/1.1\r\nHost: a\r\n\r\n")
        assert sock.recv(65536).startswith(b"HTTP/1.1 200")
    after = scrape(one)
    assert after("pacer_http_connections_open") >= 9
    assert after("pacer_http_requests_total") - before("pacer_http_requests_total") == 9  # with the scrape itself
    assert after("pacer_http_connections_total") - before("pacer_http_connections_total") == 9
    for sock in idle:
        sock.close()
    assert one.raw(b"GET / HTTP/1.1\r\nHost : a\r\n\r\n").startswith(b"HTTP/1.1 400")
    assert one.raw(b"GET / HTTP/1.1\r\n").startswith(b"HTTP/1.1 408")
    last = scrape(one)
    assert last("pacer_http_refused_total") - after("pacer_http_refused_total") == 2
    assert last("pacer_http_timeouts_total") - after("pacer_http_timeouts_total") == 1
    end = time.monotonic() + 10
    while (still_open := scrape(one)("pacer_http_connections_open")) > 1 and time.monotonic() < end:
        time.sleep(0.02)  # the scrape before this one may still be closing, too
    assert still_open == 1  # the scrape's


def test_models(server, models):
    directory = models("simple", "plus1")
    (directory / "broken.onnx").write_bytes(b"no model")
    one = server(models=directory, wait=False)
    one.port = int(one.wait_for_log(r"ready on \S*?:(\d+):").group(1))
    before = scrape(one)
    assert before("pacer_model_ready", model="simple", version="1") == 1
    states = {dict(labels)["model"]: value for (name, labels), value in before.samples.items()
              if name == "pacer_model_ready"}
    assert states == {"simple": 1, "plus1": 1, "broken": 0}
    for _ in range(3):
        assert one.request("POST", "/v2/models/simple/infer", {"inputs": INPUTS}).status == 200
    after = scrape(one)
    of = {"model": "simple", "version": "1"}

    def more(name, **labels):
        return after(name, **of, **labels) - before(name, **of, **labels)

    assert more("pacer_model_inferences_total") == 6
    assert more("pacer_model_executions_total") == 3
    assert more("pacer_model_requests_total", result="success") == 3
    assert more("pacer_model_requests_total", result="failure") == 0
    assert 0 < more("pacer_model_compute_seconds_total", phase="infer") < 60
    assert more("pacer_model_request_seconds_total", result="success") > 0
    assert more("pacer_model_queue_seconds_total") >= 0
    stats = one.request("GET", "/v2/models/simple/stats").json["model_stats"][0]
    infer_ns = stats["inference_stats"]["compute_infer"]["ns"]
    assert after("pacer_model_compute_seconds_total", phase="infer", **of) == pytest.approx(infer_ns / 1e9, abs=1e-9)
    assert one.request("POST", "/v2/repository/models/simple/unload").status == 200
    gone = scrape(one)
    assert ("pacer_model_executions_total", frozenset(of.items())) not in gone.samples
    assert gone.samples.get(("pacer_model_ready", frozenset(of.items())), 0) == 0


@pytest.fixture(name="decide")
def decide_server(server, models, tmp_path):
    directory = models()
    shutil.copy(ROOT / "tests" / "data" / "decide" / "models" / "trend.onnx", directory)
    contract = {"properties": {"limits": {"properties": {"amount": {"maximum": 800}}}}}
    (tmp_path / "contract.json").write_text(json.dumps(contract))
    return server(config=DECIDE, models=directory)


def ask(one, up=2, income=900):
    body = {"user_id": "u", "features": {"up": up, "down": 0}, "context": {"income": income}}
    return one.request("POST", "/decide", body).status


def test_decisions(decide):
    def counts():
        get = scrape(decide)
        return [get(f"pacer_decision_{name}_total", path="/decide")
                for name in ("answers", "fallbacks", "bad_requests", "contract_violations", "failures")]

    assert counts() == [0, 0, 0, 0, 0]
    assert ask(decide) == 200
    assert counts() == [1, 0, 0, 0, 0]
    assert ask(decide, up=0.1) == 200
    assert counts() == [2, 1, 0, 0, 0]
    assert ask(decide, up="high") == 400
    assert ask(decide, up=1e39) == 422
    assert counts() == [2, 1, 2, 0, 0]
    assert ask(decide, income=3300) == 500  # an amount of 825, where the contract allows 800
    assert counts() == [2, 1, 2, 1, 0]
    assert decide.request("POST", "/v2/repository/models/trend/unload").status == 200
    assert ask(decide) == 503
    assert counts() == [2, 1, 2, 1, 1]


@pytest.mark.parametrize("name", ['q"uote', "back\\slash", "new\nline", "größe"])
def test_labels_are_escaped(server, models, name):
    directory = models()
    shutil.copy(ROOT / "tests" / "data" / "models" / "plus1.onnx", directory / f"{name}.onnx")
    get = scrape(server(models=directory))
    names = {dict(labels)["model"] for metric, labels in get.samples if metric == "pacer_model_ready"}
    if names:  # else the repository does not take such a name
        assert names == {name}


def test_scrapes_amid_requests(server, models):
    one = server(config="threads: 2\n", models=models("simple"))
    failures = []

    def work():
        for _ in range(40):
            if one.request("POST", "/v2/models/simple/infer", {"inputs": INPUTS}).status != 200:
                failures.append("infer")

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    last = 0
    while any(thread.is_alive() for thread in threads):
        now = scrape(one)("pacer_model_executions_total", model="simple", version="1")
        assert now >= last
        last = now
    for thread in threads:
        thread.join()
    assert not failures
    get = scrape(one)
    assert get("pacer_model_inferences_total", model="simple", version="1") == 240
    # Requests that were ready at the same time share a run.
    assert last <= get("pacer_model_executions_total", model="simple", version="1") <= 120


def test_runs_by_size_and_what_was_not_computed(server, models):
    one = server(config="threads: 1\nmodels:\n  simple: {timeout_ms: 10s}\n", models=models("simple"))
    for _ in range(3):
        assert one.request("POST", "/v2/models/simple/infer", {"inputs": INPUTS}).status == 200
    late = {"inputs": INPUTS, "parameters": {"timeout": 1}}  # a microsecond
    assert one.request("POST", "/v2/models/simple/infer", late).status == 503
    get, of = scrape(one), {"model": "simple", "version": "1"}
    assert get("pacer_model_batch_rows_count", **of) == get("pacer_model_executions_total", **of) == 3
    assert get("pacer_model_batch_rows_sum", **of) == 6
    assert get("pacer_model_batch_rows_bucket", le="1", **of) == 0
    assert get("pacer_model_batch_rows_bucket", le="2", **of) == 3
    assert get("pacer_model_inline_executions_total", **of) <= 3
    assert get("pacer_model_queue_requests", **of) == 0
    assert 0 < get("pacer_model_cost_seconds", of="run", **of) < 1
    causes = {cause: get("pacer_model_not_computed_total", cause=cause, **of)
              for cause in ("queue_full", "deadline_foreseen", "deadline_passed", "client_gone")}
    assert causes["deadline_foreseen"] + causes["deadline_passed"] == 1
    assert causes["queue_full"] == causes["client_gone"] == 0
    stats = one.request("GET", "/v2/models/simple/stats").json["model_stats"][0]
    assert stats["batch_stats"][0]["batch_size"] == 2
    assert stats["batch_stats"][0]["compute_infer"]["count"] == 3
    assert stats["batching"]["rows"] == "apart" and stats["batching"]["merges"] is True
