/* profiles: all but linux-4.19 linux-5.10 valgrind: a thread's pidfd is of Linux 6.9 */
/* A SIGCHLD that the library sends its own process reaches a loop that reads it from a
 * signalfd, though the main thread has ended and never blocked it. */
#include "support/test.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>

#ifndef PIDFD_THREAD
#define PIDFD_THREAD O_EXCL
#endif

static void await_end_of_main(void)
{
    char path[64], stat[256] = "";
    int64_t deadline = now_ms() + DEADLINE_MS;
    FILE *file;

    snprintf(path, sizeof(path), "/proc/self/task/%d/stat", getpid());
    do {
        check(now_ms() < deadline);
        sched_yield();
        file = fopen(path, "re");
        check(file != NULL);
        check(fgets(stat, sizeof(stat), file) != NULL);
        check_int(fclose(file), 0);
    } while (strstr(stat, ") Z ") == NULL);
}

static void *the_loop(void *unused)
{
    sigset_t sigchld;
    struct pollfd wake = { .events = POLLIN };
    struct sss_sigchild_ctx *ctx = ctx_make(SSS_SCOPE_REGISTERED, 0);
    struct sss_child_ctx *child;
    struct signalfd_siginfo info;
    struct seen seen = { 0 };
    pid_t pid;

    (void)unused;
    await_end_of_main();
    sigemptyset(&sigchld);
    sigaddset(&sigchld, SIGCHLD);
    wake.fd = signalfd(-1, &sigchld, SFD_CLOEXEC | SFD_NONBLOCK);
    check(wake.fd != -1);
    pid = child_at(NULL, 3);
    await_zombie(pid);
    check_int(poll(&wake, 1, DEADLINE_MS), 1);
    check_int(read(wake.fd, &info, sizeof(info)), sizeof(info)); /* the child's own */
    check_ok(sss_child_register(NULL, ctx, pid, see, &seen, &child));
    check_int(poll(&wake, 1, DEADLINE_MS), 1);
    check_int(read(wake.fd, &info, sizeof(info)), sizeof(info));
    check_ok(sss_sigchld_ctx_signalled(ctx, NULL));
    check_seen(&seen, pid, 3);
    check_ok(sss_child_free(child));
    check_ok(sss_sigchld_ctx_free(ctx));
    _exit(EXIT_SUCCESS);
}

static void main_ends(void *unused)
{
    sigset_t sigchld, before;
    pthread_t thread;

    (void)unused;
    signal(SIGCHLD, SIG_DFL);
    sigemptyset(&sigchld);
    sigaddset(&sigchld, SIGCHLD);
    check_int(pthread_sigmask(SIG_BLOCK, &sigchld, &before), 0);
    check_int(pthread_create(&thread, NULL, the_loop, NULL), 0);
    check_int(pthread_sigmask(SIG_UNBLOCK, &sigchld, NULL), 0);
    pthread_exit(NULL);
}

static void the_signal_is_not_lost(void **state)
{
    int thread = (int)syscall(SYS_pidfd_open, syscall(SYS_gettid), PIDFD_THREAD);

    (void)state;
    if (thread == -1) {
        test_lacks("Linux 6.9");
    }
    check_int(close(thread), 0);
    in_child(main_ends, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_signal_is_not_lost),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
