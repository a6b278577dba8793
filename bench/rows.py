"""The rows of the table: what is measured, how it is called, and the mark that it has to reach.

A mark is the most that run9 (trap) may take, as a multiple of the native time (of runc's, for the start; in KiB, for
memory). `gvisor` is what gVisor's newest version (systrap, directfs) took on a machine of the same kind: no row may be
worse with both cores busy.
"""
import dataclasses


@dataclasses.dataclass(frozen=True)
class Row:
    name: str
    title: str
    mark: float = None
    gvisor: float = None
    command: tuple = ()  # {work} is the work directory; empty: a row of run9-bench of this name
    turns: int = 1  # of the operation in one run of the command
    prints_time: bool = False  # the command measures itself, and prints `time NS`
    slow: bool = False  # a minute for some: measured in one round, and not by --quick

    def limit(self, busy):
        """What the row must not exceed."""
        return self.gvisor if busy else self.mark


@dataclasses.dataclass(frozen=True)
class Job:
    """Rows that are measured by one start of a sandbox."""
    name: str
    rows: tuple
    place: str = "do"  # do: the host's tree under an overlay of memory; root: a bundle whose root the gofer serves
    directory: str = "/tmp"  # for the rows of files

    def key(self, row):
        return row.name if row in CALLS + PROCESSES + SOCKETS + COMMANDS else f"{row.name}@{self.name}"


TRUE_300 = ("sh", "-c", "i=0; while [ $i -lt 300 ]; do /bin/true; i=$((i+1)); done")

CALLS = (
    Row("ids_inlined", "getpid, gettid, getppid: inlined", 0.5, 4.6),
    Row("ids_libc", "the same through libc's syscall()", 0.7, 19),
    Row("ids_sigsys", "the same from code made at run time (SIGSYS)", 20),
    Row("clock_gettime", "clock_gettime", 1.05, 1.1),
    Row("dup_close", "dup + close", 1.5, 17.6),
    Row("pipe_1_byte", "pipe: write and read of 1 byte", 1.5, 10),
    Row("poll_2", "poll of 2", 1.5, 22),
    Row("epoll_2", "epoll_wait of 2", 1.5, 15),
    Row("select_2", "select of 2"),
    Row("message", "sendmsg + recvmsg of 1 byte, AF_UNIX"),
    Row("descriptor", "the same with a descriptor, which is closed"),
    Row("own_signal", "raise, the handler, and back"),
    Row("page_fault", "page fault", 1.1, 14.5),
    Row("fresh_memory", "fresh memory, per page", 1.1),
    Row("map_touch_unmap", "map + touch + unmap of a page", 1.5, 13.8),
    Row("sigsegv", "SIGSEGV handler and back", 2, 8.2),
    Row("futex_wake", "futex wake that wakes nobody", 1.2, 18),
    Row("futex_wait", "futex wait that does not block", 1.2, 12),
    Row("futex_ping_pong", "futex ping-pong of two threads", 0.4, 0.36),
    Row("thread_create_join", "thread create + join", 1.5, 2.0),
    Row("thread_64", "64 threads at once, each", 1.5, 3.8),
)

PROCESSES = (
    Row("fork_exit_wait", "fork + exit + wait", 1.7, 9.5),
    Row("fork_64", "64 forks at once, each", 1.7, 23.5),
    Row("fork_exec_wait", "fork + exec + wait of /bin/true", 3),
    Row("spawn_wait", "posix_spawn + wait of /bin/true", 3),
    Row("callers_4", "four processes that pread a byte at once, each call"),
    # From here on forks copy page tables for 1 GiB.
    Row("fork_after_1g", "fork + exit of a process that touched 1 GiB", 1.5),
    Row("pipe_ping_pong", "pipe ping-pong of two processes", 1.0, 2.1),
)

SOCKETS = (
    Row("requests_tcp", "a server with 8 connections over TCP, each request"),
    Row("requests_unix", "the same over AF_UNIX"),
    Row("stream_tcp", "64 KiB to another process over TCP"),
    Row("stream_unix", "the same over AF_UNIX"),
    Row("connect_accept", "connect + accept + close over TCP"),
)

# Marks of the first file system are for tmpfs and overlay; a gofer root has its own.
FILES = (
    Row("stat", "stat", 1.5, 27),
    Row("open_close", "open + close", 1.5, 13),
    Row("open_read_close", "open + read + close", 1.5, 9),
    Row("create_unlink", "create + unlink", 1.5, 10),
    Row("read_1_byte", "read of 1 byte", 2.5, 5),
    Row("write_1_byte", "write of 1 byte", 2.5, 2.7),
    Row("append_1_byte", "append of 1 byte", 3, 14.6),
    Row("read_64k", "read of 64 KiB"),
    Row("read_4_parts", "preadv of four times 1 KiB"),
    Row("call_beside_fsync", "fstat while another thread writes 4 KiB and calls fsync"),
    Row("map_file", "open + map + touch + unmap + close"),
)
GOFER_MARKS = {"stat": (2, 7), "open_close": (2, 11), "open_read_close": (2, 11), "create_unlink": (2, None)}

COMMANDS = (
    Row("python_queue", "a queue between two Python threads, each item", 0.4, 0.43,
        ("/usr/bin/python3", "{work}/queue_of_threads.py"), prints_time=True),
    Row("sh_300", "fork + exec of /bin/true, 300 times from sh, each", 1.3, 6.5, TRUE_300, 300),
    Row("find", "find over /usr/share/{doc,locale}", 1.3, 12.7,
        ("find", "/usr/share/doc", "/usr/share/locale", "-type", "f")),
    Row("tar", "tar of the same, to /dev/null (which tar gives no data)", 1.3, 6.3,
        ("tar", "cf", "/dev/null", "-C", "/usr/share", "doc", "locale")),
    Row("tar_pipe", "tar of /usr/include/{linux,c++} to a pipe, with the data", 1.3, 6.3,
        ("sh", "-c", "tar cf - -C /usr/include linux c++ | cat")),
    Row("grep", "grep -r over the same", 1.3, 10.2,
        ("grep", "-r", "ETIMEDOUT", "/usr/include/linux", "/usr/include/c++")),
    # More names and files than are kept at hand. The second run counts, as in the rows above.
    Row("find_usr", "find over /usr", 1.3, 12.7, ("find", "/usr"), slow=True),
    Row("grep_include", "grep -r over /usr/include", 1.3, 10.2, ("grep", "-r", "ETIMEDOUT", "/usr/include"), slow=True),
    Row("gcc", "gcc -O2 of a small file", 1.15, 4.3, ("gcc", "-O2", "-o", "{work}/hello", "{work}/hello.c")),
    Row("gcc_pairs", "30 gcc -c, two at a time", None, None,
        ("sh", "-c", "cd {work}/many && ls *.c | xargs -P 2 -n 1 gcc -c")),
    Row("python_start", "python3 start with imports", 1.15, 2.3,
        ("/usr/bin/python3", "-c", "import asyncio, json, sqlite3, subprocess, threading")),
)

START = Row("start", "start to end of `true` in a bundle, beside runc", 0.7, 3.2)
MEMORY = Row("memory", "kernel + file server, sleeping guest, proportional (KiB)", 5120, 33.6 * 1024)


def jobs(work):
    files = f"{work}/files"
    return (
        Job("calls", CALLS),
        Job("processes", PROCESSES),
        Job("sockets", SOCKETS),
        Job("tmpfs", FILES, "root", "/dev/shm/run9-bench"),
        Job("overlay", FILES, "do", files),
        Job("gofer root", tuple(on_gofer(row) for row in FILES), "root", files),
        *(Job(row.name, (row,)) for row in COMMANDS),
    )


def on_gofer(row):
    mark, gvisor = GOFER_MARKS.get(row.name, (row.mark, row.gvisor))
    return dataclasses.replace(row, mark=mark, gvisor=gvisor)
