#!/usr/bin/env python3
"""`run9 do --profile` and `run9 profile`: programs whose calls are known, and what the table and the flame graph say of
them.   usage: profile_test.py DIRECTORY-OF-PROGRAMS"""
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as xml

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../tests/support"))
from patience import patience

BIN = os.path.join(sys.argv[1], "run9")
WORK = tempfile.mkdtemp(prefix="run9-profile-")
STATE = WORK + "/state"
SVG = "{http://www.w3.org/2000/svg}"
CALLS = 2000
failures = 0

# getpriority occurs nowhere else in a Python that starts, pread64 in its loader.
KNOWN = f"""
import os, threading, time
fd = os.open("/etc/hostname", os.O_RDONLY)
for i in range({CALLS}):
    os.getpriority(os.PRIO_PROCESS, 0)
for i in range(300):
    os.pread(fd, 10, 0)
time.sleep(0.3)
lock = threading.Lock()
lock.acquire()
lock.acquire(timeout=0.3)
end = time.monotonic() + 0.4
while time.monotonic() < end:
    pass
"""
ENDLESS = """
import os
print("up", flush=True)
while True:
    os.getpriority(os.PRIO_PROCESS, 0)
    for i in range(1000):
        pass
"""


def check(good, what, got=""):
    global failures
    if not good:
        failures += 1
        print(f"FAIL {what}: {got}", flush=True)


def run9(*args):
    return subprocess.run([BIN, "--root", STATE, *args], timeout=patience(60), text=True, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def rows(table):
    """Name to the columns behind it; the first line's numbers as "head"."""
    out = {}
    for line in table.splitlines():
        if "went by" in line:
            out["head"] = [float(n) for n in re.findall(r"([0-9.]+) ms", line)]
        found = re.match(r"(\S+( call\))?)\s+(\d+)((\s+[0-9.]+){6})$", line)
        if found:
            out[found[1]] = [int(found[3]), *map(float, found[4].split())]
    return out


COUNT, EACH, HAND_OVER, KERNEL, GOFER, HOST, WAITING = range(7)


def check_svg(path, names):
    tree = xml.parse(path).getroot()
    check(tree.tag == SVG + "svg", "the picture is SVG", tree.tag)
    titles = [t.text for t in tree.iter(SVG + "title")]
    for name in names:
        check(any(t.startswith(name + ": ") for t in titles), f"the picture has {name}", titles)
    width = float(tree.get("width"))
    for bar in tree.iter(SVG + "g"):
        rect = bar.find(SVG + "rect")
        check(float(rect.get("x")) + float(rect.get("width")) <= width, "bars stay in the picture", rect.attrib)


def whole_run():
    svg = WORK + "/run.svg"
    r = run9("do", f"--profile={svg}", "--", "/usr/bin/python3", "-c", KNOWN)
    check(r.returncode == 0 and r.stdout == "", "the program runs as without a profile", r)
    table = rows(r.stderr)
    known, reads, sleeps, opens = (table.get(n) for n in ("getpriority", "pread64", "clock_nanosleep", "openat"))
    if None in (known, reads, sleeps, opens, table.get("head")):
        return check(False, "the table has the program's calls", r.stderr)
    check(known[COUNT] == CALLS, "getpriority is counted", known)
    check(300 <= reads[COUNT] < 400 and reads[HOST] > 0, "pread64 is counted, and reads in the host", reads)
    check(known[HAND_OVER] > 0 and known[KERNEL] > 0, "a call is handed over and carried out", known)
    check(known[GOFER] == known[HOST] == known[WAITING] == 0, "and nothing else", known)
    check(sleeps[COUNT] == 1 and 290 < sleeps[WAITING] < 5000, "a sleep waits", sleeps)
    futex = table.get("futex", [0] * 7)
    check(290 < futex[WAITING] < 5000, "so does a lock, whoever makes the call", futex)
    check(opens[GOFER] > 0, "files come from the gofer", opens)
    wall, guest, calls, waiting, sentry = table["head"]
    check(wall >= 990 and guest >= 390 and sentry > 0, "what the program computed is guest code", table["head"])
    threads = guest + calls + waiting
    check(0.8 * wall < threads < 1.2 * wall, "one thread's time is the time that went by", table["head"])
    check_svg(svg, ["all guest threads", "guest code", "getpriority", "hand-over"])
    r = run9("do", "--profile", "--", "/bin/true")
    check(r.returncode == 0 and "went by" in r.stderr, "--profile alone prints the table", r)


def long_profile(name):
    """One that has begun, and how another one is refused."""
    while True:
        first = subprocess.Popen([BIN, "--root", STATE, "profile", name, "--seconds", "60"], text=True,
                                 stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        while first.poll() is None:
            refused = run9("profile", name, "--seconds", "0.01")
            if refused.returncode != 0:
                return first, refused
        first.communicate()  # ours was quicker: then that one was refused


def running_sandbox():
    box = subprocess.Popen([BIN, "--root", STATE, "do", "--", "/usr/bin/python3", "-c", ENDLESS], text=True,
                           stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    name = f"do-{box.pid}"
    try:
        check(box.stdout.readline() == "up\n", "the sandbox runs")
        svg = WORK + "/running.svg"
        for i in range(2):  # off and on again
            r = run9("profile", name, "--seconds", "0.5", "--svg", svg)
            table = rows(r.stdout)
            wall, guest, calls, waiting, sentry = table.get("head", [0] * 5)
            check(r.returncode == 0 and 490 < wall < 5000 and guest > 0, "a running sandbox is profiled", r)
            check(table.get("getpriority", [0])[COUNT] > 100, "its calls are counted", r.stdout)
            check(set(table) <= {"head", "getpriority", "(start)", "(signal)"}, "and no others", r.stdout)
            check(0.8 * wall < guest + calls + waiting < 1.2 * wall, "all its time is accounted for", r.stdout)
        check_svg(svg, ["getpriority"])

        first, r = long_profile(name)
        check("somebody else" in r.stderr, "there is one at a time", r)
        first.kill()
        first.wait()
        end = time.monotonic() + patience(20)
        while r.returncode != 0 and time.monotonic() < end:
            r = run9("profile", name, "--seconds", "0.01")
        check(r.returncode == 0, "a profile ends with whoever wanted it", r)
    finally:
        box.kill()
        box.wait()


def container_ends_first():
    """While a call waits that began before the profile."""
    with subprocess.Popen([BIN, "--root", STATE, "do", "--", "/bin/sh", "-c", "echo up; read line"], text=True,
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE) as box:
        check(box.stdout.readline() == "up\n", "the sandbox runs")
        profile, _ = long_profile(f"do-{box.pid}")
        box.stdin.close()
        out, _ = profile.communicate(timeout=patience(30))
        read = rows(out).get("read", [0] * 7)
        check(profile.returncode == 0 and read[WAITING] > 0, "a profile ends with the container", out)


def hostile():
    """A guest that writes all over its control page, notes of time included: each layer's time is still some time."""
    # A checkout below /tmp or /root would be hidden.
    programs = os.path.abspath(sys.argv[1])
    r = run9("do", "--profile", "--expose", programs, "--", os.path.join(programs, "hostile_guest"), "scribble", "1")
    table = rows(r.stderr)
    wall, guest, calls, waiting, sentry = table.get("head", [0] * 5)
    # It has a few threads; a forged note could have made it centuries.
    check(0 < wall < 60000 and guest + calls + waiting < 100 * wall, "forged times stay within what went by", r.stderr)


def mistakes():
    for args, wanted in [(["profile", "nobody"], "nobody"),
                         (["profile", "x", "--seconds", "0"], "--seconds"),
                         (["do", f"--profile={WORK}/no/such.svg", "--", "/bin/true"], "name a file that can be written"),
                         (["run", "--detach", "--profile", "x"], "drop --detach")]:
        r = run9(*args)
        check(r.returncode != 0 and wanted in r.stderr, f"a mistake is named: {args}", r)


try:
    whole_run()
    running_sandbox()
    container_ends_first()
    hostile()
    mistakes()
finally:
    shutil.rmtree(WORK, ignore_errors=True)
print("profile: " + ("all as wanted" if failures == 0 else f"{failures} failures"))
sys.exit(1 if failures else 0)
