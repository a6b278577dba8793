// TrapSpace, how processes and threads come to be: forks of stubs by their agents, first threads, threads by orders.
#include <asm/unistd.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <ucontext.h>

#include <utility>

#include "sentry/platform/trap/agent_commands.h"
#include "sentry/platform/trap/filters.h"
#include "sentry/platform/trap/trap_platform.h"
#include "sentry/sched/fiber.h"

namespace run9::sentry::trap {
namespace {

constexpr uint8_t kForkPatience = 3, kSuccessorPatience = 4;

// Where the frame of a thread that starts from nothing lies in its alternate stack.
uint64_t fresh_frame(uint32_t slot) {
  return STUB_STACKS + (uint64_t{slot} + 1) * STUB_SLOT_STACK - STUB_FAST_STACK - 4096;
}

uint64_t first_stack(uint64_t frame) { return (frame - 1024) & ~uint64_t{15}; }

// Has the agent make the first guest thread.
Command guest_command(uint32_t slot, uint64_t frame) {
  return command(__NR_clone, kGuestFlags, first_stack(frame), page_address(slot) + offsetof(ControlPage, host_tid),
                 page_address(slot) + offsetof(ControlPage, alive), 0, 0, kGuest);
}

}  // namespace

Result<uint32_t> TrapSpace::take_slot() {
  for (size_t i = 0; i < free_slots_.size(); ++i) {
    const uint32_t slot = free_slots_[i];
    if (__atomic_load_n(&page(slot).alive, __ATOMIC_ACQUIRE) != 0) continue;
    free_slots_.erase(free_slots_.begin() + static_cast<ptrdiff_t>(i));
    return slot;
  }
  if (next_slot_ >= STUB_SLOTS) return Errno{EAGAIN};
  return next_slot_++;
}

// The page that thread_main finds: it waits there for the first reply.
void TrapSpace::ready_page(uint32_t slot, uint64_t frame, uint32_t start_flags) {
  ControlPage& p = page(slot);
  p.line = CallLine{};
  p.alive = 1;
  p.host_tid = 0;
  p.frame = frame;
  p.start_flags = start_flags;
  p.orders_done = 0;
  p.patience = 0;
  p.hand_to = 0;
  p.robust_list = 0;
  if (header().clear_slot == slot + 1) header().clear_slot = 0;
  p.keeps = 0;
  p.times = {};
  if (has_own_files(slot)) own_files(slot) = {};
  p.sleep_word = sleep_word(slot);
  __atomic_store_n(&p.line.state, kRequest, __ATOMIC_RELEASE);
}

Result<Unborn> Unborn::create(TrapPlatform& platform, std::optional<StubMemory> memory) {
  int pair[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) return last_errno();
  const int on = 1;
  setsockopt(pair[0], SOL_SOCKET, SO_PASSCRED, &on, sizeof on);
  StubSockets ours, theirs;
  ours.agent = UniqueFd(pair[0]), theirs.agent = UniqueFd(pair[1]);
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) return last_errno();
  ours.files = UniqueFd(pair[0]), theirs.files = UniqueFd(pair[1]);
  if (!memory) {
    memory.emplace();
    memory->commands = TRY(SharedMemory::create("run9-commands", 0x1000, true));
    memory->control = TRY(SharedMemory::create("run9-control", STUB_CTL_SIZE, false));
  }
  auto sleep = std::make_unique<const SleepBlock>(platform.sleep_blocks_);
  return Unborn{std::make_shared<TrapSpace>(platform, std::move(ours), std::move(*memory), std::move(sleep)), std::move(theirs)};
}

// The child of a guest's agent is that until it has made one of its own, and its process's first guest thread from then on. A new one's stays the
// agent, and makes a guest thread.
Result<std::shared_ptr<TrapSpace>> TrapSpace::fork_stub(const FirstThread& first, const std::optional<cpu_set_t>& cpus) {
  auto [child, theirs] = TRY(platform_.take_unborn());
  const int descriptors[] = {child->memory_.commands.fd().get(), child->memory_.control.fd().get(), theirs.agent.get(), theirs.files.get()};
  const bool is_new = (first.flags & kNewFrame) != 0;
  child->ready_page(first.slot, first.frame, first.flags);
  // One that has been made ahead waits long; another has its answer soon after we know of it.
  child->page(first.slot).patience = is_new ? 0 : kForkPatience;
  const Command agent = command(__NR_clone, kAgentFlags, 0, STUB_CTL + offsetof(ControlHeader, agent_tid), 0, 0, 0, kAgent);
  const Command childs[] = {
      command(__NR_mmap, STUB_CTL, STUB_CTL_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, received(1)),
      command(__NR_dup2, received(2), STUB_FD_AGENT),
      command(__NR_dup2, received(3), STUB_FD_FILES),
      command(__NR_close_range, 0, STUB_FD_AGENT - 1),
      command(__NR_close_range, STUB_FDS_END, ~0u),
      command(__NR_madvise, STUB_CTL, STUB_CTL_SIZE, MADV_DONTFORK),
      is_new ? guest_command(first.slot, first.frame) : agent,
  };
  child->post(childs, Then::kSleep, is_new ? 0 : first_stack(first.frame));

  const Command list[] = {
      receive_command(),
      command(__NR_clone, kForkFlags, 0, 0, page_address(first.slot) + offsetof(ControlPage, alive), 0, 0, kFork),
      command(__NR_close_range, 0, STUB_FD_AGENT - 1),
      command(__NR_close_range, STUB_FDS_END, ~0u),
  };
  agent_mutex_.lock();
  if (auto sent = dead_ ? Result<void>(Errno{EIO}) : send_descriptors(socket_, descriptors); !sent.has_value()) {
    agent_mutex_.unlock();
    return sent.error();
  }
  keep_agent_on(cpus);
  child->agent_cpus_ = agent_cpus_;  // inherited
  post(list, Then::kSleep);
  wake_agent(Then::kSleep);
  theirs = {};
  platform_.work_meanwhile();
  // Whether there is a child the parent's memory may lie about: a child says so itself, and without one its socket
  // is at its end, since nobody has the other.
  int author = 0;
  const auto results = child->await_agent(&author);
  // What the agent still has to do nobody waits for but its next list.
  pass_over_answer([this] { agent_mutex_.unlock(); });
  if (!results.has_value() || author <= 0) return Errno{EAGAIN};
  child->pid_ = author;
  platform_.by_pid_[author] = child.get();
  const bool complete = results.value().size() == std::size(childs) && results.value().back() > 0;
  child->agent_tid_ = child->first_tid_ = author;
  if (is_new) {  // no guest could write there yet
    child->first_tid_ = static_cast<int>(child->page(first.slot).host_tid);
  } else if (complete) {
    child->page(first.slot).host_tid = static_cast<uint32_t>(author);
    child->agent_tid_ = static_cast<int>(child->header().agent_tid);
  }
  if (!complete) return Errno{EAGAIN};
  return child;
}

Result<AddressSpace::Child> TrapSpace::fork(Context& parent, const Regs& regs) {
  auto& from = static_cast<TrapContext&>(parent);
  settle(nullptr, 0, kGuestEnd);
  const uint32_t slot = from.slot_;
  // The parent's frame is in its alternate stack, private memory that the child has a copy of; the child's
  // thread starts from it.
  const uint64_t base = STUB_STACKS + uint64_t{slot} * STUB_SLOT_STACK;
  if (from.frame_ < base + 4096 || from.frame_ > base + STUB_SLOT_STACK - STUB_FAST_STACK - sizeof(ucontext_t)) {
    return Errno{EAGAIN};
  }
  // On our core it would take the turn of who is to answer it.
  auto space = TRY(fork_stub({slot, from.frame_, 0}, platform_.other_cpus()));
  from.forked_ = true;
  auto context = std::make_unique<TrapContext>(space, slot);
  space->patched_ = patched_;
  space->next_slot_ = slot + 1;
  for (uint32_t s = 0; s < slot; ++s) space->free_slots_.push_back(s);
  context->page().fpstate = __atomic_load_n(&from.page().fpstate, __ATOMIC_RELAXED);  // the frame's copy has it too
  context->prepare(regs, from.frame_, 0, 0);  // the agent made the thread: its bases are 0
  context->fresh_ = true;
  return Child{space, std::move(context)};
}

Result<std::shared_ptr<TrapSpace>> TrapSpace::fork_new(const std::optional<cpu_set_t>& cpus) {
  auto made = TRY(fork_stub({0, fresh_frame(0), kNewFrame}, cpus));
  made->fresh_slot_ = made->next_slot_++;
  return made;
}

// The host refuses the first, and all is over, as long as anybody but the agent uses this memory: no code of the last guest is left.
TrapSpace::Around TrapSpace::prepare_thread() {
  const uint64_t used = STUB_STACKS + STUB_SLOT_STACK * uint64_t{next_slot_} - STUB_BASES;
  const uint64_t frame = fresh_frame(0);
  next_slot_ = 1;
  ready_page(0, frame, kNewFrame);
  page(0).patience = kSuccessorPatience;
  return {without_rings({command(__NR_unshare, CLONE_VM, 0, 0, 0, 0, 0, kMust), unmap_all(), command(__NR_madvise, STUB_BASES, used, MADV_DONTNEED)}),
          {guest_command(0, frame)}};
}

// The thread was made with the stub, and waits for its first reply.
Result<std::unique_ptr<Context>> TrapSpace::first_thread(const Regs& regs) {
  if (!fresh_slot_ || dead_) return Errno{EAGAIN};
  const uint32_t slot = *std::exchange(fresh_slot_, std::nullopt);
  auto context = std::make_unique<TrapContext>(
      std::static_pointer_cast<TrapSpace>(shared_from_this()), slot);
  context->prepare(regs, fresh_frame(slot), 0, 0);
  context->starts_ = made_here_;
  return context;
}

Result<std::unique_ptr<Context>> TrapSpace::clone_thread(Context& parent, const Regs& regs,
                                                           bool parent_waits) {
  auto& from = static_cast<TrapContext&>(parent);
  if (from.orders_.size() >= kMaxOrders) return Errno{EAGAIN};
  const uint32_t slot = TRY(take_slot());
  auto context = std::make_unique<TrapContext>(
      std::static_pointer_cast<TrapSpace>(shared_from_this()), slot);
  // A caller without a frame makes a thread without one.
  const uint64_t frame = from.frame_ == 0 ? 0 : from.frame_ + (uint64_t{slot} - from.slot_) * STUB_SLOT_STACK;
  ready_page(slot, frame, 0);
  context->fresh_ = true;
  // The host's clone copies the bases; thread_main sets the one that we use ourselves.
  const bool ours = (platform_.shared().xstate_size & 0x80000000u) != 0;
  context->prepare(regs, frame, from.known_fs_, ours ? 0 : from.known_gs_);
  ThreadOrder o{};
  o.kind = kOrderThread;
  o.args[0] = slot;
  from.queue(o);
  if (parent_waits) {
    TRY(from.carry_out_now());
    from.forked_ = true;
  }
  return context;
}

}  // namespace run9::sentry::trap
