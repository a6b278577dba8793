// MemTree: a FileServer over files in memory, for tests, the fuzzer and tools that want a 9P server
// without a host directory. Owners and modes are kept but not checked; time is a counter, so that
// runs repeat exactly.
#pragma once
#include "p9/server/backend.h"

namespace run9::p9 {

class MemNode;

struct MemOptions {
  uint64_t max_file_size = 64 << 20;
  uint64_t caps = kCapAll;
  bool read_only = false;
};

// Shared by the nodes of one tree, which may outlive the MemTree.
struct MemState {
  MemOptions options;
  uint64_t next_ino = 1;
  uint64_t now = 1;
};

class MemTree final : public FileServer {
 public:
  explicit MemTree(MemOptions options = {});
  ~MemTree() override;
  // aname "" or "/".
  Result<NodeRef> attach(const AttachRequest& request) override;
  uint64_t caps() const override { return state_->options.caps; }
  bool read_only() const override { return state_->options.read_only; }
  // Nothing ever comes from it.
  Result<UniqueFd> events() override;
  // Grows with whatever changes the tree.
  uint64_t changes() const { return state_->now; }
  void set_read_only(bool on) { state_->options.read_only = on; }

 private:
  std::shared_ptr<MemState> state_;
  std::shared_ptr<MemNode> root_;
};

}  // namespace run9::p9
