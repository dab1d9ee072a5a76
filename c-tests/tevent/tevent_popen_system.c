/* pkgs: talloc tevent */
/*
 * Beside popen(3), system(3) and other code that waits: scope REGISTERED leaves their
 * children alone, scope ALL tells which ones it reaped.
 */
#include "tevent/bed.h"

static void registered_leaves_popen_whole(struct bed *bed)
{
    char line[8];
    FILE *pipe;

    bed_start(bed, SSS_SCOPE_REGISTERED, 0);
    pipe = popen("echo told; exit 7", "re");
    check(pipe != NULL);
    check(fgets(line, sizeof(line), pipe) != NULL);
    bed_await_any_zombie();
    bed_settle(bed);
    check_int(pclose(pipe), W_EXITCODE(7, 0));
}

static void registered_leaves_system_whole(struct bed *bed)
{
    struct seen seen = { 0 };
    pid_t pid;

    bed_start(bed, SSS_SCOPE_REGISTERED, 0);
    pid = child_dead(1);
    bed_watch(bed, bed->mem, pid, see, &seen);
    check_int(system("exit 5"), W_EXITCODE(5, 0));
    bed_until(bed, &seen.calls, 1);
    check_seen(&seen, pid, 1);
}

static void registered_leaves_a_stranger_s_zombie(struct bed *bed)
{
    struct seen seen = { 0 };
    pid_t strange, ours;

    bed_start(bed, SSS_SCOPE_REGISTERED, 0);
    strange = child_dead(8);
    ours = child_dead(9);
    bed_watch(bed, bed->mem, ours, see, &seen);
    bed_until(bed, &seen.calls, 1);
    bed_settle(bed);
    check_seen(&seen, ours, 9);
    reap(strange, 8);
}

static unsigned take(int pid, int wait_status, void *pvt)
{
    see(pid, wait_status, pvt);
    return SSS_UNKNOWN_TAKEN;
}

static void all_reports_what_it_took(struct bed *bed)
{
    struct seen seen = { 0 };
    uint64_t before;
    pid_t pid;

    bed_start(bed, SSS_SCOPE_ALL, 0);
    before = stats_of(bed->ctx).unknown; /* the process's */
    check_ok(sss_sigchld_ctx_set_unknown_fn(bed->ctx, take, &seen));
    pid = child_dead(6);
    bed_until(bed, &seen.calls, 1);
    check_seen(&seen, pid, 6);
    check_int(stats_of(bed->ctx).unknown, before + 1);
}

int main(void)
{
    static const struct row rows[] = {
        ROW(registered_leaves_popen_whole),
        ROW(registered_leaves_system_whole),
        ROW(registered_leaves_a_stranger_s_zombie),
        ROW(all_reports_what_it_took),
    };
    static const struct row failing[] = {
        ROW(registered_leaves_a_stranger_s_zombie),
        ROW(all_reports_what_it_took),
    };

    return BED_RUN(rows, BED_HOSTS) + BED_RUN(failing, BED_FAILING);
}
