# SPDX-License-Identifier: Apache-2.0
"""One run of wrk against one server, and what both cores did meanwhile."""

import json
import resource
import subprocess
import time
from pathlib import Path

from . import process, workload

SCRIPT = Path(__file__).with_name("load.lua")


class LoadFailed(Exception):
    pass


def run_wrk(port, bodies, connections, seconds, core, salt=None, path=workload.PATH):
    """wrk's own figures as a dict; `seconds` whole seconds."""
    command = [
        "taskset",
        "-c",
        str(core),
        "wrk",
        "-t1",
        f"-c{connections}",
        f"-d{seconds}s",
        "--timeout",
        "10s",
        "-s",
        str(SCRIPT),
        f"http://127.0.0.1:{port}{path}",
        "--",
        str(bodies),
    ]
    if salt is not None:
        command.append(str(salt))
    result = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 30)
    lines = [line for line in result.stdout.splitlines() if line.startswith('{"requests"')]
    if result.returncode != 0 or not lines:
        raise LoadFailed(f"wrk: {(result.stderr or result.stdout).strip()[-300:]}")
    figures = json.loads(lines[-1])
    errors = {
        k: figures[k] for k in ("connect", "read", "write", "status", "timeout") if figures[k]
    }
    if errors or figures["requests"] == 0:
        raise LoadFailed(f"{figures['requests']} requests, errors: {errors}")
    return figures


def _children_s():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


class Watch:
    """What the server and both cores do from here to `end`. `cores` is (server's, load's)."""

    def __init__(self, server, cores):
        self.server, self.cores = server, cores
        self.ticks, self.load_s = server.cpu_ticks(), _children_s()
        self.before = [process.core_ticks(core) for core in cores]
        self.wall = time.perf_counter()

    def end(self):
        after = [process.core_ticks(core) for core in self.cores]
        wall_s = time.perf_counter() - self.wall
        server_s = (self.server.cpu_ticks() - self.ticks) / process.TICKS_PER_S
        used_s = (server_s, _children_s() - self.load_s)
        # Whatever else ran on the two cores, or was taken by the hypervisor, spoils the sample.
        foreign_s = [
            max(
                0.0,
                sum(a - b for a, b in zip(after[i], self.before[i])) / process.TICKS_PER_S
                - used_s[i],
            )
            for i in (0, 1)
        ]
        return {
            "server_cpu_s": server_s,
            "server_core_busy": server_s / wall_s,
            "load_core_busy": used_s[1] / wall_s,
            "foreign_share": max(foreign_s) / wall_s,
        }


def measure(server, port, bodies, connections, seconds, cores, salt=None, path=workload.PATH):
    """One sample. `cores` is (server's, load generator's)."""
    watch = Watch(server, cores)
    figures = run_wrk(port, bodies, connections, seconds, cores[1], salt, path)
    seen = watch.end()
    return {
        "connections": connections,
        "requests_per_s": figures["requests"] / (figures["duration_us"] / 1e6),
        "p50_us": figures["p50_us"],
        "p90_us": figures["p90_us"],
        "p99_us": figures["p99_us"],
        "max_us": figures["max_us"],
        "server_cpu_us_per_request": seen.pop("server_cpu_s") * 1e6 / figures["requests"],
        **seen,
    }
