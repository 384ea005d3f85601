# SPDX-License-Identifier: Apache-2.0
"""What bench/batching.py measures: pacer with and without shared runs, and peers beside it.

A visit is one start of one server with one model: its answers are checked, then it is measured.
"""

import http.client
import json
import random
import subprocess
import time
from collections import Counter
from pathlib import Path

from . import load, peers, process, workload

FEATURES = {"mlp": 32, "mlp_big": 512, "mlp_huge": 512}
DEADLINE_MS = {"mlp": 50, "mlp_big": 50, "mlp_huge": 400}
PEERS_MODEL = "mlp_big"  # what is served beside peers
ROWS = 64  # checked at each start; all 128 are posted under load
CLOSED = (1, 256)  # connections; the latter finds the saturation
OPEN_SHARE, OPEN_CONNECTIONS = 0.7, 256
OVERLOAD, OVERLOAD_CONNECTIONS = 5, 2000  # a late answer must not hold the next request back
SENT_MAX = 100_000  # requests/s; the generator cannot send more
WARMUP_S = 1


def path_of(name):
    return f"/v2/models/{name}/infer"


def body(features, source):
    row = [round(source.gauss(0, 1), 5) for _ in range(features)]
    tensor = {"name": "input", "shape": [1, features], "datatype": "FP32", "data": row}
    return json.dumps({"inputs": [tensor]}, separators=(",", ":"))


def connect(port):
    return http.client.HTTPConnection("127.0.0.1", port, timeout=30)


def data_of(connection):
    response = connection.getresponse()
    text = response.read()
    if response.status != 200:
        raise workload.WrongAnswer(f"status {response.status}: {text[:200]!r}")
    try:
        return json.loads(text)["outputs"][0]["data"]
    except (ValueError, LookupError, TypeError):
        raise workload.WrongAnswer(f"not a v2 answer: {text[:200]!r}") from None


def post(connection, name, text):
    connection.request("POST", path_of(name), text, {"Content-Type": "application/json"})


class Checker:
    """Each row alone, then all at once: the answers are those of the first server asked."""

    def __init__(self, bodies):
        self.bodies = {
            name: file.read_text().splitlines()[:ROWS] for name, file in bodies.items()
        }
        self.answers = {}

    def check(self, name, port):
        try:
            self._compare(name, self._alone(name, port))
            self._compare(name, self._together(name, port))
        except (OSError, http.client.HTTPException) as error:
            raise workload.WrongAnswer(f"broke off: {error!r}") from None

    def _alone(self, name, port):
        connection, answers = connect(port), []
        for text in self.bodies[name]:
            post(connection, name, text)
            answers.append(data_of(connection))
        connection.close()
        return answers

    def _together(self, name, port):
        connections = [connect(port) for _ in self.bodies[name]]
        for connection, text in zip(connections, self.bodies[name]):
            post(connection, name, text)
        answers = [data_of(connection) for connection in connections]
        for connection in connections:
            connection.close()
        return answers

    def _compare(self, name, answers):
        if len({tuple(row) for row in answers}) < ROWS // 2:
            raise workload.WrongAnswer("the same answer for different rows")
        reference = self.answers.setdefault(name, answers)
        for index, (ours, first) in enumerate(zip(answers, reference)):
            if len(ours) != len(first) or any(
                abs(a - b) > workload.TOLERANCE for a, b in zip(ours, first)
            ):
                raise workload.WrongAnswer(f"row {index}: {ours}, at first it was {first}")


class Bench:
    def __init__(self, ctx, open_loop, files, cores, seconds):
        self.ctx, self.generator, self.files = ctx, open_loop, files
        self.cores, self.seconds, self.seed = cores, seconds, 0
        self.bodies = {}
        for name in files:
            source = random.Random(20)
            self.bodies[name] = ctx.work / f"batching-{name}.txt"
            self.bodies[name].write_text(
                "".join(body(FEATURES[name], source) + "\n" for _ in range(workload.ROWS))
            )
        self.checker = Checker(self.bodies)

    # --- one server -----------------------------------------------------------------------------
    def start(self, models, merge=True):
        """pacer with one loop and one worker on the server's core; `models` is name → file."""
        folder = self.ctx.work / "models"
        folder.mkdir(exist_ok=True)
        for old in folder.iterdir():
            old.unlink()
        for name, file in models.items():
            (folder / f"{name}.onnx").symlink_to(file)
        word = "auto" if merge else "off"
        config = self.ctx.work / "batching.yaml"
        config.write_text(
            f"models_dir: {folder}\nthreads: 1\nworkers: 1\nmodels:\n"
            + "".join(f"  {name}: {{merge: {word}}}\n" for name in models)
        )
        port = process.free_port()
        command = [self.ctx.pacer, "serve", config, "--listen", f"127.0.0.1:{port}"]
        server = process.Server(command, self.cores[0], self.ctx.work / "batching.log")
        try:
            server.wait_ready(port, peers.READY, b"HTTP/1.1 200")
        except BaseException:
            server.stop()
            raise
        return server, port

    def stats(self, name, port):
        connection = connect(port)
        connection.request("GET", f"/v2/models/{name}/stats")
        model = json.loads(connection.getresponse().read())["model_stats"][0]
        connection.close()
        return model

    def settle(self, name, port):
        """Until what wrk left behind is gone."""
        while self.stats(name, port)["batching"]["waiting"]:
            time.sleep(0.05)

    # --- loads ----------------------------------------------------------------------------------
    def closed(self, server, name, port, connections):
        return load.measure(
            server,
            port,
            self.bodies[name],
            connections,
            self.seconds,
            self.cores,
            path=path_of(name),
        )

    def closed_inside(self, server, name, port, connections):
        """The same of pacer, with what it says itself and its threads' time."""
        before, ran = self.stats(name, port), server.thread_s()
        sample = self.closed(server, name, port, connections)
        after, ran_after = self.stats(name, port), server.thread_s()
        rows = after["inference_count"] - before["inference_count"]
        sample["rows_a_run"] = rows / (after["execution_count"] - before["execution_count"])
        sample["thread_us"] = {k: (ran_after[k] - ran[k]) * 1e6 / rows for k in ran_after}
        self.settle(name, port)
        return sample

    def generate(self, name, port, rate, connections, timeout_ms, seconds):
        self.seed += 1
        command = ["taskset", "-c", str(self.cores[1]), self.generator, port, path_of(name)]
        command += [self.bodies[name], f"{rate:.0f}", seconds, connections, timeout_ms, self.seed]
        out = subprocess.run(
            list(map(str, command)), capture_output=True, text=True, timeout=seconds + 60
        )
        if out.returncode != 0:
            raise load.LoadFailed(out.stderr.strip()[-300:])
        figures = json.loads(out.stdout)
        if figures["errors"]:
            raise load.LoadFailed(f"open loop: {figures['errors']} errors")
        return figures

    def opened(self, server, name, port, rate, connections, timeout_ms):
        shape = (name, port, rate, connections, timeout_ms)
        self.generate(*shape, WARMUP_S)
        self.settle(name, port)
        before, ran = self.stats(name, port)["batching"]["not_computed"], server.thread_s()
        watch = load.Watch(server, self.cores)
        figures = self.generate(*shape, self.seconds)
        figures.update(watch.end())
        figures["loop_s"] = server.thread_s()["pacer"] - ran["pacer"]
        batching = self.stats(name, port)["batching"]
        cost = batching["cost_ns"]
        figures["asked_per_s"] = rate
        figures["sent_per_s"] = figures["sent"] / figures["seconds"]
        figures["goodput"] = figures["in_time"] / figures["seconds"]
        figures["late_share"] = figures["late"] / figures["ok"] if figures["ok"] else 0
        figures["own_us"] = (cost["run"] + cost["row"]) / 1e3
        figures["full_us"] = (cost["run"] + cost["row"] * batching["rows_max"]) / 1e3
        figures["refused_by"] = {
            cause: n - before[cause] for cause, n in batching["not_computed"].items()
        }
        return figures

    # --- visits ---------------------------------------------------------------------------------
    def visit(self, name, merge):
        server, port = self.start({name: self.files[name]}, merge)
        try:
            self.checker.check(name, port)
            load.run_wrk(
                port, self.bodies[name], CLOSED[-1], WARMUP_S, self.cores[1], path=path_of(name)
            )
            self.settle(name, port)
            result = {n: self.closed_inside(server, name, port, n) for n in CLOSED}
            saturation = result[CLOSED[-1]]["requests_per_s"]
            result["open"] = result["overload"] = None
            if merge:
                rate = OPEN_SHARE * saturation
                result["open"] = self.opened(server, name, port, rate, OPEN_CONNECTIONS, 0)
            rate = OVERLOAD * saturation
            if rate <= SENT_MAX:
                result["overload"] = self.opened(
                    server, name, port, rate, OVERLOAD_CONNECTIONS, DEADLINE_MS[name]
                )
                add_refusal_cost(result["overload"], result[CLOSED[-1]])
        finally:
            server.stop()
        if result["open"]:
            result["bare"] = self.bare(name, result["open"]["asked_per_s"])
        return result

    def bare(self, name, rate):
        """The same open loop on the bare responder: what of the tail is the machine's."""
        running, _ = peers.BareLibuv().start(self.ctx)
        try:
            shape = (name, running.port, rate, OPEN_CONNECTIONS, 0)
            self.generate(*shape, WARMUP_S)
            watch, ran = load.Watch(running, self.cores), running.main.thread_s()
            figures = self.generate(*shape, self.seconds)
            figures.update(watch.end())
            spent_s = sum(running.main.thread_s().values()) - sum(ran.values())
            figures["cpu_us"] = spent_s * 1e6 / figures["sent"]
            return figures
        finally:
            running.stop()

    def visit_peer(self, peer):
        name = PEERS_MODEL
        self.ctx.model, self.ctx.features = self.files[name], FEATURES[name]
        running, _ = peer.start(self.ctx)
        try:
            self.checker.check(name, running.port)
            load.run_wrk(
                running.port,
                self.bodies[name],
                CLOSED[-1],
                WARMUP_S,
                self.cores[1],
                path=path_of(name),
            )
            self.checker.check(name, running.port)  # what wrk left behind is computed before
            return {n: self.closed(running, name, running.port, n) for n in CLOSED}
        finally:
            running.stop()

    def threads(self, copies):
        """Names of the threads, with so many different models loaded."""
        models = {f"mlp{i}": self.copy_of("mlp", i) for i in range(copies)}
        server, _ = self.start(models)
        try:
            tasks = Path(f"/proc/{server.process.pid}/task").iterdir()
            return Counter((task / "comm").read_text().strip() for task in tasks)
        finally:
            server.stop()

    def copy_of(self, name, i):
        """The model with another doc_string (field 6 of an ONNX model): another content hash."""
        text = f"copy {i}".encode()
        path = self.ctx.work / f"copy-{i}.onnx"
        path.write_bytes(
            self.files[name].read_bytes() + bytes([6 << 3 | 2, len(text)]) + text
        )
        return path.resolve()


def add_refusal_cost(overload, closed):
    """What a refusal takes of the loop, and how much of the saturation that leaves on one core.

    The loop's time for what was answered is that of an answer in the closed loop.
    """
    answered_us = overload["ok"] * closed["thread_us"]["pacer"]
    us = max(0, overload["loop_s"] * 1e6 - answered_us) / max(1, overload["refused"])
    overload["refusal_us"] = us
    overload["allowed"] = max(0, 1 - overload["sent_per_s"] * us / 1e6) / (
        1 - closed["requests_per_s"] * us / 1e6
    )
    overload["of_saturation"] = overload["goodput"] / closed["requests_per_s"]


def run_rounds(bench, names, able, rounds, say):
    """(rounds, name → what went wrong) of the peers; what goes wrong with pacer is raised."""
    result, failed = [], {}
    for number in range(rounds):
        say(f"batching: round {number + 1} of {rounds}")
        visits = {}
        for name in names:
            for merge in (True, False):
                visits[name, merge] = visit = bench.visit(name, merge)
                rates = ", ".join(f"{visit[n]['requests_per_s']:.0f}/s at {n}" for n in CLOSED)
                say(f"batching:   {name}, {'on' if merge else 'off'}: {rates}")
        for peer in able if PEERS_MODEL in names else ():
            if peer.name in failed:
                continue
            try:
                visits[peer.name] = visit = bench.visit_peer(peer)
            except (process.StartFailed, workload.WrongAnswer, load.LoadFailed) as error:
                say(f"batching: {peer.name} FAILED: {error}")
                failed[peer.name] = f"{type(error).__name__}: {error}"
                continue
            rates = ", ".join(f"{visit[n]['requests_per_s']:.0f}/s at {n}" for n in CLOSED)
            say(f"batching:   {peer.name}: {rates}")
        result.append(visits)
    for name in failed:  # no figures of a server that failed
        for visits in result:
            visits.pop(name, None)
    return result, failed
