// The control page: forged requests, windows that lie, states that change while the Sentry answers, and %gs, by
// which the dispatcher finds the page.
#include <linux/audit.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <thread>

#include "sentry/platform/trap/call_parts.h"
#include "tests/hostile/attack.h"

namespace hostile {
namespace {

using namespace run9::sentry::trap;

constexpr uint8_t kInPage = 0x5a, kInMemory = 0xa5;
constexpr uint64_t kInPageWord = 0x5a5a5a5a5a5a5a5a;  // small input lies in the line

// Reads a pipe to its end: every byte must be one that the writer had. An attack in which there are not both kinds
// has done nothing, unless there was no time for it.
void check_bytes(int fd, bool expect_both, bool any) {
  constexpr ssize_t kEnough = 512 << 10;
  uint8_t buffer[4096];
  bool page = false, memory = false;
  ssize_t n, total = 0;
  while ((n = read(fd, buffer, sizeof buffer)) > 0) {
    total += n;
    for (ssize_t i = 0; i < n; ++i) {
      page |= buffer[i] == kInPage;
      memory |= buffer[i] == kInMemory;
      if (!any && buffer[i] != kInPage && buffer[i] != kInMemory) {
        broken("byte %02x came from outside the windows", buffer[i]);
        return;
      }
    }
  }
  if (expect_both && total > kEnough && !(page && memory)) broken("the windows had no effect");
}

constexpr uint16_t kLengths[] = {0, 1, 8, 16, 17, kInBuffer - 1, kInBuffer, kInBuffer + 1, kOutBuffer, 4096, 0x7fff, 0xffff};

struct Target {
  ControlPage* page;
  uint64_t memory;
  bool messages;
};

// Swaps honest lengths and lies, in the moment between the Sentry's check and its use.
void* change_lengths(void* argument) {
  const Target t = *static_cast<Target*>(argument);
  for (;;) {
    for (int i = 0; i < kWindows; ++i) {
      *const_cast<volatile uint16_t*>(&t.page->line.in_length[i]) = i == 1 && t.messages ? kAllParts : 1024;
      *const_cast<volatile uint16_t*>(&t.page->line.in_length[i]) = static_cast<uint16_t>(dice());
    }
    *const_cast<volatile uint8_t*>(&t.page->line.out_ready) = static_cast<uint8_t>(dice());
  }
}

// Arrays of iovec that name what is there and what is not, and how much came along of them.
void forge_vectors(ControlPage* c, uint64_t memory, uint64_t room, int to, int from) {
  constexpr uint64_t kParts = kInBuffer / sizeof(iovec);
  static iovec theirs[kParts];  // what the Sentry finds where none of it came along
  const bool writes = dice(2) != 0;
  const uint64_t at[] = {writes ? memory : room, writes ? memory : room, 0, STUB_CTL, ~uint64_t{4095}};
  for (iovec& part : theirs) part = {reinterpret_cast<void*>(at[dice(5)]), dice(8) == 0 ? ~size_t{0} : dice(200)};
  const uint64_t parts = 1 + dice(kParts);
  memcpy(c->in_buffer, theirs, parts * sizeof(iovec));
  c->line.in_length[1] = static_cast<uint16_t>(dice(3));
  c->line.in_length[0] = static_cast<uint16_t>(dice(2) * parts * sizeof(iovec));
  const auto array = reinterpret_cast<uint64_t>(theirs);
  if (writes) forge(c, {kReqCall, SYS_writev, {static_cast<uint64_t>(to), array, parts, 0, 0, 0}});
  if (!writes) forge(c, {kReqCall, SYS_preadv, {static_cast<uint64_t>(from), array, parts, 0, 0, 0}});
  memset(c->in_buffer, kInPage, sizeof c->in_buffer);
}

// Messages and sets, whose parts the Sentry looks for by headers that lie.
void forge_parts(ControlPage* c, uint64_t memory, uint64_t room, int to) {
  constexpr uint64_t kParts = 1 + kInBuffer / sizeof(iovec);
  static struct {
    msghdr header;
    iovec parts[kParts];
  } theirs;  // what the Sentry finds where none of it came along
  static timeval none;
  const uint64_t at[] = {memory, memory, room, 0, STUB_CTL, ~uint64_t{4095}};
  const auto anywhere = [&] { return reinterpret_cast<void*>(at[dice(6)]); };
  for (iovec& part : theirs.parts) part = {reinterpret_cast<void*>(at[dice(2)]), dice(8) == 0 ? dice() : dice(200)};
  // Not where the data is: what came along for an address is what is read there, be it an array.
  auto* const elsewhere = reinterpret_cast<iovec*>(at[2 + dice(4)]);
  theirs.header = {.msg_iov = dice(8) ? theirs.parts : elsewhere, .msg_iovlen = dice(8) ? dice(kParts + 2) : dice()};
  if (dice(4) == 0) theirs.header.msg_name = anywhere(), theirs.header.msg_namelen = static_cast<socklen_t>(dice(8) ? dice(200) : dice());
  if (dice(4) == 0) theirs.header.msg_control = anywhere(), theirs.header.msg_controllen = dice(8) ? dice(100) : dice();
  const size_t size = sizeof(msghdr) + std::min<uint64_t>(theirs.header.msg_iovlen, kParts) * sizeof(iovec);
  memcpy(c->in_buffer, &theirs, std::min(size, sizeof c->in_buffer));
  const auto socket = static_cast<uint64_t>(to), header = reinterpret_cast<uint64_t>(&theirs.header);
  c->line.in_length[0] = dice(8) ? sizeof(msghdr) : kLengths[dice(12)];
  c->line.in_length[1] = static_cast<uint16_t>(dice(4) ? kAllParts : dice(3));
  switch (dice(3)) {
    case 0: forge(c, {kReqCall, SYS_sendmsg, {socket, header, MSG_NOSIGNAL, 0, 0, 0}}); break;
    case 1: forge(c, {kReqCall, SYS_recvmsg, {socket, header, MSG_DONTWAIT, 0, 0, 0}}); break;
    default:
      memset(c->in_buffer, dice(2) ? 0 : 0xff, sizeof c->in_buffer);  // a timeout that waits for nothing
      forge(c, {kReqCall, SYS_select,
                {dice(1100), at[2 + dice(4)], at[2 + dice(4)], at[2 + dice(4)], reinterpret_cast<uint64_t>(&none), 0}});
  }
  memset(c->in_buffer, kInPage, sizeof c->in_buffer);
}

struct Lies {
  bool race = false, messages = false;
  bool late = false;  // by a thread that has no room for larger data
};

void lie(const Lies& how, const int* fds) {
  static uint8_t directory[8192];
  ControlPage* c = my_page();
  // Nothing can be read behind it: some of the lengths are longer.
  constexpr size_t kSize = 4096 + 2 * STUB_BULK_SIZE;
  void* const mapped = mmap(nullptr, kSize + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (c == nullptr || mapped == MAP_FAILED) return;
  auto* const memory = static_cast<uint8_t*>(mapped);
  mprotect(memory + kSize, 4096, PROT_NONE);
  const int file = memfd_create("page", 0);  // what is read from it lands in the bulk area
  memset(memory, kInPage, kSize);
  if (write(file, memory, kSize) != kSize) return;
  memset(memory, kInMemory, kSize);
  static Target target{c, reinterpret_cast<uint64_t>(memory) + 4096, how.messages};
  if (how.race) start_thread(change_lengths, &target);
  // From here on this thread makes no call of its own: they would use these buffers.
  memset(c->in_buffer, kInPage, sizeof c->in_buffer + sizeof c->out_buffer);
  const uint64_t slot = (reinterpret_cast<uint64_t>(c) - STUB_CTL) / 0x1000 - 1;
  if (how.late != (slot >= STUB_BULK_SLOTS)) return broken("this is slot %lu", static_cast<unsigned long>(slot));
  if (!how.late) memset(reinterpret_cast<void*>(bulk_address(slot)), kInPage, STUB_BULK_SIZE);
  while (time_left(kBriefMs)) {
    for (uint16_t& length : c->line.in_length) length = kLengths[dice(12)];
    c->line.out_ready = static_cast<uint8_t>(dice());
    const auto fd = static_cast<uint64_t>(fds[1]);
    forge(c, {kReqCall, SYS_write, {fd, target.memory, 1 + dice(kInBuffer), 0, kInPageWord, kInPageWord}});
    const uint64_t size = kInBuffer + 1 + dice(STUB_BULK_SIZE + 100);
    if (dice(2) != 0) c->line.in_length[0] = kAllInBulk;
    forge(c, {kReqCall, SYS_write, {fd, target.memory, size, 0, kInPageWord, kInPageWord}});
    forge_vectors(c, target.memory, reinterpret_cast<uint64_t>(directory), fds[1], file);
    if (how.messages) forge_parts(c, target.memory, reinterpret_cast<uint64_t>(directory), fds[1]);
    c->line.out_ready = static_cast<uint8_t>(dice());  // to memory that is not there, too
    const uint64_t to[] = {reinterpret_cast<uint64_t>(directory), 0, STUB_CTL, ~uint64_t{4095}};
    forge(c, {kReqCall, SYS_pread64, {static_cast<uint64_t>(file), to[dice(4)], kOutBuffer + dice(sizeof directory), dice(4096), 0, 0}});
    forge(c, {kReqCall, SYS_getcwd, {reinterpret_cast<uint64_t>(directory), 1 + dice(kOutBuffer), 0, 0, 0, 0}});
  }
}

// A control page says what a call reads; the Sentry must take it from there and from nowhere else of its own.
void lying_windows(Lies how) {
  int fds[2];
  if ((how.messages ? socketpair(AF_UNIX, SOCK_STREAM, 0, fds) : pipe(fds)) != 0) return;
  const pid_t reader = fork();
  if (reader == 0) {
    close(fds[1]);
    // Whoever changes lengths while they are looked at is given parts of headers for data, too.
    check_bytes(fds[0], my_page() != nullptr, how.race && how.messages);
    _exit(0);
  }
  close(fds[0]);
  in_child([&] {
    if (!how.late) return lie(how, fds);
    for (int i = 0; i < STUB_BULK_SLOTS; ++i) {
      start_thread([](void*) -> void* {
        for (;;) pause();
      });
    }
    std::thread([&] { lie(how, fds); }).join();
  }, kBriefMs + 100);
  close(fds[1]);
  waitpid(reader, nullptr, 0);
}

void windows() { lying_windows({}); }
void windows_race() { lying_windows({.race = true}); }
void late_windows() { lying_windows({.late = true}); }
void parts() { lying_windows({.messages = true}); }
void parts_race() { lying_windows({.race = true, .messages = true}); }
void late_parts() { lying_windows({.messages = true, .late = true}); }

// Requests of any kind for any slot, those that nobody uses included. Most of their authors soon ask for their own end.
void forge_at_random() {
  start_callers(2);
  for (;;) {
    ControlPage* c = page_of(dice(6));
    for (int i = 0; i < kGregs; ++i) c->gregs[i] = dice(4) ? dice(1024) : dice();
    c->line.kind = static_cast<uint8_t>(dice(10));
    for (uint64_t& a : c->line.args) a = dice(4) ? dice(1024) : dice();
    for (uint16_t& length : c->line.in_length) length = kLengths[dice(12)];
    c->line.out_ready = static_cast<uint8_t>(dice());
    c->line.woken_on = static_cast<uint8_t>(dice(3));
    c->line.polled = static_cast<uint8_t>(dice(2));
    c->frame = dice(2) ? 0 : STUB_STACKS + dice(6 * STUB_SLOT_STACK);
    c->line.nr = static_cast<int32_t>(dice(470));
    c->arch = dice(8) ? AUDIT_ARCH_X86_64 : static_cast<uint32_t>(dice());
    c->signo = static_cast<int32_t>(dice(70));
    c->order_error = static_cast<int64_t>(dice());
    c->orders_done = dice(3);
    c->host_tid = static_cast<uint32_t>(dice(64));
    c->alive = static_cast<uint32_t>(dice(2));
    __atomic_store_n(&c->line.state, static_cast<uint32_t>(dice(6)), __ATOMIC_SEQ_CST);
    ring(c);
  }
}

void forged_requests() {
  for (int round = 0; round < 40 && time_left(2000); ++round) {
    dice();
    in_child(forge_at_random, 50);
  }
}

// The state word while the Sentry answers.
void states() {
  in_child([] {
    start_callers(3);
    for (;;) __atomic_store_n(&page_of(dice(5))->line.state, static_cast<uint32_t>(dice(7)), __ATOMIC_SEQ_CST);
  });
}

// Orders that were never given, in the place of those that were.
void forge_orders() {
  start_callers(3);
  for (;;) {
    ControlPage* c = page_of(1 + dice(4));
    c->orders[dice(kMaxOrders)] = ThreadOrder{{dice(), 4096, 3, 0x32, ~uint64_t{0}, 0}, dice(470), dice(6)};
    c->order_count = static_cast<uint32_t>(dice(9));
    c->line.reply.flags = static_cast<uint32_t>(dice(2048));
    c->mode = static_cast<uint32_t>(dice(5));
    c->kicked = static_cast<uint32_t>(dice(2));
    c->tail = dice(2) ? dice() : STUB_WIDE + dice(32 * STUB_WIDE_SIZE);
    c->reason = static_cast<uint32_t>(dice(5));
  }
}

void forged_orders() {
  for (int round = 0; round < 20 && time_left(2000); ++round) {
    dice();
    in_child(forge_orders, 50);
  }
}

// Calls from patched sites with a %gs that leads elsewhere: another thread's page, memory of the guest's, nothing.
void forged_gs() {
  static uint64_t memory[1024];
  if (my_page() == nullptr) return;
  memory[0xff8 / 8] = reinterpret_cast<uint64_t>(memory);
  const uint64_t bases[] = {STUB_CTL + 0x2000, STUB_CTL + 0x3000, STUB_CTL, reinterpret_cast<uint64_t>(memory), 0, 8,
                            STUB_SHARED, STUB_TEXT, STUB_CTL + STUB_CTL_SIZE, STUB_STACKS - 0xff8, 0x7fffffffffff};
  for (uint64_t base : bases) {
    in_child([base] {
      start_callers(2);
      usleep(5000);
      char text[100];
      asm volatile("wrgsbase %0" : : "r"(base));
      for (;;) {
        getppid();
        getcwd(text, sizeof text);
        (void)!read(-1, text, sizeof text);
      }
    }, 100);
  }
}

}  // namespace

const Attack control_page_attacks[] = {{"windows", windows},
                                       {"windows_race", windows_race},
                                       {"parts", parts},
                                       {"parts_race", parts_race},
                                       {"late_windows", late_windows},
                                       {"late_parts", late_parts},
                                       {"forged_requests", forged_requests},
                                       {"states", states},
                                       {"forged_orders", forged_orders},
                                       {"forged_gs", forged_gs},
                                       {}};

}  // namespace hostile
