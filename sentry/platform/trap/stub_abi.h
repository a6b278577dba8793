// What the stub and the Sentry agree on: the fixed layout of a stub's own region (the top of every guest
// address space) and the pages they share. Plain data and constants: gates.S, the freestanding stub.cc
// and the Sentry all include it.
//
// Who may be hostile: the guest. It reads all of this region and writes everything in it that is writable
// (the control pages, the alternate stacks, the agent's result page), at any time. The Sentry copies a
// request out of a control page once, checks it, and believes of it only what would hurt its author alone.
//
// What the first threads of a process touch lies in two parts of 2 MiB, one of what is shared and one of what a fork copies, and both in
// one GiB: each further page table costs a fork about 1 us.
#pragma once

#define STUB_TEXT 0x7fff00000000
#define STUB_RINGS 0x7ffe00000000      // pipes whose memory this process shares with their other side: see PipeRing
#define STUB_RING_STRIDE 0x20000       // from one to the next
#define STUB_RINGS_COUNT 8
#define STUB_RING_FDS 64               // descriptors that may be such a pipe's: those below
#define STUB_GUEST_END_HIGH 0x7ffd     // guest addresses end below 0x7ffe00000000
#define STUB_SHARED 0x7fff00100000   // read-only: SharedPage, sleep words, the agent's recvmsg header
#define STUB_SHARED_SIZE 0x38000
#define STUB_SLEEP_WORDS (STUB_SHARED + 0x800)  // futexes: one for each thread that waits for a reply, or a few
#define STUB_SLEEP_WORD_COUNT 512
#define STUB_SLEEP_BLOCK 8  // of one process: its first threads, and its agent
#define STUB_MESSAGES (STUB_SHARED + 0x1000)
#define STUB_NAMES (STUB_SHARED + 0x2000)  // what was told of paths (platform/name_calls.h)
#define STUB_STATS (STUB_SHARED + 0xa000)  // and of the attributes of what they lead to (platform/told_stat.h)
#define AGENT_BUFFERS 0x400                   // in the agent's page: what it receives into
#define AGENT_DESCRIPTORS 8                   // of one message
#define STUB_CMD 0x7fff00030000      // read-only: the agent's commands
#define STUB_PATCHES 0x7fff00040000    // read-only, executable: a trampoline for each patched call site
#define STUB_PATCH_COUNT 8192         // of both kinds
#define STUB_WIDE_COUNT 2048
#define STUB_NARROW_COUNT (STUB_PATCH_COUNT - STUB_WIDE_COUNT)
#define STUB_PATCH_SIZE 0x40          // of a narrow one
#define PATCH_GS_PLAIN 23             // offsets in it: the access to %gs, and the way out if it fails
#define PATCH_SLOW_PLAIN 51
#define PATCH_GS_CMP 19
#define PATCH_SLOW_CMP 35
#define STUB_WIDE (STUB_PATCHES + STUB_NARROW_COUNT * STUB_PATCH_SIZE)  // those that carry out instructions of their site
#define STUB_WIDE_SIZE 0xc0           // of one of them
#define STUB_WIDE_SLOW 0x60           // offsets in it: the way out if the access to %gs fails
#define STUB_WIDE_TAIL 0x80           // the instructions from behind the call
#define STUB_PATCHES_SIZE (STUB_NARROW_COUNT * STUB_PATCH_SIZE + STUB_WIDE_COUNT * STUB_WIDE_SIZE)
#define STUB_TABLE 0x60000            // read-only: the trampolines' addresses. Low, for a call site's jump
#define STUB_TABLE_SIZE (STUB_PATCH_COUNT * 8)
#define STUB_CTL 0x7fff00180000      // header page, then one control page for each thread slot; behind them:
#define STUB_AGENT_PAGE STUB_CTL       // behind the header: what the agent receives, and its results
#define STUB_BULK (STUB_CTL + (STUB_SLOTS + 1) * 0x1000)  // room for larger data of the first threads' calls
#define STUB_BULK_SLOTS 64
#define STUB_BULK_SIZE 0x20000        // of one of them
#define STUB_OWN_FILES (STUB_BULK + STUB_BULK_SLOTS * STUB_BULK_SIZE)  // of the same threads: files that they read and write by themselves (OwnFiles)
#define STUB_OWN_FILES_SIZE 0x200         // of one of them
#define STUB_BASES 0x7fff10000000    // this process's own: where each patched file is mapped
#define STUB_BASES_SIZE 0x4000
#define STUB_STACKS 0x7fff10008000   // alternate stacks, one for each slot
#define STUB_STACKS_SIZE (STUB_SLOTS * STUB_SLOT_STACK)
#define STUB_SLOT_STACK 0x8000
#define STUB_FAST_STACK 0x1000        // the top of each: the dispatcher's, not the signals'
#define STUB_SLOTS 4096
#define STUB_CTL_SIZE (STUB_OWN_FILES - STUB_CTL + STUB_BULK_SLOTS * STUB_OWN_FILES_SIZE)

// Descriptors in a stub.
#define STUB_FD_AGENT 3   // SOCK_SEQPACKET to the Sentry; agents alone use it
#define STUB_FD_WAKE 4    // eventfd: wakes the worker
#define STUB_FD_FILES 5   // SOCK_SEQPACKET from the Sentry: files that a guest thread is to map, read or write
#define STUB_FDS_END 6

// Gates: each `syscall` instruction of the stub, at STUB_TEXT + 64 * n + 40.
#define GATE_SIGRETURN 0
#define GATE_FUTEX 1
#define GATE_WAKE 2
#define GATE_ORDER 3
#define GATE_INIT 4   // anything, before the filter
#define GATE_AGENT 5
#define GATE_GUEST_FUTEX 6
#define GATE_IP(n) (STUB_TEXT + 64 * (n) + 42)

// Offsets in the control page, for gates.S and the trampolines.
#define CTL_GREG(n) (64 + 8 * (n))
#define CTL_MODE 256
#define CTL_KICKED 260
#define CTL_FLAGS 264
#define CTL_TAIL 272
#define CTL_SELF 0xff8

// What the dispatcher does about a call when it is over (ControlPage::mode): the call site was
#define MODE_PLAIN 0    // mov $nr, %eax; syscall, with other instructions between them or not
#define MODE_CMP_4095 1 // syscall; cmp $-4095, %rax
#define MODE_CMP_4096 2 // syscall; cmp $-4096, %rax
#define MODE_TAIL 3     // syscall and instructions that the trampoline's tail carries out
#define CMP_LENGTH 6
#define STUB_DISPATCH(mode) (STUB_TEXT + 512 + 8 * (mode))
#define STUB_FOREIGN(mode) (STUB_TEXT + 544 + 8 * (mode))

// Offsets in the command page, for gates.S.
#define CMD_SEQ 0
#define CMD_COUNT 4
#define CMD_SLEEP 8   // address of the word that the agent sleeps on
#define CMD_WAKE 16   // address of a word to wake when the list is done; 0: none
#define CMD_BECOME 24 // the stack of the first guest thread, which whoever does this list becomes; 0: stays an agent
#define CMD_ENTRIES 64
#define CMD_MAX 60
#define CMD_CPUS (CMD_ENTRIES + CMD_MAX * 64)  // where this process may run
#define CMD_CPUS_SIZE 128
#define AGENT_RESULTS 0x800
#define STUB_OWN_MEMORY 0xa00  // in the header page: OwnMemory

#ifndef __ASSEMBLER__
#include <stddef.h>
#include <stdint.h>

#include "sentry/platform/own_calls.h"
#include "sentry/platform/own_memory.h"
#include "sentry/platform/pipe_ring.h"

namespace run9::sentry::trap {

struct Command {  // 64 bytes
  uint64_t nr, args[6];
  uint64_t kind;  // CommandKind
};
// kGuest: clone(2) of a guest thread. kMust: else the process ends.
enum CommandKind : uint64_t { kPlain = 0, kFork = 1, kAgent = 2, kGuest = 3, kMust = 4 };

struct CommandPage {
  uint32_t seq;
  uint32_t count;
  uint64_t sleep_address, wake_address, become;
  uint32_t withdrawn;  // a futex, for guest threads: counts the descriptors that are no ring's any more
  uint8_t pad[CMD_ENTRIES - 36];
  Command commands[CMD_MAX];
  uint8_t cpus[CMD_CPUS_SIZE];
};
static_assert(sizeof(CommandPage) <= 0x1000 && __builtin_offsetof(CommandPage, cpus) == CMD_CPUS);

// A thread whose call did not come from a patched site is sent to the dispatcher only without the flags that this would
// suffer from, or not restore: trap, direction, alignment check.
constexpr bool fit_for_dispatcher(uint64_t eflags) { return (eflags & (0x100 | 0x400 | 0x40000)) == 0; }
// ControlPage::flags: as lahf and seto give them.
constexpr uint32_t lahf_and_seto(uint64_t eflags) {
  return static_cast<uint32_t>((eflags & 0xd7) << 8 | (eflags >> 11 & 1));
}

// What the template gets through its socket before it installs the filter. The key is in the filter, and in the agents'
// stack pointers: no memory that a guest can read has it.
struct StubSecrets {
  uint64_t agent_key;
  uint64_t filter_length;  // instructions
  uint64_t filter[512];    // sock_filter
};
// A call in the vDSO that has become a jump by the table. The last narrow entries of it are theirs.
struct VdsoCall {
  uint32_t behind;  // in the image
  uint32_t number;  // 0: none
};
inline constexpr uint32_t kVdsoCalls = 4, kFirstVdsoSlot = STUB_NARROW_COUNT - kVdsoCalls;
// And what it answers.
struct StubReady {
  uint64_t vdso;       // 0: none
  uint64_t can_patch;  // call sites
  uint64_t stack, stack_end;  // what the secrets passed through: to be unmapped
  VdsoCall vdso_calls[kVdsoCalls];
};

// Written by the Sentry, read by every stub; the table of names likewise. The sleep words lie behind it: each counts the replies to threads
// that sleep on it, in whatever stub, so that a thread of one may wake a thread of another, or its agent.
struct SharedPage {
  uint32_t worker_sleeps;  // a request must be announced on the eventfd
  uint32_t guest_spin;     // how many pauses a guest thread waits before it sleeps
  uint32_t xstate_size;    // bytes, in a signal frame. Bit 31: the CPU and the host let user code read the segment bases
  uint32_t futex_spin;  // how many pauses a guest thread looks at a futex's word before it sleeps
  uint32_t profiling;   // threads note down ControlPage::times
  uint32_t worker_cpu;  // where the Sentry ran a moment ago: a guest thread that waits there keeps it from answering
  uint64_t vdso;        // its address in every stub
  uint64_t names_round, stats_round;  // of what was told of paths; of what is found by them
  uint64_t xfeatures;   // what the extended state in a signal frame consists of (XCR0's bits); 0: the CPU has no XSAVE
  alignas(64) uint32_t files_round;  // of what was told of files
};

// kResting: asleep in a call that the guest thread makes at the host itself; nobody is asked for anything.
enum State : uint32_t { kIdle = 0, kRequest = 1, kRequestAsleep = 2, kReply = 3, kResting = 4 };

// kReqCall: from the dispatcher, all that most calls need is in the call line; kReqBrokenOff likewise, a call that the
// guest thread had begun to make itself when a kick came. The others have gregs besides.
enum RequestKind : uint8_t { kReqSyscall = 1, kReqFault = 2, kReqKick = 3, kReqOrderFailed = 4, kReqOrdersDone = 5,
                            kReqCall = 6, kReqBrokenOff = 7 };
inline constexpr uint8_t kReqKind = 0x07;
// With a kind: the thread has changed its mask by itself, and OwnSignals::own is it; the upper half of CallLine::nr says which descriptors it has
// closed by itself (ClosedFds); it has used the stat, or the start of a file, that it was told; it has still to say how much
// of the start it has read (start_read).
inline constexpr uint8_t kReqOwnMask = 0x80, kReqClosed = 0x40, kReqUsedStat = 0x20, kReqUsedStart = 0x10, kReqReadStart = 0x08;
inline constexpr int kClosedShift = 16;
constexpr bool has_number(uint8_t kind) {
  return (kind & kReqKind) == kReqSyscall || (kind & kReqKind) == kReqCall || (kind & kReqKind) == kReqBrokenOff;
}

enum ReplyFlags : uint32_t {
  kRegs = 1,           // write all gregs back; otherwise only rax
  kNewFrame = 2,       // a first thread: make a frame from nothing
  kSetFs = 8,
  kSetGs = 16,
  kOrders = 32,
  kExit = 64,          // end this host thread
  kResetFpu = 128,     // initial extended state
  kReport = 256,       // say when the orders are done, and wait again
  kFrame = 512,        // with kReport: enter a signal handler, so that there is a frame
  kClearTid = 1024,    // with kExit: results[0].addr becomes 0 (by the Sentry, if there is a frame), and wakes a waiter
  kHandler = 2048,     // in the dispatcher: into a signal handler, whose frame is a result. All registers are in gregs; see state_to
  // Until the thread asks again, as long as SharedPage::files_round is what CallLine::nr says:
  kToldFile = 4096,    // the result is a descriptor, and Reply::file_flags is what F_GETFL gives, and O_CLOEXEC
  kToldStat = 8192,    // and out_buffer begins with what fstat(2) gives
  kToldClose = 16384,  // and the thread may close it by itself, then or later
  kToldEnd = 32768,    // the same call gives 0 the next time
  kToldNew = 131072,   // with kToldFile: a regular file or directory, at its beginning
  kToldBriefly = 65536,  // kToldStat, kToldStart and kToldEnd hold for a moment only
  // With kToldNew: its first bytes, whose number results[1].size says, lie in out_buffer, at kStartAt; kStartInBulk there: in the bulk area; kStartIsAll: there
  // are no others.
  kToldStart = 262144,
};
inline constexpr uint32_t kStartAt = 192, kStartInBulk = 0x4000, kStartIsAll = 0x8000, kMostStart = kStartInBulk - 1;

// kOrderFutex: futex(2) or futex_waitv(2); what it gives goes to order_error, also if it is none. kOrderReceive: files, of one message; they
// are closed when all orders are done. kOrderMapFile: mmap(2); args[4] says which of them. kOrderCopy: to args[0], from args[1], args[2] bytes; from the
// dispatcher only. kOrderKeepFile: one file, of one message, which is kept in OwnFiles' entry args[0]; args[1] and args[2] are its fd and position; args[3]: an
// OwnFileHow; of kDiscards there is no message. It never fails.
enum OrderKind : uint64_t {
  kOrderPlain = 0, kOrderThread = 1, kOrderFutex = 2, kOrderReceive = 3, kOrderMapFile = 4, kOrderCopy = 5, kOrderKeepFile = 6
};
inline constexpr size_t kMaxFiles = 4;

struct ThreadOrder {
  uint64_t args[6], nr;
  uint64_t kind;  // kOrderThread: args[0] is the slot; args[1], unless it is 0, where 32 bits of args[2] are written first
};

inline constexpr int kGregs = 23;  // ucontext's general registers, its order
enum Greg { kR8, kR9, kR10, kR11, kR12, kR13, kR14, kR15, kRdi, kRsi, kRbp, kRbx, kRdx, kRax, kRcx,
            kRsp, kRip, kEfl, kCsgsfs, kErr, kTrapno, kOldmask, kCr2 };

// Where in the extended state the kernel says what there is (_fpx_sw_bytes).
inline constexpr uint64_t kStateSaid = 464;

inline constexpr int kMaxOrders = 6;
inline constexpr uint32_t kNobody = ~0u;
// With the number of an agent's word: it will wake this thread when it is done.
inline constexpr uint32_t kComesBack = 1u << 31;

// What the task may know without asking; written by the Sentry.
inline constexpr uint32_t kMayAnswer = 1, kOwnDescriptors = 2;  // the second: ControlHeader::rings is about its descriptors, and it is told of files
struct Identity {
  uint32_t valid;  // kMayAnswer and, with it, kOwnDescriptors
  int32_t pid, tid, ppid;
  uint32_t uid, euid, gid, egid;
  uint64_t names_of_root, names_here;  // NameSecrets
};

// A part of the guest's memory that is, or will be, copied from a buffer of the page.
struct Window {
  uint64_t addr;
  uint32_t size;    // 0: none
  uint32_t offset;  // in its buffer
};
inline constexpr int kWindows = 2;
inline constexpr uint32_t kInBuffer = 1024, kOutBuffer = 2048;

enum TrapReason : uint32_t { kTrapSlow = 1, kTrapApply = 2, kTrapFrame = 3 };

struct Reply {
  uint64_t rax;
  uint32_t flags;  // ReplyFlags
  uint32_t file_flags;
  Window results[kWindows];  // what to copy from out_buffer
};

// One cache line carries a plain call to the Sentry and its answer back. All else in the page stays with the core
// that writes it, unless it is asked for: a line that moves costs some 70 ns each way.
struct CallLine {
  uint32_t state;  // State
  int32_t nr;      // kReqCall, kReqSyscall: the number. Of an answer with kToldFile or kToldEnd: the round
  union {
    uint64_t args[6];  // kReqCall
    Reply reply;
  };
  // kReqCall: how much of each window (call_windows.h) came along, and which can be written (bit i; kBulkReady: the larger one).
  uint16_t in_length[kWindows];
  uint8_t out_ready;
  uint8_t kind;      // RequestKind
  uint8_t woken_on;  // 1 + the CPU where it woke (modulo 255); 0: it did not sleep
  uint8_t polled;    // by the Sentry: it looks at `state` all the time, so that no bell need be rung
};
static_assert(sizeof(CallLine) == 64);

// Of the time stamp counter, while SharedPage::profiling: the last request, the reply before it, and when that one's
// orders had been carried out. `rested`: the sum of its times in futexes.
struct ThreadNotes {
  uint64_t asked, answered, resumed, rested;
};

// How a page fault is delivered without the Sentry (stub/faults.h), written by it; what the guest makes of it is its own
// loss, as with rt_sigaction and rt_sigprocmask.
struct FaultHandler {
  uint64_t entry;  // 0: faults are the Sentry's
  uint64_t restorer;
  uint64_t mask;     // what is blocked in the handler besides
  uint64_t on_stack;  // SA_ONSTACK
};

// The thread's signal mask and alternate stack. It changes the mask by itself in handlers of page faults (stub/faults.h) and, as long
// as no signal is pending at the Sentry, whenever it likes (stub/masks.h).
struct OwnSignals {
  uint64_t known;  // as far as the Sentry has heard
  uint64_t may_change;
  uint64_t own;      // if it differs:
  uint64_t differs;  // 1: the thread runs under `own`, and the Sentry has not heard of it
  uint64_t stack, stack_size;  // sigaltstack(2)'s; 0: it is disabled
};

// One for each thread slot; 4096 bytes.
struct ControlPage {
  CallLine line;
  uint64_t gregs[kGregs];
  uint64_t frame;   // address of the ucontext on the alternate stack; 0: the call came through the dispatcher
  uint32_t mode;    // MODE_*
  uint32_t kicked;  // a kick came while the dispatcher was at work
  uint32_t flags;   // the guest's, as lahf and seto gave them (MODE_PLAIN, MODE_TAIL)
  uint32_t reason;  // TrapReason
  uint64_t tail;    // MODE_TAIL: where the guest goes on
  uint64_t fs_base, gs_base;
  uint64_t fault_addr;
  int32_t signo, code;
  int64_t order_error;
  uint64_t fpstate;      // in a frame: where its extended state lies
  uint64_t orders_done;  // counts replies whose orders were carried out
  uint32_t host_tid;
  uint32_t alive;  // cleared by the host when the thread is gone
  uint32_t arch;   // AUDIT_ARCH_*
  uint32_t start_flags;  // kNewFrame, for thread_main
  Identity identity;
  uint32_t sleep_word;  // which one this thread sleeps on
  uint32_t hand_to;     // number + 1 of the one to wake before it goes to sleep, or ends; 0: none; kNobody: too late
  uint32_t order_count;
  uint32_t luck;  // how well it went lately to look at futex words before sleeping (stub.cc)
  uint8_t patience;  // how long to wait awake, as a power of two
  uint8_t padding;
  // What kToldStart said; and how many of these bytes the thread has read, kNoStart: there are none. The thread moves it on, the Sentry takes it at any time.
  uint16_t start_size;
  uint32_t start_read;
  uint64_t already;      // kReqBrokenOff of a write(2): how many bytes have been written
  uint64_t behind;       // the address behind the call, which the registers of the answer may differ from
  uint64_t robust_list;  // set_robust_list(2)'s, written by the Sentry too
  ThreadOrder orders[kMaxOrders];
  uint8_t in_buffer[kInBuffer];
  uint8_t out_buffer[kOutBuffer];
  ThreadNotes times;
  FaultHandler fault;
  OwnSignals signals;
  uint64_t state_to;  // kHandler: where in the guest's memory the extended state goes
  // The call that was left for a handler: the address behind it, and `tail` and `mode` of its site. The Sentry makes left_mode
  // MODE_PLAIN when a site may have changed.
  uint64_t left_behind, left_tail;
  uint32_t left_mode;
  // The thread's own notes (stub/told_files.h). What it has closed, as ClosedFds; one bit for each of the first descriptors that it may close by itself.
  uint32_t closed;
  uint64_t may_close;
  // 1 + the descriptor that it was told of, 0: none; which ReplyFlags said so, and kUsedStat; the round. `told_flags`: file_flags, or the number of the
  // call that found the end.
  uint32_t told_fd, told_facts, told_round, told_flags;
  uint64_t told_until;  // by the time stamp counter; 0: for good
  uint32_t keeps;        // which entries of its OwnFiles have a host descriptor, one bit each
  uint64_t self;  // the page's own address in the stub: what %gs must point at
};
static_assert(sizeof(ControlPage) == 4096 && __builtin_offsetof(ControlPage, self) == CTL_SELF);
static_assert(__builtin_offsetof(ControlPage, gregs) == CTL_GREG(0));
static_assert(__builtin_offsetof(ControlPage, in_buffer) % 64 == 0 && __builtin_offsetof(ControlPage, out_buffer) % 64 == 0);
static_assert(__builtin_offsetof(ControlPage, mode) == CTL_MODE);
static_assert(__builtin_offsetof(ControlPage, kicked) == CTL_KICKED);
static_assert(__builtin_offsetof(ControlPage, flags) == CTL_FLAGS);
static_assert(__builtin_offsetof(ControlPage, tail) == CTL_TAIL);

inline constexpr uint32_t kNoStart = ~0u;
static_assert(kMostStart < STUB_BULK_SIZE);

// Where a slot's page lies in the stub.
constexpr uint64_t page_address(uint64_t slot) { return STUB_CTL + (slot + 1) * 0x1000; }
// And its room for larger data, if it has any.
constexpr uint64_t bulk_address(uint64_t slot) { return STUB_BULK + slot * STUB_BULK_SIZE; }

// Files that a thread reads and writes at the host by itself (stub/own_files.h), the entry of descriptor n at n modulo kOwnFiles. The Sentry takes an entry back,
// or its position, at any time; the thread alone has the host's descriptor in it, and moves the position.
struct OwnFile {
  uint32_t fd;    // 1 + the guest's descriptor; 0: none
  uint16_t host;  // where ControlPage::keeps says so: the stub's descriptor, if it has one,
  uint16_t how;   // and what may be done by it
  uint64_t position;  // kNoPosition: the Sentry has it
};
enum OwnFileHow : uint16_t { kMayRead = 1, kMayWrite = 2, kDiscards = 4, kAppends = 8 };  // kDiscards: /dev/null, without a descriptor
inline constexpr uint32_t kOwnFiles = 16;
inline constexpr uint64_t kNoPosition = ~uint64_t{0};
struct OwnFiles {
  OwnFile entries[kOwnFiles];
  uint32_t stale;  // some have been taken back: their host descriptors are to be closed
  // While SharedPage::profiling: sums of what it has done by itself, by own_call_kind().
  struct Notes {
    uint64_t count, ticks;
  } notes[kOwnCallKinds];
};
static_assert(sizeof(OwnFiles) <= STUB_OWN_FILES_SIZE);
constexpr uint64_t own_files_address(uint64_t slot) { return STUB_OWN_FILES + slot * STUB_OWN_FILES_SIZE; }

// First page of the control area: which slots have rung.
struct ControlHeader {
  uint64_t bell[STUB_SLOTS / 64];
  alignas(64) uint32_t futex_waiters;  // threads of this process asleep in a futex, or about to be
  alignas(64) uint32_t locked;         // AddressSpace::set_locked
  uint32_t agent_tid;                  // written by the host before there is a guest
  uint32_t clear_slot;                 // 1 + the slot of the first thread that called set_tid_address(2) by itself, and what it said; 0: none has
  uint64_t clear_tid;
  // What read(2) and write(2) of a descriptor find: the number of a ring, kRingReads, kRingWrites. 0: the Sentry.
  alignas(64) uint8_t rings[STUB_RING_FDS];
};
inline constexpr uint8_t kRingReads = 0x10, kRingWrites = 0x20;
static_assert(STUB_RINGS_COUNT <= kRingReads && sizeof(PipeRing) <= STUB_RING_STRIDE);
constexpr uint64_t ring_address(uint64_t number) { return STUB_RINGS + number * STUB_RING_STRIDE; }
static_assert(sizeof(ControlHeader) <= AGENT_BUFFERS);
static_assert(AGENT_RESULTS + 8 * CMD_MAX <= STUB_OWN_MEMORY && STUB_OWN_MEMORY + sizeof(OwnMemory) <= 0x1000);

}  // namespace run9::sentry::trap
#endif
