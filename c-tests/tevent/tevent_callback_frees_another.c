/* pkgs: talloc tevent */
/* A callback frees another watch that is due: that one's callback is cancelled. */
#include "tevent/bed.h"

struct pair {
    struct sss_child_ctx *children[2];
    unsigned calls;
};

static void free_both(int pid, int wait_status, void *pvt)
{
    struct pair *pair = pvt;

    (void)pid;
    (void)wait_status;
    pair->calls++;
    check_ok(talloc_free(pair->children[0]));
    check_ok(talloc_free(pair->children[1]));
}

static void that_is_due(struct bed *bed)
{
    struct pair pair = { .calls = 0 };
    pid_t pids[] = { child_dead(1), child_dead(2) };
    size_t i;

    bed_start(bed, SSS_SCOPE_ALL, 0);
    for (i = 0; i < 2; i++) {
        pair.children[i] = bed_watch(bed, bed->mem, pids[i], free_both, &pair);
    }
    bed_until(bed, &pair.calls, 1);
    bed_until_reaped(bed, pids[0]);
    bed_until_reaped(bed, pids[1]);
    check_int(pair.calls, 1);
}

static void that_lives(struct bed *bed)
{
    struct pair pair = { .calls = 0 };
    struct gate gate;
    pid_t live;

    bed_start(bed, SSS_SCOPE_ALL, 0);
    gate_make(&gate);
    live = child_at(&gate, 0);
    pair.children[0] = bed_watch(bed, bed->mem, live, free_both, &pair);
    pair.children[1] = bed_watch(bed, bed->mem, child_dead(0), free_both, &pair);
    bed_until(bed, &pair.calls, 1);
    gate_open(&gate);
    bed_until_reaped(bed, live);
    check_int(pair.calls, 1);
}

int main(void)
{
    static const struct row rows[] = {
        ROW(that_is_due),
        ROW(that_lives),
    };

    return BED_RUN(rows, BED_HOSTS | BED_FAILING);
}
