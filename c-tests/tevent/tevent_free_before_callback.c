/* pkgs: talloc tevent */
/* A watch freed before the end, or between the signal and the callback: none comes. */
#include "tevent/bed.h"

static void before_the_end(struct bed *bed)
{
    struct seen seen = { 0 };
    struct gate gate;
    pid_t pid;

    bed_start(bed, SSS_SCOPE_ALL, 0);
    gate_make(&gate);
    pid = child_at(&gate, 0);
    check_ok(talloc_free(bed_watch(bed, bed->mem, pid, see, &seen)));
    gate_open(&gate);
    bed_until_reaped(bed, pid);
    check_int(seen.calls, 0);
}

static void with_its_parent(struct bed *bed)
{
    void *service;
    struct seen seen = { 0 };
    struct gate gate;
    pid_t pid;

    bed_start(bed, SSS_SCOPE_ALL, 0);
    service = bed_memory(bed->mem);
    gate_make(&gate);
    pid = child_at(&gate, 0);
    bed_watch(bed, service, pid, see, &seen);
    check_ok(talloc_free(service));
    gate_open(&gate);
    bed_until_reaped(bed, pid);
    check_int(seen.calls, 0);
}

static void between_signal_and_callback(struct bed *bed)
{
    struct seen seen = { 0 };
    struct sss_child_ctx *child;
    struct gate gate;
    pid_t pid;

    bed_start(bed, SSS_SCOPE_ALL, 0);
    gate_make(&gate);
    pid = child_at(&gate, 0);
    child = bed_watch(bed, bed->mem, pid, see, &seen);
    gate_open(&gate);
    await_zombie(pid);
    while (is_child(pid)) {
        bed_turn(bed);
    }
    check_int(stats_of(bed->ctx).pending, 1);
    check_int(seen.calls, 0);
    check_ok(talloc_free(child));
    bed_settle(bed);
    check_int(seen.calls, 0);
}

static void of_one_that_ended_before(struct bed *bed)
{
    struct seen seen = { 0 };
    pid_t pid = child_dead(0);

    bed_start(bed, SSS_SCOPE_ALL, 0);
    check_ok(talloc_free(bed_watch(bed, bed->mem, pid, see, &seen)));
    bed_until_reaped(bed, pid);
    check_int(seen.calls, 0);
}

/* As with SSSD, the owner has to free the handle. */
static void the_handle_stays_after_the_callback(struct bed *bed)
{
    struct seen seen = { 0 };
    struct sss_child_ctx *child;
    void *service;

    bed_start(bed, SSS_SCOPE_ALL, 0);
    service = bed_memory(bed->mem);
    child = bed_watch(bed, service, child_dead(0), see, &seen);
    bed_until(bed, &seen.calls, 1);
    bed_settle(bed);
    check(talloc_get_type(child, struct sss_child_ctx) == child);
    check(talloc_parent(child) == service);
    check_int(sss_child_kill(child, 0), ESRCH);
    check_ok(talloc_free(child));
}

int main(void)
{
    static const struct row rows[] = {
        ROW(before_the_end),
        ROW(with_its_parent),
        ROW(between_signal_and_callback),
        ROW(of_one_that_ended_before),
        ROW(the_handle_stays_after_the_callback),
    };

    return BED_RUN(rows, BED_HOSTS | BED_FAILING);
}
