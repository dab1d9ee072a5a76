/* pkgs: talloc tevent */
/* Rich watches and communicate with talloc's and tevent's host. */
#include "tevent/bed.h"

#include "support/kernel.h"
#include "support/spawn.h"
#include "support/told.h"

static const int64_t MS = 1000000;

/* Where memory runs out first, nothing may have changed. */
static struct sss_child_ctx *bed_richly(struct bed *bed, void *memctx,
                                        const struct sss_watch *watch)
{
    size_t blocks = talloc_total_blocks(bed->mem);
    struct sss_child_ctx *child = NULL;
    errno_t ret = sss_child_watch(memctx, bed->ctx, watch, &child);

    if (bed_again(ret)) {
        check(child == NULL);
        check_int(talloc_total_blocks(bed->mem), blocks);
        ret = sss_child_watch(memctx, bed->ctx, watch, &child);
    }
    check_ok(ret);
    return child;
}

static void a_handle_is_a_talloc_object(struct bed *bed)
{
    struct told told = { 0 }, freed = { 0 };
    struct sss_child_ctx *child, *other;
    struct sss_watch watch;
    struct gate gate;
    void *parent;
    pid_t pid;

    bed_start(bed, SSS_SCOPE_REGISTERED, 0);
    parent = bed_memory(bed->mem);
    gate_make(&gate);
    pid = child_at(&gate, 3);
    watch = watch_of(pid, &told);
    child = bed_richly(bed, bed->mem, &watch);
    check(talloc_get_type(child, struct sss_child_ctx) == child);
    watch = watch_of(pid, &freed);
    other = bed_richly(bed, parent, &watch);
    check(other != child);
    check_ok(talloc_free(parent));
    gate_open(&gate);
    bed_until(bed, &told.calls, 1);
    bed_settle(bed);
    check_told(&told, pid, 3);
    check(told.child == child);
    check_int(freed.calls, 0);
    check_ok(talloc_free(child));
}

static void one_that_is_dead_comes_in_the_next_turn(struct bed *bed)
{
    struct told told = { 0 };
    struct sss_watch watch;
    struct sss_child_ctx *child;
    pid_t pid;

    bed_start(bed, SSS_SCOPE_ALL, 0);
    pid = child_dead(BY_SIGNAL(SIGKILL));
    watch = watch_of(pid, &told);
    watch.mask |= SSS_WATCH_KEEP_ZOMBIE;
    child = bed_richly(bed, bed->mem, &watch);
    check_int(told.calls, 0);
    bed_until(bed, &told.calls, 1);
    /* Or the loop's first look has reaped it. */
    check_told(&told, pid, BY_SIGNAL(SIGKILL));
    bed_settle(bed);
    check(!is_child(pid));
    check_ok(talloc_free(child));
}

/* The status is told from the pidfd, where there is one and the kernel keeps it. */
static void one_that_others_took(struct bed *bed)
{
    struct told told = { 0 }, kept = { 0 };
    struct sss_child_ctx *children[2];
    struct sss_watch watch;
    struct gate gate;
    pid_t pid;

    bed_start(bed, SSS_SCOPE_REGISTERED, 0);
    gate_make(&gate);
    pid = child_at(&gate, 4);
    watch = watch_of(pid, &told);
    children[0] = bed_richly(bed, bed->mem, &watch);
    watch = watch_of(pid, &kept);
    watch.mask |= SSS_WATCH_KEEP_ZOMBIE | SSS_WATCH_WANT;
    watch.want = 0xff; /* holds a pidfd */
    children[1] = bed_richly(bed, bed->mem, &watch);
    gate_open(&gate);
    reap(pid, 4);
    bed_until(bed, &told.calls, 1);
    bed_until(bed, &kept.calls, 1);
    bed_settle(bed);
    if (told.event.source == SSS_SOURCE_RECOVERED) {
        check(kernel_keeps_status());
        check_told(&told, pid, 4);
        check_told(&kept, pid, 4);
    } else {
        check(!kernel_keeps_status());
        check_int(told.event.source, SSS_SOURCE_LOST);
        check_int(told.event.event, SSS_CHILD_EVENT_LOST);
        check_int(told.event.wait_status, SSS_WAIT_STATUS_LOST);
        check_int(kept.event.event, SSS_CHILD_EVENT_LOST);
    }
    check_int(kept.event.zombie_kept, 0);
    check_int(told.event.have & (SSS_RECORD_RUSAGE | SSS_RECORD_MAXRSS), 0);
    check_int(told.calls + kept.calls, 2);
    check_ok(talloc_free(children[0]));
    check_ok(talloc_free(children[1]));
}

static void a_deadline_is_kept_by_the_loop(struct bed *bed)
{
    const struct sss_deadline_step step = { .after_ns = 2 * MS, .signum = SIGKILL };
    struct sss_deadline deadline;
    struct told told = { 0 };
    struct sss_watch watch;
    struct sss_child_ctx *child;
    struct gate gate;
    pid_t pid;

    memset(&deadline, 0, sizeof(deadline));
    deadline.size = sizeof(deadline);
    deadline.steps = &step;
    deadline.steps_count = 1;
    bed_start(bed, SSS_SCOPE_REGISTERED, 0);
    gate_make(&gate);
    pid = child_at(&gate, 0);
    watch = watch_of(pid, &told);
    watch.deadline = &deadline;
    child = bed_richly(bed, bed->mem, &watch);
    bed_until(bed, &told.calls, 1);
    check_told(&told, pid, BY_SIGNAL(SIGKILL));
    check_int(told.event.step_signal, SIGKILL);
    gate_open(&gate);
    check_ok(talloc_free(child));
}

static void take_no_notice(int signum)
{
    (void)signum;
}

/* While a child is looked up for a new watch, the library finds that another child has ended,
 * whose handle was freed before and whose end no signal told. The new watch gets the place of
 * the other one in the table, and keeps its own deadline. */
static void a_deadline_is_of_its_own_child(struct bed *bed)
{
    const struct sss_deadline_step step = { .after_ns = 2 * MS, .signum = SIGKILL };
    const struct sigaction other = { .sa_handler = take_no_notice, .sa_flags = SA_RESTART };
    struct sss_deadline deadline;
    struct told told = { 0 };
    struct seen seen = { 0 };
    struct gate gate, gates[2];
    struct sigaction former;
    struct sss_watch watch;
    struct sss_child_ctx *child;
    pid_t unheard, pids[2];

    memset(&deadline, 0, sizeof(deadline));
    deadline.size = sizeof(deadline);
    deadline.steps = &step;
    deadline.steps_count = 1;
    bed_start(bed, SSS_SCOPE_ALL, 0);
    gate_make(&gate);
    unheard = child_at(&gate, 1);
    check_ok(talloc_free(bed_watch(bed, bed->mem, unheard, see, &seen)));
    for (int i = 0; i < 2; i++) {
        gate_make(&gates[i]);
        pids[i] = child_at(&gates[i], 3);
    }
    check_ok(sigaction(SIGCHLD, &other, &former));
    gate_open(&gate);
    await_zombie(unheard);
    watch = watch_of(pids[0], &told);
    watch.deadline = &deadline;
    child = bed_richly(bed, bed->mem, &watch);
    check(!is_child(unheard));
    bed_watch(bed, bed->mem, pids[1], see, &seen);
    while (told.calls == 0 && seen.calls == 0) {
        bed_turn(bed);
    }
    check_int(seen.calls, 0);
    check_told(&told, pids[0], BY_SIGNAL(SIGKILL));
    check_int(told.event.step_signal, SIGKILL);
    check(told.child == child);
    gate_open(&gates[0]);
    gate_open(&gates[1]);
    bed_until(bed, &seen.calls, 1);
    check_seen(&seen, pids[1], 3);
    check_ok(sigaction(SIGCHLD, &former, NULL));
}

struct output {
    unsigned calls;
    bool free_it;
    bool short_of_memory;
    char text[64];
    int status;
};

static void see_done(struct sss_child_ctx *child, const struct sss_communicated *done, void *pvt)
{
    struct output *output = pvt;

    output->calls++;
    output->status = done->end->status;
    output->short_of_memory = done->output_errno == ENOMEM;
    check(done->output_length < sizeof(output->text));
    memcpy(output->text, done->output, done->output_length + 1);
    if (output->free_it) {
        check_ok(talloc_free(child));
    }
}

static void communicates(struct bed *bed, bool free_it)
{
    const char *const argv[] = { "sh", "-c", "cat; exit 5", NULL };
    struct sss_spawn spawn = spawn_zero();
    struct output output = { .free_it = free_it };
    struct sss_communicate comm;
    struct sss_child_ctx *child;
    size_t blocks;
    errno_t ret;

    bed_start(bed, SSS_SCOPE_REGISTERED, 0);
    memset(&comm, 0, sizeof(comm));
    comm.size = sizeof(comm);
    comm.mask = SSS_COMMUNICATE_INPUT | SSS_COMMUNICATE_OUTPUT;
    comm.input = "some words";
    comm.input_length = 10;
    comm.cb = see_done;
    comm.pvt = &output;
    spawn.path = "/bin/sh";
    spawn.argv = argv;
    blocks = talloc_total_blocks(bed->mem);
    ret = sss_child_communicate(bed->mem, bed->ctx, &spawn, &comm, &child);
    if (bed_again(ret)) {
        check_int(talloc_total_blocks(bed->mem), blocks);
        ret = sss_child_communicate(bed->mem, bed->ctx, &spawn, &comm, &child);
    }
    check_ok(ret);
    bed_until(bed, &output.calls, 1);
    check_int(output.status, 5);
    if (output.short_of_memory) {
        check(bed_failing);
    } else {
        assert_string_equal(output.text, "some words");
    }
    if (!free_it) {
        check_ok(talloc_free(child));
    }
}

static void popen_without_blocking(struct bed *bed)
{
    communicates(bed, false);
}

static void freed_in_its_callback(struct bed *bed)
{
    communicates(bed, true);
}

int main(void)
{
    static const struct row rows[] = {
        ROW(a_handle_is_a_talloc_object),
        ROW(one_that_is_dead_comes_in_the_next_turn),
        ROW(one_that_others_took),
        ROW(a_deadline_is_kept_by_the_loop),
        ROW(a_deadline_is_of_its_own_child),
        ROW(popen_without_blocking),
        ROW(freed_in_its_callback),
    };

    return BED_RUN(rows, BED_HOSTS | BED_FAILING);
}
