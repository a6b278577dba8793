// The trap platform: guest code runs natively in stub processes; seccomp turns each of its system calls into
// a SIGSYS whose handler talks to us through shared memory. See stub_abi.h for the two sides' contract and
// docs/ARCHITECTURE.md for the picture.
#pragma once
#include <sched.h>

#include <array>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <unordered_map>
#include <utility>
#include <vector>

#include "sentry/platform/platform.h"
#include "sentry/platform/shared_memory.h"
#include "sentry/platform/trap/patcher.h"
#include "sentry/platform/trap/ring_numbers.h"
#include "sentry/platform/trap/sleep_blocks.h"
#include "sentry/platform/trap/stub_abi.h"
#include "sentry/platform/trap/wakes.h"
#include "sentry/sched/event_loop.h"
#include "sentry/sched/fiber_mutex.h"

namespace run9::sentry::trap {

class TrapPlatform;
class TrapSpace;
enum class More : uint8_t;

// One read of a field that the guest may be changing: what is checked is what is used.
template <typename T>
T take(const T& field) {
  return __atomic_load_n(&field, __ATOMIC_RELAXED);
}

// The pages that a stub shares with us.
struct StubMemory {
  SharedMemory commands, control;
  // Of each thread's bulk area, how much was in use.
  std::array<uint8_t, STUB_BULK_SLOTS> bulk_pages{};
  // Which pages of STUB_OWN_FILES were in use.
  uint8_t own_file_pages = 0;
};

// What a stub hears from us by, or our ends of it.
struct StubSockets {
  UniqueFd agent, files;  // STUB_FD_AGENT, STUB_FD_FILES
};

// A stub that has no process yet, and what its ends of its sockets will be. Made ahead of need.
struct Unborn {
  // `memory`: of a stub that is gone, as new.
  static Result<Unborn> create(TrapPlatform& platform, std::optional<StubMemory> memory = {});
  std::shared_ptr<TrapSpace> space;
  StubSockets theirs;
};

class TrapContext final : public Context {
 public:
  TrapContext(std::shared_ptr<TrapSpace> space, uint32_t slot);
  ~TrapContext() override;

  Regs& regs() override {
    if (only_call_) load_regs();
    return regs_;
  }
  const Regs& call_regs() override { return regs_; }
  void set_regs_changed() override { regs_changed_ = true; }
  void set_result(uint64_t rax) override { regs_.rax = rax; }
  const Fault& fault() const override { return fault_; }
  int order_error() const override { return order_error_; }
  bool compat_syscall() const override { return compat_; }
  Result<std::vector<std::byte>> xstate() override;
  Result<void> set_xstate(ByteSpan state) override;
  Result<size_t> xstate_size() override;
  void reset_xstate() override { reply_flags_ |= kResetFpu; }
  bool store_frame(uint64_t addr, ByteSpan frame, uint64_t state_addr) override;
  void start_over(const Regs& regs) override;
  void resume() override;
  void kick() override;
  bool running() const override { return running_; }
  int host_tid() const override;
  void set_own_faults(const OwnFaults*) override;
  void set_signals(const Signals&) override;
  void keep_mask() override;
  std::optional<uint64_t> own_mask_now() const override;
  bool tells_files() const override { return told_files_ && in_call_ && frame_ == 0; }
  std::span<std::byte> room_for_start(uint64_t size) override;
  void tell_file(const ToldFile& file) override;
  void tell_end(bool briefly) override { reply_flags_ |= kToldEnd | (briefly ? kToldBriefly : 0u); }
  void keep_closes() override;
  ClosedFds take_closed() override;
  uint32_t take_start() override;
  bool takes_files() const override;
  bool give_file(const GivenFile& file) override;
  void give_position(int fd, uint64_t position) override;
  std::optional<uint64_t> take_position(int fd) override;
  void take_file(int fd) override;
  void set_identity(const ContextIdentity* identity) override;
  ThreadTimes take_times() override;
  uint64_t robust_list() const override;
  void set_robust_list(uint64_t head) override;
  uint64_t clear_tid() const override;
  void set_clear_tid(uint64_t addr) override;
  void set_fiber(Fiber* fiber) override;
  bool has_futex() const override { return true; }
  Result<uint64_t> futex(uint64_t nr, const std::array<uint64_t, 6>& args, const timespec* deadline) override;
  Result<void> set_top_bit(uint64_t addr) override;
  bool broken_off() const override { return broken_off_; }
  bool resting() const override;
  bool clear_tid_at_exit(uint64_t addr) override;
  bool tell(uint64_t addr, ByteSpan src) override;
  bool tell_of_thread(uint64_t addr, int32_t tid) override;

 private:
  friend class TrapSpace;
  friend class TrapPlatform;
  ControlPage& page() const { return page_; }
  // A new thread, waiting in thread_main: what it starts with, and the bases that it has already.
  void prepare(const Regs& regs, uint64_t frame, uint64_t fs, uint64_t gs);
  // A bell rang for this slot: takes the request out of the page. Nothing there: nothing.
  std::optional<EventKind> take_request();
  // The same without its mask. `own`: it says that it has one.
  std::optional<EventKind> take_event(bool& own);
  void take_call(uint32_t number);
  void load_regs();
  void forget_own();
  void take_all_files();
  void note_own_calls(ThreadTimes& times);
  void queue(const ThreadOrder& order);
  void write_regs();
  void start_running();
  void stop_running();
  // Whether the guest thread sleeps at the host, as far as its page tells: it does not count as running then.
  void note_rest(uint32_t state);
  bool orders_outstanding(uint64_t addr, uint64_t length) const;
  void note_ranges();
  // Sends the reply `flags` before the call is over, and waits until the guest thread comes back. Blocks.
  Result<void> report(uint32_t flags);
  // Has the guest thread carry out the queued orders and come back. Blocks.
  Result<void> carry_out_now();
  // A call from a patched site has no signal frame; the guest thread makes one. Blocks.
  Result<void> need_frame();
  void hand_back();
  // The guest thread need not spin for this call's answer.
  void will_wait();
  // There may be no answer: if it waits awake, it can wake somebody.
  void has_time();
  bool waits_awake() const;
  enum class Whose { kSentrys, kThreads, kTakenBack };  // the last: it may have made use of it before it was
  Whose faults_ = Whose::kSentrys, mask_ = Whose::kSentrys;
  bool starts_ = false;  // the first thread of a program, which has not run yet
  bool forked_ = false;  // is about to be told so
  struct AgentToWake {
    uint32_t word;
    bool comes_back;
  };
  std::optional<AgentToWake> agent_to_wake_;  // when this thread goes to sleep, it wakes the agent first
  // Small reads and writes of the call at hand, in the control page (call_windows.h). False: not there.
  void take_windows(const uint64_t* args);
  void drop_windows();
  const std::byte* input(const Window& w) const;
  bool read_window(uint64_t addr, std::span<std::byte> dst) const;
  size_t read_window_part(uint64_t addr, std::span<std::byte> dst) const;
  ByteSpan given(uint64_t addr, size_t size) const;
  bool write_window(uint64_t addr, ByteSpan src);
  // In out_buffer, until hand_results_back. False: no room.
  bool keep(uint64_t addr, ByteSpan src, uint32_t room);
  bool write_bulk(uint64_t addr, ByteSpan src);
  std::span<std::byte> room_for(uint64_t addr, size_t size) const;
  // Of a call with an array of iovec.
  class Finder;
  void take_parts(More more, const uint64_t* args, uint32_t used);
  bool takes_scattered(std::span<const iovec> parts) const;
  bool write_scattered(std::span<const iovec> parts, ByteSpan src);
  std::span<std::byte> room_for_all(std::span<const iovec> parts) const;
  std::span<std::byte> passage() const;
  bool pass(uint64_t addr, size_t size, bool out);
  std::byte* bulk() const;  // shared with the guest
  void fill_bulk(ByteSpan src);
  void note_bulk(size_t size);
  // Into the answer: the guest thread copies them to their places.
  void hand_results_back();
  // Puts what write_window has kept into the guest's memory, if it lies in this range.
  void flush_windows(uint64_t addr, uint64_t size);
  // A fault on a patched call site: what the guest would have done there. kGone's optional: see take_request.
  enum class OnSite { kNone, kSyscall, kGoOn };
  OnSite at_patched_site();
  bool to_dispatcher();  // false: not with these flags
  Result<uint64_t> fpstate_address() const;

  std::shared_ptr<TrapSpace> space_;
  const uint32_t slot_;
  ControlPage& page_;
  Regs regs_{};
  uint64_t known_fs_ = 0, known_gs_ = 0;
  Fault fault_;
  int order_error_ = 0;
  bool compat_ = false;
  bool only_call_ = false;  // of regs_, only the number, the arguments and rax are what they should be
  bool regs_changed_ = false;
  bool polled_ = false;  // one of TrapPlatform::polled_
  bool resting_ = false;  // asleep or fresh: not counted as running
  bool asleep_ = false;   // in a call that it makes at the host itself
  bool fresh_ = false;  // its thread has not been seen to run yet: it may be queued behind the one that made it
  bool in_call_ = false;  // its event was a call from the dispatcher
  bool broken_off_ = false;
  bool told_files_ = false;
  uint32_t file_flags_ = 0, start_size_ = 0;  // of what it is told
  bool start_in_bulk_ = false;
  bool watched_ = true;  // somebody may look at its memory while it is stopped at a call's end
  bool in_futex_ = false;  // the report that is waited for is a futex's
  int64_t futex_result_ = 0;
  uint64_t rested_ = 0;  // ThreadNotes::rested, when it was looked at last
  std::array<ThreadTimes::OwnCalls, kOwnCallKinds> own_calls_;  // likewise OwnFiles::notes
  uint64_t clear_at_exit_ = 0;  // clear_tid_at_exit()'s
  bool running_ = false;
  bool gone_ = false;
  uint32_t reply_flags_ = 0;
  uint64_t frame_ = 0;
  uint64_t state_to_ = 0;  // it goes on in a handler, whose frame has the extended state there
  struct Part {
    uint64_t addr;
    uint32_t size;
    const std::byte* at;  // shared with the guest
  };
  Window in_[kWindows] = {}, out_[kWindows] = {};
  Window bulk_ = {};  // what of the guest's memory may be written by way of the bulk area
  std::vector<Part> parts_;        // of its input, what lies in no window (call_parts.h)
  std::vector<Window> may_write_;  // of its results, likewise
  uint64_t scatters_ = 0;          // that many parts, which can be written as one
  std::vector<Window> kept_;       // written, and not in the guest's memory yet
  std::vector<Window> scattered_;  // the parts of one with kScattered
  alignas(8) std::byte small_in_[16], small_out_[16];
  uint32_t out_used_ = 0;
  std::vector<ThreadOrder> orders_;
  uint64_t orders_expected_ = 0;
  std::vector<std::pair<uint64_t, uint64_t>> ordered_;  // address and length of what the last orders change
  Fiber* report_waiter_ = nullptr;
  std::unique_ptr<Timer> kick_retry_;
};

class TrapSpace final : public AddressSpace {
 public:
  TrapSpace(TrapPlatform& platform, StubSockets sockets, StubMemory memory, std::unique_ptr<const SleepBlock> sleep);
  ~TrapSpace() override;

  Result<void> map(Context* via, const MapRequest&) override;
  Result<void> unmap(Context* via, uint64_t addr, uint64_t length) override;
  Result<void> protect(Context* via, uint64_t addr, uint64_t length, int prot) override;
  void set_locked(bool locked) override { header().locked = locked ? 1 : 0; }
  Result<void> remap(Context* via, uint64_t old_addr, uint64_t old_length, uint64_t new_addr,
                     uint64_t new_length) override;
  Result<void> advise(Context* via, uint64_t addr, uint64_t length, int advice) override;
  Result<void> map_all(Context* via, std::span<const MapRequest>) override;
  OwnMemory* own_memory(const Context& only) override;
  bool can_start_over(const Context& context) const override;
  Result<void> start_over(std::span<const MapRequest>) override;
  bool has_rings() const override;
  Result<uint64_t> map_ring(const SharedRing& ring) override;
  void unmap_ring(uint64_t id) override;
  bool offer_ring(int fd, uint64_t id, bool reads) override;
  void withdraw_ring(int fd) override;
  Result<size_t> read(uint64_t addr, std::span<std::byte> dst) override;
  size_t read_ahead(uint64_t addr, std::span<std::byte> dst) override;
  ByteSpan given(uint64_t addr, size_t size) override;
  Result<size_t> write(uint64_t addr, ByteSpan src) override;
  Result<size_t> write_mapped(uint64_t addr, ByteSpan src) override;
  std::span<std::byte> room_for(uint64_t addr, size_t size) override;
  bool write_all_mapped(std::span<const iovec> parts, ByteSpan src) override;
  std::span<std::byte> room_for_all(std::span<const iovec> parts) override;
  std::span<std::byte> passage() override;
  bool pass_out(uint64_t addr, size_t size) override;
  bool pass_in(uint64_t addr, size_t size) override;
  Result<Child> fork(Context& parent, const Regs& regs) override;
  Result<std::unique_ptr<Context>> clone_thread(Context& parent, const Regs& regs,
                                                bool parent_waits) override;
  void kill() override;
  void futex_wake(uint64_t addr) override;
  Result<std::unique_ptr<Context>> first_thread(const Regs& regs) override;
  uint64_t cpu_time_ns() const override;
  int host_pid() const override { return pid_; }
  int host_tid() const override { return agent_tid_; }

 private:
  friend class TrapContext;
  friend class TrapPlatform;
  friend struct Unborn;
  class Answer;
  enum class Then { kWakeCaller, kSleep };

  // Waits until no context but `via` has orders for that range which are not carried out yet.
  void settle(const Context* via, uint64_t addr, uint64_t length);
  // The context whose call runs on the current fiber, if it is one of ours.
  TrapContext* caller() const;
  // The guest thread whose call the running fiber serves, of whatever space. Null: none.
  TrapContext* waiting() const;
  // None: wherever it may. Holds until the next call: to say so each time costs more than a small list.
  void keep_agent_on(const std::optional<cpu_set_t>& cpus);
  // The first thread goes on at another core than ours when `wake` wakes it.
  void move_first_thread(const std::function<void()>& wake) const;
  // A write to STUB_BASES.
  struct Base {
    uint32_t index;
    uint64_t address;
  };
  // What an agent is to do before and after it maps.
  struct Around {
    std::vector<Command> before, after;
  };
  // Text whose call sites are patched (patcher.h). `list` gets our copies in the files' place. Gives what has to be
  // written when they are mapped.
  [[nodiscard]] std::vector<Base> use_patches(std::vector<MapRequest>& list);
  Result<void> map_patched(Context* via, std::span<const MapRequest> list, Around around, Then then);
  // By the guest thread itself, on its way back from its call: `list`, which `asked` has become by patches. False: not these, or not now.
  bool order_files(TrapContext& by, std::span<const MapRequest> asked, std::span<const MapRequest> list);
  bool files_taken() const;  // all that were sent to guest threads
  OwnFiles& own_files(uint32_t slot) const;  // of one of the first
  bool has_own_files(uint32_t slot) const;  // it was given a file, or one that shares its page was
  void forget_patches(uint64_t addr, uint64_t length);
  Result<void> undo_patches(uint64_t addr, uint64_t length);
  // map_all without patches.
  // Before another program: what its agent does away with. Nothing, where no pipe was shared.
  std::vector<Command> without_rings(std::vector<Command> commands);
  // A successor's: makes sure that it is alone, and makes its first thread.
  Around prepare_thread();
  Result<void> map_as_told(std::span<const MapRequest> list, Around around = {}, Then then = Then::kWakeCaller);
  struct Patched {
    uint64_t end;
    uint64_t image_offset;
    std::shared_ptr<const PatchedImage> image;
  };
  std::map<uint64_t, Patched> patched_;  // by address
  Result<size_t> read_host(uint64_t addr, std::span<std::byte> dst);
  Result<size_t> write_host(uint64_t addr, ByteSpan src);

  Result<void> do_or_order(Context* via, const Command& command);
  // Hands the agent a list and waits until it is done; what came back is a hint.
  // munmap by the template's agent, before there is a fiber; what it gives.
  Result<int64_t> unmap_first(uint64_t addr, uint64_t length);
  Result<std::vector<int64_t>> run_agent(std::span<const Command> list,
                                         std::span<const int> descriptors = {}, Then then = Then::kWakeCaller);
  // `become`: CommandPage's.
  void post(std::span<const Command> list, Then then = Then::kWakeCaller, uint64_t become = 0);
  // Has the agent look at its list: by the caller's own thread, if that is about to wait.
  void wake_agent(Then then);
  static Result<void> send_descriptors(const UniqueFd& socket, std::span<const int> descriptors);
  // The next message of the agent; its author's pid as the host attests it. Blocks, at most 10 s.
  Result<std::vector<int64_t>> await_agent(int* author);
  // `then` when it has come, and is dropped.
  void pass_over_answer(std::function<void()> then);
  void agent_is_silent() const;
  // A forked stub, whose first guest thread waits for its first reply. It comes to be on one of `cpus`, if any are given.
  struct FirstThread {
    uint32_t slot;
    uint64_t frame;
    uint32_t flags;
  };
  Result<std::shared_ptr<TrapSpace>> fork_stub(const FirstThread& first, const std::optional<cpu_set_t>& cpus);
  // One that nobody uses yet: first_thread() hands out its thread.
  Result<std::shared_ptr<TrapSpace>> fork_new(const std::optional<cpu_set_t>& cpus);
  // The same from the host process of one that is over (kill()); null: of that nobody else can make use.
  std::shared_ptr<TrapSpace> succeed();
  bool may_be_succeeded() const;
  bool others_gone() const;  // threads that have been told to exit
  bool is_only_thread(const Context& context) const;
  // Its thread has left.
  bool vacant() const;
  bool has_thread(int tid) const;  // as the host says
  void ready_page(uint32_t slot, uint64_t frame, uint32_t start_flags);
  Result<uint32_t> take_slot();
  void process_died();
  void end_process();
  ControlHeader& header() const { return *static_cast<ControlHeader*>(memory_.control.data()); }
  OwnMemory& own_words() const { return *reinterpret_cast<OwnMemory*>(static_cast<char*>(memory_.control.data()) + STUB_OWN_MEMORY); }
  ControlPage& page(uint32_t slot) const {
    return *reinterpret_cast<ControlPage*>(static_cast<char*>(memory_.control.data()) + (slot + 1) * 0x1000);
  }

  TrapPlatform& platform_;
  UniqueFd socket_, files_;
  StubMemory memory_;
  int pid_ = 0;
  std::optional<cpu_set_t> agent_cpus_;
  // The agent's lives as long as the process. Where that one was forked from a guest's, its first thread has pid_ and may end before; in a new
  // one the agent has, and guest threads come and go.
  int agent_tid_ = 0, first_tid_ = 0;
  bool dead_ = false;    // given up, or gone
  bool killed_ = false;  // told so
  std::unique_ptr<const SleepBlock> sleep_;
  FiberMutex agent_mutex_;
  std::unordered_map<uint32_t, TrapContext*> contexts_;
  uint32_t next_slot_ = 0;
  RingNumbers rings_;
  uint32_t sleep_word(uint32_t slot) const { return sleep_->word(slot); }
  uint32_t agent_word() const { return sleep_->agent(); }
  bool leaves_ = false;                 // told to end its thread, that another one may succeed it
  bool needs_thread_ = false;           // has succeeded one: the first mappings bring its first thread,
  bool proves_ = false;                 // and show that it is alone
  uint64_t left_at_ = 0, cpu_before_ns_ = 0;
  bool made_here_ = false;              // on the worker's core
  std::optional<uint32_t> fresh_slot_;  // the thread that first_thread() hands out
  std::vector<uint32_t> free_slots_;  // given up; usable once the host says that the thread is gone
  int running_ = 0;
  std::unique_ptr<Answer> answer_;
};

class TrapPlatform final : public Platform, private FdHandler {
 public:
  // Starts the template stub. Before the Sentry's seccomp filter: this execs.
  static Result<std::unique_ptr<TrapPlatform>> create(EventLoop& loop, EventSink& sink);
  ~TrapPlatform() override;

  std::string_view name() const override { return "trap"; }
  Result<AddressSpaceRef> create_address_space() override;
  uint64_t vdso() const override { return vdso_; }
  bool poll() override;
  bool spin() override;
  bool waiting() const override;
  void before_sleep() override;
  void after_sleep() override;
  void on_park(void* context) override { static_cast<TrapContext*>(context)->will_wait(); }
  // One that has asked alone for a while has a core, or it would not have.
  bool wants_core() const override { return wakes_.share_core() || in_a_row_ < kAlone; }
  bool take_woken() override { return std::exchange(woken_, false); }
  bool tells_names() const override { return true; }
  void tell_of_name(uint64_t secret, std::string_view path, uint32_t facts) override;
  void forget_names() override;
  void forget_missing_names() override;
  uint32_t stat_record(uint64_t secret, bool follow, std::string_view path) override;
  void tell_of_stat(uint32_t record, uint64_t secret, bool follow, std::string_view path, const ToldStat& st) override;
  void forget_stat(uint32_t record) override;
  void files_changed() override { __atomic_fetch_add(&shared().files_round, 1, __ATOMIC_SEQ_CST); }
  void set_cores(int most) override;
  void set_profiling(bool on) override { shared().profiling = on ? 1 : 0; }
  int running_contexts() const override { return running_ - wakes_.waiting(); }

 private:
  friend class TrapSpace;
  friend class TrapContext;
  friend class Wakes;
  friend struct Unborn;
  TrapPlatform(EventLoop& loop, EventSink& sink);
  Result<void> start_template();
  Result<void> greet_template();
  Result<Unborn> take_unborn();
  Result<Unborn> make_unborn();
  // Takes the pages of a stub: those of the next one, once the host says that nobody is left who could write to them.
  void reuse(int pid, StubMemory memory, uint32_t slots);
  void renew(StubMemory memory, uint32_t slots);
  static bool renew_control(StubMemory& memory, uint32_t slots);
  // Lets go of a space whose process is no longer wanted, soon.
  void bury(std::shared_ptr<TrapSpace> space);
  void bury_one();
  // Keeps one for a successor. False: there are enough.
  bool keep_left(std::shared_ptr<TrapSpace> space);
  void expire_left();
  void bury_here();
  void work_meanwhile();
  void expect_chores();
  void chores_due();
  void arm_chores(uint64_t now);
  void do_chore();
  bool poll_space(TrapSpace& space);
  bool poll_context(TrapContext& context);
  // Has this context's state looked at in each round, if there is room for one more.
  void want_polled(TrapContext& context);
  void stop_polling(TrapContext& context);
  void forget(TrapContext& context);
  void on_ready(uint32_t events) override;  // the wake eventfd
  void reap();
  void count_guess(int pid);
  void await_agent(int change) {
    agents_awaited_ += change;
    loop_.expect_descriptor(change);
  }
  void count_running(int change);
  void count_asleep(int change);
  void set_guest_spin();  // after each change of what it depends on
  void tell_cpu();
  // Those that we may run on, but for the one that we run on; none: there are no others.
  std::optional<cpu_set_t> other_cpus() const;
  Wakes& wakes() { return wakes_; }
  void add(TrapSpace& space);
  void remove(TrapSpace& space);
  SharedPage& shared() const { return *static_cast<SharedPage*>(shared_.data()); }

  class ChildWatch;
  EventLoop& loop_;
  EventSink& sink_;
  SleepBlocks sleep_blocks_;
  SharedMemory shared_;
  std::optional<TextPatcher> patcher_;  // none where the host or the CPU does not allow it
  bool has_waitv_ = false;  // futex_waitv(2), since Linux 5.16
  UniqueFd wake_;
  std::unique_ptr<ChildWatch> children_;
  std::shared_ptr<TrapSpace> template_;
  std::vector<std::shared_ptr<TrapSpace>> ready_;  // made ahead of need
  size_t ready_wanted_ = 1;
  bool started_ = false;  // the first program has come; there could be no stub ready for it
  std::deque<Unborn> unborn_;                      // likewise
  struct Used {
    StubMemory memory;
    uint32_t slots;
  };
  static constexpr size_t kMaxReused = 16;
  std::map<int, Used> dying_;         // by the pid of whom the host has not reported dead yet
  std::vector<StubMemory> renewed_;
  std::deque<std::shared_ptr<TrapSpace>> buried_;  // to be killed when there is time
  std::deque<std::shared_ptr<TrapSpace>> left_;    // to be succeeded
  Wakes wakes_;
  Timer left_expire_;
  Timer chores_;
  bool in_chores_ = false;
  uint64_t chores_at_ = 0;
  bool chores_can_wait_ = false;  // until then
  uint64_t chores_latest_ = 0;  // then they are done in any case
  static constexpr int kAlone = 32;
  const TrapContext* last_asked_ = nullptr;
  int in_a_row_ = 0;  // requests of that one
  uint64_t stats_told_ = 0;
  uint64_t requests_ = 0, replies_ = 0;
  uint64_t activity_seen_ = 0;  // the sum of both, when the chores were due last
  int agents_awaited_ = 0;
  std::vector<TrapSpace*> active_;  // those with a running context
  static constexpr size_t kMaxPolled = 16;
  std::vector<TrapContext*> polled_;  // their guests ring no bell
  std::map<int, TrapSpace*> by_pid_;
  static constexpr int kMaxGuesses = 10'000;
  int guesses_ = 0;
  uint64_t vdso_ = 0;
  int running_ = 0;
  int asleep_ = 0;  // of those that do not run: asleep in calls at the host
  bool woken_ = false;
  int cpus_ = 1;  // that threads run on at once
  uint32_t guest_spin_ = 0;
  cpu_set_t allowed_cpus_{};
};

}  // namespace run9::sentry::trap
