/* Launches that the loop carries on: a server that is slow, stopped or dead delays nothing
 * else, and each launch ends with one event. */
#include "support/test.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <poll.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#include "support/family.h"
#include "support/hold.h"
#include "support/kernel.h"
#include "support/server.h"

static const uint32_t manners[] = {
    SSS_FORKSRV_CLONE_PARENT,
    SSS_FORKSRV_SERVERS_CHILDREN,
    SSS_FORKSRV_FORK,
};

/* A launch, what the event told of it, and its child's end. */
struct launch {
    struct order order;
    struct sss_child_ctx *child;
    unsigned launched, failed;
    int pid, error;
    uint32_t step;
    struct seen seen;
    unsigned early; /* ends that were told before the event */
};

static struct launch *launches;
static unsigned count;
static unsigned over;

static void event_told(struct sss_forksrv *srv, const struct sss_forksrv_event *event, void *pvt)
{
    unsigned at;

    server_told(srv, event, pvt);
    if (event->event != SSS_FORKSRV_LAUNCHED && event->event != SSS_FORKSRV_FAILED) {
        check(event->child == NULL);
        return;
    }
    for (at = 0; at < count && launches[at].child != event->child; at++) {
    }
    check(at < count);
    launches[at].launched += event->event == SSS_FORKSRV_LAUNCHED;
    launches[at].failed += event->event == SSS_FORKSRV_FAILED;
    launches[at].pid = event->pid;
    launches[at].error = event->error;
    launches[at].step = event->step;
    launches[at].early = launches[at].seen.calls;
    over++;
}

/* `struct launch`es from now on. */
static void expect(struct launch *these, unsigned how_many)
{
    memset(these, 0, how_many * sizeof(*these));
    launches = these;
    count = how_many;
    over = 0;
}

static errno_t begin(struct server_bed *bed, struct launch *launch, struct sss_spawn *spawn)
{
    spawn->mask |= SSS_SPAWN_ASYNC;
    return sss_forksrv_launch(NULL, bed->srv, spawn, see, &launch->seen, &launch->child);
}

static void begin_at(struct server_bed *bed, struct launch *launch, struct gate *gate, int end)
{
    pid_t pid = -1;

    check_ok(begin(bed, launch, order_ends(&launch->order, gate, end)));
    check(launch->child != NULL);
    check_ok(sss_child_pid(launch->child, &pid));
    check_int(pid, 0);
    check_int(sss_child_kill(launch->child, SIGTERM), ESRCH);
}

static void check_launched(const struct launch *launch)
{
    check_int(launch->launched, 1);
    check_int(launch->failed, 0);
    check_int(launch->error, 0);
    check(launch->pid > 0);
    check_int(launch->early, 0);
    check_int(pid_of(launch->child), launch->pid);
}

static void check_failed(const struct launch *launch, int error, uint32_t step)
{
    check_int(launch->launched, 0);
    check_int(launch->failed, 1);
    check_int(launch->error, error);
    check_int(launch->step, step);
    check_int(launch->seen.calls, 0);
}

/* Runs the loop until every process that came of a launch is reaped. */
static void await_no_children(struct server_bed *bed)
{
    int64_t late = now_ms() + DEADLINE_MS;
    siginfo_t info;

    while (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0) {
        check(now_ms() < late);
        loop_turn(&bed->loop, 10);
    }
    check_int(errno, ECHILD);
}

static void finish(struct server_bed *bed)
{
    check_ok(sss_forksrv_stop(bed->srv));
    loop_until(&bed->loop, &bed->events.stopped, 1);
    await_no_children(bed);
    loop_settle(&bed->loop);
    check_ok(sss_forksrv_free(bed->srv));
}

static void each_end_is_told_after_the_launch(void **state)
{
    static const int ends[] = { 0, 7, 255, BY_SIGNAL(SIGKILL), BY_SIGNAL(SIGTERM) };
    struct server_bed *bed = *state;
    struct launch launch;
    struct gate gate;
    size_t i, way;

    for (way = 0; way < ARRAY_SIZE(manners); way++) {
        server_start_with(bed, manners[way], event_told, 0);
        for (i = 0; i < ARRAY_SIZE(ends); i++) {
            expect(&launch, 1);
            gate_make(&gate);
            begin_at(bed, &launch, &gate, ends[i]);
            loop_until(&bed->loop, &over, 1);
            check_launched(&launch);
            loop_settle(&bed->loop);
            check_int(launch.seen.calls, 0);
            check_int(stats_of(bed->loop.ctx).watches, 2);
            gate_open(&gate);
            loop_until(&bed->loop, &launch.seen.calls, 1);
            loop_settle(&bed->loop);
            check_seen(&launch.seen, launch.pid, ends[i]);
            check_ok(sss_child_free(launch.child));
            /* One that ends at once. */
            expect(&launch, 1);
            begin_at(bed, &launch, NULL, ends[i]);
            loop_until(&bed->loop, &launch.seen.calls, 1);
            check_launched(&launch);
            check_seen(&launch.seen, launch.pid, ends[i]);
            check_ok(sss_child_free(launch.child));
        }
        finish(bed);
    }
}

static void what_fails_is_told_with_its_step(void **state)
{
    static const char *const argv[] = { "none", NULL };
    struct server_bed *bed = *state;
    struct sss_spawn spawn;
    struct launch launch;
    uint32_t step;
    size_t way;

    for (way = 0; way < ARRAY_SIZE(manners); way++) {
        server_start_with(bed, manners[way], event_told, 0);
        spawn = spawn_zero();
        spawn.argv = argv;
        spawn.path = "/nowhere/none";
        expect(&launch, 1);
        check_ok(begin(bed, &launch, &spawn));
        loop_until(&bed->loop, &over, 1);
        check_failed(&launch, ENOENT, SSS_SPAWN_STEP_EXEC);
        check_ok(sss_child_free(launch.child));

        spawn.path = "/etc/passwd";
        expect(&launch, 1);
        check_ok(begin(bed, &launch, &spawn));
        loop_until(&bed->loop, &over, 1);
        check_failed(&launch, EACCES, SSS_SPAWN_STEP_EXEC);
        check_ok(sss_child_free(launch.child));

        spawn.path = "/bin/true";
        spawn.mask |= SSS_SPAWN_PGRP;
        spawn.pgrp = 1;
        expect(&launch, 1);
        check_ok(begin(bed, &launch, &spawn));
        loop_until(&bed->loop, &over, 1);
        check_failed(&launch, EPERM, SSS_SPAWN_STEP_PGRP);
        check_ok(sss_child_free(launch.child));

        /* Errors that are known at once are returned by the call. */
        spawn = spawn_zero();
        spawn.argv = argv;
        spawn.path = "/bin/true";
        spawn.cwd = "/nowhere";
        spawn.failed_step = &step;
        expect(&launch, 1);
        check_int(begin(bed, &launch, &spawn), ENOENT);
        check_int(step, SSS_SPAWN_STEP_CWD);
        check(launch.child == NULL);
        loop_settle(&bed->loop);
        check_int(stats_of(bed->loop.ctx).watches, 1);
        finish(bed);
        check_int(over, 0);
    }
}

static void a_stopped_server_holds_up_nothing(void **state)
{
    struct server_bed *bed = *state;
    struct launch launch;
    struct seen other;
    struct sss_child_ctx *child;
    size_t way;
    pid_t pid;

    for (way = 0; way < ARRAY_SIZE(manners); way++) {
        server_start_with(bed, manners[way], event_told, 0);
        check_ok(kill(server_pid(bed->srv), SIGSTOP));
        expect(&launch, 1);
        begin_at(bed, &launch, NULL, 4);
        /* The loop goes on. */
        memset(&other, 0, sizeof(other));
        pid = child_dead(3);
        check_ok(sss_child_register(NULL, bed->loop.ctx, pid, see, &other, &child));
        loop_until(&bed->loop, &other.calls, 1);
        check_seen(&other, pid, 3);
        check_ok(sss_child_free(child));
        loop_settle(&bed->loop);
        check_int(over, 0);
        check_ok(kill(server_pid(bed->srv), SIGCONT));
        loop_until(&bed->loop, &launch.seen.calls, 1);
        check_launched(&launch);
        check_seen(&launch.seen, launch.pid, 4);
        check_ok(sss_child_free(launch.child));
        finish(bed);
    }
}

static void its_time_is_over(void **state)
{
    static struct launch these[3];
    struct server_bed *bed = *state;
    size_t i, way;

    for (way = 0; way < ARRAY_SIZE(manners); way++) {
        server_start_with(bed, manners[way], event_told, 50 * 1000 * 1000);
        check_ok(kill(server_pid(bed->srv), SIGSTOP));
        expect(these, ARRAY_SIZE(these));
        for (i = 0; i < ARRAY_SIZE(these); i++) {
            begin_at(bed, &these[i], NULL, 0);
        }
        loop_until(&bed->loop, &over, ARRAY_SIZE(these));
        for (i = 0; i < ARRAY_SIZE(these); i++) {
            check_failed(&these[i], ETIMEDOUT, 0);
            check_ok(sss_child_free(these[i].child));
        }
        check_ok(kill(server_pid(bed->srv), SIGCONT));
        finish(bed);
        check_int(over, ARRAY_SIZE(these));
    }
}

/* A server that was stopped runs again once the time is over, and gives the launch up before
 * the loop looks: that is a launch that took too long, not a server that died. */
static void its_server_gave_it_up(void **state)
{
    static struct launch launch;
    struct server_bed *bed = *state;
    size_t way;

    for (way = 0; way < ARRAY_SIZE(manners); way++) {
        int64_t late;
        char now;

        server_start_with(bed, manners[way], event_told, 20 * 1000 * 1000);
        check_ok(kill(server_pid(bed->srv), SIGSTOP));
        expect(&launch, 1);
        begin_at(bed, &launch, NULL, 0);
        late = now_ms() + 25;
        while (now_ms() < late) {
            sched_yield();
        }
        check_ok(kill(server_pid(bed->srv), SIGCONT));
        late = now_ms() + DEADLINE_MS;
        while ((now = process_state(server_pid(bed->srv))) != 'S') {
            check(now != 0 && now_ms() < late);
            sched_yield();
        }
        loop_until(&bed->loop, &over, 1);
        check_failed(&launch, ETIMEDOUT, 0);
        check_ok(sss_child_free(launch.child));
        finish(bed);
    }
}

/* The first launch is given up, with a server that runs and with one that is stopped. */
static void a_freed_handle_gives_the_launch_up(void **state)
{
    static struct launch these[2];
    struct server_bed *bed = *state;
    size_t way, stopped;

    for (way = 0; way < ARRAY_SIZE(manners); way++) {
        for (stopped = 0; stopped < 2; stopped++) {
            server_start_with(bed, manners[way], event_told, 0);
            if (stopped) {
                check_ok(kill(server_pid(bed->srv), SIGSTOP));
            }
            expect(these, ARRAY_SIZE(these));
            begin_at(bed, &these[0], NULL, 5);
            check_ok(sss_child_free(these[0].child));
            these[0].child = NULL;
            begin_at(bed, &these[1], NULL, 6);
            if (stopped) {
                check_ok(kill(server_pid(bed->srv), SIGCONT));
            }
            loop_until(&bed->loop, &these[1].seen.calls, 1);
            check_seen(&these[1].seen, these[1].pid, 6);
            check_ok(sss_child_free(these[1].child));
            finish(bed);
            check_int(over, 1);
            check_int(these[0].seen.calls, 0);
        }
    }
}

static void a_dead_server_ends_the_launch(void **state)
{
    struct server_bed *bed = *state;
    struct launch launch;
    size_t way;

    for (way = 0; way < ARRAY_SIZE(manners); way++) {
        server_start_with(bed, manners[way], event_told, 0);
        check_ok(kill(server_pid(bed->srv), SIGSTOP));
        expect(&launch, 1);
        begin_at(bed, &launch, NULL, 5);
        check_ok(kill(server_pid(bed->srv), SIGKILL));
        loop_until(&bed->loop, &over, 1);
        check_failed(&launch, ECONNRESET, 0);
        check_ok(sss_child_free(launch.child));
        loop_until(&bed->loop, &bed->events.crashed, 1);
        check_int(begin(bed, &launch, order_ends(&launch.order, NULL, 0)), ENOTCONN);
        await_no_children(bed);
        check_ok(sss_forksrv_free(bed->srv));
    }
}

/* The loop does not turn while its thread waits for another launch. */
static void a_launch_that_waits_goes_first(void **state)
{
    struct server_bed *bed = *state;
    struct seen seen;
    struct sss_child_ctx *child;
    struct launch launch;
    size_t way;
    pid_t pid;

    for (way = 0; way < ARRAY_SIZE(manners); way++) {
        server_start_with(bed, manners[way], event_told, 0);
        expect(&launch, 1);
        begin_at(bed, &launch, NULL, 4);
        memset(&seen, 0, sizeof(seen));
        child = launch_at(bed->srv, NULL, 5, see, &seen);
        pid = pid_of(child);
        loop_until(&bed->loop, &seen.calls, 1);
        check_seen(&seen, pid, 5);
        check_ok(sss_child_free(child));
        loop_until(&bed->loop, &launch.seen.calls, 1);
        check_launched(&launch);
        check_seen(&launch.seen, launch.pid, 4);
        check_ok(sss_child_free(launch.child));
        finish(bed);
    }
}

static unsigned calls_of(const struct launch *these, size_t how_many)
{
    unsigned calls = 0;
    size_t i;

    for (i = 0; i < how_many; i++) {
        calls += these[i].seen.calls;
    }
    return calls;
}

/* More than the server's queue holds. */
static void many_at_once(void **state)
{
    static struct launch these[600];
    struct server_bed *bed = *state;
    size_t i, way, many = test_profile_is("plain") ? ARRAY_SIZE(these) : 100;

    for (way = 0; way < ARRAY_SIZE(manners); way++) {
        server_start_with(bed, manners[way], event_told, 60LL * 1000 * 1000 * 1000);
        check_ok(kill(server_pid(bed->srv), SIGSTOP));
        expect(these, (unsigned)many);
        for (i = 0; i < many; i++) {
            begin_at(bed, &these[i], NULL, (int)(i % 256));
        }
        loop_settle(&bed->loop);
        check_int(over, 0);
        check_ok(kill(server_pid(bed->srv), SIGCONT));
        while (calls_of(these, many) < many) {
            check(loop_turn(&bed->loop, DEADLINE_MS) != 0);
        }
        check_int(over, many);
        for (i = 0; i < many; i++) {
            check_launched(&these[i]);
            check_seen(&these[i].seen, these[i].pid, (int)(i % 256));
            check_ok(sss_child_free(these[i].child));
        }
        finish(bed);
    }
}

/* An order that does not fit the socket at once, with descriptors that are closed as soon as
 * the call returns. */
static void a_large_order(void **state)
{
    enum { STRINGS = 15, FDS = 300 };
    static const char *envp[STRINGS + 1];
    static struct sss_spawn_fd map[FDS + 1];
    struct server_bed *bed = *state;
    struct launch launch;
    struct sss_spawn *spawn;
    struct gate gate;
    size_t way;
    int i, fd;

    large_environment(envp, STRINGS);
    for (way = 0; way < ARRAY_SIZE(manners); way++) {
        server_start_with(bed, manners[way], event_told, 0);
        check_ok(kill(server_pid(bed->srv), SIGSTOP));
        expect(&launch, 1);
        gate_make(&gate);
        spawn = order_ends(&launch.order, &gate, 8);
        map[0] = spawn->fds[0];
        for (i = 0; i < FDS; i++) {
            fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
            check(fd > 2);
            map[i + 1].source = fd;
            map[i + 1].target = 3 + i;
        }
        spawn->fds = map;
        spawn->fds_count = FDS + 1;
        spawn->envp = envp;
        check_ok(begin(bed, &launch, spawn));
        for (i = 0; i < FDS; i++) {
            check_ok(close(map[i + 1].source));
        }
        gate_open(&gate);
        loop_settle(&bed->loop);
        check_ok(kill(server_pid(bed->srv), SIGCONT));
        loop_until(&bed->loop, &over, 1);
        check_launched(&launch);
        loop_until(&bed->loop, &launch.seen.calls, 1);
        check_seen(&launch.seen, launch.pid, 8);
        check_ok(sss_child_free(launch.child));
        finish(bed);
    }
    for (i = 0; i < STRINGS; i++) {
        free((void *)(uintptr_t)envp[i]);
    }
}

/* The only child of the server, once it has one. */
static pid_t held_child(pid_t server)
{
    int64_t late = now_ms() + DEADLINE_MS;
    char path[64];
    int pid = 0;

    snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)server, (int)server);
    while (pid == 0) {
        FILE *file = fopen(path, "re");

        check(file != NULL);
        check(fscanf(file, "%d", &pid) != 0);
        check_ok(fclose(file));
        check(now_ms() < late);
    }
    return pid;
}

/* A freed server leaves a dead process, which other code of the daemon waits for. The process
 * that gets its pid is not taken for it. */
static void a_pid_that_comes_again(void **state)
{
    struct server_bed *bed = *state;
    struct sss_child_ctx *other;
    struct seen seen = { 0 };
    struct launch launch;
    struct gate gate;
    pid_t server, pid = child_dead(0);

    /* Done first: where this is not possible the test is skipped before there is a server. */
    check_int(waitpid(pid, NULL, 0), pid);
    gate_make(&gate);
    if (child_with_pid(pid, &gate, 0) != pid) {
        gate_open(&gate);
        test_skip("linux-4.19 valgrind user", "no clone3 with set_tid to be had");
    }
    gate_open(&gate);
    check_int(waitpid(pid, NULL, 0), pid);
    server_start_with(bed, SSS_FORKSRV_SERVERS_CHILDREN, event_told, 0);
    server = server_pid(bed->srv);
    expect(&launch, 1);
    begin_at(bed, &launch, NULL, 0);
    pid = held_child(server);
    check_ok(kill(server, SIGSTOP));
    check_ok(sss_forksrv_free(bed->srv));
    check_ok(sss_child_free(launch.child));
    await_gone_or_zombie(pid);
    loop_settle(&bed->loop);
    check_ok(kill(server, SIGKILL));
    await_gone_or_zombie(server);
    check_int(waitpid(pid, NULL, 0), pid);
    gate_make(&gate);
    child_reusing(pid, &gate, 3);
    check_ok(sss_child_register(NULL, bed->loop.ctx, pid, see, &seen, &other));
    loop_until_reaped(&bed->loop, server);
    check_int(seen.calls, 0);
    gate_open(&gate);
    loop_until(&bed->loop, &seen.calls, 1);
    check_seen(&seen, pid, 3);
    check_ok(sss_child_free(other));
    check_int(over, 0);
}

static void a_freed_server_gives_all_up(void **state)
{
    static struct launch these[50];
    struct server_bed *bed = *state;
    size_t i, way, stopped;
    pid_t server;

    for (way = 0; way < ARRAY_SIZE(manners); way++) {
        for (stopped = 0; stopped < 2; stopped++) {
            server_start_with(bed, manners[way], event_told, 0);
            server = server_pid(bed->srv);
            if (stopped) {
                check_ok(kill(server, SIGSTOP));
            }
            expect(these, ARRAY_SIZE(these));
            for (i = 0; i < ARRAY_SIZE(these); i++) {
                begin_at(bed, &these[i], NULL, 0);
            }
            check_ok(sss_forksrv_free(bed->srv));
            if (stopped) {
                check_ok(kill(server, SIGCONT));
            }
            await_no_children(bed);
            loop_settle(&bed->loop);
            check_int(over, 0);
            for (i = 0; i < ARRAY_SIZE(these); i++) {
                check_int(these[i].seen.calls, 0);
                check_ok(sss_child_free(these[i].child));
            }
        }
    }
}

static void nobody_takes_the_handle(void **state)
{
    struct server_bed *bed = *state;
    struct launch launch;
    struct sss_spawn *spawn;
    size_t way;

    for (way = 0; way < ARRAY_SIZE(manners); way++) {
        server_start_with(bed, manners[way], event_told, 0);
        expect(&launch, 1);
        spawn = order_ends(&launch.order, NULL, 9);
        spawn->mask |= SSS_SPAWN_ASYNC;
        check_ok(sss_forksrv_launch(NULL, bed->srv, spawn, see, &launch.seen, NULL));
        loop_until(&bed->loop, &launch.seen.calls, 1);
        check_int(launch.launched, 1);
        check_seen(&launch.seen, launch.pid, 9);
        expect(&launch, 1);
        spawn = order_ends(&launch.order, NULL, 9);
        spawn->mask |= SSS_SPAWN_ASYNC;
        spawn->path = "/nowhere/none";
        check_ok(sss_forksrv_launch(NULL, bed->srv, spawn, see, &launch.seen, NULL));
        loop_until(&bed->loop, &over, 1);
        check_failed(&launch, ENOENT, SSS_SPAWN_STEP_EXEC);
        finish(bed);
        check_int(stats_of(bed->loop.ctx).watches, 0);
    }
}

static int note_end(struct sss_child_ctx *child, void *pvt)
{
    (void)child;
    ++*(unsigned *)pvt;
    return 0;
}

static void a_handle_that_waits(void **state)
{
    struct server_bed *bed = *state;
    struct launch launch;
    unsigned destroyed = 0;
    int status;

    server_start_with(bed, 0, event_told, 0);
    check_ok(kill(server_pid(bed->srv), SIGSTOP));
    expect(&launch, 1);
    begin_at(bed, &launch, NULL, 1);
    check_int(sss_child_set_cb(launch.child, see, &launch.seen), ESRCH);
    check_int(sss_child_wait(launch.child, 0, &status, NULL), ESRCH);
    check_ok(sss_child_set_destructor(launch.child, note_end, &destroyed));
    check_ok(kill(server_pid(bed->srv), SIGCONT));
    loop_until(&bed->loop, &launch.seen.calls, 1);
    check_launched(&launch);
    check_int(destroyed, 0);
    check_ok(sss_child_free(launch.child));
    check_int(destroyed, 1);
    finish(bed);
}

static void what_is_refused(void **state)
{
    struct server_bed *bed = *state;
    struct sss_forksrv_params params = server_zero(0, &bed->events);
    struct sss_child_ctx *child = NULL;
    struct sss_forksrv *silent = NULL;
    struct launch launch;

    expect(&launch, 1);
    params.event = NULL;
    check_ok(sss_forksrv_start(NULL, bed->loop.ctx, &params, &silent));
    order_ends(&launch.order, NULL, 0)->mask |= SSS_SPAWN_ASYNC;
    check_int(sss_forksrv_launch(NULL, silent, &launch.order.spawn, see, NULL, &child), EINVAL);
    check_int(sss_child_spawn(NULL, bed->loop.ctx, &launch.order.spawn, see, NULL, &child),
              EINVAL);
    check(child == NULL);
    check_int(stats_of(bed->loop.ctx).watches, 1);
    check_ok(sss_forksrv_free(silent));
    await_no_children(bed);
}

/* The delays cover the whole of a launch. */
static void killed_at_any_time(void **state)
{
    struct server_bed *bed = *state;
    unsigned delay, most = test_profile_is("plain") ? 400 : 100, launched = 0, refused = 0;
    struct launch launch;
    size_t way;

    for (way = 0; way < ARRAY_SIZE(manners); way++) {
        for (delay = 0; delay < most; delay += 4) {
            struct timespec pause = { .tv_nsec = (long)delay * 1000 };

            server_start_with(bed, manners[way], event_told, 0);
            expect(&launch, 1);
            begin_at(bed, &launch, NULL, 9);
            while (delay % 8 != 0 && over == 0 && loop_turn(&bed->loop, 0) != 0) {
            }
            clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
            check_ok(kill(server_pid(bed->srv), SIGKILL));
            loop_until(&bed->loop, &over, 1);
            if (launch.launched) {
                loop_until(&bed->loop, &launch.seen.calls, 1);
                check_launched(&launch);
                check_seen(&launch.seen, launch.pid, 9);
                launched++;
            } else {
                check_failed(&launch, ECONNRESET, 0);
                refused++;
            }
            check_ok(sss_child_free(launch.child));
            loop_until(&bed->loop, &bed->events.crashed, 1);
            await_no_children(bed);
            check_ok(sss_forksrv_free(bed->srv));
        }
    }
    printf("%u launched, %u refused\n", launched, refused);
}

/* Starts a server. Its calls of this kind, and its children's, are held: returns the listener. */
static int start_with_hold(struct server_bed *bed, uint32_t flags, int nr)
{
    const struct hold holds[2] = { { nr, ANY_ARG }, { nr, ANY_ARG } };
    pthread_t thread;
    int listener = server_start_held(bed, flags, event_told, 0, holds, &thread);

    check_ok(pthread_join(thread, NULL));
    loop_until(&bed->loop, &bed->events.ready, 1);
    return listener;
}

/* A server dies while its child is about to report; the next one gives its first child the
 * same number. False where the machine was so busy that the first child was given up. */
static bool numbers_come_again(struct server_bed *bed)
{
    const uint32_t flags = SSS_FORKSRV_SERVERS_CHILDREN | SSS_FORKSRV_RESTART;
    struct gate gates[2];
    struct launch launch;
    struct sss_child_ctx *child;
    struct seen seen = { 0 };
    struct held held;
    bool launched;
    int listener;
    pid_t pid;

    listener = start_with_hold(bed, flags, SYS_sendto);
    expect(&launch, 1);
    gate_make(&gates[0]);
    begin_at(bed, &launch, &gates[0], 4);
    held = hold_await(listener);
    /* It has said that the child is made. */
    await(process_state(server_pid(bed->srv)) == 'S');
    check_ok(kill(server_pid(bed->srv), SIGKILL));
    loop_until(&bed->loop, &bed->events.restarted, 1);
    hold_release(listener, &held);
    loop_until(&bed->loop, &over, 1);
    launched = launch.launched == 1;
    gate_make(&gates[1]);
    child = launch_at(bed->srv, &gates[1], 5, see, &seen);
    pid = pid_of(child);
    gate_open(&gates[1]);
    loop_until(&bed->loop, &seen.calls, 1);
    check_seen(&seen, pid, 5);
    check_ok(sss_child_free(child));
    check_int(launch.seen.calls, 0);
    gate_open(&gates[0]);
    if (launched) {
        check_launched(&launch);
        loop_until(&bed->loop, &launch.seen.calls, 1);
        check_seen(&launch.seen, launch.pid, 4);
    }
    check_ok(sss_child_free(launch.child));
    finish(bed);
    check_ok(close(listener));
    return launched;
}

static void in_a_child(void *arg)
{
    struct server_bed bed;

    (void)arg;
    kernel_forgets_statuses();
    server_bed_start(&bed);
    while (!numbers_come_again(&bed)) {
    }
    server_bed_stop(&bed);
}

static void a_number_that_comes_again(void **state)
{
    (void)state;
    hold_needed();
    in_child(in_a_child, NULL);
}

static struct sss_child_ctx *own;

static void see_own(int pid, int wait_status, void *pvt)
{
    check_ok(sss_child_current(&own));
    see(pid, wait_status, pvt);
}

/* The server is freed when the child was let go, and is not known to run its program. */
static void nobody_has_the_handle_of_a_launch_that_is_given_up(void **state)
{
    struct server_bed *bed = *state;
    const uint32_t flags = SSS_FORKSRV_FORK | SSS_FORKSRV_CLONE_PARENT;
    struct pollfd fd = { .events = POLLIN };
    struct launch launch;
    struct sss_spawn *spawn;
    struct held held;
    pid_t pid;

    hold_needed();
    fd.fd = start_with_hold(bed, flags, SYS_execve);
    expect(&launch, 1);
    spawn = order_ends(&launch.order, NULL, 9);
    spawn->mask |= SSS_SPAWN_ASYNC;
    check_ok(sss_forksrv_launch(NULL, bed->srv, spawn, see_own, &launch.seen, NULL));
    while (poll(&fd, 1, 0) == 0) {
        loop_turn(&bed->loop, 10);
    }
    held = hold_await(fd.fd);
    check_ok(sss_forksrv_free(bed->srv));
    hold_release(fd.fd, &held);
    loop_until(&bed->loop, &launch.seen.calls, 1);
    check_int(launch.seen.status, status_of(9));
    await_no_children(bed);
    loop_settle(&bed->loop);
    check_int(sss_child_pid(own, &pid), ESRCH);
    check_ok(close(fd.fd));
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(each_end_is_told_after_the_launch, server_bed_begin, server_bed_end),
        cmocka_unit_test_setup_teardown(what_fails_is_told_with_its_step, server_bed_begin, server_bed_end),
        cmocka_unit_test_setup_teardown(a_stopped_server_holds_up_nothing, server_bed_begin, server_bed_end),
        cmocka_unit_test_setup_teardown(its_time_is_over, server_bed_begin, server_bed_end),
        cmocka_unit_test_setup_teardown(its_server_gave_it_up, server_bed_begin, server_bed_end),
        cmocka_unit_test_setup_teardown(a_freed_handle_gives_the_launch_up, server_bed_begin, server_bed_end),
        cmocka_unit_test_setup_teardown(a_dead_server_ends_the_launch, server_bed_begin, server_bed_end),
        cmocka_unit_test_setup_teardown(many_at_once, server_bed_begin, server_bed_end),
        cmocka_unit_test_setup_teardown(a_large_order, server_bed_begin, server_bed_end),
        cmocka_unit_test_setup_teardown(a_pid_that_comes_again, server_bed_begin, server_bed_end),
        cmocka_unit_test_setup_teardown(a_launch_that_waits_goes_first, server_bed_begin, server_bed_end),
        cmocka_unit_test_setup_teardown(a_freed_server_gives_all_up, server_bed_begin, server_bed_end),
        cmocka_unit_test_setup_teardown(nobody_takes_the_handle, server_bed_begin, server_bed_end),
        cmocka_unit_test(a_number_that_comes_again),
        cmocka_unit_test_setup_teardown(nobody_has_the_handle_of_a_launch_that_is_given_up, server_bed_begin, server_bed_end),
        cmocka_unit_test_setup_teardown(a_handle_that_waits, server_bed_begin, server_bed_end),
        cmocka_unit_test_setup_teardown(what_is_refused, server_bed_begin, server_bed_end),
        cmocka_unit_test_setup_teardown(killed_at_any_time, server_bed_begin, server_bed_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
