/* A child that a fork server makes: its program, and its end, told once with the right status. */
#include "support/test.h"

#include <errno.h>
#include <signal.h>
#include <sys/prctl.h>

#include "support/server.h"

/* Each way of waiting, and each way to begin a server. */
static const uint32_t manners[] = {
    0,
    SSS_FORKSRV_CLONE_PARENT,
    SSS_FORKSRV_SERVERS_CHILDREN,
    SSS_FORKSRV_FORK,
    SSS_FORKSRV_FORK | SSS_FORKSRV_SERVERS_CHILDREN,
};

/* The signal that its parent gets when it ends. */
static int exit_signal_of(pid_t pid)
{
    char path[64], text[1024], *at;
    FILE *file;
    int field;

    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    file = fopen(path, "re");
    check(file != NULL);
    check(fgets(text, sizeof(text), file) != NULL);
    check_ok(fclose(file));
    at = strrchr(text, ')');
    for (field = 2; field < 38; field++) {
        check(at != NULL);
        at = strchr(at + 1, ' ');
    }
    check(at != NULL);
    return atoi(at);
}

static void each_end_is_told(void **state)
{
    static const int ends[] = { 0, 1, 7, 255, BY_SIGNAL(SIGKILL), BY_SIGNAL(SIGTERM) };
    struct server_bed *bed = *state;
    struct sss_child_ctx *child;
    struct gate gate;
    size_t i, way;
    pid_t pid;

    for (way = 0; way < ARRAY_SIZE(manners); way++) {
        server_start(bed, manners[way]);
        for (i = 0; i < ARRAY_SIZE(ends); i++) {
            struct seen seen = { 0 };

            gate_make(&gate);
            child = launch_at(bed->srv, &gate, ends[i], see, &seen);
            pid = pid_of(child);
            check_int(is_child(pid), (manners[way] & SSS_FORKSRV_SERVERS_CHILDREN) == 0);
            check_int(exit_signal_of(pid), SIGCHLD);
            loop_settle(&bed->loop);
            check_int(seen.calls, 0);
            gate_open(&gate);
            loop_until(&bed->loop, &seen.calls, 1);
            loop_settle(&bed->loop);
            check_seen(&seen, pid, ends[i]);
            check_ok(sss_child_free(child));
        }
        server_finish(bed);
    }
}

static int note_end(struct sss_child_ctx *child, void *pvt)
{
    (void)child;
    ++*(unsigned *)pvt;
    return 0;
}

/* The handle of a launched child can kill and have a destructor, as any other. A watch of the
 * same child can have a deadline. */
static void its_handle_is_an_ordinary_one(void **state)
{
    const struct sss_deadline_step step = { .after_ns = 1000000, .signum = SIGUSR1 };
    struct sss_deadline deadline = { .size = sizeof(deadline), .steps = &step, .steps_count = 1 };
    struct sss_watch watch = { .size = sizeof(watch), .mask = SSS_WATCH_PID };
    struct server_bed *bed = *state;
    struct sss_child_ctx *child, *watched;
    struct gate gate;
    size_t i;
    pid_t pid;

    for (i = 0; i < 2 * ARRAY_SIZE(manners); i++) {
        bool late = i % 2 == 1;
        struct seen seen = { 0 };
        unsigned destroyed = 0;

        server_start(bed, manners[i / 2]);
        gate_make(&gate);
        child = launch_at(bed->srv, &gate, 3, see, &seen);
        pid = pid_of(child);
        check_ok(sss_child_set_destructor(child, note_end, &destroyed));
        if (late && (manners[i / 2] & SSS_FORKSRV_SERVERS_CHILDREN) == 0) {
            watch.pid = pid;
            check_ok(sss_child_watch(NULL, bed->loop.ctx, &watch, &watched));
            check_ok(sss_child_set_deadline(watched, &deadline));
            loop_until(&bed->loop, &seen.calls, 1);
            check_ok(sss_child_free(watched));
        } else {
            check_ok(sss_child_kill(child, late ? SIGUSR1 : SIGTERM));
        }
        loop_until(&bed->loop, &seen.calls, 1);
        check_seen(&seen, pid, BY_SIGNAL(late ? SIGUSR1 : SIGTERM));
        check_int(sss_child_kill(child, SIGTERM), ESRCH);
        check_int(destroyed, 0);
        check_ok(sss_child_free(child));
        check_int(destroyed, 1);
        gate_open(&gate);
        server_finish(bed);
    }
}

/* More ends than the sockets hold messages. */
static void many_at_once(void **state)
{
    static struct sss_child_ctx *children[700];
    static struct seen seen[700];
    struct server_bed *bed = *state;
    size_t i, way;

    for (way = 0; way < ARRAY_SIZE(manners); way++) {
        memset(seen, 0, sizeof(seen));
        server_start(bed, manners[way]);
        for (i = 0; i < ARRAY_SIZE(seen); i++) {
            children[i] = launch_at(bed->srv, NULL, (int)(i % 256), see, &seen[i]);
        }
        for (i = 0; i < ARRAY_SIZE(seen); i++) {
            loop_until(&bed->loop, &seen[i].calls, 1);
            check_seen(&seen[i], pid_of(children[i]), (int)(i % 256));
            check_ok(sss_child_free(children[i]));
        }
        server_finish(bed);
    }
}

static void what_fails_leaves_nothing(void **state)
{
    static const char *const argv[] = { "none", NULL };
    struct server_bed *bed = *state;
    struct sss_child_ctx *child = NULL;
    struct sss_spawn spawn = spawn_zero();
    uint32_t step;
    size_t i, way;

    for (way = 0; way < ARRAY_SIZE(manners); way++) {
        server_start(bed, manners[way]);
        for (i = 0; i < 3; i++) {
            spawn = spawn_zero();
            spawn.argv = argv;
            spawn.path = "/nowhere/none";
            spawn.failed_step = &step;
            step = 0;
            check_int(sss_forksrv_launch(NULL, bed->srv, &spawn, see, NULL, &child), ENOENT);
            check_int(step, SSS_SPAWN_STEP_EXEC);
            spawn.path = "/etc/passwd";
            check_int(sss_forksrv_launch(NULL, bed->srv, &spawn, see, NULL, &child), EACCES);
            spawn.cwd = "/nowhere";
            check_int(sss_forksrv_launch(NULL, bed->srv, &spawn, see, NULL, &child), ENOENT);
            check_int(step, SSS_SPAWN_STEP_CWD);
            spawn = spawn_zero();
            spawn.argv = argv;
            spawn.path = "/bin/true";
            spawn.mask |= SSS_SPAWN_PGRP;
            spawn.pgrp = 1;
            spawn.failed_step = &step;
            check_int(sss_forksrv_launch(NULL, bed->srv, &spawn, see, NULL, &child), EPERM);
            check_int(step, SSS_SPAWN_STEP_PGRP);
            spawn.mask = SSS_SPAWN_PDEATHSIG;
            spawn.pdeathsig = SIGTERM;
            check_int(sss_forksrv_launch(NULL, bed->srv, &spawn, see, NULL, &child), EINVAL);
            check_int(step, SSS_SPAWN_STEP_PDEATHSIG);
        }
        check(child == NULL);
        loop_settle(&bed->loop);
        check_int(stats_of(bed->loop.ctx).watches, 1); /* the server's own */
        server_finish(bed);
    }
}

static void freed_without_a_stop(void **state)
{
    struct server_bed *bed = *state;
    struct seen seen = { 0 };
    struct sss_child_ctx *child;
    struct gate gate;
    size_t way;
    pid_t pid;

    for (way = 0; way < ARRAY_SIZE(manners); way++) {
        memset(&seen, 0, sizeof(seen));
        server_start(bed, manners[way]);
        gate_make(&gate);
        child = launch_at(bed->srv, &gate, 3, see, &seen);
        pid = server_pid(bed->srv);
        check_ok(sss_forksrv_free(bed->srv));
        loop_until_reaped(&bed->loop, pid);
        pid = pid_of(child);
        gate_open(&gate);
        loop_until(&bed->loop, &seen.calls, 1);
        check_seen(&seen, pid, 3);
        check_ok(sss_child_free(child));
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(each_end_is_told, server_bed_begin, server_bed_end),
        cmocka_unit_test_setup_teardown(its_handle_is_an_ordinary_one, server_bed_begin, server_bed_end),
        cmocka_unit_test_setup_teardown(many_at_once, server_bed_begin, server_bed_end),
        cmocka_unit_test_setup_teardown(what_fails_leaves_nothing, server_bed_begin, server_bed_end),
        cmocka_unit_test_setup_teardown(freed_without_a_stop, server_bed_begin, server_bed_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
