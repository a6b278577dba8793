#!/usr/bin/env python3
"""Touching 1 GiB of fresh memory rings no doorbell: the Sentry hears of a guest that did as often as of one
that did not.

usage: fresh_memory_test.py BIN_DIR
"""
import json
import os
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
from sandbox import Run9, fail_if, skip


def guest_events(run9, bundle, name, problems):
    child = run9.start("run", "-b", bundle, name, stdout=subprocess.PIPE)
    if child.stdout.readline() != "done\n":
        problems.append(f"{name}: the guest did not get through: {run9.log_text()[-1000:]}")
        return None
    events = None
    while events is None:
        stats = json.loads(run9.command("events", "--stats", name).stdout)["data"]
        events = stats["run9"].get("events")  # none while the supervisor has not yet noted that it runs
    run9.command("kill", name, "KILL")
    child.wait(timeout=30)
    return events


def main():
    with open("/proc/meminfo") as f:
        free = next(int(line.split()[1]) for line in f if line.startswith("MemAvailable"))
    if free < 3 << 20:
        skip("less than 3 GiB of memory is available")
    problems = []
    with Run9(sys.argv[1], "fresh-memory") as run9:
        rootfs = os.path.join(run9.work, "rootfs")
        os.mkdir(rootfs)
        shutil.copy(os.path.join(run9.bin, "touch_memory"), rootfs)
        counts = {}
        for megabytes in (0, 1024):
            bundle = run9.bundle(f"b{megabytes}", ["/touch_memory", str(megabytes)], root=rootfs, readonly=False)
            counts[megabytes] = guest_events(run9, bundle, f"m{megabytes}", problems)
        print(f"times that the guest came to the Sentry, by MiB touched: {counts}")
        # It may or may not have come to its last call, pause(), when it was counted.
        if abs(counts[0] - counts[1024]) > 1:
            problems.append(f"touching 1 GiB rang {counts[1024]} doorbells, touching nothing {counts[0]}")
    fail_if(problems)


if __name__ == "__main__":
    main()
