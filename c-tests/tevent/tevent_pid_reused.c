/* pkgs: talloc tevent */
/* profiles: all but linux-4.19 valgrind: no clone3(2), so no pid can be chosen */
/* A pid given to a second child, then the first one's handle freed: the second stays. */
#include "tevent/bed.h"

static void the_new_registration_stays(struct bed *bed)
{
    struct seen first = { 0 }, second = { 0 };
    struct sss_child_ctx *stale;
    struct gate gate;
    pid_t pid;

    bed_start(bed, SSS_SCOPE_ALL, 0);
    pid = child_dead(1);
    stale = bed_watch(bed, bed->mem, pid, see, &first);
    bed_until(bed, &first.calls, 1);
    bed_settle(bed);

    gate_make(&gate);
    if (child_with_pid(pid, &gate, 2) != pid) {
        gate_open(&gate);
        test_lacks("clone3 does not give a child a chosen pid here");
    }
    bed_watch(bed, bed->mem, pid, see, &second);
    check_int(sss_child_kill(stale, SIGKILL), ESRCH);
    check_ok(talloc_free(stale));
    gate_open(&gate);
    bed_until(bed, &second.calls, 1);
    check_seen(&first, pid, 1);
    check_seen(&second, pid, 2);
}

int main(void)
{
    static const struct row rows[] = {
        ROW(the_new_registration_stays),
    };

    return BED_RUN(rows, BED_HOSTS | BED_FAILING);
}
