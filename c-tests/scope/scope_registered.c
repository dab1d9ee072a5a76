/*
 * Scope REGISTERED: popen(), system() and posix_spawn() with waitpid() beside
 * our own children, in one thread and in another; no side loses a status.
 */
#include "support/test.h"
#include "support/watched.h"

#include <pthread.h>
#include <spawn.h>
#include <stdatomic.h>

extern char **environ;

static int rounds(void)
{
    if (test_profile_is("valgrind")) {
        return 10;
    }
    return test_profile_is("plain") ? 1000 : 200;
}

static void by_popen(int code)
{
    char command[32];
    FILE *pipe;

    snprintf(command, sizeof(command), "exit %d", code);
    pipe = popen(command, "r");
    check(pipe != NULL);
    check_int(pclose(pipe), status_of(code));
}

static void by_system(int code)
{
    char command[32];

    snprintf(command, sizeof(command), "exit %d", code);
    check_int(system(command), status_of(code));
}

static void by_posix_spawn(int code)
{
    char number[32];
    char *argv[] = { (char *)"sh", (char *)"-c", number, NULL };
    pid_t pid;

    snprintf(number, sizeof(number), "exit %d", code);
    check_ok(posix_spawn(&pid, "/bin/sh", NULL, NULL, argv, environ));
    reap(pid, code);
}

static void by_fork(int code)
{
    reap(child_at(NULL, code), code);
}

static void (*const foreign[])(int code) = { by_popen, by_system, by_posix_spawn, by_fork };

static void in_one_thread(void **state)
{
    struct loop *loop = *state;
    struct watched ours = { 0 };
    uint64_t lost = stats_of(loop->ctx).lost;
    int count = rounds();
    int i;

    for (i = 0; i < count; i++) {
        watched_start(loop->ctx, &ours, i % 200);
        foreign[i % ARRAY_SIZE(foreign)](i % 199);
        loop_until(loop, &ours.calls, (unsigned)i + 1);
    }
    check_int(stats_of(loop->ctx).lost, lost);
}

static atomic_bool foreign_done;

static void *foreign_main(void *unused)
{
    int count = rounds();
    int i;

    (void)unused;
    for (i = 0; i < count; i++) {
        foreign[i % ARRAY_SIZE(foreign)](i % 199);
    }
    atomic_store(&foreign_done, true);
    return NULL;
}

static void in_another_thread(void **state)
{
    struct loop *loop = *state;
    struct watched ours = { 0 };
    uint64_t lost = stats_of(loop->ctx).lost;
    pthread_t thread;
    unsigned i;

    atomic_store(&foreign_done, false);
    check_ok(pthread_create(&thread, NULL, foreign_main, NULL));
    for (i = 0; !atomic_load(&foreign_done); i++) {
        watched_start(loop->ctx, &ours, (int)(i % 200));
        loop_until(loop, &ours.calls, i + 1);
    }
    check_ok(pthread_join(thread, NULL));
    check_int(stats_of(loop->ctx).lost, lost);
}

/* Scope ALL takes them, and says so. */
static void scope_all_reports_what_it_took(void **state)
{
    struct sss_sigchild_ctx *ctx = ctx_make(SSS_SCOPE_ALL, 0);
    uint64_t unknown = stats_of(ctx).unknown;
    struct loop loop;
    FILE *pipe;

    (void)state;
    loop_start(&loop, ctx, WAKE_BOTH);
    pipe = popen("exit 3", "r");
    check(pipe != NULL);
    while (stats_of(ctx).unknown == unknown) {
        loop_turn(&loop, 100);
    }
    check_int(pclose(pipe), -1);
    check_int(errno, ECHILD);
    check_int(stats_of(ctx).unknown, unknown + 1);
    loop_end(&loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        REGISTERED_WAYS(in_one_thread),
        REGISTERED_WAYS(in_another_thread),
        cmocka_unit_test(scope_all_reports_what_it_took),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
