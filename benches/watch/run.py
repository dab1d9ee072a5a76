#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""Measures rich watches and communicate, and writes benches/results/watch.md.

    run.py BUILD [--rounds 15] [--short]

In each round every program runs once, in an order drawn anew. A ratio is the median
of the rounds' own ratios, with the interval that holds the middle 95 % of 2,000
medians drawn from them. --short runs everything once, and writes nothing.
"""

import argparse
import json
import platform
import random
import statistics
import subprocess
import sys
from pathlib import Path

RESULTS = Path(__file__).resolve().parent.parent / "results"
BYTES = 1 << 20

# What is measured: its name, and for each subject the program and its arguments.
STEADY = {
    "by signalfd, plain": "bench-sss-signalfd",
    "by signalfd, rich": "watch-sss-signalfd",
    "by descriptor, plain": "bench-sss-fd",
    "by descriptor, rich": "watch-sss-fd",
    "sd-event": "bench-sd-event",
}
COMMUNICATE = {
    "sss_child_communicate": "communicate-sss",
    "GSubprocess": "communicate-glib",
    "poll loop by hand": "communicate-poll",
    "Python's subprocess": "communicate-python",
}


def run(build, *argv):
    program = build / argv[0]
    if not program.exists():
        return None
    done = subprocess.run([program, *argv[1:]], capture_output=True, text=True, timeout=600)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, argv))}: {done.returncode}\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def rounds_of(build, subjects, arguments, rounds):
    """For each subject its figures in each round."""
    found = {name: [] for name in subjects}
    for _ in range(rounds):
        order = list(subjects.items())
        random.shuffle(order)
        for name, program in order:
            got = run(build, program, *arguments)
            if got is not None:
                found[name].append(got)
    return {name: values for name, values in found.items() if values}


def only(found, key):
    return {name: [got[key] for got in values] for name, values in found.items()}


def ratio(values, base):
    ratios = [value / other for value, other in zip(values, base)]
    draws = [statistics.median(random.choices(ratios, k=len(ratios))) for _ in range(2000)]
    draws.sort()
    return statistics.median(ratios), draws[50], draws[-51]


def table(title, unit, scale, found, base):
    lines = [f"| {title} | {unit} | ratio | 95 % |", "|---|---:|---:|---|"]
    for name, values in found.items():
        middle, low, high = ratio(values, found[base])
        lines.append(
            f"| {name} | {statistics.median(values) / scale:.2f} | {middle:.2f} "
            f"| {low:.2f} to {high:.2f} |"
        )
    return lines


def publish(lines, name, short):
    """Prints a report, and keeps that of a whole run."""
    text = "\n".join(lines)
    print(text)
    if not short:
        (RESULTS / name).write_text(text)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("build", type=Path)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--short", action="store_true")
    args = parser.parse_args()
    rounds = 1 if args.short else args.rounds
    children = "100" if args.short else "2000"
    lines = [
        "# Rich watches and communicate",
        "",
        f"{rounds} interleaved rounds on {platform.machine()}, Linux {platform.release()}; "
        "medians. `make bench` measures anew.",
        "",
    ]
    for idle in ("0", "1000"):
        if args.short and idle != "0":
            continue
        found = rounds_of(args.build, STEADY, ["steady", idle, children], rounds)
        found = only(found, "cpu_ns")
        title = f"CPU per short-lived child among {idle} idle ones, registration and loop"
        base = "by signalfd, plain"
        lines += table(title, "µs", 1000, found, base)
        for way in ("by signalfd", "by descriptor"):
            middle, low, high = ratio(found[f"{way}, rich"], found[f"{way}, plain"])
            lines += ["", f"{way}: rich to plain {middle:.2f} ({low:.2f} to {high:.2f})"]
        lines.append("")
    count = "500" if args.short else "10000"
    watches = [run(args.build, "deadlines", count) for _ in range(1 if args.short else 5)]
    one = {key: statistics.median(watch[key] for watch in watches) for key in watches[0]}
    lines += [
        f"Among {count} children without descriptors: a rich watch takes "
        f"{one['heap_bytes']:.0f} bytes of heap and {one['watch_ns']} ns; setting a deadline "
        f"{one['set_ns']} ns, taking it away {one['cancel_ns']} ns.",
        "",
    ]
    times = "2" if args.short else "40"
    found = rounds_of(args.build, COMMUNICATE, [str(BYTES), times], rounds)
    for key, title in (("wall_ns", "time"), ("cpu_ns", "CPU of the caller")):
        lines += table(f"1 MiB to `cat` and back: {title}", "ms", 1e6, only(found, key),
                       "sss_child_communicate")
        lines.append("")
    publish(lines, "watch.md", args.short)


if __name__ == "__main__":
    main()
