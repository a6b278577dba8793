#!/usr/bin/env python3
"""Runs pjdfstest's shell programs without prove, on this machine or in the guest, and compares the two.

usage: v9fs_pjdfstest.py PJDFSTEST PLACE --save FILE [NAME...]      run here; what fails goes to FILE
       v9fs_pjdfstest.py PJDFSTEST PLACE --native FILE [NAME...]    run there; prints what fails and is neither in FILE
                                                                    nor in v9fs_pjdfstest_known.txt
NAME: a folder or file of PJDFSTEST/tests, or `all`; without any, the subset below. Status 1: something else failed.
"""
import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

# Some of each folder: what asks most of a server, and little of what varies the kind of a file a thousand times or
# waits for a clock.
SUBSET = """
chmod/00 chmod/02 chmod/05 chmod/07 chmod/11 chmod/12 chown/02 chown/05 chown/07 ftruncate/00 ftruncate/05
ftruncate/12 link/00 link/02 link/06 link/10 mkdir/00 mkdir/02 mkdir/05 mkdir/10 mkfifo/00 mkfifo/05 mkfifo/09
mknod/00 mknod/11 open/00 open/02 open/06 open/07 open/08 open/16 open/22 rename/00 rename/04 rename/05 rename/11
rename/13 rename/14 rename/18 rename/20 rename/21 rename/23 rename/24 rmdir/00 rmdir/06 rmdir/07 rmdir/11 symlink/00
symlink/05 symlink/08 truncate/00 truncate/05 truncate/12 unlink/00 unlink/05 unlink/08 unlink/14 utimensat/00
utimensat/01 utimensat/06 utimensat/07
""".split()

# Its programs start a dozen processes for each line. These are cheaper, and give the file system one name on both
# machines, since the tests differ by it.
STUBS = {"openssl": 'read -r id </proc/sys/kernel/random/uuid; echo "$id" | tr -d -',
         "df": "echo header; echo 'here 9p 1 1 1 1% /'"}
FROM_BUSYBOX = "awk cat cut dd date dirname grep id printf rm sed sleep tail tr true uname wc".split()


def programs(there):
    """A directory for PATH: the stubs, and busybox's versions of what the tests start most."""
    for name, text in STUBS.items():
        with open(os.path.join(there, name), "w") as f:
            f.write("#!/bin/sh\n" + text + "\n")
        os.chmod(os.path.join(there, name), 0o755)
    with open("/bin/busybox", "rb") as source, open(os.path.join(there, "busybox"), "wb") as f:
        f.write(source.read())
    os.chmod(os.path.join(there, "busybox"), 0o755)
    for name in FROM_BUSYBOX:
        os.symlink("busybox", os.path.join(there, name))


def chosen(tests, names):
    """Paths of .t files below `tests`, relative and sorted."""
    every = sorted(os.path.relpath(os.path.join(d, f), tests) for d, _, files in os.walk(tests) for f in files
                   if f.endswith(".t"))
    if names == ["all"]:
        return every
    names = names or SUBSET
    return [t for t in every if any(t == n or t == n + ".t" or t.startswith(n.rstrip("/") + "/") for n in names)]


def run(program, place, path):
    """{number: None or what the program says of the failure} for one of its programs."""
    own = tempfile.mkdtemp(dir=place)  # what fails leaves things behind
    os.chmod(own, 0o755)
    done = subprocess.run(["sh", program], cwd=own, env=dict(os.environ, PATH=path), stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, text=True, errors="replace")
    shutil.rmtree(own)
    out = {}
    plan = None
    for line in done.stdout.splitlines():
        if m := re.match(r"1\.\.(\d+)", line):
            plan = int(m[1])
        elif m := re.match(r"(not )?ok (\d+)(.*)", line):
            out[int(m[2])] = m[3].strip(" -") or "failed" if m[1] else None
    for missing in set(range(1, (plan or 1) + 1)) - set(out):
        out[missing] = "said nothing"
    return out


def known():
    """{file: [(first, last, reason)]} of v9fs_pjdfstest_known.txt."""
    out = {}
    with open(os.path.join(os.path.dirname(os.path.realpath(__file__)), "v9fs_pjdfstest_known.txt")) as f:
        for line in f:
            if m := re.match(r"(\S+\.t) (\S+) (.*)", line):
                for part in m[2].split(","):
                    first, _, last = part.partition("-")
                    out.setdefault(m[1], []).append((int(first), int(last or first), m[3]))
    return out


def save(results, file):
    failed = {t: sorted(n for n, why in r.items() if why) for t, r in results}
    with open(file, "w") as f:
        json.dump(failed, f)
    print(f"here: {len(failed)} files, {sum(map(len, failed.values()))} failed", flush=True)


def compare(results, file):
    with open(file) as f:
        native = json.load(f)
    deviations = known()
    count = dict.fromkeys(("passed", "failed here too", "known", "new", "known, but passed"), 0)
    for t, result in results:
        of_file = dict.fromkeys(count, 0)
        for n, why in sorted(result.items()):
            reason = next((r for first, last, r in deviations.get(t, []) if first <= n <= last), None)
            kind = ("known, but passed" if reason else "passed") if why is None else \
                "failed here too" if n in native[t] else "known" if reason else "new"
            of_file[kind] += 1
            if kind == "new":
                print(f"FAIL {t} {n}: {why}", flush=True)
        for kind, n in of_file.items():
            count[kind] += n
        print(t, ", ".join(f"{n} {kind}" for kind, n in of_file.items() if n), flush=True)
    print("all:", ", ".join(f"{n} {kind}" for kind, n in count.items()))
    return 1 if count["new"] else 0


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("pjdfstest")
    parser.add_argument("place")
    parser.add_argument("--save")
    parser.add_argument("--native")
    parser.add_argument("names", nargs="*")
    args = parser.parse_intermixed_args()
    tests = os.path.join(os.path.realpath(args.pjdfstest), "tests")
    began = time.monotonic()
    with tempfile.TemporaryDirectory(dir="/tmp") as bin_dir:
        os.chmod(bin_dir, 0o755)
        programs(bin_dir)
        path = bin_dir + ":" + os.environ.get("PATH", "/bin:/usr/bin")
        results = ((t, run(os.path.join(tests, t), args.place, path)) for t in chosen(tests, args.names))
        status = save(results, args.save) if args.save else compare(results, args.native)
    print(f"{time.monotonic() - began:.0f} s")
    return status


sys.exit(main())
