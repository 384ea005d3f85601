# SPDX-License-Identifier: Apache-2.0
"""The servers that are measured: how each is made ready, started and checked.

A peer's `kind` says what a correct answer is: `computed` (the model's probabilities, the same from
every such server), `contract` (the guide's decision, from the same probabilities) or `fixed` (a
constant v2 answer).
"""

import hashlib
import os
import re
import shutil
import socket
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from . import process

BENCH = Path(__file__).resolve().parent.parent
ROOT = BENCH.parent
READY = b"GET /v2/health/ready HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n"
ANSWER = (
    '{"model_name":"mlp","model_version":"1","outputs":[{"name":"probabilities",'
    '"datatype":"FP32","shape":[1,3],"data":[0.2870955,0.2180462,0.4948584]}]}'
)
SYSTEM_PYTHON = "/usr/bin/python3"  # the one the distribution's packages belong to
PYTHON_ENV = {"PYTHONDONTWRITEBYTECODE": "1"}


class Skip(Exception):
    """The peer cannot run here; the message says why and what would help."""


@dataclass
class Context:
    build: Path
    model: Path
    work: Path  # run-time files and logs
    pacer: Path
    bare: Path
    server_core: int
    features: int = 32  # of the model, where a peer has to be told


@dataclass
class Running:
    servers: list = field(default_factory=list)  # the peer last, what it leans on before it
    port: int = 0
    redis_port: int = 0

    @property
    def main(self):
        return self.servers[-1]

    def cpu_ticks(self):
        return sum(server.cpu_ticks() for server in self.servers)

    def rss_bytes(self):
        return sum(server.rss_bytes() for server in self.servers)

    def pss_bytes(self):
        return sum(server.pss_bytes() for server in self.servers)

    def stop(self):
        for server in reversed(self.servers):
            server.stop()


def tool(name):
    path = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/bin")
    if path is None:
        raise Skip(f"{name} is not installed; scripts/setup/packages.bench lists what is needed")
    return path


def telling_lines(text):
    """Of what a failed command printed, the lines that say why, without addresses in them."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [
        line for line in lines if re.match(r"(ERROR:|npm (error|ERR!)|FAILED|\w*Error:)", line)
    ][:2] or lines[-2:]
    errno = re.search(r"\[Errno -?\d+\] [\w ]+", text)
    if errno:
        errors.insert(0, errno.group())
    return re.sub(r"https?://\S+", "(address)", "; ".join(errors) or "no output")[:300]


def run_quietly(command, what, cwd=None):
    """Runs a preparing command; Skip with the cause if it fails."""
    try:
        result = subprocess.run(
            list(map(str, command)), cwd=cwd, capture_output=True, text=True, timeout=600
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Skip(f"{what} failed: {error}") from None
    if result.returncode != 0:
        raise Skip(f"{what} failed: {telling_lines(result.stdout + result.stderr)}")


def stamped(stamp, *inputs):
    """(was the step done for these very files before, their digest)."""
    digest = hashlib.sha256(b"".join(Path(p).read_bytes() for p in inputs)).hexdigest()
    return stamp.exists() and stamp.read_text() == digest, digest


class Peer:
    name = ""
    title = ""
    kind = "fixed"
    target = None  # the least pacer/peer aimed at
    unique = False  # every request with features of its own

    def prepare(self, ctx):
        """Makes it startable, or raises Skip."""

    def command(self, ctx, running):
        """(command, environment) for running.port.

        May start what it leans on and add that to running.servers.
        """
        raise NotImplementedError

    def versions(self, ctx):
        """The versions that were measured, for the report; empty where there is none of its own."""
        return ""

    def start(self, ctx):
        running = Running(port=process.free_port())
        try:
            command, env = self.command(ctx, running)
            log = ctx.work / f"{self.name}.log"
            running.servers.append(process.Server(command, ctx.server_core, log, env, ROOT))
            ready_s = running.main.wait_ready(running.port, READY, b"HTTP/1.1 200")
        except BaseException:
            running.stop()
            raise
        return running, ready_s


def output_of(command):
    result = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=60)
    return (result.stdout + result.stderr).strip()


class Pacer(Peer):
    name, title, kind = "pacer", "pacer", "computed"
    config = "pacer.yaml"

    def prepare(self, ctx):
        if not ctx.pacer.exists():
            raise Skip(f"{shown(ctx.pacer)} is not there; make bench builds it")

    def command(self, ctx, running):
        command = [
            ctx.pacer,
            "serve",
            BENCH / self.config,
            "--listen",
            f"127.0.0.1:{running.port}",
        ]
        if ctx.model.parent != BENCH / "models":
            command += ["--models", ctx.model.parent]
        return command, {}

    def versions(self, ctx):
        return output_of([ctx.pacer, "version"]).partition("\n")[0]


class PacerHit(Pacer):
    name, title = "pacer-hit", "pacer, every request a cache hit"
    config = "pacer_hit.yaml"


class BareLibuv(Peer):
    name, title, target = "bare-libuv", "(a) bare libuv + llhttp", 0.6

    def prepare(self, ctx):
        if not ctx.bare.exists():
            raise Skip(f"{shown(ctx.bare)} is not there; make bench builds it")

    def command(self, ctx, running):
        return [ctx.bare, running.port], {}


class Nginx(Peer):
    name, title = "nginx", "(b) nginx return 200"

    def prepare(self, ctx):
        tool("nginx")

    def command(self, ctx, running):
        run = ctx.work / "nginx"
        run.mkdir(exist_ok=True)
        user = (
            "user root;" if os.geteuid() == 0 else ""
        )  # the run folder need not be open to nobody
        text = (BENCH / "peers" / "nginx" / "nginx.conf.in").read_text()
        for key, value in (
            ("RUN", run),
            ("PORT", running.port),
            ("USER", user),
            ("ANSWER", ANSWER),
        ):
            text = text.replace(f"@{key}@", str(value))
        conf = run / "nginx.conf"
        conf.write_text(text)
        return [tool("nginx"), "-p", run, "-c", conf, "-e", "stderr"], {}

    def versions(self, ctx):
        return output_of([tool("nginx"), "-v"]).replace("nginx version: nginx/", "nginx ")


class Node(Peer):
    name, title, kind, target = "node", "(c) Node: fastify + onnxruntime-node", "computed", 3
    source = BENCH / "peers" / "node"

    def prepare(self, ctx):
        tool("node")
        folder = ctx.build / "bench" / "node"
        inputs = (self.source / "package.json", self.source / "package-lock.json")
        done, digest = stamped(folder / "stamp", *inputs)
        if done:
            return
        folder.mkdir(parents=True, exist_ok=True)
        for path in inputs:
            shutil.copy(path, folder)
        # onnxruntime-node's install script only adds GPU libraries; the package has the CPU build.
        run_quietly(
            [tool("npm"), "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"],
            "installing the Node peer with npm ci",
            folder,
        )
        (folder / "stamp").write_text(digest)

    def command(self, ctx, running):
        env = {
            "NODE_PATH": str(ctx.build / "bench" / "node" / "node_modules"),
            "NODE_ENV": "production",
        }
        command = [tool("node"), self.source / "server.js", running.port, ctx.model, ctx.features]
        return command, env

    def versions(self, ctx):
        lock = (self.source / "package.json").read_text()
        found = dict(re.findall(r'"(fastify|onnxruntime-node)": "([^"]+)"', lock))
        return f"Node {output_of([tool('node'), '--version'])}, " + ", ".join(
            f"{k} {v}" for k, v in found.items()
        )


def gunicorn(python, folder, app, port):
    return [
        python,
        "-m",
        "gunicorn",
        "--workers",
        "1",
        "--worker-class",
        "uvicorn.workers.UvicornWorker",
        "--bind",
        f"127.0.0.1:{port}",
        "--keep-alive",
        "60",
        "--log-level",
        "warning",
        "--chdir",
        folder,
        app,
    ]


def python_versions(python, names):
    code = (
        "import sys, importlib.metadata as m; print('Python', sys.version.split()[0], "
        "*(', %s %s' % (n, m.version(n)) for n in sys.argv[1:]), sep=' ')"
    )
    return output_of([python, "-c", code, *names]).replace(" ,", ",")


class PlainFastapi(Peer):
    name, title, target = "fastapi", "(d) FastAPI + gunicorn/uvicorn, no model", 6
    app = "plain_app:app"

    def prepare(self, ctx):
        run_quietly(
            [SYSTEM_PYTHON, "-c", "import fastapi, gunicorn, uvicorn, uvloop, httptools"],
            "loading the distribution's FastAPI, gunicorn and uvicorn",
        )

    def command(self, ctx, running):
        return (
            gunicorn(SYSTEM_PYTHON, BENCH / "peers" / "plain", self.app, running.port),
            PYTHON_ENV,
        )

    def versions(self, ctx):
        return python_versions(
            SYSTEM_PYTHON, ["fastapi", "gunicorn", "uvicorn", "uvloop", "httptools"]
        )


class RawFastapi(PlainFastapi):
    name, title, target = "fastapi-raw", "(d) again, FastAPI's parsing and encoding bypassed", None
    app = "raw_app:app"


def venv_python(ctx):
    return ctx.build / "bench" / "venv" / "bin" / "python"


def make_venv(ctx):
    """The Python environment of the peers whose packages come from the Python registry."""
    venv = ctx.build / "bench" / "venv"
    requirements = BENCH / "peers" / "guide" / "requirements.txt"
    done, digest = stamped(venv / "stamp", requirements)
    if done:
        return
    run_quietly([SYSTEM_PYTHON, "-m", "venv", "--clear", venv], "making a Python environment")
    run_quietly(
        [
            venv_python(ctx),
            "-m",
            "pip",
            "--disable-pip-version-check",
            "install",
            "--quiet",
            "--timeout",
            "15",
            "--retries",
            "1",
            "--require-hashes",
            "--only-binary=:all:",
            "-r",
            requirements,
        ],
        "installing the guide's Python packages (it needs the Python registry)",
    )
    (venv / "stamp").write_text(digest)


class Guide(Peer):
    name, title, kind, target = (
        "guide-hit",
        "(e) guide's stack, every request a cache hit",
        "contract",
        15,
    )
    source = BENCH / "peers" / "guide"

    def prepare(self, ctx):
        tool("redis-server")
        make_venv(ctx)

    def command(self, ctx, running):
        running.redis_port = process.free_port()
        redis = [
            tool("redis-server"),
            "--port",
            running.redis_port,
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--appendonly",
            "no",
            "--daemonize",
            "no",
            "--dir",
            ctx.work,
        ]
        running.servers.append(
            process.Server(redis, ctx.server_core, ctx.work / f"{self.name}-redis.log")
        )
        running.main.wait_ready(running.redis_port, b"PING\r\n", b"+PONG")
        env = {
            **PYTHON_ENV,
            "BENCH_MODEL": str(ctx.model),
            "REDIS_URL": f"redis://127.0.0.1:{running.redis_port}/0",
        }
        return gunicorn(venv_python(ctx), self.source, "guide_app:app", running.port), env

    def versions(self, ctx):
        names = ["fastapi", "pydantic", "gunicorn", "uvicorn", "uvloop", "redis", "onnxruntime"]
        server = re.search(r"v=(\S+)", output_of([tool("redis-server"), "--version"]))
        return (
            python_versions(venv_python(ctx), names)
            + f", Redis server {server.group(1) if server else '?'}"
        )


class GuideMiss(Guide):
    name, title, unique = "guide-miss", "(e) guide's stack, every request a cache miss", True


class Window(Peer):
    name, title, kind = "window", "FastAPI, batches after 5 ms or 64 rows", "computed"

    def prepare(self, ctx):
        make_venv(ctx)

    def command(self, ctx, running):
        env = {
            **PYTHON_ENV,
            "BENCH_MODEL": str(ctx.model),
            "BENCH_FEATURES": str(ctx.features),
        }
        folder = BENCH / "peers" / "window"
        return gunicorn(venv_python(ctx), folder, "window_app:app", running.port), env

    def versions(self, ctx):
        names = ["fastapi", "pydantic", "gunicorn", "uvicorn", "uvloop", "onnxruntime"]
        return python_versions(venv_python(ctx), names)


def cache_counts(running):
    """Redis' own (hits, misses) so far."""
    with socket.create_connection(("127.0.0.1", running.redis_port), timeout=5) as sock:
        sock.sendall(b"INFO stats\r\n")
        text = b""
        while b"keyspace_misses:" not in text or not text.endswith(b"\r\n"):
            text += sock.recv(65536)
    return tuple(
        int(re.search(rb"keyspace_%s:(\d+)" % what, text).group(1)) for what in (b"hits", b"misses")
    )


def shown(path):
    """A path as a reader of the project knows it; of one outside the project the last part."""
    path = Path(path)
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else path.name


ALL = (Pacer(), PacerHit(), BareLibuv(), Nginx(), Node(), PlainFastapi(), RawFastapi(), Guide(), GuideMiss())
BATCHING = (Node(), Window())  # beside pacer in bench/batching.py
