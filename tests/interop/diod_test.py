#!/usr/bin/env python3
"""Our client against Debian's diod, over a unix socket and tcp, and diod's clients against our gofer.

usage: diod_test.py BIN_DIR
"""
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
import p9_commands
from p9_commands import check

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


def run(*args):
    return p9_commands.run(*args, env=dict(os.environ, PATH=PATH))


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
                p9_commands.Commands(BIN, p9_commands.Peer(address, export, aname=export), work).all()
        finally:
            diod.kill()
            diod.wait()
        their_clients(work)
    print("ok: our client at diod (unix, tcp); diodcat, diodls and diodload at our gofer")
    return 0


sys.exit(main())
