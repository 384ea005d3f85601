# SPDX-License-Identifier: Apache-2.0
"""What every end-to-end test stands on: the real binary, and servers started from a configuration.

    def test_something(server, models):
        with_models = server(config="threads: 1\\n", models=models("simple", "plus1"))
        assert with_models.request("GET", "/v2/health/ready").status == 200

A server is stopped with SIGTERM when its test ends; the test fails unless it drained, exited with 0 and no sanitizer
spoke.
"""
import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import threading
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
MODELS = ROOT / "tests" / "data" / "models"
SANITIZER = re.compile(r"Sanitizer|runtime error:|pacer: bug:")
START_SECONDS = 30
STOP_SECONDS = 30


def example_request(model):
    """The body of a request that this test model answers, from tests/data/models/cases.json."""
    cases = json.loads((MODELS / "cases.json").read_text())
    return {"inputs": next(case["inputs"] for case in cases if case["model"] == model)}


@pytest.fixture(scope="session")
def pacer():
    """Path of the binary under test."""
    path = pathlib.Path(os.environ.get("PACER_BIN", ROOT / "build" / "pacer"))
    if not path.is_file():
        pytest.fail(f"there is no {path}; build it with make, or set PACER_BIN")
    return str(path)


@pytest.fixture(scope="session")
def run(pacer):
    """run("check", "x.yaml", input=b"") → CompletedProcess with bytes; never raises for an exit code."""

    def call(*args, **options):
        options.setdefault("timeout", 60)
        options.setdefault("input", b"")
        done = subprocess.run([pacer, *map(str, args)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              check=False, **options)
        assert not SANITIZER.search(done.stderr.decode(errors="replace")), done.stderr.decode()
        assert done.returncode >= 0, f"killed by signal {-done.returncode}: {done.stderr.decode()}"
        return done

    return call


@pytest.fixture
def models(tmp_path):
    """models("simple", "plus1") → a fresh model directory with copies of these test models."""

    def make(*names, directory="models"):
        target = tmp_path / directory
        target.mkdir(exist_ok=True)
        for name in names:
            shutil.copy(MODELS / f"{name}.onnx", target)
        return target

    return make


class Response:
    """An answer whose body has been read."""

    def __init__(self, status, reason, headers, body):
        self.status, self.reason, self.headers, self.body = status, reason, headers, body

    @property
    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return f"<{self.status} {self.reason}: {self.body[:200]!r}>"


class Server:
    """A running `pacer serve`."""

    def __init__(self, pacer, config, args, env):
        self.config = config
        self.stdout, self.stderr = [], []
        self.port = None
        self.killed = False
        self.process = subprocess.Popen([pacer, "serve", str(config), *map(str, args)], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                        env={**os.environ, **(env or {})}, cwd=config.parent)
        self._readers = [threading.Thread(target=self._read, args=(pipe, lines), daemon=True)
                         for pipe, lines in ((self.process.stdout, self.stdout), (self.process.stderr, self.stderr))]
        for reader in self._readers:
            reader.start()

    @staticmethod
    def _read(pipe, lines):
        for line in pipe:
            lines.append(line.decode(errors="replace").rstrip("\n"))

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self):
        return "\n".join(self.stderr)

    def wait_for_log(self, pattern, seconds=START_SECONDS):
        """The first match of a regular expression in the log; fails if the server ends first."""
        end = time.monotonic() + seconds
        while True:
            over = self.process.poll() is not None
            if over:
                self._readers[1].join(5)
            match = re.search(pattern, self.log)
            if match:
                return match
            if over:
                pytest.fail(f"the server ended with {self.process.returncode}:\n{self.log}")
            if time.monotonic() > end:
                pytest.fail(f"no {pattern!r} in the log after {seconds} s:\n{self.log}")
            time.sleep(0.01)

    def wait_listening(self):
        """Until it answers; its models may still be being loaded."""
        self.port = int(self.wait_for_log(r"listening on \S*?:(\d+),").group(1))

    def wait_ready(self):
        # The log says which port the kernel chose.
        self.port = int(self.wait_for_log(r"ready on \S*?:(\d+):").group(1))
        end = time.monotonic() + START_SECONDS
        while True:
            try:
                if self.request("GET", "/v2/health/ready").status == 200:
                    return
            except OSError:
                pass
            if self.process.poll() is not None or time.monotonic() > end:
                pytest.fail(f"the server does not become ready:\n{self.log}")
            time.sleep(0.02)

    def connect(self, timeout=30):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)

    def request(self, method, path, body=None, headers=None, timeout=30):
        """One request on a connection of its own. A dict or list is sent as JSON."""
        headers = dict(headers or {})
        if isinstance(body, (dict, list)):
            body = json.dumps(body).encode()
            headers.setdefault("Content-Type", "application/json")
        connection = self.connect(timeout)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return Response(answer.status, answer.reason, answer.headers, answer.read())
        finally:
            connection.close()

    def raw(self, data, timeout=10, half_close=False):
        """Sends bytes and returns all that comes back until the server closes or is silent for `timeout` seconds."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=timeout) as sock:
            try:
                sock.sendall(data)
                if half_close:
                    sock.shutdown(socket.SHUT_WR)
            except OSError:
                pass  # refused before all was sent; the answer may be there already
            received = b""
            try:
                while True:
                    part = sock.recv(65536)
                    if not part:
                        break
                    received += part
            except (socket.timeout, ConnectionResetError):
                pass
            return received

    def kill(self):
        self.killed = True
        self.process.kill()
        self.process.wait()

    def stop(self, sig=signal.SIGTERM):
        """Ends the server and returns its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(sig)
        try:
            code = self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            pytest.fail(f"the server did not end within {STOP_SECONDS} s of SIGTERM:\n{self.log}")
        for reader in self._readers:
            reader.join(5)
        self.process.stdout.close()
        self.process.stderr.close()
        return code


@pytest.fixture
def server(pacer, tmp_path):
    """server(config="…", models=path, args=[…], env={…}, wait=True) → Server. `config` is YAML; listen and models_dir
    are given on the command line."""
    started = []

    def start(config="", models=None, args=(), env=None, wait=True):
        file = tmp_path / f"pacer{len(started) or ''}.yaml"
        file.write_text(config, encoding="utf-8")
        if models is None:
            models = tmp_path / "models"
            models.mkdir(exist_ok=True)
        one = Server(pacer, file, ["--listen", "127.0.0.1:0", "--models", models, *args], env)
        started.append(one)
        if wait:
            one.wait_ready()
        return one

    yield start
    codes = [(one, one.stop()) for one in started]
    for one, code in codes:
        assert not SANITIZER.search(one.log), one.log
        assert code == 0 or one.killed, f"exit code {code}:\n{one.log}"
