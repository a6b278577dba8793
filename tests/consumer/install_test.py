#!/usr/bin/env python3
"""Installs the p9 library and builds a program of twenty lines against it, by its CMake package and by pkg-config,
and runs both at a gofer.

usage: install_test.py BIN_DIR BUILD_DIR COMPILER
"""
import os
import shutil
import subprocess
import sys
import tempfile
import time

BIN, BUILD, COMPILER = sys.argv[1:4]
PROJECT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "project")


def run(*args, **more):
    done = subprocess.run(args, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **more)
    if done.returncode != 0:
        sys.exit(f"{' '.join(args)}: status {done.returncode}\n{done.stdout[-3000:]}")
    return done.stdout


def lists(program, work):
    tree, sock = os.path.join(work, "tree"), os.path.join(work, "socket")
    gofer = subprocess.Popen([os.path.join(BIN, "run9-gofer"), "--export", tree + ":t", "--listen", "unix:" + sock])
    try:
        while not os.path.exists(sock) and gofer.poll() is None:
            time.sleep(0.01)
        names = run(program, "unix:" + sock).split()
        if sorted(names) != [".", "..", "one", "two"]:
            sys.exit(f"{program}: {names}")
    finally:
        gofer.kill()
        gofer.wait()
        if os.path.exists(sock):
            os.remove(sock)


def main():
    with tempfile.TemporaryDirectory(prefix="run9-consumer-", dir="/var/tmp") as work:
        prefix, built = os.path.join(work, "prefix"), os.path.join(work, "build")
        os.mkdir(os.path.join(work, "tree"))
        for name in "one", "two":
            open(os.path.join(work, "tree", name), "w").close()
        run("cmake", "--install", BUILD, "--component", "p9", "--prefix", prefix)
        run("cmake", "-S", PROJECT, "-B", built, "-DCMAKE_PREFIX_PATH=" + prefix, "-DCMAKE_CXX_COMPILER=" + COMPILER)
        run("cmake", "--build", built)
        lists(os.path.join(built, "consumer"), work)
        if shutil.which("pkg-config") is None:
            print("pkg-config is not there: its half is left out")
            return
        env = dict(os.environ, PKG_CONFIG_PATH=os.path.join(prefix, "lib/pkgconfig"))
        flags = run("pkg-config", "--cflags", "--libs", "run9-p9", env=env).split()
        program = os.path.join(work, "by-pkg-config")
        run(COMPILER, os.path.join(PROJECT, "main.cc"), "-o", program, *flags)
        lists(program, work)


main()
