#!/usr/bin/env python3
"""Compiles headers alone: each must include what it uses.

usage: headers_test.py BUILD_DIR [--all] [--jobs N]
Without --all every Nth header is taken, so that the test stays short; which ones changes with the day,
so that all get their turn. Flags come from BUILD_DIR/compile_commands.json.
"""
import argparse
import concurrent.futures
import json
import pathlib
import shlex
import subprocess
import sys
import time

from tree import ROOT, sources

SAMPLE = 10  # some 2 s of CPU each
# Guest programs: built without the tree's flags.
SKIPPED = {"bench", "tests"}


def flags_by_folder(build_dir):
    """The flags of some source file of each folder."""
    out = {}
    for entry in json.loads((build_dir / "compile_commands.json").read_text()):
        path = pathlib.Path(entry["file"])
        if not path.is_relative_to(ROOT) or path.suffix != ".cc":
            continue
        words = shlex.split(entry["command"])
        kept, skip = [], False
        for word in words[1:]:
            if skip or word == str(path) or word.endswith("g++") or word.endswith("c++") or word == "-c":
                skip = False
            elif word == "-o":
                skip = True
            else:
                kept.append(word)
        out[path.relative_to(ROOT).parts[0]] = kept
    return out


def compile_alone(header, flags):
    source = f'#include "{header}"\n'
    done = subprocess.run(["g++", *flags, "-O0", "-fsyntax-only", "-x", "c++", "-"], input=source, text=True,
                          cwd=ROOT, capture_output=True)
    if done.returncode == 0 or "control.pb.h: No such file" in done.stderr:  # made by the first build
        return ""
    return f"{header} does not compile alone:\n{done.stderr[:1500]}"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("build_dir", type=pathlib.Path)
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    flags = flags_by_folder(options.build_dir)
    headers = [h for h in sources(".h") if h.parts[0] not in SKIPPED and h.parts[0] in flags]
    total = len(headers)
    if not options.all:
        step = max(1, total // SAMPLE)
        headers = headers[int(time.time() // 86400) % step::step]
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        results = list(pool.map(lambda h: compile_alone(h, flags[h.parts[0]]), headers))
    problems = [r for r in results if r]
    print("\n".join(problems))
    print(f"headers: {len(headers) - len(problems)} of {len(headers)} tried compile alone ({total} in all)")
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main())
