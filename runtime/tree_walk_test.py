#!/usr/bin/env python3
"""Walks over a tree that the guest changes ahead of itself: what the Sentry has listed and opened before anybody asked for it
must not show what was there before. The host's own kernel goes first.

usage: tree_walk_test.py BIN_DIR
"""
import os
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../tests/support"))
from sandbox import Run9, fail_if, machine_python

DIRECTORIES, FILES, WALKERS = 200, 8, 4


def make_tree(top):
    for w in range(WALKERS):
        for d in range(DIRECTORIES):
            directory = f"{top}/w{w}/d{d}"
            os.makedirs(directory + "/sub")
            for f in range(FILES):
                with open(f"{directory}/f{f}", "w") as out:
                    out.write(f"w{w} d{d} f{f}")
            with open(directory + "/sub/inner", "w") as out:
                out.write("inner")


# WALK TOP DIRECTORIES FILES WALKERS: prints what is wrong.
WALK = r'''
import os, sys
top, directories, files, walkers = sys.argv[1], *map(int, sys.argv[2:])

def walk(w):
    at = f"{top}/w{w}"
    known = {f"d{d}": {f"f{f}": f"w{w} d{d} f{f}" for f in range(files)} for d in range(directories)}
    order = [e.name for e in os.scandir(at)]
    bad = [] if sorted(order) == sorted(known) else [f"{at}: {order}"]
    changes = [
        lambda d, own: (os.unlink(f"{d}/f1"), own.pop("f1")),
        lambda d, own: (open(f"{d}/new", "w").write("new"), own.update(new="new")),
        lambda d, own: (open(f"{d}/f3", "a").write(" and more"), own.update(f3=own["f3"] + " and more")),
        lambda d, own: (os.rename(f"{d}/f4", f"{d}/moved"), own.update(moved=own.pop("f4"))),
        lambda d, own: (os.rename(f"{d}/f5", f"{d}/f6"), own.update(f6=own.pop("f5"))),
        lambda d, own: (os.unlink(f"{d}/f7"), open(f"{d}/f7", "w").write("another"), own.update(f7="another")),
    ]
    for i, name in enumerate(order):
        # Some are as they were, and the walk is worth to be foreseen.
        for ahead, change in enumerate(changes, 1):
            if i % 9 == 0 and i + ahead < len(order):
                change(f"{at}/{order[i + ahead]}", known[order[i + ahead]])
        # Those that are being listed at this moment are further away.
        for far in (i + 3 + i % 29,):
            if far < len(order):
                open(f"{at}/{order[far]}/far{i}", "w").write("far")
                known[order[far]][f"far{i}"] = "far"
        d = f"{at}/{name}"
        found = {}
        for e in os.scandir(d):
            if e.is_dir(): continue
            with open(e.path) as f: found[e.name] = f.read()
            if e.stat().st_size != len(found[e.name]): bad.append(f"{e.path}: size {e.stat().st_size}, not {len(found[e.name])}")
        if found != known[name]: bad.append(f"{d}: {sorted(found.items() ^ known[name].items())}")
        if os.listdir(d + "/sub") != ["inner"]: bad.append(f"{d}/sub: {os.listdir(d + '/sub')}")
    return bad

children = []
for w in range(walkers):
    child = os.fork()
    if child == 0:
        bad = walk(w)
        for line in bad[:5]: print(line, flush=True)
        os._exit(1 if bad else 0)
    children.append(child)
sys.exit(max(os.waitstatus_to_exitcode(os.waitpid(c, 0)[1]) for c in children))
'''


def main():
    problems = []
    numbers = [str(n) for n in (DIRECTORIES, FILES, WALKERS)]
    with Run9(sys.argv[1], "walk") as run9:
        python = machine_python()
        native = os.path.join(run9.work, "native")
        make_tree(native)
        here = subprocess.run([python, "-c", WALK, native, *numbers], capture_output=True, text=True, timeout=100)
        if here.returncode != 0:
            problems.append("on the host: " + here.stdout + here.stderr)
        system = [{"destination": d, "type": "bind", "source": d, "options": ["rbind", "ro"]}
                  for d in ("/usr", "/lib", "/lib64", "/bin") if os.path.exists(d)]
        for platform in ("trap", "ptrace"):
            root = os.path.join(run9.work, platform)
            make_tree(root + "/tree")
            for m in system:
                os.makedirs(root + m["destination"], exist_ok=True)
            bundle = run9.bundle("b-" + platform, [python, "-c", WALK, "/tree", *numbers], root=root, readonly=False, mounts=system)
            there = run9.command("run", "-b", bundle, "walk-" + platform, flags=("--platform", platform), timeout=100)
            if there.returncode != 0:
                problems.append(f"{platform}: {there.stdout}{there.stderr}{run9.log_text()}")
            # What it left is what the host's kernel left.
            different = subprocess.run(["diff", "-r", native, root + "/tree"], capture_output=True, text=True)
            if different.returncode != 0:
                problems.append(f"{platform}: the trees differ: {different.stdout[:1000]}")
            shutil.rmtree(root)
    fail_if(problems)


main()
