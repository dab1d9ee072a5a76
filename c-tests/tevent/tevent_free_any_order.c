/* pkgs: talloc tevent */
/* Loop, context and watches freed in every order. */
#include "tevent/bed.h"

enum { EV, CTX, CHILD };

static void free_in_order(struct bed *bed, const int order[3])
{
    struct seen seen = { 0 };
    struct sss_child_ctx *child;
    struct gate gate;
    pid_t pid;
    int i;

    bed_start(bed, SSS_SCOPE_ALL, 0);
    gate_make(&gate);
    pid = child_at(&gate, 0);
    child = bed_watch(bed, bed->mem, pid, see, &seen);
    for (i = 0; i < 3; i++) {
        void *memory[] = { bed->ev, bed->ctx, child };

        check_ok(talloc_free(memory[order[i]]));
    }
    gate_open(&gate);
    reap(pid, 0);
    check_int(seen.calls, 0);
}

#define ORDER(name, first, second, third)               \
    static void name(struct bed *bed)                   \
    {                                                   \
        const int order[] = { first, second, third };   \
                                                        \
        free_in_order(bed, order);                      \
    }
ORDER(ctx_child_ev, CTX, CHILD, EV)
ORDER(ctx_ev_child, CTX, EV, CHILD)
ORDER(child_ctx_ev, CHILD, CTX, EV)
ORDER(child_ev_ctx, CHILD, EV, CTX)
ORDER(ev_ctx_child, EV, CTX, CHILD)
ORDER(ev_child_ctx, EV, CHILD, CTX)

/* The same in talloc's own order, whichever of them is the parent. */
static void below_the_loop(struct bed *bed)
{
    struct seen seen = { 0 };
    struct gate gate;
    pid_t pids[2];

    gate_make(&gate);
    pids[0] = child_at(&gate, 0);
    pids[1] = child_at(&gate, 0);
    bed->ctx = bed_ctx(bed, bed->ev, SSS_SCOPE_ALL, 0);
    bed_watch(bed, bed->ev, pids[0], see, &seen);
    bed_watch(bed, bed->ctx, pids[1], see, &seen);
    check_ok(talloc_free(bed->ev));
    check_int(seen.calls, 0);
    gate_open(&gate);
    reap(pids[0], 0);
    reap(pids[1], 0);
}

/* Without its loop a context is useless, but harmless. */
static void used_without_its_loop(struct bed *bed)
{
    struct seen seen = { 0 };
    struct sss_child_ctx *child;
    struct gate gate;
    pid_t pid;

    bed_start(bed, SSS_SCOPE_ALL, 0);
    gate_make(&gate);
    pid = child_at(&gate, BY_SIGNAL(SIGTERM));
    check_ok(talloc_free(bed->ev));
    child = bed_watch(bed, bed->mem, pid, see, &seen);
    check_ok(sss_child_kill(child, SIGKILL));
    await_zombie(pid);
    bed_watch(bed, bed->mem, pid, see, &seen);
    sss_child_handler(NULL, NULL, SIGCHLD, 1, NULL, bed->ctx);
    check(!is_child(pid));
    check_int(seen.calls, 0);
    gate_open(&gate);
}

int main(void)
{
    static const struct row rows[] = {
        ROW(ctx_child_ev),   ROW(ctx_ev_child),   ROW(child_ctx_ev),
        ROW(child_ev_ctx),   ROW(ev_ctx_child),   ROW(ev_child_ctx),
        ROW(below_the_loop), ROW(used_without_its_loop),
    };

    return BED_RUN(rows, BED_HOSTS | BED_FAILING);
}
