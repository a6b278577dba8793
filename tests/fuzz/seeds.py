#!/usr/bin/env python3
"""The inputs that a fuzzer kept, in one file: each with its length, two bytes little-endian, before it.

usage: seeds.py pack FILE DIRECTORY      of the smallest ones first, up to 28 KB in all
       seeds.py unpack FILE DIRECTORY

A corpus is merged first, so that only what adds coverage is left: FUZZER -merge=1 NEW-DIRECTORY OLD-DIRECTORY...
"""
import hashlib, os, struct, sys

MOST = 28_000


def pack(path, directory):
    inputs = sorted({open(os.path.join(directory, name), "rb").read() for name in os.listdir(directory)}, key=lambda i: (len(i), i))
    with open(path, "wb") as f:
        for one in inputs:
            if one and f.tell() + 2 + len(one) <= MOST:
                f.write(struct.pack("<H", len(one)) + one)


def unpack(path, directory):
    os.makedirs(directory, exist_ok=True)
    data = open(path, "rb").read()
    while data:
        size, = struct.unpack("<H", data[:2])
        one, data = data[2:2 + size], data[2 + size:]
        with open(os.path.join(directory, hashlib.sha1(one).hexdigest()), "wb") as f:
            f.write(one)


if __name__ == "__main__":
    if len(sys.argv) != 4 or sys.argv[1] not in ("pack", "unpack"):
        sys.exit(__doc__)
    (pack if sys.argv[1] == "pack" else unpack)(*sys.argv[2:])
