# SPDX-License-Identifier: Apache-2.0
"""Hostile clients, models and moments, against the running program: each test is a way in which one of them once got
further than it may."""
import json
import os
import shutil
import signal
import socket
import struct
import time

from conftest import MODELS


def infer(inputs):
    return json.dumps({"inputs": inputs}).encode()


def slow(steps):
    """A request that takes as long as it says."""
    return infer([{"name": "X", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]},
                  {"name": "STEPS", "shape": [], "datatype": "INT64", "data": [steps]}])


def post(path, body):
    return b"POST %s HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s" % (path.encode(), len(body), body)


def send(server, data):
    sock = socket.create_connection(("127.0.0.1", server.port), timeout=30)
    sock.sendall(data)
    return sock


def test_a_value_that_makes_a_model_slow_holds_up_nobody_else(server, models):
    one = server(config="threads: 1\nworkers: 1\ndrain_ms: 200ms\n", models=models("slow_by", "plus1"))
    with send(one, post("/v2/models/slow_by/infer", slow(2**40))):
        time.sleep(0.2)
        for _ in range(5):
            assert one.request("GET", "/v2/health/live", timeout=10).status == 200
        x = [{"name": "X", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}]
        answer = one.request("POST", "/v2/models/plus1/infer", {"inputs": x}, timeout=10)
        assert answer.json["outputs"][0]["data"] == [2, 3, 4, 5]
        # The end comes although the run would take months.
        assert one.stop() == 0


def test_the_end_does_not_wait_for_a_queue_nobody_will_read(server, models):
    one = server(config="threads: 1\nworkers: 1\ndrain_ms: 200ms\n", models=models("slow_by"))
    socks = [send(one, post("/v2/models/slow_by/infer", slow(2**40)) * 20) for _ in range(20)]
    socks += [send(one, post("/v2/repository/models/slow_by/load", b"") * 20) for _ in range(5)]
    time.sleep(0.3)
    assert one.stop() == 0
    for sock in socks:
        sock.close()


def test_requests_of_broken_connections_are_not_computed(server, models):
    one = server(config="threads: 1\nworkers: 1\ndrain_ms: 200ms\n", models=models("slow_by"))
    first = send(one, post("/v2/models/slow_by/infer", slow(4000)))
    time.sleep(0.05)  # it is being computed
    for _ in range(10):
        sock = send(one, post("/v2/models/slow_by/infer", slow(2**40)) * 10)
        time.sleep(0.02)  # read, so that they wait behind it
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()  # by a reset
    answer = one.request("POST", "/v2/models/slow_by/infer", json.loads(slow(1)), timeout=30)
    assert answer.status == 200
    first.close()


def test_a_fifo_among_the_models_holds_nothing_up(server, models):
    directory = models("plus1")
    (directory / "fifo" / "1").mkdir(parents=True)
    shutil.copy(MODELS / "plus1.onnx", directory / "fifo" / "1" / "model.onnx")
    os.mkfifo(directory / "fifo" / "config.pbtxt")
    os.mkfifo(directory / "pipe.onnx")
    one = server(models=directory, wait=False)
    one.port = int(one.wait_for_log(r"ready on \S*?:(\d+):").group(1))
    states = {line["name"]: line for line in one.request("POST", "/v2/repository/index").json}
    assert states["plus1"]["state"] == "READY"
    assert states["fifo"]["state"] == "UNAVAILABLE" and "not a regular file" in states["fifo"]["reason"]
    assert "pipe" not in states


def test_options_of_the_whole_server(server):
    answer = server().raw(b"OPTIONS * HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 204 ")
