"""A file system of the benchmark's own for the files that it makes and removes.

ext4 without a journal (some machines' root) does not use the number of a file again that was removed within the last minutes,
and looks at all of those each time it makes one: after some thousand creations one takes 50 us or 800, not 6, and whoever
is measured first gets the best of it. So files come and go on an ext4 with a journal, in a file in memory.
"""
import contextlib
import os
import shutil
import subprocess


@contextlib.contextmanager
def own_file_system(directory, megabytes=1024):
    """Mounted at `directory`, which is made, as long as the context lasts; an ordinary directory where that cannot be."""
    os.makedirs(directory)
    image = f"/dev/shm/run9-bench-{os.getpid()}.ext4"
    mounted = False
    try:
        if os.geteuid() == 0 and shutil.which("mkfs.ext4"):
            with open(image, "wb") as f:
                f.truncate(megabytes << 20)
            made = subprocess.run(["mkfs.ext4", "-q", image], capture_output=True).returncode == 0
            mounted = made and subprocess.run(["mount", "-o", "loop", image, directory], capture_output=True).returncode == 0
        if not mounted:
            print("bench: files are made on the machine's own file system, see bench/file_system.py")
        yield directory
    finally:
        if mounted:
            subprocess.run(["umount", directory], check=True)
        with contextlib.suppress(FileNotFoundError):
            os.remove(image)
