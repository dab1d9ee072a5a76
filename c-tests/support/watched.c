#include "support/watched.h"

#include "support/test.h"

static void told(int pid, int wait_status, void *pvt)
{
    struct watched *watched = pvt;

    check_int(pid, watched->pid);
    check_int(wait_status, status_of(watched->code));
    watched->calls++;
    check_ok(sss_child_free(watched->child));
}

static void told_richly(struct sss_child_ctx *child, const struct sss_child_event *event,
                        void *pvt)
{
    (void)child;
    check(event->have & SSS_RECORD_STATUS);
    told(event->pid, event->wait_status, pvt);
}

void watched_start(struct sss_sigchild_ctx *ctx, struct watched *watched, int code)
{
    const struct sss_watch watch = {
        .size = sizeof(watch),
        .mask = SSS_WATCH_PID | SSS_WATCH_KEEP_ZOMBIE,
        .pid = child_at(NULL, code),
        .cb = told_richly,
        .pvt = watched,
    };

    watched->code = code;
    watched->pid = watch.pid;
    if (code % 2 == 1) {
        check_ok(sss_child_watch(NULL, ctx, &watch, &watched->child));
        return;
    }
    check_ok(sss_child_register(NULL, ctx, watched->pid, told, watched, &watched->child));
}
