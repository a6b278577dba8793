#!/usr/bin/env python3
"""Fails when docs/LIMITS.md quotes a limit that the code does not have (any more)."""
import re
import sys

from tree import ROOT

ROW = re.compile(r"\| (?P<file>[\w./-]+): `(?P<code>[^`]+)` \|$")
rows = [m for m in map(ROW.search, (ROOT / "docs/LIMITS.md").read_text().splitlines()) if m]
problems = [f"docs/LIMITS.md: {m['file']} does not say: {m['code']}" for m in rows
            if not (ROOT / m["file"]).is_file() or m["code"] not in (ROOT / m["file"]).read_text()]
if len(rows) < 30:
    problems.append(f"docs/LIMITS.md: only {len(rows)} rows quote the code; is the table still there?")
print("\n".join(problems) or f"limits: {len(rows)} are as the code says")
sys.exit(bool(problems))
