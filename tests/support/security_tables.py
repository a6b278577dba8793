"""docs/SECURITY.md as data: tables by the heading above them, and the calls that they name in `code`."""
import os
import re

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
_HEADER = "/usr/include/x86_64-linux-gnu/asm/unistd_64.h"


def numbers_of_calls():
    """The host's names of system calls: {"read": 0, ...}."""
    with open(_HEADER) as f:
        found = re.findall(r"#define __NR_(\w+) (\d+)", f.read())
    # Debian 12's headers are older than these.
    return {"uretprobe": 335, "uprobe": 336, "fchmodat2": 452, **{name: int(number) for name, number in found}}


def table(heading, first_column):
    """The rows below a heading whose table begins with `first_column`: {first cell: [other cells]}."""
    with open(os.path.join(ROOT, "docs/SECURITY.md")) as f:
        text = f.read()
    section = re.search(rf"^## {re.escape(heading)}$(.*?)(?=^## |\Z)", text, re.M | re.S).group(1)
    rows, wanted = {}, False
    for line in section.splitlines():
        if not line.startswith("|"):
            wanted = False
            continue
        cells = [c.strip() for c in line.strip().strip("|").split("|")]
        if cells[0] == first_column:
            wanted = True
            rows[""] = cells[1:]
        elif wanted and not cells[0].startswith("---"):
            rows[cells[0]] = cells[1:]
    assert rows, f"no table {first_column!r} below {heading!r} in docs/SECURITY.md"
    return rows


def calls(cell):
    """Every `call` of a cell that is the name of one (options in code are not)."""
    known = numbers_of_calls()
    return {name for name in re.findall(r"`(\w+)`", cell) if name in known}


def listed_calls(heading):
    rows = table(heading, "for")
    return {name for key, cells in rows.items() if key for name in calls(cells[0])}


def unfiltered_calls():
    """Those that the host's kernel lets past every filter."""
    with open(os.path.join(ROOT, "docs/SECURITY.md")) as f:
        return calls(re.search(r"^Two calls pass every filter.*?\n\n", f.read(), re.M | re.S).group(0))


def gates():
    """{gate: (calls of an agent, which has the key, calls of a guest thread)}."""
    out = {}
    for gate, cells in table("The stubs' filter", "gate").items():
        if gate:
            out[gate] = (calls(cells[0]), calls(cells[0 if cells[1] == "the same" else 1]))
    return out
