#!/usr/bin/env python3
"""The tests of files again, where these are the gofer's: `run9 do`, in which the others run, shows them a tmpfs.

usage: gofer_root_test.py BIN_DIR
"""
import os
import shutil
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
from sandbox import Run9, fail_if

TESTS = ("own_append", "own_write", "own_read", "told_file", "first_read", "missing_name", "told_stat", "file", "dir", "link", "meta", "transfer", "mmap", "xattr")
# O_NOATIME: one descriptor of the host's serves all who have a file open (README.md). The other needs a shell.
LEFT_OUT = "--gtest_filter=-*OwnReadTest.AccessTimesThatRest*:ToldFileTest.AcrossExec"
CAPABILITIES = [f"CAP_{c}" for c in ("CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "IPC_LOCK", "KILL", "MKNOD", "SETFCAP", "SETGID", "SETPCAP",
                                     "SETUID", "SYS_ADMIN", "SYS_CHROOT", "SYS_PTRACE", "SYS_RESOURCE")]


def main():
    problems = []
    with Run9(sys.argv[1], "gofer-root") as run9:
        root = os.path.join(run9.work, "rootfs")
        for name in ("proc", "dev", "sys", "tmp", "own"):
            os.makedirs(os.path.join(root, name))
        os.chmod(os.path.join(root, "own"), 0o1777)
        for name in TESTS:
            shutil.copy(os.path.join(run9.bin, "syscalls", name + "_test"), root)
        for name in TESTS:
            for platform in ("trap", "ptrace"):
                args = [f"/{name}_test", "--gtest_brief=1", LEFT_OUT]
                bundle = run9.bundle(f"{name}-{platform}", args, root=root, readonly=False, env=["PATH=/", "TMPDIR=/own"], cwd="/own",
                                     capabilities={kind: CAPABILITIES for kind in ("bounding", "effective", "permitted")})
                ran = run9.command("run", "-b", bundle, f"{name}-{platform}", flags=("--platform", platform), timeout=60)
                if ran.returncode != 0:
                    problems.append(f"{name} on {platform}: status {ran.returncode}\n{ran.stdout[-3000:]}{ran.stderr[-2000:]}")
    fail_if(problems)


main()
