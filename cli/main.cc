// p9: a command-line client for any 9P2000.L server. README.md.
#include <fmt/format.h>
#include <malloc.h>
#include <signal.h>
#include <unistd.h>

#include <CLI/CLI.hpp>

#include "cli/commands.h"

namespace run9::cli {
namespace {

// Exit statuses: 0 done, 1 failed, 2 bad command line, 3 no server.
constexpr int kFailed = 1, kUsage = 2, kNoServer = 3;

// What CLI11 fills in.
struct CommandLine {
  ConnectOptions connect;
  bool json = false;
  double timeout = 0;
  std::string path = "/";
  std::vector<std::string> paths{"/"};
  bool no_follow = false;
  LsOptions ls;
  CatOptions cat;
  WriteOptions write;
  RmOptions rm;
  MkdirOptions mkdir;
  MvOptions mv;
  CpOptions cp;
  XattrOptions xattr;
  LockOptions lock;
  TraceOptions trace;
  BenchOptions bench;
};

void add_global(CLI::App& app, CommandLine& c) {
  app.add_flag("--json", c.json, "results and errors as JSON");
  app.add_option("--aname", c.connect.aname, "the export to attach to (default: the server's first)");
  app.add_option("--uname", c.connect.uname, "the user's name that the server is told");
  app.add_option("--uid", c.connect.uid, "the user's number (default: yours)");
  app.add_option("--msize", c.connect.msize, "largest message to ask for")->check(CLI::Range(4096u, 1u << 20));
  app.add_flag("--plain", c.connect.plain, "speak 9P2000.L even where the server knows 9P2000.L.x");
  app.add_option("--timeout", c.timeout, "give up on a server that is silent this many seconds")->check(CLI::NonNegativeNumber);
}

CLI::App* add_command(CLI::App& app, CommandLine& c, const std::string& name, const std::string& help) {
  CLI::App* s = app.add_subcommand(name, help);
  s->fallthrough();
  s->add_option("ADDRESS", c.connect.address, "unix:PATH, unix:@NAME, tcp:HOST:PORT, vsock:CID:PORT or fd:N")->required();
  return s;
}

void add_looking(CLI::App& app, CommandLine& c) {
  CLI::App* ls = add_command(app, c, "ls", "list directories");
  ls->add_option("PATH", c.ls.paths, "default: the root");
  ls->add_flag("-l", c.ls.long_form, "with modes, owners, sizes and times");
  ls->add_flag("-R", c.ls.all_below, "and everything below");
  CLI::App* stat = add_command(app, c, "stat", "show attributes");
  stat->add_option("PATH", c.paths, "default: the root");
  stat->add_flag("-P,--no-follow", c.no_follow, "of a symbolic link itself");
  CLI::App* cat = add_command(app, c, "cat", "copy files to the standard output");
  cat->add_option("PATH", c.cat.paths)->required();
  cat->add_option("--offset", c.cat.offset, "from this byte on");
  cat->add_option("--count", c.cat.count, "at most this many bytes");
  CLI::App* statfs = add_command(app, c, "statfs", "show the file system's size and free space");
  statfs->add_option("PATH", c.path, "default: the root");
}

void add_changing(CLI::App& app, CommandLine& c) {
  CLI::App* write = add_command(app, c, "write", "copy the standard input to a file");
  write->add_option("PATH", c.write.path)->required();
  write->add_option("-m,--mode", c.write.mode, "of a new file, octal (default 644)");
  write->add_option("--offset", c.write.offset, "from this byte on; what is there otherwise stays");
  write->add_flag("-a,--append", c.write.append, "at the end");
  write->add_flag("--keep", c.write.keep, "do not empty the file first");
  write->add_flag("--new", c.write.fresh, "fail if it is there");
  write->add_flag("--sync", c.write.sync, "fsync at the end");
  CLI::App* rm = add_command(app, c, "rm", "remove files");
  rm->add_option("PATH", c.rm.paths)->required();
  rm->add_flag("-r,--recursive", c.rm.recursive, "directories too, with everything in them");
  rm->add_flag("-f,--force", c.rm.force, "what is not there is no error");
  CLI::App* mkdir = add_command(app, c, "mkdir", "make directories");
  mkdir->add_option("PATH", c.mkdir.paths)->required();
  mkdir->add_option("-m,--mode", c.mkdir.mode, "octal (default 755)");
  mkdir->add_flag("-p,--parents", c.mkdir.parents, "those above too; what is there is no error");
  CLI::App* mv = add_command(app, c, "mv", "rename, or move into a directory");
  mv->add_option("FROM", c.mv.from)->required();
  mv->add_option("TO", c.mv.to)->required();
  mv->add_flag("-n,--no-clobber", c.mv.no_clobber, "fail if TO is there");
}

void add_others(CLI::App& app, CommandLine& c) {
  CLI::App* cp = add_command(app, c, "cp", "copy; the server's paths are written with a ':' in front (:dir/file)");
  cp->add_option("PATHS", c.cp.from, "FROM... TO")->required()->expected(2, -1);
  cp->add_flag("-r,--recursive", c.cp.recursive, "directories too");
  cp->add_flag("-q,--quiet", c.cp.quiet, "no progress line");
  CLI::App* xattr = add_command(app, c, "xattr", "list, get, set or remove extended attributes");
  xattr->add_option("ACTION", c.xattr.action, "list, get, set or rm")->required()->check(CLI::IsMember({"list", "get", "set", "rm"}));
  xattr->add_option("PATH", c.xattr.path)->required();
  xattr->add_option("NAME", c.xattr.name);
  xattr->add_option("VALUE", c.xattr.value);
  xattr->add_flag("-P,--no-follow", c.xattr.no_follow, "of a symbolic link itself");
  CLI::App* lock = add_command(app, c, "lock", "run a command while a lock on a file is held");
  lock->add_option("PATH", c.lock.path)->required();
  lock->add_option("COMMAND", c.lock.command, "after --");
  lock->add_option("--start", c.lock.start, "first byte (default 0)");
  lock->add_option("--length", c.lock.length, "bytes; 0, the default: to the end");
  lock->add_flag("-s,--shared", c.lock.shared, "a read lock");
  lock->add_flag("-w,--wait", c.lock.wait, "until whoever has it lets it go");
  lock->add_flag("-t,--test", c.lock.test, "only tell who has one");
  CLI::App* trace = app.add_subcommand("trace", "print the messages between a server and its clients");
  trace->fallthrough();
  trace->add_option("ADDRESS", c.trace.server, "the server's")->required();
  trace->add_option("--listen", c.trace.listen, "where clients shall connect instead")->required();
  trace->add_flag("--once", c.trace.once, "end with the first connection");
  trace->add_flag("--count", c.trace.summary, "only how many of each, at the end");
  CLI::App* bench = add_command(app, c, "bench", "time the usual operations");
  bench->add_option("DIR", c.bench.dir, "where a directory to work in is made (default: the root)");
  bench->add_option("--seconds", c.bench.seconds, "for each row (default 0.5)")->check(CLI::PositiveNumber);
  bench->add_option("--files", c.bench.files, "in the directory that is listed (default 200)");
}

Result<int> with_remote(const CLI::App& command, CommandLine& c, Remote& remote) {
  const std::string& name = command.get_name();
  if (name == "lock") return cmd_lock(remote, c.lock);
  Result<void> done = ok();
  if (name == "ls") done = cmd_ls(remote, c.ls);
  else if (name == "stat") done = cmd_stat(remote, c.paths, c.no_follow ? Follow::kNo : Follow::kYes);
  else if (name == "cat") done = cmd_cat(remote, c.cat);
  else if (name == "statfs") done = cmd_statfs(remote, c.path);
  else if (name == "write") done = cmd_write(remote, c.write);
  else if (name == "rm") done = cmd_rm(remote, c.rm);
  else if (name == "mkdir") done = cmd_mkdir(remote, c.mkdir);
  else if (name == "mv") done = cmd_mv(remote, c.mv);
  else if (name == "cp") done = cmd_cp(remote, c.cp);
  else if (name == "xattr") done = cmd_xattr(remote, c.xattr);
  else done = cmd_bench(remote, c.bench);
  TRY(std::move(done));
  return 0;
}

int run(const CLI::App& app, CommandLine& c) {
  Reporter report(c.json ? Format::kJson : Format::kText);
  const CLI::App& command = *app.get_subcommands().at(0);
  if (command.get_name() == "trace") return cmd_trace(report, c.trace) ? 0 : kFailed;
  c.connect.timeout = std::chrono::milliseconds(static_cast<int64_t>(c.timeout * 1000));
  if (c.ls.paths.empty()) c.ls.paths = {"/"};
  if (c.cp.from.size() >= 2) {
    c.cp.to = c.cp.from.back();
    c.cp.from.pop_back();
  }
  const auto remote = Remote::connect(c.connect, report);
  if (!remote) return kNoServer;
  const auto status = with_remote(command, c, *remote.assume_value());
  return status ? status.assume_value() : kFailed;
}

}  // namespace
}  // namespace run9::cli

int main(int argc, char** argv) {
  using namespace run9::cli;
  // Frames come and go: what is given back to the kernel after each has to be faulted in again (a third of the speed).
  mallopt(M_MMAP_THRESHOLD, 64 << 20);
  mallopt(M_TRIM_THRESHOLD, 64 << 20);
  signal(SIGPIPE, SIG_IGN);  // a write to a closed pipe is an error like any other
  CommandLine c;
  c.connect.uid = geteuid();
  CLI::App app("p9: a command-line client for any 9P2000.L server");
  app.require_subcommand(1);
  add_global(app, c);
  add_looking(app, c);
  add_changing(app, c);
  add_others(app, c);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    const int status = app.exit(e);
    return status == 0 ? 0 : kUsage;
  }
  return run(app, c);
}
