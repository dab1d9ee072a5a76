#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""Python's subprocess as a subject: the same cases and the same line of JSON as
harness.c, which tells them. Reaps by Popen.wait(), for the one child."""

import fcntl
import json
import mmap
import os
import platform
import resource
import signal
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

PROGRAM = str(Path(__file__).resolve().parent / "spawned")
REPORT = struct.Struct("=Iiq")
STATUSES = 100
WARM_UP_MAX = 20
RESERVE_MB = 2048
MADV_POPULATE_WRITE = 23
DEADLINE_S = 240


class Skip(Exception):
    pass


class Plan:
    def __init__(self, case, n, argument, children):
        self.memory_mb = n if case == "memory" else 10
        self.huge_pages = argument == "huge"
        self.descriptors = n if case == "descriptors" else 10
        self.map = argument if case == "descriptors" else "none"
        self.threads = n if case == "rate" else 1
        self.children = children
        self.warm_up = min(children // 10 + 1, WARM_UP_MAX)


class Child:
    """Times, and whether what came back is right."""

    def __init__(self, slot):
        self.slot = slot
        self.start = self.returned = self.reaped = 0
        self.pid = None
        self.report = None

    def run(self, daemon):
        piped = daemon.plan.map == "pipes"
        stdio = [subprocess.PIPE] * 3 if piped else daemon.sources
        argv = [PROGRAM, str(self.slot), str(daemon.highest)]
        self.start = time.monotonic_ns()
        process = subprocess.Popen(
            argv, bufsize=0, stdin=stdio[0], stdout=stdio[1], stderr=stdio[2], close_fds=True
        )
        self.returned = time.monotonic_ns()
        status = process.wait()
        self.reaped = time.monotonic_ns()
        self.pid = process.pid
        if status != self.slot % STATUSES:
            sys.exit(f"slot {self.slot}: status {status}")
        if piped:
            self.report = REPORT.unpack(process.stdout.read(REPORT.size))
            for pipe in (process.stdin, process.stdout, process.stderr):
                pipe.close()

    def verify(self):
        if self.report is None or self.report[:2] != (self.slot, self.pid):
            sys.exit(f"slot {self.slot}: told of pid {self.pid}, reported {self.report}")

    def times(self):
        return {
            "returned": self.returned - self.start,
            "running": self.report[2] - self.start,
            "reaped": self.reaped - self.start,
        }


class Daemon:
    """Memory and descriptors as the plan has them."""

    def __init__(self, plan):
        self.plan = plan
        self.memory = memory_written(plan)
        low = standard_duplicated()
        while fcntl.fcntl(0, fcntl.F_DUPFD, 3) < plan.descriptors - 4:
            pass
        high = standard_duplicated()
        self.highest = high[-1]
        self.sources = {"low": low, "high": high}.get(plan.map, [None] * 3)

    def run_threads(self, chunks):
        threads = [threading.Thread(target=self.run_children, args=[c]) for c in chunks[1:]]
        for thread in threads:
            thread.start()
        self.run_children(chunks[0])
        for thread in threads:
            thread.join()

    def run_children(self, children):
        try:
            for child in children:
                child.run(self)
        except BaseException as error:
            print(f"python: {error!r}", file=sys.stderr, flush=True)
            os._exit(1)


def descriptors_standard():
    """Children write to one file, each at its end. Descriptor 0 is /dev/null."""
    out = fcntl.fcntl(1, fcntl.F_DUPFD_CLOEXEC, 8)
    null, reports = os.open("/dev/null", os.O_RDWR), os.memfd_create("reports")
    fcntl.fcntl(reports, fcntl.F_SETFL, os.O_APPEND)
    os.dup2(null, 0)
    os.dup2(reports, 1)
    os.close(null)
    os.close(reports)
    return os.fdopen(out, "w")


def standard_duplicated():
    return [fcntl.fcntl(fd, fcntl.F_DUPFD, 3) for fd in range(3)]


def megabytes(path, key):
    for line in Path(path).read_text().splitlines():
        if line.startswith(key):
            return int(line.split()[1]) // 1024
    return -1


def memory_written(plan):
    available, wanted = megabytes("/proc/meminfo", "MemAvailable:"), plan.memory_mb + RESERVE_MB
    if plan.memory_mb > RESERVE_MB // 2 and available < wanted:
        raise Skip(f"MemAvailable is {available} MB, below {wanted}")
    memory = mmap.mmap(-1, plan.memory_mb << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory.madvise(mmap.MADV_HUGEPAGE if plan.huge_pages else mmap.MADV_NOHUGEPAGE)
    try:
        memory.madvise(MADV_POPULATE_WRITE)
    except OSError:
        for at in range(0, len(memory), mmap.PAGESIZE):
            memory[at] = 1
    huge = megabytes("/proc/self/smaps_rollup", "AnonHugePages:") if plan.huge_pages else 0
    if plan.huge_pages and huge < plan.memory_mb // 2:
        raise Skip(f"{huge} of {plan.memory_mb} MB became huge pages")
    return memory


def children_cpu_ns():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return round((usage.ru_utime + usage.ru_stime) * 1e9)


def clocks():
    return time.monotonic_ns(), time.process_time_ns(), children_cpu_ns()


def quantiles(children):
    result = {}
    rows = [child.times() for child in children]
    for name in rows[0]:
        times = sorted(row[name] for row in rows)
        result[f"{name}_p50_ns"] = times[(len(times) - 1) // 2]
        result[f"{name}_p99_ns"] = times[int(0.99 * (len(times) - 1) + 0.5)]
    return result


def measured(plan):
    daemon = Daemon(plan)
    each = plan.warm_up + plan.children
    children = [Child(slot) for slot in range(plan.threads * each)]
    parts = [children[i * each : (i + 1) * each] for i in range(plan.threads)]
    daemon.run_threads([part[: plan.warm_up] for part in parts])
    before = clocks()
    daemon.run_threads([part[plan.warm_up :] for part in parts])
    wall, own, theirs = (b - a for a, b in zip(before, clocks()))
    if plan.map != "pipes":
        take_reports(children)
    for child in children:
        child.verify()
    counted = [child for part in parts for child in part[plan.warm_up :]]
    return {
        **quantiles(counted),
        "cpu_ns": (own + theirs) / len(counted),
        "daemon_cpu_ns": own / len(counted),
        "per_second": len(counted) * 1e9 / wall,
    }


def take_reports(children):
    written = os.fstat(1).st_size
    for report in REPORT.iter_unpack(os.pread(1, written, 0)):
        children[report[0]].report = report


def raise_limit(descriptors):
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = descriptors + 64
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, max(hard, wanted)))
    except (OSError, ValueError) as error:
        raise Skip(f"RLIMIT_NOFILE of {wanted}: {error}") from None


def main():
    if sys.argv[1:] == ["version"]:
        print(json.dumps({"subject": "python", "version": f"Python {platform.python_version()}"}))
        return
    case, n, argument, children = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[-1])
    plan = Plan(case, n, argument, children)
    signal.alarm(DEADLINE_S)
    if case != "rate":
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    with descriptors_standard() as out:
        row = {"subject": "python", "case": case, "n": n}
        try:
            raise_limit(plan.descriptors)
            row |= measured(plan)
        except Skip as skip:
            row["skip"] = str(skip)
        print(json.dumps(row), file=out)


if __name__ == "__main__":
    main()
