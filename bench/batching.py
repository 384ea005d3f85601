#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Measures what batching does, and pacer beside peers under the same load; bench/README.md says how.

Started by `make bench-batching`. Prints tables; nothing fails because a figure is low.
"""

import argparse
import datetime
import json
import os
import signal
import sys
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))

from harness import batching, batching_report, load, peers, process, report, workload  # noqa: E402


def say(text):
    print(text, file=sys.stderr, flush=True)


def parse_arguments():
    peer_names = [peer.name for peer in peers.BATCHING]
    parser = argparse.ArgumentParser(prog="bench/batching.py", description=__doc__)
    parser.add_argument(
        "--models",
        default=",".join(batching.FEATURES),
        metavar="A,B",
        help=f"these models only, of: {', '.join(batching.FEATURES)}",
    )
    parser.add_argument(
        "--peers",
        default=",".join(peer_names),
        metavar="A,B",
        help=f"these peers only, of: {', '.join(peer_names)}; none: ''",
    )
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="visits (3)")
    parser.add_argument(
        "--seconds", type=int, default=3, metavar="N", help="length of one measurement (3)"
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
    args = parser.parse_args()
    if min(args.rounds, args.seconds) < 1:
        parser.error("--rounds and --seconds are whole numbers from 1")
    args.models = chosen(parser, "--models", args.models, list(batching.FEATURES))
    args.peers = chosen(parser, "--peers", args.peers, peer_names)
    if not args.models:
        parser.error("--models: at least one")
    return args


def chosen(parser, option, text, known):
    names = text.split(",") if text else []
    unknown = sorted(set(names) - set(known))
    if unknown:
        parser.error(f"{option}: {', '.join(unknown)} is not among {', '.join(known)}")
    return [name for name in known if name in names]


def prepare(args):
    """(Bench, cores); SystemExit with the reason if something is missing."""
    build = args.build.resolve()
    files = {name: build / "bench" / "models" / f"{name}.onnx" for name in batching.FEATURES}
    files["mlp"] = peers.BENCH / "models" / "mlp.onnx"
    files = {name: files[name] for name in files if name in args.models or name == "mlp"}
    tools = build / "bench-build"
    made = ("pacer", "bench/open_loop", "bench/bare_libuv")
    for path in (*(tools / name for name in made), *files.values()):
        if not path.exists():
            raise SystemExit(
                f"batching: {peers.shown(path)} is not there; make bench-batching makes it"
            )
    peers.tool("wrk")
    allowed = sorted(os.sched_getaffinity(0))
    cores = [allowed[0], allowed[-1]]
    if cores[0] == cores[1]:
        say("batching: one core only: server and load share it, and the figures show it")
    work = build / "bench" / "run"
    work.mkdir(parents=True, exist_ok=True)
    ctx = peers.Context(
        build=build,
        model=files["mlp"],
        work=work,
        pacer=tools / "pacer",
        bare=tools / "bench" / "bare_libuv",
        server_core=cores[0],
    )
    generator = tools / "bench" / "open_loop"
    return batching.Bench(ctx, generator, files, cores, args.seconds), cores


def prepare_peers(args, ctx):
    able, skipped = [], {}
    for peer in peers.BATCHING:
        if peer.name not in args.peers or batching.PEERS_MODEL not in args.models:
            continue
        try:
            say(f"batching: preparing {peer.name}")
            peer.prepare(ctx)
            able.append(peer)
        except peers.Skip as reason:
            say(f"batching: {peer.name} is skipped: {reason}")
            skipped[peer.name] = str(reason)
    return able, skipped


def titles_of(measured):
    if not measured:
        return {}
    name = batching.PEERS_MODEL
    return {
        (name, True): "pacer",
        (name, False): "pacer, merge: off",
        **{peer.name: peer.title for peer in measured},
    }


def measure(args, bench, able, skipped):
    rounds, failed = batching.run_rounds(bench, args.models, able, args.rounds, say)
    measured = [peer for peer in able if peer.name not in failed]
    say("batching: threads")
    return {
        "date": datetime.date.today().isoformat(),
        "command": report.command_line("make bench-batching"),
        "machine": report.machine_line(),
        "models": args.models,
        "seconds": args.seconds,
        "rounds": rounds,
        "threads": {copies: bench.threads(copies) for copies in (1, 20)},
        "titles": titles_of(measured),
        "skipped": {**skipped, **failed},
        "versions": {
            "pacer": peers.Pacer().versions(bench.ctx),
            **{peer.name: peer.versions(bench.ctx) for peer in measured},
        },
        "failed": failed,
    }


def as_json(outcome):
    """Visits of pacer are keyed by model and batching, which JSON cannot."""
    rounds = [
        {
            visit if isinstance(visit, str) else f"{visit[0]} {'on' if visit[1] else 'off'}": parts
            for visit, parts in visits.items()
        }
        for visits in outcome["rounds"]
    ]
    plain = {key: value for key, value in outcome.items() if key != "titles"}
    return json.dumps({**plain, "rounds": rounds}, indent=2)


def main():
    args = parse_arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the servers are stopped too
    try:
        bench, cores = prepare(args)
    except peers.Skip as reason:
        say(f"batching: {reason}")
        return 1
    able, skipped = prepare_peers(args, bench.ctx)
    os.sched_setaffinity(0, {cores[1]})  # this program's own work stays off the server's core
    try:
        outcome = measure(args, bench, able, skipped)
    except (process.StartFailed, workload.WrongAnswer, load.LoadFailed) as error:
        say(f"batching: pacer FAILED: {type(error).__name__}: {error}")
        return 1
    print(as_json(outcome) if args.json else "\n" + batching_report.as_text(outcome))
    if args.write_docs and outcome["failed"]:
        say("batching: docs/benchmarks.md is left as it was: not every server answered correctly")
    elif args.write_docs:
        batching_report.write_docs(peers.ROOT / "docs" / "benchmarks.md", outcome)
        say("batching: wrote docs/benchmarks.md")
    return 1 if outcome["failed"] else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        say("batching: interrupted")
        sys.exit(130)
