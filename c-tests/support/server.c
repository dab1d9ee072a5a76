#define _GNU_SOURCE
#include "support/server.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "support/check.h"
#include "support/family.h"

void server_told(struct sss_forksrv *srv, const struct sss_forksrv_event *event, void *pvt)
{
    struct server_events *events = pvt;
    pid_t pid;
    errno_t ret;

    /* It can be used from its first event on. */
    ret = sss_forksrv_pid(srv, &pid);
    check(ret == 0 || ret == ENOTCONN);
    events->count++;
    events->ready += event->event == SSS_FORKSRV_READY;
    events->crashed += event->event == SSS_FORKSRV_CRASHED;
    events->restarted += event->event == SSS_FORKSRV_RESTARTED;
    events->stopped += event->event == SSS_FORKSRV_STOPPED;
    events->last = *event;
}

static const char *server_helper(void)
{
    static char path[4096];
    const char *installed = getenv("SSS_TEST_INSTALLED");

    check(installed != NULL);
    snprintf(path, sizeof(path), "%s/libexec/sss_sigchld/sss-forksrv", installed);
    return path;
}

static char copied[] = "/tmp/sss-forksrv-XXXXXX";

static void remove_copy(void)
{
    unlink(copied);
}

const char *server_helper_for_all(void)
{
    static pid_t made;
    char buffer[65536];
    ssize_t length;
    int in, out;

    if (made != 0) {
        return copied;
    }
    in = open(server_helper(), O_RDONLY | O_CLOEXEC);
    out = mkostemp(copied, O_CLOEXEC);
    check(in != -1 && out != -1);
    made = getpid();
    check_ok(atexit(remove_copy));
    while ((length = read(in, buffer, sizeof(buffer))) > 0) {
        check_int(write(out, buffer, (size_t)length), length);
    }
    check_ok(fchmod(out, 0755));
    check_ok(close(in));
    check_ok(close(out));
    return copied;
}

struct sss_forksrv_params server_zero(uint32_t flags, struct server_events *events)
{
    struct sss_forksrv_params params;

    memset(&params, 0, sizeof(params));
    params.size = sizeof(params);
    params.flags = flags;
    params.event = server_told;
    params.pvt = events;
    if ((flags & SSS_FORKSRV_FORK) == 0) {
        params.helper = server_helper();
    }
    return params;
}

pid_t server_pid(struct sss_forksrv *srv)
{
    pid_t pid = 0;

    check_ok(sss_forksrv_pid(srv, &pid));
    check(pid > 0);
    return pid;
}

void server_bed_start(struct server_bed *bed)
{
    memset(bed, 0, sizeof(*bed));
    loop_start(&bed->loop, ctx_make(SSS_SCOPE_REGISTERED, 0), WAKE_DESCRIPTOR);
}

void server_bed_stop(struct server_bed *bed)
{
    loop_end(&bed->loop);
    check_ok(sss_subreaper_enable(0));
    check_no_children();
}

int server_bed_begin(void **state)
{
    static struct server_bed bed;

    server_bed_start(&bed);
    *state = &bed;
    return 0;
}

int server_bed_end(void **state)
{
    server_bed_stop(*state);
    return 0;
}

static void prepare(struct server_bed *bed, uint32_t flags, sss_forksrv_fn_t event,
                    int64_t timeout)
{
    memset(&bed->events, 0, sizeof(bed->events));
    bed->params = server_zero(flags, &bed->events);
    bed->params.event = event;
    bed->params.timeout = timeout;
}

static void *start_it(void *arg)
{
    struct server_bed *bed = arg;

    check_ok(sss_forksrv_start(NULL, bed->loop.ctx, &bed->params, &bed->srv));
    return NULL;
}

void server_start_with(struct server_bed *bed, uint32_t flags, sss_forksrv_fn_t event,
                       int64_t timeout)
{
    prepare(bed, flags, event, timeout);
    start_it(bed);
    check(bed->srv != NULL);
    loop_until(&bed->loop, &bed->events.ready, 1);
}

int server_start_held(struct server_bed *bed, uint32_t flags, sss_forksrv_fn_t event,
                      int64_t timeout, const struct hold holds[2], pthread_t *thread)
{
    prepare(bed, flags, event, timeout);
    return hold_thread(thread, holds, start_it, bed);
}

void server_start(struct server_bed *bed, uint32_t flags)
{
    server_start_with(bed, flags, server_told, 0);
}

void server_finish(struct server_bed *bed)
{
    check_ok(sss_forksrv_stop(bed->srv));
    loop_until(&bed->loop, &bed->events.stopped, 1);
    check_int(bed->events.last.wait_status, 0);
    check_int(sss_forksrv_stop(bed->srv), ENOTCONN);
    check_ok(sss_forksrv_free(bed->srv));
}

void server_bed_open(struct server_bed *bed, uint32_t flags)
{
    server_bed_start(bed);
    server_start(bed, flags);
}

void server_bed_close(struct server_bed *bed)
{
    server_finish(bed);
    server_bed_stop(bed);
}

static char *ends;

static void find_ends(void)
{
    ends = helper_path("ends");
}

/* Threads launch at the same time. */
static const char *ends_path(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    check_ok(pthread_once(&once, find_ends));
    return ends;
}

struct sss_spawn *order_ends(struct order *order, struct gate *gate, int end)
{
    memset(order, 0, sizeof(*order));
    order->spawn = spawn_zero();
    order->map[0].source = gate != NULL ? gate->rd : STDIN_FILENO;
    order->map[0].target = STDIN_FILENO;
    order->map[1].source = STDERR_FILENO;
    order->map[1].target = STDERR_FILENO;
    snprintf(order->text, sizeof(order->text), "%d", end);
    order->argv[0] = "ends";
    order->argv[1] = order->text;
    order->spawn.mask |= SSS_SPAWN_FDS;
    order->spawn.fds = order->map;
    order->spawn.fds_count = 2;
    order->spawn.path = ends_path();
    order->spawn.argv = order->argv;
    return &order->spawn;
}

struct sss_child_ctx *launch_at(struct sss_forksrv *srv, struct gate *gate, int end,
                                sss_child_fn_t cb, void *pvt)
{
    struct sss_child_ctx *child = NULL;
    struct order order;

    check_ok(sss_forksrv_launch(NULL, srv, order_ends(&order, gate, end), cb, pvt, &child));
    check(child != NULL);
    return child;
}

void server_report(struct server_bed *bed, struct sss_spawn *spawn, struct report *report)
{
    struct seen seen = { 0 };
    struct sss_child_ctx *child = NULL;
    pid_t pid;

    report_clear();
    spawn->path = report_program();
    spawn->argv = report_argv();
    check_ok(sss_forksrv_launch(NULL, bed->srv, spawn, see, &seen, &child));
    pid = pid_of(child);
    loop_until(&bed->loop, &seen.calls, 1);
    check_seen(&seen, pid, 0);
    check_ok(sss_child_free(child));
    report_read(pid, report);
}

static void *wait_for_it(void *arg)
{
    struct waiter *waiter = arg;

    __atomic_store_n(&waiter->tid, gettid(), __ATOMIC_SEQ_CST);
    waiter->ret = sss_forksrv_waitpid(waiter->srv, waiter->child, 0, &waiter->status);
    __atomic_store_n(&waiter->done, 1, __ATOMIC_SEQ_CST);
    return NULL;
}

void waiter_begin(struct waiter *waiter, struct sss_forksrv *srv, pid_t child)
{
    int64_t late = now_ms() + DEADLINE_MS;
    pid_t tid;

    *waiter = (struct waiter){ .srv = srv, .child = child, .status = -1 };
    check_ok(pthread_create(&waiter->thread, NULL, wait_for_it, waiter));
    while (__atomic_load_n(&waiter->done, __ATOMIC_SEQ_CST) == 0
           && ((tid = __atomic_load_n(&waiter->tid, __ATOMIC_SEQ_CST)) == 0
               || process_state(tid) != 'S')) {
        check(now_ms() < late);
        sched_yield();
    }
}

void large_environment(const char **envp, size_t count)
{
    enum { LENGTH = 100000 };
    size_t i;

    for (i = 0; i < count; i++) {
        char *text = malloc(LENGTH + 1);

        check(text != NULL);
        memset(text, 'x', LENGTH);
        memcpy(text, "A=", 2);
        text[LENGTH] = '\0';
        envp[i] = text;
    }
}
