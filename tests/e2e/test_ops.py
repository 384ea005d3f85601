# SPDX-License-Identifier: Apache-2.0
"""The listener of operators: who may, what it answers, what it refuses."""
import http.client
import json
import signal
import socket

import pytest

TOKEN = "a-token-of-operators"
CONFIG = f"ops_listen: 127.0.0.1:0\nops_token: {TOKEN}\n"


def ops(one, method, path, body=None, auth=f"Bearer {TOKEN}"):
    port = int(one.wait_for_log(r"operators are listened to on \S*?:(\d+)").group(1))
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path, body, {"Authorization": auth} if auth else {})
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
