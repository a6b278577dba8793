// Files that guest threads map themselves (docs/decisions/0024), and read and write themselves (docs/decisions/0034, 0035).
#include <fcntl.h>
#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <utility>

#include "sentry/platform/trap/agent_commands.h"
#include "sentry/platform/trap/trap_platform.h"

namespace run9::sentry::trap {

// What a thread that ended before left there would be taken for the next one's.
bool TrapSpace::files_taken() const {
  int left = 0;
  return files_.valid() && ioctl(files_.get(), SIOCOUTQ, &left) == 0 && left == 0;
}

bool TrapSpace::order_files(TrapContext& by, std::span<const MapRequest> asked, std::span<const MapRequest> list) {
  if (by.space_.get() != this || by.watched_ || by.orders_.size() + 1 + list.size() > kMaxOrders) return false;
  std::array<int, kMaxFiles> files;
  size_t count = 0;
  std::vector<ThreadOrder> orders(1);
  for (size_t i = 0; i < list.size(); ++i) {
    const MapRequest& r = list[i];
    const bool is_copy = r.fd.get() != asked[i].fd.get();  // PatchedImage::memory, which is sealed
    if (!r.fd.valid() || (r.shared && (r.prot & PROT_WRITE) != 0 && !r.may_write_file) || (r.extra_flags & ~(MAP_NORESERVE | MAP_POPULATE)) != 0) return false;
    // The host may refuse it, and the guest has to hear of that.
    if (!is_copy && (r.prot & PROT_EXEC) != 0) return false;
    // The thread gets the descriptor, to do with it what mmap(2) can.
    if (!is_copy && !r.may_write_file && (fcntl(r.fd.get(), F_GETFL) & O_ACCMODE) != O_RDONLY) return false;
    auto* const end = files.begin() + count;
    const auto at = static_cast<size_t>(std::find(files.begin(), end, r.fd.get()) - files.begin());
    if (at == kMaxFiles) return false;
    if (at == count) files[count++] = r.fd.get();
    ThreadOrder o = as_order(map_command(r, static_cast<int>(at)));
    o.kind = kOrderMapFile;
    orders.push_back(o);
  }
  for (const MapRequest& r : list) settle(&by, r.addr, r.length);
  // Of two threads that have not received theirs yet one would get the other's.
  if (!files_taken() || !send_descriptors(files_, std::span(files).first(count)).has_value()) return false;
  orders.front().kind = kOrderReceive;
  for (const ThreadOrder& o : orders) by.queue(o);
  return true;
}

OwnFiles& TrapSpace::own_files(uint32_t slot) const {
  return *reinterpret_cast<OwnFiles*>(static_cast<std::byte*>(memory_.control.data()) + (own_files_address(slot) - STUB_CTL));
}

namespace {

static_assert(kOwnFiles == kGivenFiles);

constexpr uint32_t kPageSlots = kPage / STUB_OWN_FILES_SIZE;

uint32_t entry_of(int fd) { return static_cast<uint32_t>(fd) % kOwnFiles; }
uint32_t said(int fd) { return static_cast<uint32_t>(fd) + 1; }

}  // namespace

bool TrapSpace::has_own_files(uint32_t slot) const { return slot < STUB_BULK_SLOTS && (memory_.own_file_pages >> (slot / kPageSlots) & 1) != 0; }

bool TrapContext::takes_files() const { return in_call_ && !watched_ && slot_ < STUB_BULK_SLOTS && orders_.empty(); }

bool TrapContext::give_file(const GivenFile& file) {
  const int host = file.host.get();
  const bool is_null = !file.host.valid();
  // The thread gets the descriptor, to do with it what mmap(2), pread(2), pwrite(2) and appending can.
  if (!takes_files() || (!is_null && !file.may_write && (fcntl(host, F_GETFL) & O_ACCMODE) != O_RDONLY)) return false;
  if (!is_null && (!space_->files_taken() || !space_->send_descriptors(space_->files_, std::span(&host, 1)).has_value())) return false;
  space_->memory_.own_file_pages |= static_cast<uint8_t>(1u << (slot_ / kPageSlots));
  ThreadOrder o{};
  o.kind = kOrderKeepFile;
  o.args[0] = entry_of(file.fd);
  o.args[1] = said(file.fd);
  o.args[2] = file.position.value_or(kNoPosition);
  o.args[3] = is_null ? kDiscards : (file.reads ? kMayRead : 0) | (file.appends ? kAppends : file.writes ? kMayWrite : 0);
  queue(o);
  return true;
}

void TrapContext::give_position(int fd, uint64_t position) {
  OwnFile& entry = space_->own_files(slot_).entries[entry_of(fd)];
  if (take(entry.fd) == said(fd)) __atomic_store_n(&entry.position, position, __ATOMIC_SEQ_CST);
}

std::optional<uint64_t> TrapContext::take_position(int fd) {
  OwnFile& entry = space_->own_files(slot_).entries[entry_of(fd)];
  if (take(entry.fd) != said(fd)) return {};
  const uint64_t position = __atomic_exchange_n(&entry.position, kNoPosition, __ATOMIC_SEQ_CST);
  if (position > INT64_MAX) return {};
  return position;
}

void TrapContext::take_file(int fd) {
  OwnFiles& files = space_->own_files(slot_);
  OwnFile& entry = files.entries[entry_of(fd)];
  if (take(entry.fd) != said(fd)) return;
  __atomic_store_n(&entry.fd, 0, __ATOMIC_SEQ_CST);
  __atomic_store_n(&files.stale, 1, __ATOMIC_SEQ_CST);
}

void TrapContext::note_own_calls(ThreadTimes& times) {
  const OwnFiles& files = space_->own_files(slot_);
  for (size_t i = 0; i < kOwnCallKinds; ++i) {
    const ThreadTimes::OwnCalls now{take(files.notes[i].count), take(files.notes[i].ticks)};
    const ThreadTimes::OwnCalls before = std::exchange(own_calls_[i], now);
    times.own_calls[i] = {now.count - before.count, now.ticks - before.ticks};
  }
}

void TrapContext::take_all_files() {
  if (!space_->has_own_files(slot_)) return;
  OwnFiles& files = space_->own_files(slot_);
  for (OwnFile& entry : files.entries) __atomic_store_n(&entry.fd, 0, __ATOMIC_SEQ_CST);
  __atomic_store_n(&files.stale, 1, __ATOMIC_SEQ_CST);
}

}  // namespace run9::sentry::trap
