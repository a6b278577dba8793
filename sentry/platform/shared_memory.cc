#include "sentry/platform/shared_memory.h"

#include <fcntl.h>
#include <linux/memfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <utility>

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif

namespace run9::sentry {

Result<SharedMemory> SharedMemory::create(const char* name, size_t size, bool read_only_there) {
  SharedMemory m;
  m.fd_ = TRY(take_fd(memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING)));
  if (ftruncate(m.fd_.get(), static_cast<off_t>(size)) != 0) return last_errno();
  void* p = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, m.fd_.get(), 0);
  if (p == MAP_FAILED) return last_errno();
  m.data_ = p;
  m.size_ = size;
  const int seals = F_SEAL_SHRINK | F_SEAL_GROW | (read_only_there ? F_SEAL_FUTURE_WRITE : 0) | F_SEAL_SEAL;
  if (fcntl(m.fd_.get(), F_ADD_SEALS, seals) != 0) return last_errno();
  return m;
}

bool SharedMemory::renew(std::span<const Part> used) {
  if (!fd_.valid()) return false;
  size_t all = 0;
  for (const Part& p : used) {
    memset(static_cast<char*>(data_) + p.offset, 0, p.size);
    all += p.size;
  }
  struct stat st;
  return host_fstat(fd_.get(), &st) == 0 && static_cast<size_t>(st.st_blocks) * 512 == all;
}

SharedMemory::SharedMemory(SharedMemory&& o) noexcept
    : fd_(std::move(o.fd_)), data_(std::exchange(o.data_, nullptr)), size_(o.size_) {}

SharedMemory& SharedMemory::operator=(SharedMemory&& o) noexcept {
  std::swap(fd_, o.fd_);
  std::swap(data_, o.data_);
  std::swap(size_, o.size_);
  return *this;
}

SharedMemory::~SharedMemory() {
  if (data_ != nullptr) munmap(data_, size_);
}

}  // namespace run9::sentry
