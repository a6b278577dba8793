// System V shared memory, semaphores and message queues.
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>

#include "tests/syscalls/test_util.h"

namespace run9::guest {
namespace {

#define SKIP_WITHOUT(id) \
  if ((id) == -1 && errno == ENOSYS) GTEST_SKIP() << "no System V IPC in this kernel"

TEST(ShmTest, AttachShareDetachRemove) {
  const int id = static_cast<int>(sys(SYS_shmget, IPC_PRIVATE, 2 * kPage, IPC_CREAT | 0600));
  SKIP_WITHOUT(id);
  ASSERT_OK(id);
  auto* p = reinterpret_cast<char*>(sys(SYS_shmat, id, nullptr, 0));
  ASSERT_OK(p);
  in_child([&] { p[kPage] = 'c'; });
  EXPECT_EQ('c', p[kPage]);
  shmid_ds ds = {};
  EXPECT_OK(sys(SYS_shmctl, id, IPC_STAT, &ds));
  EXPECT_EQ(2 * kPage, ds.shm_segsz);
  EXPECT_EQ(1u, ds.shm_nattch);
  const auto* r = reinterpret_cast<const char*>(sys(SYS_shmat, id, nullptr, SHM_RDONLY));
  EXPECT_EQ('c', r[kPage]);
  EXPECT_OK(sys(SYS_shmctl, id, IPC_RMID, nullptr));
  EXPECT_EQ('c', p[kPage]);  // lives until the last detach
  EXPECT_OK(sys(SYS_shmdt, p));
  EXPECT_OK(sys(SYS_shmdt, r));
  EXPECT_ERR(EINVAL, sys(SYS_shmdt, p));
  EXPECT_ERR(EINVAL, sys(SYS_shmat, id, nullptr, 0));
}

TEST(ShmTest, Errors) {
  const key_t key = 0x52390000 + getpid();
  const int id = static_cast<int>(sys(SYS_shmget, key, kPage, IPC_CREAT | IPC_EXCL | 0600));
  SKIP_WITHOUT(id);
  ASSERT_OK(id);
  EXPECT_EQ(id, sys(SYS_shmget, key, kPage, 0600));
  EXPECT_ERR(EEXIST, sys(SYS_shmget, key, kPage, IPC_CREAT | IPC_EXCL | 0600));
  EXPECT_ERR(EINVAL, sys(SYS_shmget, key, 10 * kPage, 0600));
  EXPECT_ERR(ENOENT, sys(SYS_shmget, key + 0x1000000, kPage, 0600));
  EXPECT_ERR(EINVAL, sys(SYS_shmget, IPC_PRIVATE, 0, IPC_CREAT | 0600));
  EXPECT_ERR(EINVAL, sys(SYS_shmat, id, 0x1001, 0));
  EXPECT_ERR(EFAULT, sys(SYS_shmctl, id, IPC_STAT, bad()));
  EXPECT_ERR(EINVAL, sys(SYS_shmctl, id, 9999, nullptr));
  EXPECT_OK(sys(SYS_shmctl, id, IPC_RMID, nullptr));
  EXPECT_ERR(EINVAL, sys(SYS_shmctl, id, IPC_RMID, nullptr));
}

// The numbers of a file in /proc/sys/kernel.
std::vector<uint64_t> limits(const char* name) {
  std::vector<uint64_t> numbers;
  const std::string text = read_file(std::string("/proc/sys/kernel/") + name);
  for (const char* p = text.c_str(); *p != 0;) {
    char* end = nullptr;
    numbers.push_back(strtoull(p, &end, 10));
    p = *end == '\t' ? end + 1 : "";
  }
  return numbers;
}

// Removes an object at the end of a test that failed in its middle, too.
class Removed {
 public:
  Removed(long call, long id) : call_(call), id_(static_cast<int>(id)) {}
  Removed(Removed&& other) noexcept : call_(other.call_), id_(std::exchange(other.id_, -1)) {}
  ~Removed() {
    if (id_ >= 0) call_ == SYS_semctl ? sys(call_, id_, 0, IPC_RMID, 0) : sys(call_, id_, IPC_RMID, nullptr);
  }
  operator int() const { return id_; }

 private:
  long call_;
  int id_;
};

// True if /proc/sysvipc/`kind` has a line of object `id`.
bool listed(const char* kind, int id) {
  char wanted[16];
  snprintf(wanted, sizeof wanted, " %10d ", id);
  return read_file(std::string("/proc/sysvipc/") + kind).find(wanted) != std::string::npos;
}

// SHM_STAT and its kin take an index: that of the id's object, up to the highest that is used.
template <typename Stat>
void expect_found_by_index(int id, long highest, Stat stat) {
  bool found = false;
  for (int i = 0; i <= highest; ++i) found |= stat(i) == id;
  EXPECT_TRUE(found);
  EXPECT_ERR(EINVAL, stat(highest + 1));
  EXPECT_ERR(EINVAL, stat(-1));
}

TEST(ShmTest, Information) {
  const Removed id(SYS_shmctl, sys(SYS_shmget, IPC_PRIVATE, 3 * kPage, IPC_CREAT | 0600));
  SKIP_WITHOUT(id);
  ASSERT_OK(+id);
  shminfo limit = {};
  const long highest = sys(SYS_shmctl, 0, IPC_INFO, &limit);
  ASSERT_OK(highest);
  EXPECT_EQ(limits("shmmax"), std::vector<uint64_t>{limit.shmmax});
  EXPECT_EQ(limits("shmall"), std::vector<uint64_t>{limit.shmall});
  EXPECT_EQ(limits("shmmni"), std::vector<uint64_t>{limit.shmmni});
  EXPECT_EQ(1u, limit.shmmin);
  EXPECT_EQ(limit.shmmni, limit.shmseg);
  shm_info use = {};
  EXPECT_EQ(highest, sys(SYS_shmctl, 0, SHM_INFO, &use));
  EXPECT_GE(use.used_ids, 1);
  EXPECT_GE(use.shm_tot, 3u);
  EXPECT_LE(use.shm_rss, use.shm_tot);
  EXPECT_TRUE(listed("shm", id));
  shmid_ds ds = {};
  expect_found_by_index(id, highest, [&](long i) { return sys(SYS_shmctl, i, SHM_STAT, &ds); });
  expect_found_by_index(id, highest, [&](long i) { return sys(SYS_shmctl, i, SHM_STAT_ANY, &ds); });
  EXPECT_ERR(EFAULT, sys(SYS_shmctl, 0, IPC_INFO, bad()));
  EXPECT_ERR(EFAULT, sys(SYS_shmctl, 0, SHM_INFO, bad()));
  EXPECT_ERR(EINVAL, sys(SYS_shmctl, -1, IPC_INFO, &limit));
}

TEST(ShmTest, LockShows) {
  const Removed id(SYS_shmctl, sys(SYS_shmget, IPC_PRIVATE, kPage, IPC_CREAT | 0640));
  SKIP_WITHOUT(id);
  ASSERT_OK(+id);
  shmid_ds ds = {};
  EXPECT_OK(sys(SYS_shmctl, +id, SHM_LOCK, nullptr));
  EXPECT_OK(sys(SYS_shmctl, +id, IPC_STAT, &ds));
  EXPECT_EQ(02640, ds.shm_perm.mode);
  EXPECT_OK(sys(SYS_shmctl, +id, SHM_UNLOCK, nullptr));
  EXPECT_OK(sys(SYS_shmctl, +id, IPC_STAT, &ds));
  EXPECT_EQ(0640, ds.shm_perm.mode);
  SKIP_UNLESS_ROOT();
  in_user_child([&] {
    EXPECT_ERR(EPERM, sys(SYS_shmctl, +id, SHM_LOCK, nullptr));
    EXPECT_ERR(EACCES, sys(SYS_shmctl, +id, IPC_STAT, &ds));
    EXPECT_ERR(EACCES, sys(SYS_shmctl, id & 0x7fff, SHM_STAT, &ds));
    EXPECT_EQ(+id, sys(SYS_shmctl, id & 0x7fff, SHM_STAT_ANY, &ds));
  });
}

TEST(ShmTest, ARemovedOneKeepsItsIndexWhileAttached) {
  const int id = static_cast<int>(sys(SYS_shmget, IPC_PRIVATE, kPage, IPC_CREAT | 0600));
  SKIP_WITHOUT(id);
  ASSERT_OK(id);
  auto* const p = reinterpret_cast<char*>(sys(SYS_shmat, id, nullptr, 0));
  EXPECT_OK(sys(SYS_shmctl, id, IPC_RMID, nullptr));
  shmid_ds ds = {};
  EXPECT_EQ(id, sys(SYS_shmctl, id & 0x7fff, SHM_STAT, &ds));
  EXPECT_EQ(01600, ds.shm_perm.mode);
  EXPECT_EQ(1u, ds.shm_nattch);
  EXPECT_TRUE(listed("shm", id));
  EXPECT_OK(sys(SYS_shmdt, p));
  EXPECT_FALSE(listed("shm", id));
  EXPECT_ERR(EINVAL, sys(SYS_shmctl, id, IPC_STAT, &ds));
}

TEST(ShmTest, AsManyAsTheLimitSays) {
  const auto most = limits("shmmni");
  if (most.size() != 1 || most[0] > 10'000) GTEST_SKIP() << "a limit too high to be reached";
  std::vector<Removed> all;
  for (;;) {
    const long id = sys(SYS_shmget, IPC_PRIVATE, 1, IPC_CREAT | 0600);
    if (id == -1) break;
    all.emplace_back(SYS_shmctl, id);
    ASSERT_LE(all.size(), most[0]);
  }
  EXPECT_EQ(ENOSPC, errno);
}

TEST(SemTest, Information) {
  const Removed id(SYS_semctl, sys(SYS_semget, IPC_PRIVATE, 3, IPC_CREAT | 0600));
  SKIP_WITHOUT(id);
  ASSERT_OK(+id);
  seminfo limit = {}, use = {};
  const long highest = sys(SYS_semctl, 0, 0, IPC_INFO, &limit);
  ASSERT_OK(highest);
  const auto n = [](int number) { return static_cast<uint64_t>(number); };
  EXPECT_EQ(limits("sem"), (std::vector{n(limit.semmsl), n(limit.semmns), n(limit.semopm), n(limit.semmni)}));
  EXPECT_EQ(32767, limit.semvmx);
  EXPECT_EQ(highest, sys(SYS_semctl, 0, 0, SEM_INFO, &use));
  EXPECT_GE(use.semusz, 1);
  EXPECT_GE(use.semaem, 3);
  EXPECT_EQ(limit.semmni, use.semmni);
  EXPECT_TRUE(listed("sem", id));
  semid_ds ds = {};
  expect_found_by_index(id, highest, [&](long i) { return sys(SYS_semctl, i, 0, SEM_STAT, &ds); });
  expect_found_by_index(id, highest, [&](long i) { return sys(SYS_semctl, i, 0, SEM_STAT_ANY, &ds); });
  EXPECT_ERR(EFAULT, sys(SYS_semctl, 0, 0, IPC_INFO, bad()));
  EXPECT_ERR(EFAULT, sys(SYS_semctl, 0, 0, SEM_INFO, bad()));
}

TEST(SemTest, OperationsBlockAndUndo) {
  const int id = static_cast<int>(sys(SYS_semget, IPC_PRIVATE, 2, IPC_CREAT | 0600));
  SKIP_WITHOUT(id);
  ASSERT_OK(id);
  EXPECT_OK(sys(SYS_semctl, id, 0, SETVAL, 1));
  EXPECT_EQ(1, sys(SYS_semctl, id, 0, GETVAL, 0));
  sembuf down = {0, -1, 0}, up = {0, 1, 0}, down_now = {0, -1, IPC_NOWAIT};
  EXPECT_OK(sys(SYS_semop, id, &down, 1));
  EXPECT_ERR(EAGAIN, sys(SYS_semop, id, &down_now, 1));
  const timespec soon = {0, 1'000'000};
  EXPECT_ERR(EAGAIN, sys(SYS_semtimedop, id, &down, 1, &soon));
  const pid_t pid = spawn([&] { EXPECT_OK(sys(SYS_semop, id, &down, 1)); });
  await_sleep(pid, pid);
  EXPECT_OK(sys(SYS_semop, id, &up, 1));
  EXPECT_EQ(0, reap(pid));
  in_child([&] {
    sembuf undo = {1, 5, SEM_UNDO};
    EXPECT_OK(sys(SYS_semop, id, &undo, 1));
    EXPECT_EQ(5, sys(SYS_semctl, id, 1, GETVAL, 0));
  });
  EXPECT_EQ(0, sys(SYS_semctl, id, 1, GETVAL, 0));
  EXPECT_ERR(EFBIG, (down.sem_num = 9, sys(SYS_semop, id, &down, 1)));
  EXPECT_ERR(EFAULT, sys(SYS_semop, id, bad(), 1));
  EXPECT_ERR(EINVAL, sys(SYS_semop, id, &up, 0));
  EXPECT_ERR(EINVAL, sys(SYS_semctl, id, 9, GETVAL, 0));
  EXPECT_ERR(ERANGE, sys(SYS_semctl, id, 0, SETVAL, 100000));
  EXPECT_OK(sys(SYS_semctl, id, 0, IPC_RMID, 0));
  EXPECT_ERR(EINVAL, sys(SYS_semop, id, &up, 1));
  EXPECT_ERR(EINVAL, sys(SYS_semget, IPC_PRIVATE, -1, IPC_CREAT));
}

struct Text {
  long type;
  char data[16];
};

TEST(MsgTest, SendAndReceiveByType) {
  const int id = static_cast<int>(sys(SYS_msgget, IPC_PRIVATE, IPC_CREAT | 0600));
  SKIP_WITHOUT(id);
  ASSERT_OK(id);
  Text one = {1, "one"}, two = {2, "two"}, got = {};
  EXPECT_OK(sys(SYS_msgsnd, id, &one, 4, 0));
  EXPECT_OK(sys(SYS_msgsnd, id, &two, 4, 0));
  EXPECT_EQ(4, sys(SYS_msgrcv, id, &got, 16, 2, 0));
  EXPECT_STREQ("two", got.data);
  EXPECT_ERR(E2BIG, sys(SYS_msgrcv, id, &got, 2, 0, 0));
  EXPECT_EQ(2, sys(SYS_msgrcv, id, &got, 2, 0, MSG_NOERROR));
  EXPECT_ERR(ENOMSG, sys(SYS_msgrcv, id, &got, 16, 0, IPC_NOWAIT));
  const pid_t pid = spawn([&] {
    Text t = {};
    EXPECT_EQ(4, sys(SYS_msgrcv, id, &t, 16, 0, 0));
    EXPECT_STREQ("one", t.data);
  });
  await_sleep(pid, pid);
  EXPECT_OK(sys(SYS_msgsnd, id, &one, 4, 0));
  EXPECT_EQ(0, reap(pid));
  msqid_ds ds = {};
  EXPECT_OK(sys(SYS_msgctl, id, IPC_STAT, &ds));
  EXPECT_EQ(0u, ds.msg_qnum);
  Text wrong = {0, ""};
  EXPECT_ERR(EINVAL, sys(SYS_msgsnd, id, &wrong, 4, 0));
  EXPECT_ERR(EINVAL, sys(SYS_msgsnd, id, &one, -1, 0));
  EXPECT_ERR(EFAULT, sys(SYS_msgsnd, id, bad(), 4, 0));
  EXPECT_ERR(EFAULT, sys(SYS_msgctl, id, IPC_STAT, bad()));
  EXPECT_OK(sys(SYS_msgctl, id, IPC_RMID, nullptr));
  EXPECT_ERR(EINVAL, sys(SYS_msgsnd, id, &one, 4, 0));
  EXPECT_ERR(EINVAL, sys(SYS_msgrcv, id, &got, 4, 0, 0));
  EXPECT_ERR(ENOENT, sys(SYS_msgget, 0x52390000 + getpid(), 0600));
}

TEST(MsgTest, Information) {
  const Removed id(SYS_msgctl, sys(SYS_msgget, IPC_PRIVATE, IPC_CREAT | 0600));
  SKIP_WITHOUT(id);
  ASSERT_OK(+id);
  Text one = {1, "one"};
  EXPECT_OK(sys(SYS_msgsnd, +id, &one, 4, 0));
  msginfo limit = {}, use = {};
  const long highest = sys(SYS_msgctl, 0, IPC_INFO, &limit);
  ASSERT_OK(highest);
  EXPECT_EQ(limits("msgmax"), std::vector{static_cast<uint64_t>(limit.msgmax)});
  EXPECT_EQ(limits("msgmnb"), std::vector{static_cast<uint64_t>(limit.msgmnb)});
  EXPECT_EQ(limits("msgmni"), std::vector{static_cast<uint64_t>(limit.msgmni)});
  EXPECT_EQ(16, limit.msgssz);
  EXPECT_EQ(0xffff, limit.msgseg);
  EXPECT_EQ(highest, sys(SYS_msgctl, 0, MSG_INFO, &use));
  EXPECT_GE(use.msgpool, 1);
  EXPECT_GE(use.msgmap, 1);
  EXPECT_GE(use.msgtql, 4);
  EXPECT_TRUE(listed("msg", id));
  msqid_ds ds = {};
  expect_found_by_index(id, highest, [&](long i) { return sys(SYS_msgctl, i, MSG_STAT, &ds); });
  expect_found_by_index(id, highest, [&](long i) { return sys(SYS_msgctl, i, MSG_STAT_ANY, &ds); });
  EXPECT_ERR(EFAULT, sys(SYS_msgctl, 0, IPC_INFO, bad()));
  EXPECT_ERR(EFAULT, sys(SYS_msgctl, 0, MSG_INFO, bad()));
}

}  // namespace
}  // namespace run9::guest
