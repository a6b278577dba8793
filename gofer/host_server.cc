#include "gofer/host_server.h"

#include <algorithm>

#include "gofer/host_node.h"

namespace run9::gofer {

HostServer::HostServer(const Exports& exports, size_t chosen, OtherExports others,
                       uint64_t connection, BorrowedFd events, DescriptorPool* pool)
    : exports_(exports), chosen_(chosen), others_(others), connection_(connection),
      watches_(events), budget_(pool) {
  // The Session refuses everything at once where nothing can be written; with both kinds behind one
  // connection the nodes do.
  read_only_ = others == OtherExports::kRefused
                   ? exports[chosen]->spec.read_only
                   : std::all_of(exports.begin(), exports.end(),
                                 [](const auto& e) { return e->spec.read_only; });
}

uint64_t HostServer::caps() const {
  uint64_t caps = p9::kCapAll;
  // Reports too are for trees that others change, and take a working directory of the thread's own.
  if (!watches_.possible() || !donates_) caps &= ~p9::kCapEvents;
  if (!connects_ || !donates_) caps &= ~p9::kCapSock;
  if (!watches_.possible()) caps &= ~p9::kCapLease;
  if (!donates_) caps &= ~(p9::kCapFd | p9::kCapMopen);
  if (lock_waits_ == nullptr) caps &= ~p9::kCapLockx;
  return caps;
}

void HostServer::replied() {
  for (const auto& weak : unsettled_) {
    if (const auto node = weak.lock()) node->settle();
  }
  unsettled_.clear();
}

Result<const User*> HostServer::user_of(const p9::AttachRequest& request) const {
  const User* user = nullptr;
  if (actors_.users == nullptr) return user;
  if (request.n_uname != p9::kNoUname) user = actors_.users->find(request.n_uname);
  else if (!request.uname.empty()) user = actors_.users->find(request.uname);
  else if (actors_.peer) user = actors_.users->find(*actors_.peer);
  if (user == nullptr) return Errno{EPERM};
  if (!actors_.peer) return user->uid == 0 ? &actors_.users->nobody() : user;
  if (*actors_.peer != 0 && *actors_.peer != user->uid) return Errno{EPERM};
  return user;
}

Result<p9::NodeRef> HostServer::attach(const p9::AttachRequest& request) {
  size_t i = chosen_;
  if (!request.aname.empty() && request.aname != "/") {
    const auto it = std::find_if(exports_.begin(), exports_.end(), [&](const auto& e) {
      return e->spec.name == request.aname;
    });
    if (it == exports_.end()) return Errno{EPERM};
    i = static_cast<size_t>(it - exports_.begin());
    if (i != chosen_ && others_ == OtherExports::kRefused) return Errno{EPERM};
  }
  const User* user = TRY(user_of(request));
  auto& known = roots_[{i, user}];
  if (auto root = known.lock()) return p9::NodeRef(std::move(root));
  auto root = TRY(HostNode::make_root(*this, *exports_[i], user));
  known = root;
  return p9::NodeRef(std::move(root));
}

}  // namespace run9::gofer
