# SPDX-License-Identifier: Apache-2.0
"""The listener of operators: who may, what it answers, what it refuses."""
import gzip
import http.client
import json
import re
import signal
import socket
import time

import pytest

TOKEN = "a-token-of-operators"
CONFIG = f"ops_listen: 127.0.0.1:0\nops_token: {TOKEN}\n"


def ops_port(one):
    return int(one.wait_for_log(r"operators are listened to on \S*?:(\d+)").group(1))


def ops(one, method, path, body=None, auth=f"Bearer {TOKEN}", headers=None):
    connection = http.client.HTTPConnection("127.0.0.1", ops_port(one), timeout=30)
    try:
        connection.request(method, path, body, {**({"Authorization": auth} if auth else {}), **(headers or {})})
        answer = connection.getresponse()
        return answer.status, answer.read().decode(), answer.headers
    finally:
        connection.close()


@pytest.mark.parametrize("auth, status", [
    (f"Bearer {TOKEN}", 200), (f"bearer  {TOKEN} ", 200), (None, 401), ("", 401), ("Bearer", 401), ("Bearer ", 401),
    (f"Basic {TOKEN}", 401), (f"Bearer {TOKEN}x", 401), (f"Bearer {TOKEN[:-1]}", 401), (f"Bearer {TOKEN * 2}", 401),
    (TOKEN, 401), ("Bearer " + "x" * 8000, 401)])
def test_only_who_has_the_token_may(server, models, auth, status):
    one = server(config=CONFIG, models=models("plus1"))
    for method, path in (("GET", "/metrics"), ("GET", "/admin/cache"), ("POST", "/admin/cache/purge")):
        got, body, headers = ops(one, method, path, '{"all": true}' if method == "POST" else None, auth)
        assert got == status
        if status == 401:
            assert headers["WWW-Authenticate"].startswith("Bearer") and "ops_token" in body
    assert ops(one, "GET", "/health", auth=auth)[0] == 200
    assert ops(one, "GET", "/nothing", auth=auth)[0] == (404 if status == 200 else 401)
    assert TOKEN not in one.log


@pytest.mark.parametrize("body", ["", "{}", "[]", "null", "{", '{"model": 1}', '{"key": "12"}', '{"all": false}',
                                  '{"all": true, "model": "m"}', '{"modle": "m"}', '{"key": "' + "g" * 32 + '"}',
                                  '{"model": "a", "model": "b"}', "\x00", '{"model": null}'])
def test_a_purge_says_what_it_expects(server, models, body):
    one = server(config=CONFIG, models=models("plus1"))
    status, text, _ = ops(one, "POST", "/admin/cache/purge", body)
    assert status == 400 and "expected a JSON object" in text


def test_what_is_not_there_is_purged_all_the_same(server, models):
    one = server(config=CONFIG, models=models("plus1"))
    for body in ({"model": "no such"}, {"tenant": ""}, {"key": "0" * 32}, {"all": True},
                 {"model": "m", "tenant": "t", "key": "F" * 32}):
        status, text, _ = ops(one, "POST", "/admin/cache/purge", json.dumps(body))
        assert status == 200
        assert json.loads(text) == {"removed": {"memory": 0, "lmdb": None, "redis": None}}
    assert ops(one, "GET", "/admin/cache/purge")[0] == 405
    assert ops(one, "POST", "/admin/cache/purge", "x" * 100000)[0] == 413


def test_the_serving_listener_has_none_of_it(server, models):
    one = server(config=CONFIG, models=models("plus1"))
    headers = {"Authorization": f"Bearer {TOKEN}"}
    assert one.request("GET", "/admin/cache", headers=headers).status == 404
    assert one.request("POST", "/admin/cache/purge", {"all": True}, headers).status == 404
    assert "pacer_cache_answers_total" in ops(one, "GET", "/metrics")[1]


def test_health_needs_no_token_and_the_rest_of_the_methods_are_told(server, models):
    one = server(config=CONFIG, models=models("plus1"))
    assert ops(one, "HEAD", "/health", auth=None)[:2] == (200, "")
    status, _, headers = ops(one, "POST", "/health", "{}", auth=None)
    assert status == 405 and headers["Allow"] == "GET, HEAD, OPTIONS"
    assert ops(one, "GET", "/health/", auth=None)[0] == 401
    assert ops(one, "GET", "/%68ealth?x", auth=None)[0] == 200
    assert ops(one, "OPTIONS", "/admin/cache", auth=None)[0] == 401
    status, _, headers = ops(one, "OPTIONS", "/admin/cache/purge")
    assert status == 204 and headers["Allow"] == "POST, OPTIONS"
    status, _, headers = ops(one, "DELETE", "/admin/cache")
    assert status == 405 and headers["Allow"] == "GET, HEAD, OPTIONS"


def test_bodies_are_small_however_they_come(server, models):
    one = server(config=CONFIG, models=models("plus1"))
    for more in ({}, {"Content-Encoding": "gzip"}):
        body = b'{"model": "' + b"x" * 100000 + b'"}'
        body = gzip.compress(body) if more else body
        assert ops(one, "POST", "/admin/cache/purge", body, headers=more)[0] == 413
    small = gzip.compress(b'{"model": "' + b"x" * 60000 + b'"}')
    assert ops(one, "POST", "/admin/cache/purge", small, headers={"Content-Encoding": "gzip"})[0] == 200


def test_no_web_page_may_read_it(server, models):
    one = server(config=CONFIG + "cors: {origins: ['*']}\n", models=models("plus1"))
    origin = {"Origin": "https://app.example"}
    assert one.request("GET", "/v2", headers=origin).headers["Access-Control-Allow-Origin"]
    assert ops(one, "GET", "/metrics", headers=origin)[2]["Access-Control-Allow-Origin"] is None


# --- with the process ------------------------------------------------------------------------------
def reload(one, config):
    before = len(one.stderr)
    one.config.write_text(config)
    one.process.send_signal(signal.SIGHUP)
    end = time.monotonic() + 30
    while not re.search(r"server: reloaded", "\n".join(one.stderr[before:])):
        assert time.monotonic() < end and "not reloaded" not in one.log, one.log
        time.sleep(0.01)
    return "\n".join(one.stderr[before:])


def test_requests_have_an_id_and_a_line_in_the_access_log(server, models):
    one = server(config=CONFIG + "access_log: true\n", models=models("plus1"))
    assert ops(one, "GET", "/metrics", headers={"X-Request-Id": "theirs"})[2]["X-Request-Id"] == "theirs"
    own = ops(one, "GET", "/admin/cache", auth=None)[2]["X-Request-Id"]
    assert one.stop() == 0
    lines = [json.loads(line) for line in one.stdout]
    assert [(line["path"], line["status"]) for line in lines if line["id"] in ("theirs", own)] == [
        ("/metrics", 200), ("/admin/cache", 401)]
    assert TOKEN not in "\n".join(one.stdout) + one.log


def test_a_reload_reaches_limits_and_access_log(server, models):
    one = server(config=CONFIG, models=models("plus1"))
    longer = {"X-Long": "y" * 400}
    assert ops(one, "GET", "/metrics", headers=longer)[0] == 200
    reload(one, CONFIG + "access_log: true\nhttp: {header_bytes_max: 300, body_bytes_max: 20}\n")
    assert ops(one, "GET", "/metrics", headers=longer)[0] == 431
    assert ops(one, "POST", "/admin/cache/purge", "{" + " " * 30 + "}")[0] == 413
    assert ops(one, "GET", "/metrics", headers={"X-Request-Id": "seen"})[0] == 200
    reload(one, CONFIG)
    assert ops(one, "GET", "/metrics", headers={**longer, "X-Request-Id": "unseen"})[0] == 200
    assert one.stop() == 0
    ids = [json.loads(line)["id"] for line in one.stdout]
    assert "seen" in ids and "unseen" not in ids


def test_without_a_token_in_force_nobody_may(server, models):
    one = server(config=CONFIG, models=models("plus1"))
    assert re.search("'ops_listen' changed: .* until a restart", reload(one, "threads: 1\n"))
    assert ops(one, "GET", "/metrics")[0] == 401
    assert ops(one, "GET", "/metrics", auth="Bearer ")[0] == 401
    assert ops(one, "GET", "/health", auth=None)[0] == 200
    reload(one, CONFIG)
    assert ops(one, "GET", "/metrics")[0] == 200


def half_a_purge(one):
    sock = socket.create_connection(("127.0.0.1", ops_port(one)), timeout=30)
    sock.sendall(f"POST /admin/cache/purge HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n"
                 "Content-Length: 13\r\n\r\n{".encode())
    time.sleep(0.2)
    return sock


def test_what_runs_is_answered_before_the_end(server, models):
    one = server(config=CONFIG + "threads: 2\n", models=models("plus1"))
    with half_a_purge(one) as sock, socket.create_connection(("127.0.0.1", ops_port(one)), timeout=30) as idle:
        idle.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        assert idle.recv(4096).startswith(b"HTTP/1.1 200")
        one.process.send_signal(signal.SIGTERM)
        assert idle.recv(4096) == b""  # closed at once
        assert one.process.poll() is None
        sock.sendall(b'"all": true}')
        answer = b""
        while part := sock.recv(4096):
            answer += part
    assert answer.startswith(b"HTTP/1.1 200") and b"connection: close" in answer.lower()
    assert b'{"removed":' in answer
    assert one.stop() == 0


def test_the_end_waits_no_longer_than_it_may(server, models):
    one = server(config=CONFIG + "drain_ms: 300ms\n", models=models("plus1"))
    with half_a_purge(one):
        began = time.monotonic()
        assert one.stop() == 0
        assert 0.25 < time.monotonic() - began < 5


def test_a_reload_changes_the_token(server, models):
    one = server(config=CONFIG, models=models("plus1"))
    one.config.write_text(CONFIG.replace(TOKEN, "another-token-of-theirs"))
    one.process.send_signal(signal.SIGHUP)
    one.wait_for_log("reloaded")
    assert ops(one, "GET", "/metrics")[0] == 401
    assert ops(one, "GET", "/metrics", auth="Bearer another-token-of-theirs")[0] == 200
    assert one.stop() == 0


@pytest.mark.parametrize("config, words", [
    ("ops_listen: 127.0.0.1:0\n", "needs ops_token"), ("ops_listen: 127.0.0.1:0\nops_token: short\n", "too short"),
    ("ops_listen: nowhere\nops_token: a-token-of-operators\n", "is not an address")])
def test_faults_are_told_without_the_token(run, models, tmp_path, config, words):
    models("plus1")
    (tmp_path / "pacer.yaml").write_text(config)
    done = run("check", tmp_path / "pacer.yaml")
    assert done.returncode == 3 and words in done.stdout.decode()
    assert "short\n" not in done.stdout.decode() and TOKEN not in done.stdout.decode()


def test_a_port_in_use_is_said(run, models, tmp_path):
    models("plus1")
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        port = sock.getsockname()[1]
        (tmp_path / "pacer.yaml").write_text(f"listen: 127.0.0.1:0\nops_listen: 127.0.0.1:{port}\nops_token: {TOKEN}\n")
        done = run("serve", tmp_path / "pacer.yaml", timeout=20)
    assert done.returncode == 1 and "another process uses it" in done.stderr.decode()


def test_a_unix_socket_will_do(server, models, tmp_path):
    one = server(config=f"ops_listen: unix:{tmp_path}/ops.sock\nops_token: {TOKEN}\n", models=models("plus1"))
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(f"{tmp_path}/ops.sock")
        sock.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert sock.recv(100).startswith(b"HTTP/1.1 200")
    assert one.stop() == 0
