# SPDX-License-Identifier: Apache-2.0
"""Tables of bench/batching.py: medians over the rounds, ratios within a round."""

from statistics import median

from . import batching, report
from .report import duration, thousands

BEGIN, END = "<!-- batching:begin -->", "<!-- batching:end -->"
ON, OFF = True, False
GENERATOR_BUSY_MAX = 0.9


def mid(samples, key):
    return median(sample[key] for sample in samples)


def ratio(samples, others, key="requests_per_s"):
    return median(a[key] / b[key] for a, b in zip(samples, others))


def percent(value):
    return f"{value:.0%}"


def of(rounds, visit, part):
    return [r[visit][part] for r in rounds if visit in r and r[visit][part]]


def closed_rows(rounds, names):
    header = [
        "model",
        "connections",
        "on, requests/s",
        "off",
        "on ÷ off",
        "on, p50",
        "off, p50",
        "on, p99",
        "off, p99",
        "rows a run",
        "aim",
    ]
    aims = {("mlp", 256): "≥ 1", ("mlp_big", 256): "≥ 4"}
    rows = []
    for name in names:
        for n in batching.CLOSED:
            on, off = of(rounds, (name, ON), n), of(rounds, (name, OFF), n)
            rows.append(
                [
                    name,
                    str(n),
                    thousands(mid(on, "requests_per_s")),
                    thousands(mid(off, "requests_per_s")),
                    f"{ratio(on, off):.2f}",
                    duration(mid(on, "p50_us")),
                    duration(mid(off, "p50_us")),
                    duration(mid(on, "p99_us")),
                    duration(mid(off, "p99_us")),
                    f"{mid(on, 'rows_a_run'):.1f}",
                    "alike" if n == 1 else aims.get((name, n), "–"),
                ]
            )
    return header, rows


def open_rows(rounds, names):
    header = [
        "model",
        "requests/s",
        "p50",
        "p99",
        "t(1)",
        "t(B)",
        "3·t(1) + t(B)",
        "alone over HTTP, p50",
        "bare responder, p99",
        "generator's core",
        "its lag, p99",
    ]
    rows = []
    for name in names:
        samples = of(rounds, (name, ON), "open")
        rows.append(
            [
                name,
                thousands(mid(samples, "sent_per_s")),
                duration(mid(samples, "p50_us")),
                duration(mid(samples, "p99_us")),
                duration(mid(samples, "own_us")),
                duration(mid(samples, "full_us")),
                duration(median(3 * s["own_us"] + s["full_us"] for s in samples)),
                duration(mid(of(rounds, (name, ON), 1), "p50_us")),
                duration(mid(of(rounds, (name, ON), "bare"), "p99_us")),
                percent(mid(samples, "busy")),
                duration(mid(samples, "lag_p99_us")),
            ]
        )
    return header, rows


def overload_row(rounds, name, merge):
    saturation = mid(of(rounds, (name, merge), batching.CLOSED[-1]), "requests_per_s")
    samples = of(rounds, (name, merge), "overload")
    row = [name, "on" if merge else "off", thousands(saturation)]
    if not samples:
        return row + [thousands(batching.OVERLOAD * saturation), *["–"] * 11]
    return row + [
        thousands(mid(samples, "asked_per_s")),
        thousands(mid(samples, "sent_per_s")),
        thousands(mid(samples, "goodput")),
        f"{mid(samples, 'of_saturation'):.2f}",
        f"{mid(samples, 'allowed'):.2f}",
        f"{mid(samples, 'refusal_us'):.1f} µs",
        f"{batching.DEADLINE_MS[name]} ms",
        duration(mid(samples, "p99_us")),
        f"{mid(samples, 'late_share'):.1%}",
        duration(mid(samples, "refused_p50_us")),
        duration(mid(samples, "refused_p99_us")),
        percent(mid(samples, "busy")),
    ]


def overload_rows(rounds, names):
    header = [
        "model",
        "batching",
        "saturation",
        "asked/s",
        "sent/s",
        "in time/s",
        "÷ saturation",
        "one core allows",
        "a refusal",
        "deadline",
        "p99 of 200s",
        "late of 200s",
        "p50 of 503s",
        "p99 of 503s",
        "generator's core",
    ]
    return header, [overload_row(rounds, name, merge) for name in names for merge in (ON, OFF)]


def refused_rows(rounds, names):
    causes = {
        "deadline_foreseen": "at once, deadline",
        "queue_full": "at once, queue full",
        "deadline_passed": "time was up",
        "client_gone": "client gone",
    }
    header = ["model", "batching", "refused/s", *causes.values()]
    rows = []
    for name in names:
        for merge in (ON, OFF):
            samples = of(rounds, (name, merge), "overload")
            if not samples:
                continue
            per_s = [s["refused"] / s["seconds"] for s in samples]
            shares = [
                median(s["refused_by"][c] / max(1, sum(s["refused_by"].values())) for s in samples)
                for c in causes
            ]
            rows.append(
                [name, "on" if merge else "off", thousands(median(per_s)), *map(percent, shares)]
            )
    return header, rows


def time_rows(rounds, names):
    """Of the threads: who has the core."""
    header = ["model", "batching", "loop, µs a request", "worker", "bare responder"]
    rows = []
    for name in names:
        for merge in (ON, OFF):
            samples = of(rounds, (name, merge), batching.CLOSED[-1])
            us = [
                median(s["thread_us"].get(thread, 0) for s in samples)
                for thread in ("pacer", "pacer-worker")
            ]
            bare = of(rounds, (name, merge), "bare") if merge else []
            rows.append(
                [
                    name,
                    "on" if merge else "off",
                    *(f"{value:.1f}" for value in us),
                    f"{mid(bare, 'cpu_us'):.1f}" if bare else "–",
                ]
            )
    return header, rows


def peer_rows(rounds, titles):
    header = ["server"]
    for n in batching.CLOSED:
        header += [f"{n}: requests/s", "p50", "p99", "pacer ÷ it"]
    pacer = (batching.PEERS_MODEL, ON)
    rows = []
    for visit, title in titles.items():
        row = [title]
        for n in batching.CLOSED:
            samples = of(rounds, visit, n)
            both = [r for r in rounds if visit in r]
            row += [
                thousands(mid(samples, "requests_per_s")),
                duration(mid(samples, "p50_us")),
                duration(mid(samples, "p99_us")),
                "–" if visit == pacer else f"{ratio(of(both, pacer, n), samples):.2f}",
            ]
        rows.append(row)
    return header, rows


def noisy(rounds):
    """Samples that other work on the two cores disturbed."""
    shares = {}
    for visits in rounds:
        for visit, parts in visits.items():
            name = visit if isinstance(visit, str) else f"{visit[0]} {'on' if visit[1] else 'off'}"
            for part, sample in parts.items():
                if sample:
                    shares.setdefault(f"{name} at {part}", []).append(sample["foreign_share"])
    return {
        what: median(all_of)
        for what, all_of in shares.items()
        if median(all_of) > report.FOREIGN_SHARE_MAX
    }


def limited(rounds):
    """Open loops whose generator was the limit."""
    return sorted(
        {
            f"{visit[0]} {'on' if visit[1] else 'off'} at {part}"
            for visits in rounds
            for visit, parts in visits.items()
            for part, sample in parts.items()
            if sample and sample.get("busy", 0) > GENERATOR_BUSY_MAX
        }
    )


def describe_threads(threads):
    return "; ".join(
        f"{n} model{'s' if n > 1 else ''}: {sum(count.values())} ("
        + ", ".join(f"{k} {name}" for name, k in sorted(count.items()))
        + ")"
        for n, count in threads.items()
    )


def sections(outcome, table):
    """The tables with their headings, as lines; `table` makes one of header and rows."""
    rounds, names = outcome["rounds"], outcome["models"]
    parts = [
        ("Closed loop, batching on and off:", closed_rows(rounds, names)),
        (
            f"Open loop (Poisson) at {batching.OPEN_SHARE} of the saturation, batching on:",
            open_rows(rounds, names),
        ),
        (
            f"Open loop at {batching.OVERLOAD} times the saturation, each request with a deadline:",
            overload_rows(rounds, names),
        ),
        ("What was refused then, by the server's own count:", refused_rows(rounds, names)),
        (
            f"Processor time of the threads at {batching.CLOSED[-1]} connections, beside that of "
            f"the bare responder at {batching.OPEN_SHARE} of their rate:",
            time_rows(rounds, names),
        ),
    ]
    if outcome["titles"]:
        parts.append(
            (
                f"{batching.PEERS_MODEL} beside peers, at 1 and at {batching.CLOSED[-1]} "
                "connections:",
                peer_rows(rounds, outcome["titles"]),
            )
        )
    lines = []
    for title, rows in parts:
        lines += [title, "", table(*rows), ""]
        if title.startswith("Open loop at"):
            lines += ["–: more than the generator can send from one core.", ""]
    lines += [f"Threads with {describe_threads(outcome['threads'])}.", ""]
    lines += [f"Not measured: {name}: {why}." for name, why in outcome["skipped"].items()]
    if limited(rounds):
        lines.append(f"The generator was the limit: {', '.join(limited(rounds))}.")
    disturbed = noisy(rounds)
    if disturbed:
        lines.append(
            "Disturbed by other work on the two cores (its share of a core, median of the rounds): "
            + "; ".join(f"{what}: {share:.0%}" for what, share in disturbed.items())
            + ". Repeat on a quiet machine before quoting these."
        )
    return lines


def headline(outcome):
    return (
        f"Measured on {outcome['machine']}; {outcome['date']}; medians of {len(outcome['rounds'])} "
        f"× {outcome['seconds']} s, with `{outcome['command']}`. The server has one core (pacer: "
        "one loop and one worker), the load the other."
    )


def as_text(outcome):
    return "\n".join([headline(outcome), "", *sections(outcome, report.text_table)])


def as_markdown(outcome):
    versions = [f"- {name}: {text}" for name, text in outcome["versions"].items() if text]
    parts = [part for part in sections(outcome, report.markdown_table) if part]
    return "\n\n".join([headline(outcome), *parts, "Versions:", "\n".join(versions)])


def write_docs(path, outcome):
    report.write_between(path, BEGIN, END, as_markdown(outcome))
