/* pkgs: talloc tevent */
/* profiles: all but asan tsan valgrind: malloc cannot be taken over */
/* Between a wait and its callback nothing is allocated, so nothing can be lost. */
#include "tevent/bed.h"

enum { CHILDREN = 300 };

/* From the signal on no allocation is made, neither ours nor talloc's. */
static void a_drain_allocates_nothing(struct bed *bed)
{
    struct seen seen[CHILDREN] = { { 0 } };
    struct memory used;
    struct gate gate;
    pid_t pids[CHILDREN];
    size_t i;

    bed_start(bed, SSS_SCOPE_ALL, 0);
    gate_make(&gate);
    for (i = 0; i < CHILDREN; i++) {
        pids[i] = child_at(&gate, (int)i % 100);
        bed_watch(bed, bed->mem, pids[i], see, &seen[i]);
    }
    gate_open(&gate);
    for (i = 0; i < CHILDREN; i++) {
        await_zombie(pids[i]);
    }
    bed_memory_needed();
    memory_begin(0);
    for (i = 0; i < CHILDREN; i++) {
        bed_until(bed, &seen[i].calls, 1);
    }
    used = memory_end();
    check_int(used.calls, 0);
    for (i = 0; i < CHILDREN; i++) {
        check_seen(&seen[i], pids[i], (int)i % 100);
    }
}

/* The same for stops, and for a status that waited for its registration. */
static void stops_allocate_nothing(struct bed *bed)
{
    struct seen seen = { 0 };
    struct memory used;
    struct gate gate;
    pid_t pid;

    bed_start(bed, SSS_SCOPE_ALL, WUNTRACED | WCONTINUED);
    gate_make(&gate);
    pid = child_at(&gate, 0);
    bed_watch(bed, bed->mem, pid, see, &seen);
    bed_memory_needed();
    memory_begin(0);
    check_ok(kill(pid, SIGSTOP));
    bed_until(bed, &seen.calls, 1);
    check_ok(kill(pid, SIGCONT));
    bed_until(bed, &seen.calls, 2);
    gate_open(&gate);
    bed_until(bed, &seen.calls, 3);
    used = memory_end();
    check_int(used.calls, 0);
}

int main(void)
{
    static const struct row rows[] = {
        ROW(a_drain_allocates_nothing),
        ROW(stops_allocate_nothing),
    };

    return BED_RUN(rows, BED_HOSTS);
}
