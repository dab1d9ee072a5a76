#include "support/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "support/check.h"
#include "support/child.h"
#include "support/spawn.h"

static const char letters[] = "SGRLPBF";

static void unit_event(struct sss_unit_ctx *ctx, const struct sss_unit_event *event, void *pvt)
{
    struct bed *bed = pvt;
    struct sss_unit_status status = { .size = sizeof(status) };

    if (event->type == SSS_UNIT_EVENT_ADOPTED) {
        bed->adopted = *event;
        return;
    }
    bed->last = *event;
    bed->events++;
    bed->unkillable += event->type == SSS_UNIT_EVENT_UNKILLABLE;
    if (event->type == SSS_UNIT_EVENT_STATE) {
        size_t length = strlen(bed->states);

        check_ok(sss_supervisor_status(ctx, &status));
        check(length + 4 < sizeof(bed->states));
        snprintf(bed->states + length, sizeof(bed->states) - length, "%s%c%c",
                 length > 0 ? " " : "", status.name[0], letters[event->state]);
        if (bed->then != NULL && event->state == bed->then_state) {
            void (*then)(struct bed *bed, struct sss_unit_ctx *ctx) = bed->then;

            bed->then = NULL;
            then(bed, ctx);
        }
    }
}

static uint32_t decide(struct sss_unit_ctx *ctx, const struct sss_unit_event *event, void *pvt)
{
    struct bed *bed = pvt;

    (void)ctx;
    check_int(event->state, SSS_UNIT_BACKOFF);
    bed->decisions++;
    return bed->decision;
}

void bed_start(struct bed *bed, uint32_t scope)
{
    *bed = (struct bed){ .decision = UINT32_MAX };
    loop_start(&bed->loop, ctx_make(scope, 0), WAKE_DESCRIPTOR);
}

void bed_end(struct bed *bed)
{
    loop_settle(&bed->loop);
    loop_end(&bed->loop);
    check_no_children();
}

struct sss_unit unit_zero(const char *name)
{
    struct sss_unit unit = {
        .size = sizeof(unit),
        .mask = SSS_UNIT_DELAY,
        .name = name,
        .delay = MS,
        .delay_max = MS,
    };

    return unit;
}

errno_t unit_try_add(struct bed *bed, struct sss_unit *unit, const char *const *actions,
                     struct sss_unit_ctx **ctx)
{
    char *path = helper_path("unit");
    const char *argv[32] = { path };
    struct sss_spawn spawn = spawn_zero();
    errno_t ret;

    for (int at = 0; actions[at] != NULL; at++) {
        check(at < 30);
        argv[at + 1] = actions[at];
    }
    spawn.path = path;
    spawn.argv = argv;
    if (unit->spawn == NULL) {
        unit->spawn = &spawn;
    }
    if (bed->decision != UINT32_MAX) {
        unit->decide = decide;
    }
    ret = sss_supervisor_add(NULL, bed->loop.ctx, unit, unit_event, bed, ctx);
    if (unit->spawn == &spawn) {
        unit->spawn = NULL;
    }
    free(path);
    return ret;
}

struct sss_unit unit_notifying(const char *name)
{
    struct sss_unit unit = unit_zero(name);

    unit.mask |= SSS_UNIT_START_MODE;
    unit.start_mode = SSS_UNIT_NOTIFY;
    return unit;
}

void unit_after_a(struct sss_unit *unit)
{
    static const char *const after_a[] = { "a" };

    unit->after = after_a;
    unit->after_count = 1;
}

struct sss_unit_ctx *unit_add(struct bed *bed, struct sss_unit *unit, const char *const *actions)
{
    struct sss_unit_ctx *ctx = NULL;

    check_ok(unit_try_add(bed, unit, actions, &ctx));
    return ctx;
}

void unit_stop(struct bed *bed, struct sss_unit_ctx *ctx)
{
    check_ok(sss_supervisor_stop(ctx));
    until_state(bed, ctx, SSS_UNIT_STOPPED);
    until_processes(bed, ctx, 0);
    check_ok(sss_supervisor_remove(ctx));
}

struct sss_unit_status unit_status(struct sss_unit_ctx *ctx)
{
    struct sss_unit_status status = { .size = sizeof(status) };

    check_ok(sss_supervisor_status(ctx, &status));
    return status;
}

void until_states(struct bed *bed, const char *states)
{
    int64_t deadline = now_ms() + DEADLINE_MS;

    while (strlen(bed->states) < strlen(states) && now_ms() < deadline) {
        loop_turn(&bed->loop, 100);
    }
    if (strcmp(bed->states, states) != 0) {
        fprintf(stderr, "told: %s\nwanted: %s\n", bed->states, states);
    }
    check(strcmp(bed->states, states) == 0);
}

void until_state(struct bed *bed, struct sss_unit_ctx *ctx, uint32_t state)
{
    int64_t deadline = now_ms() + DEADLINE_MS;

    while (unit_status(ctx).state != state && now_ms() < deadline) {
        loop_turn(&bed->loop, 100);
    }
    check_int(unit_status(ctx).state, state);
}

void until_text(struct bed *bed, struct sss_unit_ctx *ctx, const char *text)
{
    int64_t deadline = now_ms() + DEADLINE_MS;

    while (strcmp(unit_status(ctx).text, text) != 0) {
        check(now_ms() < deadline);
        loop_turn(&bed->loop, 100);
    }
}

void until_processes(struct bed *bed, struct sss_unit_ctx *ctx, unsigned count)
{
    int64_t deadline = now_ms() + DEADLINE_MS;
    unsigned seen;

    /* A second call could find more processes, so what this one found is checked. */
    while ((seen = unit_status(ctx).processes) != count && now_ms() < deadline) {
        loop_turn(&bed->loop, 100);
    }
    check_int(seen, count);
}

unsigned children_of_ours(pid_t *pids, unsigned most)
{
    char path[64];
    unsigned count = 0;
    int pid;
    FILE *file;

    snprintf(path, sizeof(path), "/proc/self/task/%d/children", (int)getpid());
    file = fopen(path, "re");
    check(file != NULL);
    while (fscanf(file, "%d", &pid) == 1) {
        if (count < most) {
            pids[count] = pid;
        }
        count++;
    }
    fclose(file);
    return count;
}

void until_no_children(struct bed *bed)
{
    int64_t deadline = now_ms() + DEADLINE_MS;

    while (children_of_ours(NULL, 0) > 0) {
        check(now_ms() < deadline);
        loop_turn(&bed->loop, 10);
    }
}

/* Two seconds, less two ticks of now_ms()'s clock. */
enum { GIVES_UP_MS = 2000 - 20 };

void until_killed(struct bed *bed, struct sss_unit_ctx *ctx, int64_t begun)
{
    loop_until(&bed->loop, &bed->shutdowns, 1);
    if (bed->shutdown.units_left == 0) {
        check_int(bed->shutdown.processes_left, 0);
        return;
    }
    check(now_ms() - begun >= GIVES_UP_MS);
    until_state(bed, ctx, SSS_UNIT_STOPPED);
}

void bed_kill_all(struct bed *bed)
{
    int64_t deadline = now_ms() + DEADLINE_MS;
    errno_t ret;

    do {
        struct sss_shutdown_event left = { .size = sizeof(left) };
        int64_t begun = now_ms();

        check(begun < deadline);
        ret = sss_supervisor_shutdown_wait(bed->loop.ctx, 0, &left);
        check_int(ret, left.units_left > 0 ? ETIMEDOUT : 0);
        check(ret == 0 || now_ms() - begun >= GIVES_UP_MS);
    } while (ret != 0);
}

void fifo_make(struct fifo *fifo)
{
    snprintf(fifo->dir, sizeof(fifo->dir), "/tmp/unit-XXXXXX");
    check(mkdtemp(fifo->dir) != NULL);
    snprintf(fifo->path, sizeof(fifo->path), "%s/gate", fifo->dir);
    check_ok(mkfifo(fifo->path, 0600));
}

void fifo_open(struct fifo *fifo)
{
    int fd = open(fifo->path, O_WRONLY | O_CLOEXEC);

    check(fd >= 0);
    close(fd);
}

void fifo_open_turning(struct bed *bed, struct fifo *fifo)
{
    int64_t deadline = now_ms() + DEADLINE_MS;
    int fd;

    while ((fd = open(fifo->path, O_WRONLY | O_NONBLOCK | O_CLOEXEC)) < 0) {
        check_int(errno, ENXIO);
        check(now_ms() < deadline);
        loop_turn(&bed->loop, 10);
    }
    close(fd);
}

void fifo_remove(struct fifo *fifo)
{
    unlink(fifo->path);
    rmdir(fifo->dir);
}

struct two two_start(struct bed *bed, struct fifo *gate, const char *code)
{
    static const struct sss_stop_step step = { SIGTERM, SSS_STOP_MAIN, 3600000 * MS, NULL };
    struct sss_unit unit = unit_zero("a");
    struct two two;

    fifo_make(gate);
    bed_start(bed, SSS_SCOPE_ALL);
    unit.mask |= SSS_UNIT_RESTART;
    unit.restart = SSS_UNIT_RESTART_ALWAYS;
    two.a = unit_add(bed, &unit, ACTIONS("pause"));
    unit = unit_notifying("b");
    unit.mask |= SSS_UNIT_STOP_STEPS;
    unit.stop_steps = &step;
    unit.stop_steps_count = 1;
    unit_after_a(&unit);
    two.b = unit_add(bed, &unit,
                     ACTIONS("hold", "15", "say", "READY=1", "await", "15", "gate", gate->path,
                             "exit", code));
    check_ok(sss_supervisor_start(two.b));
    until_states(bed, "aG aR bG bR");
    return two;
}
