# SPDX-License-Identifier: Apache-2.0
"""pacer serve as a command: flags, exit codes, what it says. What it serves is tested elsewhere."""
import json
import signal
import socket

import pytest


def test_it_becomes_ready_and_ends(server, models):
    one = server(models=models("plus1"))
    assert one.port > 0
    answer = one.request("POST", "/v2/models/plus1/infer", {"inputs": [
        {"name": "X", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]}]})
    assert answer.status == 200 and answer.json["outputs"][0]["data"] == [2, 3, 4, 5]
    assert one.raw(b"GET /v2/health/live HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").startswith(
        b"HTTP/1.1 200 OK\r\n")
    assert one.stop() == 0


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT])
def test_signals_end_it_cleanly(server, models, sig):
    assert server(models=models("plus1")).stop(sig) == 0


def test_flags_win_over_the_file(server, models):
    one = server(config="http: {body_bytes_max: 100}\nlog_format: text\nserver_name: file\n", models=models("plus1"),
                 args=["--set", "server_name=flag", "--body-max=1KiB", "--log-format", "json"])
    assert one.request("GET", "/v2").json["name"] == "flag"
    assert one.request("POST", "/v2/models/plus1/infer", b" " * 1000).status == 400
    assert one.request("POST", "/v2/models/plus1/infer", b" " * 2000).status == 413
    assert all(json.loads(line)["level"] in ("info", "warn") for line in one.stderr)


def test_access_log(server, models):
    one = server(models=models("plus1"), args=["--access-log"])
    one.request("GET", "/v2/models/plus1")
    assert one.stop() == 0
    lines = [json.loads(line) for line in one.stdout]
    assert any("/v2/models/plus1" in str(line) for line in lines)


def test_a_port_in_use(run, models, tmp_path):
    models("plus1")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = run("serve", "--listen", f"127.0.0.1:{port}", "--models", tmp_path / "models")
    assert done.returncode == 1
    assert str(port) in done.stderr.decode() and "another process uses it" in done.stderr.decode()


def test_models_that_are_not_there(run, tmp_path):
    done = run("serve", "--listen", "127.0.0.1:0", "--models", tmp_path / "nowhere")
    assert done.returncode == 1 and b"nowhere" in done.stderr


def test_faults_of_flags(run, tmp_path):
    done = run("serve", "--threads", "many", "--set", "htp.gzip_level=1")
    text = done.stderr.decode()
    assert done.returncode == 3
    assert "'many' is not a whole number" in text and "did you mean 'http.gzip_level'?" in text
    assert run("serve", tmp_path / "none.yaml").returncode == 3


def test_without_models_it_says_what_to_give(run, tmp_path):
    done = run("serve", "--listen", "127.0.0.1:0", cwd=tmp_path)
    assert done.returncode != 0 and b"give --models DIR or a CONFIG" in done.stderr


def test_help_shows_choices_defaults_and_forms(run):
    shown = " ".join(run("serve", "--help").stdout.decode().split())
    for words in ("[IPv6]:PORT, :PORT, unix:/path; default 127.0.0.1:8080)", "(debug|info|warn|error; default info)",
                  "(default models)"):
        assert words in shown
