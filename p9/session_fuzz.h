// The fuzzer of whole sessions: the input is a program of requests, well-formed but for hostile names and numbers, to a
// Session. Beside it a model follows which fids are bound, by the replies alone. Ends the process if
// - a request gets no reply, more than one, another tag's, another type's, or one that does not decode;
// - the session holds a fid that the model does not, or the other way round (a leak, or a fid lost);
// - a reply is as large as msize, or an errno none;
// - more descriptors come with a reply than belong to it, or one stays open;
// - a name reaches the tree that is not one component, or a read-only tree changes (p9_session_fuzz: MemTree).
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>

#include "p9/server/backend.h"

namespace run9::p9 {

// The tree is a MemTree.
int fuzz_session(const uint8_t* data, size_t size);

// Sees each reply, for what a tree knows beside.
class ReplyWatcher {
 public:
  virtual ~ReplyWatcher() = default;
  virtual void replied(ByteSpan frame, std::span<const UniqueFd> fds) = 0;
};
// The tree is the caller's, and what is in it his business. `watcher` may be null.
void fuzz_session_of(FileServer& server, ByteSpan program, ReplyWatcher* watcher);

// What is opened in its lifetime must be closed again: the lowest 256 descriptors are looked at, of which each open takes the
// first that is free.
class DescriptorsCheck {
 public:
  DescriptorsCheck();
  ~DescriptorsCheck();
  DescriptorsCheck(const DescriptorsCheck&) = delete;
  DescriptorsCheck& operator=(const DescriptorsCheck&) = delete;

 private:
  using Open = std::array<bool, 256>;
  static Open open_now();
  const Open before_;
};

}  // namespace run9::p9
