"""The few ptrace requests that the tests need (root alone may read filters)."""
import ctypes
import os
import struct

SEIZE, INTERRUPT, DETACH, GET_FILTER = 0x4206, 0x4207, 17, 0x420C
_WALL = 0x40000000

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.restype = ctypes.c_long
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]


def _ptrace(request, tid, addr=0, data=0):
    r = _libc.ptrace(request, tid, addr, data)
    if r < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error), f"ptrace({request:#x}) of {tid}")
    return r


def seccomp_filters(tid):
    """Every seccomp filter of a thread, the latest first: lists of (code, jt, jf, k)."""
    _ptrace(SEIZE, tid)
    try:
        _ptrace(INTERRUPT, tid)
        os.waitpid(tid, _WALL)
        filters = []
        while True:
            try:
                count = _ptrace(GET_FILTER, tid, len(filters))
            except FileNotFoundError:  # ENOENT: there are no more
                return filters
            buffer = ctypes.create_string_buffer(8 * count)
            _ptrace(GET_FILTER, tid, len(filters), ctypes.addressof(buffer))
            filters.append(list(struct.iter_unpack("<HBBI", buffer.raw)))
    finally:
        _ptrace(DETACH, tid)
