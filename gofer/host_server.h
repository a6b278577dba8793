// The gofer's p9::FileServer: the exports as one connection sees them. One for each connection,
// on that connection's thread; only what is in Export is shared.
#pragma once
#include <map>
#include <memory>
#include <vector>

#include "gofer/descriptor_budget.h"
#include "gofer/export.h"
#include "gofer/identity.h"
#include "gofer/lock_waits.h"
#include "gofer/watches.h"
#include "p9/server/backend.h"

namespace run9::gofer {

using Exports = std::vector<std::unique_ptr<Export>>;

class HostNode;

enum class OtherExports { kRefused, kByName };

class HostServer final : public p9::FileServer {
 public:
  // Serves exports[chosen] under the empty aname, "/" and its own name, and the others under theirs
  // if `others` says so. The exports outlive the server, the server its nodes.
  // `events`: for leases, see watches.h. `pool`: null, or what its descriptors are taken from.
  HostServer(const Exports& exports, size_t chosen, OtherExports others, uint64_t connection,
             BorrowedFd events = {}, DescriptorPool* pool = nullptr);

  Result<p9::NodeRef> attach(const p9::AttachRequest& request) override;
  bool read_only() const override { return read_only_; }
  uint64_t caps() const override;
  BorrowedFd news() const override { return lock_waits_ == nullptr ? BorrowedFd{} : lock_waits_->news(); }
  void heard_news() override {
    if (lock_waits_ != nullptr) lock_waits_->hear();
  }
  // The connection is none that descriptors can be sent over.
  void never_donate() { donates_ = false; }
  // Clients may connect to the sockets in the tree: the thread needs a working directory of its own (watches.h).
  void connect_to_sockets() { connects_ = true; }
  // Clients may wait for locks; before the first attach, and it outlives the server. Without it there are none.
  void wait_by(LockWaits& waits) { lock_waits_ = &waits; }
  LockWaits* lock_waits() const { return lock_waits_; }
  // Before the first attach.
  void act_for(Actors actors) { actors_ = actors; }
  void replied() override;
  // HostNode::settle() is to be called once the client has its answer.
  void settle_later(std::weak_ptr<HostNode> node) { unsettled_.push_back(std::move(node)); }
  // What follows on this thread is done in the name of `user`: a node's, null in sandbox mode.
  void become(const User* user) {
    if (user != nullptr) actors_.identity->become(*user);
  }
  // Until the next become(), which has to come before anything but one open; not in sandbox mode.
  void lend_rights() { actors_.identity->lend_rights(); }
  bool multi_user() const { return actors_.users != nullptr; }
  Result<UniqueFd> events() override { return watches_.events(); }
  Watches& watches() { return watches_; }
  Result<UniqueFd> change_events() override { return reports_.events(); }
  Reports& reports() { return reports_; }
  DescriptorBudget& budget() { return budget_; }
  uint64_t connection() const { return connection_; }

 private:
  // Null in sandbox mode.
  Result<const User*> user_of(const p9::AttachRequest& request) const;

  const Exports& exports_;
  const size_t chosen_;
  const OtherExports others_;
  const uint64_t connection_;
  bool read_only_;
  bool donates_ = true;
  bool connects_ = false;
  Watches watches_;
  Reports reports_;
  DescriptorBudget budget_;
  LockWaits* lock_waits_ = nullptr;
  Actors actors_;
  std::vector<std::weak_ptr<HostNode>> unsettled_;
  // One tree for each export and user, so that renames by one attach reach the nodes of another of the same user.
  std::map<std::pair<size_t, const User*>, std::weak_ptr<HostNode>> roots_;
};

}  // namespace run9::gofer
