#!/usr/bin/env python3
"""The filters of a gofer that serves by itself equal docs/SECURITY.md's table of its modes.

usage: gofer_service_test.py BIN_DIR (as root: the filters are read back by ptrace)
"""
import os
import sys
import tempfile

import confinement_test as confinement

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
import bpf
import ptrace
import security_tables
from gofer import Gofer
from sandbox import Host, fail_if, skip

SOL_SOCKET, SO_PEERCRED = 1, 17


def modes():
    """The calls that each row of the table adds: listening, multi-user, host sockets."""
    rows = security_tables.table("run9-gofer as a service", "mode")
    return [security_tables.calls(cells[0]) for key, cells in rows.items() if key]


def check(bin_dir, work, options, more):
    with Gofer(bin_dir, "--export", work, "--listen", f"unix:{work}/s", *options) as gofer:
        for tid in Host.threads(gofer.pid):
            filters = ptrace.seccomp_filters(tid)
            confinement.expect(1, len(filters), f"{options}: filters")
            confinement.check_gofer_filter(filters[0], gofer.pid, more)
            for level, name in ((SOL_SOCKET, SO_PEERCRED + 1), (0, SO_PEERCRED)):
                if bpf.run(filters[0], confinement.NR["getsockopt"], (3, level, name, 0, 0, 0)) == bpf.ALLOW:
                    confinement.problems.append(f"getsockopt({level}, {name}) is allowed")
    os.unlink(f"{work}/s")


def main():
    if os.geteuid() != 0:
        skip("only root may read seccomp filters back")
    listening, multi_user, host_sockets = modes()
    with tempfile.TemporaryDirectory(prefix="run9-service-", dir="/var/tmp") as work:
        check(sys.argv[1], work, [], listening)
        check(sys.argv[1], work, ["--control", f"unix:{work}/c"], listening)
        check(sys.argv[1], work, ["--multi-user"], listening | multi_user)
        check(sys.argv[1], work, ["--host-sockets"], listening | host_sockets)
    fail_if(confinement.problems)


if __name__ == "__main__":
    main()
