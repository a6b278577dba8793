#!/usr/bin/env python3
"""Fails when a public name of the p9 library has no documentation (./dev docs makes the pages)."""
import os
import shutil
import subprocess
import sys
import tempfile

from tree import ROOT

if shutil.which("doxygen") is None:
    print("skipped: no doxygen")
    sys.exit(77)
with tempfile.TemporaryDirectory(prefix="run9-reference-") as out:
    with open(ROOT / "p9/doxygen/Doxyfile") as f:
        settings = f.read() + f"\nOUTPUT_DIRECTORY = {out}\nGENERATE_HTML = NO\nGENERATE_XML = YES\n"
    done = subprocess.run(["doxygen", "-"], input=settings, capture_output=True, text=True, cwd=ROOT)
    # In the terms of the files, not of what the filter made of them: whoever added a name looks for that.
    problems = [line.replace(str(ROOT) + os.sep, "") for line in done.stderr.splitlines() if "error:" in line]
    if problems or done.returncode != 0:
        print("\n".join(problems) or done.stderr)
        sys.exit("write a comment there, or a line in p9/doxygen/words.txt")
