# SPDX-License-Identifier: Apache-2.0
"""Nothing that others do, or fail to do, holds the server up or makes it grow without bound."""
import http.client
import json
import re
import signal
import socket
import subprocess
import time

import pytest


@pytest.fixture
def unread(pacer, tmp_path, models):
    """A server with an access log that nobody reads, its port, and a way to take its output at the end."""
    config = tmp_path / "unread.yaml"
    config.write_text("threads: 1\naccess_log: true\n", encoding="utf-8")
    process = subprocess.Popen([pacer, "serve", str(config), "--listen", "127.0.0.1:0", "--models",
                                str(models("plus1"))], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    line = ""
    while "ready on" not in line:
        line = process.stderr.readline().decode()
        assert line, "the server ended"
    yield process, int(re.search(r":(\d+):", line.split("ready on")[1]).group(1))
    if process.poll() is None:
        process.kill()
    process.communicate()


def ask_many(port, n):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    for _ in range(n):
        connection.request("GET", "/v2/" + "x" * 1000)  # long paths fill the pipe sooner
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 404
    connection.close()


def test_an_unread_access_log_does_not_stop_the_server(unread):
    process, port = unread
    ask_many(port, 10000)  # over 10 MB of lines; the pipe takes 64 KiB
    process.send_signal(signal.SIGTERM)
    # What nobody reads cannot keep the process either.
    began = time.monotonic()
    assert process.wait(20) == 0
    assert time.monotonic() - began < 15


def test_a_log_that_is_read_late_is_whole_and_says_what_it_lost(unread):
    process, port = unread
    ask_many(port, 10000)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=30)
    lines = out.decode().splitlines()
    for line in lines:
        assert json.loads(line)["status"] == 404
    lost = [int(n) for n in re.findall(r"(\d+) lines of the access log were lost", err.decode())]
    assert lost, err.decode()
    assert len(lines) + sum(lost) == 10000


def test_the_log_is_complete_at_the_end(server, models):
    one = server(config="access_log: true\n", models=models("plus1"))
    ask_many(one.port, 500)
    assert one.stop() == 0
    assert len([line for line in one.stdout if "xxxx" in line]) == 500
    assert "drained" in one.log


@pytest.mark.parametrize("head", [b"GET /v2 HTTP/1.1\r\n", b"POST /no/such/path HTTP/1.1\r\n",
                                  b"PUT /v2/models/plus1 HTTP/1.1\r\n"])
def test_a_path_without_a_body_refuses_one_before_it_comes(server, models, head):
    one = server(models=models("plus1"))
    got = one.raw(head + b"Host: x\r\nContent-Length: 1000000\r\n\r\n", timeout=5, half_close=False)
    assert got.startswith(b"HTTP/1.1 413 "), got
    chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    got = one.raw(head + b"Host: x\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk + chunk, timeout=5)
    assert got.startswith(b"HTTP/1.1 413 "), got


def test_bodies_together_have_a_limit(server, models):
    one = server(config="threads: 1\nhttp: {body_bytes_max: 1MiB, body_memory_max: 2MiB}\n", models=models("plus1"))
    head = b"POST /v2/models/plus1/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n"
    half = []
    for _ in range(2):
        sock = socket.create_connection(("127.0.0.1", one.port), timeout=10)
        sock.sendall(head + b"{" * 900000)
        half.append(sock)
    end = time.monotonic() + 10
    while True:
        got = one.raw(head, timeout=1)
        if got or time.monotonic() > end:
            break
    assert got.startswith(b"HTTP/1.1 503 ") and b"Retry-After: " in got, got
    assert one.request("GET", "/v2").status == 200  # what needs no memory is served
    for sock in half:
        sock.close()
    end = time.monotonic() + 10
    while time.monotonic() < end:
        if one.request("POST", "/v2/models/plus1/infer", b"{" * 900000).status == 400:
            break
    else:
        pytest.fail("the memory of bodies that are gone is not given back")


def test_words_of_the_runtime_reach_the_log_as_warnings(server, models):
    one = server(models=models("gather"))
    bad = {"inputs": [{"name": "INDEX", "datatype": "INT64", "shape": [1], "data": [10]}]}
    assert one.request("POST", "/v2/models/gather/infer", bad).status == 500
    one.wait_for_log(r"warn +onnxruntime: .*indices element out of data bounds")
