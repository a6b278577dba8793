#!/usr/bin/env python3
"""Our client against Debian's diod, over a unix socket and tcp, and diod's clients against our gofer.

usage: diod_test.py BIN_DIR
"""
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time

BIN = sys.argv[1]
TOOLS = ("diod", "diodcat", "diodls", "diodload")
PATH = os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin"


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for(port):
    for _ in range(500):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except OSError:
            time.sleep(0.01)
    sys.exit("nobody listens")


def run(*args, stdin=b"", status=0):
    done = subprocess.run(args, input=stdin, capture_output=True, timeout=60, env=dict(os.environ, PATH=PATH))
    if done.returncode != status:
        sys.exit(f"{' '.join(args)}: status {done.returncode}\n{done.stdout.decode()[-800:]}{done.stderr.decode()[-800:]}")
    return done.stdout


def check(is_so, what):
    if not is_so:
        sys.exit("FAIL: " + what)


def our_client(address, export):
    def p9(command, *args, **more):
        return run(os.path.join(BIN, "p9"), "--aname", export, "--timeout", "20", command, address, *args, **more)

    data = os.urandom(700_001)  # more than diod's msize of 64 KiB
    p9("write", "f", stdin=data)
    check(p9("cat", "f") == data, "content")
    p9("write", "f", "--append", stdin=b"more")
    check(p9("cat", "f", "--offset", "700001") == b"more", "append")
    p9("mkdir", "-p", "d/e")
    p9("mv", "f", "d/e")
    check(json.loads(p9("stat", "d/e/f", "--json"))[0]["attr"]["size"] == 700_005, "stat")
    for i in range(100):
        with open(os.path.join(export, "d", f"{i:03}"), "w") as f:
            f.write("x" * i)
    sizes = [e["attr"]["size"] for e in json.loads(p9("ls", "d", "--json")) if e["name"] != "e"]
    check(sizes == list(range(100)), "readdir and stat")
    # diod would follow it out of the export; our client asks component by component.
    os.symlink("/etc", os.path.join(export, "d/out"))
    run(os.path.join(BIN, "p9"), "cat", address, "d/out/passwd", "--aname", export, status=1)
    p9("xattr", "set", "d/e/f", "user.a", "value")
    check(p9("xattr", "get", "d/e/f", "user.a") == b"value", "xattr")
    p9("xattr", "rm", "d/e/f", "user.a")
    check(p9("xattr", "list", "d/e/f") == b"", "xattr list")
    test = p9("lock", "d/e/f", "--", os.path.join(BIN, "p9"), "lock", address, "d/e/f", "--test", "--aname", export)
    check(b"write lock from 0 length 0" in test, "lock")
    check(json.loads(p9("statfs", "--json"))["blocks"] > 0, "statfs")
    check(len(json.loads(p9("bench", "--json", "--seconds", "0.01", "--files", "20"))) == 8, "bench")
    p9("rm", "-r", "d")
    check(os.listdir(export) == [], "rm -r")


def their_clients(work):
    tree, ctl = os.path.join(work, "tree"), os.path.join(work, "ctl")
    os.makedirs(os.path.join(tree, "dir"))
    os.makedirs(ctl)
    data = os.urandom(300_000)
    with open(os.path.join(tree, "big"), "wb") as f:
        f.write(data)
    # What diodload reads and writes in the export "ctl".
    open(os.path.join(ctl, "null"), "w").close()
    with open(os.path.join(ctl, "zero"), "w") as f:
        f.truncate(1 << 30)
    at = f"127.0.0.1:{free_port()}"
    gofer = subprocess.Popen([os.path.join(BIN, "run9-gofer"), "--export", tree + ":t", "--export", ctl + ":ctl",
                              "--listen", "tcp:" + at])
    try:
        wait_for(int(at.split(":")[1]))
        check(run("diodcat", "-s", at, "-a", "t", "big") == data, "diodcat")
        listed = run("diodls", "-s", at, "-a", "t", "-l").decode()
        check(all(name in listed for name in ("dir", "big", "300000")), "diodls:\n" + listed)
        for more in [], ["-g"]:
            run("diodload", "-s", at, "-r", "1", "-n", "4", *more)
    finally:
        gofer.kill()
        gofer.wait()


def main():
    missing = [t for t in TOOLS if shutil.which(t, path=PATH) is None]
    if missing:
        print(f"skipped: no {' '.join(missing)} (apt-get install diod)")
        return 77
    if os.geteuid() != 0:
        print("skipped: diod serves as another user only if root starts it")
        return 77
    with tempfile.TemporaryDirectory(prefix="run9-diod-", dir="/var/tmp") as work:
        export = os.path.join(work, "export")
        os.mkdir(export)
        port = free_port()
        with open(os.path.join(work, "log"), "wb") as log:
            diod = subprocess.Popen(["diod", "-f", "-n", "-N", "-S", "-U", "root", "-l", f"127.0.0.1:{port}",
                                     "-l", os.path.join(work, "socket"), "-e", export, "-L", "stderr"],
                                    stderr=log, env=dict(os.environ, PATH=PATH))
        try:
            wait_for(port)
            for address in f"unix:{work}/socket", f"tcp:127.0.0.1:{port}":
                our_client(address, export)
        finally:
            diod.kill()
            diod.wait()
        their_clients(work)
    print("ok: our client at diod (unix, tcp); diodcat, diodls and diodload at our gofer")
    return 0


sys.exit(main())
