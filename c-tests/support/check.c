#define _GNU_SOURCE
#include "support/check.h"

#include <dirent.h>
#include <errno.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

static _Thread_local bool in_test_thread;

__attribute__((constructor)) static void mark_test_thread(void)
{
    in_test_thread = true;
    setvbuf(stdout, NULL, _IOLBF, 0);
}

static void give_up(void)
{
    if (in_test_thread) {
        fail();
    }
    _exit(EXIT_FAILURE);
}

void check_at(bool holds, const char *what, const char *file, int line)
{
    if (holds) {
        return;
    }
    fprintf(stderr, "%s:%d: %s: not so\n", file, line, what);
    give_up();
}

void check_int_at(intmax_t got, intmax_t wanted, const char *what, const char *file, int line)
{
    if (got == wanted) {
        return;
    }
    fprintf(stderr, "%s:%d: %s: %jd, wanted %jd\n", file, line, what, got, wanted);
    give_up();
}

void test_skip(const char *profiles, const char *why)
{
    check(in_test_thread);
    /* `run` reads this line. */
    fprintf(stderr, "SKIP under %s: %s\n", profiles, why);
    skip();
    abort();
}

void test_lacks(const char *what)
{
    test_skip("any", what);
}

void needs_root(const char *what)
{
    if (geteuid() != 0) {
        fprintf(stderr, "needs root to %s\n", what);
        test_skip("user", "needs root");
    }
}

bool test_profile_is(const char *name)
{
    const char *profile = getenv("SSS_TEST_PROFILE");

    return strcmp(profile != NULL ? profile : "plain", name) == 0;
}

static void end_well(pid_t pid)
{
    int status;

    check_int(waitpid(pid, &status, 0), pid);
    check(WIFEXITED(status));
    check_int(WEXITSTATUS(status), 0);
}

static pid_t start_child(void (*fn)(void *arg), void *arg)
{
    pid_t pid;

    fflush(NULL);
    pid = fork();
    check(pid != -1);
    if (pid == 0) {
        in_test_thread = false;
        fn(arg);
        _exit(EXIT_SUCCESS);
    }
    return pid;
}

void in_child(void (*fn)(void *arg), void *arg)
{
    end_well(start_child(fn, arg));
}

struct namespaced {
    void (*fn)(void *arg);
    void *arg;
};

static void enter_pid_namespace(void *pvt)
{
    struct namespaced *inner = pvt;

    check_ok(unshare(CLONE_NEWPID | CLONE_NEWNS));
    in_child(inner->fn, inner->arg);
}

static void try_pid_namespace(void *unused)
{
    (void)unused;
    _exit(unshare(CLONE_NEWPID | CLONE_NEWNS) == 0 ? EXIT_SUCCESS : EXIT_FAILURE);
}

void in_pid_namespace(void (*fn)(void *arg), void *arg)
{
    struct namespaced inner = { fn, arg };
    int status;
    pid_t pid = start_child(try_pid_namespace, NULL);

    check_int(waitpid(pid, &status, 0), pid);
    if (status != 0) {
        test_lacks("no pid namespace to be had");
    }
    in_child(enter_pid_namespace, &inner);
}

int64_t now_ms(void)
{
    struct timespec now;

    /* Not the library's clock: handler/counts holds that still. */
    check_ok(clock_gettime(CLOCK_MONOTONIC_COARSE, &now));
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void close_all_but(int first, int second)
{
    for (int fd = 3; fd < 256; fd++) {
        if (fd != first && fd != second) {
            (void)close(fd);
        }
    }
}

static unsigned entries_of(const char *path)
{
    DIR *dir = opendir(path);
    unsigned count = 0;
    struct dirent *entry;

    check(dir != NULL);
    while ((entry = readdir(dir)) != NULL) {
        count += entry->d_name[0] != '.';
    }
    check_ok(closedir(dir));
    return count;
}

unsigned count_fds(void)
{
    return entries_of("/proc/self/fd") - 1; /* the directory's own */
}

unsigned count_threads(void)
{
    unsigned count = entries_of("/proc/self/task");

    /* The thread sanitizer begins one of its own with the first other one. */
    return count - (count > 1 && test_profile_is("tsan"));
}
