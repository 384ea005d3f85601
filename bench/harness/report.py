# SPDX-License-Identifier: Apache-2.0
"""From samples to medians, ratios and tables."""

import os
import platform
import shlex
import sys
from pathlib import Path
from statistics import median

BEGIN, END = "<!-- bench:begin -->", "<!-- bench:end -->"
FOREIGN_SHARE_MAX = 0.05
FIGURES = (
    "requests_per_s",
    "p50_us",
    "p90_us",
    "p99_us",
    "server_cpu_us_per_request",
    "server_core_busy",
    "load_core_busy",
    "foreign_share",
)


def summarise(rounds, peers):
    """Medians by peer and connections of `rounds`, dicts of peer name → {ready_s, …, samples}.

    A ratio is pacer's requests/s by the peer's in the same round, then the median of the rounds.
    """
    result = {}
    for peer in peers:
        visits = [r[peer.name] for r in rounds if peer.name in r]
        if not visits:
            continue
        loads = {}
        for index, first in enumerate(visits[0]["samples"]):
            samples = [visit["samples"][index] for visit in visits]
            load = {figure: median(s[figure] for s in samples) for figure in FIGURES}
            load["requests_per_s_each_round"] = [s["requests_per_s"] for s in samples]
            ratios = [
                r["pacer"]["samples"][index]["requests_per_s"]
                / r[peer.name]["samples"][index]["requests_per_s"]
                for r in rounds
                if "pacer" in r and peer.name in r
            ]
            load["pacer_ratio"] = median(ratios) if ratios and peer.name != "pacer" else None
            loads[first["connections"]] = load
        result[peer.name] = {
            "title": peer.title,
            "target_ratio": peer.target,
            "loads": loads,
            **{
                key: median(visit[key] for visit in visits)
                for key in (
                    "ready_s",
                    "rss_idle_bytes",
                    "rss_after_bytes",
                    "pss_idle_bytes",
                    "pss_after_bytes",
                )
            },
        }
        hits = [visit["cache_hit_share"] for visit in visits if "cache_hit_share" in visit]
        if hits:
            result[peer.name]["cache_hit_share"] = median(hits)
    return result


def duration(microseconds):
    if microseconds < 1000:
        return f"{microseconds:.0f} µs"
    return (
        f"{microseconds / 1000:.2f} ms" if microseconds < 10000 else f"{microseconds / 1000:.1f} ms"
    )


def thousands(value):
    return f"{value:,.0f}".replace(",", " ")


def load_rows(summary, connections):
    header = [
        "server",
        "requests/s",
        "p50",
        "p99",
        "CPU/request",
        "its core",
        "wrk's core",
        "pacer ÷ it",
        "aim",
    ]
    rows = []
    for entry in summary.values():
        load = entry["loads"][connections]
        ratio, target = load["pacer_ratio"], entry["target_ratio"]
        rows.append(
            [
                entry["title"],
                thousands(load["requests_per_s"]),
                duration(load["p50_us"]),
                duration(load["p99_us"]),
                f"{load['server_cpu_us_per_request']:.1f} µs",
                f"{load['server_core_busy']:.0%}",
                f"{load['load_core_busy']:.0%}",
                f"{ratio:.2f}" if ratio else "–",
                f"≥ {target}" if target else "–",
            ]
        )
    return header, rows


def size_rows(summary):
    header = ["server", "ready after", "RSS idle", "RSS after load"]
    rows = [
        [
            entry["title"],
            duration(entry["ready_s"] * 1e6),
            f"{entry['rss_idle_bytes'] / 2**20:.1f} MiB",
            f"{entry['rss_after_bytes'] / 2**20:.1f} MiB",
        ]
        for entry in summary.values()
    ]
    return header, rows


def text_table(header, rows):
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]

    def line(row):
        return "  ".join(
            cell.ljust(w) if i == 0 else cell.rjust(w)
            for i, (cell, w) in enumerate(zip(row, widths))
        )

    return "\n".join([line(header).rstrip(), *(line(row).rstrip() for row in rows)])


def markdown_table(header, rows):
    marks = ["---"] + ["---:"] * (len(header) - 1)
    return "\n".join("| " + " | ".join(row) + " |" for row in [header, marks, *rows])


def noisy(summary):
    """Peers and connection counts whose samples other work on the two cores disturbed."""
    return [
        f"{name} at {connections}: {load['foreign_share']:.0%}"
        for name, entry in summary.items()
        for connections, load in entry["loads"].items()
        if load["foreign_share"] > FOREIGN_SHARE_MAX
    ]


def hit_lines(outcome):
    """A cache hit beside the responder that parses and computes nothing, within the same rounds."""
    rounds, lines = outcome["samples"], []
    for index, connections in enumerate(outcome["connections"]):
        pairs = [
            (r["pacer-hit"]["samples"][index], r["bare-libuv"]["samples"][index])
            for r in rounds
            if "pacer-hit" in r and "bare-libuv" in r
        ]
        if pairs:
            rate = median(hit["requests_per_s"] / bare["requests_per_s"] for hit, bare in pairs)
            tail = median(hit["p99_us"] / bare["p99_us"] for hit, bare in pairs)
            lines.append(
                f"A cache hit beside the bare responder at {connections}: {rate:.2f} × its "
                f"requests/s (aim at 32: ≥ 0.85), {tail:.2f} × its p99 (aim: ≤ 1.3)."
            )
    return lines


def sections(outcome, table):
    """The tables with their headings, as lines; `table` makes one of header and rows."""
    summary, lines = outcome["summary"], []
    for connections in outcome["connections"]:
        plural = "" if connections == 1 else "s"
        lines += [
            f"{connections} connection{plural}:",
            "",
            table(*load_rows(summary, connections)),
            "",
        ]
    lines += [
        "Start-up and memory (all processes of the server):",
        "",
        table(*size_rows(summary)),
        "",
    ]
    lines += [
        f"{entry['title']}: Redis counted {entry['cache_hit_share']:.1%} hits."
        for entry in summary.values()
        if "cache_hit_share" in entry
    ]
    lines += hit_lines(outcome)
    lines += [f"Not measured: {name}: {reason}." for name, reason in outcome["skipped"].items()]
    disturbed = noisy(summary)
    if disturbed:
        lines.append(
            "Disturbed by other work on the two cores (its share of a core, median of the rounds): "
            + "; ".join(disturbed)
            + ". Repeat on a quiet machine before quoting these."
        )
    return lines


def as_text(outcome):
    return "\n".join([describe(outcome), "", *sections(outcome, text_table)])


def describe(outcome):
    return (
        f"{machine_line(outcome['machine'])}; "
        f"{outcome['date']}; medians of {outcome['rounds']} × {outcome['seconds']} s"
    )


def as_markdown(outcome):
    versions = [f"- {name}: {text}" for name, text in outcome["versions"].items() if text]
    return "\n\n".join(
        [
            f"Measured on {describe(outcome)}, with `{outcome['command']}`.",
            *[part for part in sections(outcome, markdown_table) if part],
            "Versions:",
            "\n".join(versions),
        ]
    )


def write_between(path, begin, end, text):
    """Puts it between two markers; ValueError unless both are there, once, in order."""
    old = path.read_text()
    if old.count(begin) != 1 or old.count(end) != 1 or old.index(begin) > old.index(end):
        raise ValueError(f"{path.name}: expected {begin} and {end} once each, in this order")
    head, rest = old.split(begin)
    path.write_text(f"{head}{begin}\n{text}\n{end}{rest.split(end)[1]}")


def write_docs(path, outcome):
    write_between(path, BEGIN, END, as_markdown(outcome))


def machine():
    cpu, system = platform.machine(), platform.system()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            cpu = line.partition(":")[2].strip()
            break
    for line in Path("/etc/os-release").read_text().splitlines():
        if line.startswith("PRETTY_NAME="):
            system = line.partition("=")[2].strip('"')
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "system": system,
        "kernel": platform.release().split("-")[0],
    }


def machine_line(of=None):
    of = of or machine()
    return f"{of['cpu']}, {of['cores']} cores, {of['system']}, Linux {of['kernel']}"


def command_line(target):
    """How to repeat it: the arguments that change what is measured, without paths."""
    keep, skip = [], False
    for argument in sys.argv[1:]:
        option = argument.partition("=")[0]
        if skip:
            skip = False
        elif option in ("--build", "--pacer", "--bare-libuv", "--model"):
            skip = "=" not in argument
        elif argument not in ("--json", "--write-docs"):
            keep.append(argument)
    return target + (f" BENCH_ARGS={shlex.quote(shlex.join(keep))}" if keep else "")
