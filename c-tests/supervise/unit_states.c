/* A unit's states, as each way to start, to fail and to stop brings them about. */
#include "support/test.h"

#include <pthread.h>

#include "support/spawn.h"
#include "support/unit.h"

static void starts_runs_and_stops(void **state)
{
    struct bed bed;
    struct sss_unit unit = unit_zero("a");

    (void)state;
    bed_start(&bed, SSS_SCOPE_ALL);
    struct sss_unit_ctx *a = unit_add(&bed, &unit, ACTIONS("pause"));
    check_int(unit_status(a).state, SSS_UNIT_STOPPED);
    check_ok(sss_supervisor_start(a));
    until_states(&bed, "aG aR");
    check_int(unit_status(a).starts, 1);
    check_int(unit_status(a).processes, 1);
    check(is_child(unit_status(a).main_pid));
    /* It runs already. */
    check_ok(sss_supervisor_start(a));
    check_ok(sss_supervisor_stop(a));
    until_states(&bed, "aG aR aP aS");
    check_int(bed.last.wait_status, status_of(BY_SIGNAL(SIGTERM)));
    check_int(bed.last.cause, SSS_UNIT_CAUSE_NONE);
    check_int(unit_status(a).restarts, 0);
    check_ok(sss_supervisor_restart(a));
    until_states(&bed, "aG aR aP aS aG aR");
    check_ok(sss_supervisor_restart(a));
    check_ok(sss_supervisor_start(a)); /* which changes nothing */
    until_states(&bed, "aG aR aP aS aG aR aP aG aR");
    check_int(unit_status(a).starts, 3);
    unit_stop(&bed, a);
    bed_end(&bed);
}

static void a_crash_loop_fails(void **state)
{
    struct bed bed;
    struct sss_unit unit = unit_zero("a");

    (void)state;
    bed_start(&bed, SSS_SCOPE_REGISTERED);
    unit.mask |= SSS_UNIT_RESTART | SSS_UNIT_START_LIMIT | SSS_UNIT_ESSENTIAL;
    unit.restart = SSS_UNIT_RESTART_ON_FAILURE;
    unit.start_limit = 3;
    unit.start_window = 3600000 * MS;
    struct sss_unit_ctx *a = unit_add(&bed, &unit, ACTIONS("exit", "7"));
    check_ok(sss_supervisor_start(a));
    until_states(&bed, "aG aR aB aG aR aB aG aR aF");
    check_int(unit_status(a).cause, SSS_UNIT_CAUSE_LIMIT);
    check_int(unit_status(a).restarts, 2);
    loop_settle(&bed.loop);
    check_int(bed.last.type, SSS_UNIT_EVENT_ESSENTIAL);
    check_int(bed.last.exit_code, 7);
    /* A command begins anew. */
    check_ok(sss_supervisor_start(a));
    until_states(&bed, "aG aR aB aG aR aB aG aR aF aG aR aB aG aR aB aG aR aF");
    unit_stop(&bed, a);
    bed_end(&bed);
}

static void ends_that_are_no_failure(void **state)
{
    static const int codes[] = { 4, 5 }, signals[] = { SIGUSR1 };
    static const struct {
        const char *action, *value;
        bool fails;
    } cases[] = {
        { "exit", "0", false },   { "exit", "5", false }, { "exit", "6", true },
        { "raise", "10", false }, { "raise", "15", true },
    };

    (void)state;
    check_int(SIGUSR1, 10);
    for (size_t at = 0; at < 2 * ARRAY_SIZE(cases); at++) {
        bool again = at % 2 != 0, fails = cases[at / 2].fails;
        struct bed bed;
        struct sss_unit unit = unit_zero("a");

        bed_start(&bed, SSS_SCOPE_ALL);
        unit.mask |= SSS_UNIT_RESTART | SSS_UNIT_START_LIMIT;
        unit.restart = again ? SSS_UNIT_RESTART_ON_FAILURE : SSS_UNIT_RESTART_NEVER;
        unit.start_limit = 2;
        unit.start_window = 3600000 * MS;
        unit.success_codes = codes;
        unit.success_codes_count = 2;
        unit.success_signals = signals;
        unit.success_signals_count = 1;
        struct sss_unit_ctx *a =
            unit_add(&bed, &unit, ACTIONS(cases[at / 2].action, cases[at / 2].value));
        check_ok(sss_supervisor_start(a));
        until_states(&bed, !fails ? "aG aR aS" : again ? "aG aR aB aG aR aF" : "aG aR aF");
        unit_stop(&bed, a);
        bed_end(&bed);
    }
}

struct delays {
    int64_t each[16];
    unsigned count, over;
};

static void note_delay(struct sss_unit_ctx *ctx, const struct sss_unit_event *event, void *pvt)
{
    struct delays *delays = pvt;

    (void)ctx;
    if (event->type != SSS_UNIT_EVENT_STATE) {
        return;
    }
    if (event->state == SSS_UNIT_BACKOFF) {
        check(delays->count < ARRAY_SIZE(delays->each));
        delays->each[delays->count++] = event->delay;
    }
    delays->over += event->state == SSS_UNIT_FAILED;
}

/* The delays before the restarts of a unit that crashes again and again, with this much
 * jitter. With `stable` each run is long enough to count as stable, and each start comes
 * after the window of the one before. */
static struct delays delays_with(uint32_t jitter, bool stable)
{
    char *path = helper_path("unit");
    const char *argv[] = { path, "exit", "1", NULL };
    struct sss_spawn spawn = spawn_zero();
    struct sss_unit unit = unit_zero("a");
    struct delays delays = { 0 };
    struct sss_unit_ctx *a;
    struct bed bed;

    bed_start(&bed, SSS_SCOPE_ALL);
    spawn.path = path;
    spawn.argv = argv;
    unit.spawn = &spawn;
    unit.mask |= SSS_UNIT_RESTART | SSS_UNIT_JITTER | SSS_UNIT_START_LIMIT;
    unit.restart = SSS_UNIT_RESTART_ALWAYS;
    unit.delay = MS;
    unit.delay_max = 3 * MS;
    unit.jitter = jitter;
    unit.start_limit = stable ? 1 : 9;
    unit.start_window = stable ? 1 : 3600000 * MS;
    unit.mask |= SSS_UNIT_STABLE;
    unit.stable = stable ? 1 : 3600000 * MS;
    check_ok(sss_supervisor_add(NULL, bed.loop.ctx, &unit, note_delay, &delays, &a));
    check_ok(sss_supervisor_start(a));
    loop_until(&bed.loop, stable ? &delays.count : &delays.over, stable ? 3 : 1);
    check(stable || delays.count == 8);
    unit_stop(&bed, a);
    bed_end(&bed);
    free(path);
    return delays;
}

static void delays_double_and_jitter_shortens_them(void **state)
{
    static const int64_t full[] = { MS, 2 * MS, 3 * MS, 3 * MS, 3 * MS, 3 * MS, 3 * MS, 3 * MS };
    struct delays delays = delays_with(0, false);
    unsigned shorter = 0;

    (void)state;
    for (int at = 0; at < 8; at++) {
        check_int(delays.each[at], full[at]);
    }
    delays = delays_with(0, true);
    for (int at = 0; at < 3; at++) {
        check_int(delays.each[at], MS);
    }
    delays = delays_with(50, false);
    for (int at = 0; at < 8; at++) {
        check(delays.each[at] >= full[at] / 2 && delays.each[at] <= full[at]);
        shorter += delays.each[at] < full[at];
    }
    check(shorter > 0);
}

static void a_stop_takes_its_steps(void **state)
{
    static const struct sss_stop_step steps[] = {
        { SIGUSR1, SSS_STOP_MAIN, MS, NULL },
        { SIGTERM, SSS_STOP_TREE, MS, NULL },
    };
    struct bed bed;
    struct sss_unit unit = unit_zero("a");

    (void)state;
    bed_start(&bed, SSS_SCOPE_ALL);
    unit.mask |= SSS_UNIT_STOP_STEPS;
    unit.stop_steps = steps;
    unit.stop_steps_count = 2;
    /* Both ignore all, one in a session of its own: SIGKILL ends them. */
    struct sss_unit_ctx *a = unit_add(
        &bed, &unit, ACTIONS("ignore", "10", "ignore", "15", "leave", "say", "x", "pause"));
    unit.start_mode = SSS_UNIT_NOTIFY;
    check_ok(sss_supervisor_remove(a));
    unit.mask |= SSS_UNIT_START_MODE;
    a = unit_add(&bed, &unit,
                 ACTIONS("ignore", "10", "ignore", "15", "leave", "say", "READY=1", "pause"));
    check_ok(sss_supervisor_start(a));
    until_states(&bed, "aG aR");
    until_processes(&bed, a, 2);
    check_ok(sss_supervisor_stop(a));
    until_states(&bed, "aG aR aP aS");
    check_int(bed.last.wait_status, status_of(BY_SIGNAL(SIGKILL)));
    unit_stop(&bed, a);
    bed_end(&bed);
}

static void a_stop_takes_its_second_step(void **state)
{
    static const struct sss_stop_step steps[] = {
        { SIGUSR1, SSS_STOP_MAIN, MS, NULL },
        { SIGTERM, SSS_STOP_MAIN, 3600000 * MS, NULL },
    };
    struct bed bed;
    struct sss_unit unit = unit_zero("a");

    (void)state;
    bed_start(&bed, SSS_SCOPE_ALL);
    unit.mask |= SSS_UNIT_STOP_STEPS | SSS_UNIT_START_MODE;
    unit.start_mode = SSS_UNIT_NOTIFY;
    unit.stop_steps = steps;
    unit.stop_steps_count = 2;
    struct sss_unit_ctx *a =
        unit_add(&bed, &unit, ACTIONS("ignore", "10", "say", "READY=1", "pause"));
    check_ok(sss_supervisor_start(a));
    until_states(&bed, "aG aR");
    check_ok(sss_supervisor_stop(a));
    until_states(&bed, "aG aR aP aS");
    check_int(bed.last.wait_status, status_of(BY_SIGNAL(SIGTERM)));
    unit_stop(&bed, a);
    bed_end(&bed);
}

/* It has MAINPID in its environment, and nothing that speaks of our own supervisor. */
static void a_stop_takes_a_command(void **state)
{
    static const char *const ours[] = {
        "NOTIFY_SOCKET=", "WATCHDOG_USEC=", "WATCHDOG_PID=", "LISTEN_FDS=",
        "LISTEN_PID=",    "LISTEN_FDNAMES=", "MAINPID=1\n",  "KEPT=",
    };
    char path[96], script[256], line[4096];
    const char *argv[] = { "sh", "-c", script, NULL };
    struct sss_spawn command = spawn_zero();
    struct sss_stop_step step = { 0, 0, 3600000 * MS, &command };
    struct bed bed;
    struct sss_unit unit = unit_zero("a");
    struct fifo fifo;
    unsigned kept = 0;

    (void)state;
    fifo_make(&fifo);
    snprintf(path, sizeof(path), "%s/environment", fifo.dir);
    snprintf(script, sizeof(script), "env > %s; kill -USR1 $MAINPID", path);
    for (size_t at = 0; at < ARRAY_SIZE(ours); at++) {
        snprintf(line, sizeof(line), "%.*s", (int)strcspn(ours[at], "="), ours[at]);
        setenv(line, "1", 1);
    }
    command.path = "/bin/sh";
    command.argv = argv;
    bed_start(&bed, SSS_SCOPE_ALL);
    unit.mask |= SSS_UNIT_STOP_STEPS | SSS_UNIT_START_MODE;
    unit.start_mode = SSS_UNIT_NOTIFY;
    unit.stop_steps = &step;
    unit.stop_steps_count = 1;
    struct sss_unit_ctx *a = unit_add(
        &bed, &unit, ACTIONS("hold", "10", "say", "READY=1", "await", "10", "exit", "4"));
    for (size_t at = 0; at < ARRAY_SIZE(ours); at++) {
        snprintf(line, sizeof(line), "%.*s", (int)strcspn(ours[at], "="), ours[at]);
        unsetenv(line);
    }
    check_ok(sss_supervisor_start(a));
    until_states(&bed, "aG aR");
    check_ok(sss_supervisor_stop(a));
    until_states(&bed, "aG aR aP aS");
    check_int(bed.last.wait_status, status_of(4));
    FILE *file = fopen(path, "re");
    check(file != NULL);
    while (fgets(line, sizeof(line), file) != NULL) {
        for (size_t at = 0; at < ARRAY_SIZE(ours); at++) {
            if (strncmp(line, ours[at], strlen(ours[at])) == 0) {
                assert_string_equal(line, "KEPT=1\n");
                kept++;
            }
        }
    }
    fclose(file);
    check_int(kept, 1);
    unit_stop(&bed, a);
    until_no_children(&bed);
    bed_end(&bed);
    unlink(path);
    fifo_remove(&fifo);
}

/* The main process and its child, in the group that we are in too, and in one of their own. */
static void a_stop_reaches_a_group(void **state)
{
    static const struct sss_stop_step step = { SIGUSR1, SSS_STOP_GROUP, 3600000 * MS, NULL };
    char *path = helper_path("unit");
    const char *argv[] = { path, "both", "say", "READY=1", "pause", NULL };

    (void)state;
    for (int own = 0; own < 2; own++) {
        struct sss_spawn spawn = spawn_zero();
        struct sss_unit unit = unit_zero("a");
        struct bed bed;

        bed_start(&bed, SSS_SCOPE_ALL);
        spawn.path = path;
        spawn.argv = argv;
        spawn.mask |= own ? SSS_SPAWN_SESSION : 0;
        unit.spawn = &spawn;
        unit.mask |= SSS_UNIT_STOP_STEPS | SSS_UNIT_START_MODE | SSS_UNIT_NOTIFY_ALL;
        unit.start_mode = SSS_UNIT_NOTIFY;
        unit.stop_steps = &step;
        unit.stop_steps_count = 1;
        struct sss_unit_ctx *a = unit_add(&bed, &unit, ACTIONS("pause"));
        check_ok(sss_supervisor_start(a));
        until_states(&bed, "aG aR");
        until_processes(&bed, a, 2);
        check_ok(sss_supervisor_stop(a));
        until_states(&bed, "aG aR aP aS");
        check_int(bed.last.wait_status, status_of(BY_SIGNAL(SIGUSR1)));
        unit_stop(&bed, a);
        bed_end(&bed);
    }
    free(path);
}

static void what_is_left_is_stopped_before_the_next_start(void **state)
{
    struct bed bed;
    struct sss_unit unit = unit_zero("a");
    struct fifo fifo;

    (void)state;
    fifo_make(&fifo);
    bed_start(&bed, SSS_SCOPE_REGISTERED);
    unit.mask |= SSS_UNIT_RESTART | SSS_UNIT_STOP_STEPS;
    unit.restart = SSS_UNIT_RESTART_ON_FAILURE;
    struct sss_unit_ctx *a =
        unit_add(&bed, &unit, ACTIONS("leave", "gate", fifo.path, "exit", "1"));
    check_ok(sss_supervisor_start(a));
    until_states(&bed, "aG aR");
    fifo_open(&fifo);
    until_states(&bed, "aG aR aP aB aG aR");
    check_ok(sss_supervisor_stop(a));
    until_state(&bed, a, SSS_UNIT_STOPPED);
    unit_stop(&bed, a);
    bed_end(&bed);
    fifo_remove(&fifo);
}

static void a_restart_by_main_spares_the_others(void **state)
{
    struct bed bed;
    struct sss_unit unit = unit_zero("a");
    struct fifo fifo;

    (void)state;
    fifo_make(&fifo);
    bed_start(&bed, SSS_SCOPE_REGISTERED);
    unit.mask |= SSS_UNIT_RESTART | SSS_UNIT_OVER_MAIN | SSS_UNIT_STOP_STEPS;
    unit.restart = SSS_UNIT_RESTART_ALWAYS;
    struct sss_unit_ctx *a =
        unit_add(&bed, &unit, ACTIONS("leave", "gate", fifo.path, "exit", "0"));
    check_ok(sss_supervisor_start(a));
    until_states(&bed, "aG aR");
    until_processes(&bed, a, 2);
    fifo_open(&fifo);
    until_states(&bed, "aG aR aB aG aR");
    until_processes(&bed, a, 3); /* a login of the first run, one of the second */
    check_ok(sss_supervisor_stop(a));
    until_states(&bed, "aG aR aB aG aR aP aS");
    until_processes(&bed, a, 0);
    unit_stop(&bed, a);
    bed_end(&bed);
    fifo_remove(&fifo);
}

/* Its main process is dead when the step that is for it alone is taken, and its end is not
 * told yet. */
static void a_restart_of_a_dead_main_process_spares_the_others(void **state)
{
    static const struct sss_stop_step step = { SIGUSR1, SSS_STOP_MAIN, 3600000 * MS, NULL };
    struct bed bed;
    struct sss_unit unit = unit_notifying("a");

    (void)state;
    bed_start(&bed, SSS_SCOPE_REGISTERED);
    unit.mask |= SSS_UNIT_OVER_MAIN | SSS_UNIT_STOP_STEPS;
    unit.stop_steps = &step;
    unit.stop_steps_count = 1;
    struct sss_unit_ctx *a = unit_add(&bed, &unit, ACTIONS("leave", "say", "READY=1", "pause"));
    check_ok(sss_supervisor_start(a));
    until_states(&bed, "aG aR");
    until_processes(&bed, a, 2);
    pid_t main_pid = unit_status(a).main_pid;
    check_ok(kill(main_pid, SIGKILL));
    await_zombie(main_pid);
    check_ok(sss_supervisor_restart(a));
    until_states(&bed, "aG aR aP aG aR");
    until_processes(&bed, a, 3);
    bed_kill_all(&bed);
    unit_stop(&bed, a);
    bed_end(&bed);
}

static void a_start_that_cannot_be(void **state)
{
    struct bed bed;
    struct sss_unit unit = unit_zero("a");
    const char *argv[] = { "x", NULL };
    struct sss_spawn spawn = { .size = sizeof(spawn), .path = "/nonexistent", .argv = argv };

    (void)state;
    bed_start(&bed, SSS_SCOPE_ALL);
    unit.spawn = &spawn;
    struct sss_unit_ctx *a = unit_add(&bed, &unit, ACTIONS("pause"));
    check_ok(sss_supervisor_start(a));
    until_states(&bed, "aG aF");
    check_int(bed.last.cause, SSS_UNIT_CAUSE_START);
    check_int(bed.last.error, ENOENT);
    unit_stop(&bed, a);
    bed_end(&bed);
}

static void a_daemon_is_ready_when_its_first_process_has_ended(void **state)
{
    struct bed bed;
    struct sss_unit unit = unit_zero("a");
    struct fifo fifo, last;
    pid_t second;

    (void)state;
    fifo_make(&fifo);
    fifo_make(&last);
    bed_start(&bed, SSS_SCOPE_REGISTERED);
    unit.mask |= SSS_UNIT_START_MODE;
    unit.start_mode = SSS_UNIT_FORKING;
    struct sss_unit_ctx *a = unit_add(
        &bed, &unit, ACTIONS("gate", fifo.path, "daemon", "daemon", "gate", last.path, "pause"));
    check_ok(sss_supervisor_start(a));
    until_states(&bed, "aG");
    loop_settle(&bed.loop);
    until_states(&bed, "aG");
    pid_t first = unit_status(a).main_pid;
    fifo_open(&fifo);
    until_states(&bed, "aG aR");
    /* The one before it may have been the main process meanwhile. */
    fifo_open_turning(&bed, &last);
    until_processes(&bed, a, 1);
    int64_t deadline = now_ms() + DEADLINE_MS;
    while (children_of_ours(&second, 1) != 1 || unit_status(a).main_pid != second) {
        check(now_ms() < deadline);
        loop_turn(&bed.loop, 100);
    }
    check(second != first);
    check_int(bed.adopted.type, SSS_UNIT_EVENT_ADOPTED);
    check(bed.adopted.pid > 0 && bed.adopted.pid != first);
    check_ok(kill(second, SIGKILL));
    until_states(&bed, "aG aR aF");
    check_int(bed.last.wait_status, status_of(BY_SIGNAL(SIGKILL)));
    unit_stop(&bed, a);
    bed_end(&bed);
    fifo_remove(&fifo);
    fifo_remove(&last);
}

/* The main process of a daemon ends by a signal that is no failure, and a process that it
 * left lives on: that is no further step of its start. */
static void a_daemon_that_a_signal_ends_is_over(void **state)
{
    struct bed bed;
    struct sss_unit unit = unit_zero("a");
    struct fifo fifo;

    (void)state;
    fifo_make(&fifo);
    bed_start(&bed, SSS_SCOPE_REGISTERED);
    unit.mask |= SSS_UNIT_START_MODE | SSS_UNIT_RESTART | SSS_UNIT_STOP_STEPS;
    unit.start_mode = SSS_UNIT_FORKING;
    unit.restart = SSS_UNIT_RESTART_ALWAYS;
    struct sss_unit_ctx *a =
        unit_add(&bed, &unit, ACTIONS("daemon", "gate", fifo.path, "leave", "pause"));
    check_ok(sss_supervisor_start(a));
    until_states(&bed, "aG aR");
    until_processes(&bed, a, 1);
    int64_t deadline = now_ms() + DEADLINE_MS;
    while (unit_status(a).main_pid == 0) {
        check(now_ms() < deadline);
        loop_turn(&bed.loop, 100);
    }
    fifo_open_turning(&bed, &fifo);
    until_processes(&bed, a, 2);
    check_ok(kill(unit_status(a).main_pid, SIGTERM));
    until_states(&bed, "aG aR aP aB aG aR");
    unit_stop(&bed, a);
    bed_end(&bed);
    fifo_remove(&fifo);
}

static struct fifo go;

/* The first process goes on and ends, and so does the child that it leaves. Only then the
 * loop turns again. */
static void let_both_generations_end(struct bed *bed, struct sss_unit_ctx *ctx)
{
    pid_t first = unit_status(ctx).main_pid, children[2];

    (void)bed;
    fifo_open(&go);
    await_zombie(first);
    check_int(children_of_ours(children, 2), 2);
    await_zombie(children[children[0] == first]);
}

/* Its end is that of the daemon, and not that of the process which left it. */
static void a_daemon_ends_with_its_first_process(void **state)
{
    static const char *const codes[] = { "0", "1" };

    (void)state;
    for (int code = 0; code < 2; code++) {
        struct bed bed;
        struct sss_unit unit = unit_zero("a");

        fifo_make(&go);
        bed_start(&bed, SSS_SCOPE_REGISTERED);
        bed.then = let_both_generations_end;
        bed.then_state = SSS_UNIT_STARTING;
        unit.mask |= SSS_UNIT_START_MODE;
        unit.start_mode = SSS_UNIT_FORKING;
        struct sss_unit_ctx *a =
            unit_add(&bed, &unit, ACTIONS("gate", go.path, "daemon", "exit", codes[code]));
        check_ok(sss_supervisor_start(a));
        until_states(&bed, code == 0 ? "aG aS" : "aG aF");
        check_int(bed.last.wait_status, status_of(code));
        unit_stop(&bed, a);
        bed_end(&bed);
        fifo_remove(&go);
    }
}

/* The ends of its processes were told, so none is taken for a failure. */
static void a_daemon_whose_main_process_is_unknown_ends(void **state)
{
    static const int kill_is_fine = SIGKILL;
    struct bed bed;
    struct sss_unit unit = unit_zero("a");
    pid_t pids[3];

    (void)state;
    bed_start(&bed, SSS_SCOPE_REGISTERED);
    unit.mask |= SSS_UNIT_START_MODE;
    unit.start_mode = SSS_UNIT_FORKING;
    unit.success_signals = &kill_is_fine;
    unit.success_signals_count = 1;
    struct sss_unit_ctx *a = unit_add(&bed, &unit, ACTIONS("leave", "leave", "daemon"));
    check_ok(sss_supervisor_start(a));
    until_states(&bed, "aG aR");
    until_processes(&bed, a, 3);
    check_int(unit_status(a).main_pid, 0);
    check_int(children_of_ours(pids, 3), 3);
    for (int at = 0; at < 3; at++) {
        check_ok(kill(pids[at], SIGKILL));
        await_zombie(pids[at]);
    }
    until_states(&bed, "aG aR aS");
    check_int(bed.last.wait_status, status_of(BY_SIGNAL(SIGKILL)));
    unit_stop(&bed, a);
    bed_end(&bed);
}

static void a_newline_is_readiness(void **state)
{
    struct bed bed;
    struct sss_unit unit = unit_zero("a");
    struct fifo fifo;

    (void)state;
    fifo_make(&fifo);
    bed_start(&bed, SSS_SCOPE_ALL);
    unit.mask |= SSS_UNIT_START_MODE | SSS_UNIT_READY_FD;
    unit.start_mode = SSS_UNIT_NEWLINE;
    unit.ready_fd = 7;
    struct sss_unit_ctx *a = unit_add(&bed, &unit, ACTIONS("gate", fifo.path, "line", "7"));
    check_ok(sss_supervisor_start(a));
    until_states(&bed, "aG");
    loop_settle(&bed.loop);
    until_states(&bed, "aG");
    fifo_open(&fifo);
    until_states(&bed, "aG aR");
    unit_stop(&bed, a);
    bed_end(&bed);
    fifo_remove(&fifo);
}

static void a_oneshot_ends_with_success(void **state)
{
    struct bed bed;
    struct sss_unit unit = unit_zero("a");

    (void)state;
    bed_start(&bed, SSS_SCOPE_ALL);
    unit.mask |= SSS_UNIT_KIND;
    unit.kind = SSS_UNIT_ONESHOT;
    struct sss_unit_ctx *a = unit_add(&bed, &unit, ACTIONS("exit", "0"));
    check_ok(sss_supervisor_start(a));
    until_states(&bed, "aG aR aS");
    unit_stop(&bed, a);
    bed_end(&bed);
}

static void the_owner_decides(void **state)
{
    struct bed bed;
    struct sss_unit unit = unit_zero("a");

    (void)state;
    bed_start(&bed, SSS_SCOPE_ALL);
    bed.decision = SSS_UNIT_DECIDE_WAIT;
    struct sss_unit_ctx *a = unit_add(&bed, &unit, ACTIONS("exit", "3"));
    check_ok(sss_supervisor_start(a));
    until_states(&bed, "aG aR aB");
    loop_settle(&bed.loop);
    check_int(bed.decisions, 1);
    bed.decision = SSS_UNIT_DECIDE_GIVE_UP;
    check_ok(sss_supervisor_start(a));
    until_states(&bed, "aG aR aB aG aR aB aF");
    bed.decision = SSS_UNIT_DECIDE_RESTART;
    check_ok(sss_supervisor_start(a));
    until_states(&bed, "aG aR aB aG aR aB aF aG aR aB aG aR aB");
    bed.decision = SSS_UNIT_DECIDE_GIVE_UP;
    until_state(&bed, a, SSS_UNIT_FAILED);
    unit_stop(&bed, a);
    bed_end(&bed);
}

/* Turns the loop in a callback of the unit, whose task takes what is told now in one step
 * afterwards: the end of the main process, and that of all. */
static void hear_of_all(struct bed *bed, struct sss_unit_ctx *ctx)
{
    pid_t main_pid = unit_status(ctx).main_pid;
    int64_t deadline = now_ms() + DEADLINE_MS;

    while (is_child(main_pid)) {
        check(now_ms() < deadline);
        loop_turn(&bed->loop, 10);
    }
    /* The task, which cannot be stepped now, keeps the descriptor readable. */
    for (int turn = 0; turn < 10; turn++) {
        loop_turn(&bed->loop, 0);
    }
}

/* They are of the run that is over, and not of the one that its end starts. */
static void a_run_ends_in_one_step(void **state)
{
    (void)state;
    for (int stops = 0; stops < 2; stops++) {
        struct bed bed;
        struct sss_unit unit = unit_zero("a");

        bed_start(&bed, SSS_SCOPE_REGISTERED);
        struct sss_unit_ctx *a = unit_add(&bed, &unit, ACTIONS("pause"));
        check_ok(sss_supervisor_start(a));
        until_states(&bed, "aG aR");
        bed.then = hear_of_all;
        bed.then_state = SSS_UNIT_STOPPING;
        check_ok(stops ? sss_supervisor_stop(a) : sss_supervisor_restart(a));
        until_states(&bed, stops ? "aG aR aP aS" : "aG aR aP aG aR");
        loop_settle(&bed.loop);
        check_int(unit_status(a).processes, !stops);
        unit_stop(&bed, a);
        bed_end(&bed);
    }
}

/* The order of a and b is held, both ways round. */
static void units_start_and_stop_in_order(void **state)
{
    struct bed bed;
    struct sss_unit unit = unit_zero("a");
    struct fifo fifo;

    (void)state;
    fifo_make(&fifo);
    bed_start(&bed, SSS_SCOPE_REGISTERED);
    unit.mask |= SSS_UNIT_START_MODE;
    unit.start_mode = SSS_UNIT_NOTIFY;
    struct sss_unit_ctx *a =
        unit_add(&bed, &unit, ACTIONS("gate", fifo.path, "say", "READY=1", "pause"));
    unit = unit_zero("b");
    unit_after_a(&unit);
    struct sss_unit_ctx *b = unit_add(&bed, &unit, ACTIONS("pause"));
    check_ok(sss_supervisor_start(b));
    until_states(&bed, "aG");
    loop_settle(&bed.loop);
    until_states(&bed, "aG");
    check_int(unit_status(b).waits, 1);
    fifo_open(&fifo);
    until_states(&bed, "aG aR bG bR");
    check_ok(sss_supervisor_stop(a));
    until_states(&bed, "aG aR bG bR bP bS aP aS");
    check_ok(sss_supervisor_remove(a));
    check_ok(sss_supervisor_start(b));
    until_state(&bed, b, SSS_UNIT_RUNNING);
    unit_stop(&bed, b);
    bed_end(&bed);
    fifo_remove(&fifo);
}

/* One that dies while its stop waits for another's is not restarted; but after a start, which
 * calls its stop off. */
static void a_stop_that_waits_keeps_its_unit_down(void **state)
{
    (void)state;
    check_int(SIGTERM, 15);
    for (int again = 0; again < 2; again++) {
        struct bed bed;
        struct fifo fifo;

        struct two two = two_start(&bed, &fifo, "0");
        struct sss_unit_ctx *a = two.a, *b = two.b;

        check_ok(sss_supervisor_stop(a));
        until_states(&bed, "aG aR bG bR bP");
        check_int(unit_status(a).waits, 1);
        if (again) {
            check_ok(sss_supervisor_start(a));
            loop_settle(&bed.loop);
            check_int(unit_status(a).waits, 0);
        }
        check_ok(kill(unit_status(a).main_pid, SIGKILL));
        until_states(&bed, again ? "aG aR bG bR bP aB aG aR" : "aG aR bG bR bP aS");
        fifo_open_turning(&bed, &fifo);
        until_state(&bed, b, SSS_UNIT_STOPPED);
        loop_settle(&bed.loop);
        check_int(unit_status(a).starts, again ? 2 : 1);
        unit_stop(&bed, b);
        unit_stop(&bed, a);
        bed_end(&bed);
        fifo_remove(&fifo);
    }
}

/* The unit that stops first is STOPPED already, but a process of it lives on. */
static void a_stop_waits_for_what_a_later_unit_left(void **state)
{
    struct bed bed;
    struct sss_unit unit = unit_zero("a");

    (void)state;
    bed_start(&bed, SSS_SCOPE_REGISTERED);
    struct sss_unit_ctx *a = unit_add(&bed, &unit, ACTIONS("pause"));
    unit = unit_zero("b");
    unit.mask |= SSS_UNIT_OVER_MAIN | SSS_UNIT_STOP_STEPS;
    unit_after_a(&unit);
    struct sss_unit_ctx *b = unit_add(&bed, &unit, ACTIONS("leave", "exit", "0"));
    check_ok(sss_supervisor_start(b));
    until_states(&bed, "aG aR bG bR bS");
    until_processes(&bed, b, 1);
    check_ok(sss_supervisor_stop(a));
    until_states(&bed, "aG aR bG bR bS bP bS aP aS");
    unit_stop(&bed, b);
    unit_stop(&bed, a);
    bed_end(&bed);
}

static void one_that_comes_before_fails(void **state)
{
    struct bed bed;
    struct sss_unit unit = unit_zero("a");

    (void)state;
    bed_start(&bed, SSS_SCOPE_ALL);
    unit.mask |= SSS_UNIT_KIND;
    unit.kind = SSS_UNIT_ONESHOT;
    struct sss_unit_ctx *a = unit_add(&bed, &unit, ACTIONS("exit", "1"));
    unit = unit_zero("b");
    unit_after_a(&unit);
    struct sss_unit_ctx *b = unit_add(&bed, &unit, ACTIONS("pause"));
    check_ok(sss_supervisor_start(b));
    until_states(&bed, "aG aF bF");
    check_int(unit_status(b).cause, SSS_UNIT_CAUSE_DEPENDENCY);
    unit_stop(&bed, b);
    unit_stop(&bed, a);
    bed_end(&bed);
}

/* It ends with success before it is ready: b would wait for it for ever. */
static void one_that_comes_before_ends(void **state)
{
    struct bed bed;
    struct sss_unit unit = unit_notifying("a");

    (void)state;
    bed_start(&bed, SSS_SCOPE_ALL);
    struct sss_unit_ctx *a = unit_add(&bed, &unit, ACTIONS("exit", "0"));
    unit = unit_zero("b");
    unit_after_a(&unit);
    struct sss_unit_ctx *b = unit_add(&bed, &unit, ACTIONS("pause"));
    check_ok(sss_supervisor_start(b));
    until_states(&bed, "aG aS bF");
    check_int(unit_status(b).cause, SSS_UNIT_CAUSE_DEPENDENCY);
    check_int(unit_status(b).waits, 0);
    unit_stop(&bed, b);
    unit_stop(&bed, a);
    bed_end(&bed);
}

/* b, which comes after a, is in BACKOFF while its start waits for a: its delay does not start
 * it. Its crash comes before that start or after it; then a is ready, or fails. */
static void a_start_waits_in_backoff(void **state)
{
    (void)state;
    for (int way = 0; way < 8; way++) {
        bool crashes_first = way & 1, fails = way & 2, decides = way & 4;
        struct bed bed;
        struct sss_unit unit = unit_notifying("a");
        struct fifo ready;

        fifo_make(&ready);
        bed_start(&bed, SSS_SCOPE_ALL);
        struct sss_unit_ctx *a =
            unit_add(&bed, &unit, ACTIONS("gate", ready.path, "say", "READY=1", "pause"));
        unit = unit_zero("b");
        unit.mask |= SSS_UNIT_RESTART;
        unit.restart = SSS_UNIT_RESTART_ALWAYS;
        unit.delay = unit.delay_max = 3600000 * MS;
        unit_after_a(&unit);
        bed.decision = decides ? SSS_UNIT_DECIDE_WAIT : UINT32_MAX;
        struct sss_unit_ctx *b = unit_add(&bed, &unit, ACTIONS("pause"));
        check_ok(sss_supervisor_start(b));
        fifo_open_turning(&bed, &ready);
        until_states(&bed, "aG aR bG bR");
        check_ok(kill(unit_status(a).main_pid, SIGKILL));
        until_states(&bed, "aG aR bG bR aF");
        *bed.states = '\0';
        if (crashes_first) {
            check_ok(kill(unit_status(b).main_pid, SIGKILL));
            until_states(&bed, "bB");
            check_ok(sss_supervisor_start(b));
            until_states(&bed, "bB aG");
        } else {
            check_ok(sss_supervisor_start(b));
            until_states(&bed, "aG");
            check_ok(kill(unit_status(b).main_pid, SIGKILL));
            until_states(&bed, "aG bB");
        }
        loop_settle(&bed.loop);
        check_int(unit_status(b).waits, 1);
        check_int(unit_status(b).next, 0);
        if (fails) {
            check_ok(kill(unit_status(a).main_pid, SIGKILL));
            until_states(&bed, crashes_first ? "bB aG aF bF" : "aG bB aF bF");
            check_int(unit_status(b).cause, SSS_UNIT_CAUSE_DEPENDENCY);
        } else {
            fifo_open_turning(&bed, &ready);
            until_states(&bed, crashes_first ? "bB aG aR bG bR" : "aG bB aR bG bR");
        }
        check_int(unit_status(b).waits, 0);
        unit_stop(&bed, b);
        unit_stop(&bed, a);
        bed_end(&bed);
        fifo_remove(&ready);
    }
}

static void down(struct sss_sigchild_ctx *ctx, const struct sss_shutdown_event *event, void *pvt)
{
    struct bed *bed = pvt;

    check(ctx == bed->loop.ctx);
    bed->shutdown = *event;
    bed->shutdowns++;
}

static void a_shutdown_ends_all(void **state)
{
    struct bed bed;
    struct sss_unit_ctx *units[3];
    static const char *const names[] = { "a", "b", "c" };

    (void)state;
    bed_start(&bed, SSS_SCOPE_ALL);
    for (int at = 0; at < 3; at++) {
        struct sss_unit unit = unit_zero(names[at]);

        unit.mask |= SSS_UNIT_RESTART;
        unit.restart = SSS_UNIT_RESTART_ALWAYS;
        unit.after = names;
        unit.after_count = at;
        units[at] = unit_add(&bed, &unit, ACTIONS("pause"));
    }
    check_ok(sss_supervisor_start(units[2]));
    until_states(&bed, "aG aR bG bR cG cR");
    check_ok(sss_supervisor_shutdown(bed.loop.ctx, 3600000 * MS, down, &bed));
    check_int(sss_supervisor_shutdown(bed.loop.ctx, 7200000 * MS, down, &bed), EALREADY);
    check_int(sss_supervisor_start(units[0]), ESHUTDOWN);
    loop_until(&bed.loop, &bed.shutdowns, 1);
    check(strcmp(bed.states, "aG aR bG bR cG cR cP cS bP bS aP aS") == 0);
    check_int(bed.shutdown.units_left, 0);
    for (int at = 0; at < 3; at++) {
        check_ok(sss_supervisor_remove(units[at]));
    }
    bed_end(&bed);
}

struct caller {
    struct bed *bed;
    struct sss_unit_ctx *a, *b;
};

static void *ask_and_start(void *arg)
{
    struct caller *caller = arg;
    struct sss_unit unit = unit_zero("b");

    check_int(unit_status(caller->a).state, SSS_UNIT_STOPPED);
    check_int(sss_supervisor_reload(caller->a), EAGAIN);
    check_ok(sss_supervisor_start(caller->a));
    caller->b = unit_add(caller->bed, &unit, ACTIONS("pause"));
    return NULL;
}

static void *restart_and_remove(void *arg)
{
    struct caller *caller = arg;

    check_ok(sss_supervisor_restart(caller->a));
    check_ok(sss_supervisor_remove(caller->b));
    return NULL;
}

static void *shut_down(void *arg)
{
    struct caller *caller = arg;

    check_ok(sss_supervisor_shutdown(caller->bed->loop.ctx, 3600000 * MS, down, caller->bed));
    check_int(sss_supervisor_start(caller->a), ESHUTDOWN);
    check_ok(sss_supervisor_stop(caller->a));
    return NULL;
}

static void in_a_thread(void *(*fn)(void *arg), struct caller *caller)
{
    pthread_t thread;

    check_ok(pthread_create(&thread, NULL, fn, caller));
    check_ok(pthread_join(thread, NULL));
}

static void in_another_process(void *arg)
{
    struct caller *caller = arg;
    struct sss_unit_status status = { .size = sizeof(status) };

    check_int(sss_supervisor_start(caller->a), ECHILD);
    check_int(sss_supervisor_stop(caller->a), ECHILD);
    check_int(sss_supervisor_status(caller->a, &status), ECHILD);
    check_int(sss_supervisor_shutdown(caller->bed->loop.ctx, 0, NULL, NULL), ECHILD);
    check_int(sss_supervisor_shutdown_wait(caller->bed->loop.ctx, 0, NULL), ECHILD);
}

/* A stop of a waits for b, which is being stopped. A restart of either cancels that stop, and
 * restarts the unit that it names. */
static void a_restart_calls_off_a_stop_that_waits(void **state)
{
    (void)state;
    for (int of_b = 0; of_b < 2; of_b++) {
        struct bed bed;
        struct fifo fifo;
        struct two two;

        two = two_start(&bed, &fifo, "0");
        check_ok(sss_supervisor_stop(two.a));
        until_states(&bed, "aG aR bG bR bP");
        check_ok(sss_supervisor_restart(of_b ? two.b : two.a));
        if (!of_b) {
            until_states(&bed, "aG aR bG bR bP aP aG aR");
        }
        fifo_open_turning(&bed, &fifo);
        until_states(&bed, of_b ? "aG aR bG bR bP bG bR" : "aG aR bG bR bP aP aG aR bS");
        loop_settle(&bed.loop);
        check_int(unit_status(two.a).waits, 0);
        check_int(unit_status(two.a).state, SSS_UNIT_RUNNING);
        /* It is wanted again. */
        check_ok(kill(unit_status(two.a).main_pid, SIGKILL));
        until_states(&bed, of_b ? "aG aR bG bR bP bG bR aB aG aR"
                                : "aG aR bG bR bP aP aG aR bS aB aG aR");
        check_ok(sss_supervisor_shutdown(bed.loop.ctx, 0, down, &bed));
        loop_until(&bed.loop, &bed.shutdowns, 1);
        unit_stop(&bed, two.b);
        unit_stop(&bed, two.a);
        bed_end(&bed);
        fifo_remove(&fifo);
    }
}

/* b's start waits for a, which is not ready yet, while b is down, is being stopped, or
 * runs. A restart of b waits too, and starts it once. */
static void a_restart_waits_as_a_start_does(void **state)
{
    static const struct sss_stop_step step = { SIGTERM, SSS_STOP_MAIN, 3600000 * MS, NULL };

    enum { DOWN, STOPPING, RUNNING };
    static const char *const wanted[] = {
        "aG aR bG bR", "aG bS aR bG bR", "aG aR bP bG bR",
    };

    (void)state;
    for (int how = DOWN; how <= RUNNING; how++) {
        struct bed bed;
        struct fifo ready, last;
        struct sss_unit unit = unit_notifying("a");

        fifo_make(&ready);
        fifo_make(&last);
        bed_start(&bed, SSS_SCOPE_ALL);
        struct sss_unit_ctx *a =
            unit_add(&bed, &unit, ACTIONS("gate", ready.path, "say", "READY=1", "pause"));
        unit = unit_notifying("b");
        unit.mask |= SSS_UNIT_STOP_STEPS;
        unit.stop_steps = &step;
        unit.stop_steps_count = 1;
        unit_after_a(&unit);
        struct sss_unit_ctx *b = unit_add(
            &bed, &unit,
            ACTIONS("hold", "15", "say", "READY=1", "await", "15", "gate", last.path, "exit", "0"));
        if (how != DOWN) {
            check_ok(sss_supervisor_start(b));
            fifo_open_turning(&bed, &ready);
            until_states(&bed, "aG aR bG bR");
            check_ok(kill(unit_status(a).main_pid, SIGKILL));
            until_states(&bed, "aG aR bG bR aF");
        }
        if (how == STOPPING) {
            check_ok(sss_supervisor_stop(b));
            until_states(&bed, "aG aR bG bR aF bP");
        }
        *bed.states = '\0';
        check_ok(sss_supervisor_start(b));
        until_states(&bed, "aG");
        check_int(unit_status(b).waits, 1);
        check_ok(sss_supervisor_restart(b));
        loop_settle(&bed.loop);
        check_int(unit_status(b).waits, 1);
        if (how == STOPPING) {
            fifo_open_turning(&bed, &last);
            until_states(&bed, "aG bS");
            loop_settle(&bed.loop);
            check_int(unit_status(b).waits, 1);
        }
        fifo_open_turning(&bed, &ready);
        if (how == RUNNING) {
            until_states(&bed, "aG aR bP");
            fifo_open_turning(&bed, &last);
        }
        until_states(&bed, wanted[how]);
        loop_settle(&bed.loop);
        check_int(unit_status(b).waits, 0);
        check_int(unit_status(b).starts, how == DOWN ? 1 : 2);
        check_ok(sss_supervisor_shutdown(bed.loop.ctx, 0, down, &bed));
        loop_until(&bed.loop, &bed.shutdowns, 1);
        unit_stop(&bed, b);
        unit_stop(&bed, a);
        bed_end(&bed);
        fifo_remove(&ready);
        fifo_remove(&last);
    }
}

/* A unit with another definition: the one that comes after it goes on, and comes after the
 * new one. */
static void one_takes_the_place_of_another(void **state)
{
    struct bed bed;
    struct sss_unit unit = unit_zero("a");
    struct sss_unit_ctx *second, *refused;
    struct fifo fifo;
    struct two two;

    (void)state;
    two = two_start(&bed, &fifo, "0");
    unit.mask |= SSS_UNIT_REPLACE;
    unit.after = (const char *const[]){ "b" };
    unit.after_count = 1;
    check_int(unit_try_add(&bed, &unit, ACTIONS("pause"), &refused), ELOOP);
    unit.after_count = 0;
    second = unit_add(&bed, &unit, ACTIONS("pause"));
    unit.mask &= ~SSS_UNIT_REPLACE;
    check_int(unit_try_add(&bed, &unit, ACTIONS("pause"), &refused), EEXIST);
    check_ok(sss_supervisor_start(second));
    loop_settle(&bed.loop);
    check_int(unit_status(second).waits, 1);
    check_int(unit_status(second).starts, 0);
    check_ok(sss_supervisor_stop(two.a));
    until_states(&bed, "aG aR bG bR aP aS aG aR");
    check_ok(sss_supervisor_remove(two.a));
    check_int(unit_status(two.b).state, SSS_UNIT_RUNNING);
    check_ok(sss_supervisor_stop(second));
    until_states(&bed, "aG aR bG bR aP aS aG aR bP");
    fifo_open_turning(&bed, &fifo);
    until_states(&bed, "aG aR bG bR aP aS aG aR bP bS aP aS");
    unit_stop(&bed, two.b);
    unit_stop(&bed, second);
    bed_end(&bed);
    fifo_remove(&fifo);
}

/* Without a host each call may come from any thread; the loop does what was asked. */
static void calls_from_another_thread(void **state)
{
    struct bed bed;
    struct sss_unit unit = unit_zero("a");
    struct caller caller = { .bed = &bed };

    (void)state;
    bed_start(&bed, SSS_SCOPE_REGISTERED);
    caller.a = unit_add(&bed, &unit, ACTIONS("pause"));
    in_a_thread(ask_and_start, &caller);
    check(strcmp(bed.states, "") == 0);
    until_states(&bed, "aG aR");
    in_a_thread(restart_and_remove, &caller);
    check(strcmp(bed.states, "aG aR") == 0);
    until_states(&bed, "aG aR aP aG aR");
    in_child(in_another_process, &caller);
    in_a_thread(shut_down, &caller);
    loop_until(&bed.loop, &bed.shutdowns, 1);
    until_states(&bed, "aG aR aP aG aR aP aS");
    unit_stop(&bed, caller.a);
    bed_end(&bed);
}

/* Also while a shutdown of it goes on. */
static void calls_after_the_end_of_the_context(void **state)
{
    struct sss_unit_status status = { .size = sizeof(status) };
    struct bed bed;
    struct sss_unit unit = unit_zero("a");

    (void)state;
    bed_start(&bed, SSS_SCOPE_REGISTERED);
    struct sss_unit_ctx *a = unit_add(&bed, &unit, ACTIONS("pause"));
    check_ok(sss_supervisor_start(a));
    until_states(&bed, "aG aR");
    pid_t main_pid = unit_status(a).main_pid;
    check_ok(sss_supervisor_shutdown(bed.loop.ctx, 3600000 * MS, down, &bed));
    loop_end(&bed.loop);
    check_int(sss_supervisor_start(a), ESRCH);
    check_int(sss_supervisor_stop(a), ESRCH);
    check_int(sss_supervisor_restart(a), ESRCH);
    check_int(sss_supervisor_reload(a), ESRCH);
    check_int(sss_supervisor_status(a, &status), ESRCH);
    check_ok(sss_supervisor_remove(a));
    check_int(bed.shutdowns, 0);
    check_ok(kill(main_pid, SIGKILL));
    check_int(waitpid(main_pid, NULL, 0), main_pid);
}

static void a_shutdown_without_patience_kills(void **state)
{
    struct bed bed;
    struct sss_unit unit = unit_zero("a");

    (void)state;
    bed_start(&bed, SSS_SCOPE_ALL);
    unit.mask |= SSS_UNIT_START_MODE;
    unit.start_mode = SSS_UNIT_NOTIFY;
    struct sss_unit_ctx *a =
        unit_add(&bed, &unit, ACTIONS("ignore", "15", "leave", "say", "READY=1", "pause"));
    check_ok(sss_supervisor_start(a));
    until_states(&bed, "aG aR");
    check_ok(sss_supervisor_shutdown(bed.loop.ctx, 3600000 * MS, down, &bed));
    until_states(&bed, "aG aR aP");
    int64_t begun = now_ms();
    check_int(sss_supervisor_shutdown(bed.loop.ctx, 0, NULL, NULL), EALREADY);
    until_killed(&bed, a, begun);
    check_int(unit_status(a).processes, 0);
    check_ok(sss_supervisor_remove(a));
    bed_end(&bed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(starts_runs_and_stops),
        cmocka_unit_test(a_crash_loop_fails),
        cmocka_unit_test(ends_that_are_no_failure),
        cmocka_unit_test(delays_double_and_jitter_shortens_them),
        cmocka_unit_test(a_stop_takes_its_steps),
        cmocka_unit_test(a_stop_takes_its_second_step),
        cmocka_unit_test(a_stop_takes_a_command),
        cmocka_unit_test(a_stop_reaches_a_group),
        cmocka_unit_test(what_is_left_is_stopped_before_the_next_start),
        cmocka_unit_test(a_restart_by_main_spares_the_others),
        cmocka_unit_test(a_restart_of_a_dead_main_process_spares_the_others),
        cmocka_unit_test(a_start_that_cannot_be),
        cmocka_unit_test(a_daemon_is_ready_when_its_first_process_has_ended),
        cmocka_unit_test(a_daemon_that_a_signal_ends_is_over),
        cmocka_unit_test(a_daemon_ends_with_its_first_process),
        cmocka_unit_test(a_daemon_whose_main_process_is_unknown_ends),
        cmocka_unit_test(a_newline_is_readiness),
        cmocka_unit_test(a_oneshot_ends_with_success),
        cmocka_unit_test(the_owner_decides),
        cmocka_unit_test(a_run_ends_in_one_step),
        cmocka_unit_test(units_start_and_stop_in_order),
        cmocka_unit_test(a_stop_that_waits_keeps_its_unit_down),
        cmocka_unit_test(a_stop_waits_for_what_a_later_unit_left),
        cmocka_unit_test(one_that_comes_before_fails),
        cmocka_unit_test(one_that_comes_before_ends),
        cmocka_unit_test(a_start_waits_in_backoff),
        cmocka_unit_test(a_shutdown_ends_all),
        cmocka_unit_test(a_restart_calls_off_a_stop_that_waits),
        cmocka_unit_test(a_restart_waits_as_a_start_does),
        cmocka_unit_test(one_takes_the_place_of_another),
        cmocka_unit_test(calls_from_another_thread),
        cmocka_unit_test(calls_after_the_end_of_the_context),
        cmocka_unit_test(a_shutdown_without_patience_kills),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
