// NameAnswers: which answers guest threads may give by themselves to calls with paths (platform/name_calls.h). A path that a call did not find, that
// was no symbolic link, or whose attributes it gave, is walked once more, with each step noted down (vfs::ToldNames), and told to all who would see the same:
// threads with the same rights, root and, for relative paths, working directory. They know each other by a secret number.
#pragma once
#include <array>
#include <cstdint>
#include <optional>
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
  // Its stat(2), statx(2) or, unless `follow`, lstat(2) of a path from its root or working directory has succeeded. Blocks.
  void found(Task& task, std::string_view path, bool follow, const vfs::Inode& what);
  // Whether both find the same at each path.
  static bool same_rights(const vfs::Credentials& a, const vfs::Credentials& b);
  // Somebody has other rights than before, and may remember the number that he had with those.
  void renew();

 private:
  // Paths that were asked for, a part of the hash of each; and in its lowest bits 1, and how often it was walked in vain.
  using Asked = std::array<uint16_t, 4096>;
  static constexpr uint16_t kInVain = 3;
  void draw_key();
  uint64_t secret(const vfs::Credentials& creds, const vfs::Path& root, const vfs::Path& start) const;
  // Null: it was not asked for before, or is not worth to be walked again.
  static uint16_t* asked_before(Asked& asked, uint64_t secret, std::string_view path);
  static void note_vain(uint16_t& asked);
  // Each step is noted. Nothing: it had better not be told.
  static std::optional<Result<vfs::Path>> walk_told(Task& task, std::string_view path, bool follow, std::optional<uint32_t> record);
  static uint32_t facts(Task& task, std::string_view path, const NameCall& call);
  bool tell_stat(Task& task, const NameSecrets& secrets, std::string_view path, bool follow);

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
  Asked failed_{}, found_{};
};

}  // namespace run9::sentry
