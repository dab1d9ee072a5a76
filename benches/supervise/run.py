#!/usr/bin/env python3
"""From the death of a unit to the exec of the next one, and what idle units cost,
beside s6-supervise, runsv and supervisord.

    run.py FOLDER [--short] [--sizes 1,100,1000] [--rounds 21]

FOLDER has restarted and sss-supervise. All supervisors stand side by side, each with
as many idle units; in a round the one unit that is watched is killed under each of them
in turn. runsv does not start a program again that ran for less than a second until that
second is over: so each has run longer when it is killed. s6-supervise pauses for a second
after each death, and supervisord looks once a second, which is in their figures. The last
size is also looked at while it is idle. Writes ../results/supervise.md. --short has two
rounds with a few units, and writes nothing.
"""

import argparse
import os
import pathlib
import select
import shutil
import signal
import statistics
import struct
import subprocess
import tempfile
import time

IDLE_SECONDS = 60
# The library looks at all processes 1, 5, 21 seconds after a change, then once a minute.
SETTLE_SECONDS = 30


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
        if not select.select([self.fifo], [], [], 60)[0]:
            raise SystemExit("the unit did not start within a minute")
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
            if os.readlink(f"/proc/{pid}/exe").startswith(os.path.dirname(program) + "/"):
                os.kill(int(pid), signal.SIGKILL)
        except OSError:
            continue


def measure(folder, size, rounds, settle, idle):
    names = ["sss-supervise", "runsv", "s6-supervise", "supervisord"]
    for name in names[1:]:
        if not shutil.which(name):
            print(f"SKIP {name}: not installed", flush=True)
    names = [name for name in names if name == "sss-supervise" or shutil.which(name)]
    peers = []
    with tempfile.TemporaryDirectory() as root:
        # Links need the program in the same file system.
        program = shutil.copy(os.path.join(folder, "restarted"), root)
        shutil.copy(os.path.join(folder, "sss-supervise"), root)
        try:
            for name in names:
                peers.append(Peer(name, root, root, size))
            time.sleep(1.5 + size / 150)
            times = {peer.name: [] for peer in peers}
            for number in range(rounds):
                time.sleep(1.3 if number else 0)
                for at in range(len(peers)):
                    peer = peers[(number + at) % len(peers)]
                    times[peer.name].append(peer.round())
            idles = {}
            if idle:
                time.sleep(settle)
                before = {peer.name: peer.usage() for peer in peers}
                time.sleep(idle)
                for peer in peers:
                    cpu, wakeups, memory = peer.usage()
                    spent, woken, _ = before[peer.name]
                    idles[peer.name] = [
                        (cpu - spent) / idle * 60, (wakeups - woken) / idle * 60, memory / 1024]
        finally:
            for peer in peers:
                peer.end()
            end_units(program)
    return {"restart": times, "idle": idles}


def text_of(measured):
    yield "# Restarts, and idle units"
    yield ""
    yield f"Linux {os.uname().release}, {os.cpu_count()} processors."
    yield ""
    yield ("µs from `SIGKILL` of a unit to the first instruction of the next one, median "
           "(quartiles), with so many units alive under each supervisor:")
    yield ""
    yield "| units | supervisor | µs | ratio to runsv |"
    yield "|---:|---|---:|---:|"
    for size in sorted(measured, key=int):
        times = measured[size]["restart"]
        for name, values in times.items():
            low, middle, high = statistics.quantiles(values, n=4)
            ratio = ""
            if "runsv" in times and name != "runsv":
                pairs = [ours / theirs for ours, theirs in zip(values, times["runsv"])]
                a, b, c = statistics.quantiles(pairs, n=4)
                ratio = f"{b:.2f} ({a:.2f} to {c:.2f})"
            yield f"| {size} | {name} | {middle:.0f} ({low:.0f} to {high:.0f}) | {ratio} |"
    yield ""
    yield ("What a minute costs while nothing happens, some time after the last restart: CPU "
           "time and wake-ups of the supervisor's processes, and their memory (PSS):")
    yield ""
    yield "| units | supervisor | CPU ms | wake-ups | MB |"
    yield "|---:|---|---:|---:|---:|"
    for size in sorted(measured, key=int):
        for name, (cpu, wakeups, memory) in measured[size]["idle"].items():
            yield f"| {size} | {name} | {cpu * 1000:.0f} | {wakeups:.1f} | {memory:.1f} |"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--sizes", default="1,100,1000")
    parser.add_argument("--rounds", type=int, default=21)
    arguments = parser.parse_args()
    sizes = [20] if arguments.short else [int(size) for size in arguments.sizes.split(",")]
    results = pathlib.Path(__file__).resolve().parent.parent / "results"
    measured = {}
    for size in sizes:
        rounds = 2 if arguments.short else arguments.rounds
        settle, idle = (0, 1) if arguments.short else (SETTLE_SECONDS, IDLE_SECONDS)
        measured[str(size)] = measure(
            os.path.abspath(arguments.folder), size, rounds, settle, idle if size == sizes[-1] else 0)
    text = "\n".join(text_of(measured)) + "\n"
    print(text)
    if not arguments.short:
        (results / "supervise.md").write_text(text)


main()
