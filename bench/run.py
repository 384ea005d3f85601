#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Measures pacer side by side with other servers on this machine; bench/README.md says how.

Started by `make bench`.
"""

import argparse
import datetime
import json
import os
import signal
import sys
import time
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))

from harness import load, peers, process, report, workload  # noqa: E402

SETTLE_S = 0.5  # from ready to the reading of idle memory


def say(text):
    print(text, file=sys.stderr, flush=True)


def parse_arguments():
    names = [peer.name for peer in peers.ALL]
    parser = argparse.ArgumentParser(prog="bench/run.py", description=__doc__)
    parser.add_argument("--only", metavar="A,B", help=f"these servers only, of: {', '.join(names)}")
    parser.add_argument(
        "--rounds", type=int, default=3, metavar="N", help="visits to every server (3)"
    )
    parser.add_argument(
        "--seconds", type=int, default=3, metavar="N", help="length of one measurement (3)"
    )
    parser.add_argument(
        "--warmup", type=int, default=2, metavar="N", help="seconds of load before measuring (2)"
    )
    parser.add_argument(
        "--connections", default="1,32", metavar="A,B", help="connection counts (1,32)"
    )
    parser.add_argument(
        "--json", action="store_true", help="all figures as JSON on stdout instead of tables"
    )
    parser.add_argument(
        "--write-docs", action="store_true", help="put the tables into docs/benchmarks.md"
    )
    parser.add_argument(
        "--build",
        type=Path,
        default=peers.ROOT / "build",
        metavar="DIR",
        help="build folder (build)",
    )
    parser.add_argument(
        "--pacer",
        type=Path,
        metavar="FILE",
        help="the binary (BUILD/bench-build/pacer, else BUILD/pacer)",
    )
    parser.add_argument(
        "--bare-libuv",
        type=Path,
        metavar="FILE",
        help="peer (a) (BUILD/bench-build/bench/bare_libuv)",
    )
    parser.add_argument(
        "--model",
        type=Path,
        default=peers.BENCH / "models" / "mlp.onnx",
        metavar="FILE",
        help="the 32-64-64-3 MLP, named mlp.onnx (bench/models/mlp.onnx)",
    )
    parser.add_argument(
        "--cores",
        metavar="S,L",
        help="core of the server, core of wrk (the first and last allowed)",
    )
    args = parser.parse_args()
    if min(args.rounds, args.seconds, args.warmup) < 1:
        parser.error("--rounds, --seconds and --warmup are whole numbers from 1")
    args.only = args.only.split(",") if args.only else names
    unknown = sorted(set(args.only) - set(names))
    if unknown:
        parser.error(
            f"--only: no server is called {', '.join(unknown)}; there are {', '.join(names)}"
        )
    args.connections = whole_numbers(parser, "--connections", args.connections)
    allowed = sorted(os.sched_getaffinity(0))
    args.cores = (
        whole_numbers(parser, "--cores", args.cores, 0) if args.cores else [allowed[0], allowed[-1]]
    )
    if len(args.cores) != 2 or not set(args.cores) <= set(allowed):
        parser.error(f"--cores: two of {allowed}")
    return args


def built(given, build, name):
    """The binary given by option, else the release build of `make bench`, else that of `make`."""
    release = build / "bench-build" / name
    return (given or (release if release.exists() else build / name)).resolve()


def whole_numbers(parser, option, text, least=1):
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if not numbers or min(numbers) < least or max(numbers) > 1000:
        parser.error(
            f"{option} {text}: expected whole numbers from {least} to 1000, separated by commas"
        )
    return numbers


def prepare_all(args, ctx):
    """(peers that can run, name → reason of those that cannot)."""
    able, skipped = [], {}
    for peer in peers.ALL:
        if peer.name not in args.only:
            continue
        try:
            say(f"bench: preparing {peer.name}")
            peer.prepare(ctx)
            able.append(peer)
        except peers.Skip as reason:
            say(f"bench: {peer.name} is skipped: {reason}")
            skipped[peer.name] = str(reason)
    return able, skipped


class Salts:
    """A fresh number per run of wrk for peers that must never see the same features twice."""

    def __init__(self):
        self.next = 0

    def take(self, peer):
        if not peer.unique:
            return None
        self.next += 1
        return self.next


def visit(peer, ctx, args, cores, checker, salts):
    """One round of one peer: start, check, warm up, measure, stop."""
    running, ready_s = peer.start(ctx)
    try:
        time.sleep(SETTLE_S)
        result = {
            "ready_s": ready_s,
            "rss_idle_bytes": running.rss_bytes(),
            "pss_idle_bytes": running.pss_bytes(),
        }
        checker.check(peer.name, peer.kind, running.port)
        bodies = ctx.work / "bodies.txt"
        load.run_wrk(
            running.port, bodies, max(args.connections), args.warmup, cores[1], salts.take(peer)
        )
        counts = peers.cache_counts(running) if running.redis_port else None
        result["samples"] = [
            load.measure(
                running, running.port, bodies, connections, args.seconds, cores, salts.take(peer)
            )
            for connections in args.connections
        ]
        result["rss_after_bytes"], result["pss_after_bytes"] = (
            running.rss_bytes(),
            running.pss_bytes(),
        )
        if counts:
            hits, misses = (now - then for now, then in zip(peers.cache_counts(running), counts))
            result["cache_hit_share"] = hits / (hits + misses)
        return result
    finally:
        running.stop()


def run_rounds(able, ctx, args):
    """(rounds, name → what went wrong). A server that fails once is left out of later rounds."""
    checker, salts, rounds, failed = workload.Checker(), Salts(), [], {}
    for number in range(args.rounds):
        say(f"bench: round {number + 1} of {args.rounds}")
        visits = {}
        for peer in able:
            if peer.name in failed:
                continue
            try:
                visits[peer.name] = visit(peer, ctx, args, args.cores, checker, salts)
            except (process.StartFailed, workload.WrongAnswer, load.LoadFailed) as error:
                say(f"bench: {peer.name} FAILED: {error}")
                failed[peer.name] = f"{type(error).__name__}: {error}"
                continue
            rates = ", ".join(
                f"{s['requests_per_s']:.0f}/s at {s['connections']}"
                for s in visits[peer.name]["samples"]
            )
            say(f"bench:   {peer.name}: {rates}")
        rounds.append(visits)
    for name in failed:  # no figures of a server that failed
        for visits in rounds:
            visits.pop(name, None)
    return rounds, failed


def main():
    args = parse_arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the servers are stopped too
    if not args.model.exists():
        say(
            f"bench: {peers.shown(args.model)} is not there; bench/make_models.py writes it, "
            "or give --model"
        )
        return 1
    if args.model.name != "mlp.onnx":
        say(
            "bench: the model is served under its file name; expected mlp.onnx, "
            f"got {args.model.name}"
        )
        return 1
    work = args.build / "bench" / "run"
    work.mkdir(parents=True, exist_ok=True)
    build = args.build.resolve()
    ctx = peers.Context(
        build=build,
        model=args.model.resolve(),
        work=work.resolve(),
        pacer=built(args.pacer, build, "pacer"),
        bare=built(args.bare_libuv, build, "bench/bare_libuv"),
        server_core=args.cores[0],
    )
    try:
        peers.tool("wrk")
    except peers.Skip as reason:
        say(f"bench: {reason}")
        return 1
    workload.write_bodies(work / "bodies.txt")
    able, skipped = prepare_all(args, ctx)
    if args.cores[0] == args.cores[1]:
        say("bench: one core only: server and wrk share it, and the figures show it")
    os.sched_setaffinity(0, {args.cores[1]})  # this program's own work stays off the server's core
    rounds, failed = run_rounds(able, ctx, args)
    measured = [peer for peer in able if peer.name not in failed]
    outcome = {
        "date": datetime.date.today().isoformat(),
        "command": report.command_line("make bench"),
        "machine": report.machine(),
        "rounds": args.rounds,
        "seconds": args.seconds,
        "connections": args.connections,
        "summary": report.summarise(rounds, measured),
        "skipped": {**skipped, **failed},
        "versions": {peer.name: peer.versions(ctx) for peer in measured},
        "samples": rounds,
    }
    print(json.dumps(outcome, indent=2) if args.json else "\n" + report.as_text(outcome))
    if args.write_docs and (failed or not measured):
        say("bench: docs/benchmarks.md is left as it was: not every server answered correctly")
    elif args.write_docs:
        report.write_docs(peers.ROOT / "docs" / "benchmarks.md", outcome)
        say("bench: wrote docs/benchmarks.md")
    return 1 if failed or not measured else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        say("bench: interrupted")
        sys.exit(130)
