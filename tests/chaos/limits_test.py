#!/usr/bin/env python3
"""A greedy guest gets ENOMEM, EAGAIN and EMFILE; the host, and its neighbour in the sandbox, stay well.

usage: limits_test.py BIN_DIR
"""
import json
import os
import resource
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
from sandbox import Host, Run9, fail_if, machine_python, read

MiB = 1 << 20
LIMIT = 128

MEMORY = r"""
import ctypes, errno, mmap, resource
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
FAILED, step = ctypes.c_void_p(-1).value, 1 << 20
def grab(prot, flags):
    count = 0
    while count < 4096:
        p = libc.mmap(None, step, prot, flags, -1, 0)
        if p == FAILED:
            return count, errno.errorcode[ctypes.get_errno()]
        ctypes.memset(p, 1, step) if prot & 2 else None
        count += 1
    return count, "no end"
def name(f):
    try:
        f()
        return "success"
    except MemoryError:
        return "ENOMEM"
    except OSError as e:
        return errno.errorcode[e.errno]
ro = libc.mmap(None, 1 << 31, 1, 0x22, -1, 0)
print("read-only 2 GiB", "is free" if ro != FAILED else "failed")
libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
r = libc.mprotect(ro, 1 << 31, 3)
print("made writable", "ok" if r == 0 else errno.errorcode[ctypes.get_errno()])
libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
libc.munmap(ro, 1 << 31)
count, error = grab(3, 0x22)
print("writable MiB", "some" if 16 < count <= %(limit)d else count, error)
import os
def fork_and_reap():
    if os.fork() == 0:
        os._exit(0)
    os.wait()
print("fork", name(fork_and_reap))
""" % {"limit": LIMIT}

# Forks until that fails, ends all of them, and gives how many there were and why there are no more.
FORKS = r"""
import errno, os, signal
def fill():
    children, error = [], "no end"
    while len(children) < 20000:
        try:
            pid = os.fork()
        except OSError as e:
            error = errno.errorcode[e.errno]
            break
        if pid == 0:
            signal.pause()
        children.append(pid)
    for pid in children:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
    return len(children), error
"""

# fork() does not copy pages, but what a child may write counts as well.
TASKS = FORKS + r"""
print("forks", *fill())
if os.fork() == 0:
    os._exit(0)
print("afterwards", os.wait()[1])
"""

# What is in the way of the host's own clones: a stub of which there is only half must not stay.
FILL = FORKS + r"""
import time
def fill_and_rest():
    result = fill()
    time.sleep(0.3)
    return result
first = fill_and_rest()
print("forks", "some" if 0 < first[0] < 20 else first[0], first[1])
print("again", all(fill_and_rest() == first for _ in range(3)), flush=True)
os.read(0, 1)
"""

FILES = r"""
import errno, os
def open_all(f):
    held = []
    try:
        while len(held) < 100000:
            held.append(f())
        return len(held), "no end"
    except OSError as e:
        return len(held), errno.errorcode[e.errno]
    finally:
        for fd in held:
            os.close(fd)
for name, f in (("file", lambda: os.open("/etc/passwd", os.O_RDONLY)), ("dup", lambda: os.dup(0)),
                ("eventfd", lambda: os.eventfd(0))):
    count, error = open_all(f)
    print(name, "some" if 50 < count < 100 else count, error)
"""


def run(run9, name, script, flags=(), resources=None, **process):
    bundle = run9.bundle(name, [machine_python(), "-S", "-c", script], **process)
    if resources:
        path = os.path.join(bundle, "config.json")
        spec = json.loads(read(path))
        spec["linux"] = {"resources": resources}
        with open(path, "w") as f:
            json.dump(spec, f)
    r = run9.command("run", "-b", bundle, name, flags=flags, timeout=60)
    return f"{r.stdout}status {r.returncode}\n"


def fill_the_host(run9, limit):
    """What the guest says, and how many stubs have one thread afterwards."""
    name = f"host-{limit}"
    bundle = run9.bundle(name, [machine_python(), "-S", "-c", FILL])
    child = run9.start("run", "-b", bundle, name, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                       preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NPROC, (limit, limit)))
    said = child.stdout.readline() + child.stdout.readline()
    stubs = Host.children(run9.state(name)["sentry"]["pid"])
    halves = sum(len(Host.threads(p)) == 1 for p in stubs)
    child.stdin.close()
    child.wait()
    return said, halves


def main():
    problems = []

    def expect(wanted, got, what):
        if wanted != got:
            problems.append(f"{what}: wanted\n{wanted}got\n{got}")

    with Run9(sys.argv[1], "limits") as run9:
        available = host_memory()
        got = run(run9, "memory", MEMORY, flags=("--memory", f"{LIMIT}m"))
        expect("read-only 2 GiB is free\nmade writable ENOMEM\nwritable MiB some ENOMEM\nfork ENOMEM\nstatus 0\n",
               got, f"--memory {LIMIT}m")
        if host_memory() < available // 2:
            problems.append(f"the host's available memory fell from {available} to {host_memory()} kB")

        got = run(run9, "half", "import os; print(os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE'))")
        half = os.sysconf("SC_PHYS_PAGES") // 2 * os.sysconf("SC_PAGE_SIZE")
        expect(f"{half}\nstatus 0\n", got, "the default is half of the machine")

        expect("forks 29 EAGAIN\nafterwards 0\nstatus 0\n",
               run(run9, "pids", TASKS, resources={"pids": {"limit": 30}}), "linux.resources.pids")
        nproc = [{"type": "RLIMIT_NPROC", "soft": 30, "hard": 30}]
        expect("forks 29 EAGAIN\nafterwards 0\nstatus 0\n",
               run(run9, "nproc", TASKS, rlimits=nproc, user={"uid": 5, "gid": 5}), "RLIMIT_NPROC")
        for host_limit in (15, 16):  # of threads, of which a stub needs two
            said, halves = fill_the_host(run9, host_limit)
            expect("forks some EAGAIN\nagain True\n", said, f"the host's limit of {host_limit} tasks")
            # The template is a stub of one thread, too.
            if halves != 1:
                problems.append(f"the host's limit of {host_limit} tasks: {halves} stubs of one thread")
        files = [{"type": "RLIMIT_NOFILE", "soft": 90, "hard": 90}]
        expect("file some EMFILE\ndup some EMFILE\neventfd some EMFILE\nstatus 0\n",
               run(run9, "files", FILES, rlimits=files), "RLIMIT_NOFILE")
        # A guest that may open more than the host lets the Sentry hold: the sandbox must outlive it.
        got = run(run9, "all-files", FILES.replace("50 < count < 100", "1000 < count"),
                  rlimits=[{"type": "RLIMIT_NOFILE", "soft": 90000, "hard": 90000}])
        lines = got.splitlines()
        if not all(line.endswith(("EMFILE", "ENFILE")) and "some" in line for line in lines[:3]) or lines[3:] != ["status 0"]:
            problems.append(f"90000 descriptors: {got}")
    fail_if(problems)


def host_memory():
    """MemAvailable of this machine, kB."""
    for line in read("/proc/meminfo").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1])
    raise AssertionError("/proc/meminfo has no MemAvailable")


if __name__ == "__main__":
    main()
