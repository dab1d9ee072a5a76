/* pkgs: talloc tevent */
/* When callbacks come: in the loop's next turn, in the order of the waits. */
#include "tevent/bed.h"

static void in_the_turn_after_the_signal_s(struct bed *bed)
{
    struct seen seen = { 0 };
    struct gate gate;
    pid_t pid;

    bed_start(bed, SSS_SCOPE_ALL, 0);
    bed_settle(bed);
    gate_make(&gate);
    pid = child_at(&gate, 0);
    bed_watch(bed, bed->mem, pid, see, &seen);
    gate_open(&gate);
    await_zombie(pid);
    while (is_child(pid)) {
        check_int(seen.calls, 0);
        bed_turn(bed);
    }
    check_int(seen.calls, 0);
    bed_turn(bed);
    check_int(seen.calls, 1);
}

enum { CHILDREN = 8 };

struct log {
    pid_t pids[CHILDREN];
    unsigned calls;
};

static void note(int pid, int wait_status, void *pvt)
{
    struct log *log = pvt;

    (void)wait_status;
    log->pids[log->calls++] = pid;
}

/* Children that die the last one first, all of them before the loop's next turn. */
static void start_children(pid_t pids[CHILDREN], struct gate gates[CHILDREN])
{
    size_t i;

    for (i = 0; i < CHILDREN; i++) {
        gate_make(&gates[i]);
        pids[i] = child_at(&gates[i], 0);
    }
}

static void end_children(const pid_t pids[CHILDREN], struct gate gates[CHILDREN])
{
    size_t i;

    for (i = CHILDREN; i-- > 0;) {
        gate_open(&gates[i]);
        await_zombie(pids[i]);
    }
}

static size_t find(const pid_t pids[CHILDREN], pid_t pid)
{
    size_t i;

    for (i = 0; i < CHILDREN && pids[i] != pid; i++) {
    }
    check(i < CHILDREN);
    return i;
}

static void in_the_order_of_waitpid(struct bed *bed)
{
    struct log log = { .calls = 0 };
    struct gate gates[CHILDREN];
    pid_t pids[CHILDREN];
    size_t waited[CHILDREN];
    size_t i;

    start_children(pids, gates);
    end_children(pids, gates);
    for (i = 0; i < CHILDREN; i++) {
        waited[i] = find(pids, waitpid(-1, NULL, WNOHANG));
    }

    bed_start(bed, SSS_SCOPE_ALL, 0);
    start_children(pids, gates);
    for (i = 0; i < CHILDREN; i++) {
        bed_watch(bed, bed->mem, pids[i], note, &log);
    }
    end_children(pids, gates);
    bed_until(bed, &log.calls, CHILDREN);
    for (i = 0; i < CHILDREN; i++) {
        check_int(find(pids, log.pids[i]), waited[i]);
    }
}

static void in_the_order_of_the_turns(struct bed *bed)
{
    struct log log = { .calls = 0 };
    struct gate gates[CHILDREN];
    pid_t pids[CHILDREN];
    size_t i;

    bed_start(bed, SSS_SCOPE_REGISTERED, 0);
    start_children(pids, gates);
    for (i = 0; i < CHILDREN; i++) {
        bed_watch(bed, bed->mem, pids[i], note, &log);
    }
    gate_open(&gates[5]);
    await_zombie(pids[5]);
    bed_until(bed, &log.calls, 1);
    gate_open(&gates[2]);
    await_zombie(pids[2]);
    bed_until(bed, &log.calls, 2);
    for (i = 0; i < CHILDREN; i++) {
        if (i != 5 && i != 2) {
            gate_open(&gates[i]);
        }
    }
    bed_until(bed, &log.calls, CHILDREN);
    check_int(log.pids[0], pids[5]);
    check_int(log.pids[1], pids[2]);
}

/* The one immediate is scheduled again from inside its own call. */
struct chain {
    struct bed *bed;
    unsigned calls;
};

static void start_next(int pid, int wait_status, void *pvt)
{
    struct chain *chain = pvt;

    (void)pid;
    check_int(wait_status, status_of((int)chain->calls));
    if (++chain->calls < 20) {
        pid_t next = child_dead((int)chain->calls);

        bed_watch(chain->bed, chain->bed->mem, next, start_next, chain);
    }
}

static void one_callback_registers_the_next(struct bed *bed)
{
    struct chain chain = { .bed = bed };

    bed_start(bed, SSS_SCOPE_ALL, 0);
    bed_watch(bed, bed->mem, child_dead(0), start_next, &chain);
    bed_until(bed, &chain.calls, 20);
    bed_settle(bed);
    check_int(chain.calls, 20);
}

int main(void)
{
    static const struct row rows[] = {
        ROW(in_the_turn_after_the_signal_s),
        ROW(in_the_order_of_waitpid),
        ROW(in_the_order_of_the_turns),
        ROW(one_callback_registers_the_next),
    };

    return BED_RUN(rows, BED_HOSTS | BED_FAILING);
}
