#!/usr/bin/env python3
"""Further workers take part where calls wait behind one another, and the flag says where there are none.

usage: workers_test.py BIN_DIR
"""
import os
import re
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
from patience import patience
from sandbox import fail_if, skip

# Four processes that ask for what the Sentry reads at the host, and for names.
BUSY = "for i in 1 2 3 4; do (for k in 1 2 3 4 5; do find /usr/include /usr/lib/python3 -name '*.h' | head -n 40 | xargs cat | cksum; done) & done; wait"


def run9(directory, *args):
    return subprocess.run([os.path.join(directory, "run9"), *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True, timeout=patience(100))


def rounds(done):
    said = re.search(r"further workers: (\d+) rounds", done.stderr)
    return int(said.group(1)) if said else None


def main():
    directory = sys.argv[1]
    if len(os.sched_getaffinity(0)) < 2:
        skip("one core: there are no further workers")
    problems = []
    native = subprocess.run(["sh", "-c", BUSY], stdout=subprocess.PIPE, text=True).stdout.split()
    for flags in ([], ["--workers", "2"], ["--workers", "4", "--eager-workers"]):
        done = run9(directory, "--debug", *flags, "do", "--", "sh", "-c", BUSY)
        if done.returncode != 0 or done.stdout.split() != native:
            problems.append(f"{flags}: status {done.returncode}, {done.stdout.split()[:2]} instead of {native[:2]}")
        if (rounds(done) is None) != (not flags) or ("--eager-workers" in flags and not rounds(done)):
            problems.append(f"{flags}: {rounds(done)} rounds by further workers")
    refused = run9(directory, "--workers", "2", "--platform", "ptrace", "do", "--", "true")
    if refused.returncode == 0 or "use --platform trap" not in refused.stderr:
        problems.append(f"with ptrace: {refused.returncode} {refused.stderr}")
    fail_if(problems)


if __name__ == "__main__":
    main()
