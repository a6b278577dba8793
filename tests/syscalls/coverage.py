#!/usr/bin/env python3
"""Counts which system calls the tests name: SYS_x, or a libc wrapper called directly.

usage: coverage.py [--missing] [--holes]
Prints one row a call: how often it is named raw, through libc, with an expected errno, with EFAULT,
and in which tests. --holes: of the calls that the kernel has (table.def), those without one of these.
A grep, not a proof: it tells where to look for holes.
"""
import argparse
import collections
import pathlib
import re

HERE = pathlib.Path(__file__).parent
TABLE = HERE / "../../sentry/syscalls/table.def"
HEADER = pathlib.Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h")
# libc names that end in another call than their own.
WRAPPERS = {
    "pread": "pread64", "pwrite": "pwrite64", "fstatat": "newfstatat", "waitpid": "wait4",
    "sigaction": "rt_sigaction", "sigprocmask": "rt_sigprocmask",
    "pthread_sigmask": "rt_sigprocmask", "sigqueue": "rt_sigqueueinfo",
    "sigwaitinfo": "rt_sigtimedwait", "sigtimedwait": "rt_sigtimedwait",
    "sigpending": "rt_sigpending", "signalfd": "signalfd4", "eventfd": "eventfd2",
    "mkfifo": "mknodat", "recv": "recvfrom", "send": "sendto", "raise": "tgkill",
    "_exit": "exit_group", "posix_spawn": "clone", "pthread_create": "clone3",
    "pt": "ptrace", "tcgetattr": "ioctl", "tcsetattr": "ioctl", "readdir": "getdents64", "execl": "execve",
}
# Calls that do not fail, and calls that do not look at their pointers or tell nobody.
NO_ERRNO = set("""alarm getegid geteuid getgid getpgrp getpid getppid gettid getuid umask sched_yield sync munlockall brk
exit exit_group fork vfork personality setfsgid setfsuid set_tid_address rt_sigreturn pause times time""".split())
NO_EFAULT = set("""munmap mmap mprotect mremap msync madvise brk mlock mlock2 munlock shmat shmdt clone set_tid_address
set_robust_list mbind pkey_mprotect io_destroy ioctl fcntl ptrace semctl rseq""".split())
NEWER = {"kFchmodat2": "fchmodat2", "kSetxattrat": "setxattrat", "kGetxattrat": "getxattrat",
         "kListxattrat": "listxattrat", "kRemovexattrat": "removexattrat"}  # numbers that the headers do not know yet


def all_calls():
    return re.findall(r"#define __NR_(\w+)", HEADER.read_text())


def count():
    calls = set(all_calls()) | set(NEWER.values())
    rows = collections.defaultdict(lambda: collections.Counter())
    where = collections.defaultdict(set)
    for path in sorted(HERE.glob("*_test.cc")) + [HERE / "test_util.cc", HERE / "test_util.h"]:
        test = path.stem.removesuffix("_test")
        for line in path.read_text().splitlines():
            line = line.split("//")[0]
            named = [(m, "raw") for m in re.findall(r"\bSYS_(\w+)", line)]
            for call in re.findall(r"\bCALL\((\w+),", line):  # bad_pointers_test.cc
                rows[call].update(raw=1, errno=1, efault=1)
                where[call].add(test)
            named += [(call, "raw") for name, call in NEWER.items() if f"sys({name}" in line]
            for name in re.findall(r"(?<![\w.>])(\w+)\(", line):
                call = WRAPPERS.get(name, name)
                if call in calls and name != "time":
                    named.append((call, "libc"))
            for call, kind in named:
                rows[call][kind] += 1
                where[call].add(test)
                if m := re.search(r"EXPECT_ERR\((E\w+)", line):
                    rows[call]["errno"] += 1
                    rows[call]["efault"] += m[1] == "EFAULT"
    rows["rt_sigreturn"]["libc"] += 1  # every handler returns through it
    where["rt_sigreturn"].add("signal")
    return {c: r for c, r in rows.items() if c in calls}, where


def holes(rows):
    """Calls with a handler that no test names, sees fail, or gives a bad pointer."""
    pattern = r'SYSCALL\(\d+, (\w+), \w+, "([^"]*)", "([^"]*)"\)'
    for name, arguments, note in re.findall(pattern, TABLE.read_text()):
        if note.startswith(("EPERM", "ENOSYS")):
            continue  # always refused
        row = rows.get(name, collections.Counter())
        lacks = ["any test"] if not row else []
        if row and not row["errno"] and name not in NO_ERRNO:
            lacks.append("an errno")
        if row and not row["efault"] and name not in NO_EFAULT and set(arguments.split()) & {"ptr", "buf", "path", "argv"}:
            lacks.append("a bad pointer")
        if lacks:
            yield f"{name}: {' and '.join(lacks)}"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--missing", action="store_true", help="list the calls that no test names")
    parser.add_argument("--holes", action="store_true", help="list what no test does with the calls that we have")
    options = parser.parse_args()
    rows, where = count()
    print(f"{'call':24}{'raw':>5}{'libc':>6}{'errno':>7}{'EFAULT':>8}  tests")
    for call in sorted(rows):
        r = rows[call]
        counts = f"{r['raw']:5}{r['libc']:6}{r['errno']:7}{r['efault']:8}"
        print(f"{call:24}{counts}  {' '.join(sorted(where[call]))}")
    print(f"{len(rows)} calls named, {sum(r['errno'] > 0 for r in rows.values())} with an errno, "
          f"{sum(r['efault'] > 0 for r in rows.values())} with EFAULT")
    if options.holes:
        print("\n".join(holes(rows)) or "no holes")
    if options.missing:
        print("not named:", " ".join(c for c in all_calls() if c not in rows))


if __name__ == "__main__":
    main()
