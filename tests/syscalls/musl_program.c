// What musl's call sites are made for: files, directories, threads, processes, interrupted calls. Prints what it saw;
// musl_test.py compares that with the host's.
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

static volatile sig_atomic_t alarms;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static long sum;

static void on_alarm(int sig) { alarms += sig == SIGALRM; }

static void* add(void* unused) {
  for (int i = 0; i < 1000; ++i) {
    pthread_mutex_lock(&mutex);
    sum += i;
    pthread_mutex_unlock(&mutex);
    if (i % 100 == 0) sched_yield();
  }
  return unused;
}

static void directory(void) {
  char dir[] = "/tmp/musl-XXXXXX", path[64];
  if (mkdtemp(dir) == NULL) perror("mkdtemp");
  for (int i = 0; i < 200; ++i) {
    snprintf(path, sizeof path, "%s/%d", dir, i);
    FILE* f = fopen(path, "w");
    if (f == NULL || fprintf(f, "%d\n", i) < 2 || fclose(f) != 0) perror(path);
  }
  int names = 0, bytes = 0;
  DIR* d = opendir(dir);
  for (struct dirent* e; (e = readdir(d)) != NULL;) {
    struct stat st;
    snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
    if (stat(path, &st) != 0) perror(path);
    if (!S_ISREG(st.st_mode)) continue;
    ++names;
    bytes += (int)st.st_size;
    unlink(path);
  }
  closedir(d);
  printf("directory: %d files, %d bytes, removed: %d\n", names, bytes, rmdir(dir));
}

static void errors(void) {
  printf("errors:");
  printf(" %d", (close(-1), errno));
  printf(" %d", (open("/none/such", O_RDONLY), errno));
  printf(" %d", (mmap(NULL, 0, PROT_READ, MAP_PRIVATE, -1, 0) == MAP_FAILED ? errno : 0));
  printf(" %d", (lseek(99, 0, SEEK_SET), errno));
  printf(" %d\n", (kill(getpid(), 99), errno));
}

static void threads(void) {
  pthread_t t[8];
  for (int i = 0; i < 8; ++i) pthread_create(&t[i], NULL, add, NULL);
  for (int i = 0; i < 8; ++i) pthread_join(t[i], NULL);
  printf("threads: %ld\n", sum);
}

static void processes(void) {
  int total = 0, fds[2];
  if (pipe(fds) != 0) perror("pipe");
  for (int i = 0; i < 5; ++i) {
    const pid_t child = fork();
    if (child == 0) {
      char c = (char)i;
      _exit(write(fds[1], &c, 1) == 1 && getppid() > 0 ? i : 99);
    }
    int status = 0;
    char c = 0;
    if (read(fds[0], &c, 1) != 1 || waitpid(child, &status, 0) != child) perror("fork");
    total += WEXITSTATUS(status) + c;
  }
  printf("processes: %d\n", total);
}

// Signals while it waits, and at any moment of many short calls.
static void signals(void) {
  struct sigaction action = {.sa_handler = on_alarm};
  sigaction(SIGALRM, &action, NULL);
  struct itimerval timer = {{0, 0}, {0, 20000}};
  setitimer(ITIMER_REAL, &timer, NULL);
  const int waited = pause();
  printf("signals: %d %d", waited, errno == EINTR);
  timer.it_interval.tv_usec = timer.it_value.tv_usec = 500;
  setitimer(ITIMER_REAL, &timer, NULL);
  int wrong = 0;
  for (int i = 0; i < 100000 && alarms < 50; ++i) {
    wrong += umask(022) != 022 && i > 0;
    wrong += lseek(-1, 0, SEEK_CUR) != -1 || errno != EBADF;
    wrong += getpgid(0) < 0;
  }
  timer.it_interval.tv_usec = timer.it_value.tv_usec = 0;
  setitimer(ITIMER_REAL, &timer, NULL);
  printf(" %d %d\n", alarms > 1, wrong);
}

int main(void) {
  setvbuf(stdout, NULL, _IONBF, 0);
  directory();
  errors();
  threads();
  processes();
  signals();
  return 0;
}
