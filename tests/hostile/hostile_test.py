#!/usr/bin/env python3
"""Each attack of hostile_guest in one sandbox, beside a canary of another user. After each of them: the canary is
unharmed and its secret unread, the Sentry and the gofer are alive, and the host has no further process, thread,
descriptor, file or core dump.

usage: hostile_test.py BIN_DIR [PLATFORM] [--seed N] [--only ATTACK]
"""
import argparse
import collections
import os
import select
import shutil
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
from patience import patience
from sandbox import Host, Run9, fail_if, read, skip

FLAGS = {"trap": ("--platform", "trap"), "ptrace": ("--platform", "ptrace"), "workers": ("--workers", "3", "--eager-workers")}
SPARE = 3  # stubs that the trap platform has ready, at most
problems = []


class Sandbox:
    def __init__(self, run9, how):
        self.run9 = run9
        self.id = f"hostile-{how}"  # other tests' cgroups are not ours
        root = os.path.join(run9.work, "rootfs")
        for name in ("proc", "tmp", "dev", "sys", "own"):
            os.makedirs(os.path.join(root, name))
        own = os.path.join(run9.work, "own")  # of the host's, to write to
        os.mkdir(own)
        for directory in (own, root):
            os.chmod(directory, 0o1777)
        for name in ("hostile_guest", "canary"):
            shutil.copy(os.path.join(run9.bin, name), root)
        mount = {"destination": "/own", "type": "bind", "source": own, "options": ["rbind", "rw"]}
        bundle = run9.bundle("b", ["/canary"], root=root, readonly=False, mounts=[mount])
        self.canary = run9.start("run", "-b", bundle, self.id, flags=FLAGS[how], stdin=subprocess.PIPE,
                                 stdout=subprocess.PIPE, bufsize=1)
        self.secret = self.line().strip()
        state = run9.state(self.id)
        self.sentry, self.gofer = state["sentry"]["pid"], state["gofer"]["pid"]

    def line(self):
        ready, _, _ = select.select([self.canary.stdout], [], [], patience(20))
        return self.canary.stdout.readline() if ready else ""

    def ask_canary(self):
        try:
            self.canary.stdin.write("how are you?\n")
        except BrokenPipeError:
            return "it has ended"
        return self.line().strip() or "it does not answer"

    def attack(self, name, seed):
        return self.run9.command("exec", "-u", "1000:1000", self.id, "/hostile_guest", name, str(seed), timeout=60)

    def stubs(self):
        return Host.children(self.sentry)


def descriptors(pid):
    """How many of each kind. What comes and goes with stubs that are made ahead is not counted."""
    kinds = collections.Counter()
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            target = os.readlink(f"/proc/{pid}/fd/{fd}")
        except OSError:
            continue
        kind = target.split(":")[0].split(" (")[0]
        if kind not in ("socket", "/memfd"):
            kinds[target if kind.startswith("/") else kind] += 1
    return kinds


class Snapshot:
    """What the host sees of the sandbox."""

    def __init__(self, box):
        stubs = box.stubs()
        own = Host.status(box.sentry).get("Uid", "?").split()[0]
        known = {box.sentry, *stubs}
        # What lives in another sandbox's namespace is that one's.
        ours = {None, Host.namespace(box.sentry, "pid"), Host.namespace("self", "pid")}
        self.strangers = [p for p in Host.processes() if p not in known and Host.status(p).get("Uid", "").startswith(own)
                          and Host.alive(p) and Host.namespace(p, "pid") in ours]
        self.strangers += Host.children(box.gofer)
        self.strangers += [p for s in stubs for p in Host.children(s)]
        self.stubs = len(stubs)
        self.threads = max((len(Host.threads(s)) for s in stubs), default=0)
        self.descriptors = descriptors(box.sentry) + descriptors(box.gofer)
        self.many = len(os.listdir(f"/proc/{box.sentry}/fd"))
        self.files = sorted(os.path.join(d, f) for d, _, fs in os.walk(box.run9.work) for f in fs)

    def worse_than(self, before):
        out = []
        if self.strangers:
            out.append(f"processes {[(p, Host.command(p)) for p in self.strangers]}")
        if self.stubs > before.stubs + SPARE:
            out.append(f"{self.stubs} stubs, before {before.stubs}")
        if self.threads > 2:
            out.append(f"a stub of {self.threads} threads")
        if self.descriptors - before.descriptors:
            out.append(f"descriptors {dict(self.descriptors - before.descriptors)}")
        if self.many > before.many + 32:
            out.append(f"{self.many} descriptors of the Sentry, before {before.many}")
        if set(self.files) - set(before.files):
            out.append(f"files {sorted(set(self.files) - set(before.files))}")
        return out


reported = set()


def settled(box, before):
    """The difference that stays. What an attack has left already is neither waited for nor told again."""
    end = time.monotonic() + patience(5)
    while True:
        worse = [what for what in Snapshot(box).worse_than(before) if what not in reported]
        if not worse or time.monotonic() > end:
            reported.update(worse)
            return worse
        time.sleep(0.02)


def core_files():
    pattern = read("/proc/sys/kernel/core_pattern").strip()
    directory = os.path.dirname(pattern) if pattern.startswith("/") else os.getcwd()
    return {f for f in os.listdir(directory) if "core" in f} if os.path.isdir(directory) else set()


def after(box, name, result, before):
    found = [line for line in result.stdout.splitlines() if line.startswith("BROKEN")]
    problems.extend(f"{name}: {line}" for line in found[:5])
    if result.returncode == 2:
        problems.append(f"{name}: there is no such attack")
    if box.secret in result.stdout + result.stderr:
        problems.append(f"{name}: the canary's secret was read")
    for role, pid in (("sentry", box.sentry), ("gofer", box.gofer)):
        if not Host.alive(pid):
            problems.append(f"{name}: the {role} is gone: {box.run9.log_text()[-500:]}")
            return False
    health = box.ask_canary()
    if not health.startswith("intact"):
        problems.append(f"{name}: the canary: {health}")
        return False
    left = [f"{name}: left on the host: {what}" for what in settled(box, before)]
    print(*left, sep="\n", end="\n" if left else "", flush=True)
    problems.extend(left)
    return True


def main():
    p = argparse.ArgumentParser()
    p.add_argument("bin_dir")
    p.add_argument("how", choices=FLAGS, nargs="?", default="trap")
    p.add_argument("--seed", type=int, default=9)
    p.add_argument("--only")
    args = p.parse_args()
    if os.geteuid() != 0:
        skip("attackers and canary are two users: only root can map them")
    guest = os.path.join(args.bin_dir, "hostile_guest")
    attacks = subprocess.run([guest, "--list"], capture_output=True, text=True, check=True).stdout.split()
    cores = core_files()
    with Run9(args.bin_dir, "hostile") as run9:
        box = Sandbox(run9, args.how)
        # Whether the program's file stays open, for the next one that runs it, is not settled by its first run alone.
        for _ in range(2):
            box.attack("nothing", 1)
        before = Snapshot(box)
        for name in attacks:
            if args.only and name != args.only:
                continue
            began = time.monotonic()
            try:
                result = box.attack(name, args.seed)
            except subprocess.TimeoutExpired:
                problems.append(f"{name}: does not end")
                break
            going_on = after(box, name, result, before)
            print(f"{name}: {time.monotonic() - began:.1f} s, status {result.returncode}, canary {'ok' if going_on else 'lost'}",
                  flush=True)
            if not going_on:
                break
    problems.extend(f"core dump {f}" for f in core_files() - cores)
    fail_if(problems)


if __name__ == "__main__":
    main()
