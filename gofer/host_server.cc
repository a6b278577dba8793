#include "gofer/host_server.h"

#include <algorithm>

#include "gofer/host_node.h"

namespace run9::gofer {

HostServer::HostServer(const Exports& exports, size_t chosen, OtherExports others,
                       uint64_t connection, BorrowedFd events)
    : exports_(exports), chosen_(chosen), others_(others), connection_(connection),
      watches_(events), roots_(exports.size()) {
  // The Session refuses everything at once where nothing can be written; with both kinds behind one
  // connection the nodes do.
  read_only_ = others == OtherExports::kRefused
                   ? exports[chosen]->spec.read_only
                   : std::all_of(exports.begin(), exports.end(),
                                 [](const auto& e) { return e->spec.read_only; });
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
  if (auto root = roots_[i].lock()) return p9::NodeRef(std::move(root));
  auto root = TRY(HostNode::make_root(*this, *exports_[i]));
  roots_[i] = root;
  return p9::NodeRef(std::move(root));
}

}  // namespace run9::gofer
