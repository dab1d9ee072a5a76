#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""Logs beside s6-log, multilog and cat: run.py DIR [--short] [--rounds N] [--children N]

DIR has harness and sss, as benches/Makefile builds them. Each round runs every
subject once, in a new order; the file system is a tmpfs where one can be had at
/dev/shm, so that the disk is in no figure. Prints a table for one child and one for
100, or one of them, and puts them into results/log.md in the place of those that it
has. --short runs everything once, and writes nothing.

--library NAME=FILE, which may be given more than once, runs our own subjects once
more with that shared library in the place of the one they are linked with, and tells
the ratio to it. Only our subjects and cat are run then, and nothing is written. So builds
that differ in one constant are compared; README.md has an example.
"""

import argparse
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile

BENCHES = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# Subject: the program that must be there, one process for all pipes or each, argv.
SUBJECTS = {
    "cat": ("cat", "each", ["sh", "-c", 'exec cat > "$0"', "{dir}/%d"]),
    "sss raw": (None, "all", ["{sss}", "raw", "{children}", "{dir}"]),
    "s6-log": ("s6-log", "each", ["s6-log", "n10", "s16000000", "{dir}/%d"]),
    "multilog": ("multilog", "each", ["multilog", "n10", "s16000000", "{dir}/%d"]),
    "sss stamped": (None, "all", ["{sss}", "stamped", "{children}", "{dir}"]),
    "s6-log t": ("s6-log", "each", ["s6-log", "t", "n10", "s16000000", "{dir}/%d"]),
    "multilog t": ("multilog", "each", ["multilog", "t", "n10", "s16000000", "{dir}/%d"]),
}
BARS = [("sss raw", "cat", 2.0), ("sss stamped", "s6-log t", 0.7)]


def run(where, subject, children, megabytes, libraries):
    subject, _, library = subject.partition(" with ")
    _, how, argv = SUBJECTS[subject]
    if library:
        argv = ["env", f"LD_PRELOAD={libraries[library]}", *argv]
    base = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    directory = tempfile.mkdtemp(prefix="sss-log-", dir=base)
    values = {"dir": directory, "sss": f"{where}/sss", "children": children}
    try:
        command = [f"{where}/harness", str(children), str(megabytes), how]
        command += [word.format(**values) for word in argv]
        done = subprocess.run(command, capture_output=True, text=True, timeout=600)
        if done.returncode != 0:
            sys.exit(f"{subject}: {done.stderr}")
        cpu, wall = map(float, done.stdout.split())
        return cpu / megabytes, wall / megabytes
    finally:
        shutil.rmtree(directory)


def interval(values):
    """A 95 % interval of the median, by resampling."""
    chance = random.Random(1)
    medians = sorted(
        statistics.median(chance.choices(values, k=len(values))) for _ in range(2000)
    )
    return medians[50], medians[1949]


def ratio(results, subject, other):
    """Of CPU time, in the same rounds."""
    ratios = [a[0] / b[0] for a, b in zip(results[subject], results[other])]
    low, high = interval(ratios)
    return f"{statistics.median(ratios):.2f} ({low:.2f} to {high:.2f})"


def title(children):
    return f"## {children} {'child' if children == 1 else 'children'}"


def write(path, head, tables):
    """The file anew, with the tables of it that were not measured now."""
    try:
        with open(path, encoding="utf-8") as file:
            former = file.read().split("\n## ")[1:]
    except FileNotFoundError:
        former = []
    for children in (1, 100):
        kept = [f"## {text}" for text in former if f"## {text}".startswith(title(children) + ",")]
        if children not in tables and kept:
            tables[children] = kept[0].rstrip().split("\n") + [""]
    lines = head + [line for children in sorted(tables) for line in tables[children]]
    with open(path, "w", encoding="utf-8") as file:
        file.write("\n".join(lines).rstrip() + "\n")


def table(results, children, megabytes, rounds):
    lines = [
        f"{title(children)}, {megabytes} MB, {rounds} rounds",
        "",
        "| | CPU, ms per MB | to cat | wall, ms per MB |",
        "|---|---:|---:|---:|",
    ]
    for subject, values in results.items():
        cpu = statistics.median(value[0] for value in values)
        wall = statistics.median(value[1] for value in values)
        to_cat = "1" if subject == "cat" else ratio(results, subject, "cat")
        lines.append(f"| {subject} | {cpu:.3f} | {to_cat} | {wall:.3f} |")
    lines.append("")
    for ours, theirs, bar in BARS:
        if theirs not in results or ours not in results:
            continue
        lines.append(
            f"{ours} to {theirs}: {ratio(results, ours, theirs)}; the bar is {bar}."
        )
        lines.append("")
    for subject in results:
        ours, _, library = subject.partition(" with ")
        if library:
            lines.append(f"{subject}, to the present: {ratio(results, subject, ours)}.")
            lines.append("")
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dir")
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--children", type=int, choices=(1, 100), help="this table only")
    parser.add_argument("--megabytes", type=int, default=200)
    parser.add_argument("--library", action="append", default=[], metavar="NAME=FILE")
    args = parser.parse_args()
    libraries = dict(text.split("=", 1) for text in args.library)
    libraries = {name: os.path.abspath(file) for name, file in libraries.items()}
    for file in libraries.values():
        if not os.access(file, os.R_OK):
            parser.error(f"{file} cannot be read")
    rounds = 1 if args.short else args.rounds
    megabytes = 5 if args.short else args.megabytes
    there = []
    for subject, (program, _, _) in SUBJECTS.items():
        if program is None or shutil.which(program):
            there.append(subject)
        else:
            print(f"{subject} is left out: {program} is not installed")
    if libraries:
        ours = [subject for subject in there if subject.startswith("sss ")]
        there = ["cat", *ours, *(f"{one} with {name}" for one in ours for name in libraries)]
    machine = f"{os.cpu_count()} processors, Linux {os.uname().release}"
    head = [
        "# Logs",
        "",
        "What it costs to take 100-byte lines, written 4,096 bytes at a time, from pipes to"
        " files on a tmpfs that are rotated at 16 MB, ten kept (cat: one file). CPU is that of"
        " the logging processes, all their threads; it is one process for all children here,"
        " one for each child with the others. Medians; ratios are of the same round, with a"
        f" 95 % interval. {machine}.",
        "",
    ]
    tables = {}
    for children in [args.children] if args.children else (1, 100):
        results = {subject: [] for subject in there}
        for _ in range(rounds):
            for subject in random.sample(there, len(there)):
                results[subject].append(run(args.dir, subject, children, megabytes, libraries))
        tables[children] = table(results, children, megabytes, rounds)
        print("\n".join(tables[children]))
    if not args.short and not libraries:
        write(f"{BENCHES}/results/log.md", head, tables)


if __name__ == "__main__":
    main()
