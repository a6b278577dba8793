#include "vfs/gofer/listing.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace run9::vfs::gofer {

Listing::Entry* Listing::find(std::string_view name) {
  const auto it = by_name_.find(name);
  return it == by_name_.end() ? nullptr : &entries_[*it];
}

std::optional<uint64_t> Listing::position_of(std::string_view name) {
  const Entry* e = find(name);
  return e == nullptr ? std::nullopt : std::optional(e->position);
}

const char* Listing::keep(std::string_view name) {
  auto* const to = static_cast<char*>(names_->allocate(name.size() + 1, 1));  // "" too has a place
  std::memcpy(to, name.data(), name.size());
  return to;
}

void Listing::add(std::string_view name, p9::Qid qid, uint8_t type, const p9::AttrX& attr) {
  name = name.substr(0, UINT16_MAX);  // no string of 9P's is longer
  erase(name);
  Entry& e = entries_.emplace_back();
  e.qid = qid;
  e.position = next_++;
  e.type_ = type;
  e.length_ = static_cast<uint16_t>(name.size());
  e.name_ = keep(name);
  if (attr.valid != 0) e.attr = std::make_unique<p9::AttrX>(attr);
  by_name_.insert(static_cast<Index>(entries_.size() - 1));
}

void Listing::erase(std::string_view name) {
  const auto it = by_name_.find(name);
  if (it == by_name_.end()) return;
  Entry& e = entries_[*it];
  by_name_.erase(it);  // needs its name
  e.name_ = nullptr;
  e.attr.reset();
  drop_erased();
}

// Once most entries are erased ones.
void Listing::drop_erased() {
  constexpr size_t kFew = 64;
  if (entries_.size() < 2 * size() + kFew) return;
  by_name_.clear();
  std::erase_if(entries_, [](const Entry& e) { return e.name_ == nullptr; });
  const auto old = std::exchange(names_, new_names());
  for (Index i = 0; i < entries_.size(); ++i) {
    entries_[i].name_ = keep(entries_[i].name());
    by_name_.insert(i);
  }
}

void Listing::forget_attributes() {
  for (Entry& e : entries_) e.attr.reset();
}

Listing::Range Listing::after(uint64_t position) {
  Entry* const end = entries_.data() + entries_.size();
  Entry* const first = std::upper_bound(entries_.data(), end, position, [](uint64_t p, const Entry& e) { return p < e.position; });
  return {Iterator(first, end), Iterator(end, end)};
}

}  // namespace run9::vfs::gofer
