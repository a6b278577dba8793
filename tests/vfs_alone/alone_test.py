#!/usr/bin/env python3
"""A program with vfs and vfs/gofer, and nothing of the Sentry, works in a gofer's tree: the kernel can be another one.

usage: alone_test.py BIN_DIR PROGRAM
"""
import os
import stat
import subprocess
import sys
import tempfile
import time

BIN, PROGRAM = sys.argv[1:3]


def check(is_so, what):
    if not is_so:
        sys.exit(f"FAIL: {what}")


def main():
    with tempfile.TemporaryDirectory(prefix="run9-alone-", dir="/var/tmp") as work:
        tree, sock = os.path.join(work, "tree"), os.path.join(work, "socket")
        os.mkdir(tree)
        with open(os.path.join(tree, "from-host"), "w") as f:
            f.write("from the host\n")
        gofer = subprocess.Popen([os.path.join(BIN, "run9-gofer"), "--export", tree + ":t", "--listen", "unix:" + sock])
        try:
            while not os.path.exists(sock) and gofer.poll() is None:
                time.sleep(0.01)
            done = subprocess.run([PROGRAM, "unix:" + sock, "t"], capture_output=True, text=True, timeout=60)
            check(done.returncode == 0, done.stderr)
        finally:
            gofer.kill()
            gofer.wait()
        text, names, attributes, missing = done.stdout.splitlines()
        check(text == "from the host", "read through a symlink: " + text)
        check(sorted(names.split()) == [".", "..", "link", "renamed", "second"], "names: " + names)
        check(attributes == "links 2 size 5", "attributes: " + attributes)
        check("ENOENT" in missing or "No such file" in missing, "the old name: " + missing)
        made = os.path.join(tree, "made")
        check(sorted(os.listdir(made)) == ["link", "renamed", "second"], "names on the host")
        check(open(os.path.join(made, "renamed")).read() == "text\n", "content on the host")
        check(stat.S_IMODE(os.stat(os.path.join(made, "renamed")).st_mode) == 0o640, "mode on the host")
        check(os.readlink(os.path.join(made, "link")) == "../from-host", "symlink on the host")


if __name__ == "__main__":
    main()
