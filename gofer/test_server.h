// For tests: an export of a fresh directory, served to a 9P client over a socket pair.
#pragma once
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <thread>

#include "gofer/host_server.h"
#include "gofer/jail.h"
#include "p9/client.h"
#include "p9/transport/blocking_channel.h"
#include "p9/transport/serve_fd.h"

namespace run9::gofer {

// The errno of a Result, 0 if it has a value.
template <typename R>
int error_of(const R& r) {
  return r ? 0 : to_int(r.assume_error());
}

class TempDir {
 public:
  TempDir() {
    char name[] = "/tmp/run9-gofer-XXXXXX";
    path_ = mkdtemp(name);
  }
  ~TempDir() { std::filesystem::remove_all(path_); }
  std::string path(const std::string& name = "") const {
    return path_ + (name.empty() ? "" : "/" + name);
  }
  void write(const std::string& name, const std::string& text) const {
    std::ofstream(path(name)) << text;
  }
  std::string read(const std::string& name) const {
    std::ifstream in(path(name));
    return {std::istreambuf_iterator<char>(in), {}};
  }

 private:
  std::string path_;
};

class Connection {
 public:
  Connection(const Exports& exports, uint64_t number, p9::ClientOptions options = {}) {
    int pair[2];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
    thread_ = std::thread([&exports, number, fd = pair[1]] {
      const UniqueFd socket(fd);
      HostServer server(exports, 0, OtherExports::kByName, number);
      LockWaits waits = LockWaits::create().assume_value();
      server.wait_by(waits);
      (void)p9::serve_fd(socket.borrow(), server);
    });
    channel_.emplace(UniqueFd(pair[0]));
    client_.emplace(*channel_, options);
    CHECK(client_->start().has_value());
  }
  ~Connection() {
    client_.reset();
    channel_.reset();
    thread_.join();
  }
  p9::Client& client() { return *client_; }

 private:
  std::thread thread_;
  std::optional<p9::BlockingChannel> channel_;
  std::optional<p9::Client> client_;
};

}  // namespace run9::gofer
