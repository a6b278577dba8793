#!/usr/bin/env python3
"""Fails on a TODO without a tag, or with another than the four: TODO(perf|security|compat|cleanup): text."""
import re
import sys

from tree import ROOT, text_files

# This folder and the pages that explain the rule have to name what it forbids.
SKIPPED = ("tests/lint/", "build/", "LICENSE")
GOOD = re.compile(r"TODO\((perf|security|compat|cleanup)\): \S")
BAD = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b(?!/)")

problems = []
for path in text_files():
    if str(path).startswith(SKIPPED) or path.suffix == ".md":
        continue
    try:
        text = (ROOT / path).read_text()
    except UnicodeDecodeError:
        continue
    for number, line in enumerate(text.splitlines(), 1):
        if BAD.search(line) and not GOOD.search(line):
            problems.append(f"{path}:{number}: {line.strip()}")
print("\n".join(problems) or "remarks: every TODO has a tag")
sys.exit(bool(problems))
