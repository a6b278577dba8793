#!/usr/bin/env python3
"""Fails when a file includes a folder that its own must not depend on, or when a target links one.

The table is docs/ARCHITECTURE.md's "Modules". vfs never includes sentry; sentry and gofer, the two sides
of a trust boundary, share p9 alone.
"""
import re
import sys

from tree import ROOT, sources

# spec/ gives generated headers (spec/control.pb.h).
MAY_INCLUDE = {
    "base": {"base"},
    "p9": {"p9", "base"},
    "gofer": {"gofer", "p9", "base"},
    "vfs": {"vfs", "p9", "base"},
    "sentry": {"sentry", "vfs", "p9", "base", "spec"},
    "runtime": {"runtime", "sentry", "base", "spec"},
    "cli": {"cli", "p9", "base"},
    "fuse-bridge": {"fuse-bridge", "p9", "base"},
    "metrics": {"metrics", "sentry", "base", "spec"},
}
# Programs that run in the sandbox, or drive it from outside: nothing of the tree but each other.
GUESTS = {"tests/syscalls": {"tests"}}
# Who starts a Sentry or talks to it knows nothing of what is in it.
SEES_OF_SENTRY = {
    "runtime": {"sentry/boot.h", "sentry/control/message_io.h", "sentry/control/control_server.h",
                "sentry/sched/event_loop.h"},
    "metrics": {"sentry/control/message_io.h"},
}
# Tests of the gofer's client run against the real gofer.
EXCEPTIONS = {("vfs/gofer/testing.h", "gofer/host_server.h")}
# Which libraries each folder's CMakeLists.txt may name after DEPS.
MAY_LINK = {
    "base": {"base"},
    "p9": {"p9", "p9_testing", "base"},
    "gofer": {"gofer", "p9", "base"},
    "vfs": {"vfs", "vfs_gofer", "p9", "base"},
    "sentry": {"sentry", "sentry_control", "sentry_boot", "control_messages", "vfs", "vfs_gofer", "p9",
               "base"},
    "runtime": {"runtime", "sentry_boot", "sentry_control", "control_messages", "base"},
    "cli": {"cli", "p9", "base"},
    "fuse-bridge": {"fuse_bridge", "p9", "base"},
    "metrics": {"metrics", "control_messages", "base"},
}
LIBRARIES = set().union(*MAY_LINK.values())


def wrong_includes():
    for path in sources(".cc", ".h", ".S"):
        folder = path.parts[0]
        allowed = GUESTS.get(str(path.parent), MAY_INCLUDE.get(folder))
        if allowed is None:  # other tests and benchmarks
            continue
        for number, line in enumerate((ROOT / path).read_text().splitlines(), 1):
            m = re.match(r'\s*#\s*include\s+"([^"]+)"', line)
            if not m:
                continue
            included = m[1]
            target = included.split("/")[0]
            where = f"{path}:{number}: includes {included}: "
            if "/" not in included:
                yield where + "write the path from the repository's root"
            elif (str(path), included) in EXCEPTIONS:
                continue
            elif target not in allowed:
                yield where + f"{path.parent} may include {', '.join(sorted(allowed))} alone"
            elif target == "sentry" and included not in SEES_OF_SENTRY.get(folder, {included}):
                yield where + f"{folder}/ sees the Sentry through {', '.join(sorted(SEES_OF_SENTRY[folder]))} alone"


def wrong_links():
    for path in sources("CMakeLists.txt"):
        folder = path.parts[0]
        if folder not in MAY_LINK:
            continue
        text = re.sub(r"#.*", "", (ROOT / path).read_text())
        for kind, name, arguments in re.findall(r"run9_(\w+)\((\S+)([^)]*)\)", text):
            deps = arguments.partition("DEPS")[2].split()
            allowed = MAY_LINK[folder] | ({"gofer"} if kind == "test" and folder == "vfs" else set())
            if kind == "fuzzer" and folder == "gofer":
                allowed |= {"p9_testing"}  # the sessions that p9's own fuzzer makes up
            for dep in deps:
                if dep in LIBRARIES and dep not in allowed:
                    yield f"{path}: {name} links {dep}"


problems = [*wrong_includes(), *wrong_links()]
print("\n".join(problems) or "includes: all point the right way")
sys.exit(bool(problems))
