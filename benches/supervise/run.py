#!/usr/bin/env python3
"""From the death of a unit to the exec of the next one, and what idle units cost,
beside s6-supervise, runsv and supervisord.

    run.py FOLDER [--short] [--write]

FOLDER has restarted and sss-supervise. All supervisors stand side by side, each with
as many idle units; in a round the one unit that is watched is killed under each of them
in turn. runsv and s6-supervise do not start a program again that ran for less than a
second until that second is over: so each has run longer when it is killed. --write
keeps the results beside this file's folder, in results/supervise.md.
"""

import os
import shutil
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import time

SIZES = (1, 100, 1000)
IDLE_SECONDS = 60


class Peer:
    """A supervisor with its units below a directory; unit 0 is watched."""

    def __init__(self, name, folder, root, size):
        self.name = name
        self.root = os.path.join(root, "of-" + name)
        self.folder = folder
        self.directories = [os.path.join(self.root, f"u{n}") for n in range(size)]
        for directory in self.directories:
            os.makedirs(directory)
        os.mkfifo(os.path.join(self.directories[0], "fifo"))
        self.fifo = os.open(os.path.join(self.directories[0], "fifo"), os.O_RDWR)
        self.program = os.path.join(folder, "restarted")
        self.processes = []
        getattr(self, "start_" + name.replace("-", "_"))()
        self.pid = self.told()[1]

    def spawn(self, *argv):
        self.processes.append(
            subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd=self.root,
            )
        )

    def start_sss_supervise(self):
        conf = os.path.join(self.root, "conf")
        with open(conf, "w") as file:
            for directory in self.directories:
                file.write(
                    f"[{os.path.basename(directory)}]\ncommand = {self.program}\n"
                    f"cwd = {directory}\nrestart = always\ndelay = 0\nstart-limit = 0\n"
                )
        self.spawn(os.path.join(self.folder, "sss-supervise"), "-c", conf, "-s", self.root + "/s")

    def start_each(self, supervisor):
        for directory in self.directories:
            os.link(self.program, os.path.join(directory, "run"))
            self.spawn(supervisor, directory)

    def start_runsv(self):
        self.start_each("runsv")

    def start_s6_supervise(self):
        self.start_each("s6-supervise")

    def start_supervisord(self):
        conf = os.path.join(self.root, "conf")
        with open(conf, "w") as file:
            file.write(
                f"[supervisord]\nnodaemon=true\nuser=root\nlogfile=/dev/null\nlogfile_maxbytes=0\n"
                f"pidfile={self.root}/pid\nminfds=8192\n"
            )
            for directory in self.directories:
                file.write(
                    f"[program:{os.path.basename(directory)}]\ncommand={self.program}\n"
                    f"directory={directory}\nautorestart=true\nstartsecs=1\n"
                    "stdout_logfile=NONE\nstderr_logfile=NONE\n"
                )
        self.spawn("supervisord", "-c", conf)

    def told(self):
        return struct.unpack("qq", os.read(self.fifo, 16))

    def round(self):
        """Kills the unit; microseconds until the next one is executed."""
        begun = time.monotonic_ns()
        os.kill(self.pid, signal.SIGKILL)
        executed, self.pid = self.told()
        return (executed - begun) / 1000

    def usage(self):
        """CPU in seconds, voluntary switches and memory of the supervisor's processes."""
        cpu = switches = memory = 0
        for process in self.processes:
            with open(f"/proc/{process.pid}/stat") as file:
                fields = file.read().rpartition(")")[2].split()
            cpu += int(fields[11]) + int(fields[12])
            for path in os.listdir(f"/proc/{process.pid}/task"):
                with open(f"/proc/{process.pid}/task/{path}/status") as file:
                    status = dict(line.split(":", 1) for line in file)
                switches += int(status["voluntary_ctxt_switches"])
            with open(f"/proc/{process.pid}/smaps_rollup") as file:
                sizes = dict(line.split(":", 1) for line in list(file)[1:])
            memory += int(sizes["Pss"].split()[0])
        return cpu / os.sysconf("SC_CLK_TCK"), switches, memory

    def end(self):
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        os.close(self.fifo)


def end_units(program):
    """runsv and s6-supervise may be gone before their units."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            exe = os.readlink(f"/proc/{pid}/exe")
        except OSError:
            continue
        if exe.startswith(os.path.dirname(program) + "/"):
            os.kill(int(pid), signal.SIGKILL)


def measure(folder, size, rounds, idle):
    names = ["sss-supervise", "runsv", "s6-supervise", "supervisord"]
    names = [name for name in names if name == "sss-supervise" or shutil.which(name)]
    with tempfile.TemporaryDirectory() as root:
        # Links need the program in the same file system.
        program = shutil.copy(os.path.join(folder, "restarted"), root)
        shutil.copy(os.path.join(folder, "sss-supervise"), root)
        peers = []
        try:
            for name in names:
                peers.append(Peer(name, root, root, size))
            time.sleep(3 + size / 200)
            times = {peer.name: [] for peer in peers}
            for number in range(rounds):
                time.sleep(1.3)
                for at in range(len(peers)):
                    peer = peers[(number + at) % len(peers)]
                    times[peer.name].append(peer.round())
            usage = {}
            if idle:
                time.sleep(3)
                before = {peer.name: peer.usage() for peer in peers}
                time.sleep(idle)
                for peer in peers:
                    after = peer.usage()
                    cpu, switches, _ = before[peer.name]
                    usage[peer.name] = (after[0] - cpu, after[1] - switches, after[2])
        finally:
            for peer in peers:
                peer.end()
            end_units(program)
    return times, usage


def main():
    folder = os.path.abspath(sys.argv[1])
    short = "--short" in sys.argv
    sizes = (1, 20) if short else SIZES
    lines = [
        "# Restarts, and idle units",
        "",
        "µs from `SIGKILL` of a unit to the first instruction of the next one, median "
        "(quartiles), with so many units alive under each supervisor:",
        "",
        "| units | supervisor | µs | ratio to runsv |",
        "|---:|---|---:|---:|",
    ]
    idle_lines = []
    for size in sizes:
        last = size == sizes[-1]
        times, usage = measure(folder, size, 2 if short else 21, (2 if short else IDLE_SECONDS) * last)
        for name, values in times.items():
            low, middle, high = statistics.quantiles(values, n=4)
            ratio = "-"
            if "runsv" in times and name != "runsv":
                pairs = [ours / theirs for ours, theirs in zip(values, times["runsv"])]
                a, b, c = statistics.quantiles(pairs, n=4)
                ratio = f"{b:.2f} ({a:.2f} to {c:.2f})"
            lines.append(f"| {size} | {name} | {middle:.0f} ({low:.0f} to {high:.0f}) | {ratio} |")
        for name, (cpu, switches, memory) in usage.items():
            seconds = 2 if short else IDLE_SECONDS
            idle_lines.append(
                f"| {name} | {cpu:.2f} | {switches / seconds * 60:.1f} | {memory / 1024:.1f} |"
            )
    lines += [
        "",
        f"{sizes[-1]} idle units: CPU seconds of the supervisor's processes in "
        f"{2 if short else IDLE_SECONDS} s, their wake-ups a minute, their memory (PSS):",
        "",
        "| supervisor | CPU s | wake-ups | MB |",
        "|---|---:|---:|---:|",
    ] + idle_lines
    text = "\n".join(lines) + "\n"
    print(text)
    if "--write" in sys.argv:
        place = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../results/supervise.md")
        with open(place, "w") as file:
            file.write(text)


main()
