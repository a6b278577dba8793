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

}  // namespace
}  // namespace run9::guest
