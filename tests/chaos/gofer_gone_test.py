#!/usr/bin/env python3
"""The gofer is killed under a running guest: calls that need it give EIO soon, what it donated goes on working,
the log says why, and the container ends like any other.

usage: gofer_gone_test.py BIN_DIR
"""
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
from patience import patience
from sandbox import Run9, fail_if, kill, machine_python, wait_for

GUEST = r"""
import errno, mmap, os, sys, time
kept = open("/mnt/kept", "rb+")
mapped = mmap.mmap(kept.fileno(), 0)
directory = os.open("/mnt/deep", os.O_RDONLY | os.O_DIRECTORY)  # /mnt itself was listed by python, under a lease
print("ready", flush=True)
sys.stdin.readline()  # the gofer is gone

def slow(seconds):
    return "" if seconds < 1 else f" after {seconds:.1f} s"

def need(what, f):
    start = time.monotonic()
    try:
        f()
        got = "success"
    except OSError as e:
        got = errno.errorcode[e.errno]
    print(what, got + slow(time.monotonic() - start))

need("open", lambda: open("/mnt/other"))
need("stat", lambda: os.stat("/mnt/deep/never-looked-at"))
need("create", lambda: open("/mnt/new", "w"))
need("mkdir", lambda: os.mkdir("/mnt/newdir"))
need("rename", lambda: os.rename("/mnt/kept", "/mnt/moved"))
need("unlink", lambda: os.unlink("/mnt/kept"))
need("list", lambda: os.listdir(directory))
need("chmod", lambda: os.fchmod(kept.fileno(), 0o600))
print("read", os.pread(kept.fileno(), 100, 0).decode().strip())
os.pwrite(kept.fileno(), b"replaced", 0)
print("reread", os.pread(kept.fileno(), 100, 0).decode().strip())
print("mapped", mapped[:8].decode())
open("/tmp/own", "w").write("x")
print("tmpfs", open("/tmp/own").read())
if os.fork() == 0:
    os._exit(7)
print("fork", os.waitstatus_to_exitcode(os.wait()[1]))
need("exec", lambda: os.execv("/usr/bin/never-run", ["x"]))
"""
WANTED = """\
ready
open EIO
stat EIO
create EIO
mkdir EIO
rename EIO
unlink EIO
list EIO
chmod EIO
read contents of the file
reread replaced of the file
mapped replaced
tmpfs x
fork 7
exec EIO
"""


def main():
    problems = []
    with Run9(sys.argv[1], "gofer-gone") as run9:
        data = os.path.join(run9.work, "data")
        os.makedirs(os.path.join(data, "deep"))
        for name in ("kept", "other"):
            with open(os.path.join(data, name), "w") as f:
                f.write("contents of the file\n")
        with open(os.path.join(data, "guest.py"), "w") as f:
            f.write(GUEST)
        mount = {"destination": "/mnt", "type": "bind", "source": data, "options": ["rbind", "rw"]}
        bundle = run9.bundle("b", [machine_python(), "-S", "/mnt/guest.py"], mounts=[mount])
        child = run9.start("run", "-b", bundle, "gone", stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                           stderr=subprocess.STDOUT)
        first = child.stdout.readline()
        gofer = run9.state("gone")["gofer"]["pid"]
        kill(gofer)
        wait_for(lambda: "gofer is gone" in run9.log_text(), "the log says that the gofer is gone")
        output, _ = child.communicate("go\n", timeout=patience(60))
        output = first + output
        if output != WANTED:
            problems.append(f"wanted:\n{WANTED}got:\n{output}")
        if child.returncode != 0:
            problems.append(f"exit status {child.returncode}")
        if run9.containers():
            problems.append(f"left: {run9.containers()}")
        log = [line for line in run9.log_text().splitlines() if "gofer is gone" in line]
        if not any("EIO" in line for line in log):
            problems.append(f"the log does not say what follows: {log}")
    fail_if(problems)


if __name__ == "__main__":
    main()
