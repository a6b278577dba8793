#!/usr/bin/env python3
"""Our client against crosvm's 9P server, which crosvm_p9/ brings to a unix socket. By hand: cargo fetches crates once.

usage: crosvm_test.py BIN_DIR [CROSVM_P9]      CROSVM_P9: the program, built (default: cargo builds it in ~/.cache)
"""
import os
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../support"))
from p9_commands import Commands, Peer


def build():
    target = os.path.expanduser("~/.cache/run9-crosvm-p9")
    subprocess.run(["cargo", "build", "--quiet", "--release", "--locked", "--manifest-path",
                    os.path.join(HERE, "crosvm_p9/Cargo.toml"), "--target-dir", target], check=True)
    return os.path.join(target, "release/crosvm-p9")


def main():
    if len(sys.argv) < 3 and shutil.which("cargo") is None:
        print("skipped: no cargo")
        return 77
    program = sys.argv[2] if len(sys.argv) > 2 else build()
    with tempfile.TemporaryDirectory(prefix="run9-crosvm-", dir="/var/tmp") as work:
        export, socket = os.path.join(work, "export"), os.path.join(work, "socket")
        os.mkdir(export)
        with open(os.path.join(work, "log"), "w") as log:
            server = subprocess.Popen([program, export, socket], stdout=subprocess.PIPE, stderr=log)
        try:
            if server.stdout.readline() != b"ready\n":
                sys.exit("crosvm-p9 does not start")
            peer = Peer("unix:" + socket, export, has_symlinks=False, has_xattrs=False, has_locks=False)
            Commands(sys.argv[1], peer, work).all()
        finally:
            server.kill()
            server.wait()
    print("ok: our client at crosvm's server")
    return 0


sys.exit(main())
