// seccomp(2) of the guest: filters in classic BPF, checked and interpreted by the kernel. A chain belongs to
// the tasks that installed or inherited it; a chain is never changed, only put behind a longer one.
#pragma once
#include <linux/filter.h>
#include <linux/seccomp.h>

#include <memory>
#include <vector>

#include "base/result.h"

namespace run9::sentry {

struct SeccompFilter;
using SeccompFilterRef = std::shared_ptr<const SeccompFilter>;

struct SeccompFilter {
  SeccompFilterRef before;  // the filter that was there first
  std::vector<sock_filter> code;
  size_t chain_length = 0;  // instructions of it and those before it
  int chain_count = 0;
  ~SeccompFilter();
};

// EINVAL: not a program that Linux would take; ENOMEM: the chain gets too long.
Result<SeccompFilterRef> make_seccomp_filter(std::vector<sock_filter> code, SeccompFilterRef before);
// What the whole chain says: the strictest SECCOMP_RET_* with its data.
uint32_t run_seccomp(const SeccompFilter& chain, const seccomp_data& call);
// `older` is `chain` or one of those before it; null is before all.
bool is_ancestor(const SeccompFilter* older, const SeccompFilter* chain);

}  // namespace run9::sentry
