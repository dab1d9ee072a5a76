#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""Python's subprocess: communicate-python BYTES COUNT."""

import json
import resource
import subprocess
import sys
import time


def cpu_ns():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return int((used.ru_utime + used.ru_stime) * 1e9)


length, count = int(sys.argv[1]), int(sys.argv[2])
data = (b"abcdefghijklmnopqrstuvw" * (length // 23 + 1))[:length]
wall, cpu = time.monotonic_ns(), cpu_ns()
for _ in range(count):
    process = subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    output, _ = process.communicate(data)
    if output != data or process.returncode != 0:
        sys.exit("wrong answer")
cpu, wall = cpu_ns() - cpu, time.monotonic_ns() - wall
print(json.dumps({"wall_ns": wall // count, "cpu_ns": cpu // count}))
