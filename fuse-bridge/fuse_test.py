#!/usr/bin/env python3
"""Mounts run9-gofer by run9-fuse and runs the file tests of tests/interop/v9fs_inside.py in the mount.

usage: fuse_test.py BIN_DIR
"""
import os
import shutil
import subprocess
import sys
import tempfile
import time

BIN = sys.argv[1]
INSIDE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../tests/interop/v9fs_inside.py")


def mounted(path):
    with open("/proc/self/mountinfo") as f:
        return any(line.split()[4] == path for line in f)


def wait_until(is_so, process):
    for _ in range(500):
        if is_so():
            return True
        if process.poll() is not None:
            return False
        time.sleep(0.01)
    return False


def run(work, *more):
    """The tests' exit status."""
    tree, at, sock = (os.path.join(work, n) for n in ("tree", "mount", "socket"))
    os.makedirs(tree)
    os.makedirs(at)
    os.chmod(tree, 0o777)
    gofer = subprocess.Popen([os.path.join(BIN, "run9-gofer"), "--export", tree + ":t", "--listen", "unix:" + sock])
    fuse = None
    try:
        if not wait_until(lambda: os.path.exists(sock), gofer):
            return 1
        fuse = subprocess.Popen([os.path.join(BIN, "run9-fuse"), "unix:" + sock, at, "-f", *more])
        if not wait_until(lambda: mounted(at), fuse):
            print("no mount")
            return 1
        status = subprocess.call([sys.executable, "-B", INSIDE, at, "fuse"], timeout=100)
        # What one sees is what the other has.
        with open(os.path.join(at, "seen"), "w") as f:
            f.write("both")
        with open(os.path.join(tree, "seen")) as f:
            status |= f.read() != "both"
        return status
    finally:
        if mounted(at):
            subprocess.call(["umount", "-l", at] if os.geteuid() == 0 else ["fusermount3", "-u", at])
        for p in fuse, gofer:
            if p is not None:
                if p is gofer:
                    p.kill()
                elif not wait_until(lambda: p.poll() is not None, p) and p.poll() is None:
                    p.kill()
                p.wait()


def main():
    if not os.path.exists("/dev/fuse"):
        print("skipped: no /dev/fuse")
        return 77
    if not os.access("/dev/fuse", os.W_OK) or (os.geteuid() != 0 and shutil.which("fusermount3") is None):
        print("skipped: may not mount (root, or fusermount3)")
        return 77
    status = 0
    for more in [], ["--plain", "--cache", "0", "--msize", "8192"]:
        with tempfile.TemporaryDirectory(prefix="run9-fuse-", dir="/var/tmp") as work:
            print("==", *more, flush=True)
            status |= run(work, *more)
    return status


sys.exit(main())
