// TrapContext, its windows: parts of the guest's memory that ride along in the control page (call_windows.h). Where they lie is
// worked out here, from the call as it was taken; the guest only says how much came along.
#include <algorithm>
#include <cstring>
#include <utility>

#include "sentry/platform/trap/call_parts.h"
#include "sentry/platform/trap/trap_platform.h"

namespace run9::sentry::trap {
namespace {

// All of these bytes.
bool holds(const auto& w, uint64_t addr, size_t size) {
  return addr >= w.addr && addr - w.addr <= w.size && size <= w.size - (addr - w.addr);
}

}  // namespace

// They end with the call, and where a signal's frame is made for it.
void TrapContext::drop_windows() {
  kept_.clear();
  out_used_ = 0;
  for (int i = 0; i < kWindows; ++i) in_[i] = out_[i] = {};
  bulk_ = {};
  parts_.clear();
  may_write_.clear();
  scattered_.clear();
  scatters_ = 0;
}

// From the call's number and arguments, as taken: the guest only says how much of it is in the page.
void TrapContext::take_windows(const uint64_t* args) {
  const CallLine& line = page().line;
  const CallWindows* const found = windows_of(regs_.orig_rax, args);
  if (found == nullptr) return;
  const CallWindows& rules = *found;
  uint32_t used = 0;
  for (int i = 0; i < kWindows && rules.in[i].kind != WindowKind::kNone; ++i) {
    const uint32_t size = take(line.in_length[i]);
    if (const uint64_t all = rules.in[i].bytes(args); rules.large && size == kAllInBulk && slot_ < STUB_BULK_SLOTS && goes_by_bulk(all)) {
      in_[i] = {args[rules.in[i].arg], static_cast<uint32_t>(all), kInBulk};
      note_bulk(all);
      continue;
    }
    if (size > kInBuffer - used) break;
    const bool small = rules.spare && size <= kSmall;
    if (small) memcpy(small_in_, args + 4, sizeof small_in_);
    in_[i] = {args[rules.in[i].arg], size, small ? kInLine : used};
    used = std::min(used + padded(size), kInBuffer);
  }
  if (rules.more != More::kNone) take_parts(rules.more, args, used);
  const uint8_t ready = take(line.out_ready);
  if (rules.more == More::kScatter && slot_ < STUB_BULK_SLOTS && (ready & kBulkReady) != 0) scatters_ = args[2];
  for (int i = 0; i < kWindows && (ready >> i) != 0; ++i) {
    const WindowRule& rule = rules.out[i];
    if (rule.kind == WindowKind::kNone || (ready >> i & 1) == 0) continue;
    out_[i] = {args[rule.arg], static_cast<uint32_t>(rule.out_bytes(args)), 0};
    if (rules.large && slot_ < STUB_BULK_SLOTS && (ready & kBulkReady) != 0) {
      bulk_ = {args[rule.arg], static_cast<uint32_t>(rule.bulk_bytes(args)), 0};
    }
  }
}

// In: notes where the parts lie. The kernel reads arrays and headers once more; what came along is under the addresses that stood
// there, and the guest can only take in itself.
class TrapContext::Finder {
 public:
  Finder(TrapContext& context, uint32_t used) : context_(context), place_(used, context.slot_) {}
  const std::byte* take(uint64_t addr, uint64_t size) {
    const Place at = place_.next(size);
    if (!at.found) return nullptr;
    const std::byte* const from = (at.bulk ? context_.bulk() : reinterpret_cast<const std::byte*>(context_.page().in_buffer)) + at.offset;
    if (size != 0) context_.parts_.push_back({addr, static_cast<uint32_t>(size), from});
    return from;
  }
  bool data(uint64_t total) {
    if (!place_.data(total)) return false;
    if (place_.in_bulk()) context_.note_bulk(total);
    return true;
  }

 private:
  TrapContext& context_;
  Places place_;
};

void TrapContext::take_parts(More more, const uint64_t* args, uint32_t used) {
  struct Out {
    std::vector<Window>& windows;
    bool add(uint64_t addr, uint64_t size) {
      if (size != 0) windows.push_back({addr, static_cast<uint32_t>(first_of(size)), 0});
      return true;
    }
    // One that more may be written to.
    bool add_data(uint64_t addr, uint64_t size) {
      if (first.size == 0) first = {addr, static_cast<uint32_t>(first_of(size, STUB_BULK_SIZE)), 0};
      return add(addr, size);
    }
    Window first{};
  } out{may_write_};
  Finder in(*this, used);
  const uint16_t said = take(page().line.in_length[1]);
  if (said == kSomeParts && slot_ < STUB_BULK_SLOTS) note_bulk(kMostGathered);
  if (said != kAllParts || (more != More::kSets && (in_[0].size == 0 || in_[0].offset != 0))) return;
  const std::byte* const first = reinterpret_cast<const std::byte*>(page().in_buffer);
  bool all = true;
  switch (more) {
    case More::kNone:
    case More::kScatter: return;
    case More::kGather: all = take_data(first, in_[0].size / sizeof(iovec), in); break;
    case More::kSent: all = in_[0].size == sizeof(msghdr) && take_sent(copied_once<msghdr>(first), in); break;
    case More::kReceived:
      all = in_[0].size == sizeof(msghdr) && take_received(args[1], copied_once<msghdr>(first), in, out);
      break;
    case More::kSets: all = take_sets(regs_.orig_rax, args, in, out); break;
  }
  if (all && slot_ < STUB_BULK_SLOTS) bulk_ = out.first;
  if (all) return;
  parts_.clear();
  may_write_.clear();
}

// The parts that the guest thread knows.
bool TrapContext::takes_scattered(std::span<const iovec> parts) const {
  return scatters_ != 0 && parts.size() == scatters_ && kept_.empty();
}

std::span<std::byte> TrapContext::room_for_all(std::span<const iovec> parts) const {
  return takes_scattered(parts) ? std::span(bulk(), STUB_BULK_SIZE) : std::span<std::byte>();
}

bool TrapContext::write_scattered(std::span<const iovec> parts, ByteSpan src) {
  if (!takes_scattered(parts) || src.size() > STUB_BULK_SIZE) return false;
  fill_bulk(src);
  uint32_t at = 0;
  for (const iovec& part : parts) {
    const auto n = static_cast<uint32_t>(std::min<uint64_t>(part.iov_len, src.size() - at));
    scattered_.push_back({reinterpret_cast<uint64_t>(part.iov_base), n, at});
    at += n;
  }
  kept_.push_back({0, static_cast<uint32_t>(src.size()), kScattered});
  return true;
}

std::byte* TrapContext::bulk() const {
  return static_cast<std::byte*>(space_->memory_.control.data()) + (bulk_address(slot_) - STUB_CTL);
}

// What was put into the room is there.
void TrapContext::fill_bulk(ByteSpan src) {
  if (src.data() != bulk()) memcpy(bulk(), src.data(), src.size());
  note_bulk(src.size());
}

void TrapContext::note_bulk(size_t size) {
  auto& pages = space_->memory_.bulk_pages[slot_];
  pages = std::max(pages, static_cast<uint8_t>((size + 0xfff) / 0x1000));
}

std::span<std::byte> TrapContext::room_for(uint64_t addr, size_t size) const {
  if (addr != bulk_.addr || bulk_.size == 0 || size <= kOutBuffer || !kept_.empty()) return {};
  return {bulk(), std::min<size_t>(size, bulk_.size)};
}

// The first that is written, and once.
bool TrapContext::write_bulk(uint64_t addr, ByteSpan src) {
  if (addr != bulk_.addr || src.size() > bulk_.size || !kept_.empty()) return false;
  fill_bulk(src);
  kept_.push_back({addr, static_cast<uint32_t>(src.size()), kInBulk});
  return true;
}

// Where nothing of this call lies in the bulk area.
std::span<std::byte> TrapContext::passage() const {
  const auto in_bulk = [](const Window& w) { return w.offset == kInBulk; };
  if (!in_call_ || frame_ != 0 || slot_ >= STUB_BULK_SLOTS || !kept_.empty() || !parts_.empty() || std::ranges::any_of(in_, in_bulk)) return {};
  return {bulk(), STUB_BULK_SIZE};
}

bool TrapContext::pass(uint64_t addr, size_t size, bool out) {
  if (passage().size() < size || !orders_.empty()) return false;
  note_bulk(size);
  ThreadOrder order{};
  order.kind = kOrderCopy;
  order.args[0] = out ? addr : bulk_address(slot_);
  order.args[1] = out ? bulk_address(slot_) : addr;
  order.args[2] = size;
  queue(order);
  return carry_out_now().has_value();
}

const std::byte* TrapContext::input(const Window& w) const {
  if (w.offset == kInLine) return small_in_;
  return w.offset == kInBulk ? bulk() : reinterpret_cast<const std::byte*>(page().in_buffer + w.offset);
}

bool TrapContext::read_window(uint64_t addr, std::span<std::byte> dst) const {
  for (const Window& w : in_) {
    if (!holds(w, addr, dst.size())) continue;
    memcpy(dst.data(), input(w) + (addr - w.addr), dst.size());
    return true;
  }
  for (const Part& part : parts_) {
    if (!holds(part, addr, dst.size())) continue;
    memcpy(dst.data(), part.at + (addr - part.addr), dst.size());
    return true;
  }
  return false;
}

ByteSpan TrapContext::given(uint64_t addr, size_t size) const {
  for (const Window& w : in_) {
    if (w.offset == kInBulk && w.addr == addr && w.size == size) return ByteSpan(bulk(), size);
  }
  return {};
}

size_t TrapContext::read_window_part(uint64_t addr, std::span<std::byte> dst) const {
  for (const Window& w : in_) {
    if (addr < w.addr || addr - w.addr >= w.size) continue;
    const size_t n = std::min<size_t>(dst.size(), w.size - (addr - w.addr));
    memcpy(dst.data(), input(w) + (addr - w.addr), n);
    return n;
  }
  return 0;
}

bool TrapContext::write_window(uint64_t addr, ByteSpan src) {
  const auto fits = [&](const Window& w) { return holds(w, addr, src.size()); };
  if (kept_.size() >= (may_write_.empty() ? kWindows : kMostListed)) return false;
  if (std::ranges::none_of(out_, fits) && std::ranges::none_of(may_write_, fits)) return false;
  if (kept_.empty() && src.size() <= kSmall) {
    memcpy(small_out_, src.data(), src.size());
    kept_.push_back({addr, static_cast<uint32_t>(src.size()), kInLine});
    return true;
  }
  return keep(addr, src, may_write_.empty() ? kOutBuffer : kOutList);
}

bool TrapContext::keep(uint64_t addr, ByteSpan src, uint32_t room) {
  auto* const buffer = reinterpret_cast<std::byte*>(page().out_buffer);
  if (!kept_.empty() && rides_in_line(kept_.front().offset)) {  // not alone any more
    kept_.front().offset = 0;
    out_used_ = kept_.front().size;
    memcpy(buffer, small_out_, out_used_);
  }
  if (out_used_ > room || src.size() > room - out_used_) return false;
  memcpy(buffer + out_used_, src.data(), src.size());
  kept_.push_back({addr, static_cast<uint32_t>(src.size()), out_used_});
  out_used_ += static_cast<uint32_t>(src.size());
  return true;
}

// The last of the results. Those that are not copied one by one go without.
bool TrapContext::store_frame(uint64_t addr, ByteSpan frame, uint64_t state_addr) {
  const auto alone = [](const Window& k) { return k.offset == kScattered || k.offset == kToldInLine; };
  if (!in_call_ || frame_ != 0 || watched_ || space_->platform_.shared().xfeatures == 0 || state_to_ != 0) return false;
  if (kept_.size() >= kMostListed || std::ranges::any_of(kept_, alone) || !keep(addr, frame, kOutList)) return false;
  state_to_ = state_addr;
  return true;
}

void TrapContext::hand_results_back() {
  Window* results = page().line.reply.results;
  for (size_t i = 0; i < kWindows; ++i) results[i] = i < kept_.size() ? kept_[i] : Window{};
  if (!kept_.empty() && rides_in_line(kept_.front().offset)) memcpy(&results[1], small_out_, kSmall);
  if (kept_.size() > kWindows) {
    memcpy(page().out_buffer + kOutList, kept_.data(), kept_.size() * sizeof(Window));
    results[0] = {0, static_cast<uint32_t>(kept_.size()), kListed};
  }
  kept_.clear();
  scattered_.clear();
}

bool TrapContext::tell(uint64_t addr, ByteSpan src) {
  // The way back through a signal's frame copies no results, but that into a new process does.
  if (src.size() > kSmall || !kept_.empty() || (frame_ != 0 && !fresh_)) return false;
  memcpy(small_out_, src.data(), src.size());
  kept_.push_back({addr, static_cast<uint32_t>(src.size()), kToldInLine});
  return true;
}

// A thread with a frame is in a handler, where it must not fault.
bool TrapContext::tell_of_thread(uint64_t addr, int32_t tid) {
  if (addr >= kGuestEnd || frame_ != 0 || orders_.empty() || orders_.back().kind != kOrderThread) return false;
  orders_.back().args[1] = addr;
  orders_.back().args[2] = static_cast<uint64_t>(tid);
  return true;
}

void TrapContext::flush_windows(uint64_t addr, uint64_t size) {
  const auto touches = [&](const Window& k) { return k.addr < addr + size && addr < k.addr + k.size; };
  const bool touched = std::ranges::any_of(kept_, touches) || std::ranges::any_of(scattered_, touches);
  if (!touched && !(addr == 0 && size == ~uint64_t{0})) return;
  for (const Window& part : std::exchange(scattered_, {})) {
    [[maybe_unused]] const auto done = space_->write_host(part.addr, ByteSpan(bulk() + part.offset, part.size));
  }
  for (const Window& k : std::exchange(kept_, {})) {
    if (k.offset == kScattered) continue;
    const std::byte* from = reinterpret_cast<const std::byte*>(page().out_buffer) + k.offset;
    if (rides_in_line(k.offset)) from = small_out_;
    if (k.offset == kInBulk) from = bulk();
    [[maybe_unused]] const auto done = space_->write_host(k.addr, ByteSpan(from, k.size));
  }
}

}  // namespace run9::sentry::trap
