#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""Makes tables and pictures out of the committed results.

    report.py [NAME]           results/NAME.json -> results/NAME.md and *.svg, and of bench,
                               adapters and spawn README.md's tables too; default: all that are there
    report.py --bars [NAME]    which bars are met; exit status 1 where one is missed: where
                               the whole interval lies above it. Where only a part does, it is open.

A ratio is one of medians; its interval holds 95 % of the ratios of medians of
rounds drawn again with replacement, both subjects from the same rounds.
"""

import json
import math
import random
import re
import statistics
import sys
from pathlib import Path

RESULTS = Path(__file__).resolve().parent / "results"
README = RESULTS.parent.parent / "README.md"
RESAMPLES = 2000

ORDER = [
    "fork", "posix_spawn", "raw", "raw-copy", "pidfd", "pidfd-copy", "sssd", "sd-event", "glib", "libuv", "libev",
    "libevent", "tokio", "python", "sss", "forksrv", "sss-signalfd", "sss-signalfd-all", "sss-both", "sss-fd", "sss-tevent",
    "sss-tevent-signalfd", "sss-sd-event", "sss-sd-event-signal", "sss-sd-event-signalfd", "sss-glib",
    "sss-glib-signalfd", "sss-libuv", "sss-libuv-signalfd", "sss-libuv-fd", "sss-libev", "sss-libev-signalfd",
    "sss-libev-fd", "sss-libevent", "sss-libevent-signalfd", "sss-libevent-fd",
]  # fmt: skip

BY_HAND = ("raw", "raw-copy", "pidfd", "pidfd-copy")

TITLES = {
    "raw": "signalfd + `waitpid(-1)`, by hand",
    "raw-copy": "signalfd + `waitpid(-1)` again (control)",
    "pidfd": "pidfd + epoll, by hand",
    "pidfd-copy": "pidfd + epoll again (control)",
    "sssd": "SSSD's scheme (tevent, talloc, dhash)",
    "sd-event": "sd-event",
    "glib": "GLib",
    "libuv": "libuv ¹",
    "libev": "libev",
    "libevent": "libevent + own hash",
    "tokio": "tokio ¹",
    "sss-signalfd": "**this library**, own signalfd",
    "sss-signalfd-all": "**this library**, own signalfd, scope ALL",
    "sss-both": "**this library**, own signalfd and descriptor",
    "sss-fd": "**this library**, descriptor, no signal",
    "sss-tevent": "**this library**, tevent",
    "sss-tevent-signalfd": "**this library**, tevent with a signalfd",
    "sss-sd-event": "**this library**, sd-event by descriptor",
    "sss-sd-event-signal": "**this library**, sd-event by its signal source",
    "sss-sd-event-signalfd": "**this library**, sd-event by a signalfd",
    "sss-glib": "**this library**, GLib by descriptor",
    "sss-glib-signalfd": "**this library**, GLib by a signalfd",
    "sss-libuv": "**this library**, libuv by uv_signal",
    "sss-libuv-signalfd": "**this library**, libuv by a signalfd",
    "sss-libuv-fd": "**this library**, libuv by descriptor",
    "sss-libev": "**this library**, libev by ev_signal",
    "sss-libev-signalfd": "**this library**, libev by a signalfd",
    "sss-libev-fd": "**this library**, libev by descriptor",
    "sss-libevent": "**this library**, libevent by evsignal",
    "sss-libevent-signalfd": "**this library**, libevent by a signalfd",
    "sss-libevent-fd": "**this library**, libevent by descriptor",
}

SPAWN_TITLES = {
    "fork": "fork + exec",
    "posix_spawn": "posix_spawn",
    "glib": "g_spawn_async (GLib)",
    "libuv": "uv_spawn (libuv)",
    "python": "Python's subprocess",
    "sss": "**this library**",
    "forksrv": "this library's fork server",
}

# case, n, argument, metric, subject, baseline, at most this ratio
BARS = [
    *[
        ("steady", n, None, "cpu_ns", subject, baseline, bar)
        for subject, baseline, bars in (
            ("sss-signalfd", "raw", (1.0, 0.90, 0.30, 0.04)),
            ("sss-signalfd-all", "raw", (1.0, 0.95, 0.40, 0.08)),
            ("sss-fd", "raw", (1.6, 1.3, 0.43, 0.05)),
            ("sss-tevent", "sssd", (1.0, 0.92, 0.40, 0.05)),
            ("sss-tevent-signalfd", "sssd", (0.90, 0.80, 0.32, 0.05)),
        )
        for n, bar in zip((0, 100, 1000, 10000), bars)
    ],
    *[
        ("steady", n, None, metric, "sss-fd", peer, 1.0)
        for n in (0, 100, 1000, 10000)
        # tokio's registration is in the spawn and not measured.
        for peer, metric in (("sd-event", "cpu_ns"), ("glib", "cpu_ns"), ("tokio", "loop_ns"))
    ],
    *[
        ("dead", n, reps, "loop_ns", subject, "raw", 1.15)
        for n, reps in ((100, 21), (1000, 5), (10000, 1))
        for subject in ("sss-signalfd", "sss-signalfd-all")
    ],
    *[
        ("old", n, None, "loop_ns", subject, "pidfd", 1.15)
        for n in (1000, 10000)
        for subject in ("sss-signalfd", "sss-signalfd-all", "sss-fd")
    ],
    *[
        ("burst", 10000, order, "cpu_ns", subject, "pidfd", bar)
        for order in ("chain", "gate")
        for subject, bar in (
            ("sss-signalfd", 1.0),
            ("sss-signalfd-all", 1.0),
            ("sss-fd", 1.0),
            ("sss-tevent", 1.1),
            ("sss-tevent-signalfd", 1.1),
        )
    ],
]

# case, n, argument, metric, subject, at most this value
LIMITS = [
    *[
        ("merged", n, 20, "latency_max_ns", subject, limit)
        for n, limit in ((1000, 10e6), (10000, 50e6))
        for subject in ("sss-signalfd", "sss-signalfd-all", "sss-tevent", "sss-tevent-signalfd")
    ],
    ("memory", 10000, None, "heap_bytes", "sss-signalfd", 64),
    ("memory", 10000, None, "heap_bytes", "sss-fd", 64),
    ("memory", 10000, None, "descriptors", "sss-signalfd", 0),
]

# A loop's own child watching, what is compared, this library on that loop by SIGCHLD, for which the bars are,
# and by its descriptor. libuv's registration is in the spawn and not measured.
LOOPS = [
    ("sd-event", "cpu_ns", ("sss-sd-event-signal", "sss-sd-event-signalfd"), ("sss-sd-event",)),
    ("glib", "cpu_ns", ("sss-glib-signalfd",), ("sss-glib",)),
    ("libevent", "cpu_ns", ("sss-libevent", "sss-libevent-signalfd"), ("sss-libevent-fd",)),
    ("libev", "cpu_ns", ("sss-libev", "sss-libev-signalfd"), ("sss-libev-fd",)),
    ("libuv", "loop_ns", ("sss-libuv", "sss-libuv-signalfd"), ("sss-libuv-fd",)),
    ("sssd", "cpu_ns", ("sss-tevent", "sss-tevent-signalfd"), ()),
]
LOOP_BARS = [
    ("steady", n, None, metric, subject, peer, 1.0)
    for peer, metric, by_signal, _ in LOOPS
    for subject in by_signal
    for n in (0, 100, 1000, 10000)
]

# subject, at most this ratio of the median latency among 10,000 to that among none
LATENCY_GROWTH = [(s, 1.5) for s in ("sss-signalfd", "sss-signalfd-all", "sss-fd")]

# At most this ratio of a restart's time to runsv's; idle units wake their supervisor at most so often a minute, and
# take at most so many MB.
SUPERVISE_BAR = 1.0
SUPERVISE_IDLE = (1.0, 20.0)

# A launch by the fork server, until its end is told: at most this ratio to sss_child_spawn(); and from a daemon of
# 8 GB to one of 10 MB.
FORKSRV_BAR = 1.5
FORKSRV_FLAT = 1.15

# case, baseline case, at most this ratio of each of this library's times
SPAWN_BARS = [
    *[(("memory", 8192, pages), ("memory", 10, pages), 1.15) for pages in ("small", "huge")],
    *[(("descriptors", 10000, map), ("descriptors", 10, map), 1.15) for map in ("none", "low")],
]

# Two names for the same work.
SPAWN_CONTROL = (("descriptors", 10, "none"), ("memory", 10, "small"))

SPAWN_TIMES = ("returned", "running", "reaped")

# Of watch.md, which watch/run.py writes itself: the words before a figure, with its interval if it has one; at most
# this.
WATCH_BARS = [
    ("by signalfd: rich to plain", 1.25),
    ("by descriptor: rich to plain", 1.25),
    ("a rich watch takes", 320),
]
# Whose time and CPU, in a row of watch.md, are at least so many times this library's.
WATCH_LEADS = [("GSubprocess", 1.0), ("Python's subprocess", 1.0)]


class Results:
    def __init__(self, name):
        self.name = name
        data = json.loads((RESULTS / f"{name}.json").read_text())
        self.kind = data.get("kind", "bench")
        self.machine, self.versions = data["machine"], data["versions"]
        self.make = data["make"]
        self.cases = {(c["case"], c["n"], c["arg"]): c["subjects"] for c in data["cases"]}

    def is_sweep(self):
        return any("@" in subject for subjects in self.cases.values() for subject in subjects)

    def values(self, case, subject, metric):
        return self.cases.get(case, {}).get(subject, {}).get(metric)

    def median(self, case, subject, metric):
        values = [v for v in self.values(case, subject, metric) or [] if v is not None]
        return statistics.median(values) if values else None

    def highest(self, case, subject, metric):
        values = [v for v in self.values(case, subject, metric) or [] if v is not None]
        return max(values, default=None)

    def subjects(self, case):
        present = self.cases.get(case, {})
        known = [s for s in ORDER if s in present]
        return known + sorted(s for s in present if s not in ORDER)

    def ratio(self, case, metric, subject, baseline):
        return self.ratio_of((case, subject, metric), (case, baseline, metric))

    def ratio_of(self, numerator, denominator):
        """(ratio, low, high, pairs), or None."""
        above, below = self.values(*numerator), self.values(*denominator)
        if above is None or below is None:
            return None
        pairs = [(a, b) for a, b in zip(above, below) if a is not None and b is not None]
        if not pairs:
            return None
        draw = random.Random(f"{numerator} {denominator}")
        drawn = sorted(ratio_of_medians(draw.choices(pairs, k=len(pairs))) for _ in range(RESAMPLES))
        low, high = drawn[round(RESAMPLES * 0.025)], drawn[round(RESAMPLES * 0.975) - 1]
        return ratio_of_medians(pairs), low, high, len(pairs)


def ratio_of_medians(pairs):
    below = statistics.median(b for _, b in pairs)
    return statistics.median(a for a, _ in pairs) / below if below else math.inf


def digits(value):
    """Three significant digits, no exponent."""
    if value is None:
        return "–"
    if value == 0:
        return "0"
    places = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{min(places, 4)}f}"


def ratio_text(ratio):
    if ratio is None:
        return "–"
    return f"{digits(ratio[0])} [{digits(ratio[1])}, {digits(ratio[2])}]"


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|---" + "|---:" * (len(head) - 1) + "|"]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def title(subject):
    return TITLES.get(subject, subject)


# ---- tables ----


def ratio_rows(results, cases, metric, baseline, unit, subjects, cell=ratio_text):
    """The baseline's row in its unit, the others' as ratios to it."""
    first = [digits(x / unit) if (x := results.median(c, baseline, metric)) else "–" for c in cases]
    rows = [[title(baseline), *first]]
    for subject in subjects:
        if subject != baseline:
            ratios = [cell(results.ratio(c, metric, subject, baseline)) for c in cases]
            rows.append([title(subject), *ratios])
    return rows


def steady_cases(results):
    return sorted((c for c in results.cases if c[0] == "steady"), key=lambda c: c[1])


def latency_table(results, subjects):
    cases = steady_cases(results)
    rows = []
    for subject in subjects:
        cells = []
        for case in cases:
            pair = [results.median(case, subject, f"latency_{p}_ns") for p in ("p50", "p99")]
            cells.append(" / ".join(digits(x / 1000) if x else "–" for x in pair))
        rows.append([title(subject), *cells])
    return table(["", *[f"N = {c[1]:,}" for c in cases]], rows)


def steady_section(results):
    cases = steady_cases(results)
    sizes = [f"N = {c[1]:,}" for c in cases]
    subjects = results.subjects(cases[0])
    text = "## One short-lived child among N idle ones\n\nCPU per child, registration and loop: µs of the first row, the others as ratios to it.\n\n"
    # The first loop by hand: without fork() waitpid(-1) is not measured.
    text += table(["", *sizes], ratio_rows(results, cases, "cpu_ns", subjects[0], 1000, subjects))
    ours = [s for s in subjects if s.startswith("sss-tevent")]
    if ours and "sssd" in subjects:
        text += "\nThe same on tevent, as ratios to SSSD's scheme.\n\n"
        text += table(["", *sizes], ratio_rows(results, cases, "cpu_ns", "sssd", 1000, ours))
    text += "\nLatency from the child's exit to the callback, µs: median / 99th percentile.\n\n"
    return text + latency_table(results, subjects)


def measured_loops(results):
    first = steady_cases(results)[0]
    return [
        (peer, metric, *(tuple(s for s in ours if results.median(first, s, metric)) for ours in by))
        for peer, metric, *by in LOOPS
        if results.median(first, peer, metric)
    ]


def loops_section(results, cell=ratio_text):
    cases = steady_cases(results)
    rows = []
    for peer, metric, by_signal, by_descriptor in measured_loops(results):
        mine, *theirs = ratio_rows(results, cases, metric, peer, 1000, by_signal + by_descriptor, cell)
        rows += [mine, *theirs]
    return table(["CPU per child", *[f"N = {c[1]:,}" for c in cases]], rows)


def loops_report(results):
    text = head_section(results) + (
        "\n## One short-lived child among N idle ones, on each loop\n\n"
        "CPU per child, registration and loop (libuv: the loop alone): of each loop's own child watching µs, "
        "below it this library on the same loop as ratios to it.\n\n"
    )
    cases = steady_cases(results)
    control = [ratio_text(results.ratio(c, "cpu_ns", "raw-copy", "raw")) for c in cases]
    text += loops_section(results)
    if any("–" not in c for c in control):
        text += f"\nThe control, two builds of one loop by hand: {', '.join(control)}.\n"
    rounds = [str(len(results.values(c, "sd-event", "cpu_ns") or [])) for c in cases]
    text += f"\nRounds: {', '.join(rounds)}.\n"
    text += "\nLatency from the child's exit to the callback, µs: median / 99th percentile.\n\n"
    return text + latency_table(results, [s for peer, _, *ours in measured_loops(results) for s in (peer, *ours[0], *ours[1])])


def dead_section(results, name, heading, baseline):
    cases = sorted((c for c in results.cases if c[0] == name), key=lambda c: c[1])
    if not cases:
        return ""
    subjects = results.subjects(cases[0])
    sizes = [f"N = {c[1]:,}" for c in cases]
    text = f"## {heading}\n"
    for metric, what in (("loop_ns", "in the loop"), ("cpu_ns", "in the loop and for the registration")):
        text += f"\nCPU per exit {what}: µs of the first row, the others as ratios to it.\n\n"
        text += table(["", *sizes], ratio_rows(results, cases, metric, baseline, 1000, subjects))
    return text


def burst_section(results):
    text = "## A live burst\n\n"
    notes = {
        "chain": "each child's end lets the next one go, as fast as they die",
        "gate": "all are let go at once",
    }
    for case in (c for c in results.cases if c[0] == "burst"):
        text += f"{case[1]:,} children end while the loop runs; {notes[case[2]]}. CPU includes registration.\n\n"
        rows = []
        for subject in results.subjects(case):
            cpu, wall = (results.median(case, subject, m) for m in ("cpu_ns", "wall_ns"))
            latency = results.median(case, subject, "latency_p99_ns")
            ratio = ratio_text(results.ratio(case, "cpu_ns", subject, "pidfd"))
            rows.append([title(subject), digits(cpu / 1e3), ratio, digits(wall / 1e6), digits(latency / 1e6)])
        head = ["", "CPU µs per exit", "ratio to pidfd + epoll", "wall ms", "latency p99 ms"]
        text += table(head, rows) + "\n"
    return text


def merged_section(results):
    cases = [c for c in results.cases if c[0] == "merged"]
    text = "## An exit whose SIGCHLD merged with another's\n\nTime from the loop's start to the callback, among N idle children, ms: median / largest.\n\n"
    rows = []
    for subject in results.subjects(cases[0]) if cases else []:
        cells = []
        for case in cases:
            middle = results.median(case, subject, "latency_p50_ns")
            largest = results.highest(case, subject, "latency_max_ns")
            cells.append(f"{digits(middle / 1e6)} / {digits(largest / 1e6)}" if middle else "–")
        rows.append([title(subject), *cells])
    return text + table(["", *[f"N = {c[1]:,}" for c in cases]], rows) if cases else ""


def memory_section(results):
    case = next((c for c in results.cases if c[0] == "memory"), None)
    if case is None:
        return ""
    text = f"## Memory per watch\n\nOf {case[1]:,} watches. Kernel memory is that of slab objects.\n\n"
    rows = []
    for subject in results.subjects(case):
        heap, fds, kernel = (results.median(case, subject, m) for m in ("heap_bytes", "descriptors", "kernel_bytes"))
        kernel = None if kernel is None else max(0, round(kernel, -1))
        rows.append([title(subject), digits(heap), digits(fds), digits(kernel)])
    return text + table(["", "heap bytes", "descriptors", "kernel bytes"], rows)


def counts_section(results):
    case = next((c for c in results.cases if c[0] == "counts"), None)
    if case is None:
        return ""
    text = f"## System calls per short-lived child\n\nAmong {case[1]:,} idle ones, registration and loop, counted by perf in all threads.\n\n"
    rows = []
    for subject in results.subjects(case):
        by_name = next((v for v in results.values(case, subject, "by_name") or [] if v), None)
        if by_name is None:
            rows.append([title(subject), "–", "not counted"])
            continue
        # What happens once in a hundred children is the harness's or the past's.
        parts = [f"{name} {digits(n)}" for name, n in by_name.items() if n >= 0.01]
        rows.append([title(subject), digits(results.median(case, subject, "syscalls")), ", ".join(parts)])
    return text + table(["", "calls", "which"], rows)


def machine_text(results, versions):
    machine = results.machine
    return (
        f"Linux {machine['kernel']}, {machine['cpu']}, {machine['cpus']} CPUs, {machine['memory_gib']} GiB, "
        f"{machine['libc']}; {', '.join(sorted(set(versions)))}. {machine['date']}."
    )


def head_section(results):
    versions = [v for s, v in results.versions.items() if s not in BY_HAND]
    text = (
        f"{machine_text(results, versions)}\n\n"
        "Every status of every child was verified. Medians; in brackets 95 % intervals. "
        "A control is the same program under another name: what it shows is noise.\n\n"
        "¹ watches only what it spawns itself; spawning, which includes its registration, is not counted.\n"
    )
    if results.make == "fork":
        text += "\nShort-lived children were made by fork() and exec(): the page faults after it are in the figures.\n"
    else:
        text += "\nShort-lived children were made as sss_child_spawn() makes most: without a copy of memory or of descriptors.\n"
    return text


def report(results):
    sections = [
        head_section(results),
        steady_section(results) if steady_cases(results) else "",
        dead_section(results, "dead", "N children dead at once", "raw"),
        dead_section(results, "old", "N long-idle children dead at once", "pidfd"),
        burst_section(results) if any(c[0] == "burst" for c in results.cases) else "",
        merged_section(results),
        memory_section(results),
        counts_section(results),
    ]
    return "\n".join(s for s in sections if s)


README_SUBJECTS = [
    "raw", "pidfd", "sssd", "sd-event", "glib", "libuv", "libev", "libevent", "tokio",
    "sss-signalfd", "sss-signalfd-all", "sss-fd", "sss-tevent", "sss-tevent-signalfd",
]  # fmt: skip


def write_readme(mark, text):
    pattern = re.compile(rf"(?<=<!-- {re.escape(mark)} -->\n)[^<]*(?=<!-- end -->)")
    whole, found = pattern.subn(lambda _: text, README.read_text())
    if found != 1:
        sys.exit(f"{README}: no place for {mark}")
    README.write_text(whole)
    print(README)


def readme_table(results):
    cases = steady_cases(results)
    rows = ratio_rows(results, cases, "cpu_ns", "raw", 1000, README_SUBJECTS, plain_ratio)
    head = ["CPU per child, registration and loop", *[f"N = {c[1]:,}" for c in cases]]
    return table(head, rows)


# What, case, metric, ours, theirs, and their name where it is not the plain loop's.
PLAIN_LOOP = "the plain loop"
LOSSES = [
    ("no other child, by the own signalfd", ("steady", 0, None), "cpu_ns", "sss-signalfd", "raw", PLAIN_LOOP),
    ("no other child, by the descriptor", ("steady", 0, None), "cpu_ns", "sss-fd", "raw", PLAIN_LOOP),
    ("no other child, by tevent's signal handler", ("steady", 0, None), "cpu_ns", "sss-tevent", "sssd", "SSSD's scheme"),
    ("100 children dead at once", ("dead", 100, 21), "loop_ns", "sss-signalfd", "raw", PLAIN_LOOP),
    ("the same with their registration", ("dead", 100, 21), "cpu_ns", "sss-signalfd", "raw", PLAIN_LOOP),
    ("10,000 long-idle children dead at once", ("old", 10000, None), "loop_ns", "sss-signalfd", "raw", PLAIN_LOOP),
    ("a live burst of 10,000, by the descriptor", ("burst", 10000, "chain"), "cpu_ns", "sss-fd", "pidfd", "pidfds by hand"),
    ("a live burst of 10,000, by tevent's signal handler", ("burst", 10000, "chain"), "cpu_ns", "sss-tevent", "pidfd", "pidfds by hand"),
]  # fmt: skip


def losses_table(results):
    rows = [
        [f"CPU: {what}", theirs, plain_ratio(results.ratio(case, metric, ours, baseline))]
        for what, case, metric, ours, baseline, theirs in LOSSES
    ]
    for n in (1000, 10000):
        times = [results.median(("merged", n, 20), s, "latency_p50_ns") for s in ("sss-signalfd", "raw")]
        ours, theirs = (digits(t / 1e6) if t else "–" for t in times)
        what = f"Latency: an exit whose signal merged with another's, among {n:,} idle children"
        rows.append([what, PLAIN_LOOP, f"{ours} ms to {theirs}"])
    return table(["", "the other", "ratio"], rows)


def plain_ratio(ratio):
    return digits(ratio and ratio[0])


# ---- tables of starting children ----

SPAWN_SWEEPS = [
    ("memory", "small", "The daemon's memory, small pages"),
    ("memory", "huge", "The daemon's memory, huge pages"),
    ("descriptors", "none", "The daemon's open descriptors, none for the child"),
    ("descriptors", "low", "Three of low descriptors for the child"),
    ("descriptors", "high", "Three of the highest descriptors for the child"),
    ("descriptors", "pipes", "Three fresh pipes for the child"),
]


def size_text(case):
    name, n, _ = case
    if name == "descriptors":
        return f"{n:,}"
    return f"{n} MB" if n < 1024 else f"{n // 1024} GB"


def sweep_cases(results, name, argument):
    return sorted(c for c in results.cases if c[0] == name and c[2] == argument)


def micros(results, case, subject, metrics):
    medians = [results.median(case, subject, metric) for metric in metrics]
    if any(m is None for m in medians):
        return "–"
    return " / ".join(digits(m / 1000) for m in medians)


def spawn_sweep_section(results, name, argument, heading):
    cases = sweep_cases(results, name, argument)
    if not cases:
        return ""
    rows = []
    for subject in results.subjects(cases[0]):
        medians = [micros(results, c, subject, [f"{t}_p50_ns" for t in SPAWN_TIMES]) for c in cases]
        p99 = micros(results, cases[-1], subject, [f"{t}_p99_ns" for t in SPAWN_TIMES])
        cpu = micros(results, cases[-1], subject, ["daemon_cpu_ns", "cpu_ns"])
        rows.append([SPAWN_TITLES.get(subject, subject), *medians, p99, cpu])
    sizes = [size_text(c) for c in cases]
    head = ["", *sizes, f"99th percentile, {sizes[-1]}", f"CPU, {sizes[-1]}"]
    return f"## {heading}\n\n" + table(head, rows)


def spawn_readme(results):
    cases = [("memory", 10, "small"), ("memory", 8192, "small"), ("descriptors", 10000, "none")]
    rows = [
        [
            "**sss_child_spawn**" if subject == "sss" else SPAWN_TITLES.get(subject, subject),
            *[micros(results, c, subject, ["returned_p50_ns"]) for c in cases],
        ]
        for subject in results.subjects(cases[0])
    ]
    head = ["µs until the call returns", "daemon of 10 MB", "of 8 GB", "with 10,000 descriptors"]
    return table(head, rows)


def rate_section(results):
    cases = sweep_cases(results, "rate", None)
    if not cases:
        return ""
    rows = []
    for subject in results.subjects(cases[0]):
        rates = [digits(results.median(c, subject, "per_second")) for c in cases]
        cpu = [micros(results, c, subject, ["daemon_cpu_ns", "cpu_ns"]) for c in cases]
        rows.append([SPAWN_TITLES.get(subject, subject), *rates, *cpu])
    threads = ["1 thread" if c[1] == 1 else f"{c[1]} threads" for c in cases]
    text = "## Children per second\n\nEach thread starts one when its last one is reaped.\n\n"
    return text + table(["", *threads, *[f"CPU, {t}" for t in threads]], rows)


def spawn_head_section(results):
    return (
        f"{machine_text(results, results.versions.values())}\n\n"
        "A child's program is static, and every status was verified. µs from before the call until the "
        "call returned / the child's first instruction / its end was known; medians. CPU per child, µs: "
        "the daemon's / with the child's.\n\n"
        "The call returns when the program has been executed; that of fork + exec at once, before it is "
        "known whether it can be.\n"
    )


def spawn_report(results):
    sections = [
        spawn_head_section(results),
        *[spawn_sweep_section(results, *sweep) for sweep in SPAWN_SWEEPS],
        rate_section(results),
    ]
    return "\n".join(s for s in sections if s)


# ---- pictures ----

WIDTH, HEIGHT = 760, 420
LEFT, RIGHT, TOP, BOTTOM = 70, 190, 60, 52
INK, MUTED, FAINT = "#1f2328", "#57606a", "#d8dee4"

COLOURS = {
    "raw": "#57606a", "pidfd": "#8c959f", "sssd": "#9a6700", "sd-event": "#8250df",
    "glib": "#1a7f37", "libuv": "#bf3989", "libev": "#6e7781", "libevent": "#a40e26",
    "tokio": "#bc4c00", "sss-signalfd": "#0550ae", "sss-signalfd-all": "#0969da",
    "sss-fd": "#218bff", "fork": "#57606a", "posix_spawn": "#9a6700", "python": "#bc4c00", "sss": "#0550ae", "forksrv": "#1b7c83", "sss-tevent": "#0a3069", "sss-tevent-signalfd": "#54aeff",
}  # fmt: skip

PLAIN = {
    "raw": "waitpid(-1) by hand", "pidfd": "pidfd by hand", "sssd": "SSSD's scheme",
    "sss-signalfd": "sss, signalfd", "sss-signalfd-all": "sss, signalfd, ALL",
    "sss-fd": "sss, descriptor", "sss-tevent": "sss, tevent",
    "sss-tevent-signalfd": "sss, tevent + signalfd", "glib": "GLib",
}  # fmt: skip

HIDDEN = {"raw-copy", "pidfd-copy", "sss-both"}


def escape(text):
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


class Svg:
    def __init__(self, width, height, heading):
        self.parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
            f'viewBox="0 0 {width} {height}" font-family="system-ui, sans-serif" font-size="12">',
            f"<title>{escape(heading)}</title>",
            f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        ]
        self.text(16, 26, heading, size=15, weight="600")

    def text(self, x, y, text, anchor="start", fill=INK, size=12, weight="400"):
        self.parts.append(
            f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{fill}" '
            f'font-size="{size}" font-weight="{weight}">{escape(text)}</text>'
        )

    def line(self, x1, y1, x2, y2, stroke=FAINT, width=1):
        self.parts.append(
            f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" '
            f'stroke="{stroke}" stroke-width="{width}"/>'
        )

    def path(self, points, stroke, width):
        joined = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self.parts.append(
            f'<polyline points="{joined}" fill="none" stroke="{stroke}" '
            f'stroke-width="{width}" stroke-linejoin="round"/>'
        )

    def dot(self, x, y, fill, radius):
        self.parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" fill="{fill}"/>')

    def write(self, path):
        path.write_text("\n".join([*self.parts, "</svg>"]) + "\n")
        print(path)


def log_ticks(low, high):
    """1, 2 and 5 of each decade, or its 1 where there are many."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = (1,) if len(decades) > 3 else (1, 2, 5)
    return [t for d in decades for s in steps if low <= (t := s * 10.0**d) <= high]


def spread(labels, gap, lowest):
    """Moves labels that would overlap apart: [(y, ...)] -> the same, by y."""
    placed = []
    for y, *rest in sorted(labels):
        y = max(y, placed[-1][0] + gap) if placed else y
        placed.append((y, *rest))
    for i in range(len(placed) - 1, -1, -1):
        limit = lowest if i == len(placed) - 1 else placed[i + 1][0] - gap
        if placed[i][0] > limit:
            placed[i] = (limit, *placed[i][1:])
    return placed


def line_chart(path, heading, ticks, series, unit):
    """series: {name: (label, colour, width, [value or None per tick])}, on a log axis."""
    values = [v for *_, line in series.values() for v in line if v]
    low, high = min(values) / 1.3, max(values) * 1.3
    svg = Svg(WIDTH, HEIGHT, heading)
    span = math.log10(high / low)

    def place(i, value):
        x = LEFT + i * (WIDTH - LEFT - RIGHT) / max(1, len(ticks) - 1)
        y = HEIGHT - BOTTOM - math.log10(value / low) / span * (HEIGHT - TOP - BOTTOM)
        return x, y

    for tick in log_ticks(low, high):
        _, y = place(0, tick)
        svg.line(LEFT, y, WIDTH - RIGHT, y)
        svg.text(LEFT - 8, y + 4, f"{tick:,g}", "end")
    for i, tick in enumerate(ticks):
        svg.text(place(i, low)[0], HEIGHT - BOTTOM + 20, tick, "middle")
    svg.text(16, TOP - 14, unit, fill=MUTED)

    labels = []
    for label, colour, width, line in series.values():
        points = [place(i, v) for i, v in enumerate(line) if v]
        if not points:
            continue
        svg.path(points, colour, width)
        for x, y in points:
            svg.dot(x, y, colour, width + 0.5)
        labels.append((points[-1][1], label, colour, width, points[-1]))
    for y, label, colour, width, (end_x, end_y) in spread(labels, 15, HEIGHT - BOTTOM - 2):
        svg.line(end_x + 5, end_y, WIDTH - RIGHT + 14, y, colour, 0.6)
        svg.text(WIDTH - RIGHT + 18, y + 4, label, fill=colour, weight="600" if width > 2 else "400")
    svg.write(path)


def dot_chart(path, heading, rows, unit):
    """rows: [(label, colour, ours, value)], on a log axis, best first."""
    rows = sorted(rows, key=lambda row: row[3])
    left, right, step = 190, 80, 24
    bottom = TOP + 20 + step * len(rows)
    low, high = rows[0][3] / 1.5, rows[-1][3]
    svg = Svg(WIDTH, bottom + 34, heading)

    def place(value):
        return left + math.log10(value / low) / math.log10(high / low) * (WIDTH - left - right)

    for tick in log_ticks(low, high):
        svg.line(place(tick), TOP + 12, place(tick), bottom)
        svg.text(place(tick), bottom + 16, f"{tick:,g}", "middle")
    svg.text(16, TOP - 14, unit, fill=MUTED)
    for i, (label, colour, ours, value) in enumerate(rows):
        y = TOP + 24 + i * step
        svg.text(left - 8, y + 4, label, "end", weight="600" if ours else "400")
        svg.line(left, y, place(value), y, colour, 2 if ours else 1)
        svg.dot(place(value), y, colour, 5)
        svg.text(place(value) + 10, y + 4, digits(value))
    svg.write(path)


def label_of(subject):
    return PLAIN.get(subject, subject)


def colour_of(subject):
    return COLOURS.get(subject, INK)


def shown(results, case):
    return [s for s in results.subjects(case) if s not in HIDDEN]


def steady_picture(results, name, metric, file, heading):
    cases = steady_cases(results)
    if not cases:
        return
    series = {}
    for subject in shown(results, cases[0]):
        medians = [results.median(c, subject, metric) for c in cases]
        width = 2.6 if subject.startswith("sss-") else 1.4
        series[subject] = (
            label_of(subject), colour_of(subject), width, [m / 1000 if m else None for m in medians],
        )  # fmt: skip
    ticks = [f"{c[1]:,} idle" for c in cases]
    line_chart(RESULTS / f"{name}-{file}.svg", heading, ticks, series, "µs, log")


def dots_picture(results, name, case, metric, file, heading, unit):
    rows = [
        (label_of(s), colour_of(s), s.startswith("sss-"), median / 1000)
        for s in (shown(results, case) if case in results.cases else [])
        if (median := results.median(case, s, metric))
    ]
    if rows:
        dot_chart(RESULTS / f"{name}-{file}.svg", heading, rows, unit)


def pictures(results, name):
    steady_picture(results, name, "cpu_ns", "steady", "CPU per short-lived child, registration included")
    steady_picture(results, name, "latency_p50_ns", "latency", "From a child's exit to its callback, median")
    dead = ("dead", 10000, 1)
    dots_picture(results, name, dead, "loop_ns", "dead", "10,000 children dead at once", "CPU µs per exit, log")
    burst = ("burst", 10000, "chain")
    dots_picture(results, name, burst, "cpu_ns", "burst", "A live burst of 10,000, registration included", "CPU µs per exit, log")


def spawn_picture(results, name):
    cases = sweep_cases(results, "memory", "small")
    series = {}
    for subject in results.subjects(cases[0]) if cases else []:
        medians = [results.median(c, subject, "running_p50_ns") for c in cases]
        label = SPAWN_TITLES.get(subject, subject).strip("*")
        width = 2.6 if subject == "sss" else 1.4
        line = [m / 1000 if m else None for m in medians]
        series[subject] = (label, colour_of(subject), width, line)
    if any(value for *_, line in series.values() for value in line):
        heading = "From the call to the child's first instruction, by the daemon's memory"
        ticks = [size_text(c) for c in cases]
        line_chart(RESULTS / f"{name}-memory.svg", heading, ticks, series, "µs, log")


# ---- the sweep over thresholds ----

SOURCES = Path(__file__).resolve().parent.parent / "src"
CONST = re.compile(r"((?:^/// .*\n)*)^pub\(crate\) const ([A-Z_]+): u\w+ = ([\d_]+);", re.M)

SWEEP_METRICS = {
    "steady": ("cpu_ns", "CPU per child"),
    "burst": ("cpu_ns", "CPU per exit"),
    "old": ("loop_ns", "CPU per exit"),
    "merged": ("latency_max_ns", "the longest wait"),
}  # fmt: skip
SWEEP_SUBJECTS = {"sss-signalfd": "", "sss-signalfd-all": ", ALL", "sss-fd": ", descriptor", "sss-tevent": ", tevent"}


def shipped_thresholds():
    """{name: (what its comment says, its value)}"""
    found = {}
    for path in sorted(SOURCES.glob("*/*.rs")):
        for comment, name, value in CONST.findall(path.read_text()):
            words = " ".join(line.removeprefix("///").strip() for line in comment.splitlines())
            found[name] = words, int(value.replace("_", ""))
    return found


def sweep_points(results, case, subject):
    """{threshold: [(value, label of the subject)]} out of labels like promotion:8."""
    points = {}
    for name in results.subjects(case):
        base, _, label = name.partition("@")
        threshold, _, value = label.partition(":")
        if base == subject and value:
            points.setdefault(threshold, []).append((int(value), name))
    return {t: sorted(p) for t, p in points.items()}


def sweep_lines(results):
    """{threshold: [(case, subject, [(value, label)])]}"""
    lines = {}
    for case in results.cases:
        for subject in SWEEP_SUBJECTS:
            for threshold, points in sweep_points(results, case, subject).items():
                lines.setdefault(threshold, []).append((case, subject, points))
    return lines


def sweep_label(case, subject):
    order = f" {case[2]}" if case[0] == "burst" else ""
    return f"{case[0]} {case[1]:,}{order}{SWEEP_SUBJECTS[subject]}"


def sweep_picture(results, file, threshold, shipped, lines):
    series = {}
    for (case, subject, points), colour in zip(lines, COLOURS.values()):
        medians = [results.median(case, label, SWEEP_METRICS[case[0]][0]) for _, label in points]
        label = sweep_label(case, subject)
        series[label] = label, colour, 1.8, [m / min(medians) for m in medians]
    ticks = [f"{v:,} (shipped)" if v == shipped else f"{v:,}" for v, _ in lines[0][2]]
    line_chart(RESULTS / file, f"{threshold}: each case against its best value", ticks, series, "times the best, log")


def sweep_table(results, shipped, lines):
    values = [value for value, _ in lines[0][2]]
    base = shipped if shipped in values else values[0]
    rows = []
    for case, subject, points in lines:
        metric, meaning = SWEEP_METRICS[case[0]]
        own = dict(points)[base]
        cells = [
            f"{digits(results.median(case, own, metric) / 1000)} µs"
            if value == base
            else ratio_text(results.ratio(case, metric, label, own))
            for value, label in points
        ]
        rows.append([f"{sweep_label(case, subject)}: {meaning}", *cells])
    return table(["", *[f"{v:,}" for v in values]], rows)


def sweep_report(results, name):
    rounds = {len(v) for c in results.cases.values() for s in c.values() for v in s.values()}
    pairs = " or ".join(map(str, sorted(rounds)))
    sections = [
        f"{machine_text(results, ['tevent'])} {pairs} interleaved rounds of builds that differ in one constant.\n\n"
        "In the column of the value that is shipped (if it was measured, else in the first) its median, in the others "
        "the ratios to it, with 95 % intervals. "
        "The same build runs once for each threshold: how much its own figures differ is noise.\n"
    ]
    known = shipped_thresholds()
    for threshold, lines in sorted(sweep_lines(results).items()):
        comment, shipped = known[threshold]
        file = f"{name}-{threshold.lower()}.svg"
        sweep_picture(results, file, threshold, shipped, lines)
        sections.append(
            f"## {threshold}\n\n{comment}\n\n![{threshold}]({file})\n\n{sweep_table(results, shipped, lines)}"
        )
    return "\n".join(sections)


# ---- bars ----


def verdict(ratio, control, bar):
    if ratio is None:
        return None
    missed = ratio[1] > bar
    text = "missed" if missed else "met" if ratio[2] <= bar else "open"
    shown_control = f"control {ratio_text(control)}" if control else "no control"
    return missed, f"{text:6} {ratio_text(ratio):28} bar {bar:<5} {shown_control}, {ratio[3]} pairs"


def tell(label, found):
    """Prints the verdict; whether the bar is missed, or was not measured."""
    print(f"{label:58} {found[1] if found else 'not measured'}")
    return found is None or found[0]


def check_spawn_bars(results):
    missed = 0
    for case, baseline, bar in SPAWN_BARS:
        for time in SPAWN_TIMES:
            ends = ((c, "sss", f"{time}_p50_ns") for c in (case, baseline))
            control = ((c, "sss", f"{time}_p50_ns") for c in SPAWN_CONTROL)
            label = f"{case[0]} {case[1]} / {baseline[1]} {case[2]} sss, {time}"
            missed += tell(label, verdict(results.ratio_of(*ends), results.ratio_of(*control), bar))
    return missed


def check_ratios(results, bars):
    missed = 0
    for name, n, argument, metric, subject, baseline, bar in bars:
        case = (name, n, argument)
        ratio = results.ratio(case, metric, subject, baseline)
        copied = baseline if baseline == "pidfd" else "raw"
        control = results.ratio(case, metric, f"{copied}-copy", copied)
        missed += tell(f"{name} {n} {argument or ''} {subject} / {baseline}", verdict(ratio, control, bar))
    return missed


def check_bars(results):
    missed = check_ratios(results, BARS)
    for name, n, argument, metric, subject, limit in LIMITS:
        highest = results.highest((name, n, argument), subject, metric)
        state = "not measured" if highest is None else "met" if highest <= limit else "missed"
        print(f"{name} {n} {subject} {metric}: {digits(highest)}, bar {digits(limit)}: {state}")
        missed += state != "met"
    return missed + check_latency(results)


def check_latency(results):
    """Where fork() makes the children it also copies the descriptors of the old ones, and what that drives out
    of the caches is in the growth."""
    missed = 0
    for subject, bar in LATENCY_GROWTH:
        ends = [("steady", n, None) for n in (10000, 0)]
        ratio = results.ratio_of(*((end, subject, "latency_p50_ns") for end in ends))
        missed += tell(f"median latency 10,000 / 0 by {results.make} {subject}", verdict(ratio, None, bar))
    return missed


def check_watch(text):
    """A figure that stands there several times is to meet its bar each time."""
    missed = 0
    for words, bar in WATCH_BARS:
        found = re.findall(rf"{words} ([\d.]+)(?: \(([\d.]+) to ([\d.]+)\))?", text)
        missed += not found
        for middle, low, high in found or [("not measured", "", "")]:
            is_missed = bool(found) and float(low or middle) > bar
            state = "missed" if is_missed else "met" if found and float(high or middle) <= bar else "open"
            print(f"{words}: {middle}{f' [{low}, {high}]' if low else ''}, bar {bar}: {state}")
            missed += is_missed
    for name, bar in WATCH_LEADS:
        found = re.findall(rf"\| {name} \| [\d.]+ \| ([\d.]+) \| ([\d.]+) to ([\d.]+) \|", text)
        missed += len(found) != 2
        for middle, low, high in found:
            is_missed = float(high) < bar
            state = "missed" if is_missed else "met" if float(low) >= bar else "open"
            print(f"communicate, {name}: {middle} [{low}, {high}], at least {bar}: {state}")
            missed += is_missed
    return missed


def check(results):
    if results.kind == "spawn":
        return check_spawn_bars(results)
    if results.name == "adapters":
        return check_ratios(results, LOOP_BARS)
    return check_latency(results) if results.make == "vfork" else check_bars(results)


def check_supervise(text):
    """The bars of supervise.md, whose numbers benches/supervise/run.py has written: its intervals are quartiles."""
    missed, ratios, idle = 0, 0, 0
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) < 4 or cells[1] != "sss-supervise":
            continue
        if len(cells) == 4:
            low, high = (float(bound) for bound in re.search(r"\((.*) to (.*)\)", cells[3]).groups())
            state = "missed" if low > SUPERVISE_BAR else "met" if high <= SUPERVISE_BAR else "open"
            print(f"restart with {cells[0]} units / runsv: {cells[3]}, bar {SUPERVISE_BAR}: {state}")
            missed += state == "missed"
            ratios += 1
            continue
        for what, value, bar in zip(("wake-ups a minute", "MB"), cells[3:], SUPERVISE_IDLE):
            state = "met" if float(value) <= bar else "missed"
            print(f"{cells[0]} idle units, {what}: {value}, bar {bar}: {state}")
            missed += state == "missed"
            idle += 1
    if not ratios or not idle:
        print("supervise: not measured")
    return missed + (not ratios) + (not idle)


def check_forksrv(text):
    """The bars of forksrv.md, whose numbers benches/forksrv/run.py has written."""
    found = re.findall(
        r"\| (A daemon of .*: from the call until its end is told) \|.*\n(?:\|.*\n)*?"
        r"\| sss_forksrv_launch \| [\d.]+ \| ([\d.]+) \| ([\d.]+) to ([\d.]+) \|",
        text,
    )
    ratios = [(*row, FORKSRV_BAR) for row in found]
    found = re.findall(r"^(sss_forksrv_launch from .*): ([\d.]+) \(([\d.]+) to ([\d.]+)\)", text, re.M)
    ratios += [(*row, FORKSRV_FLAT) for row in found]
    missed = 0
    for what, middle, low, high, bar in ratios:
        state = "missed" if float(low) > bar else "met" if float(high) <= bar else "open"
        print(f"{what}: {middle} [{low}, {high}], bar {bar}: {state}")
        missed += state == "missed"
    # Three sizes with few and with many descriptors, and from the largest to the smallest.
    if len(ratios) < 8:
        print(f"forksrv: {8 - len(ratios)} of 8 not measured")
    return missed + max(8 - len(ratios), 0)


def make(results, name):
    path = RESULTS / f"{name}.md"
    if results.is_sweep():
        path.write_text(sweep_report(results, name))
        print(path)
        return
    if name == "adapters":
        path.write_text(loops_report(results))
        print(path)
        write_readme("benches/report.py adapters", loops_section(results, plain_ratio))
        return
    spawning = results.kind == "spawn"
    path.write_text(spawn_report(results) if spawning else report(results))
    print(path)
    (spawn_picture if spawning else pictures)(results, name)
    if name == "bench":
        write_readme("benches/report.py", readme_table(results))
        write_readme("benches/report.py losses", losses_table(results))
    if name == "spawn":
        write_readme("benches/report.py spawn", spawn_readme(results))


# Results that are written as text by their own runner: there are their bars to read alone.
TEXTS = {"watch": check_watch, "supervise": check_supervise, "forksrv": check_forksrv}


def main():
    given = [a for a in sys.argv[1:] if a != "--bars"]
    is_bars = "--bars" in sys.argv
    texts = [n for n in given or (TEXTS if is_bars else []) if n in TEXTS]
    names = [n for n in given if n not in TEXTS] if given else sorted(path.stem for path in RESULTS.glob("*.json"))
    there = [n for n in names if (RESULTS / f"{n}.json").exists()]
    for name in names:
        if name not in there:
            print(f"not measured: {RESULTS / name}.json", file=sys.stderr)
    missed = 0
    for name in there:
        results = Results(name)
        if not is_bars:
            make(results, name)
        elif not results.is_sweep():
            missed += check(results)
    for name in texts:
        if not is_bars:
            print(f"{name} has bars alone", file=sys.stderr)
            return 1
        path = RESULTS / f"{name}.md"
        missed += TEXTS[name](path.read_text() if path.exists() else "")
    return 0 if (there or texts) and not missed else 1


if __name__ == "__main__":
    sys.exit(main())
