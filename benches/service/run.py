#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""Runs adoption.c, its subjects interleaved, and writes benches/results/service.md.

    run.py PROGRAM [--rounds 15] [--short]

A subject that the system does not allow is left out, and said so. --short runs everything
once, and writes nothing.
"""

import argparse
import os
import pathlib
import statistics
import subprocess
import sys

SUBJECTS = ["plain", "plain-again", "connector", "cgroup", "ptrace", "shim", "sss", "descent"]
SERVICES = [1, 10, 100, 1000]
MEMORY = """What one service holds: heap and descriptors of the daemon, memory of the subject's
own processes beside it, and the daemon's again once each service's first process has left an
orphan that lives. What a context or a socket needs once is in it, shared among the services.

"""

# The program's exit code where the system refuses what the subject needs.
REFUSED = 77


def fields_of(*command):
    """What the program prints, in words; None where the system refuses the subject. Any other
    failure ends the benchmark."""
    run = subprocess.run(command, capture_output=True, text=True)
    if run.returncode == REFUSED:
        return None
    if run.returncode != 0:
        sys.exit(f"{' '.join(command)}: exit code {run.returncode}\n{run.stderr}")
    return run.stdout.split()


def once(program, subject, services):
    """CPU µs per orphan, ADOPTED µs, DEAD µs; None where it does not run here."""
    fields = fields_of(program, subject.removesuffix("-again"), str(services), "100")
    return fields and [float(field) for field in fields[3:6]]


def memory_once(program, subject, services):
    """What a service holds, as the program prints it; None where it does not run here."""
    fields = fields_of(program, subject, str(services), "memory")
    return fields and [float(field) for field in fields[2:]]


def memory_table(held):
    yield "| subject | services | bytes | descriptors | KiB beside | with an orphan: bytes " \
        "| descriptors |"
    yield "|---|---:|---:|---:|---:|---:|---:|"
    for services in SERVICES:
        for subject in SUBJECTS:
            found = held.get(f"{subject} {services}")
            if found:
                size, fds, beside, late, late_fds = found
                adopted = f"{late:.0f} | {late_fds:.2f}" if late else "| "
                yield f"| {subject} | {services} | {size:.0f} | {fds:.2f} | {beside:.0f} | " \
                    f"{adopted} |"


def cgroup_mount():
    for line in open("/proc/self/mountinfo"):
        fields = line.split()
        if fields[fields.index("-") + 1] == "cgroup2":
            return fields[4]
    return "/nonexistent"


def table(measured):
    yield "| subject | services | CPU µs per orphan | to the control | ADOPTED µs | DEAD µs |"
    yield "|---|---:|---:|---:|---:|---:|"
    for services in SERVICES:
        control = measured.get(f"plain {services}")
        for subject in SUBJECTS:
            runs = measured.get(f"{subject} {services}")
            if not runs:
                yield f"| {subject} | {services} | not to be had here | | | |"
                continue
            cpu, adopted, dead = (statistics.median(run[at] for run in runs) for at in range(3))
            ratio = "" if not control else \
                f"{cpu / statistics.median(run[0] for run in control):.2f}"
            shown = [f"{value:.0f}" if value else "" for value in (adopted, dead)]
            yield f"| {subject} | {services} | {cpu:.1f} | {ratio} | {shown[0]} | {shown[1]} |"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--short", action="store_true")
    arguments = parser.parse_args()
    os.environ.setdefault("BENCH_CGROUP", cgroup_mount())
    results = pathlib.Path(__file__).resolve().parent.parent / "results"
    rounds = 1 if arguments.short else arguments.rounds
    measured, held = {}, {}
    for _ in range(rounds):
        for services in SERVICES:
            for subject in SUBJECTS:
                found = once(arguments.program, subject, services)
                if found:
                    measured.setdefault(f"{subject} {services}", []).append(found)
    for services in SERVICES:
        for subject in SUBJECTS:
            found = memory_once(arguments.program, subject, services) \
                if not subject.endswith("-again") else None
            if found:
                held[f"{subject} {services}"] = found
    text = "\n".join(table(measured)) + "\n\n" + MEMORY + "\n".join(memory_table(held)) + "\n"
    print(text)
    if not arguments.short:
        (results / "service.md").write_text(
            "# What it costs to learn of an adopted process\n\n"
            f"Linux {os.uname().release}, {os.cpu_count()} processors, medians of {rounds} "
            "interleaved rounds of 100 orphans (one where there is one service). Each orphan's "
            "cost is that of two ends, one adoption and one dead service. `plain` reaps by "
            "`waitpid(-1)` and attributes nothing; `plain-again` is the same program, as a "
            "control. See `benches/service/adoption.c`.\n\n" + text)


main()
