// Which requests change the tree: the one table that read-only exports are enforced by, before
// dispatch. Every request is in exactly one of the lists, or it does not compile.
#pragma once
#include <type_traits>

#include "p9/messages.h"

namespace run9::p9 {

using MutatingRequests =
    TypeList<Tlcreate, Tsymlink, Tmknod, Trename, Tsetattr, Txattrcreate, Tlink, Tmkdir, Trenameat,
             Tunlinkat, Twrite, Tremove, Tsetx, Trename2, Tsetxa, Trmxa, Tfalloc, Tmkx, Tcopy>;
// By their open flags. Twalkx checks for itself, at its last component: its answer to a refused
// open has the attributes of what was walked.
using OpeningRequests = TypeList<Tlopen, Tfdget>;
using ReadingRequests =
    TypeList<Tstatfs, Treadlink, Tgetattr, Txattrwalk, Treaddir, Tfsync, Tlock, Tgetlock, Tversion,
             Tauth, Tattach, Tflush, Twalk, Tread, Tclunk, Tcaps, Twalkx, Treaddirx, Twalkdir, Tmclunk,
             Tgetxa, Tlistxa, Tseek, Tring, Tlease, Tsyncfs, Tmopen, Tlockx, Tsock, Tevents>;

template <typename T, typename... M>
constexpr bool is_in(TypeList<M...>) {
  return (std::is_same_v<T, M> || ...);
}

template <typename T>
constexpr bool mutates(const T& t) {
  static_assert(is_in<T>(MutatingRequests{}) + is_in<T>(OpeningRequests{}) +
                    is_in<T>(ReadingRequests{}) ==
                1);
  if constexpr (is_in<T>(MutatingRequests{})) return true;
  if constexpr (std::is_same_v<T, Tlopen>) return wants_write(t.flags);
  if constexpr (std::is_same_v<T, Tfdget>) return wants_write(t.oflags);
  return false;
}

}  // namespace run9::p9
