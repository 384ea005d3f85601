# SPDX-License-Identifier: Apache-2.0
"""SIGHUP: every key takes effect or is named in the log, and a refused reload changes nothing at all."""
import concurrent.futures
import json
import os
import re
import shutil
import signal
import socket
import time

import pytest

from conftest import MODELS, ROOT, SANITIZER, Server, example_request

COACH = ROOT / "examples" / "coach"
REQUEST = json.loads((COACH / "request.json").read_text())
ORIGIN = "https://app.example"


def reload(one, config=None, expected="server: reloaded"):
    """Sends SIGHUP, waits for its outcome and returns the log lines that came with it."""
    if config is not None:
        one.config.write_text(config)
    before = len(one.stderr)
    one.process.send_signal(signal.SIGHUP)
    end = time.monotonic() + 30
    while time.monotonic() < end:
        lines = "\n".join(one.stderr[before:])
        if re.search(r"server: (not )?reloaded", lines):
            assert expected in lines, lines
            return lines
        time.sleep(0.01)
    pytest.fail(f"no reload within 30 s:\n{one.log}")


def everywhere(one, check):
    """Each loop takes a reload by itself: waits until `check` holds on twenty connections in a row."""
    end = time.monotonic() + 20
    row = 0
    while row < 20:
        row = row + 1 if check(one) else 0
        assert time.monotonic() < end, one.log


def decision(path="/api/coach/recommend", fallback="hold", more=""):
    return f"""
decisions:
  - path: {path}
    model: regime
    features: [return_5d, return_20d, volatility_20d, drawdown_60d, correlation_20d]
    actions: {{calm: deposit, choppy: hold, stress: rebalance}}
    min_confidence: 0.99
    fallback_action: {fallback}
    limits:
      max_amount: {{field: context.disposable_income, times: 0.25, min: 0, max: 1000}}
    contract: {COACH / "contracts" / "recommendation.schema.json"}
{more}"""


def plus(one, model="plus1"):
    """What the model adds to a row of ones."""
    body = {"inputs": [{"name": "X", "shape": [1, 4], "datatype": "FP32", "data": [1, 1, 1, 1]}]}
    return one.request("POST", f"/v2/models/{model}/infer", body).json["outputs"][0]["data"][0] - 1


# --- CORS and names, which live as long as their configuration ---------------------------------------
def allowed_origin(one, origin=ORIGIN):
    return one.request("GET", "/v2", headers={"Origin": origin}).headers["Access-Control-Allow-Origin"]


def test_cors_through_the_configuration(server):
    one = server(config=f"cors:\n  origins: ['{ORIGIN}']\n  max_age_s: 77\n")
    assert allowed_origin(one) == ORIGIN
    assert allowed_origin(one, "https://other.example") is None
    preflight = one.request("OPTIONS", "/v2", headers={
        "Origin": ORIGIN, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"})
    assert preflight.status == 204
    assert preflight.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert preflight.headers["Access-Control-Max-Age"] == "77"
    assert preflight.headers["Access-Control-Allow-Headers"] == "content-type"


def test_names_and_origins_outlive_the_configuration_they_were_read_from(server):
    text = f"threads: 2\nserver_name: a-name-of-some-length\ncors:\n  origins: ['{ORIGIN}']\n"
    one = server(config=text)
    for _ in range(3):
        reload(one, text)
        everywhere(one, lambda one: allowed_origin(one) == ORIGIN)
        everywhere(one, lambda one: one.request("GET", "/v2").json["name"] == "a-name-of-some-length")


# --- every key -----------------------------------------------------------------------------------------
def idle_seconds(one):
    with socket.create_connection(("127.0.0.1", one.port), timeout=20) as sock:
        sock.sendall(b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n")
        began = time.monotonic()
        while sock.recv(4096):
            pass
        return time.monotonic() - began


def head_status(one):
    return one.raw(b"GET / HTTP/1.1\r\nHost:", timeout=3).split(b" ")[1:2] == [b"408"]


def slow_body(one):
    """An upload that stops: refused after a grace unless any rate is borne."""
    return one.raw(b"POST /v2/models/plus1/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{", timeout=1.5)


def encoding(one, method="GET"):
    return one.request(method, "/openapi.json", headers={"Accept-Encoding": "gzip"})


def two_connections(one):
    with one_open(one):
        return b" 503 " in one.raw(b"GET /v2 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", timeout=5)[:20]


def one_open(one):
    sock = socket.create_connection(("127.0.0.1", one.port), timeout=10)
    sock.sendall(b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n")
    sock.recv(4096)
    return sock


def second_body(one):
    """The status of a body while most of another has arrived."""
    with socket.create_connection(("127.0.0.1", one.port), timeout=10) as sock:
        sock.sendall(b"POST /v2/repository/index HTTP/1.1\r\nHost: x\r\nContent-Length: 90\r\n\r\n" + b" " * 80)
        time.sleep(0.2)
        return one.request("POST", "/v2/repository/index", b'{"ready": false}' + b" " * 64).status


def is_closed_after_one(one):
    connection = one.connect()
    connection.request("GET", "/v2")
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.headers["Connection"] == "close"


def status(method, path, body=None, headers=None):
    return lambda one: one.request(method, path, body, headers).status


def stays_reachable(one):
    return one.request("GET", "/v2/health/live").status == 200


# key: (YAML of the change, how it shows, what that is before, what it is after)
APPLIED = {
    "server_name": ("server_name: other\n", lambda one: one.request("GET", "/v2").json["name"], "pacer", "other"),
    "http.header_bytes_max": ("http: {header_bytes_max: 300}\n", status("GET", "/v2", None, {"X": "y" * 400}), 200, 431),
    "http.headers_max": ("http: {headers_max: 5}\n",
                         status("GET", "/v2", None, {f"X-{i}": "y" for i in range(9)}), 200, 431),
    "http.target_bytes_max": ("http: {target_bytes_max: 100}\n", status("GET", "/v2?" + "x" * 200), 200, 414),
    "http.body_bytes_max": ("http: {body_bytes_max: 10}\n",
                            status("POST", "/v2/repository/index", b'{"ready": false}'), 200, 413),
    "http.body_memory_max": ("http: {body_bytes_max: 100, body_memory_max: 100}\n", second_body, 200, 503),
    "http.connections_max": ("http: {connections_max: 1}\n", two_connections, False, True),
    "http.connections_per_peer_max": ("http: {connections_per_peer_max: 1}\n", two_connections, False, True),
    "http.requests_per_connection_max": ("http: {requests_per_connection_max: 1}\n", is_closed_after_one, False, True),
    "http.header_timeout_ms": ("http: {header_timeout_ms: 50}\n", head_status, False, True),
    "http.idle_timeout_ms": ("http: {idle_timeout_ms: 50}\n", lambda one: idle_seconds(one) < 5, False, True),
    "http.gzip_level": ("http: {gzip_level: 0}\n", lambda one: encoding(one).headers["Content-Encoding"], "gzip", None),
    "http.gzip_bytes_min": ("http: {gzip_bytes_min: 1GiB}\n", lambda one: encoding(one).headers["Content-Encoding"],
                            "gzip", None),
    "cors.origins": (f"cors: {{origins: ['{ORIGIN}']}}\n", allowed_origin, None, ORIGIN),
    "decisions": (decision(), status("POST", "/api/coach/recommend", REQUEST), 404, 200),
}
# Keys with a test of their own below; the effect of two (http.pipelined_max, http.write_timeout_ms) shows only to a
# peer that reads nothing for long, and the call that hands them over is the one for all of http.*.
ELSEWHERE = {"models_dir", "log_level", "log_format", "access_log", "drain_ms", "http.write_timeout_ms",
             "http.pipelined_max", "http.body_rate_min", "cors.max_age_s", "models", "request_timeout_ms",
              "watch_models_ms", "run_memory_max", "ops_token", "cache.tenant_header"}


def rows():
    table = (ROOT / "src/config/options.def").read_text()
    for row in re.findall(r'^CONFIG_OPTION\((.*?)(?=^[A-Z]+_OPTION\(|^//|^#|\Z)', table, re.M | re.S):
        key, kind = re.match(r'"([a-z_.]+)", ([A-Z_]+)', row).groups()
        if kind != "SECTION":
            yield key, ".restart = true" in row


def test_every_key_has_its_test():
    keys = dict(rows())
    assert len(keys) > 25
    assert {key for key, restart in keys.items() if not restart} == set(APPLIED) | ELSEWHERE
    assert {key for key, restart in keys.items() if restart} == set(RESTART)


@pytest.mark.parametrize("key", APPLIED)
def test_a_reload_applies(key, server):
    text, look, before, after = APPLIED[key]
    slow = "http: {idle_timeout_ms: 10s, header_timeout_ms: 8s}\n"
    one = server(config="threads: 1\n" + ("" if key != "http.idle_timeout_ms" else slow), models=COACH / "models")
    if key == "http.idle_timeout_ms":
        with one_open(one) as sock:  # a connection that is idle already goes by the new time, too
            reload(one, "threads: 1\n" + text)
            sock.settimeout(5)
            assert sock.recv(1) == b""
    else:
        assert look(one) == before
        assert "restart" not in reload(one, "threads: 1\n" + text)
    assert look(one) == after
    reload(one, "threads: 1\n" + (slow if key == "http.idle_timeout_ms" else ""))
    if key != "http.idle_timeout_ms":
        assert look(one) == before


def test_a_reload_applies_the_rate_of_bodies(server):
    one = server(config="threads: 1\nhttp: {header_timeout_ms: 100, body_rate_min: 0}\n")
    reload(one, "threads: 1\nhttp: {header_timeout_ms: 100, body_rate_min: 1MiB}\n")
    assert b" 408 " in slow_body(one)[:20]


def test_a_reload_applies_the_age_of_preflights(server):
    one = server(config=f"threads: 1\ncors: {{origins: ['{ORIGIN}'], max_age_s: 5}}\n")
    reload(one, f"threads: 1\ncors: {{origins: ['{ORIGIN}'], max_age_s: 6}}\n")
    preflight = one.request("OPTIONS", "/v2", headers={"Origin": ORIGIN, "Access-Control-Request-Method": "POST"})
    assert preflight.headers["Access-Control-Max-Age"] == "6"


def test_a_reload_applies_the_log_settings(server):
    one = server(config="threads: 1\n")
    one.config.write_text("threads: 1\nlog_format: json\n")
    one.process.send_signal(signal.SIGHUP)
    assert json.loads(one.wait_for_log(r'\{"time".*"reloaded"\}').group())["level"] == "info"
    one.config.write_text("threads: 1\nlog_level: error\n")
    one.process.send_signal(signal.SIGHUP)
    everywhere(one, stays_reachable)
    time.sleep(0.3)
    before = len(one.stderr)
    one.config.write_text("threads: 1\nno_such_key: 1\n")
    one.process.send_signal(signal.SIGHUP)
    one.wait_for_log("no_such_key")
    one.wait_for_log("not reloaded")
    assert all(" error " in line for line in one.stderr[before:])


def test_a_reload_switches_the_access_log(server):
    one = server(config="threads: 1\n")
    for on in (True, False, True):
        reload(one, f"threads: 1\naccess_log: {str(on).lower()}\n")
        assert one.request("GET", "/v2", headers={"X-Request-Id": f"seen-{on}"}).status == 200
    assert one.stop() == 0
    ids = [json.loads(line)["id"] for line in one.stdout]
    assert ids.count("seen-True") == 2 and "seen-False" not in ids


def test_a_reload_applies_the_memory_of_a_run(server, models):
    text = "threads: 1\nworkers: 1\nrun_memory_max: {}\n"
    one = server(config=text.format("1MiB"), models=models("fill"))
    body = {"inputs": [{"name": "SHAPE", "datatype": "INT64", "shape": [1], "data": [1 << 20]}],
            "parameters": {"binary_data_output": True}}
    look = status("POST", "/v2/models/fill/infer", body)
    assert look(one) == 400
    reload(one, text.format("8MiB"))
    assert look(one) == 200
    reload(one, text.format("1MiB"))
    assert look(one) == 400


def test_a_reload_applies_the_time_to_drain(server, models):
    one = server(config="threads: 1\ndrain_ms: 60s\n", models=models("plus1"))
    reload(one, "threads: 1\ndrain_ms: 100ms\n")
    with socket.create_connection(("127.0.0.1", one.port), timeout=10) as sock:
        sock.sendall(b"POST /v2/models/plus1/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{")
        time.sleep(0.1)
        began = time.monotonic()
        assert one.stop() == 0
        assert time.monotonic() - began < 10


def test_a_reload_applies_the_settings_of_models(server, models):
    directory = models("plus1")
    shutil.copy(MODELS / "plus2.onnx", directory / "plus1.int8.onnx")
    one = server(config="threads: 1\n", models=directory)
    assert plus(one) == 1
    reload(one, "threads: 1\nmodels: {plus1: {use_quantized: true, max_batch_size: 2}}\n")
    assert plus(one) == 2
    assert one.request("GET", "/v2/models/plus1/config").json["max_batch_size"] == 2
    reload(one, "threads: 1\n")
    assert plus(one) == 1


def test_a_reload_applies_the_directory_of_models(pacer, models, tmp_path):
    first, second = models("plus1", directory="first"), models("plus2", directory="second")
    config = tmp_path / "own.yaml"
    text = "listen: 127.0.0.1:0\nthreads: 1\nmodels_dir: "
    config.write_text(f"{text}{first}\n")
    one = Server(pacer, config, [], None)
    one.wait_ready()
    assert plus(one) == 1
    reload(one, f"{text}{second}\n")
    assert one.request("GET", "/v2/models/plus1/ready").status >= 400
    assert plus(one, "plus2") == 2
    assert "restart" in reload(one, f"{text}{second}\n".replace("127.0.0.1:0", "127.0.0.1:1"))
    reload(one, f"{text}{tmp_path}/nowhere\n", expected="not reloaded")
    assert plus(one, "plus2") == 2
    assert one.stop() == 0 and not SANITIZER.search(one.log), one.log


RESTART = {"listen": "listen: 127.0.0.1:1\n", "threads": "threads: 2\n", "workers": "workers: 3\n",
           "ops_listen": "ops_listen: 127.0.0.1:1\nops_token: 0123456789abcdef\n",
           "cache.memory_mb": "cache: {memory_mb: 3}\n", "cache.path": "cache: {path: other}\n",
           "cache.path_mb": "cache: {path_mb: 33}\n", "cache.redis_url": "cache: {redis_url: redis://h}\n",
           "cache.redis_timeout_ms": "cache: {redis_timeout_ms: 33}\n"}


@pytest.mark.parametrize("key", RESTART)
def test_what_needs_a_restart_is_said(key, server):
    base = {"threads": "threads: 1\n", "workers": "workers: 1\n"}
    one = server(config="".join(base.values()))
    lines = reload(one, "".join(text for name, text in base.items() if name != key) + RESTART[key])
    if key == "listen":  # the command line wins over the file: nothing changed
        assert "restart" not in lines
    else:
        assert re.search(rf"warn +config: '{key}' changed: .* until a restart", lines)
    assert len(re.findall("until a restart", lines)) == (key != "listen")
    assert "until a restart" not in reload(one)
    assert one.request("GET", "/v2/health/live").status == 200


# --- both or neither -----------------------------------------------------------------------------------
def index(one):
    return one.request("POST", "/v2/repository/index", {}).json


def test_a_refused_reload_leaves_models_and_decisions_as_they_were(server, models):
    directory = models("plus1", "plus2")
    shutil.copy(COACH / "models" / "regime.onnx", directory)
    one = server(config="threads: 2\n" + decision(), models=directory)
    before = index(one)
    hashes = [one.request("GET", f"/v2/models/{name}").json for name in ("plus1", "regime")]
    action = one.request("POST", "/api/coach/recommend", REQUEST).json["action"]
    # The new files are fine in themselves, but no model of the decision's shape is among them.
    for source, target in (("plus2", "plus1"), ("plus1", "regime"), ("simple", "simple")):
        shutil.copy(MODELS / f"{source}.onnx", directory / ".new")
        os.replace(directory / ".new", directory / f"{target}.onnx")
    (directory / "plus2.onnx").unlink()
    for faulty in (decision(fallback="rebalance"), decision(fallback="rebalance") + "no_such_key: 1\n"):
        reload(one, "threads: 2\nserver_name: other\n" + faulty, expected="not reloaded")
        assert index(one) == before
        assert [one.request("GET", f"/v2/models/{name}").json for name in ("plus1", "regime")] == hashes
        assert plus(one, "plus1") == 1 and plus(one, "plus2") == 2
        assert one.request("GET", "/v2").json["name"] == "pacer"
        assert one.request("POST", "/api/coach/recommend", REQUEST).json["action"] == action
        assert one.request("GET", "/v2/health/ready").status == 200
    shutil.copy(COACH / "models" / "regime.onnx", directory / ".new")
    os.replace(directory / ".new", directory / "regime.onnx")
    reload(one, "threads: 2\nserver_name: other\n" + decision(fallback="rebalance"))
    everywhere(one, lambda one: one.request("GET", "/v2").json["name"] == "other")
    assert plus(one, "plus1") == 2
    assert {line["name"] for line in index(one)} == {"plus1", "regime", "simple"}


def test_a_directory_that_went_away_refuses_the_reload(server, models, tmp_path):
    directory = models("plus1")
    one = server(models=directory)
    directory.rename(tmp_path / "elsewhere")
    reload(one, expected="not reloaded")
    assert plus(one) == 1


def test_an_unloaded_model_does_not_refuse_a_reload(server):
    one = server(config="threads: 1\n" + decision(), models=COACH / "models")
    example = one.request("GET", "/api/contracts").json
    assert one.request("POST", "/v2/repository/models/regime/unload", {}).status == 200
    assert one.request("POST", "/api/coach/recommend", REQUEST).status == 503
    lines = reload(one)
    assert re.search(r"warn +decide: /api/coach/recommend: model 'regime' is unloaded", lines)
    assert one.request("POST", "/api/coach/recommend", REQUEST).status == 503
    assert one.request("GET", "/openapi.json").json["paths"]["/api/coach/recommend"]
    assert one.request("GET", "/api/contracts").status == 200
    assert one.request("POST", "/v2/repository/models/regime/load", {}).status == 200
    assert one.request("POST", "/api/coach/recommend", REQUEST).status == 200
    assert "unloaded" not in reload(one)
    assert one.request("GET", "/api/contracts").json == example


# --- under load and at the end -----------------------------------------------------------------------
def test_reloads_and_requests_at_once(server):
    texts = [f"threads: 2\naccess_log: {log}\nserver_name: n{i}\nhttp: {{gzip_level: {i}, idle_timeout_ms: {i}s}}\n"
             f"cors: {{origins: ['{ORIGIN}']}}\n" + decision()
             for i, log in ((3, "true"), (9, "false"))]
    one = server(config=texts[0], models=COACH / "models")
    over = time.monotonic() + 3

    def ask(_):
        n = 0
        while time.monotonic() < over:
            assert one.request("POST", "/api/coach/recommend", REQUEST).status == 200
            assert encoding(one).headers["Content-Encoding"] == "gzip"
            assert allowed_origin(one) == ORIGIN
            n += 1
        return n

    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        asked = [pool.submit(ask, i) for i in range(3)]
        i = 0
        while time.monotonic() < over:
            i += 1
            reload(one, texts[i % 2])
        assert all(future.result() > 0 for future in asked)
    assert i > 1


def test_a_reload_that_ends_while_draining_does_not_say_ready(server, tmp_path, models):
    path = tmp_path / "notify.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(path))
        manager.settimeout(20)
        one = server(models=models("plus1"), env={"NOTIFY_SOCKET": str(path)})
        assert manager.recv(200) == b"READY=1"
        one.process.send_signal(signal.SIGHUP)
        assert manager.recv(200).startswith(b"RELOADING=1")
        one.process.send_signal(signal.SIGTERM)
        one.process.wait(20)
        manager.setblocking(False)
        said = []
        while True:
            try:
                said.append(manager.recv(200))
            except BlockingIOError:
                break
        # The reload may have ended before the signal came, but never after STOPPING=1.
        assert said[-1] == b"STOPPING=1", said


def test_the_time_of_a_request_after_a_reload(server, models):
    one = server(config="workers: 1\n", models=models("slow"))

    def statuses():
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            asked = [pool.submit(one.request, "POST", "/v2/models/slow/infer", example_request("slow"))
                     for _ in range(8)]
            return {answer.result().status for answer in asked}

    assert statuses() == {200}
    reload(one, "workers: 1\nrequest_timeout_ms: 1\n")
    assert 503 in statuses()  # those that wait for the one worker longer than they may
