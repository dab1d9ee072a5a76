/* pkgs: talloc tevent */
/* One pid registered twice: the last wins; the former handle is inert. */
#include "tevent/bed.h"

struct twice {
    struct gate gate;
    pid_t pid;
    struct seen former, latter;
    struct sss_child_ctx *old, *new;
};

static void register_twice(struct bed *bed, struct twice *t)
{
    memset(t, 0, sizeof(*t));
    bed_start(bed, SSS_SCOPE_ALL, 0);
    gate_make(&t->gate);
    t->pid = child_at(&t->gate, 9);
    t->old = bed_watch(bed, bed->mem, t->pid, see, &t->former);
    t->new = bed_watch(bed, bed->mem, t->pid, see, &t->latter);
}

static void last_wins(struct bed *bed)
{
    struct twice t;

    register_twice(bed, &t);
    gate_open(&t.gate);
    bed_until(bed, &t.latter.calls, 1);
    bed_settle(bed);
    check_seen(&t.latter, t.pid, 9);
    check_int(t.former.calls, 0);
}

static void freeing_the_former_touches_nothing(struct bed *bed)
{
    struct twice t;

    register_twice(bed, &t);
    check_ok(talloc_free(t.old));
    gate_open(&t.gate);
    bed_until(bed, &t.latter.calls, 1);
    check_seen(&t.latter, t.pid, 9);
    check_ok(talloc_free(t.new));
}

static void freeing_the_latter_ends_the_watch(struct bed *bed)
{
    struct twice t;

    register_twice(bed, &t);
    check_ok(talloc_free(t.new));
    gate_open(&t.gate);
    bed_until_reaped(bed, t.pid);
    check_int(t.former.calls + t.latter.calls, 0);
    check(talloc_get_type(t.old, struct sss_child_ctx) == t.old);
    check_ok(talloc_free(t.old));
}

int main(void)
{
    static const struct row rows[] = {
        ROW(last_wins),
        ROW(freeing_the_former_touches_nothing),
        ROW(freeing_the_latter_ends_the_watch),
    };

    return BED_RUN(rows, BED_HOSTS | BED_FAILING);
}
