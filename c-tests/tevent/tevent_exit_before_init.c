/* pkgs: talloc tevent */
/* A child that ended before there was a context: init and register look once. */
#include "tevent/bed.h"

static void is_told(struct bed *bed)
{
    struct seen seen = { 0 };
    pid_t pid = child_dead(5);

    bed_start(bed, SSS_SCOPE_ALL, 0);
    bed_watch(bed, bed->mem, pid, see, &seen);
    bed_until(bed, &seen.calls, 1);
    bed_settle(bed);
    check_seen(&seen, pid, 5);
}

static void is_told_to_a_late_registration(struct bed *bed)
{
    struct seen seen = { 0 };
    pid_t pid = child_dead(6);

    bed_start(bed, SSS_SCOPE_ALL, 0);
    bed_settle(bed);
    bed_watch(bed, bed->mem, pid, see, &seen);
    bed_until(bed, &seen.calls, 1);
    bed_settle(bed);
    check_seen(&seen, pid, 6);
}

static unsigned take(int pid, int wait_status, void *pvt)
{
    see(pid, wait_status, pvt);
    return SSS_UNKNOWN_TAKEN;
}

static void is_reaped_without_any_registration(struct bed *bed)
{
    struct seen seen = { 0 };
    pid_t pid = child_dead(7);

    bed_start(bed, SSS_SCOPE_ALL, 0);
    check_ok(sss_sigchld_ctx_set_unknown_fn(bed->ctx, take, &seen));
    bed_until_reaped(bed, pid);
    check_seen(&seen, pid, 7);
}

int main(void)
{
    static const struct row rows[] = {
        ROW(is_told),
        ROW(is_told_to_a_late_registration),
        ROW(is_reaped_without_any_registration),
    };

    return BED_RUN(rows, BED_HOSTS | BED_FAILING);
}
