#!/usr/bin/env python3
"""Kills one process of a busy sandbox at a random moment; after `run9 delete --force` nothing is left.

usage: kills_test.py BIN_DIR [--kills N] [--seed S]
Each round takes a container through its life (by create and start, or by run, in the foreground or not) and
kills the command line, the Sentry, the gofer, the keeper or a stub at a time that the seed decides. It may fall
anywhere, also in the middle of the start. No other process of ours aborts. A failure names the seed of its round:
--kills 1 --seed S repeats it.
"""
import argparse
import os
import random
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
from patience import patience
from sandbox import Host, Run9, fail_if, kill, read, wait_for

# Forks, opens files, writes, and waits in calls.
LOAD = r"""
mkdir -p /tmp/d; i=0
while :; do
  i=$((i+1)); (cat /etc/passwd | wc -l >/tmp/d/$((i%7))) & ls -l /usr/bin >/dev/null; wait
done
"""
VICTIMS = ("cli", "sentry", "gofer", "stub", "keeper")


class Round:
    def __init__(self, run9, number, seed):
        self.run9, self.name = run9, f"kill-{os.getpid()}-{number}"
        self.dice = random.Random(seed)
        self.victim = self.dice.choice(VICTIMS)
        self.way = self.dice.choice(("run", "run -d", "create"))
        self.delay = self.dice.random() ** 2 * 0.4
        self.seen = set()

    def describe(self):
        return f"{self.name}: {self.victim} after {self.delay * 1000:.0f} ms of {self.way}"

    def processes(self):
        """What belongs to the container now, by role. Its id is on the command line of each that has one."""
        out = {}
        state = self.run9.state(self.name) or {}
        for role in ("sentry", "gofer", "keeper"):
            pid = state.get(role, {}).get("pid", 0)
            if pid and Host.alive(pid):
                out[role] = [pid]
        if "sentry" in out:
            out["stub"] = Host.children(out["sentry"][0])
        self.seen.update(p for pids in out.values() for p in pids)
        return out

    def commands(self, bundle):
        run9 = self.run9.arguments
        if self.way == "create":
            return [run9("create", "-b", bundle, self.name), run9("start", self.name)]
        return [run9(*self.way.split(), "-b", bundle, self.name)]

    def live(self, bundle):
        """The container's life, until the kill has fallen."""
        end = time.monotonic() + self.delay
        cli = None
        commands = self.commands(bundle)
        while True:
            if commands and (cli is None or cli.poll() is not None):
                cli = subprocess.Popen(commands.pop(0), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                       stderr=subprocess.DEVNULL)
                self.seen.add(cli.pid)
            if time.monotonic() >= end:
                break
            time.sleep(0.002)
        processes = self.processes()
        target = self.dice.choice(processes.get(self.victim) or [cli.pid])
        kill(target)
        self.dice.random() < 0.5 and time.sleep(self.dice.random() * 0.02)
        self.processes()
        # A command line that goes on is waited for, if it waits for nobody itself; start comes after create.
        if self.way != "run":
            cli.wait(timeout=patience(30))
            for command in commands:
                subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=patience(30))
        self.processes()
        return cli

    def what_is_left(self, before):
        """Everything of this container that should be gone, in words."""
        left = []
        for pid in self.seen:
            if Host.alive(pid) and ("run9" in Host.command(pid) or "run9" in Host.status(pid).get("Name", "")):
                left.append(f"process {pid}: {Host.status(pid).get('Name')} {Host.command(pid)!r}")
        for pid in set(Host.processes()) - before:
            command = Host.command(pid)
            ours = self.run9.work in command or command == f"run9-sentry {self.name}"
            if ours and Host.alive(pid):
                left.append(f"process {pid}: {command!r}")
        if os.path.exists(os.path.join(self.run9.root, self.name)):
            left.append("its state directory")
        left += [f"cgroup {c}" for c in cgroups(self.name)]
        left += [f"mount {m}" for m in mounts(self.run9.work)]
        left += [f"socket {s}" for s in sockets(self.run9.work, self.name)]
        return left


def cgroups(name):
    found = []
    for directory, names, _ in os.walk("/sys/fs/cgroup"):
        if os.path.basename(directory) == "run9" and name in names:
            found.append(os.path.join(directory, name))
    return found


def mounts(work):
    return [line for line in read("/proc/self/mounts").splitlines() if work in line or "run9" in line.split()[0]]


def sockets(work, name):
    return [line.split()[-1] for line in read("/proc/net/unix").splitlines() if f"{work}/state/{name}/" in line]


def one(run9, bundle, number, seed):
    r = Round(run9, number, seed)
    before = set(Host.processes())
    cli = r.live(bundle)
    deleted = run9.command("delete", "--force", r.name)
    cli.wait(timeout=patience(30))
    problems = []
    if deleted.returncode != 0:
        problems.append(f"delete --force: {deleted.stderr.strip()}")
    try:
        # The kernel takes a moment to end what was killed.
        wait_for(lambda: not r.what_is_left(before), "", 5)
    except AssertionError:
        problems += r.what_is_left(before)
    return [f"--seed {seed} ({r.describe()}): {p}" for p in problems]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("bin")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    problems = []
    with Run9(args.bin, "kills") as run9:
        bundle = run9.bundle("b", ["sh", "-c", LOAD])
        for i in range(args.kills):
            problems += one(run9, bundle, i, args.seed + i)
        # Whoever was not killed must not fall over.
        problems += [line for line in run9.log_text().splitlines() if "terminate called" in line or "CHECK failed" in line]
    print(f"{args.kills} kills, seeds from {args.seed}")
    fail_if(problems)


if __name__ == "__main__":
    main()
