/*
 * The part of the list that needs time and whole trees: deadlines, commands, services and
 * units. Their processes are helpers/unit; the daemon becomes a subreaper with them.
 */
#ifndef ADAPTERS_FAMILIES_H
#define ADAPTERS_FAMILIES_H

#include "adapters/bed.h"
#include "support/spawn.h"
#include "support/told.h"

#define MILLISECONDS(count) ((int64_t)(count) * 1000000)

/* helpers/unit with its actions. */
struct helper {
    struct sss_spawn spawn;
    const char *argv[8];
    char *path;
};

static void helper_make(struct helper *helper, const char *const *actions)
{
    int i;

    memset(helper, 0, sizeof(*helper));
    helper->path = helper_path("unit");
    helper->argv[0] = helper->path;
    for (i = 0; actions[i] != NULL; i++) {
        check(i + 2 < (int)ARRAY_SIZE(helper->argv));
        helper->argv[i + 1] = actions[i];
    }
    helper->spawn.size = sizeof(helper->spawn);
    helper->spawn.path = helper->path;
    helper->spawn.argv = helper->argv;
}

#define HELPER(helper, ...) helper_make(helper, (const char *const[]){ __VA_ARGS__, NULL })

/* Deadlines. */

static struct sss_deadline deadline_of(const struct sss_deadline_step *steps, size_t count)
{
    struct sss_deadline deadline = { .size = sizeof(deadline) };

    deadline.steps = steps;
    deadline.steps_count = count;
    return deadline;
}

/* Ends by SIGKILL only: SIGTERM is ignored, and its children inherit that. */
static pid_t stubborn_child(struct gate *gate)
{
    void (*former)(int) = signal(SIGTERM, SIG_IGN);
    pid_t pid = child_at(gate, 0);

    check(former != SIG_ERR);
    check(signal(SIGTERM, former) != SIG_ERR);
    return pid;
}

static void a_deadline_is_kept_step_by_step(struct bed *bed)
{
    const struct sss_deadline_step steps[] = {
        { .after_ns = MILLISECONDS(2), .signum = SIGTERM },
        { .after_ns = MILLISECONDS(2), .signum = SIGKILL },
    };
    struct sss_deadline deadline = deadline_of(steps, ARRAY_SIZE(steps));
    struct told told = { 0 };
    struct sss_child_ctx *child;
    struct sss_watch watch;
    struct gate gate;

    gate_make(&gate);
    watch = watch_of(stubborn_child(&gate), &told);
    watch.mask |= SSS_WATCH_EVENTS;
    watch.events = SSS_CHILD_EVENT_KILLED | SSS_CHILD_EVENT_STEP;
    watch.deadline = &deadline;
    check_ok(sss_child_watch(NULL, bed->ctx, &watch, &child));
    bed_until(bed, &told.calls, 3);
    bed_settle(bed);
    check_int(told.calls, 3);
    check_int(told.events[0].step_signal, SIGTERM);
    check_int(told.events[1].step_signal, SIGKILL);
    check_int(told.event.event, SSS_CHILD_EVENT_KILLED);
    check_int(told.event.status, SIGKILL);
    check_ok(sss_child_free(child));
    gate_open(&gate);
}

static void a_deadline_ends_with_its_child(struct bed *bed)
{
    const struct sss_deadline_step step = { .after_ns = MILLISECONDS(3600000), .signum = SIGKILL };
    struct sss_deadline deadline = deadline_of(&step, 1);
    struct told told = { 0 };
    struct sss_child_ctx *child;
    struct sss_watch watch;

    watch = watch_of(child_at(NULL, 3), &told);
    watch.mask |= SSS_WATCH_EVENTS;
    watch.events = SSS_CHILD_EVENT_EXITED | SSS_CHILD_EVENT_STEP;
    watch.deadline = &deadline;
    check_ok(sss_child_watch(NULL, bed->ctx, &watch, &child));
    bed_until(bed, &told.calls, 1);
    bed_settle(bed);
    check_told(&told, watch.pid, 3);
    check_ok(sss_child_free(child));
}

/* The loop sleeps until the first deadline when an earlier one is set: the timer must be
 * brought forward. */
static void a_deadline_set_late_is_kept(struct bed *bed)
{
    const struct sss_deadline_step far = { .after_ns = MILLISECONDS(3600000), .signum = SIGKILL };
    const struct sss_deadline_step near = { .after_ns = MILLISECONDS(1), .signum = SIGTERM };
    struct sss_deadline first = deadline_of(&far, 1), second = deadline_of(&near, 1);
    struct told told[2] = { { 0 } };
    struct sss_child_ctx *children[2];
    struct gate gate;
    pid_t pids[2];
    int i;

    gate_make(&gate);
    for (i = 0; i < 2; i++) {
        pids[i] = child_at(&gate, 0);
        children[i] = watch_child(bed->ctx, pids[i], &told[i]);
        check_ok(sss_child_set_deadline(children[i], &first));
    }
    bed_settle(bed);
    check_ok(sss_child_set_deadline(children[1], &second));
    bed_until(bed, &told[1].calls, 1);
    check_told(&told[1], pids[1], BY_SIGNAL(SIGTERM));
    check_ok(sss_child_set_deadline(children[0], NULL));
    check_int(told[0].calls, 0);
    gate_open(&gate);
    bed_until(bed, &told[0].calls, 1);
    check_told(&told[0], pids[0], 0);
    for (i = 0; i < 2; i++) {
        check_ok(sss_child_free(children[i]));
    }
}

/* Commands. */

struct output {
    unsigned calls;
    int status;
    size_t length;
    int32_t errors[2];
};

static void tell_output(struct sss_child_ctx *child, const struct sss_communicated *done,
                        void *pvt)
{
    struct output *output = pvt;

    output->calls++;
    output->status = done->end->wait_status;
    output->length = done->output_length;
    output->errors[0] = done->input_errno;
    output->errors[1] = done->output_errno;
    check_ok(sss_child_free(child));
}

/* More than its pipes hold, both ways. */
static void a_command_reads_and_writes(struct bed *bed)
{
    enum { BYTES = 1 << 20 };
    static const char *argv[] = { "sh", "-c", "cat; exit 3", NULL };
    struct sss_spawn spawn = { .size = sizeof(spawn), .path = "/bin/sh", .argv = argv };
    char *input = calloc(1, BYTES);
    struct output output = { 0 };
    struct sss_communicate comm = {
        .size = sizeof(comm),
        .mask = SSS_COMMUNICATE_INPUT | SSS_COMMUNICATE_OUTPUT,
        .input = input,
        .input_length = BYTES,
        .cb = tell_output,
        .pvt = &output,
    };
    struct sss_child_ctx *child;

    check(input != NULL);
    check_ok(sss_child_communicate(NULL, bed->ctx, &spawn, &comm, &child));
    bed_until(bed, &output.calls, 1);
    bed_settle(bed);
    check_int(output.calls, 1);
    check_int(output.status, status_of(3));
    check_int(output.length, BYTES);
    check_int(output.errors[0], 0);
    check_int(output.errors[1], 0);
    free(input);
}

/* Services. */

struct service_seen {
    unsigned adopted, exited, dead;
    unsigned processes; /* of the latest event */
    int status;         /* of the latest end */
    bool frees;         /* frees the service when it is dead */
};

static void service_event(struct sss_service *service, const struct sss_service_event *event,
                          void *pvt)
{
    struct service_seen *seen = (struct service_seen *)pvt;

    check_int(seen->dead, 0);
    seen->processes = event->processes;
    if (event->event == SSS_SERVICE_ADOPTED) {
        seen->adopted++;
    } else if (event->event == SSS_SERVICE_EXITED) {
        seen->exited++;
        seen->status = event->wait_status;
    } else if (event->event == SSS_SERVICE_DEAD) {
        seen->dead++;
        if (seen->frees) {
            check_ok(sss_service_free(service));
        }
    }
}

static struct sss_service *service_start(struct bed *bed, struct helper *helper,
                                         struct service_seen *seen)
{
    struct sss_service *service = NULL;

    check_ok(sss_service_spawn(NULL, bed->ctx, &helper->spawn, NULL, service_event, seen, &service));
    free(helper->path);
    return service;
}

static void a_service_of_one_ends(struct bed *bed)
{
    struct service_seen seen = { 0 };
    struct sss_service *service;
    struct helper helper;

    HELPER(&helper, "exit", "6");
    service = service_start(bed, &helper, &seen);
    bed_until(bed, &seen.dead, 1);
    bed_settle(bed);
    check_int(seen.exited, 1);
    check_int(seen.status, status_of(6));
    check_int(seen.processes, 0);
    check_ok(sss_service_free(service));
}

/* Its first process ends, and the child of that becomes ours; the service's kill ends what is
 * left. */
static void a_service_is_killed_whole(struct bed *bed)
{
    struct sss_service *service;
    struct service_seen seen = { 0 };
    struct sss_service_killed killed = { .size = sizeof(killed) };
    struct helper helper;

    HELPER(&helper, "leave", "daemon", "leave", "pause");
    service = service_start(bed, &helper, &seen);
    while (seen.exited == 0 || seen.adopted == 0) {
        bed_turn_of(bed, bed->loop);
    }
    check_int(seen.dead, 0);
    check_int(seen.status, 0);
    do { /* on a busy machine a call's time may be over before all are killed */
        check_ok(sss_service_kill(service, NULL, &killed));
    } while (killed.left > 0);
    bed_until(bed, &seen.dead, 1);
    check_int(seen.processes, 0);
    check(seen.exited >= 3);
    check_ok(sss_service_free(service));
}

static void a_service_is_freed_in_its_callback(struct bed *bed)
{
    struct service_seen seen = { .frees = true };
    struct helper helper;

    HELPER(&helper, "raise", "10");
    (void)service_start(bed, &helper, &seen);
    bed_until(bed, &seen.dead, 1);
    bed_settle(bed);
    check_int(seen.status, status_of(BY_SIGNAL(SIGUSR1)));
    an_exit_is_told(bed);
}

/* Units. */

struct unit_seen {
    unsigned state[SSS_UNIT_FAILED + 1]; /* how often each was reached */
    uint32_t cause;
    bool removes; /* removes the unit when it has failed */
};

static void unit_event(struct sss_unit_ctx *unit, const struct sss_unit_event *event, void *pvt)
{
    struct unit_seen *seen = (struct unit_seen *)pvt;

    if (event->type != SSS_UNIT_EVENT_STATE) {
        return;
    }
    check(event->state < ARRAY_SIZE(seen->state));
    seen->state[event->state]++;
    seen->cause = event->cause;
    if (seen->removes && event->state == SSS_UNIT_FAILED) {
        check_ok(sss_supervisor_remove(unit));
    }
}

static struct sss_unit_ctx *unit_start(struct bed *bed, struct sss_unit *unit,
                                       struct helper *helper, struct unit_seen *seen)
{
    struct sss_unit_ctx *ctx = NULL;

    unit->size = sizeof(*unit);
    unit->name = "unit";
    unit->spawn = &helper->spawn;
    check_ok(sss_supervisor_add(NULL, bed->ctx, unit, unit_event, seen, &ctx));
    free(helper->path);
    check_ok(sss_supervisor_start(ctx));
    return ctx;
}

static void unit_stop(struct bed *bed, struct sss_unit_ctx *ctx, struct unit_seen *seen)
{
    unsigned stopped = seen->state[SSS_UNIT_STOPPED];

    check_ok(sss_supervisor_stop(ctx));
    bed_until(bed, &seen->state[SSS_UNIT_STOPPED], stopped + 1);
    check_ok(sss_supervisor_remove(ctx));
}

static void a_unit_runs_and_is_stopped(struct bed *bed)
{
    struct unit_seen seen = { 0 };
    struct sss_unit unit = { 0 };
    struct sss_unit_ctx *ctx;
    struct helper helper;

    HELPER(&helper, "pause");
    ctx = unit_start(bed, &unit, &helper, &seen);
    bed_until(bed, &seen.state[SSS_UNIT_RUNNING], 1);
    unit_stop(bed, ctx, &seen);
    check_int(seen.state[SSS_UNIT_FAILED], 0);
}

/* Each restart comes after a delay, so that the loop wakes by time. */
static void a_unit_that_crashes_is_started_again(struct bed *bed)
{
    struct unit_seen seen = { .removes = true };
    struct sss_unit unit = { 0 };
    struct helper helper;

    unit.mask = SSS_UNIT_RESTART | SSS_UNIT_DELAY | SSS_UNIT_START_LIMIT;
    unit.restart = SSS_UNIT_RESTART_ON_FAILURE;
    unit.delay = unit.delay_max = MILLISECONDS(2);
    unit.start_limit = 3;
    unit.start_window = MILLISECONDS(3600000);
    HELPER(&helper, "exit", "7");
    (void)unit_start(bed, &unit, &helper, &seen);
    bed_until(bed, &seen.state[SSS_UNIT_FAILED], 1);
    bed_settle(bed);
    check_int(seen.state[SSS_UNIT_STARTING], 3);
    check_int(seen.state[SSS_UNIT_BACKOFF], 2);
    check_int(seen.cause, SSS_UNIT_CAUSE_LIMIT);
    an_exit_is_told(bed);
}

/* It counts as started only when it says so over NOTIFY_SOCKET. */
static void a_unit_says_that_it_is_ready(struct bed *bed)
{
    struct unit_seen seen = { 0 };
    struct sss_unit unit = { 0 };
    struct sss_unit_ctx *ctx;
    struct helper helper;

    unit.mask = SSS_UNIT_START_MODE;
    unit.start_mode = SSS_UNIT_NOTIFY;
    HELPER(&helper, "say", "READY=1", "pause");
    ctx = unit_start(bed, &unit, &helper, &seen);
    bed_until(bed, &seen.state[SSS_UNIT_RUNNING], 1);
    unit_stop(bed, ctx, &seen);
}

#endif
