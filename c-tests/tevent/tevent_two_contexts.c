/* pkgs: talloc tevent */
/* Two contexts in one process, on one loop or two: each gets its own children. */
#include "tevent/bed.h"

static void on_one_loop(struct bed *bed)
{
    struct seen first = { 0 }, second = { 0 };
    struct sss_sigchild_ctx *older;
    struct gate gate;
    pid_t pids[2];

    bed_start(bed, SSS_SCOPE_ALL, 0);
    older = bed->ctx;
    gate_make(&gate);
    pids[0] = child_at(&gate, 1);
    pids[1] = child_at(&gate, 2);
    bed_watch(bed, bed->mem, pids[0], see, &first);
    bed_start(bed, SSS_SCOPE_ALL, 0);
    bed_watch(bed, bed->mem, pids[1], see, &second);
    gate_open(&gate);
    bed_until(bed, &first.calls, 1);
    bed_until(bed, &second.calls, 1);
    bed_settle(bed);
    check_seen(&first, pids[0], 1);
    check_seen(&second, pids[1], 2);
    /* Each gives back the disposition it found. */
    check_ok(talloc_free(bed->ctx));
    check_ok(talloc_free(older));
}

static void one_child_in_both(struct bed *bed)
{
    struct seen first = { 0 }, second = { 0 };
    struct sss_sigchild_ctx *older;
    struct gate gate;
    pid_t pid;

    gate_make(&gate);
    pid = child_at(&gate, 3);
    bed_start(bed, SSS_SCOPE_ALL, 0);
    older = bed->ctx;
    bed_watch(bed, bed->mem, pid, see, &first);
    bed_start(bed, SSS_SCOPE_REGISTERED, 0);
    bed_watch(bed, bed->mem, pid, see, &second);
    gate_open(&gate);
    bed_until(bed, &first.calls, 1);
    bed_until(bed, &second.calls, 1);
    bed_settle(bed);
    check_seen(&first, pid, 3);
    check_seen(&second, pid, 3);
    check_ok(talloc_free(bed->ctx));
    check_ok(talloc_free(older));
}

static void the_end_of_one_leaves_the_other(struct bed *bed)
{
    struct seen seen = { 0 };
    struct sss_sigchild_ctx *older;
    struct gate gate;
    pid_t pid;

    bed_start(bed, SSS_SCOPE_ALL, 0);
    older = bed->ctx;
    bed_start(bed, SSS_SCOPE_ALL, 0);
    check_ok(talloc_free(bed->ctx));
    bed->ctx = older;
    gate_make(&gate);
    pid = child_at(&gate, 4);
    bed_watch(bed, bed->mem, pid, see, &seen);
    gate_open(&gate);
    bed_until(bed, &seen.calls, 1);
    check_seen(&seen, pid, 4);
}

/* Whichever loop sees the signal, the callback comes from the watch's own. */
static void on_two_loops(struct bed *bed)
{
    struct tevent_context *evs[2] = { bed->ev, tevent_context_init(bed->mem) };
    struct sss_sigchild_ctx *ctxs[2];
    struct seen seen[2] = { { 0 } };
    pid_t pids[2];
    struct gate gate;
    size_t i;

    check(evs[1] != NULL);
    bed_warm(evs[1]);
    gate_make(&gate);
    for (i = 0; i < 2; i++) {
        bed->ev = evs[i];
        bed_start(bed, SSS_SCOPE_ALL, 0);
        ctxs[i] = bed->ctx;
        pids[i] = child_at(&gate, (int)i);
        bed_watch(bed, bed->mem, pids[i], see, &seen[i]);
    }
    gate_open(&gate);
    await_zombie(pids[0]);
    await_zombie(pids[1]);
    bed->ev = evs[0];
    bed_until(bed, &seen[0].calls, 1);
    check_int(seen[1].calls, 0);
    bed->ev = evs[1];
    bed_until(bed, &seen[1].calls, 1);
    check_seen(&seen[0], pids[0], 0);
    check_seen(&seen[1], pids[1], 1);
    check_ok(talloc_free(ctxs[1]));
    check_ok(talloc_free(ctxs[0]));
}

int main(void)
{
    static const struct row once[] = { ROW(on_two_loops) };
    static const struct row rows[] = {
        ROW(on_one_loop),
        ROW(one_child_in_both),
        ROW(the_end_of_one_leaves_the_other),
    };

    return BED_RUN(rows, BED_HOSTS | BED_FAILING) + BED_RUN(once, BED_HOSTS);
}
