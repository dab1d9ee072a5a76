#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""python.py MB N K: Python's multiprocessing forkserver from a process with so much written
memory and N more descriptors starts K children, one after the other, each a function that reports the clock.
Times as those of ../spawn/harness.c; one line of JSON."""

import json
import mmap
import multiprocessing
import os
import resource
import statistics
import sys
import time

WARM_UP = 5


def report(pipe):
    pipe.send(time.monotonic_ns())


def main():
    megabytes, descriptors, count = map(int, sys.argv[1:])
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["__main__"])
    memory = mmap.mmap(-1, megabytes << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    for at in range(0, len(memory), mmap.PAGESIZE):
        memory[at] = 1
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    wanted = descriptors + 1024
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, max(hard, wanted)))
    null = os.open(os.devnull, os.O_RDONLY)
    for _ in range(descriptors):
        os.dup(null)
    times = {"returned": [], "running": [], "reaped": []}
    for i in range(WARM_UP + count):
        ours, theirs = context.Pipe(False)
        process = context.Process(target=report, args=(theirs,))
        start = time.monotonic_ns()
        process.start()
        returned = time.monotonic_ns()
        process.join()
        reaped = time.monotonic_ns()
        if process.exitcode != 0:
            sys.exit(f"exit code {process.exitcode}")
        running = ours.recv()
        ours.close()
        theirs.close()
        process.close()
        if i >= WARM_UP:
            for name, at in (("returned", returned), ("running", running), ("reaped", reaped)):
                times[name].append(at - start)
    print(json.dumps({f"{name}_p50_ns": statistics.median(row) for name, row in times.items()}))


if __name__ == "__main__":
    main()
