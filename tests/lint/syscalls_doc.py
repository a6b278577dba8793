#!/usr/bin/env python3
"""Writes docs/SYSCALLS.md from sentry/syscalls/table.def; with --check, fails if it is not what it would write."""
import argparse
import re
import sys

from tree import ROOT

TABLE = ROOT / "sentry/syscalls/table.def"
PAGE = ROOT / "docs/SYSCALLS.md"
ROW = re.compile(r'SYSCALL\((\d+), (\w+), \w+, "[^"]*",\s*"([^"]*)"\)')
HOLE = re.compile(r"MISSING\((\d+), (\w+)\)")
# A note that says that the call does nothing but refuse.
REFUSED = re.compile(r"(EPERM|ENOSYS|EINVAL|EAFNOSUPPORT|EOPNOTSUPP)( or ENOSYS)?(: [^;]*)?")

HEAD = """# System calls

Written by `tests/lint/syscalls_doc.py` from `sentry/syscalls/table.def`; change that, then run the script.

{total} numbers of the x86-64 table, of which
- **{full} full**: no deviation is known (which is not a proof that there is none);
- **{limited} limited**: the note says what is cut short;
- **{refused} refused**: known, and always an error, as in most containers;
- **{missing} missing**: ENOSYS, counted, and named once in the sandbox's log. `run9 --strict` ends the sandbox there.

Numbers between these, and the 32-bit entries (`int $0x80`, `sysenter`) and x32, give ENOSYS. What the calls
are tested for: `tests/syscalls/README.md` and `tests/syscalls/coverage.py`.

| nr | call | state | note |
| ---: | --- | --- | --- |
"""


def rows():
    for number, line in enumerate(TABLE.read_text().splitlines(), 1):
        line = line.strip()
        if not line or line.startswith("//"):
            continue
        if m := ROW.fullmatch(line):
            note = m[3]
            state = "full" if not note else "refused" if REFUSED.fullmatch(note) else "limited"
            yield int(m[1]), m[2], state, note
        elif m := HOLE.fullmatch(line):
            yield int(m[1]), m[2], "missing", ""
        else:
            sys.exit(f"{TABLE}:{number}: not a row: {line}")


def page():
    table = sorted(rows())
    counts = {s: sum(r[2] == s for r in table) for s in ("full", "limited", "refused", "missing")}
    text = HEAD.format(total=len(table), **counts)
    for number, name, state, note in table:
        text += f"| {number} | {name} | {state} | {note.replace('|', chr(92) + '|')} |\n"
    return text


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    wanted = page()
    if not check:
        PAGE.write_text(wanted)
        return 0
    if PAGE.exists() and PAGE.read_text() == wanted:
        return 0
    print(f"{PAGE} is stale; run tests/lint/syscalls_doc.py")
    return 1


if __name__ == "__main__":
    sys.exit(main())
