#!/usr/bin/env python3
"""POSIX ACLs in a directory of a mount with `posixacl`: one line "PASS|FAIL name" each. Run as root.

usage: v9fs_acl.py MOUNT [NAME...]      on a file system of this machine it passes too, which is how it was checked
"""
import os
import shutil
import stat
import subprocess
import sys
import traceback

# Users whom the server knows, both in both groups there: who is in which group here, this kernel decides.
USER, OTHER, GROUP = 65534, 65533, 65532
TESTS = []


def test(f):
    TESTS.append(f)
    return f


def expect(is_so, what=""):
    if not is_so:
        raise AssertionError(what or "not so")


def put(name, mode=0o600):
    fd = os.open(name, os.O_CREAT | os.O_WRONLY | os.O_EXCL, mode)
    os.write(fd, b"text")
    os.close(fd)


def setfacl(*args):
    subprocess.run(["setfacl", *args], check=True)


def acl(name, *options):
    """Lines of getfacl, without those of the default ACL unless `-d`."""
    done = subprocess.run(["getfacl", "-cnpE", *(options or ("-a",)), name], check=True, capture_output=True, text=True)
    return set(done.stdout.split())


def may(name, flags, uid=USER, groups=()):
    """True if that user can open the file so, False for EACCES."""
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups(groups)
            os.setgid(uid)
            os.setuid(uid)
            os.close(os.open(name, flags))
            os._exit(0)
        except PermissionError:
            os._exit(1)
        except BaseException:
            traceback.print_exc()
            os._exit(2)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    expect(status in (0, 1), f"status {status}")
    return status == 0


@test
def named_user():
    put("f")
    expect(not may("f", os.O_RDONLY))
    setfacl("-m", f"u:{USER}:r", "f")
    expect(may("f", os.O_RDONLY) and not may("f", os.O_RDWR))
    expect(not may("f", os.O_RDONLY, OTHER))
    expect(acl("f") == {"user::rw-", f"user:{USER}:r--", "group::---", "mask::r--", "other::---"}, acl("f"))


@test
def named_group():
    put("f")
    setfacl("-m", f"g:{GROUP}:rw", "f")
    expect(may("f", os.O_RDWR, groups=[GROUP]))
    expect(not may("f", os.O_RDONLY))


@test
def named_user_before_others():
    put("f", 0o644)
    setfacl("-m", f"u:{USER}:-", "f")
    expect(not may("f", os.O_RDONLY) and may("f", os.O_RDONLY, OTHER))


@test
def mask_and_chmod():
    put("f")
    setfacl("-m", f"u:{USER}:rw", "-m", "m::r", "f")
    expect(may("f", os.O_RDONLY) and not may("f", os.O_RDWR))
    expect(stat.S_IMODE(os.stat("f").st_mode) == 0o640)
    os.chmod("f", 0o660)
    expect("mask::rw-" in acl("f") and "group::---" in acl("f"), acl("f"))
    expect(may("f", os.O_RDWR))
    os.chmod("f", 0o600)
    expect(not may("f", os.O_RDONLY))


@test
def default_acl():
    os.mkdir("d", 0o755)
    setfacl("-d", "-m", f"u:{USER}:rwx", "-m", "g::-", "-m", "o::-", "d")
    old = os.umask(0o077)  # means nothing where there is a default ACL
    put("d/f", 0o666)
    os.mkdir("d/sub")
    os.mkfifo("d/pipe", 0o666)
    os.umask(old)
    expect(acl("d/f") == {"user::rw-", f"user:{USER}:rwx", "group::---", "mask::rw-", "other::---"}, acl("d/f"))
    expect(stat.S_IMODE(os.stat("d/f").st_mode) == 0o660)
    expect(may("d/f", os.O_RDWR) and not may("d/f", os.O_RDONLY, OTHER))
    expect(acl("d/sub", "-d") == acl("d", "-d"), acl("d/sub", "-d"))
    expect(f"user:{USER}:rwx" in acl("d/sub"))
    put("d/sub/f", 0o666)
    expect(may("d/sub/f", os.O_RDWR))


@test
def umask_without_default_acl():
    old = os.umask(0o027)
    put("f", 0o666)
    os.mkdir("d", 0o777)
    os.umask(old)
    expect(stat.S_IMODE(os.stat("f").st_mode) == 0o640)
    expect(stat.S_IMODE(os.stat("d").st_mode) == 0o750)


@test
def removed():
    os.mkdir("d")
    setfacl("-m", f"u:{USER}:r", "-d", "-m", f"u:{USER}:r", "d")
    expect(acl("d", "-d"))
    setfacl("-k", "d")
    expect(not acl("d", "-d"))
    put("f")
    setfacl("-m", f"u:{USER}:r", "f")
    setfacl("-b", "f")
    expect(acl("f") == {"user::rw-", "group::---", "other::---"}, acl("f"))
    expect(not may("f", os.O_RDONLY))


@test
def kept_by_link_rename_and_copy():
    put("f")
    setfacl("-m", f"u:{USER}:r", "f")
    before = acl("f")
    os.link("f", "g")
    os.rename("f", "h")
    expect(acl("g") == before and acl("h") == before)
    subprocess.run(["cp", "-a", "g", "copy"], check=True)
    expect(acl("copy") == before, acl("copy"))


@test
def only_the_owner_sets_it():
    def as_user():
        return subprocess.run(["setfacl", "-m", f"u:{OTHER}:rw", "f"], user=USER, group=USER, extra_groups=[],
                              capture_output=True)

    put("f", 0o666)
    done = as_user()
    expect(done.returncode == 1 and b"not permitted" in done.stderr, done)
    os.chown("f", USER, USER)
    expect(as_user().returncode == 0)
    expect(f"user:{OTHER}:rw-" in acl("f"))


@test
def refused():
    put("f")
    for name, value in ("system.posix_acl_access", b"no ACL"), ("system.posix_acl_default", b"\2\0\0\0"):
        try:
            os.setxattr("f", name, value)
        except OSError:
            continue
        # An ACL without entries is one to remove; a file has no default one in any case.
        expect(name.endswith("default"), name)
    expect(acl("f") == {"user::rw-", "group::---", "other::---"})


def main():
    mount = sys.argv[1]
    failed = 0
    for f in TESTS:
        if sys.argv[2:] and f.__name__ not in sys.argv[2:]:
            continue
        place = os.path.join(mount, f.__name__)
        os.makedirs(place, 0o755)
        os.chmod(place, 0o755)
        os.chdir(place)
        try:
            f()
            print("PASS", f.__name__, flush=True)
        except Exception as e:
            failed += 1
            line = traceback.extract_tb(e.__traceback__)[1:2]
            print("FAIL", f"{f.__name__}: {type(e).__name__}: {e} (line {line[0].lineno if line else '?'})", flush=True)
        os.chdir(mount)
        shutil.rmtree(place)
    return failed


sys.exit(main())
