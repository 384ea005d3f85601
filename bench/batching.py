#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Measures what batching does: the same server with and without it; bench/README.md says how.

Started by `make bench-batching`. Prints tables, or JSON with --json; nothing fails because a figure
is low.
"""

import argparse
import datetime
import http.client
import json
import os
import random
import statistics
import subprocess
import sys
import time
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))

from harness import load, peers, process, report  # noqa: E402

MODELS = {  # name → features; what it is
    "mlp": (32, "32-64-64-3"),
    "mlp_big": (512, "512-2048-2048-16"),
    "mlp_huge": (512, "512-8192-8192-16"),
}
DEADLINE_MS = {"mlp": 50, "mlp_big": 50, "mlp_huge": 400}
CLOSED = 256  # connections that find a model's saturation
OPEN = {0.7: 256, 5: 2000}  # of the open loops: a late answer must not hold the next request back
SENT_MAX = 100_000  # requests/s; the generator cannot send more
BEGIN, END = "<!-- batching:begin -->", "<!-- batching:end -->"


def say(text):
    print(text, file=sys.stderr, flush=True)


def body(features, source):
    row = [round(source.gauss(0, 1), 5) for _ in range(features)]
    tensor = {"name": "input", "shape": [1, features], "datatype": "FP32", "data": row}
    return json.dumps({"inputs": [tensor]}, separators=(",", ":"))


class Bench:
    def __init__(self, args, work):
        self.args, self.work = args, work
        self.bodies, self.answers = {}, {}
        for name, (features, _) in MODELS.items():
            source = random.Random(20)
            path = work / f"batching-{name}.txt"
            path.write_text("".join(body(features, source) + "\n" for _ in range(128)))
            self.bodies[name] = path

    def start(self, name, merge, copies=1):
        """A server with one loop and one worker on the first core, serving this model."""
        models = self.work / "models"
        models.mkdir(exist_ok=True)
        for old in models.iterdir():
            old.unlink()
        names = [name] if copies == 1 else [f"{name}{i}" for i in range(copies)]
        for link in names:
            (models / f"{link}.onnx").symlink_to(self.args.files[name])
        config = self.work / "batching.yaml"
        config.write_text(
            f"models_dir: {models}\nthreads: 1\nworkers: 1\n"
            f"models: {{{names[0]}: {{merge: {'auto' if merge else 'off'}}}}}\n"
        )
        port = process.free_port()
        command = [self.args.pacer, "serve", config, "--listen", f"127.0.0.1:{port}"]
        server = process.Server(command, self.args.cores[0], self.work / "batching.log")
        try:
            server.wait_ready(port, peers.READY, b"HTTP/1.1 200")
            if copies == 1:
                self.check(name, port)
        except BaseException:
            server.stop()
            raise
        return server, port

    def check(self, name, port):
        """Every body is answered as it was the first time, up to the order of sums."""
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        answers = []
        for line in self.bodies[name].read_text().splitlines()[:16]:
            connection.request("POST", f"/v2/models/{name}/infer", line)
            response = connection.getresponse()
            answers.append(json.loads(response.read())["outputs"][0]["data"])
        connection.close()
        before = self.answers.setdefault(name, answers)
        for ours, first in zip(answers, before):
            if max(abs(a - b) for a, b in zip(ours, first)) > 1e-4:
                raise SystemExit(f"bench: {name} answered differently: {ours} and {first}")

    def stats(self, name, port):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        connection.request("GET", f"/v2/models/{name}/stats")
        model = json.loads(connection.getresponse().read())["model_stats"][0]
        connection.close()
        return model

    def wrk(self, name, port, connections, seconds):
        command = ["taskset", "-c", str(self.args.cores[1]), "wrk", "-t1", f"-c{connections}",
                   f"-d{seconds}s", "--timeout", "10s", "-s", str(load.SCRIPT),
                   f"http://127.0.0.1:{port}/v2/models/{name}/infer", "--", str(self.bodies[name])]
        out = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 60)
        line = next(line for line in out.stdout.splitlines() if line.startswith('{"requests"'))
        figures = json.loads(line)
        figures["rate"] = figures["requests"] / (figures["duration_us"] / 1e6)
        return figures

    def open_loop(self, name, port, rate, seconds, timeout_ms, seed, connections):
        command = ["taskset", "-c", str(self.args.cores[1]), str(self.args.open_loop), str(port),
                   f"/v2/models/{name}/infer", str(self.bodies[name]), f"{rate:.0f}", str(seconds),
                   str(connections), str(timeout_ms), str(seed)]
        out = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 60)
        if out.returncode != 0:
            raise SystemExit(f"bench: {out.stderr.strip()}")
        figures = json.loads(out.stdout)
        figures["busy"] = figures["cpu_s"] / seconds
        return figures

    # --- one round of each part -----------------------------------------------------------------
    def closed(self, name, merge, connections):
        server, port = self.start(name, merge)
        try:
            self.wrk(name, port, connections, 1)
            while self.stats(name, port)["batching"]["waiting"]:  # what wrk has left behind
                time.sleep(0.05)
            before = self.stats(name, port)
            figures = self.wrk(name, port, connections, self.args.seconds)
            after = self.stats(name, port)
        finally:
            server.stop()
        runs = after["execution_count"] - before["execution_count"]
        rows = after["inference_count"] - before["inference_count"]
        return {"rate": figures["rate"], "p50_us": figures["p50_us"], "p99_us": figures["p99_us"],
                "batch": rows / runs}

    def opened(self, name, merge, share, timeout_ms, saturation, seed):
        server, port = self.start(name, merge)
        try:
            rate = share * saturation
            shape = (timeout_ms, seed, OPEN[share])
            self.open_loop(name, port, rate, 1, *shape)  # what it learns is warm-up
            figures = self.open_loop(name, port, rate, self.args.seconds, *shape)
            cost = self.stats(name, port)["batching"]
        finally:
            server.stop()
        run, row = cost["cost_ns"]["run"], cost["cost_ns"]["row"]
        figures["own_us"] = (run + row) / 1e3
        figures["full_us"] = (run + row * cost["rows_max"]) / 1e3
        figures["rate"] = rate
        figures["goodput"] = figures["in_time"] / figures["seconds"]
        return figures

    def threads(self, name, copies):
        server, _ = self.start(name, True, copies)
        try:
            tasks = Path(f"/proc/{server.process.pid}/task").iterdir()
            return sorted((task / "comm").read_text().strip() for task in tasks)
        finally:
            server.stop()


def median(rounds, key):
    return statistics.median(one[key] for one in rounds)


def ratio(a, b, key):
    return statistics.median(x[key] / y[key] for x, y in zip(a, b))


def us(value):
    return f"{value:.0f} µs" if value < 10000 else f"{value / 1000:.1f} ms"


def measure(bench, names, rounds):
    """part → rows of its table, as text."""
    closed, opened, overload = [], [], []
    for name in names:
        for connections in (1, CLOSED):
            say(f"batching: {name}, {connections} connections")
            on, off = [], []
            for _ in range(rounds):
                on.append(bench.closed(name, True, connections))
                off.append(bench.closed(name, False, connections))
            closed.append([
                name, str(connections), f"{median(on, 'rate'):.0f}", f"{median(off, 'rate'):.0f}",
                f"{ratio(on, off, 'rate'):.2f}", us(median(on, "p50_us")), us(median(off, "p50_us")),
                us(median(on, "p99_us")), us(median(off, "p99_us")), f"{median(on, 'batch'):.1f}"])
            if connections == CLOSED:
                best = {True: median(on, "rate"), False: median(off, "rate")}
        say(f"batching: {name} at 0.7 of its saturation")
        some = [bench.opened(name, True, 0.7, 0, best[True], 10 * k) for k in range(rounds)]
        bound = statistics.median(3 * one["own_us"] + one["full_us"] for one in some)
        opened.append([name, f"{some[0]['rate']:.0f}", us(median(some, "p50_us")),
                       us(median(some, "p99_us")), us(median(some, "own_us")),
                       us(median(some, "full_us")), us(bound),
                       f"{100 * median(some, 'busy'):.0f}%"])
        for merge in (True, False):
            if 5 * best[merge] > SENT_MAX:
                overload.append([name, "on" if merge else "off", f"{best[merge]:.0f}",
                                 f"{5 * best[merge]:.0f}", *["–"] * 7])
                continue
            say(f"batching: {name} at 5 times its saturation, batching {'on' if merge else 'off'}")
            timeout_ms = DEADLINE_MS[name]
            many = [bench.opened(name, merge, 5, timeout_ms, best[merge], 100 + k)
                    for k in range(rounds)]
            overload.append([
                name, "on" if merge else "off", f"{best[merge]:.0f}", f"{many[0]['rate']:.0f}",
                f"{statistics.median(one['sent'] / one['seconds'] for one in many):.0f}",
                f"{median(many, 'goodput'):.0f}", f"{median(many, 'goodput') / best[merge]:.2f}",
                f"{timeout_ms} ms", us(median(many, "p99_us")),
                us(median(many, "refused_p50_us")), f"{100 * median(many, 'busy'):.0f}%"])
    return closed, opened, overload


def table(title, head, rows):
    lines = [title, "", "| " + " | ".join(head) + " |",
             "| --- |" + " ---: |" * (len(head) - 1)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows]) + "\n"


def as_markdown(outcome):
    closed, opened, overload = outcome["closed"], outcome["open"], outcome["overload"]
    threads = outcome["threads"]
    count = {name: threads["many"].count(name) for name in sorted(set(threads["many"]))}
    return "\n".join([
        outcome["headline"] + "\n",
        table("Closed loop, batching on and off:",
              ["model", "connections", "on, requests/s", "off", "on ÷ off", "on, p50", "off, p50",
               "on, p99", "off, p99", "rows a run"], closed),
        table("Open loop (Poisson) at 0.7 of the saturation above, batching on:",
              ["model", "requests/s", "p50", "p99", "t(1)", "t(B)", "3·t(1) + t(B)",
               "generator's core"], opened),
        table("Open loop at 5 times the saturation, each request with a deadline:",
              ["model", "batching", "saturation", "asked/s", "sent/s", "answered in time/s",
               "÷ saturation", "deadline", "p99 of 200s", "p50 of 503s", "generator's core"],
              overload)
        + "\n–: more than the generator can send from one core.\n",
        f"Threads with 1 model: {len(threads['one'])}; with 20 models: {len(threads['many'])} ("
        + ", ".join(f"{n} {name}" for name, n in count.items()) + ").",
    ])


def main():
    parser = argparse.ArgumentParser(prog="bench/batching.py", description=__doc__)
    parser.add_argument("--models", default="mlp,mlp_big,mlp_huge", metavar="A,B")
    parser.add_argument("--rounds", type=int, default=3, metavar="N")
    parser.add_argument("--seconds", type=int, default=3, metavar="N")
    parser.add_argument("--json", action="store_true", help="all figures as JSON on stdout")
    parser.add_argument("--write-docs", action="store_true",
                        help="put the tables into docs/benchmarks.md")
    parser.add_argument("--build", type=Path, default=peers.ROOT / "build", metavar="DIR")
    args = parser.parse_args()
    names = args.models.split(",")
    unknown = sorted(set(names) - set(MODELS))
    if unknown or min(args.rounds, args.seconds) < 1:
        parser.error(f"--models: of {', '.join(MODELS)}; --rounds and --seconds from 1")
    build = args.build.resolve()
    args.pacer = build / "bench-build" / "pacer"
    args.open_loop = build / "bench-build" / "bench" / "open_loop"
    args.files = {name: build / "bench" / "models" / f"{name}.onnx" for name in MODELS}
    args.files["mlp"] = peers.BENCH / "models" / "mlp.onnx"
    missing = [path for path in (args.pacer, args.open_loop, *args.files.values())
               if not path.exists()]
    if missing:
        say(f"batching: {peers.shown(missing[0])} is not there; make bench-batching makes it")
        return 1
    allowed = sorted(os.sched_getaffinity(0))
    args.cores = [allowed[0], allowed[-1]]
    work = build / "bench" / "run"
    work.mkdir(parents=True, exist_ok=True)
    os.sched_setaffinity(0, {args.cores[1]})
    bench = Bench(args, work)
    closed, opened, overload = measure(bench, names, args.rounds)
    outcome = {
        "headline": f"Measured on {report.machine_line()}; {datetime.date.today().isoformat()}; "
                    f"medians of {args.rounds} × {args.seconds} s, with `make bench-batching`. "
                    f"The server (one loop, one worker) has one core, the load the other.",
        "closed": closed, "open": opened, "overload": overload,
        "threads": {"one": bench.threads("mlp", 1), "many": bench.threads("mlp", 20)},
    }
    print(json.dumps(outcome, indent=2) if args.json else as_markdown(outcome))
    if args.write_docs:
        report.write_between(peers.ROOT / "docs" / "benchmarks.md", BEGIN, END,
                             as_markdown(outcome))
        say("batching: wrote docs/benchmarks.md")
    return 0


if __name__ == "__main__":
    sys.exit(main())
