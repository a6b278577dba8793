// Files below one directory: which file system serves it is the caller's choice.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <atomic>
#include <memory>
#include <thread>

#include "bench/micro/rows.h"

namespace run9::bench {
namespace {

constexpr off_t kFileSize = 65536;

// The file that the rows look at. It may be there before, below an overlay.
std::string prepared(const std::string& directory) {
  std::string path = directory + "/file";
  struct stat st;
  if (stat(path.c_str(), &st) == 0 && st.st_size >= kFileSize) return path;
  mkdir(directory.c_str(), 0755);
  const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  const std::string data(kFileSize, 'x');
  check(fd >= 0 && write(fd, data.data(), data.size()) == kFileSize, path.c_str());
  close(fd);
  return path;
}

Body stat_loop(const std::string& path) {
  return [path](int count) {
    struct stat st;
    for (int i = 0; i < count; ++i) check(stat(path.c_str(), &st) == 0, "stat");
  };
}

Body open_close(const std::string& path) {
  return [path](int count) {
    for (int i = 0; i < count; ++i) {
      const int fd = open(path.c_str(), O_RDONLY);
      check(fd >= 0, "open");
      close(fd);
    }
  };
}

Body open_read_close(const std::string& path) {
  return [path](int count) {
    char buffer[64];
    for (int i = 0; i < count; ++i) {
      const int fd = open(path.c_str(), O_RDONLY);
      check(fd >= 0 && read(fd, buffer, sizeof buffer) == sizeof buffer, "open and read");
      close(fd);
    }
  };
}

Body create_unlink(const std::string& directory) {
  return [path = directory + "/new"](int count) {
    for (int i = 0; i < count; ++i) {
      const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL, 0644);
      check(fd >= 0, "create");
      close(fd);
      check(unlink(path.c_str()) == 0, "unlink");
    }
  };
}

// From one end to the other, then again, so that each call moves the file's offset as usual.
template <typename Move>
Body one_byte(const std::string& path, int flags, Move move) {
  const int fd = open(path.c_str(), flags | O_CLOEXEC);
  check(fd >= 0, path.c_str());
  return [fd, move, at = off_t{0}](int count) mutable {
    char c = 'x';
    for (int i = 0; i < count; ++i) {
      if (at == kFileSize) check(lseek(fd, at = 0, SEEK_SET) == 0, "lseek");
      check(move(fd, &c, 1) == 1, "one byte");
      ++at;
    }
  };
}

// From the beginning, into a buffer where malloc(3) places it; or into four parts.
Body read_64k(const std::string& directory, int parts) {
  constexpr size_t kSize = 64 * 1024;
  const int fd = open((directory + "/large").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  check(fd >= 0, directory.c_str());
  auto buffer = std::make_shared<std::vector<char>>(4 * kSize, 'x');
  check(pwrite(fd, buffer->data(), kSize, 0) == kSize, "write");
  return [fd, parts, buffer](int count) {
    std::vector<iovec> list;
    const size_t each = parts > 1 ? 1024 : kSize;
    for (int i = 0; i < parts; ++i) list.push_back({buffer->data() + static_cast<size_t>(i) * 2 * each, each});
    for (int i = 0; i < count; ++i) {
      const ssize_t n = parts > 1 ? preadv(fd, list.data(), parts, 0) : pread(fd, buffer->data(), kSize, 0);
      check(n == static_cast<ssize_t>(each) * parts, "read");
    }
  };
}

Body append_1_byte(const std::string& directory) {
  const std::string path = directory + "/log";
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  check(fd >= 0, path.c_str());
  return [fd](int count) {
    check(ftruncate(fd, 0) == 0, "ftruncate");
    for (int i = 0; i < count; ++i) check(write(fd, "x", 1) == 1, "append");
  };
}

// What a dynamic linker does with each library: open, map, touch; then away with it.
Body map_file(const std::string& path) {
  return [path](int count) {
    volatile char sink = 0;
    for (int i = 0; i < count; ++i) {
      const int fd = open(path.c_str(), O_RDONLY);
      void* p = mmap(nullptr, 16384, PROT_READ, MAP_PRIVATE, fd, 0);
      check(fd >= 0 && p != MAP_FAILED, "open and mmap");
      sink = static_cast<char*>(p)[4096];
      munmap(p, 16384);
      close(fd);
    }
    (void)sink;
  };
}

// A database's log, and somebody else. A turn is ten thousand calls: many syncs pass meanwhile.
Body call_beside_fsync(const std::string& directory) {
  const int fd = open((directory + "/synced").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  check(fd >= 0, directory.c_str());
  return [fd](int count) {
    std::atomic<bool> over = false;
    std::thread syncs([&] {
      const std::string data(4096, 'x');
      while (!over) check(pwrite(fd, data.data(), data.size(), 0) == 4096 && fsync(fd) == 0, "write and fsync");
    });
    struct stat st;
    for (int i = 0; i < count * 10000; ++i) check(fstat(fd, &st) == 0, "fstat");
    over = true;
    syncs.join();
  };
}

}  // namespace

void add_files(Rows& rows, const std::string& directory) {
  rows.push_back({"stat", [=] { return stat_loop(prepared(directory)); }});
  rows.push_back({"open_close", [=] { return open_close(prepared(directory)); }});
  rows.push_back({"open_read_close", [=] { return open_read_close(prepared(directory)); }});
  rows.push_back({"create_unlink", [=] { return prepared(directory), create_unlink(directory); }});
  rows.push_back({"read_1_byte", [=] { return one_byte(prepared(directory), O_RDONLY, read); }});
  rows.push_back({"write_1_byte", [=] { return one_byte(prepared(directory), O_WRONLY, write); }});
  rows.push_back({"append_1_byte", [=] { return prepared(directory), append_1_byte(directory); }});
  rows.push_back({"read_64k", [=] { return prepared(directory), read_64k(directory, 1); }});
  rows.push_back({"read_4_parts", [=] { return prepared(directory), read_64k(directory, 4); }});
  rows.push_back({"call_beside_fsync", [=] { return prepared(directory), call_beside_fsync(directory); }, 10000});
  rows.push_back({"map_file", [=] { return map_file(prepared(directory)); }});
}

}  // namespace run9::bench
