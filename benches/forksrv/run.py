#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""Measures the fork server, and writes benches/results/forksrv.md.

    run.py BUILD [--rounds 15] [--short]

BUILD holds the spawn-* programs and forksrv-zygote. In each round every program runs
once, in an order drawn anew. Ratios and intervals as those of ../watch/run.py, from
which they are. --short runs everything once, and writes nothing.
"""

import argparse
import platform
import random
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "watch"))
from run import only, publish, ratio, run, table  # noqa: E402

OURS, SPAWN = "sss_forksrv_launch", "sss_child_spawn"
PROGRAMS = {SPAWN: "spawn-sss", OURS: "spawn-forksrv", "fork + exec": "spawn-fork", "posix_spawn": "spawn-posix_spawn"}
PYTHON = "Python's multiprocessing forkserver"
# Copying page tables takes its time.
FEWER = {("fork + exec", 1024): 10, ("fork + exec", 8192): 2}
METRICS = {"running": "until it runs", "reaped": "until its end is told"}


def plan(args):
    """(what, subject) -> program and arguments."""
    count = 20 if args.short else 200
    runs = {}
    for megabytes in (10,) if args.short else (10, 1024, 8192):
        for more in (0, 10000):
            what, size = f"memory {megabytes} {more}", [str(megabytes), "small", str(10 + more)]
            for name, program in PROGRAMS.items():
                children = min(count, FEWER.get((name, megabytes), count))
                runs[what, name] = [program, "memory", *size, str(children)]
            runs[what, PYTHON] = [HERE / "python.py", str(megabytes), str(more), str(count // 5)]
    for name, program in PROGRAMS.items():
        runs["rate", name] = [program, "rate", "1", str(count)]
    for name, way in (("a function in the zygote", "fork"), ("exec, and load", "exec")):
        runs["zygote", name] = ["forksrv-zygote", way, str(count // 4)]
    return runs


def measured(args, runs, rounds):
    found = {key: [] for key in runs}
    for number in range(rounds):
        # What writes to 8 GB takes seconds.
        order = [key for key in runs if "8192" not in key[0] or number % 3 == 0]
        random.shuffle(order)
        for key in order:
            got = run(args.build, *runs[key])
            if got is None or "skip" in got:
                print(f"SKIP {key[0]} {key[1]}: {got and got['skip']}")
            else:
                found[key].append(got)
        print(f"round {number + 1} of {rounds}", flush=True)
    groups = {}
    for (what, name), values in found.items():
        if values:
            groups.setdefault(what, {})[name] = values
    return groups


def title_of(what):
    kind, *numbers = what.split()
    if kind == "rate":
        return "One thread, both CPUs"
    return f"A daemon of {numbers[0]} MB with {numbers[1]} descriptors"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("build", type=Path)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--short", action="store_true")
    args = parser.parse_args()
    rounds = 1 if args.short else args.rounds
    groups = measured(args, plan(args), rounds)
    lines = [
        "# The fork server",
        "",
        f"{rounds} interleaved rounds on {platform.machine()}, Linux {platform.release()}, those of 8192 MB "
        "a third of them; medians. `make bench` measures anew.",
        "",
    ]
    zygote = groups.pop("zygote", {})
    for what, subjects in groups.items():
        for metric, told in METRICS.items():
            values = only(subjects, f"{metric}_p50_ns")
            lines += [*table(f"{title_of(what)}: from the call {told}", "µs", 1000, values, SPAWN), ""]
        if what == "rate":
            rates = only(subjects, "per_second")
            lines += [*table("The same: launches per second", "", 1, rates, SPAWN), ""]
    for metric, told in (("running", "until the worker has its 50 MB"), ("reaped", METRICS["reaped"])):
        values = only(zygote, f"{metric}_p50_ns")
        lines += [*table(f"A warmed zygote: from the call {told}", "µs", 1000, values, "exec, and load"), ""]
    for more in (0, 10000):
        small, large = (groups.get(f"memory {n} {more}", {}).get(OURS) for n in (10, 8192))
        if small and large:
            flat = [row["reaped_p50_ns"] for row in large], [row["reaped_p50_ns"] for row in small[:: 3]]
            middle, low, high = ratio(*flat)
            lines += [f"{OURS} from 8192 MB to 10 MB with {more} descriptors: "
                      f"{middle:.2f} ({low:.2f} to {high:.2f})", ""]
    publish(lines, "forksrv.md", args.short)


if __name__ == "__main__":
    main()
