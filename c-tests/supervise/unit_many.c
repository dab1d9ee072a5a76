/* Many units, and units that behave badly: two hundred at once, a fork bomb, survivors that
 * nobody can tell apart, a supervisor that is killed; and shutdowns that are waited for. */
#include "support/test.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "support/family.h"
#include "support/spawn.h"
#include "support/unit.h"

enum { UNITS = 200 };

static void until_all(struct bed *bed, struct sss_unit_ctx *const *units, int count,
                      uint32_t state, uint64_t starts)
{
    for (int at = 0; at < count; at++) {
        int64_t deadline = now_ms() + DEADLINE_MS;

        while (unit_status(units[at]).starts != starts) {
            check(now_ms() < deadline);
            loop_turn(&bed->loop, 10);
        }
        until_state(bed, units[at], state);
    }
}

static void told_down(struct sss_sigchild_ctx *ctx, const struct sss_shutdown_event *event,
                      void *pvt)
{
    struct bed *bed = pvt;

    (void)ctx;
    bed->shutdown = *event;
    bed->shutdowns++;
}

static void nothing_told(struct sss_unit_ctx *ctx, const struct sss_unit_event *event, void *pvt)
{
    (void)ctx;
    (void)event;
    (void)pvt;
}

/* Like unit_add() for many units: what is told of them is not noted. */
static struct sss_unit_ctx *add_quietly(struct bed *bed, struct sss_unit *unit,
                                        const char *const *actions)
{
    char *path = helper_path("unit");
    const char *argv[32] = { path };
    struct sss_spawn spawn = spawn_zero();
    struct sss_unit_ctx *ctx;

    for (int at = 0; actions[at] != NULL; at++) {
        argv[at + 1] = actions[at];
    }
    spawn.path = path;
    spawn.argv = argv;
    unit->spawn = &spawn;
    check_ok(sss_supervisor_add(NULL, bed->loop.ctx, unit, nothing_told, NULL, &ctx));
    unit->spawn = NULL;
    free(path);
    return ctx;
}

static void two_hundred(void **state)
{
    static struct sss_unit_ctx *units[UNITS];
    struct bed bed;
    int count = test_profile_is("plain") ? UNITS : 40; /* the tools are slow */

    (void)state;
    bed_start(&bed, SSS_SCOPE_ALL);
    for (int at = 0; at < count; at++) {
        char name[16];
        struct sss_unit unit;

        snprintf(name, sizeof(name), "u%d", at);
        unit = unit_notifying(name);
        unit.mask |= SSS_UNIT_RESTART;
        unit.restart = SSS_UNIT_RESTART_ALWAYS;
        units[at] = add_quietly(&bed, &unit, ACTIONS("say", "READY=1", "pause"));
        check_ok(sss_supervisor_start(units[at]));
    }
    until_all(&bed, units, count, SSS_UNIT_RUNNING, 1);
    for (int at = 0; at < count; at++) {
        check_ok(kill(unit_status(units[at]).main_pid, SIGKILL));
    }
    until_all(&bed, units, count, SSS_UNIT_RUNNING, 2);
    check_int(children_of_ours(NULL, 0), count);
    check_ok(sss_supervisor_shutdown(bed.loop.ctx, 3600000 * MS, told_down, &bed));
    loop_until(&bed.loop, &bed.shutdowns, 1);
    check_int(bed.shutdown.units_left, 0);
    for (int at = 0; at < count; at++) {
        check_int(unit_status(units[at]).processes, 0);
        check_ok(sss_supervisor_remove(units[at]));
    }
    bed_end(&bed);
}

/* It forks as fast as its limit lets it, and is stopped whole. */
static void stop_a_bomb(struct sss_unit *unit)
{
    struct bed bed;

    bed_start(&bed, SSS_SCOPE_REGISTERED);
    unit->mask |= SSS_UNIT_STOP_STEPS; /* no step: SIGKILL at once */
    struct sss_unit_ctx *a = unit_add(&bed, unit, ACTIONS("pause"));
    check_ok(sss_supervisor_start(a));
    until_states(&bed, "aG aR");
    int64_t deadline = now_ms() + DEADLINE_MS;
    while (unit_status(a).processes < 30) {
        check(now_ms() < deadline);
        loop_turn(&bed.loop, 10);
    }
    unit_stop(&bed, a);
    bed_end(&bed);
}

static void a_fork_bomb(void **state)
{
    static const struct sss_spawn_rlimit limit = { .resource = RLIMIT_NPROC, .soft = 40,
                                                   .hard = 40 };
    char program[] = "/tmp/sss-unit-XXXXXX", command[512];
    char *helper = helper_path("unit");
    const char *argv[] = { "unit", "bomb", NULL };
    struct sss_spawn spawn = {
        .size = sizeof(spawn),
        .mask = SSS_SPAWN_UID | SSS_SPAWN_GID | SSS_SPAWN_RLIMITS,
        .path = program,
        .argv = argv,
        .uid = 10000 + (uid_t)getpid() % 50000, /* no other run has it now */
        .gid = 4243,
        .rlimits = &limit,
        .rlimits_count = 1,
    };
    struct sss_unit unit = unit_zero("a");
    int fd;

    (void)state;
    needs_root("start it as a user without other processes");
    /* A copy that this user can execute. */
    fd = mkostemp(program, O_CLOEXEC);
    check(fd >= 0);
    close(fd);
    snprintf(command, sizeof(command), "cp %s %s && chmod 755 %s", helper, program, program);
    check_int(system(command), 0);
    unit.spawn = &spawn;
    stop_a_bomb(&unit);
    unlink(program);
    free(helper);
}

/* The same, as root, who has no limit but that of a cgroup. */
static void a_fork_bomb_in_a_cgroup(void **state)
{
    char *helper = helper_path("unit"), dir[] = "/sys/fs/cgroup/pids/sss-bomb-XXXXXX";
    char path[64], command[512];
    const char *argv[] = { "sh", "-c", command, NULL };
    struct sss_spawn spawn = { .size = sizeof(spawn), .path = "/bin/sh", .argv = argv };
    struct sss_unit unit = unit_zero("a");
    FILE *file;

    (void)state;
    if (mkdtemp(dir) == NULL) {
        test_lacks("no cgroup, version 1, for pids.max");
    }
    snprintf(path, sizeof(path), "%s/pids.max", dir);
    file = fopen(path, "we");
    check(file != NULL && fprintf(file, "40\n") > 0);
    check_ok(fclose(file));
    snprintf(command, sizeof(command), "echo $$ > %s/cgroup.procs && exec %s bomb", dir, helper);
    unit.spawn = &spawn;
    stop_a_bomb(&unit);
    check_ok(rmdir(dir));
    free(helper);
}

/* A daemon that leaves several processes has no main process that is known. It still ends
 * when they do. */
static void nobody_is_the_main_process(void **state)
{
    struct bed bed;
    struct sss_unit unit = unit_zero("a");
    pid_t pids[3];

    (void)state;
    for (int by_stop = 0; by_stop < 2; by_stop++) {
        bed_start(&bed, SSS_SCOPE_REGISTERED);
        unit.mask |= SSS_UNIT_START_MODE | SSS_UNIT_STOP_STEPS;
        unit.start_mode = SSS_UNIT_FORKING;
        struct sss_unit_ctx *a = unit_add(&bed, &unit, ACTIONS("leave", "leave", "daemon"));
        check_ok(sss_supervisor_start(a));
        until_states(&bed, "aG aR");
        until_processes(&bed, a, 3);
        check_int(unit_status(a).main_pid, 0);
        if (!by_stop) {
            check_int(children_of_ours(pids, 3), 3);
            for (int at = 0; at < 3; at++) {
                check_ok(kill(pids[at], SIGKILL));
            }
            until_states(&bed, "aG aR aF");
            check_int(bed.last.cause, SSS_UNIT_CAUSE_EXIT);
        }
        unit_stop(&bed, a);
        bed_end(&bed);
    }
}

/* Keeps the loop from turning until all processes of the unit are dead and its time limit has
 * passed. */
static void let_time_pass_after_all(struct bed *bed, struct sss_unit_ctx *ctx)
{
    int64_t over = now_ms() + 30;
    pid_t pids[2];

    (void)bed;
    (void)ctx;
    check_int(children_of_ours(pids, 2), 2);
    await_zombie(pids[0]);
    await_zombie(pids[1]);
    while (now_ms() < over) {
    }
}

/* A process that is dead is not told as having survived SIGKILL, though its end was not told
 * yet. */
static void nobody_survived(void **state)
{
    struct bed bed;
    struct sss_unit unit = unit_zero("a");

    (void)state;
    bed_start(&bed, SSS_SCOPE_REGISTERED);
    bed.then = let_time_pass_after_all;
    bed.then_state = SSS_UNIT_STOPPING;
    unit.mask |= SSS_UNIT_START_MODE | SSS_UNIT_STOP_STEPS | SSS_UNIT_KILL_TIMEOUT;
    unit.start_mode = SSS_UNIT_FORKING;
    unit.kill_timeout = 20 * MS;
    struct sss_unit_ctx *a = unit_add(&bed, &unit, ACTIONS("leave", "daemon"));
    check_ok(sss_supervisor_start(a));
    until_states(&bed, "aG aR");
    until_processes(&bed, a, 2);
    check_int(unit_status(a).main_pid, 0);
    check_ok(sss_supervisor_stop(a));
    until_states(&bed, "aG aR aP aS");
    check_int(bed.unkillable, 0);
    unit_stop(&bed, a);
    bed_end(&bed);
}

/* In its session, in one of its own, and as a daemon's grandchild: all ignore SIGTERM. */
static void deaf_grandchildren(void **state)
{
    static const struct sss_stop_step step = { SIGTERM, SSS_STOP_TREE, 20 * MS, NULL };
    struct bed bed;
    struct sss_unit unit = unit_notifying("a");

    (void)state;
    bed_start(&bed, SSS_SCOPE_ALL);
    unit.mask |= SSS_UNIT_STOP_STEPS | SSS_UNIT_NOTIFY_ALL;
    unit.stop_steps = &step;
    unit.stop_steps_count = 1;
    struct sss_unit_ctx *a =
        unit_add(&bed, &unit, ACTIONS("ignore", "15", "leave", "child", "leave", "child", "leave",
                                      "say", "READY=1", "pause"));
    check_ok(sss_supervisor_start(a));
    until_states(&bed, "aG aR");
    until_processes(&bed, a, 6);
    check_ok(sss_supervisor_stop(a));
    until_states(&bed, "aG aR aP aS");
    check_int(unit_status(a).processes, 0);
    unit_stop(&bed, a);
    bed_end(&bed);
}

/* A login is spared by the stop and by a restart, and counted until it ends. */
static void logins_are_spared(void **state)
{
    struct bed bed;
    struct sss_unit unit = unit_notifying("a");
    pid_t login[2];

    (void)state;
    needs_root("change the user");
    bed_start(&bed, SSS_SCOPE_REGISTERED);
    unit.mask |= SSS_UNIT_SPARE_LOGINS;
    struct sss_unit_ctx *a =
        unit_add(&bed, &unit, ACTIONS("login", "say", "READY=1", "pause"));
    check_ok(sss_supervisor_start(a));
    until_states(&bed, "aG aR");
    until_processes(&bed, a, 2);
    check_ok(sss_supervisor_restart(a));
    until_states(&bed, "aG aR aP aG aR");
    until_processes(&bed, a, 3); /* the logins of both runs */
    check_ok(sss_supervisor_stop(a));
    until_states(&bed, "aG aR aP aG aR aP aS");
    check_int(unit_status(a).processes, 2);
    /* A shutdown does not wait for them, however short its patience. */
    check_ok(sss_supervisor_shutdown(bed.loop.ctx, 0, told_down, &bed));
    loop_until(&bed.loop, &bed.shutdowns, 1);
    check_int(bed.shutdown.units_left, 0);
    check_int(children_of_ours(login, 2), 2);
    check_ok(kill(login[0], SIGKILL));
    check_ok(kill(login[1], SIGKILL));
    until_processes(&bed, a, 0);
    unit_stop(&bed, a);
    bed_end(&bed);
}

static void a_shutdown_that_is_waited_for(void **state)
{
    static const struct sss_stop_step step = { SIGTERM, SSS_STOP_TREE, 20 * MS, NULL };
    struct sss_shutdown_event left = { .size = sizeof(left) };
    struct bed bed;
    struct sss_unit unit = unit_notifying("a");
    struct sss_child_ctx *child;
    struct seen seen = { 0 };

    (void)state;
    bed_start(&bed, SSS_SCOPE_ALL);
    unit.mask |= SSS_UNIT_RESTART | SSS_UNIT_STOP_STEPS;
    unit.restart = SSS_UNIT_RESTART_ALWAYS;
    unit.stop_steps = &step;
    unit.stop_steps_count = 1;
    struct sss_unit_ctx *a = unit_add(
        &bed, &unit, ACTIONS("ignore", "15", "leave", "say", "READY=1", "pause"));
    unit.name = "b";
    unit_after_a(&unit);
    struct sss_unit_ctx *b = unit_add(&bed, &unit, ACTIONS("leave", "say", "READY=1", "pause"));
    check_ok(sss_supervisor_start(b));
    until_states(&bed, "aG aR bG bR");
    /* A child that ends meanwhile is told afterwards, as are the units. */
    struct gate gate;
    gate_make(&gate);
    pid_t pid = child_at(&gate, 3);
    check_ok(sss_child_register(NULL, bed.loop.ctx, pid, see, &seen, &child));
    gate_open(&gate);
    await_zombie(pid);
    check_int(sss_supervisor_shutdown_wait(bed.loop.ctx, -1, NULL), EINVAL);
    check_int(sss_supervisor_shutdown_wait(NULL, 0, NULL), EINVAL);
    check_ok(sss_supervisor_shutdown_wait(bed.loop.ctx, 3600000 * MS, &left));
    check_int(left.units_left, 0);
    check_int(left.processes_left, 0);
    check_int(unit_status(a).state, SSS_UNIT_STOPPED);
    check_int(unit_status(b).state, SSS_UNIT_STOPPED);
    check_int(unit_status(a).processes, 0);
    check(strcmp(bed.states, "aG aR bG bR") == 0);
    check_int(seen.calls, 0);
    until_states(&bed, "aG aR bG bR bP bS aP aS");
    until_no_children(&bed);
    check_seen(&seen, pid, 3);
    /* They can be started again; without patience it kills. */
    check_ok(sss_supervisor_start(b));
    until_states(&bed, "aG aR bG bR bP bS aP aS aG aR bG bR");
    bed_kill_all(&bed);
    until_no_children(&bed);
    check_ok(sss_supervisor_shutdown(bed.loop.ctx, 3600000 * MS, NULL, NULL));
    loop_settle(&bed.loop);
    check_ok(sss_supervisor_shutdown_wait(bed.loop.ctx, 0, NULL));
    check_ok(sss_child_free(child));
    check_ok(sss_supervisor_remove(a));
    check_ok(sss_supervisor_remove(b));
    bed_end(&bed);
}

static int name_those_left(struct sss_unit_ctx *unit, const struct sss_unit_status *status,
                           void *names)
{
    check_int(unit_status(unit).state, status->state);
    if (status->state == SSS_UNIT_STOPPING) {
        strcat(names, status->name);
    }
    return 0;
}

/* The processes that the former run of a unit left behind, when those of the last run are
 * dead and the unit has failed. */
static void a_shutdown_ends_what_former_runs_left(void **state)
{
    (void)state;
    for (int waits = 0; waits < 2; waits++) {
        struct bed bed;
        struct sss_unit unit = unit_zero("a");
        pid_t children[2], first;
        struct fifo fifo;

        fifo_make(&fifo);
        bed_start(&bed, SSS_SCOPE_REGISTERED);
        unit.mask |= SSS_UNIT_RESTART | SSS_UNIT_OVER_MAIN | SSS_UNIT_START_LIMIT;
        unit.restart = SSS_UNIT_RESTART_ALWAYS;
        unit.start_limit = 2;
        unit.start_window = 3600000 * MS;
        struct sss_unit_ctx *a =
            unit_add(&bed, &unit, ACTIONS("leave", "gate", fifo.path, "exit", "1"));
        check_ok(sss_supervisor_start(a));
        until_states(&bed, "aG aR");
        fifo_open_turning(&bed, &fifo);
        until_states(&bed, "aG aR aB aG aR");
        check_int(children_of_ours(children, 2), 2);
        first = children[children[0] == unit_status(a).main_pid];
        fifo_open_turning(&bed, &fifo);
        until_states(&bed, "aG aR aB aG aR aF");
        until_processes(&bed, a, 2);
        check_int(children_of_ours(children, 2), 2);
        check_ok(kill(children[children[0] == first], SIGKILL));
        until_processes(&bed, a, 1);
        loop_settle(&bed.loop);
        int64_t begun = now_ms();
        if (waits) {
            bed_kill_all(&bed);
        } else {
            check_ok(sss_supervisor_shutdown(bed.loop.ctx, 0, told_down, &bed));
            until_killed(&bed, a, begun);
        }
        await_gone_or_zombie(first);
        check_int(unit_status(a).state, SSS_UNIT_STOPPED);
        unit_stop(&bed, a);
        bed_end(&bed);
        fifo_remove(&fifo);
    }
}

/* `b` waits for `a`, which is never ready, and is removed: b may start. The main process of a
 * lives on. */
static struct sss_unit_ctx *let_go_on(struct bed *bed, pid_t *main_of_a)
{
    struct sss_unit unit = unit_notifying("a");
    struct sss_unit_ctx *a = unit_add(bed, &unit, ACTIONS("pause"));

    unit = unit_zero("b");
    unit_after_a(&unit);
    struct sss_unit_ctx *b = unit_add(bed, &unit, ACTIONS("pause"));
    check_ok(sss_supervisor_start(b));
    until_states(bed, "aG");
    *main_of_a = unit_status(a).main_pid;
    check_ok(sss_supervisor_remove(a));
    return b;
}

/* Programs are started by the loop's thread alone: the death of another thread would signal
 * those that it started. */
static void a_removal_starts_nothing_by_itself(void **state)
{
    struct bed bed;
    pid_t main_pid;

    (void)state;
    bed_start(&bed, SSS_SCOPE_ALL);
    struct sss_unit_ctx *b = let_go_on(&bed, &main_pid);
    check_int(unit_status(b).state, SSS_UNIT_STOPPED);
    check_int(unit_status(b).starts, 0);
    until_states(&bed, "aG bG bR");
    check_ok(kill(main_pid, SIGKILL));
    unit_stop(&bed, b);
    until_no_children(&bed);
    bed_end(&bed);
}

/* A stop or a shutdown that comes before the loop has started what the removal released. */
static void a_start_that_a_removal_let_go_on_is_called_off(void **state)
{
    (void)state;
    for (int way = 0; way < 3; way++) {
        struct bed bed;
        pid_t main_pid;

        bed_start(&bed, SSS_SCOPE_ALL);
        struct sss_unit_ctx *b = let_go_on(&bed, &main_pid);
        if (way == 0) {
            check_ok(sss_supervisor_stop(b));
        } else if (way == 1) {
            check_ok(sss_supervisor_shutdown(bed.loop.ctx, 3600000 * MS, told_down, &bed));
            loop_until(&bed.loop, &bed.shutdowns, 1);
        } else {
            check_ok(sss_supervisor_shutdown_wait(bed.loop.ctx, 3600000 * MS, NULL));
        }
        loop_settle(&bed.loop);
        until_states(&bed, "aG");
        check_int(unit_status(b).starts, 0);
        check_ok(kill(main_pid, SIGKILL));
        unit_stop(&bed, b);
        until_no_children(&bed);
        bed_end(&bed);
    }
}

/* A unit that dies in a shutdown, before it is its turn to be stopped. */
static void a_shutdown_restarts_nothing(void **state)
{
    struct bed bed;
    struct fifo fifo;
    struct two two;

    (void)state;
    two = two_start(&bed, &fifo, "0");
    check_ok(sss_supervisor_shutdown(bed.loop.ctx, 3600000 * MS, told_down, &bed));
    until_states(&bed, "aG aR bG bR bP");
    check_ok(kill(unit_status(two.a).main_pid, SIGKILL));
    until_states(&bed, "aG aR bG bR bP aS");
    fifo_open_turning(&bed, &fifo);
    loop_until(&bed.loop, &bed.shutdowns, 1);
    until_states(&bed, "aG aR bG bR bP aS bS");
    check_int(unit_status(two.a).starts, 1);
    unit_stop(&bed, two.b);
    unit_stop(&bed, two.a);
    bed_end(&bed);
    fifo_remove(&fifo);
}

static struct sss_unit_ctx *dying;
static struct fifo last;

static void let_both_end(struct bed *bed, struct sss_unit_ctx *ctx)
{
    fifo_open(&last);
    await_zombie(unit_status(ctx).main_pid);
    check_ok(kill(unit_status(dying).main_pid, SIGKILL));
    await_zombie(unit_status(dying).main_pid);
    /* Only now its time is over. */
    check_int(sss_supervisor_shutdown(bed->loop.ctx, 0, NULL, NULL), EALREADY);
}

/* When its time is over all are dead, though nobody was told yet: there is nothing to stop. */
static void a_late_shutdown_sees_who_is_dead(void **state)
{
    struct bed bed;
    struct two two;

    (void)state;
    two = two_start(&bed, &last, "3");
    dying = two.a;
    bed.then = let_both_end;
    bed.then_state = SSS_UNIT_STOPPING;
    check_ok(sss_supervisor_shutdown(bed.loop.ctx, 3600000 * MS, told_down, &bed));
    loop_until(&bed.loop, &bed.shutdowns, 1);
    loop_settle(&bed.loop);
    check_int(bed.shutdown.units_left, 0);
    check(strstr(bed.states, "aP") == NULL);
    check_int(unit_status(two.b).wait_status, status_of(3));
    unit_stop(&bed, two.b);
    unit_stop(&bed, two.a);
    bed_end(&bed);
    fifo_remove(&last);
}

/* The first process of a pid namespace, which the main process of the unit has. */
static int init_below(pid_t main)
{
    char path[64];
    FILE *children;
    int init;

    snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)main, (int)main);
    children = fopen(path, "re");
    check(children != NULL);
    check_int(fscanf(children, "%d", &init), 1);
    check_ok(fclose(children));
    return init;
}

/* A process that SIGKILL does not end is told of, and a shutdown counts it. The unit is still
 * listed then. */
static void whom_a_shutdown_leaves(void **state)
{
    struct sss_shutdown_event left = { .size = sizeof(left) };
    struct sss_unit unit = unit_notifying("a");
    struct bed bed;
    struct gate gate;
    char names[16] = "";
    pid_t holder;

    (void)state;
    needs_root("make a pid namespace");
    bed_start(&bed, SSS_SCOPE_REGISTERED);
    unit.mask |= SSS_UNIT_STOP_STEPS | SSS_UNIT_KILL_TIMEOUT | SSS_UNIT_NOTIFY_ALL;
    unit.kill_timeout = 20 * MS;
    struct sss_unit_ctx *a = unit_add(&bed, &unit, ACTIONS("init", "say", "READY=1", "pause"));
    unit = unit_zero("b");
    struct sss_unit_ctx *b = unit_add(&bed, &unit, ACTIONS("pause"));
    check_ok(sss_supervisor_start(a));
    until_states(&bed, "aG aR");
    check_ok(sss_supervisor_start(b));
    until_states(&bed, "aG aR bG bR");
    gate_make(&gate);
    holder = hold_init(init_below(unit_status(a).main_pid), &gate);
    check_ok(sss_supervisor_stop(a));
    int64_t deadline = now_ms() + DEADLINE_MS;
    while (bed.last.type != SSS_UNIT_EVENT_UNKILLABLE) {
        check(now_ms() < deadline);
        loop_turn(&bed.loop, 100);
    }
    check(bed.last.processes >= 1); /* on a busy machine others of it are still dying */
    until_processes(&bed, a, 1);
    check_ok(sss_supervisor_shutdown(bed.loop.ctx, 3600000 * MS, told_down, &bed));
    until_state(&bed, b, SSS_UNIT_STOPPED);
    check_int(sss_supervisor_shutdown(bed.loop.ctx, 0, NULL, NULL), EALREADY);
    loop_until(&bed.loop, &bed.shutdowns, 1);
    check_int(bed.shutdown.units_left, 1);
    check_int(bed.shutdown.processes_left, 1);
    check_ok(sss_supervisor_foreach(bed.loop.ctx, name_those_left, names));
    assert_string_equal(names, "a");
    check_int(unit_status(b).state, SSS_UNIT_STOPPED);
    check_int(sss_supervisor_shutdown_wait(bed.loop.ctx, 0, &left), ETIMEDOUT);
    check_int(left.units_left, 1);
    check_int(left.processes_left, 1);
    gate_open(&gate);
    reap(holder, 0);
    until_state(&bed, a, SSS_UNIT_STOPPED);
    unit_stop(&bed, a);
    unit_stop(&bed, b);
    bed_end(&bed);
}

/* A thread that asks for a unit's state while that unit is being killed, which takes long
 * where a process does not die. */
struct asker {
    struct sss_unit_ctx *unit;
    pid_t main;
    atomic_bool over;
    unsigned calls;
};

static void *ask(void *arg)
{
    struct asker *asker = arg;

    await_gone_or_zombie(asker->main);
    while (!atomic_load(&asker->over)) {
        check_int(unit_status(asker->unit).wait_status, 0);
        asker->calls++;
    }
    return NULL;
}

static struct asker asker;

static void killed(struct bed *bed, struct sss_unit_ctx *ctx)
{
    (void)bed;
    (void)ctx;
    atomic_store(&asker.over, true);
}

/* If the machine lets the thread run too late, this tries again. */
static void kill_by(const struct sss_stop_step *step)
{
    int64_t deadline = now_ms() + 6 * DEADLINE_MS;

    do {
        struct sss_unit unit = unit_notifying("a");
        struct bed bed;
        struct gate gate;
        pthread_t thread;
        pid_t holder;

        check(now_ms() < deadline);
        bed_start(&bed, SSS_SCOPE_REGISTERED);
        bed.then = killed;
        bed.then_state = SSS_UNIT_STOPPING;
        unit.mask |= SSS_UNIT_STOP_STEPS | SSS_UNIT_NOTIFY_ALL;
        unit.stop_steps = step;
        unit.stop_steps_count = step != NULL;
        asker.unit = unit_add(&bed, &unit, ACTIONS("init", "say", "READY=1", "pause"));
        check_ok(sss_supervisor_start(asker.unit));
        until_states(&bed, "aG aR");
        asker.main = unit_status(asker.unit).main_pid;
        gate_make(&gate);
        holder = hold_init(init_below(asker.main), &gate);
        asker.calls = 0;
        atomic_store(&asker.over, false);
        check_ok(pthread_create(&thread, NULL, ask, &asker));
        check_ok(sss_supervisor_stop(asker.unit));
        until_states(&bed, "aG aR aP");
        check_ok(pthread_join(thread, NULL));
        gate_open(&gate);
        reap(holder, 0);
        unit_stop(&bed, asker.unit);
        bed_end(&bed);
    } while (asker.calls < 10);
}

/* No call waits for the kill that follows the last step, nor for a step that kills. */
static void a_kill_keeps_no_call_waiting(void **state)
{
    static const struct sss_stop_step step = { SIGKILL, SSS_STOP_TREE, 3600000 * MS, NULL };

    (void)state;
    needs_root("make a pid namespace");
    kill_by(NULL);
    kill_by(&step);
}

/* A child that is not the main process speaks, and is dead and reaped before anybody
 * reads: only where each process may speak is it believed. */
static void a_sender_that_is_gone(void **state)
{
    struct bed bed;

    (void)state;
    for (int all = 0; all < 2; all++) {
        struct sss_unit unit = unit_notifying("a");
        struct fifo first, second;

        fifo_make(&first);
        fifo_make(&second);
        bed_start(&bed, SSS_SCOPE_ALL);
        unit.mask |= all ? SSS_UNIT_NOTIFY_ALL : 0;
        struct sss_unit_ctx *a =
            unit_add(&bed, &unit,
                     ACTIONS("gate", first.path, "tell", "READY=1", "gate", second.path, "say",
                             "STATUS=main", "pause"));
        check_ok(sss_supervisor_start(a));
        until_states(&bed, "aG");
        fifo_open(&first);
        fifo_open(&second); /* it waits there: its child is gone */
        until_text(&bed, a, "main");
        check_int(unit_status(a).state, all ? SSS_UNIT_RUNNING : SSS_UNIT_STARTING);
        unit_stop(&bed, a);
        bed_end(&bed);
        fifo_remove(&first);
        fifo_remove(&second);
    }
}

/* A oneshot that was done once: its restart does not make those after it wait for ever. */
static void a_oneshot_is_done_until_it_starts_again(void **state)
{
    struct bed bed;
    struct sss_unit unit = unit_zero("a");

    (void)state;
    bed_start(&bed, SSS_SCOPE_ALL);
    unit.mask |= SSS_UNIT_KIND | SSS_UNIT_STOP_STEPS;
    unit.kind = SSS_UNIT_ONESHOT;
    /* What it leaves behind is stopped. */
    struct sss_unit_ctx *a = unit_add(&bed, &unit, ACTIONS("leave", "exit", "0"));
    unit = unit_zero("b");
    unit_after_a(&unit);
    struct sss_unit_ctx *b = unit_add(&bed, &unit, ACTIONS("pause"));
    check_ok(sss_supervisor_start(b));
    until_state(&bed, b, SSS_UNIT_RUNNING);
    until_state(&bed, a, SSS_UNIT_STOPPED);
    check_ok(sss_supervisor_restart(b));
    until_all(&bed, &b, 1, SSS_UNIT_RUNNING, 2);
    check_int(unit_status(a).starts, 1);
    check_ok(sss_supervisor_restart(a));
    until_all(&bed, &a, 1, SSS_UNIT_STOPPED, 2);
    check_int(unit_status(b).state, SSS_UNIT_RUNNING);
    unit_stop(&bed, b);
    unit_stop(&bed, a);
    bed_end(&bed);
}

static bool has_cgroup2(void)
{
    return access("/sys/fs/cgroup/unified/cgroup.kill", F_OK) == 0 ||
           access("/sys/fs/cgroup/cgroup.controllers", F_OK) == 0 ||
           access("/sys/fs/cgroup/unified/cgroup.procs", W_OK) == 0;
}

static void needs_guards(void)
{
    needs_root("make a cgroup");
    if (test_profile_is("linux-4.19") || test_profile_is("valgrind")) {
        test_skip("linux-4.19 valgrind", "no clone3, which starts a process in a cgroup");
    }
    if (!has_cgroup2()) {
        test_lacks("no cgroup2");
    }
}

/* Beside each run there is a guard, which ends with it. */
static void a_guard_ends_with_its_run(void **state)
{
    struct bed bed;
    struct sss_unit unit = unit_zero("a");

    (void)state;
    needs_guards();
    bed_start(&bed, SSS_SCOPE_ALL);
    unit.mask |= SSS_UNIT_GUARD;
    unit.guard = "/nonexistent";
    struct sss_unit_ctx *a = unit_add(&bed, &unit, ACTIONS("leave", "pause"));
    check_ok(sss_supervisor_start(a));
    until_states(&bed, "aG aF");
    check_int(bed.last.cause, SSS_UNIT_CAUSE_START);
    check_int(bed.last.error, ENOENT);
    until_no_children(&bed);
    unit_stop(&bed, a);
    unit.guard = helper_installed("sss-guard");
    a = unit_add(&bed, &unit, ACTIONS("leave", "pause"));
    check_ok(sss_supervisor_start(a));
    until_state(&bed, a, SSS_UNIT_RUNNING);
    check_int(children_of_ours(NULL, 0), 2);
    unit_stop(&bed, a);
    until_no_children(&bed);
    bed_end(&bed);
}

/* The supervisor's process: units that come, crash and leave others behind. */
static void supervise(int ready)
{
    struct bed bed;
    static const char *const names[] = { "a", "b", "c", "d" };

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    bed_start(&bed, SSS_SCOPE_ALL);
    for (int at = 0; at < 4; at++) {
        struct sss_unit unit = unit_zero(names[at]);
        char *path = helper_path("unit");
        const char *stays[] = { path, "leave", "daemon", "leave", "pause", NULL };
        const char *crashes[] = { path, "leave", "exit", "1", NULL };
        struct sss_spawn spawn = spawn_zero();
        struct sss_unit_ctx *ctx;

        spawn.path = path;
        spawn.argv = at % 2 == 0 ? stays : crashes;
        spawn.mask |= SSS_SPAWN_PDEATHSIG;
        spawn.pdeathsig = SIGKILL;
        unit.spawn = &spawn;
        unit.mask |= SSS_UNIT_GUARD | SSS_UNIT_RESTART | SSS_UNIT_START_LIMIT |
                     SSS_UNIT_STOP_STEPS | SSS_UNIT_START_MODE;
        unit.restart = SSS_UNIT_RESTART_ALWAYS;
        unit.start_mode = at % 2 == 0 ? SSS_UNIT_FORKING : SSS_UNIT_EXEC;
        unit.guard = helper_installed("sss-guard");
        check_ok(sss_supervisor_add(NULL, bed.loop.ctx, &unit, nothing_told, NULL, &ctx));
        check_ok(sss_supervisor_start(ctx));
        free(path);
    }
    check_int(write(ready, "r", 1), 1);
    while (true) {
        loop_turn(&bed.loop, 1000);
    }
}

static void a_supervisor_that_is_killed(void **state)
{
    unsigned rounds = test_profile_is("plain") ? 40 : 5;

    (void)state;
    needs_guards();
    /* Processes that are left become our children, and so can be seen. */
    check_ok(prctl(PR_SET_CHILD_SUBREAPER, 1));
    for (unsigned round = 0; round < rounds; round++) {
        int64_t deadline;
        int ready[2], status;
        char byte;
        pid_t pid;

        check_ok(pipe2(ready, O_CLOEXEC));
        pid = fork();
        check(pid >= 0);
        if (pid == 0) {
            supervise(ready[1]);
        }
        close(ready[1]);
        check_int(read(ready[0], &byte, 1), 1);
        close(ready[0]);
        usleep(round * 1777 % 40000);
        check_ok(kill(pid, SIGKILL));
        deadline = now_ms() + DEADLINE_MS;
        while ((pid = waitpid(-1, &status, WNOHANG)) >= 0) {
            check(now_ms() < deadline);
            if (pid == 0) {
                usleep(1000);
            }
        }
        check_int(errno, ECHILD);
    }
    check_ok(prctl(PR_SET_CHILD_SUBREAPER, 0));
}

/* CLOCK_MONOTONIC is another one there, also for the timers. */
static void in_time_namespace(void *arg)
{
    struct bed bed;
    struct sss_unit unit = unit_zero("a");

    (void)arg;
    check(now_ms() > 1000000000);
    bed_start(&bed, SSS_SCOPE_ALL);
    unit.mask |= SSS_UNIT_RESTART | SSS_UNIT_START_LIMIT | SSS_UNIT_READY_TIMEOUT;
    unit.restart = SSS_UNIT_RESTART_ON_FAILURE;
    unit.start_limit = 2;
    unit.start_window = 3600000 * MS;
    unit.ready_timeout = 20 * MS;
    struct sss_unit_ctx *a = unit_add(&bed, &unit, ACTIONS("exit", "1"));
    check_ok(sss_supervisor_start(a));
    until_states(&bed, "aG aR aB aG aR aF");
    check(unit_status(a).since > (int64_t)1000000000 * MS);
    unit_stop(&bed, a);
    unit.mask |= SSS_UNIT_START_MODE;
    unit.start_mode = SSS_UNIT_NOTIFY;
    unit.restart = SSS_UNIT_RESTART_NEVER;
    a = unit_add(&bed, &unit, ACTIONS("pause"));
    check_ok(sss_supervisor_start(a));
    until_state(&bed, a, SSS_UNIT_FAILED);
    check_int(unit_status(a).cause, SSS_UNIT_CAUSE_NOT_READY);
    unit_stop(&bed, a);
    bed_end(&bed);
}

static void a_time_namespace(void **state)
{
    pid_t pid;
    int status;

    (void)state;
    needs_root("make a time namespace");
    if (access("/proc/self/timens_offsets", F_OK) != 0) {
        test_lacks("no time namespaces");
    }
    pid = fork();
    check(pid >= 0);
    if (pid == 0) {
        FILE *offsets;

        check_ok(unshare(CLONE_NEWTIME));
        offsets = fopen("/proc/self/timens_offsets", "we");
        check(offsets != NULL && fprintf(offsets, "monotonic 1000000 0\n") > 0);
        check_ok(fclose(offsets));
        in_child(in_time_namespace, NULL);
        _exit(0);
    }
    check_int(waitpid(pid, &status, 0), pid);
    check_int(status, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_hundred),
        cmocka_unit_test(a_fork_bomb),
        cmocka_unit_test(a_fork_bomb_in_a_cgroup),
        cmocka_unit_test(nobody_is_the_main_process),
        cmocka_unit_test(nobody_survived),
        cmocka_unit_test(deaf_grandchildren),
        cmocka_unit_test(logins_are_spared),
        cmocka_unit_test(a_shutdown_that_is_waited_for),
        cmocka_unit_test(a_shutdown_ends_what_former_runs_left),
        cmocka_unit_test(a_removal_starts_nothing_by_itself),
        cmocka_unit_test(a_start_that_a_removal_let_go_on_is_called_off),
        cmocka_unit_test(a_shutdown_restarts_nothing),
        cmocka_unit_test(a_late_shutdown_sees_who_is_dead),
        cmocka_unit_test(whom_a_shutdown_leaves),
        cmocka_unit_test(a_kill_keeps_no_call_waiting),
        cmocka_unit_test(a_sender_that_is_gone),
        cmocka_unit_test(a_oneshot_is_done_until_it_starts_again),
        cmocka_unit_test(a_guard_ends_with_its_run),
        cmocka_unit_test(a_supervisor_that_is_killed),
        cmocka_unit_test(a_time_namespace),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
