#include "support/test.h"

#include "support/told.h"

void tell(struct sss_child_ctx *child, const struct sss_child_event *event, void *pvt)
{
    struct told *told = pvt;

    check_int(event->size, sizeof(*event));
    if (told->calls < ARRAY_SIZE(told->events)) {
        told->events[told->calls] = *event;
    }
    told->calls++;
    told->child = child;
    told->event = *event;
    told->was_zombie = is_child(event->pid);
}

struct sss_watch watch_of(pid_t pid, struct told *told)
{
    struct sss_watch watch;

    memset(&watch, 0, sizeof(watch));
    watch.size = sizeof(watch);
    watch.mask = SSS_WATCH_PID;
    watch.pid = pid;
    watch.cb = tell;
    watch.pvt = told;
    return watch;
}

struct sss_child_ctx *watch_with(struct sss_sigchild_ctx *ctx, const struct sss_watch *watch)
{
    struct sss_child_ctx *child;

    check_ok(sss_child_watch(NULL, ctx, watch, &child));
    return child;
}

struct sss_child_ctx *watch_child(struct sss_sigchild_ctx *ctx, pid_t pid, struct told *told)
{
    struct sss_watch watch = watch_of(pid, told);

    return watch_with(ctx, &watch);
}

struct sss_child_ctx *watch_for(struct sss_sigchild_ctx *ctx, pid_t pid, uint32_t events,
                                struct told *told)
{
    struct sss_watch watch = watch_of(pid, told);

    watch.mask |= SSS_WATCH_EVENTS;
    watch.events = events;
    return watch_with(ctx, &watch);
}

void gated_start(struct sss_sigchild_ctx *ctx, struct gated *gated, int end)
{
    memset(gated, 0, sizeof(*gated));
    gate_make(&gated->gate);
    gated->pid = child_at(&gated->gate, end);
    gated->child = watch_child(ctx, gated->pid, &gated->told);
}

void gated_free(struct gated *gated)
{
    gate_open(&gated->gate);
    check_ok(sss_child_free(gated->child));
}

void check_told(const struct told *told, pid_t pid, int end)
{
    const struct sss_child_event *event = &told->event;

    check_int(told->calls, 1);
    check_int(event->pid, pid);
    check_int(event->wait_status, status_of(end));
    if (end < 0) {
        check_int(event->event, SSS_CHILD_EVENT_KILLED);
        check_int(event->code, CLD_KILLED);
        check_int(event->status, -end);
    } else {
        check_int(event->event, SSS_CHILD_EVENT_EXITED);
        check_int(event->code, CLD_EXITED);
        check_int(event->status, end);
    }
    check(event->have & SSS_RECORD_STATUS);
}
