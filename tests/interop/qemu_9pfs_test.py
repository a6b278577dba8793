#!/usr/bin/env python3
"""Our client against QEMU's own 9P server, which qemu_9pfs.py brings to a unix socket.

usage: qemu_9pfs_test.py BIN_DIR
"""
import os
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
from p9_commands import Commands, Peer

BRIDGE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "qemu_9pfs.py")


def main():
    if shutil.which("qemu-system-x86_64") is None:
        print("skipped: no qemu-system-x86_64 (apt-get install qemu-system-x86)")
        return 77
    if os.geteuid() != 0:
        print("skipped: QEMU gives files to their owners only as root")
        return 77
    with tempfile.TemporaryDirectory(prefix="run9-qemu-", dir="/var/tmp") as work:
        export, socket = os.path.join(work, "export"), os.path.join(work, "socket")
        os.mkdir(export)
        bridge = subprocess.Popen([sys.executable, "-B", BRIDGE, export, socket], stdin=subprocess.PIPE,
                                  stdout=subprocess.PIPE)
        try:
            if bridge.stdout.readline() != b"ready\n":
                sys.exit("QEMU does not start")
            Commands(sys.argv[1], Peer("unix:" + socket, export, has_locks=False), work).all()
        finally:
            bridge.stdin.close()
            bridge.wait()
    print("ok: our client at QEMU's 9pfs")
    return 0


sys.exit(main())
