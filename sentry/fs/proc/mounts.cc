// /proc/PID/mounts, mountinfo, mountstats: the mount table as the process sees it from its root.
#include <sys/sysmacros.h>

#include "sentry/fs/proc/proc_fs.h"

namespace run9::sentry {
namespace {

std::string escaped(std::string_view text, std::string_view special = " \t\n\\") {
  std::string out;
  for (const char c : text) {
    if (special.find(c) == special.npos) out += c;
    else out += fmt::format("\\{:03o}", static_cast<unsigned char>(c));
  }
  return out;
}

std::string mount_options(const vfs::Mount& m) {
  std::string t = (m.flags & vfs::kMntReadOnly) ? "ro" : "rw";
  if (m.flags & vfs::kMntNoSuid) t += ",nosuid";
  if (m.flags & vfs::kMntNoDev) t += ",nodev";
  if (m.flags & vfs::kMntNoExec) t += ",noexec";
  if (m.flags & vfs::kMntNoAtime) t += ",noatime";
  if (m.flags & vfs::kMntNoDirAtime) t += ",nodiratime";
  if (m.flags & vfs::kMntRelAtime) t += ",relatime";
  return t;
}

std::string source_of(const vfs::Mount& m) {
  return m.source.empty() ? "none" : escaped(m.source, " \t\n\\#");
}

// The place in its file system that is mounted: "/" unless it is a bind of something below.
std::string inner_root(const vfs::Mount& m) {
  std::string path;
  for (const vfs::Dentry* d = m.root.get(); d->parent(); d = d->parent().get()) {
    path = "/" + d->name() + path;
  }
  if (path.empty()) path = "/";
  return escaped(path) + (m.root->unlinked() ? "//deleted" : "");
}

struct Seen {
  const vfs::Mount* mount;
  std::string where;
};

std::vector<Seen> seen_from(View& view) {
  std::vector<Seen> out;
  vfs::Path root = view.kernel.mounts().root();
  vfs::MountNamespace* ns = &view.kernel.mounts();
  if (view.task != nullptr && view.task->fs_ref() != nullptr) {
    root = view.task->fs().root;
    ns = &view.task->mounts();
  }
  for (const auto& m : ns->mounts()) {
    std::string where = ns->path_name({m, m->root}, root);
    if (where.starts_with("(unreachable)")) continue;
    out.push_back({m.get(), escaped(where)});
  }
  return out;
}

}  // namespace

Result<std::string> text_mounts(View& view) {
  std::string text;
  for (const auto& [m, where] : seen_from(view)) {
    text += fmt::format("{} {} {} {}{} 0 0\n", source_of(*m), where, m->fs->type(), mount_options(*m),
                        m->fs->show_options());
  }
  return text;
}

Result<std::string> text_mountinfo(View& view) {
  std::string text;
  for (const auto& [m, where] : seen_from(view)) {
    const int parent = m->mountpoint ? m->mountpoint.mount->id : m->id;
    text += fmt::format("{} {} {}:{} {} {} {} - {} {} {}{}\n", m->id, parent,
                        gnu_dev_major(m->fs->dev()), gnu_dev_minor(m->fs->dev()), inner_root(*m), where,
                        mount_options(*m), m->fs->type(), source_of(*m),
                        m->fs->read_only() ? "ro" : "rw", m->fs->show_options());
  }
  return text;
}

Result<std::string> text_mountstats(View& view) {
  std::string text;
  for (const auto& [m, where] : seen_from(view)) {
    text += fmt::format("device {} mounted on {} with fstype {}\n", source_of(*m), where, m->fs->type());
  }
  return text;
}

}  // namespace run9::sentry
