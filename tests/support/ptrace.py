"""The few ptrace requests that the tests need (root alone may read filters)."""
import contextlib
import ctypes
import os
import struct

SEIZE, INTERRUPT, DETACH, GET_FILTER, GETREGS = 0x4206, 0x4207, 17, 0x420C, 12
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


@contextlib.contextmanager
def _stopped(tid):
    _ptrace(SEIZE, tid)
    try:
        _ptrace(INTERRUPT, tid)
        os.waitpid(tid, _WALL)
        yield
    finally:
        _ptrace(DETACH, tid)


def seccomp_filters(tid):
    """Every seccomp filter of a thread, the latest first: lists of (code, jt, jf, k)."""
    with _stopped(tid):
        filters = []
        while True:
            try:
                count = _ptrace(GET_FILTER, tid, len(filters))
            except FileNotFoundError:  # ENOENT: there are no more
                return filters
            buffer = ctypes.create_string_buffer(8 * count)
            _ptrace(GET_FILTER, tid, len(filters), ctypes.addressof(buffer))
            filters.append(list(struct.iter_unpack("<HBBI", buffer.raw)))


def stack_pointer(tid):
    with _stopped(tid):
        registers = ctypes.create_string_buffer(27 * 8)  # user_regs_struct
        _ptrace(GETREGS, tid, 0, ctypes.addressof(registers))
        return struct.unpack_from("<Q", registers.raw, 19 * 8)[0]
