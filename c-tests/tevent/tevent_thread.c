/* pkgs: talloc tevent */
/* talloc and tevent belong to one thread: from another thread each call is EPERM. Threads
 * with contexts of their own do not wait for each other. */
#include "tevent/bed.h"

#include <pthread.h>

#include "support/spawn.h"

struct shared {
    struct bed *bed;
    struct sss_child_ctx *child;
    pid_t pid;
};

static void *use_everything(void *pvt)
{
    struct shared *s = pvt;
    struct sss_child_ctx *child = NULL;
    struct sss_ctx_stats stats = { .size = sizeof(stats) };
    uint64_t id;
    pid_t pid;
    int pidfd;

    check_int(sss_child_register(s->bed->mem, s->bed->ctx, s->pid, see, NULL, &child), EPERM);
    check(child == NULL);
    check_int(sss_child_set_cb(s->child, see, NULL), EPERM);
    check_int(sss_child_set_destructor(s->child, NULL, NULL), EPERM);
    check_int(sss_child_kill(s->child, SIGKILL), EPERM);
    check_int(sss_child_pidfd(s->child, &pidfd), EPERM);
    check_int(sss_child_id(s->child, &id), EPERM);
    check_int(sss_child_pid(s->child, &pid), EPERM);
    check_int(sss_child_release(s->child, NULL), EPERM);
    check_int(sss_child_free(s->child), EPERM);
    check_int(sss_sigchld_ctx_stats(s->bed->ctx, &stats), EPERM);
    check_int(sss_sigchld_ctx_set_unknown_fn(s->bed->ctx, NULL, NULL), EPERM);
    check_int(sss_sigchld_ctx_free(s->bed->ctx), EPERM);
    sss_child_handler(NULL, NULL, SIGCHLD, 1, NULL, s->bed->ctx);
    return NULL;
}

static void another_is_refused(struct bed *bed)
{
    struct shared s = { .bed = bed };
    struct seen seen = { 0 };
    struct gate gate;
    pthread_t thread;

    bed_start(bed, SSS_SCOPE_ALL, 0);
    gate_make(&gate);
    s.pid = child_at(&gate, 3);
    s.child = bed_watch(bed, bed->mem, s.pid, see, &seen);
    check_ok(pthread_create(&thread, NULL, use_everything, &s));
    check_ok(pthread_join(thread, NULL));
    gate_open(&gate);
    bed_until(bed, &seen.calls, 1);
    check_seen(&seen, s.pid, 3);
}

/* A loop of its own, in another thread: its context is as good as the first. */
static void *own_loop(void *pvt)
{
    struct bed *other = pvt;
    struct seen seen = { 0 };
    struct gate gate;
    pid_t pid;

    bed_start(other, SSS_SCOPE_REGISTERED, 0);
    gate_make(&gate);
    pid = child_at(&gate, 4);
    bed_watch(other, other->mem, pid, see, &seen);
    gate_open(&gate);
    bed_until(other, &seen.calls, 1);
    check_seen(&seen, pid, 4);
    check_ok(talloc_free(other->ctx));
    return NULL;
}

static void another_has_a_context_of_its_own(struct bed *bed)
{
    struct bed other = { .host = bed->host };
    struct seen seen = { 0 };
    struct gate gate;
    pthread_t thread;
    pid_t pid;

    /* talloc's list of objects without a parent may not be used by two threads. */
    other.mem = bed_memory(bed->mem);
    other.ev = tevent_context_init(other.mem);
    check(other.ev != NULL);
    bed_start(bed, SSS_SCOPE_REGISTERED, 0);
    gate_make(&gate);
    pid = child_at(&gate, 5);
    bed_watch(bed, bed->mem, pid, see, &seen);
    check_ok(pthread_create(&thread, NULL, own_loop, &other));
    check_ok(pthread_join(thread, NULL));
    gate_open(&gate);
    bed_until(bed, &seen.calls, 1);
    check_seen(&seen, pid, 5);
}

static struct {
    struct sss_sigchild_ctx *ctx;
    struct gate gate;
    pid_t pid;
} another;

/* As another thread may at this moment, by a context of its own. */
static int reap_by_another(struct sss_child_ctx *child)
{
    (void)child;
    gate_open(&another.gate);
    await_zombie(another.pid);
    sss_child_handler(NULL, NULL, SIGCHLD, 1, NULL, another.ctx);
    check(!is_child(another.pid));
    return 0;
}

static void released_when_another_reaps_it(struct bed *bed)
{
    struct seen seen = { 0 };
    struct sss_child_ctx *child;
    int status = 0;

    bed_start(bed, SSS_SCOPE_ALL, 0);
    another.ctx = ctx_make(SSS_SCOPE_REGISTERED, 0);
    gate_make(&another.gate);
    another.pid = child_at(&another.gate, 5);
    child = bed_watch(bed, bed->mem, another.pid, see, &seen);
    talloc_set_destructor(child, reap_by_another);
    check_ok(sss_child_release(child, &status));
    check_int(status, status_of(5));
    bed_settle(bed);
    check_int(seen.calls, 0);
    check_ok(sss_sigchld_ctx_free(another.ctx));
}

/* A callback of another thread's, held until it may return. */
struct held {
    int in[2], go[2]; /* pipes: it has begun; it may go on */
};

static uint32_t hold(int pid, int wait_status, void *pvt)
{
    const struct held *held = pvt;
    char byte;

    (void)pid;
    (void)wait_status;
    check_int(write(held->in[1], "", 1), 1);
    check_int(read(held->go[0], &byte, 1), 1);
    return SSS_UNKNOWN_TAKEN;
}

static void *take_an_unknown_one(void *pvt)
{
    struct sss_sigchild_ctx *ctx = ctx_make(SSS_SCOPE_ALL, 0);
    struct loop loop;
    pid_t pid;

    check_ok(sss_sigchld_ctx_set_unknown_fn(ctx, hold, pvt));
    loop_start(&loop, ctx, WAKE_DESCRIPTOR);
    pid = child_dead(1);
    loop_until_reaped(&loop, pid);
    loop_end(&loop);
    return NULL;
}

/* That callback may wait for a lock that the failing call's caller holds. */
static void a_failing_call_waits_for_no_other_s_callback(struct bed *bed)
{
    const char *const argv[] = { "nothing", NULL };
    struct sss_spawn spawn = spawn_zero();
    struct sss_child_ctx *child = NULL;
    struct held held;
    pthread_t thread;
    char byte;

    bed_start(bed, SSS_SCOPE_REGISTERED, 0);
    check_ok(pipe(held.in) | pipe(held.go));
    spawn.path = "/nothing/there";
    spawn.argv = argv;
    alarm(DEADLINE_MS / 1000); /* ends the program */
    check_ok(pthread_create(&thread, NULL, take_an_unknown_one, &held));
    check_int(read(held.in[0], &byte, 1), 1);
    check_int(sss_child_spawn(bed->mem, bed->ctx, &spawn, see, NULL, &child), ENOENT);
    check_int(sss_child_register(bed->mem, bed->ctx, getpid(), see, NULL, &child), ESRCH);
    alarm(0);
    check(child == NULL);
    check_int(write(held.go[1], "", 1), 1);
    check_ok(pthread_join(thread, NULL));
    check_ok(close(held.in[0]) | close(held.in[1]));
    check_ok(close(held.go[0]) | close(held.go[1]));
}

int main(void)
{
    static const struct row rows[] = {
        ROW(another_is_refused),
        ROW(another_has_a_context_of_its_own),
        ROW(released_when_another_reaps_it),
        ROW(a_failing_call_waits_for_no_other_s_callback),
    };

    return BED_RUN(rows, BED_HOSTS);
}
