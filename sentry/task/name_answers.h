// NameAnswers: which answers guest threads may give by themselves to calls with paths (platform/name_calls.h). A path that a call did not find, or
// that was no symbolic link, is walked once more, with each step noted down (vfs::ToldNames), and told to all who would see the same:
// threads with the same rights, root and, for relative paths, working directory. They know each other by a secret number.
#pragma once
#include <array>
#include <cstdint>
#include <string_view>

#include "base/result.h"
#include "sentry/platform/name_calls.h"
#include "sentry/platform/platform.h"
#include "vfs/path_walk.h"

namespace run9::sentry {

class Kernel;
class Task;

class NameAnswers {
 public:
  explicit NameAnswers(Kernel& kernel);
  // What the task's thread may answer by; {}: nothing.
  NameSecrets secrets_of(const Task& task);
  // A call of its has failed. Blocks.
  void failed(Task& task, uint64_t number, const std::array<uint64_t, 6>& args, Errno error);

 private:
  uint64_t secret(const vfs::Credentials& creds, const vfs::Path& root, const vfs::Path& start) const;
  bool seen_before(uint64_t secret, std::string_view path);
  uint32_t facts(Task& task, std::string_view path, const NameCall& call);

  Kernel& kernel_;
  std::array<uint64_t, 2> key_{};  // of the secrets
  // Of the last one who asked.
  struct {
    vfs::CredentialsRef creds;
    const void* root = nullptr;
    const void* cwd = nullptr;
    int root_mount = 0, cwd_mount = 0;
    NameSecrets secrets;
  } last_;
  std::array<uint16_t, 4096> seen_{};  // paths that a call failed for, a part of their hash
};

}  // namespace run9::sentry
