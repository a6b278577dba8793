// MemoryManager: the list of a process's mappings (mmap(2), brk(2), /proc/PID/maps), and copies to and
// from its memory. Pages and page tables are the host's. Shared by the tasks of a process and by vfork
// children; owned through MemoryManagerRef.
#pragma once
#include <sys/uio.h>

#include <array>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "sentry/mm/mapped_ahead.h"
#include "sentry/mm/user_ptr.h"
#include "sentry/platform/own_memory.h"
#include "sentry/platform/platform.h"
#include "sentry/sched/fiber_mutex.h"
#include "vfs/file.h"

namespace run9::sentry {

class FdTable;
class Kernel;
class Process;
class Task;
class MemoryManager;
using MemoryManagerRef = std::shared_ptr<MemoryManager>;

// [start, end) is the map's key and this.
struct Vma {
  uint64_t end = 0;
  int prot = 0;
  bool shared = false;
  bool grows_down = false;
  bool dont_fork = false;
  bool wipe_on_fork = false;
  bool locked = false;
  bool no_reserve = false;
  int max_prot = PROT_READ | PROT_WRITE | PROT_EXEC;  // what mprotect may give (shared files)
  vfs::FileRef file;                         // named in /proc/PID/maps; null for anonymous
  std::shared_ptr<UniqueFd> backing;         // the host object mapped; null for private anonymous
  uint64_t file_offset = 0;                  // of `start` in file
  uint64_t backing_offset = 0;               // of `start` in backing
  std::string name;                          // "[heap]", "[stack]", "[vdso]"
  std::shared_ptr<void> attachment;          // SysV shm segment
};

// A guest buffer made of pieces (readv); checked for IOV_MAX and overflow.
using IoVec = std::vector<iovec>;  // iov_base is a guest address

class MemoryManager : public std::enable_shared_from_this<MemoryManager> {
 public:
  MemoryManager(Kernel& kernel, AddressSpaceRef space);
  ~MemoryManager();

  AddressSpace& space() { return *space_; }
  const AddressSpaceRef& space_ref() { return space_; }
  // Its space is another program's now: who holds this still reads and writes nothing there.
  void retire() { retired_ = true; }

  // --- copies. EFAULT when any byte faults.
  Result<void> copy_in(void* dst, uint64_t addr, size_t n);
  Result<void> copy_out(uint64_t addr, const void* src, size_t n);
  // As many bytes as do not fault; EFAULT if none.
  Result<size_t> copy_in_some(std::span<std::byte> dst, uint64_t addr);
  Result<size_t> copy_out_some(uint64_t addr, ByteSpan src);
  // AddressSpace::room_for, for copy_out_some().
  std::span<std::byte> room_for(uint64_t addr, size_t n) const;
  // The same for several parts, those of the call at hand: AddressSpace::room_for_all, write_all_mapped.
  std::span<std::byte> room_for_all(std::span<const iovec> parts) const;
  bool copy_out_all(std::span<const iovec> parts, ByteSpan src);
  // AddressSpace::given, for what only moves on.
  ByteSpan given(uint64_t addr, size_t n) const { return retired_ ? ByteSpan() : space_->given(addr, n); }
  template <typename T>
  Result<T> read(UserPtr<T> p) {
    static_assert(std::is_trivially_copyable_v<T>);
    T v;
    TRY(copy_in(&v, p.addr, sizeof v));
    return v;
  }
  template <typename T>
  Result<void> write(UserPtr<T> p, const std::type_identity_t<T>& v) {
    static_assert(std::is_trivially_copyable_v<T>);
    return copy_out(p.addr, &v, sizeof v);
  }
  template <typename T>
  Result<std::vector<T>> read_array(UserPtr<T> p, size_t count) {
    std::vector<T> v(count);
    if (count != 0) TRY(copy_in(v.data(), p.addr, count * sizeof(T)));
    return v;
  }
  Result<void> zero(uint64_t addr, size_t n);
  // A path: ENAMETOOLONG at 4096 bytes without NUL.
  Result<std::string> read_path(UserString s);
  // Any string up to `max` bytes without the NUL: `too_long` if there is none by then.
  Result<std::string> read_string(uint64_t addr, size_t max, Errno too_long);
  Result<IoVec> read_iovec(uint64_t addr, size_t count);

  // --- mappings. `via` is the calling task's context (its orders), as in platform.h.
  struct MapArgs {
    uint64_t addr = 0;
    uint64_t length = 0;
    int prot = 0;
    int flags = 0;  // MAP_*
    vfs::FileRef file;
    uint64_t offset = 0;
    std::shared_ptr<UniqueFd> backing;  // a host object instead of a file (SysV shm)
    std::string name;
    std::shared_ptr<void> attachment;
    int fd = -1;  // by which the thread named the file
  };
  Result<uint64_t> mmap(Task& task, MapArgs args);
  Result<void> munmap(Task& task, uint64_t addr, uint64_t length);
  Result<void> mprotect(Task& task, uint64_t addr, uint64_t length, int prot);
  Result<uint64_t> mremap(Task& task, uint64_t old_addr, uint64_t old_len, uint64_t new_len,
                          int flags, uint64_t new_addr);
  uint64_t brk(Task& task, uint64_t addr);
  Result<void> madvise(Task& task, uint64_t addr, uint64_t length, int advice);
  Result<void> msync(Task& task, uint64_t addr, uint64_t length, int flags);
  // mlock(2) and its family: a mark, and a count against RLIMIT_MEMLOCK (the host's swap is not ours to forbid).
  Result<void> set_locked(uint64_t addr, uint64_t length, bool locked);
  void set_all_locked(bool locked);
  uint64_t locked_bytes() const;
  bool lock_future = false;  // MCL_FUTURE
  // A debugger's write to another's memory (FOLL_FORCE): where the guest itself may not write, too, but not
  // to a shared mapping of what is not writable. Blocks.
  Result<void> force_write(uint64_t addr, ByteSpan src);
  // AddressSpace's, for what lies in `passage`; as many bytes as do not fault, EFAULT if none. Block.
  std::span<std::byte> passage() const { return space_->passage(); }
  Result<size_t> pass_out(uint64_t addr, ByteSpan passage);
  Result<size_t> pass_in(std::span<std::byte> passage, uint64_t addr);
  // --- what the process's only thread changes by itself (own_memory.cc). The list is as it left it: after catch_up(), for who looks at another's;
  // with each event of its own.
  void catch_up();
  void catch_up_at_event();
  // It has to ask from here on. The first: no thread of this space is under way; the second: a moment later at the latest.
  void end_offers();
  void stop_offers();
  // A program begins: it need not ask first.
  void begin_offers(Task& task);
  // They have changed; of the process whose memory this is.
  void limits_changed(const Process& process);
  // A range that the linker will make read-only, from and to addresses as the library says them.
  void expect_protect(uint64_t start, uint64_t end);

  // True if every page of the range is mapped.
  bool covered(uint64_t addr, uint64_t length) const;
  // And may be written.
  bool is_writable(uint64_t addr, size_t n) const;
  const std::map<uint64_t, Vma>& vmas() const { return vmas_; }
  // The mapping that holds addr; end() if none.
  std::map<uint64_t, Vma>::const_iterator find(uint64_t addr) const;

  // fork(2): a copy with one guest thread that starts with `regs`. Blocks.
  struct Forked {
    MemoryManagerRef memory;
    std::unique_ptr<Context> context;
  };
  Result<Forked> fork(Task& task, const Regs& regs);
  // A copy of the list for a forked address space (dont_fork ones left out).
  MemoryManagerRef clone_for(AddressSpaceRef space) const;
  // A loader's work on a fresh space, not yet running: records the mapping, made by map_all.
  void record(uint64_t start, Vma vma);
  uint64_t pick_address(uint64_t length, uint64_t hint = 0, uint64_t below = 0) const;  // 0: none

  // Layout, for /proc/PID/stat, prctl(PR_SET_MM) and brk.
  uint64_t brk_start = 0, brk_end = 0;
  uint64_t arg_start = 0, arg_end = 0, env_start = 0, env_end = 0;
  uint64_t code_start = 0, code_end = 0, data_start = 0, data_end = 0, stack_start = 0;
  std::vector<uint64_t> auxv;  // pairs
  vfs::FileRef exe;            // /proc/PID/exe
  std::shared_ptr<vfs::WriteAccess> executes;  // which nobody may write meanwhile
  bool dumpable = true;
  std::weak_ptr<FdTable> descriptors;  // the process's: a vfork child has others
  uint32_t barriers = 0;       // MEMBARRIER_CMD_REGISTER_* that were asked for
  uint64_t total_bytes() const { return total_; }             // RLIMIT_AS
  uint64_t private_writable_bytes() const { return charged_; }  // --memory
  uint64_t peak_bytes() const { return peak_; }                 // the most of these that there were: ru_maxrss
  uint64_t mmap_top = 0;  // addresses are picked downward from here

 private:
  bool are_writable(std::span<const iovec> parts, size_t n) const;  // so many bytes of them
  using Map = std::map<uint64_t, Vma>;
  class Change;  // holds the lock of one change of the list
  Result<uint64_t> mmap_locked(Task& task, MapArgs args);
  Result<void> check_limits(Task& task, uint64_t more, uint64_t replaced, bool charged) const;
  Result<void> check_locked(Task& task, uint64_t more) const;
  Result<uint64_t> place(const MapArgs& args, uint64_t length) const;
  Result<void> map_at_host(Task& task, const MapArgs& args, const MapRequest& request);
  // Before the range is used otherwise: what was mapped ahead there, and not asked for, is mapped as the list says. The first: before other mappings
  // are there, or other protections.
  Result<void> make_way(uint64_t addr, uint64_t length);
  Result<void> give_back(uint64_t addr, uint64_t length);
  Result<void> grow_in_place(Task& task, uint64_t addr, uint64_t length, const Vma& vma, uint64_t by);
  void split_at(uint64_t addr);
  void erase_range(uint64_t start, uint64_t end);
  void insert(uint64_t start, Vma vma);
  void account(const Vma& v, uint64_t length, int sign);
  void merge_around(uint64_t start, uint64_t end);
  bool any_locked(uint64_t addr, uint64_t length) const;
  bool same_kind(const Map::value_type& a, const Map::value_type& b) const;
  void set_protection(uint64_t start, uint64_t end, int prot);
  void insert_heap(uint64_t start, uint64_t end);

  // own_memory.cc
  void follow_maps(uint32_t done);
  void insert_zeros(uint64_t addr, uint64_t length, int prot, bool no_reserve);
  void follow_protects(uint32_t done);
  void follow_heap(uint64_t end);
  void follow_pieces();
  void take_back();
  void forget_protects(uint64_t addr, uint64_t length);
  void offer_protects();
  void offer_maps(const MapRequest& whole, std::span<const MapRequest> made, const ElfImage& image, int fd);
  bool ok_to_offer() const;
  void offer(Task& task);
  void find_room();
  void tell_limits(const Process& process);
  // Of `protects` and `maps`, lengths of 0: the list has them.
  struct Own {
    struct Piece {
      uint64_t addr = 0, length = 0;
      bool operator==(const Piece&) const = default;
    };
    OwnMemory* words = nullptr;  // null: nothing was offered yet
    uint32_t changes = 0;        // as far as the list has followed
    uint64_t heap_limit = 0, floor = 0, top = 0;
    uint64_t last_floor = 0, last_top = 0;
    std::array<Piece, kOwnPieces> pieces = {};  // in the list, as the thread wrote them
    std::vector<Piece> protects;
    std::vector<MapRequest> maps;
    uint64_t relro_start = 0, relro_end = 0;  // of what `maps` are of
    bool limits_told = false;
  };

  Kernel& kernel_;
  AddressSpaceRef space_;
  bool retired_ = false;
  FiberMutex mutex_;
  MappedAhead ahead_;
  Own own_;
  Map vmas_;
  uint64_t total_ = 0;
  uint64_t charged_ = 0, peak_ = 0;
};

}  // namespace run9::sentry
