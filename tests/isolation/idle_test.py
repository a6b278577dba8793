#!/usr/bin/env python3
"""A sandbox whose guests sleep does nothing: no thread of its processes is ever scheduled.

CPU time would need a minute to show a wake-up now and then; the host's counts of context switches show each, at
once and whatever else the machine does.

usage: idle_test.py BIN_DIR [SECONDS]    how long to look (5); with 60 it is the mark's own measurement
"""
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
from sandbox import Host, Run9, fail_if, machine_python, read, wait_for

PYTHON = machine_python()
SLEEPERS = {
    "sleep": ["sleep", "1000"],
    "select": [PYTHON, "-c", "import os, select; select.select([os.pipe()[0]], [], [])"],
    "pipe": [PYTHON, "-c", "import os; ends = os.pipe(); os.read(ends[0], 1)"],
    "threads": [PYTHON, "-c", "import queue, threading\nq = queue.Queue()\n"
                "for _ in range(8): threading.Thread(target=q.get).start()\nq.get()"],
    "processes": ["sh", "-c", "sleep 1000 | cat"],
}
TICKS_IN_A_MINUTE = 1


def switches(pids):
    """{(process, thread): how often it was scheduled}"""
    counts = {}
    for pid in pids:
        for tid in Host.threads(pid):
            status = Host.status(f"{pid}/task/{tid}")
            counts[Host.status(pid).get("Name"), tid] = sum(
                int(status.get(k, 0)) for k in ("voluntary_ctxt_switches", "nonvoluntary_ctxt_switches"))
    return counts


def ticks(pids):
    """User and system time of all, in clock ticks."""
    fields = [read(f"/proc/{pid}/stat").rpartition(")")[2].split() for pid in pids if Host.alive(pid)]
    return sum(int(f[11]) + int(f[12]) for f in fields)


def settled(pids):
    """Nobody was scheduled for a second."""
    before = switches(pids)
    time.sleep(1)
    return switches(pids) == before


def look(families, seconds):
    """What woke up within so many seconds."""
    problems = []
    before = {name: (switches(family), ticks(family)) for name, family in families.items()}
    time.sleep(seconds)
    for name, family in families.items():
        if len(family) < 4:  # run9, its file server, the kernel, a stub
            problems.append(f"{name}: only {len(family)} processes")
        woken = {who: n - before[name][0].get(who, 0) for who, n in switches(family).items()}
        woken = {who: n for who, n in woken.items() if n != 0}
        used = ticks(family) - before[name][1]
        print(f"{name}: {len(family)} processes, {sum(woken.values())} wake-ups, {used} ticks in {seconds:g} s")
        if woken:
            problems.append(f"{name}: woke up while its guest slept: {woken}")
        if used > max(1, TICKS_IN_A_MINUTE * seconds / 60):
            problems.append(f"{name}: used {used} ticks of CPU")
    return problems


def main():
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 5
    with Run9(sys.argv[1], "idle") as run9:
        families = {}
        for platform in ("trap", "ptrace"):
            for name, args in SLEEPERS.items():
                container = f"{platform}-{name}"
                command = run9.start("run", "-b", run9.bundle(container, args), container,
                                     flags=("--platform", platform))
                wait_for(lambda: (run9.state(container) or {}).get("status") == "running", f"{container} runs")
                families[container] = command
        families = {name: [command.pid, *Host.descendants(command.pid)] for name, command in families.items()}
        everyone = [pid for family in families.values() for pid in family]
        wait_for(lambda: settled(everyone), "a second without a context switch", seconds=60)
        # What was forked meanwhile belongs to them as well.
        families = {name: [family[0], *Host.descendants(family[0])] for name, family in families.items()}
        # Whoever stops or freezes processes from outside, a debugger or a cgroup, has them scheduled too: one window of
        # three without a wake-up is proof enough, for a sandbox that wakes up by itself does so in each.
        for _ in range(3):
            problems = look(families, seconds)
            if not problems:
                break
    fail_if(problems)


if __name__ == "__main__":
    main()
