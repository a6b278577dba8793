#!/usr/bin/env python3
"""A program linked with musl, whose call sites are other shapes than glibc's, does in a sandbox what it does on the host.

usage: musl_test.py BIN_DIR
"""
import os
import shutil
import subprocess
import sys
import tempfile

SOURCE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "musl_program.c")


def output(command, cwd):
    r = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=50)
    if r.returncode != 0 or r.stderr:
        sys.exit(f"{command}: status {r.returncode}: {r.stderr}")
    return r.stdout


def main():
    if not shutil.which("musl-gcc"):
        print("musl-gcc is missing (Debian: musl-tools)")
        sys.exit(77)
    run9 = os.path.join(os.path.abspath(sys.argv[1]), "run9")
    with tempfile.TemporaryDirectory(prefix="run9-musl-", dir="/var/tmp") as work:
        for name, options in (("static", ["-static"]), ("dynamic", [])):
            program = os.path.join(work, name)
            subprocess.run(["musl-gcc", "-O2", *options, "-o", program, SOURCE], check=True)
            expected = output([program], work)
            for platform in ("trap", "ptrace"):
                seen = output([run9, "--platform", platform, "do", "--", program], work)
                if seen != expected:
                    sys.exit(f"{name} program, platform {platform}: expected\n{expected}saw\n{seen}")


main()
