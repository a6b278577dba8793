#!/usr/bin/env python3
"""The bundle's root fills up: the guest hears ENOSPC, and what was written before is there, byte for byte.

usage: full_disk_test.py BIN_DIR (as root: it mounts a small tmpfs)
"""
import hashlib
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
from sandbox import Run9, fail_if, machine_python, skip

SIZE = 8 << 20
CHUNK = 64 << 10

GUEST = r"""
import errno, hashlib, mmap, os

def name(f):
    try:
        f()
        return "success"
    except OSError as e:
        return errno.errorcode[e.errno]

os.chdir("/")
first = os.open("first", os.O_RDWR | os.O_CREAT, 0o644)
os.write(first, b"kept from the start\n")
fd = os.open("big", os.O_WRONLY | os.O_CREAT, 0o644)
written, error = 0, None
while error is None:
    # The same bytes as chunk(), below; a short write goes on where it ended.
    data = hashlib.sha256(b"%%d" %% (written // %(chunk)d)).digest() * (%(chunk)d // 32)
    try:
        written += os.write(fd, data[written %% %(chunk)d:])
    except OSError as e:
        error = errno.errorcode[e.errno]
print("write", error)
print("size", os.fstat(fd).st_size == written, written > %(size)d // 2)
print("fsync", name(lambda: os.fsync(fd)))
print("again", name(lambda: os.write(fd, b"x" * 65536)))
print("fallocate", name(lambda: os.posix_fallocate(first, 0, %(size)d)))
print("append", name(lambda: os.pwrite(first, b"x" * 65536, 4096)))
print("overwrite", name(lambda: os.pwrite(first, b"KEPT", 0)))
print("statvfs", os.statvfs(".").f_bavail)
print("written", written)
os.close(fd)
# Room again.
os.rename("big", "kept")
print("free", name(lambda: os.truncate("kept", written - 1048576)))
print("then", name(lambda: os.close(os.open("second", os.O_WRONLY | os.O_CREAT))), name(lambda: open("second", "w").write("2")))
""" % {"chunk": CHUNK, "size": SIZE}


def main():
    if os.geteuid() != 0:
        skip("only root may mount a small file system")
    problems = []
    with Run9(sys.argv[1], "full-disk") as run9:
        small = os.path.join(run9.work, "small")
        os.mkdir(small)
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", small], capture_output=True)
        if mounted.returncode != 0:
            skip("no tmpfs may be mounted here")
        try:
            # The machine's programs come as a mount of their own: the root is all the guest's.
            for name in ("bin", "lib", "lib64"):
                os.symlink(f"usr/{name}", os.path.join(small, name))
            usr = {"destination": "/usr", "type": "bind", "source": "/usr", "options": ["rbind", "ro"]}
            bundle = run9.bundle("b", [machine_python(), "-S", "-c", GUEST], root=small, readonly=False, mounts=[usr])
            r = run9.command("run", "-b", bundle, "disk")
            lines = dict(line.split(" ", 1) for line in r.stdout.splitlines())
            written = int(lines.pop("written", "0"))
            wanted = {"write": "ENOSPC", "size": "True True", "fsync": "success", "again": "ENOSPC",
                      "fallocate": "ENOSPC", "append": "ENOSPC", "overwrite": "success", "statvfs": "0",
                      "free": "success", "then": "success success"}
            if lines != wanted or r.returncode != 0:
                problems.append(f"wanted {wanted}, got {lines}, status {r.returncode}: {r.stderr}")
            check_files(small, written, problems)
        finally:
            subprocess.run(["umount", small], check=False)
    fail_if(problems)


def chunk(i):
    return hashlib.sha256(b"%d" % i).digest() * (CHUNK // 32)


def check_files(small, written, problems):
    """What the host finds when the sandbox is gone."""
    with open(os.path.join(small, "kept"), "rb") as f:
        kept = f.read()
    left = max(written - (1 << 20), 0)  # the guest cut the rest off
    wanted = b"".join(chunk(i) for i in range(left // CHUNK + 1))[:left]
    if kept != wanted:
        problems.append(f"kept: {len(kept)} bytes are not the {left} that were written")
    with open(os.path.join(small, "first"), "rb") as f:
        if f.read(20) != b"KEPT from the start\n":
            problems.append("first: its contents changed")
    with open(os.path.join(small, "second")) as f:
        if f.read() != "2":
            problems.append("second: its contents are missing")


if __name__ == "__main__":
    main()
