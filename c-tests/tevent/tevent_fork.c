/* pkgs: talloc tevent */
/* Used in a forked child: ECHILD from every call, the parent untouched. */
#include "tevent/bed.h"

struct inherited {
    struct bed *bed;
    struct sss_child_ctx *child;
    struct seen seen;
    pid_t pid;
};

static void use_everything(void *arg)
{
    struct inherited *in = arg;
    struct sss_child_ctx *child = NULL;
    struct sss_ctx_stats stats = { .size = sizeof(stats) };
    uint64_t id;
    int pidfd;

    check_int(sss_child_register(in->bed->mem, in->bed->ctx, in->pid, see, NULL, &child), ECHILD);
    check_int(sss_child_register(in->bed->mem, in->bed->ctx, getpid(), see, NULL, &child),
              ECHILD);
    check(child == NULL);
    check_int(sss_child_set_cb(in->child, see, NULL), ECHILD);
    check_int(sss_child_set_destructor(in->child, NULL, NULL), ECHILD);
    check_int(sss_child_kill(in->child, SIGKILL), ECHILD);
    check_int(sss_child_pidfd(in->child, &pidfd), ECHILD);
    check_int(sss_child_id(in->child, &id), ECHILD);
    check_int(sss_child_release(in->child, NULL), ECHILD);
    check_int(sss_child_free(in->child), ECHILD);
    check_int(sss_sigchld_ctx_stats(in->bed->ctx, &stats), ECHILD);
    check_int(sss_sigchld_ctx_set_unknown_fn(in->bed->ctx, NULL, NULL), ECHILD);
    sss_child_handler(NULL, NULL, SIGCHLD, 1, NULL, in->bed->ctx);
}

static void free_by_talloc(void *arg)
{
    struct inherited *in = arg;
    unsigned fds = count_fds();

    check_ok(talloc_free(in->child));
    check_ok(talloc_free(in->bed->ctx));
    check(count_fds() < fds);
    check_ok(talloc_free(in->bed->mem));
}

static void free_by_the_library(void *arg)
{
    struct inherited *in = arg;

    check_int(sss_child_free(in->child), ECHILD);
    check_int(sss_sigchld_ctx_free(in->bed->ctx), ECHILD);
    check_ok(talloc_free(in->bed->mem));
}

static void free_the_loop_first(void *arg)
{
    struct inherited *in = arg;

    check_ok(talloc_free(in->bed->ev));
    check_ok(talloc_free(in->bed->mem));
}

static void fork_and(struct bed *bed, void (*fn)(void *arg), uint32_t scope)
{
    struct inherited in = { .bed = bed };
    struct gate gate;

    bed_start(bed, scope, 0);
    gate_make(&gate);
    in.pid = child_at(&gate, 5);
    in.child = bed_watch(bed, bed->mem, in.pid, see, &in.seen);
    in_child(fn, &in);
    gate_open(&gate);
    bed_until(bed, &in.seen.calls, 1);
    bed_settle(bed);
    check_seen(&in.seen, in.pid, 5);
}

static void every_call_is_refused(struct bed *bed)
{
    fork_and(bed, use_everything, SSS_SCOPE_REGISTERED);
}

static void freeing_there_harms_nobody_here(struct bed *bed)
{
    fork_and(bed, free_by_talloc, SSS_SCOPE_REGISTERED);
    check_ok(talloc_free(bed->ctx));
    fork_and(bed, free_by_the_library, SSS_SCOPE_REGISTERED);
    check_ok(talloc_free(bed->ctx));
    fork_and(bed, free_the_loop_first, SSS_SCOPE_REGISTERED);
}

/* As a daemon does that forks away after it made its context. */
static void go_on(void *arg)
{
    struct inherited *in = arg;
    struct bed *bed = in->bed;
    struct seen seen = { 0 };
    unsigned i;

    check_ok(tevent_re_initialise(bed->ev));
    check_ok(sss_sigchld_ctx_after_fork(bed->ctx));
    check_int(sss_child_kill(in->child, 0), ECHILD);
    for (i = 0; i < 3; i++) {
        struct gate gate;
        struct sss_child_ctx *child;
        pid_t pid;

        memset(&seen, 0, sizeof(seen));
        gate_make(&gate);
        pid = child_at(&gate, 6);
        child = bed_watch(bed, bed->mem, pid, see, &seen);
        gate_open(&gate);
        bed_until(bed, &seen.calls, 1);
        check_seen(&seen, pid, 6);
        check_ok(talloc_free(child));
    }
    check_int(in->seen.calls, 0);
    check_ok(talloc_free(in->child));
    check_ok(talloc_free(bed->ctx));
    check(bed_sigchld_is(SIG_DFL));
    check_ok(talloc_free(bed->mem));
}

static void after_fork_goes_on(struct bed *bed)
{
    fork_and(bed, go_on, SSS_SCOPE_REGISTERED);
}

int main(void)
{
    static const struct row rows[] = {
        ROW(every_call_is_refused),
        ROW(freeing_there_harms_nobody_here),
        ROW(after_fork_goes_on),
    };

    return BED_RUN(rows, BED_HOSTS);
}
