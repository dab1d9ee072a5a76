/* pkgs: talloc tevent */
/* A callback frees the context: nothing dangles, nothing more is called. */
#include "tevent/bed.h"

struct end {
    struct bed *bed;
    unsigned calls;
};

static void free_ctx(int pid, int wait_status, void *pvt)
{
    struct end *end = pvt;

    (void)pid;
    (void)wait_status;
    end->calls++;
    check_ok(talloc_free(end->bed->ctx));
}

static void with_others_due_and_alive(struct bed *bed)
{
    struct end end = { .bed = bed };
    struct sss_child_ctx *children[3];
    pid_t dead[2] = { child_dead(1), child_dead(1) };
    struct gate gate;
    pid_t live;
    size_t i;

    bed_start(bed, SSS_SCOPE_ALL, 0);
    gate_make(&gate);
    live = child_at(&gate, 0);
    children[0] = bed_watch(bed, bed->mem, dead[0], free_ctx, &end);
    children[1] = bed_watch(bed, bed->mem, dead[1], free_ctx, &end);
    children[2] = bed_watch(bed, bed->mem, live, free_ctx, &end);
    bed_until(bed, &end.calls, 1);
    bed_settle(bed);
    check_int(end.calls, 1);

    gate_open(&gate);
    reap(live, 0);
    for (i = 0; i < 2; i++) {
        if (is_child(dead[i])) {
            reap(dead[i], 1);
        }
    }
    for (i = 0; i < ARRAY_SIZE(children); i++) {
        check_int(sss_child_kill(children[i], 0), ESRCH);
        check_ok(talloc_free(children[i]));
    }
}

static void and_makes_another(struct bed *bed)
{
    struct end end = { .bed = bed };
    struct seen seen = { 0 };
    pid_t pid;

    bed_start(bed, SSS_SCOPE_ALL, 0);
    bed_watch(bed, bed->mem, child_dead(0), free_ctx, &end);
    bed_until(bed, &end.calls, 1);
    bed_start(bed, SSS_SCOPE_ALL, 0);
    pid = child_dead(2);
    bed_watch(bed, bed->mem, pid, see, &seen);
    bed_until(bed, &seen.calls, 1);
    check_seen(&seen, pid, 2);
}

/* What tevent still holds for the running call must not be freed a second time. */
static void free_ctx_then_parent(int pid, int wait_status, void *pvt)
{
    struct end *end = pvt;
    void *parent = talloc_parent(end->bed->ctx);

    (void)pid;
    (void)wait_status;
    end->calls++;
    check_ok(talloc_free(end->bed->ctx));
    check_ok(talloc_free(parent));
}

static void then_the_ctx_s_parent(struct bed *bed)
{
    struct end end = { .bed = bed };

    bed->ctx = bed_ctx(bed, bed_memory(bed->mem), SSS_SCOPE_ALL, 0);
    bed_watch(bed, bed->mem, child_dead(0), free_ctx_then_parent, &end);
    bed_until(bed, &end.calls, 1);
    bed_settle(bed);
    check_int(end.calls, 1);
}

int main(void)
{
    static const struct row rows[] = {
        ROW(with_others_due_and_alive),
        ROW(and_makes_another),
        ROW(then_the_ctx_s_parent),
    };

    return BED_RUN(rows, BED_HOSTS | BED_FAILING);
}
