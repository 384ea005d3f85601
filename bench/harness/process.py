# SPDX-License-Identifier: Apache-2.0
"""A server under measurement: all its processes, pinned to one core, watched through /proc."""

import os
import signal
import socket
import subprocess
import time
from pathlib import Path

READY_TIMEOUT_S = 30
STOP_TIMEOUT_S = 5
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class StartFailed(Exception):
    pass


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def core_ticks(core):
    """What the core did so far, in clock ticks: (all but idle and stolen time, stolen time)."""
    for line in Path("/proc/stat").read_text().splitlines():
        fields = line.split()
        if fields[0] == f"cpu{core}":
            user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, fields[1:9])
            return user + nice + system + irq + softirq, steal
    raise RuntimeError(f"/proc/stat knows no core {core}")


class Server:
    def __init__(self, command, core, log, env=None, cwd=None):
        self.log = log
        self.started_s = time.perf_counter()
        with open(log, "wb") as out:
            self.process = subprocess.Popen(
                ["taskset", "-c", str(core), *map(str, command)],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(env or {})},
                cwd=cwd,
                start_new_session=True,
            )

    def _stats(self):
        """(pid, fields of /proc/PID/stat after the name) of every process of the session."""
        for entry in os.listdir("/proc"):
            if not entry.isdigit():
                continue
            try:
                fields = Path("/proc", entry, "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue  # ended meanwhile
            if int(fields[3]) == self.process.pid and fields[0] != "Z":
                yield int(entry), fields

    def cpu_ticks(self):
        return sum(int(fields[11]) + int(fields[12]) for _, fields in self._stats())

    def thread_s(self):
        """Seconds of processor time of the first process's threads so far, by thread name."""
        times = {}
        for task in Path(f"/proc/{self.process.pid}/task").iterdir():
            name = (task / "comm").read_text().strip()
            ran_ns = int((task / "schedstat").read_text().split()[0])
            times[name] = times.get(name, 0) + ran_ns / 1e9
        return times

    def rss_bytes(self):
        return sum(int(fields[21]) * PAGE_BYTES for _, fields in self._stats())

    def pss_bytes(self):
        """Like RSS, with pages shared by n processes counted 1/n each."""
        total = 0
        for pid, _ in self._stats():
            try:
                lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
            except OSError:
                continue
            total += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
        return total

    def _fail(self, what):
        tail = Path(self.log).read_text(errors="replace").strip().splitlines()[-5:]
        raise StartFailed(f"{what}; its last words: {' | '.join(tail) or 'none'}")

    def wait_ready(self, port, probe, expect):
        """Sends `probe` each millisecond until the answer begins with `expect`.

        Returns the seconds since the start.
        """
        while True:
            try:
                with socket.create_connection(("127.0.0.1", port), timeout=5) as sock:
                    sock.sendall(probe)
                    if sock.recv(4096).startswith(expect):
                        return time.perf_counter() - self.started_s
            except OSError:
                pass
            if self.process.poll() is not None:
                self._fail(f"it ended with exit code {self.process.returncode} before it was ready")
            if time.perf_counter() - self.started_s > READY_TIMEOUT_S:
                self._fail(f"not ready after {READY_TIMEOUT_S} s")
            time.sleep(0.001)

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                pass
        for pid, _ in self._stats():  # workers whose master is gone
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.process.wait()
