// The platform interface: how guest code is run and guest memory is changed. A platform knows host
// processes, registers and pages; it knows no task, no file and no signal of the guest.
//
// AddressSpace = one host process whose memory is the guest's (a stub). Context = one guest thread in
// it. Calls that say "blocks" park the calling fiber; everything runs on the worker thread.
#pragma once
#include <sys/mman.h>
#include <sys/uio.h>
#include <time.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "base/unique_fd.h"
#include "sentry/arch/x86_64/regs.h"
#include "sentry/platform/own_calls.h"

namespace run9::sentry {

class Context;
class AddressSpace;
class SharedRing;
struct OwnMemory;
struct ToldStat;
using AddressSpaceRef = std::shared_ptr<AddressSpace>;

// Guest addresses lie below; the stub's own region lies above.
inline constexpr uint64_t kGuestEnd = 0x7ffd'ffff'0000;
inline constexpr uint64_t kPage = 4096;

// Why a context left guest code.
enum class EventKind : uint8_t {
  kSyscall,      // regs.orig_rax is the number, rip is behind the instruction
  kFault,        // siginfo holds signo, si_code and si_addr; trapno and error_code are set
  kInterrupted,  // kick() was heeded
  kOrderFailed,  // an order queued by AddressSpace through this context failed: `order_error`
  kGone,         // the host thread or process is dead (killed, or its guest broke it)
};

struct Fault {
  int signo = 0;
  int code = 0;
  uint64_t addr = 0;
  uint64_t trapno = 0;
  uint64_t error_code = 0;
};

// Told of each event, once per resume(). Runs on the worker, outside any fiber; must not block.
class EventSink {
 public:
  virtual ~EventSink() = default;
  virtual void on_event(Context& context, EventKind kind) = 0;
};

// By which a thread finds what was told of paths that begin at its root, or at its working directory; 0: nothing was.
struct NameSecrets {
  uint64_t of_root = 0, here = 0;
  bool operator==(const NameSecrets&) const = default;
};

// What a platform may tell the guest thread without asking the kernel again (getpid(2) and its kin).
struct ContextIdentity {
  int32_t pid, tid, ppid;
  uint32_t uid, euid, gid, egid;
  bool own_descriptors;  // AddressSpace::offer_ring is about its descriptors; it may be told of them
  NameSecrets names;
  bool alone;  // and nobody else's: it may close some by itself
  bool operator==(const ContextIdentity&) const = default;
};

// What a thread is told of the descriptor that its call gives (docs/decisions/0033-what-is-told-with-a-descriptor.md).
struct ToldFile {
  uint32_t flags = 0;         // as F_GETFL gives them, and O_CLOEXEC
  bool closes_later = false;  // it may close it by itself, and say so with its next call
  ByteSpan stat = {};         // what fstat(2) gives, a struct stat; may be empty
  bool is_new = false;        // a regular file or directory, at its beginning
  bool briefly = false;       // the file is somebody else's too: some microseconds
  // With is_new: its first bytes, which lie in Context::room_for_start(). Nothing: none do.
  struct Start {
    uint32_t size = 0;
    bool all = false;  // that the file has
  };
  std::optional<Start> start = {};
};

// A regular file that a thread shall read and write by itself (Context::give_file).
struct GivenFile {
  int fd = -1;  // the guest's
  BorrowedFd host;  // invalid: /dev/null, which takes what is written
  bool reads = true, writes = false;
  bool appends = false;    // it writes at the end, wherever that is
  bool may_write = false;  // what the host's descriptor lets its holder write is the thread's to write anyhow
  std::optional<uint64_t> position;
};
// How many a thread may have. Of those whose descriptors are the same modulo this number, one.
inline constexpr int kGivenFiles = 16;

// Descriptors that a thread has closed by itself.
struct ClosedFds {
  uint16_t packed = 0;  // two, each in 8 bits: 1 + its number, or 0
  template <typename F>
  void each(F&& f) const {
    for (const int n : {packed & 0xff, packed >> 8}) {
      if (n != 0) f(n - 1);
    }
  }
};

// When a guest thread asked last, when it saw the answer to the call before, when it had carried out that one's orders,
// and how long it slept at the host in between; by its own word, in ticks of the time stamp counter. asked 0: not known.
struct ThreadTimes {
  uint64_t asked = 0, answered = 0, resumed = 0, rested = 0;
  // kOwnCalls that it has made by itself since the last time.
  struct OwnCalls {
    uint64_t count = 0, ticks = 0;
  };
  std::array<OwnCalls, kOwnCallKinds> own_calls;
};

// sigaction(2) of SIGSEGV, signal sets as the guest's sigset_t: what a platform needs to deliver page faults by itself, besides Signals.
struct OwnFaults {
  uint64_t handler = 0, restorer = 0;
  uint64_t mask = 0;     // blocked in the handler besides, SIGSEGV itself among it
  bool on_stack = false;
  bool operator==(const OwnFaults&) const = default;
};

// A thread's mask and alternate stack (stack_size 0: none). `may_change`: it need not ask the kernel to change its mask
// (rt_sigprocmask(2), rt_sigreturn(2)). Then each signal that comes for it has to kick it.
struct Signals {
  uint64_t mask = 0;
  bool may_change = false;
  uint64_t stack = 0, stack_size = 0;
  bool operator==(const Signals&) const = default;
};

struct Fiber;

class Context {
 public:
  virtual ~Context() = default;  // the guest thread ends; the host confirms later
  void* owner = nullptr;         // the kernel's Task

  // Valid between an event and the next resume(). Writing through regs() needs set_regs_changed(),
  // unless only rax changes (set_result).
  virtual Regs& regs() = 0;
  // At kSyscall: the same, where only the number, the arguments and rax need be what they are in regs().
  virtual const Regs& call_regs() { return regs(); }
  virtual void set_regs_changed() = 0;
  virtual void set_result(uint64_t rax) = 0;
  virtual const Fault& fault() const = 0;
  virtual int order_error() const { return 0; }
  // 32-bit entry (int 0x80, sysenter): the kernel answers ENOSYS.
  virtual bool compat_syscall() const { return false; }
  // The extended state (XSAVE format as in a signal frame, FP_XSTATE magic included). Blocks.
  virtual Result<std::vector<std::byte>> xstate() = 0;
  virtual Result<void> set_xstate(ByteSpan state) = 0;
  virtual Result<size_t> xstate_size() = 0;  // of both
  virtual void reset_xstate() = 0;  // exec: initial FPU state
  // At a call, last before resume(): the guest thread writes these bytes itself, and its extended state to `state_addr`, and goes on with regs()
  // and the initial state. All of that memory can be written, as far as the kernel knows. False: not this one, nothing was done.
  virtual bool store_frame(uint64_t /*addr*/, ByteSpan /*frame*/, uint64_t /*state_addr*/) { return false; }
  // At an event: when it goes on it is as a first thread is, with these registers.
  virtual void start_over(const Regs&) {}

  // Before a resume(): the guest thread writes these few bytes itself, before it goes on, if it can; the first thread of a process that was
  // forked must be able to. False: not this one.
  virtual bool tell(uint64_t /*addr*/, ByteSpan /*src*/) { return false; }
  // After this context's clone_thread(): its thread writes the new one's number itself, before there is the new one. False: not this one.
  virtual bool tell_of_thread(uint64_t /*addr*/, int32_t /*tid*/) { return false; }
  // Lets the guest run until the next event.
  virtual void resume() = 0;
  // Makes a running context report kInterrupted soon; no effect on one that is not running.
  virtual void kick() = 0;
  virtual bool running() const = 0;
  // Null: every call is the kernel's to answer (it is traced, or filtered). At any time.
  virtual void set_identity(const ContextIdentity*) {}
  // Page faults may go to this handler without asking the kernel; null: they may not. At any time.
  virtual void set_own_faults(const OwnFaults*) {}
  // While it does not run.
  virtual void set_signals(const Signals&) {}
  // At any time: it may not change its mask any more.
  virtual void keep_mask() {}
  // At an event: the mask under which the thread runs since it has changed it; from here on it is the kernel's.
  std::optional<uint64_t> own_mask;
  // At an event: what it has closed before. And: of what it was told with the answer before, it has used the stat, or the
  // start; if it has not closed the file since it is behind so many bytes of it.
  ClosedFds closed;
  bool used_stat = false, used_start = false;
  uint32_t read_of_start = 0;
  // At a call, last before resume(): what it may answer by itself until it asks again, or until Platform::files_changed(). tells_files(): it can be
  // told now. tell_end(): the same call as this one, made again, gives 0: its descriptor is at the end.
  virtual bool tells_files() const { return false; }
  // Where the first bytes of a file are put that it is about to be told. Empty: there is no room for so many.
  virtual std::span<std::byte> room_for_start(uint64_t /*size*/) { return {}; }
  virtual void tell_file(const ToldFile&) {}
  virtual void tell_end(bool /*briefly*/) {}
  // At any time: it may close none of those that it was told of by itself any more.
  virtual void keep_closes() {}
  // At any time: what it has closed by now; it will not say so once more.
  virtual ClosedFds take_closed() { return {}; }
  // Likewise: how many bytes of the start of a file, which it was told, it has read; it will read no more of them, nor say so.
  virtual uint32_t take_start() { return 0; }
  // Files that the guest thread reads and writes at the host by itself. takes_files(): it can be given one now. give_file(), at a call, last before resume():
  // from here on it reads and writes its descriptor at any place, as far as it may, and moves the position if it is given one; if nothing is against it. give_position(): that of one
  // that it has. take_position(), at any time: where it is, by the thread's word; from here on the kernel moves it. take_file(), likewise: the next call
  // of the thread is the kernel's.
  virtual bool takes_files() const { return false; }
  virtual bool give_file(const GivenFile&) { return false; }
  virtual void give_position(int /*fd*/, uint64_t /*position*/) {}
  virtual std::optional<uint64_t> take_position(int /*fd*/) { return {}; }
  virtual void take_file(int /*fd*/) {}
  // While it runs: the mask, now, by its own word.
  virtual std::optional<uint64_t> own_mask_now() const { return {}; }
  // futex(2) and futex_waitv(2) at the host, by the guest thread: where memory is the host's, so is its waiting.
  // A platform without it (false) leaves them to the kernel's own table (ipc/futex.h).
  virtual bool has_futex() const { return false; }
  // EINTR: interrupted by a kick. `deadline`, absolute, takes the place of the timeout argument. Blocks.
  virtual Result<uint64_t> futex(uint64_t /*nr*/, const std::array<uint64_t, 6>& /*args*/,
                                 const timespec* /*deadline*/) {
    return Errno{ENOSYS};
  }
  // Sets the highest bit of a word of guest memory, at one go with what guest threads do to it. EINTR: a kick came first. Blocks.
  virtual Result<void> set_top_bit(uint64_t addr) = 0;
  // At kSyscall: the guest thread has begun with this call itself, and a kick broke it off.
  virtual bool broken_off() const { return false; }
  // And of a write(2), by its own word, has written so many bytes. Who goes on with the call sets it to 0.
  uint64_t already = 0;
  // It sleeps in one.
  virtual bool resting() const { return false; }
  // When this context is destroyed: the word becomes 0 and one who waits for it is woken (set_tid_address(2)).
  // False: not by this platform.
  virtual bool clear_tid_at_exit(uint64_t /*addr*/) { return false; }
  // set_robust_list(2): a guest thread may note the list by itself, and forget it when it leaves with nothing in it.
  virtual uint64_t robust_list() const { return robust_list_; }
  virtual void set_robust_list(uint64_t head) { robust_list_ = head; }
  // set_tid_address(2), likewise: where a 0 goes when the thread has ended; 0: nowhere.
  virtual uint64_t clear_tid() const { return clear_tid_; }
  virtual void set_clear_tid(uint64_t addr) { clear_tid_ = addr; }
  // The fiber on which this context's call is carried out; null: none.
  virtual void set_fiber(Fiber*) {}
  // At an event: what it noted down since the last time.
  virtual ThreadTimes take_times() { return {}; }
  // Host thread id in the sandbox's pid namespace (CPU clocks); 0 if not known.
  virtual int host_tid() const = 0;

 private:
  uint64_t robust_list_ = 0, clear_tid_ = 0;
};

// One mapping of host memory or of a descriptor. All addresses and lengths are page-aligned and in
// bounds, the kernel has checked them. Mappings always go where they are told to (MAP_FIXED).
struct MapRequest {
  uint64_t addr = 0;
  uint64_t length = 0;
  int prot = 0;
  bool shared = false;
  BorrowedFd fd;  // invalid: private anonymous memory
  uint64_t offset = 0;
  int extra_flags = 0;  // MAP_NORESERVE, MAP_POPULATE, MAP_LOCKED
  // What the descriptor lets its holder write is the caller's to write anyhow.
  bool may_write_file = false;
};

class AddressSpace : public std::enable_shared_from_this<AddressSpace> {
 public:
  virtual ~AddressSpace() = default;

  // `via`: the caller's own context while it is in a call: the change may then be queued and is made
  // by the guest thread itself before it goes on (an order); a failure comes back as kOrderFailed.
  // Null: made at once by the agent; blocks.
  virtual Result<void> map(Context* via, const MapRequest&) = 0;
  virtual Result<void> unmap(Context* via, uint64_t addr, uint64_t length) = 0;
  virtual Result<void> protect(Context* via, uint64_t addr, uint64_t length, int prot) = 0;
  // In place if both addresses are the same: what lies behind is free then.
  virtual Result<void> remap(Context* via, uint64_t old_addr, uint64_t old_length, uint64_t new_addr,
                             uint64_t new_length) = 0;
  virtual Result<void> advise(Context* via, uint64_t addr, uint64_t length, int advice) = 0;
  // Some of it is locked (mlock(2)): then the kernel wants to be asked before pages are dropped, else it need not be.
  virtual void set_locked(bool) {}
  // Where the only thread says what it has changed by itself, and is told what it may; null: it may not, or it is not the only one.
  virtual OwnMemory* own_memory(const Context& /*only*/) { return nullptr; }
  // Several mappings in one hand-over. Blocks.
  virtual Result<void> map_all(Context* via, std::span<const MapRequest>) = 0;
  // The same, and all else that the guest has here goes before. An error leaves it useless. Blocks. Only where it can, and where `context` is
  // the only thread; the host process stays, and what its guest may have done to it.
  virtual bool can_start_over(const Context& /*context*/) const { return false; }
  virtual Result<void> start_over(std::span<const MapRequest>) { return Errno{ENOSYS}; }

  // Pipes that guests serve themselves (MappedRing in shared_ring.h is how to use these). Maps one, with nothing in it yet, out of the guest's
  // reach but for its threads' read(2) and write(2); gives its id. ENOSPC: there are too many. Blocks.
  static constexpr int kRingDescriptors = 64;  // those below
  virtual bool has_rings() const { return false; }
  virtual Result<uint64_t> map_ring(const SharedRing&) { return Errno{ENOSYS}; }
  virtual void unmap_ring(uint64_t /*id*/) {}  // or it will be, in time
  // Descriptor `fd` of threads with own_descriptors is the reading or writing end of that ring from here on. False: not with this number.
  virtual bool offer_ring(int /*fd*/, uint64_t /*id*/, bool /*reads*/) { return false; }
  virtual void withdraw_ring(int /*fd*/) {}

  // Copies; a short count means the rest faults. EFAULT when nothing could be copied.
  virtual Result<size_t> read(uint64_t addr, std::span<std::byte> dst) = 0;
  virtual Result<size_t> write(uint64_t addr, ByteSpan src) = 0;
  // The same where all of it can be written, as far as the kernel knows: it may happen at the end of the call, by the guest thread.
  virtual Result<size_t> write_mapped(uint64_t addr, ByteSpan src) { return write(addr, src); }
  // Where to put what write_mapped() shall write there, to have it copied once less: room for the first part of it, perhaps none. The
  // guest can change it.
  virtual std::span<std::byte> room_for(uint64_t /*addr*/, size_t /*size*/) { return {}; }
  // The same for all that the call's own array of iovec names. False: not this way.
  virtual bool write_all_mapped(std::span<const iovec> /*parts*/, ByteSpan /*src*/) { return false; }
  virtual std::span<std::byte> room_for_all(std::span<const iovec> /*parts*/) { return {}; }
  // A transfer of more than there is room_for(): pieces of it lie here, in memory that the guest can change, before its thread copies them to
  // `addr` or after it has copied them from there. Empty: not in this call. False: some of it faults. Both block.
  virtual std::span<std::byte> passage() { return {}; }
  virtual bool pass_out(uint64_t /*addr*/, size_t /*size*/) { return false; }
  virtual bool pass_in(uint64_t /*addr*/, size_t /*size*/) { return false; }
  // All of it, where it came along with the call at hand in memory that the guest can change; else none.
  virtual ByteSpan given(uint64_t /*addr*/, size_t /*size*/) { return {}; }
  // What of it came along with the call at hand: as many bytes as there are, perhaps none.
  virtual size_t read_ahead(uint64_t /*addr*/, std::span<std::byte> /*dst*/) { return 0; }
  // Atomic compare-and-swap of a word of guest memory is not offered: see sentry/ipc/pi_futex.h.
  // FUTEX_WAKE of one waiter, for a thread that cannot do it any more. Blocks.
  virtual void futex_wake(uint64_t /*addr*/) {}

  // fork: a copy of this address space with one guest thread that starts with `parent`'s registers
  // (changed by `regs`) and extended state. Blocks.
  struct Child {
    AddressSpaceRef space;
    std::unique_ptr<Context> context;
  };
  virtual Result<Child> fork(Context& parent, const Regs& regs) = 0;
  // A further guest thread in this address space with parent's extended state. It may be made only when
  // the parent goes on; `parent_waits`: the parent will not go on before the child has run (vfork), so
  // make it now. Blocks.
  virtual Result<std::unique_ptr<Context>> clone_thread(Context& parent, const Regs& regs,
                                                        bool parent_waits) = 0;
  // Ends the host process; contexts report nothing any more.
  virtual void kill() = 0;
  // The first guest thread of a fresh address space. Blocks.
  virtual Result<std::unique_ptr<Context>> first_thread(const Regs& regs) = 0;
  // CPU time used so far, ns.
  virtual uint64_t cpu_time_ns() const = 0;
  virtual int host_pid() const = 0;
  // Of the thread that lives as long as the process.
  virtual int host_tid() const { return host_pid(); }
};

class Platform {
 public:
  virtual ~Platform() = default;
  virtual std::string_view name() const = 0;
  // An empty address space. Blocks.
  virtual Result<AddressSpaceRef> create_address_space() = 0;
  // Address of the vDSO image in every address space (AT_SYSINFO_EHDR), 0 if there is none, and its
  // size with the data pages before it.
  virtual uint64_t vdso() const = 0;
  // Looks for events without waiting; true if there was one. The event loop calls it.
  virtual bool poll() = 0;
  // About a microsecond's wait for what guests are likely to say next; true: poll() has something to do.
  virtual bool spin() { return false; }
  // Guests wait for poll(), as far as can be seen at a glance.
  virtual bool waiting() const { return false; }
  // Between these two the worker sleeps: a guest that has something to say must wake it.
  virtual void before_sleep() = 0;
  virtual void after_sleep() = 0;
  // The fiber that carries out this context's call (Fiber::context) goes to sleep.
  virtual void on_park(void*) {}
  // True if a thread was woken since the last time: it may be queued on the worker's core.
  virtual bool take_woken() { return false; }
  // A guest thread may be waiting for our core, as far as is known.
  virtual bool wants_core() const { return true; }
  // Whether guest threads note down their ThreadTimes.
  virtual void set_profiling(bool) {}
  // Whether guest threads answer calls by what they were told of paths: facts (name_calls.h), to all with this secret; until forget_names().
  virtual bool tells_names() const { return false; }
  virtual void tell_of_name(uint64_t /*secret*/, std::string_view /*path*/, uint32_t /*facts*/) {}
  virtual void forget_names() {}
  virtual void forget_missing_names() {}  // all facts, but no attributes
  // The same with the attributes of what a path leads to. A record holds those of one path, until something else takes its place, or it is forgotten.
  virtual uint32_t stat_record(uint64_t /*secret*/, bool /*follow*/, std::string_view /*path*/) { return 0; }
  virtual void tell_of_stat(uint32_t /*record*/, uint64_t /*secret*/, bool /*follow*/, std::string_view /*path*/, const ToldStat&) {}
  virtual void forget_stat(uint32_t /*record*/) {}
  // No more threads than that run at once, as time is counted.
  virtual void set_cores(int /*most*/) {}
  // What threads were told of files may not be so any more.
  virtual void files_changed() {}
  // How many contexts run guest code now (the loop's spin limit depends on it).
  virtual int running_contexts() const = 0;
};

}  // namespace run9::sentry
