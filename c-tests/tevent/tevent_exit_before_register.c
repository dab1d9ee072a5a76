/* pkgs: talloc tevent */
/* A child that ended before it was registered: called back, in the loop's next turn. */
#include "tevent/bed.h"

static void is_told(struct bed *bed)
{
    struct seen seen = { 0 };
    pid_t pid;

    bed_start(bed, SSS_SCOPE_ALL, 0);
    pid = child_dead(3);
    bed_watch(bed, bed->mem, pid, see, &seen);
    check_int(seen.calls, 0);
    bed_until(bed, &seen.calls, 1);
    bed_settle(bed);
    check_seen(&seen, pid, 3);
}

/* The signal came and went before the registration: the status waits for it. */
static void is_told_after_its_signal(struct bed *bed)
{
    struct seen seen = { 0 };
    pid_t pid;

    bed_start(bed, SSS_SCOPE_ALL, 0);
    pid = child_dead(BY_SIGNAL(SIGKILL));
    bed_until_reaped(bed, pid);
    bed_watch(bed, bed->mem, pid, see, &seen);
    bed_until(bed, &seen.calls, 1);
    bed_settle(bed);
    check_seen(&seen, pid, BY_SIGNAL(SIGKILL));
}

static void is_told_where_only_ours_are_waited_for(struct bed *bed)
{
    struct seen seen = { 0 };
    pid_t pid;

    bed_start(bed, SSS_SCOPE_REGISTERED, 0);
    pid = child_dead(4);
    bed_settle(bed);
    check(is_child(pid));
    bed_watch(bed, bed->mem, pid, see, &seen);
    bed_until(bed, &seen.calls, 1);
    bed_settle(bed);
    check_seen(&seen, pid, 4);
}

int main(void)
{
    static const struct row rows[] = {
        ROW(is_told),
        ROW(is_told_after_its_signal),
        ROW(is_told_where_only_ours_are_waited_for),
    };

    return BED_RUN(rows, BED_HOSTS | BED_FAILING);
}
