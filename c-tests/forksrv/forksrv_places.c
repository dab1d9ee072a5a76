/* Fork servers under unusual conditions: in threads, in a pid namespace, without root, under
 * filters, with many children. */
#include "support/test.h"

#include <grp.h>
#include <pthread.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "support/filter.h"
#include "support/server.h"

static void some_are_told(struct server_bed *bed)
{
    struct sss_child_ctx *child;
    struct seen seen;
    int i;
    pid_t pid;

    for (i = 0; i < 20; i++) {
        memset(&seen, 0, sizeof(seen));
        child = launch_at(bed->srv, NULL, i, see, &seen);
        pid = pid_of(child);
        loop_until(&bed->loop, &seen.calls, 1);
        check_seen(&seen, pid, i);
        check_ok(sss_child_free(child));
    }
}

#define THREADS 4
#define EACH 100

struct launcher {
    struct server_bed *bed;
    pthread_t thread;
    struct seen seen[EACH];
    struct sss_child_ctx *children[EACH];
};

static void *launch_many(void *arg)
{
    struct launcher *launcher = arg;
    int i;

    for (i = 0; i < EACH; i++) {
        launcher->children[i] = launch_at(launcher->bed->srv, NULL, i, see, &launcher->seen[i]);
    }
    return NULL;
}

static void many_threads_launch(void **state)
{
    static const uint32_t flags[] = { SSS_FORKSRV_CLONE_PARENT, SSS_FORKSRV_SERVERS_CHILDREN };
    static struct launcher launchers[THREADS];
    static struct server_bed bed;
    size_t way, i, n;

    (void)state;
    for (way = 0; way < ARRAY_SIZE(flags); way++) {
        server_bed_open(&bed, flags[way]);
        memset(launchers, 0, sizeof(launchers));
        for (i = 0; i < THREADS; i++) {
            launchers[i].bed = &bed;
            check_ok(pthread_create(&launchers[i].thread, NULL, launch_many, &launchers[i]));
        }
        for (i = 0; i < THREADS; i++) {
            check_ok(pthread_join(launchers[i].thread, NULL));
        }
        for (i = 0; i < THREADS; i++) {
            for (n = 0; n < EACH; n++) {
                loop_until(&bed.loop, &launchers[i].seen[n].calls, 1);
                check_seen(&launchers[i].seen[n], pid_of(launchers[i].children[n]), (int)n);
                check_ok(sss_child_free(launchers[i].children[n]));
            }
        }
        server_bed_close(&bed);
    }
}

static void server_is_init(void *arg)
{
    struct server_bed bed;

    (void)arg;
    check_ok(unshare(CLONE_NEWPID));
    server_bed_open(&bed, 0);
    some_are_told(&bed);
    server_bed_close(&bed);
}

/* Its children have small pids there, which belong to other processes here. */
static void pids_of_its_own(void *arg)
{
    struct server_bed bed;
    struct sss_child_ctx *child;
    struct gate gate;
    int status;
    pid_t pid, other;

    (void)arg;
    check_ok(unshare(CLONE_NEWPID));
    server_bed_open(&bed, 0);
    gate_make(&gate);
    child = launch_at(bed.srv, &gate, 7, see, NULL);
    pid = pid_of(child);
    check_ok(sss_child_release(child, &status));
    for (other = 1; other < 10; other++) {
        if (other != pid && other != server_pid(bed.srv)) {
            check_int(sss_forksrv_waitpid(bed.srv, other, WNOHANG, &status), ECHILD);
        }
    }
    check_int(sss_forksrv_waitpid(bed.srv, pid, WNOHANG, &status), EAGAIN);
    gate_open(&gate);
    check_ok(sss_forksrv_waitpid(bed.srv, pid, 0, &status));
    check_int(status, status_of(7));
    check_int(sss_forksrv_waitpid(bed.srv, pid, 0, &status), ECHILD);
    server_bed_close(&bed);
}

/* Its session shows as 0, as does that of a server in a namespace further down; but its
 * process group has a number that means nothing there. */
static void session_of_no_number(void *arg)
{
    check_ok(setpgid(0, 0));
    check_int(getsid(0), 0);
    check_int(getpgid(0), 1);
    server_is_init(arg);
}

static void in_a_namespace(void *arg)
{
    (void)arg;
    check_ok(unshare(CLONE_NEWPID));
    in_child(session_of_no_number, NULL);
}

/* The server does not see it in /proc, and its order comes in several parts. */
static void drops_root_unseen(void *arg)
{
    enum { STRINGS = 15 };
    static const char *envp[STRINGS + 1];
    static const char *const argv[] = { "sh", "-c", "exit $(id -u)", NULL };
    struct sss_child_ctx *child = NULL;
    struct sss_spawn spawn = spawn_zero();
    struct seen seen = { 0 };
    struct server_bed bed;
    pid_t pid;

    (void)arg;
    large_environment(envp, STRINGS);
    envp[0] = "PATH=/usr/bin:/bin";
    spawn.path = "/bin/sh";
    spawn.argv = argv;
    spawn.envp = envp;
    check_ok(unshare(CLONE_NEWPID));
    server_bed_open(&bed, 0);
    check_ok(setgroups(0, NULL));
    check_ok(setresgid(101, 101, 101));
    check_ok(setresuid(102, 102, 102));
    check_ok(sss_forksrv_launch(NULL, bed.srv, &spawn, see, &seen, &child));
    pid = pid_of(child);
    loop_until(&bed.loop, &seen.calls, 1);
    check_seen(&seen, pid, 102);
    check_ok(sss_child_free(child));
    server_bed_close(&bed);
}

static void no_root_child_of_a_daemon_that_is_not_seen(void **state)
{
    (void)state;
    needs_root("give root up");
    in_child(drops_root_unseen, NULL);
}

static void the_server_is_a_namespaces_init(void **state)
{
    (void)state;
    needs_root("make a pid namespace");
    in_child(server_is_init, NULL);
    in_child(in_a_namespace, NULL);
}

static void a_namespaces_pids_are_not_mixed_with_ours(void **state)
{
    (void)state;
    needs_root("make a pid namespace");
    in_child(pids_of_its_own, NULL);
}

static void without_root(void *arg)
{
    uint32_t flags = *(const uint32_t *)arg;
    struct sss_forksrv_params params;
    struct server_bed bed;

    check_ok(setgroups(0, NULL));
    check_ok(setresgid(12345, 12345, 12345));
    check_ok(setresuid(12346, 12346, 12346));
    server_bed_start(&bed);
    params = server_zero(flags, &bed.events);
    if ((flags & SSS_FORKSRV_FORK) == 0) {
        params.helper = server_helper_for_all();
    }
    check_ok(sss_forksrv_start(NULL, bed.loop.ctx, &params, &bed.srv));
    loop_until(&bed.loop, &bed.events.ready, 1);
    {
        static const char *const argv[] = { "true", NULL };
        struct sss_spawn spawn = spawn_zero();
        struct sss_child_ctx *child = NULL;
        struct seen seen = { 0 };
        pid_t pid;

        spawn.path = "/bin/true";
        spawn.argv = argv;
        check_ok(sss_forksrv_launch(NULL, bed.srv, &spawn, see, &seen, &child));
        pid = pid_of(child);
        loop_until(&bed.loop, &seen.calls, 1);
        check_seen(&seen, pid, 0);
        check_ok(sss_child_free(child));
    }
    server_bed_close(&bed);
}

static void an_ordinary_user(void **state)
{
    uint32_t flags[] = { 0, SSS_FORKSRV_SERVERS_CHILDREN, SSS_FORKSRV_FORK };
    size_t i;

    (void)state;
    needs_root("become an ordinary user");
    (void)server_helper_for_all();
    for (i = 0; i < ARRAY_SIZE(flags); i++) {
        in_child(without_root, &flags[i]);
    }
}

static void filtered(void *arg)
{
    static const uint32_t flags[] = { 0, SSS_FORKSRV_SERVERS_CHILDREN, SSS_FORKSRV_FORK };
    struct server_bed bed;
    size_t i;

    (void)arg;
    filter_deny(SYS_clone3, ENOSYS);
    filter_deny(SYS_pidfd_open, EPERM);
    for (i = 0; i < ARRAY_SIZE(flags); i++) {
        server_bed_open(&bed, flags[i]);
        some_are_told(&bed);
        server_bed_close(&bed);
    }
}

static void a_filter_forbids_clone3_and_pidfd_open(void **state)
{
    (void)state;
    in_child(filtered, NULL);
}

static void many_live_children(void **state)
{
    static struct server_bed bed;
    bool all = test_profile_is("plain") || test_profile_is("soak");
    unsigned total = all ? 10000 : test_profile_is("valgrind") ? 300 : 1000, i, told = 0;
    struct sss_child_ctx **children = calloc(total, sizeof(struct sss_child_ctx *));
    struct seen *seen = calloc(total, sizeof(struct seen));
    struct gate gate;

    (void)state;
    check(children != NULL && seen != NULL);
    server_bed_open(&bed, 0);
    gate_make(&gate);
    for (i = 0; i < total; i++) {
        children[i] = launch_at(bed.srv, &gate, (int)(i % 200), see, &seen[i]);
    }
    check_ok(kill(server_pid(bed.srv), SIGKILL));
    loop_until(&bed.loop, &bed.events.crashed, 1);
    gate_open(&gate);
    for (i = 0; i < total; i++) {
        loop_until(&bed.loop, &seen[i].calls, 1);
        check_seen(&seen[i], pid_of(children[i]), (int)(i % 200));
        check_ok(sss_child_free(children[i]));
        told++;
    }
    check_int(told, total);
    check_ok(sss_forksrv_free(bed.srv));
    server_bed_stop(&bed);
    free(children);
    free(seen);
}

static int waits(void *arg)
{
    char byte;

    (void)arg;
    return read(STDIN_FILENO, &byte, 1) == 0 ? 88 : 1;
}

/* Children of the server's own, which have not execed, live on as ours. */
static void functions_outlive_the_server(void **state)
{
    static struct sss_child_ctx *children[200];
    static struct seen seen[200];
    struct sss_forksrv *srv;
    struct server_bed bed;
    unsigned total = ARRAY_SIZE(seen), i;
    struct order order;
    struct gate gate;

    (void)state;
    server_bed_open(&bed, SSS_FORKSRV_FORK | SSS_FORKSRV_SERVERS_CHILDREN);
    srv = bed.srv;
    gate_make(&gate);
    order_ends(&order, &gate, 0);
    memset(seen, 0, sizeof(seen));
    for (i = 0; i < total; i++) {
        check_ok(sss_forksrv_launch_function(NULL, srv, &order.spawn, waits, NULL, see, &seen[i],
                                             &children[i]));
    }
    check_ok(kill(server_pid(srv), SIGKILL));
    loop_until(&bed.loop, &bed.events.crashed, 1);
    gate_open(&gate);
    for (i = 0; i < total; i++) {
        loop_until(&bed.loop, &seen[i].calls, 1);
        check_seen(&seen[i], pid_of(children[i]), 88);
        check_ok(sss_child_free(children[i]));
    }
    check_ok(sss_forksrv_free(srv));
    server_bed_stop(&bed);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(many_threads_launch),
        cmocka_unit_test(the_server_is_a_namespaces_init),
        cmocka_unit_test(a_namespaces_pids_are_not_mixed_with_ours),
        cmocka_unit_test(an_ordinary_user),
        cmocka_unit_test(no_root_child_of_a_daemon_that_is_not_seen),
        cmocka_unit_test(a_filter_forbids_clone3_and_pidfd_open),
        cmocka_unit_test(many_live_children),
        cmocka_unit_test(functions_outlive_the_server),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
