/* pkgs: talloc tevent */
/* A child stops, goes on and ends: each is told, and the watch stays until the end. */
#include "tevent/bed.h"

static void is_told_all_three(struct bed *bed)
{
    struct seen seen = { 0 };
    struct gate gate;
    pid_t pid;

    bed_start(bed, SSS_SCOPE_ALL, WUNTRACED | WCONTINUED);
    gate_make(&gate);
    pid = child_at(&gate, 3);
    bed_watch(bed, bed->mem, pid, see, &seen);
    check_ok(kill(pid, SIGSTOP));
    bed_until(bed, &seen.calls, 1);
    check_ok(kill(pid, SIGCONT));
    bed_until(bed, &seen.calls, 2);
    gate_open(&gate);
    bed_until(bed, &seen.calls, 3);
    bed_settle(bed);
    check_int(seen.calls, 3);
    check(WIFSTOPPED(seen.statuses[0]) && WSTOPSIG(seen.statuses[0]) == SIGSTOP);
    check(WIFCONTINUED(seen.statuses[1]));
    check_int(seen.statuses[2], status_of(3));
}

/* They come together: told in their order, by the next turns. */
static void is_told_in_order(struct bed *bed)
{
    struct seen seen = { 0 };
    struct gate gate;
    pid_t pid;

    bed_start(bed, SSS_SCOPE_ALL, WUNTRACED);
    gate_make(&gate);
    pid = child_at(&gate, 0);
    bed_watch(bed, bed->mem, pid, see, &seen);
    check_ok(kill(pid, SIGSTOP));
    await_stopped(pid);
    while (stats_of(bed->ctx).pending == 0) {
        bed_turn(bed);
    }
    check_ok(kill(pid, SIGKILL));
    await_zombie(pid);
    gate_open(&gate);
    bed_until(bed, &seen.calls, 2);
    bed_settle(bed);
    check_int(seen.calls, 2);
    check(WIFSTOPPED(seen.statuses[0]));
    check_int(seen.statuses[1], status_of(BY_SIGNAL(SIGKILL)));
}

static void without_options_only_the_end(struct bed *bed)
{
    struct seen seen = { 0 };
    struct gate gate;
    pid_t pid;

    bed_start(bed, SSS_SCOPE_ALL, 0);
    gate_make(&gate);
    pid = child_at(&gate, 5);
    bed_watch(bed, bed->mem, pid, see, &seen);
    check_ok(kill(pid, SIGSTOP));
    await_stopped(pid);
    bed_settle(bed);
    check_int(seen.calls, 0);
    check_ok(kill(pid, SIGCONT));
    gate_open(&gate);
    bed_until(bed, &seen.calls, 1);
    check_seen(&seen, pid, 5);
}

int main(void)
{
    static const struct row rows[] = {
        ROW(is_told_all_three),
        ROW(is_told_in_order),
        ROW(without_options_only_the_end),
    };

    return BED_RUN(rows, BED_HOSTS | BED_FAILING);
}
