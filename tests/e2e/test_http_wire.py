# SPDX-License-Identifier: Apache-2.0
"""The bytes on the wire, against the running program: what is refused, how it is refused, and that the server stays up.

The full table of malformed requests is a unit test (tests/unit/test_http_refusals.c); here one of each family goes
through a real socket."""
import socket
import threading
import time

import pytest

LIVE = b"GET /v2/health/live HTTP/1.1\r\nHost: a\r\n"
GOOD = LIVE + b"\r\n"
POST = b"POST /v2/repository/index HTTP/1.1\r\nHost: a\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"

REFUSED = {
    "space before colon": (400, b"GET / HTTP/1.1\r\nHost : a\r\n\r\n"),
    "folded header": (400, LIVE + b"X: a\r\n b\r\n\r\n"),
    "space before first header": (400, b"GET / HTTP/1.1\r\n Host: a\r\n\r\n"),
    "no host": (400, b"GET / HTTP/1.1\r\n\r\n"),
    "two hosts": (400, LIVE + b"Host: b\r\n\r\n"),
    "invalid host": (400, b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"),
    "bare CR": (400, LIVE + b"X: a\rb\r\n\r\n"),
    "bare LF": (400, b"GET / HTTP/1.1\nHost: a\n\n"),
    "NUL in header": (400, LIVE + b"X: a\0b\r\n\r\n"),
    "empty header name": (400, LIVE + b": a\r\n\r\n"),
    "malformed version": (400, b"GET / HTTP/1.x\r\nHost: a\r\n\r\n"),
    "HTTP/2 preface": (505, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    "space in target": (400, b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n"),
    "escaped NUL": (400, b"GET /%00 HTTP/1.1\r\nHost: a\r\n\r\n"),
    "unknown method": (501, b"FOO / HTTP/1.1\r\nHost: a\r\n\r\n"),
    "CONNECT": (501, b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n"),
    "TLS": (400, bytes.fromhex("16030102000100")),
    "signed length": (400, POST + b"Content-Length: +5\r\n\r\nhello"),
    "two lengths": (400, POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!"),
    "overflowing length": (400, POST + b"Content-Length: 99999999999999999999\r\n\r\n"),
    "body beyond the limit": (413, POST + b"Content-Length: 99999999999\r\n\r\n"),
    "length and chunked": (400, POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    "chunked in HTTP/1.0": (400, b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    "unknown transfer coding": (501, POST + b"Transfer-Encoding: foo\r\n\r\n"),
    "chunk size 0x5": (400, CHUNKED + b"0x5\r\nhello\r\n0\r\n\r\n"),
    "chunk size overflow": (400, CHUNKED + b"10000000000000000\r\n"),
    "chunk extensions": (400, CHUNKED + b"5;" + b"a" * 5000 + b"\r\nhello\r\n0\r\n\r\n"),
    "long target": (414, b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: a\r\n\r\n"),
    "large head": (431, LIVE + b"X: " + b"a" * 20000 + b"\r\n\r\n"),
    "many headers": (431, LIVE + b"A: b\r\n" * 120 + b"\r\n"),
    "expectation": (417, POST + b"Expect: cake\r\nContent-Length: 2\r\n\r\n"),
    "unknown coding": (501, POST + b"Content-Encoding: br\r\nContent-Length: 2\r\n\r\n{}"),
    "corrupt gzip": (400, POST + b"Content-Encoding: gzip\r\nContent-Length: 5\r\n\r\nhello"),
}


def connect(server):
    return socket.create_connection(("127.0.0.1", server.port), timeout=20)


def read_all(sock):
    data = b""
    while True:
        piece = sock.recv(65536)
        if not piece:
            return data
        data += piece


def read_answer(sock, data=b""):
    """(status, head, body, what came after it)"""
    while b"\r\n\r\n" not in data:
        piece = sock.recv(65536)
        assert piece, f"closed after {data!r}"
        data += piece
    head, rest = data.split(b"\r\n\r\n", 1)
    lengths = [line.split(b":")[1] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
    length = int(lengths[0]) if lengths else 0
    while len(rest) < length:
        piece = sock.recv(65536)
        assert piece, "closed inside a body"
        rest += piece
    return int(head[9:12]), head, rest[:length], rest[length:]


def test_what_is_malformed_is_refused_and_the_connection_closed(server):
    one = server()
    bystander = connect(one)
    for name, (status, text) in REFUSED.items():
        with connect(one) as sock:
            sock.sendall(text)
            answer = read_all(sock)  # ends, since the server closes
        assert answer[:12] == b"HTTP/1.1 %d" % status, f"{name}: {answer[:200]!r}"
        head, body = answer.split(b"\r\n\r\n", 1)
        assert b"\r\nConnection: close" in head and b"\r\nDate: " in head, name
        assert body.startswith(b'{"error":"') and body.endswith(b'"}'), name
        if name == "unknown coding":
            assert b"\r\nAccept-Encoding: gzip, deflate" in head
        bystander.sendall(GOOD)
        assert read_answer(bystander)[0] == 200, f"after {name}"
    bystander.close()


def test_pipelined_requests_are_answered_in_order(server):
    one = server()
    with connect(one) as sock:
        sock.sendall(b"".join(LIVE + b"X-Request-Id: r%d\r\n\r\n" % i for i in range(1000)))
        rest = b""
        for i in range(1000):
            status, head, _, rest = read_answer(sock, rest)
            assert status == 200 and b"X-Request-Id: r%d\r\n" % i in head + b"\r\n"


def test_requests_in_single_bytes(server):
    one = server()
    with connect(one) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in CHUNKED + b"2\r\n{}\r\n0\r\n\r\n":
            sock.sendall(bytes([byte]))
        assert read_answer(sock)[0] == 200


def test_head_has_the_headers_of_get_and_no_body(server):
    one = server()
    with connect(one) as sock:
        sock.sendall(GOOD)
        _, got, body, _ = read_answer(sock)
        sock.sendall(GOOD.replace(b"GET", b"HEAD", 1) + LIVE + b"Connection: close\r\n\r\n")
        data = read_all(sock)
    head, rest = data.split(b"\r\n\r\n", 1)
    assert b"Content-Length: %d" % len(body) in got and b"Content-Length: %d" % len(body) in head
    assert rest.startswith(b"HTTP/1.1 200"), "a body came with HEAD"


def test_wrong_method_names_the_right_ones(server):
    one = server()
    with connect(one) as sock:
        sock.sendall(b"DELETE /v2/health/live HTTP/1.1\r\nHost: a\r\n\r\n")
        status, head, body, _ = read_answer(sock)
    assert status == 405 and b"\r\nAllow: " in head and b"GET" in head.split(b"Allow: ")[1]
    assert body.startswith(b'{"error":"')


def test_half_closed_peer_is_answered(server):
    one = server()
    with connect(one) as sock:
        sock.sendall(GOOD)
        sock.shutdown(socket.SHUT_WR)
        assert read_all(sock).startswith(b"HTTP/1.1 200")


def test_expect_continue(server):
    one = server()
    with connect(one) as sock:
        sock.sendall(POST + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        assert read_answer(sock)[0] == 100
        sock.sendall(b"{}")
        assert read_answer(sock)[0] == 200


def test_slow_head_is_cut_while_others_are_served(server):
    one = server(config="http:\n  header_timeout_ms: 300\n")
    slow = connect(one)
    slow.sendall(b"GET / HTTP/1.1\r\n")
    start = time.monotonic()

    def drip():
        try:
            while True:
                slow.sendall(b"A: b\r\n")
                time.sleep(0.05)
        except OSError:
            pass  # cut off, as it should be

    feeder = threading.Thread(target=drip, daemon=True)
    feeder.start()
    with connect(one) as sock:
        sock.sendall(GOOD)
        assert read_answer(sock)[0] == 200
    status, _, _, _ = read_answer(slow)
    assert status == 408
    assert time.monotonic() - start >= 0.3  # no upper bound: the drip ends only when it is cut
    slow.close()
    feeder.join(20)


@pytest.mark.parametrize("count", [300])
def test_many_broken_connections_leave_nothing_behind(server, count):
    one = server()
    for i in range(count):
        sock = connect(one)
        sock.sendall(GOOD[: i % len(GOOD)] or b"\r\n")
        if i % 3 == 0:  # reset instead of close
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        sock.close()
    with connect(one) as sock:
        sock.sendall(GOOD)
        assert read_answer(sock)[0] == 200
