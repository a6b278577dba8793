#!/usr/bin/env python3
"""Checks handshake.pml by spin: the properties hold, and each precaution of the code is needed, since without it one of
them fails.   usage: handshake_test.py [--only NAME]"""
import os
import shutil
import subprocess
import sys
import tempfile
import time

MODEL = os.path.join(os.path.dirname(os.path.abspath(__file__)), "handshake.pml")
SKIPPED = 77  # ctest: SKIP_RETURN_CODE
SECONDS = 300  # for one run; each takes a few on an idle core

# A deadlock, which is how a lost wake-up ends where everybody else has stopped, or a failed assertion.
SAFETY = ("-DSAFETY", "-DNOCLAIM"), ()
# Whoever asks is answered, by weak fairness: cheats may go on for ever.
LIVENESS = (), ("-a", "-f")
ALONE = ("-DHONEST=1", "-DCHEATS=1")
PAIR = ("-DHONEST=2", "-DCHEATS=0", "-DALL_POLLED")
TIME = ("-DTIME_PASSES", "-DALL_POLLED")

HOLDS = {
    "one honest thread and a cheat": (SAFETY, ALONE),
    "one honest thread that shares its sleep word with a cheat": (SAFETY, ALONE + ("-DSHARE_WORD",)),
    "two honest threads": (SAFETY, PAIR),
    "one honest thread and a cheat: answered": (LIVENESS, ALONE + TIME),
    "one honest thread that shares its sleep word with a cheat: answered":
        (LIVENESS, ALONE + TIME + ("-DSHARE_WORD",)),
}
FAILS = {
    "the bell is rung before the request is there": ALONE + ("-DBREAK_RING_BEFORE_REQUEST",),
    "the request is made by a plain store": ALONE + ("-DBREAK_UNLOCKED_REQUEST",),
    "a thread is left to its bell without another look": ALONE + ("-DBREAK_EVICT_BLINDLY",),
    "a thread is left to its bell by a plain store": ALONE + ("-DBREAK_UNFENCED_POLLED",),
    "the sleep word is read after the state was changed": ALONE + ("-DBREAK_READ_WORD_LATE",),
    "the worker says that it sleeps by a plain store": ALONE + ("-DBREAK_UNFENCED_SLEEP",),
    "the worker does not scan once more before it sleeps": ALONE + ("-DBREAK_NO_LAST_SCAN",),
    "the worker sleeps on wake-ups that it has put off": ALONE + ("-DBREAK_SLEEP_ON_WAITING",),
    "nobody looks after a wake-up that was left to a cheat": ALONE + ("-DBREAK_NO_CHECK",),
    "a request is looked at while it is answered": ALONE + ("-DBREAK_TAKE_TWICE",),
}


def run(command, directory):
    return subprocess.run(command, cwd=directory, timeout=SECONDS, text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT).stdout


def check(defines, kind):
    """The number of errors, and the line that says what went wrong."""
    compile_options, run_options = kind
    with tempfile.TemporaryDirectory(prefix="run9-spin-") as work:
        said = run(["spin", *defines, "-a", MODEL], work)
        if not os.path.exists(work + "/pan.c"):
            raise SystemExit("spin: " + said)
        said = run(["cc", "-O1", "-w", "-DCOLLAPSE", "-DMEMLIM=1800", *compile_options, "-o", "pan", "pan.c"], work)
        if not os.path.exists(work + "/pan"):
            raise SystemExit("cc: " + said)
        said = run(["./pan", "-m3000000", "-w22", *run_options], work)
    errors = [line for line in said.splitlines() if "errors:" in line]
    if not errors or "Search not completed" in said and errors[0].endswith("errors: 0"):
        return None, said
    why = [line for line in said.splitlines() if line.startswith("pan:1:")]
    return int(errors[0].rsplit(" ", 1)[1]), "".join(why)


def main():
    if shutil.which("spin") is None or shutil.which("cc") is None:
        print("skipped: needs the Debian package spin, and a C compiler")
        return SKIPPED
    only = sys.argv[sys.argv.index("--only") + 1] if "--only" in sys.argv else ""
    cases = [(name, kind, defines, 0) for name, (kind, defines) in HOLDS.items()]
    cases += [(name, SAFETY, defines, 1) for name, defines in FAILS.items()]
    failures = 0
    for name, kind, defines, wanted in cases:
        if only not in name:
            continue
        start = time.monotonic()
        errors, why = check(defines, kind)
        good = errors == wanted
        failures += not good
        print(f"{'ok  ' if good else 'FAIL'} {time.monotonic() - start:5.1f} s  {name}: "
              + ("holds" if errors == 0 else why or "no result"), flush=True)
    return 1 if failures else 0


sys.exit(main())
