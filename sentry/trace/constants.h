// What --strace writes for an argument that is made of constants: "O_RDONLY|O_CLOEXEC" instead of 0x80000.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace run9::sentry {

// `word` is one of a format in table.def ("flags:open", "prot", "one:whence"). Nothing, if it stands for no constants.
std::optional<std::string> name_constants(std::string_view word, uint64_t value);

}  // namespace run9::sentry
