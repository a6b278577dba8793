#include "sentry/task/fd_table.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace run9::sentry {
namespace {

// sysctl fs.nr_open: no limit lets a table grow past it.
constexpr uint64_t kMaxTable = 1 << 20;

}  // namespace

Result<vfs::FileRef> FdTable::get(GuestFd fd) const {
  const auto n = static_cast<uint32_t>(to_int(fd));
  if (n >= entries_.size() || entries_[n].file == nullptr) return Errno{EBADF};
  return entries_[n].file;
}

Result<vfs::FileRef> FdTable::get_not_path(GuestFd fd) const {
  const auto n = static_cast<uint32_t>(to_int(fd));
  if (n >= entries_.size() || entries_[n].file == nullptr) return Errno{EBADF};
  if ((entries_[n].file->flags() & O_PATH) != 0) return Errno{EBADF};
  return entries_[n].file;
}

Result<GuestFd> FdTable::install(vfs::FileRef file, bool cloexec, uint64_t limit, int min) {
  limit = std::min(limit, kMaxTable);
  size_t n = std::max(first_free_, static_cast<size_t>(min));
  while (n < entries_.size() && entries_[n].file != nullptr) ++n;
  if (n >= limit) return Errno{EMFILE};
  if (n >= entries_.size()) entries_.resize(n + 1);
  entries_[n] = {std::move(file), cloexec};
  if (static_cast<size_t>(min) <= first_free_) first_free_ = n + 1;
  return GuestFd{static_cast<int32_t>(n)};
}

Result<std::pair<GuestFd, GuestFd>> FdTable::install_pair(vfs::FileRef a, vfs::FileRef b,
                                                          bool cloexec, uint64_t limit) {
  const GuestFd first = TRY(install(std::move(a), cloexec, limit));
  auto second = install(std::move(b), cloexec, limit);
  if (!second.has_value()) {
    (void)remove(first).has_value();
    return second.error();
  }
  return std::pair{first, second.value()};
}

Result<vfs::FileRef> FdTable::install_at(GuestFd fd, vfs::FileRef file, bool cloexec,
                                         uint64_t limit) {
  const auto n = static_cast<uint32_t>(to_int(fd));
  if (n >= std::min(limit, kMaxTable)) return Errno{EBADF};
  if (n >= entries_.size()) entries_.resize(n + 1);
  left(n);
  vfs::FileRef old = std::move(entries_[n].file);
  entries_[n] = {std::move(file), cloexec};
  return old;
}

Result<vfs::FileRef> FdTable::remove(GuestFd fd) {
  const auto n = static_cast<uint32_t>(to_int(fd));
  if (n >= entries_.size() || entries_[n].file == nullptr) return Errno{EBADF};
  left(n);
  vfs::FileRef old = std::move(entries_[n].file);
  entries_[n] = {};
  first_free_ = std::min<size_t>(first_free_, n);
  return old;
}

Result<bool> FdTable::cloexec(GuestFd fd) const {
  const auto n = static_cast<uint32_t>(to_int(fd));
  if (n >= entries_.size() || entries_[n].file == nullptr) return Errno{EBADF};
  return entries_[n].cloexec;
}

Result<void> FdTable::set_cloexec(GuestFd fd, bool on) {
  const auto n = static_cast<uint32_t>(to_int(fd));
  if (n >= entries_.size() || entries_[n].file == nullptr) return Errno{EBADF};
  entries_[n].cloexec = on;
  return ok();
}

std::shared_ptr<FdTable> FdTable::clone() const {
  auto copy = std::make_shared<FdTable>(*this);
  if (left_ == nullptr) return copy;
  copy->left_ = nullptr;
  for (Entry& e : copy->entries_) e.watched = false;
  return copy;
}

void FdTable::watch(GuestFd fd, const std::function<void(int fd)>& left) {
  Entry& e = entries_[static_cast<size_t>(to_int(fd))];
  CHECK(e.file != nullptr);
  e.watched = true;
  if (left_ == nullptr) left_ = left;
}

void FdTable::left(size_t n) {
  if (std::exchange(entries_[n].watched, false)) left_(static_cast<int>(n));
}

std::vector<vfs::FileRef> FdTable::remove_cloexec() {
  std::vector<vfs::FileRef> gone;
  for (size_t n = 0; n < entries_.size(); ++n) {
    if (entries_[n].file == nullptr || !entries_[n].cloexec) continue;
    left(n);
    gone.push_back(std::move(entries_[n].file));
    entries_[n] = {};
    first_free_ = std::min(first_free_, n);
  }
  return gone;
}

std::vector<vfs::FileRef> FdTable::remove_all() { return remove_range(0, ~uint32_t{0}); }

std::vector<vfs::FileRef> FdTable::remove_range(uint32_t first, uint32_t last) {
  std::vector<vfs::FileRef> gone;
  for (size_t n = first; n < entries_.size() && n <= last; ++n) {
    if (entries_[n].file == nullptr) continue;
    left(n);
    gone.push_back(std::move(entries_[n].file));
    entries_[n] = {};
    first_free_ = std::min(first_free_, n);
  }
  return gone;
}

void FdTable::take_back() {
  for (const Entry& e : entries_) {
    if (e.file != nullptr) e.file->take_back();
  }
}

void FdTable::set_cloexec_range(uint32_t first, uint32_t last) {
  for (size_t n = first; n < entries_.size() && n <= last; ++n) {
    if (entries_[n].file != nullptr) entries_[n].cloexec = true;
  }
}

}  // namespace run9::sentry
