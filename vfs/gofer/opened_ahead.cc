#include "vfs/gofer/opened_ahead.h"

#include <algorithm>

#include "vfs/gofer/coarse_now.h"

namespace run9::vfs::gofer {

void OpenedAhead::drop_oldest() {
  held_.pop_front();
  foresight_.wasted();
}

void OpenedAhead::close_old() {
  const int64_t now = coarse_now();
  while (!held_.empty() && now - held_.front().since_ns > kOldestNs) drop_oldest();
}

void OpenedAhead::put(uint64_t path, UniqueFd host) {
  close_old();
  if (std::ranges::find(held_, path, &Held::path) != held_.end()) return;
  if (held_.size() == kMost) drop_oldest();
  held_.push_back({path, std::move(host), coarse_now()});
}

void OpenedAhead::expect(Wire::Opening opening) {
  files_expected_ += opening.files.size();
  expected_.push_back(std::make_shared<Wire::Opening>(std::move(opening)));
}

size_t OpenedAhead::room() const { return kMost - std::min(kMost, held_.size() + files_expected_); }

bool OpenedAhead::has(uint64_t path) const {
  const auto expects = [&](const auto& o) { return std::ranges::find(o->files, path, &Wire::Named::path) != o->files.end(); };
  return std::ranges::find(held_, path, &Held::path) != held_.end() || std::ranges::any_of(expected_, expects);
}

void OpenedAhead::settle() {
  for (auto it = expected_.begin(); it != expected_.end();) {
    if (!(*it)->answered()) {
      ++it;
      continue;
    }
    const auto opening = *it;
    it = expected_.erase(it);
    files_expected_ -= opening->files.size();
    auto opened = opening->take();
    if (!opened) continue;
    for (Wire::Donated& o : opened.assume_value()) put(o.qid.path, std::move(o.host));
  }
}

UniqueFd OpenedAhead::take_held(uint64_t path) {
  settle();
  const auto it = std::ranges::find(held_, path, &Held::path);
  if (it == held_.end()) return {};
  UniqueFd host = std::move(it->host);
  held_.erase(it);
  foresight_.used();
  return host;
}

UniqueFd OpenedAhead::take(uint64_t path) {
  close_old();
  if (UniqueFd host = take_held(path); host.valid()) return host;
  for (const auto& opening : expected_) {
    if (std::ranges::find(opening->files, path, &Wire::Named::path) == opening->files.end()) continue;
    const auto held = opening;
    held->wait();
    return take_held(path);
  }
  return {};
}

void OpenedAhead::drop(uint64_t path) {
  std::erase_if(held_, [&](const Held& h) { return h.path == path; });
  for (const auto& opening : expected_) {
    for (Wire::Named& f : opening->files) {
      if (f.path == path) f.path = Wire::Named::kNobody;
    }
  }
}

}  // namespace run9::vfs::gofer
