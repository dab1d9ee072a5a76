#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""Runs the bench's programs, interleaved, and writes benches/results/*.json.

    run.py BUILD [--pairs 15] [--make vfork] [--out NAME] [--resume]
    run.py BUILD --out NAME [--cases steady,dead] [--sizes 0,100] [--subjects raw,sss-fd] ...
    run.py BUILD --adapters [--pairs 15]
    run.py BUILD --spawn [--pairs 15] [--slow-pairs 3]
    run.py BUILD --short
    run.py BUILD --sweep LABEL=DIR [--sweep LABEL=DIR ...]

In each round every subject runs once, in an order drawn anew, as a process of
its own. --spawn measures the ways of starting a child instead of those of
waiting for it, --adapters event loops' own child watching and this library on the
same loops. --short runs every case of both once and small, and writes
nothing: a wrong status fails, no time is judged. --sweep compares builds of the
library: each DIR holds a libsss_sigchld.so.0, each label is of the form
threshold:value.
"""

import argparse
import hashlib
import json
import os
import platform
import random
import re
import subprocess
import sys
import time
from pathlib import Path

RESULTS = Path(__file__).resolve().parent / "results"
TIMEOUT_S = 300

# These call waitpid(-1), or look at every child: they are slow among many.
WALKERS = {"raw", "raw-copy", "sssd", "libev", "libevent"}
SCANNERS = {"libuv", "glib"}
SPAWNERS = {"libuv", "tokio"}


def is_ours(subject):
    return subject.startswith("sss-")


def short_lived(subject, n):
    """How many short-lived children a steady round takes."""
    if n < 10000:
        return 500 if subject in SPAWNERS else 2000
    if subject in SCANNERS:
        return 100
    return 500 if subject in WALKERS | SPAWNERS else 2000


class Case:
    """One case at one size: its arguments, its rounds and who takes part."""

    def __init__(self, name, n, arg, rounds=None, only=None):
        self.name, self.n, self.arg = name, n, arg
        self.rounds, self.only = rounds, only

    def argv(self, subject):
        arg = self.arg(subject, self.n) if callable(self.arg) else self.arg
        return [self.name, str(self.n)] + ([] if arg is None else [str(arg)])

    def shown(self):
        return None if callable(self.arg) else self.arg

    def identity(self):
        return self.name, self.n, self.shown()

    def takes(self, subject):
        base = subject.partition("@")[0]
        if base == "sss-both" and self.name != "steady":
            return False
        if base == "pidfd-copy" and self.name not in ("old", "burst"):
            return False
        return self.only is None or self.only(base)

    def round_count(self, _subject, pairs, _slow_pairs):
        return min(pairs, self.rounds or pairs)


class SpawnCase(Case):
    """One case of starting children; the last argument is how many."""

    # They copy the daemon's page tables.
    FORKING = {"fork", "glib", "libuv"}
    FORKED = {(1024, "small"): 15, (8192, "small"): 3, (8192, "huge"): 30}

    def __init__(self, name, n, arg, children=200):
        super().__init__(name, n, arg)
        self.children = children

    def argv(self, subject):
        children = self.children
        if self.name == "memory" and subject in self.FORKING:
            children = min(children, self.FORKED.get((self.n, self.arg), children))
        return [*super().argv(subject), str(children)]

    def round_count(self, subject, pairs, slow_pairs):
        # It takes seconds to write to so much memory.
        slow = self.name == "memory" and self.n >= 1024 and subject not in ("sss", "forksrv")
        return min(pairs, slow_pairs) if slow else pairs


class SweepCase(Case):
    """One case for builds with other values of thresholds: {subject: thresholds}."""

    def __init__(self, name, n, arg, thresholds):
        super().__init__(name, n, arg)
        self.thresholds = thresholds

    def takes(self, subject):
        base, _, label = subject.partition("@")
        return label.partition(":")[0] in self.thresholds.get(base, ())


def dead_alone(subject):
    return is_ours(subject) or subject in {"raw", "raw-copy", "pidfd", "pidfd-copy", "sd-event"}


def holds_pidfds(subject):
    return is_ours(subject) or subject in {"pidfd", "sd-event"}


def not_spawning(subject):
    return subject not in SPAWNERS


FULL = [
    *[[Case("steady", n, short_lived)] for n in (0, 100, 1000)],
    [Case("dead", 100, 21)],
    [Case("dead", 1000, 5)],
    [Case("old", 1000, None, only=dead_alone)],
    [Case("merged", 1000, 20, rounds=10)],
    [Case("counts", 1000, 200, rounds=3)],
    [Case("steady", 10000, short_lived)],
    [Case("burst", 10000, "chain")],
    [Case("dead", 10000, 1)],
    [Case("merged", 10000, 20, rounds=10, only=not_spawning)],
    [Case("memory", 10000, None, rounds=3)],
    [Case("old", 10000, None, only=dead_alone)],
    [Case("burst", 10000, "gate", only=dead_alone)],
]

VFORK = [[Case("steady", n, short_lived, only=holds_pidfds)] for n in (0, 10000)]

ADAPTERS = [[Case("steady", n, short_lived)] for n in (0, 100, 1000, 10000)]

# Each loop's own child watching, and this library on that loop. They are not in the full bench.
ADAPTED = [
    "sss-sd-event", "sss-sd-event-signal", "sss-sd-event-signalfd", "sss-glib", "sss-glib-signalfd",
    "sss-libevent", "sss-libevent-signalfd",
    "sss-libevent-fd", "sss-libev", "sss-libev-signalfd", "sss-libev-fd", "sss-libuv", "sss-libuv-signalfd", "sss-libuv-fd",
]  # fmt: skip
BESIDE_ADAPTED = [
    "raw", "raw-copy", "sd-event", "glib", "libevent", "libev", "libuv", "sssd", "sss-tevent", "sss-tevent-signalfd",
]  # fmt: skip

SHORT = [
    Case("steady", 0, 100),
    Case("steady", 100, 100),
    Case("dead", 100, 2),
    Case("old", 50, None),
    *[Case("burst", 300, order) for order in ("chain", "gate", "fifo", "lifo", "random")],
    Case("merged", 20, 5),
    Case("memory", 200, None),
    Case("counts", 20, 50),
]

MAPS = ("none", "low", "high", "pipes")

# These are interleaved too: the bars compare one with another.
SPAWN = [
    *[SpawnCase("memory", n, pages) for n in (10, 1024, 8192) for pages in ("small", "huge")],
    *[SpawnCase("descriptors", n, map) for n in (10, 1000, 10000) for map in MAPS],
    *[SpawnCase("rate", threads, None) for threads in (1, 4)],
]

SPAWN_SHORT = [
    SpawnCase("memory", 10, "small", 10),
    SpawnCase("memory", 10, "huge", 10),
    *[SpawnCase("descriptors", 100, map, 10) for map in MAPS],
    SpawnCase("rate", 1, None, 10),
    SpawnCase("rate", 4, None, 10),
]


def signalfd(*thresholds):
    return {"sss-signalfd": thresholds, "sss-signalfd-all": thresholds}


def batched(*thresholds):
    return {"sss-fd": thresholds, "sss-tevent": thresholds}


# By the thresholds that they can tell apart.
SWEEP = [
    *[SweepCase("steady", n, short_lived, signalfd("CHEAP_WALK")) for n in (0, 10)],
    SweepCase("steady", 100, short_lived, signalfd("CHEAP_WALK", "PIDFD", "AT_ONCE", "EARNED", "PROMOTED_AT_ONCE")),
    SweepCase("steady", 1000, short_lived, signalfd("PIDFD", "SHARE", "WALK_SHARE", "EARNED", "PROMOTED_AT_ONCE")),
    SweepCase("steady", 10000, short_lived, signalfd("PIDFD")),
    SweepCase("burst", 10000, "chain", signalfd("PIDFD", "AT_ONCE", "SHARE", "WALK_SHARE", "LATE", "EARNED")),
    SweepCase("burst", 10000, "gate", {"sss-signalfd-all": ("WALK_FOR",)}),
    SweepCase("merged", 1000, 20, signalfd("AT_ONCE", "SHARE", "WALK_SHARE")),
    SweepCase("merged", 10000, 20, signalfd("SHARE", "WALK_SHARE", "LATE")),
    SweepCase("old", 10000, None, batched("EVENTS", "TURN")),
]


class Failure(Exception):
    pass


class Bench:
    def __init__(self, build, make=None, libraries=None, kind="bench"):
        self.build = Path(build).resolve()
        self.kind = kind
        self.make = make
        self.libraries = libraries

    def subjects(self):
        found = sorted(p.name.partition("-")[2] for p in self.build.glob(f"{self.kind}-*"))
        if not found:
            raise Failure(f"{self.build} holds no {self.kind}-* program")
        return found

    def run(self, subject, argv):
        name, _, label = subject.partition("@")
        env = dict(os.environ)
        if label:
            env["LD_PRELOAD"] = str(self.libraries[label])
        command = [str(self.build / f"{self.kind}-{name}"), *argv]
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=TIMEOUT_S)
        shown = " ".join([subject, *argv])
        if done.returncode != 0:
            raise Failure(f"{shown}: exit status {done.returncode}\n{done.stderr}")
        try:
            return json.loads(done.stdout)
        except json.JSONDecodeError as error:
            raise Failure(f"{shown}: {error}: {done.stdout!r}") from None

    def fingerprint(self, subject):
        """Of its program and of the library that it runs with."""
        name, _, label = subject.partition("@")
        program = self.build / f"{self.kind}-{name}"
        files = [program]
        if label:
            files.append(self.libraries[label])
        elif program.read_bytes().startswith(b"\x7fELF"):
            linked = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
            files += re.findall(r"^\s*libsss_sigchld\S* => (\S+)", linked, re.M)
        return hashlib.sha256(b"".join(Path(f).read_bytes() for f in files)).hexdigest()[:16]

    def run_case(self, subject, case):
        argv = case.argv(subject.partition("@")[0])
        if self.make == "fork" and case.name == "steady":
            argv.append(self.make)
        return self.run(subject, argv)


def machine():
    cpu = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.M)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "kernel": platform.release(),
        "cpu": cpu.group(1) if cpu else platform.machine(),
        "cpus": len(os.sched_getaffinity(0)),
        "memory_gib": round(memory / 2**30),
        "libc": " ".join(platform.libc_ver()),
        "date": time.strftime("%Y-%m-%d"),
    }


def run_rounds(bench, cases, subjects, pairs, slow_pairs, first=0):
    """{case: {subject: {metric: [one value per round, None where it did not run]}}}, from round `first` on."""
    taking = [(c, s) for c in cases for s in subjects if c.takes(s)]
    counts = {(c, s): c.round_count(s, pairs, slow_pairs) for c, s in taking}
    total = max(counts.values(), default=0)
    draw = random.Random("; ".join(f"{c.name} {c.n} {c.arg}" for c in cases) + f" from {first}")
    rows = {pair: [None] * (total - first) for pair in taking}
    for i in range(first, total):
        # A subject with fewer rounds takes part evenly over the whole time.
        order = [p for p in taking if (i + 1) * counts[p] // total > i * counts[p] // total]
        draw.shuffle(order)
        for case, subject in order:
            rows[case, subject][i - first] = bench.run_case(subject, case)
        if len(cases) > 1:
            print(f"round {i + 1} of {total}", flush=True)
    return {c: {s: columns(rows[c, s]) for d, s in taking if d is c} for c in cases}


def columns(rows):
    identity = {"subject", "case", "n", "order"}
    metrics = {key: None for row in rows if row for key in row if key not in identity}
    return {m: [row.get(m) if row else None for row in rows] for m in metrics}


def former_result(name):
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else {}


def rounds_of(subjects):
    return max((len(v) for metrics in subjects.values() for v in metrics.values()), default=0)


def appended(former, later):
    """The rounds of both, for each subject and metric."""
    before, after = rounds_of(former), rounds_of(later)
    return {
        s: {
            m: former.get(s, {}).get(m, [None] * before) + later.get(s, {}).get(m, [None] * after)
            for m in former.get(s, {}) | later.get(s, {})
        }
        for s in former | later
    }


def run_all(bench, groups, subjects, pairs, slow_pairs, name, resumed):
    """Writes what is there after each group: a run takes its time."""
    former = former_result(name) if resumed else {}
    cases = former.get("cases", [])
    builds = {s: bench.fingerprint(s) for s in subjects}
    result = {
        "kind": bench.kind,
        "machine": machine(),
        "make": bench.make,
        "versions": former.get("versions", {}) | {s: bench.run(s, ["version"])["version"] for s in subjects},
        "cases": cases,
    }
    for group in groups:
        start = time.monotonic()
        known = [next((d for d in cases if (d["case"], d["n"], d["arg"]) == c.identity()), None) for c in group]
        done = min(rounds_of({s: k["subjects"].get(s, {}) for s in subjects}) if k else 0 for k in known)
        if done >= max(c.round_count(s, pairs, slow_pairs) for c in group for s in subjects):
            continue
        for case in filter(None, known):
            refuse_other_builds(case, builds)
        for (case, values), before in zip(run_rounds(bench, group, subjects, pairs, slow_pairs, done).items(), known):
            tell_skipped(case, values)
            of = {s: builds[s] for s in values}
            if before:
                before["subjects"] = appended(before["subjects"], values)
                before["builds"] |= of
            else:
                cases.append({**dict(zip(("case", "n", "arg"), case.identity())), "builds": of, "subjects": values})
        told = f"{group[0].name} {group[0].n} {group[0].shown() or ''}" if len(group) == 1 else bench.kind
        print(f"{told}: {time.monotonic() - start:.0f} s", flush=True)
        write(name, result)


def refuse_other_builds(case, builds):
    """The rounds of a case are of one build of each subject."""
    former = case.get("builds", {})
    other = sorted(s for s in case["subjects"] if s in builds and former.get(s) != builds[s])
    if other:
        raise Failure(f"--resume: {case['case']} {case['n']} was measured with other builds of {', '.join(other)}")


def tell_skipped(case, values):
    for subject, metrics in values.items():
        for reason in sorted({r for r in metrics.get("skip", []) if r}):
            print(f"SKIP {subject} {case.name} {case.n} {case.shown() or ''}: {reason}")


def run_short(bench, cases, subjects):
    failures = 0
    for subject in subjects:
        for case in cases:
            try:
                row = bench.run_case(subject, case)
                if "skip" in row:
                    print(f"SKIP {subject} {case.name}: {row['skip']}")
            except (Failure, subprocess.TimeoutExpired) as error:
                print(f"FAIL {error}", file=sys.stderr)
                failures += 1
        print(f"{bench.kind}-{subject}: {len(cases)} cases run", flush=True)
    return failures


def write(name, result):
    RESULTS.mkdir(exist_ok=True)
    text = json.dumps(result, indent=1)
    # A list of numbers is one line.
    text = re.sub(r"\[\s+([^\[\]{}]*?)\s+\]", lambda m: "[" + " ".join(m[1].split()) + "]", text)
    path = RESULTS / f"{name}.json"
    path.write_text(text + "\n")


def split(text):
    return text.split(",") if text else None


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("build")
    parser.add_argument("--pairs", type=int, help="default: 15; with --sweep 5")
    parser.add_argument("--slow-pairs", type=int, help="of --spawn's slow peers; default: 3")
    parser.add_argument("--cases", type=split)
    parser.add_argument("--sizes", type=lambda text: {int(n) for n in text.split(",")})
    parser.add_argument("--subjects", type=split)
    parser.add_argument("--make", choices=["fork", "vfork"], default="fork", help="short-lived children")
    parser.add_argument("--adapters", action="store_true")
    parser.add_argument("--spawn", action="store_true")
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--sweep", action="append", metavar="LABEL=DIR", default=[])
    parser.add_argument("--resume", action="store_true", help="keep the rounds that OUT.json has, and add what is missing")
    parser.add_argument("--out", help="results/OUT.json; default: bench, adapters, vfork, spawn or sweep")
    return parser.parse_args()


def sweep_libraries(arguments):
    libraries = {}
    for text in arguments:
        label, _, directory = text.rpartition("=")
        library = Path(directory).resolve() / "libsss_sigchld.so.0"
        if not label or not library.exists():
            raise Failure(f"--sweep {text}: no {library}")
        libraries[label] = library
    return libraries


def short(arguments):
    works = [(Bench(arguments.build, arguments.make), SHORT), (Bench(arguments.build, kind="spawn"), SPAWN_SHORT)]
    found = {s for bench, _ in works for s in bench.subjects()}
    wanted = set(arguments.subjects or found)
    if not wanted <= found:
        raise Failure(f"no such subjects: {', '.join(sorted(wanted - found))}")
    return sum(run_short(b, cases, [s for s in b.subjects() if s in wanted]) for b, cases in works)


def plan(arguments, bench):
    """Name, groups of cases, subjects, pairs and slow pairs of what is asked for."""
    if bench.kind == "spawn":
        return "spawn", [SPAWN], bench.subjects(), 15, 3
    if bench.libraries:
        labelled = [f"{s}@{label}" for s in bench.subjects() for label in bench.libraries]
        return "sweep", [[c] for c in SWEEP], labelled, 5, None
    if arguments.adapters:
        return "adapters", ADAPTERS, [s for s in bench.subjects() if s in ADAPTED + BESIDE_ADAPTED], 15, None
    name = "bench" if bench.make == "fork" else bench.make
    subjects = [s for s in bench.subjects() if s not in ADAPTED]
    return name, VFORK if bench.make == "vfork" else FULL, subjects, 15, None


def is_wanted(case, arguments):
    return (not arguments.cases or case.name in arguments.cases) and (not arguments.sizes or case.n in arguments.sizes)


def main():
    arguments = parse_arguments()
    if arguments.short:
        return 1 if short(arguments) else 0
    libraries = sweep_libraries(arguments.sweep)
    bench = Bench(arguments.build, arguments.make, libraries, "spawn" if arguments.spawn else "bench")
    name, groups, subjects, pairs, slow_pairs = plan(arguments, bench)
    if (arguments.cases or arguments.sizes or arguments.subjects) and not (arguments.out or arguments.resume):
        raise Failure(f"results/{name}.json is of everything: name another with --out, or --resume")
    groups = [kept for group in groups if (kept := [c for c in group if is_wanted(c, arguments)])]
    subjects = arguments.subjects or subjects
    pairs, slow_pairs = arguments.pairs or pairs, arguments.slow_pairs or slow_pairs
    run_all(bench, groups, subjects, pairs, slow_pairs, arguments.out or name, arguments.resume)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failure as failure:
        sys.exit(f"run.py: {failure}")
