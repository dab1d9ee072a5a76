/* pkgs: talloc tevent */
/* A spawned child's handle is a talloc object, its callback the loop's. */
#include "tevent/bed.h"

#include <pthread.h>

#include "support/spawn.h"

/* A watch below memctx of a child that exits with 6 at the end of its input. */
static errno_t try_spawn(struct bed *bed, void *memctx, int input, struct seen *seen,
                         struct sss_child_ctx **child)
{
    const struct sss_spawn_fd map[] = { { input, STDIN_FILENO } };
    const char *argv[] = { "ends", "6", NULL };
    struct sss_spawn spawn = spawn_zero();
    char path[4096];

    snprintf(path, sizeof(path), "%s/helpers/ends", getenv("SSS_TEST_BIN"));
    spawn.mask |= SSS_SPAWN_FDS;
    spawn.path = path;
    spawn.argv = argv;
    spawn.fds = map;
    spawn.fds_count = 1;
    return sss_child_spawn(memctx, bed->ctx, &spawn, see, seen, child);
}

struct one {
    struct gate gate;
    struct seen seen;
    struct sss_child_ctx *child;
    pid_t pid;
};

/* Where memory runs out nothing may be left of it. */
static void start_one(struct bed *bed, void *memctx, struct one *one)
{
    size_t blocks;
    errno_t ret;

    memset(one, 0, sizeof(*one));
    gate_make(&one->gate);
    blocks = talloc_total_blocks(bed->mem);
    ret = try_spawn(bed, memctx, one->gate.rd, &one->seen, &one->child);
    if (bed_again(ret)) {
        check(one->child == NULL);
        check_int(talloc_total_blocks(bed->mem), blocks);
        check_no_children();
        check_int(stats_of(bed->ctx).watches, 0);
        ret = try_spawn(bed, memctx, one->gate.rd, &one->seen, &one->child);
    }
    check_ok(ret);
    one->pid = pid_of(one->child);
}

static void end_told(struct bed *bed, struct one *one)
{
    gate_open(&one->gate);
    bed_until(bed, &one->seen.calls, 1);
    bed_settle(bed);
    check_seen(&one->seen, one->pid, 6);
}

static void end_untold(struct bed *bed, struct one *one)
{
    gate_open(&one->gate);
    bed_until_reaped(bed, one->pid);
    check_int(one->seen.calls, 0);
}

static void told_by_the_loop(struct bed *bed)
{
    struct one one;

    bed_start(bed, SSS_SCOPE_REGISTERED, 0);
    start_one(bed, bed->mem, &one);
    end_told(bed, &one);
    check_ok(talloc_free(one.child));
}

static void told_where_all_are_waited_for(struct bed *bed)
{
    struct one one;

    bed_start(bed, SSS_SCOPE_ALL, 0);
    start_one(bed, bed->mem, &one);
    end_told(bed, &one);
    check_ok(talloc_free(one.child));
}

static void dead_before_the_loop_turns(struct bed *bed)
{
    struct one one;

    bed_start(bed, SSS_SCOPE_REGISTERED, 0);
    start_one(bed, bed->mem, &one);
    gate_open(&one.gate);
    await_dead(one.pid);
    check_int(one.seen.calls, 0);
    bed_until(bed, &one.seen.calls, 1);
    bed_settle(bed);
    check_seen(&one.seen, one.pid, 6);
    check_ok(talloc_free(one.child));
}

static void a_talloc_object(struct bed *bed)
{
    struct one one;
    void *parent;

    bed_start(bed, SSS_SCOPE_REGISTERED, 0);
    parent = bed_memory(bed->mem);
    start_one(bed, parent, &one);
    check(talloc_get_type(one.child, struct sss_child_ctx) == one.child);
    check(talloc_parent(one.child) == parent);
    check(talloc_steal(bed->mem, one.child) == one.child);
    check_ok(talloc_free(parent));
    end_told(bed, &one);
    check_ok(talloc_free(one.child));
}

static void talloc_free_ends_the_watch(struct bed *bed)
{
    struct one one;

    bed_start(bed, SSS_SCOPE_REGISTERED, 0);
    start_one(bed, bed->mem, &one);
    check_ok(talloc_free(one.child));
    check_int(stats_of(bed->ctx).watches, 0);
    end_untold(bed, &one);
}

static void the_parent_s_end_is_the_watch_s(struct bed *bed)
{
    struct one one;
    void *parent;

    bed_start(bed, SSS_SCOPE_ALL, 0);
    parent = bed_memory(bed->mem);
    start_one(bed, parent, &one);
    check_ok(talloc_free(parent));
    check_int(stats_of(bed->ctx).watches, 0);
    end_untold(bed, &one);
}

/* Without an out-pointer the memctx owns the watch. */
static void owned_by_its_memctx(struct bed *bed)
{
    struct seen seen = { 0 };
    struct gate gate;
    errno_t ret;

    bed_start(bed, SSS_SCOPE_REGISTERED, 0);
    gate_make(&gate);
    do {
        ret = try_spawn(bed, bed->mem, gate.rd, &seen, NULL);
    } while (bed_again(ret));
    check_ok(ret);
    gate_open(&gate);
    bed_until(bed, &seen.calls, 1);
    check_seen(&seen, seen.pid, 6);
}

static void a_failure_leaves_no_object(struct bed *bed)
{
    const char *argv[] = { "nothing", NULL };
    struct sss_spawn spawn = spawn_zero();
    struct sss_child_ctx *child = NULL;
    struct seen seen = { 0 };
    uint32_t step = 0;
    size_t blocks;
    errno_t ret;

    bed_start(bed, SSS_SCOPE_REGISTERED, 0);
    blocks = talloc_total_blocks(bed->mem);
    spawn.path = "/nowhere/nothing";
    spawn.argv = argv;
    spawn.failed_step = &step;
    do {
        ret = sss_child_spawn(bed->mem, bed->ctx, &spawn, see, &seen, &child);
    } while (bed_again(ret));
    check_int(ret, ENOENT);
    check_int(step, SSS_SPAWN_STEP_EXEC);
    check(child == NULL);
    check_int(talloc_total_blocks(bed->mem), blocks);
    check_int(stats_of(bed->ctx).watches, 0);
    check_no_children();
    bed_settle(bed);
    check_int(seen.calls, 0);
}

struct asked {
    struct bed *bed;
    errno_t ret;
};

static void *ask(void *pvt)
{
    struct asked *asked = pvt;
    struct sss_child_ctx *child = NULL;
    struct seen seen = { 0 };

    asked->ret = try_spawn(asked->bed, asked->bed->mem, STDIN_FILENO, &seen, &child);
    check(child == NULL);
    return NULL;
}

static void from_the_loop_s_thread_only(struct bed *bed)
{
    struct asked asked = { bed, 0 };
    pthread_t thread;

    bed_start(bed, SSS_SCOPE_REGISTERED, 0);
    check_ok(pthread_create(&thread, NULL, ask, &asked));
    check_ok(pthread_join(thread, NULL));
    check_int(asked.ret, EPERM);
    check_no_children();
}

int main(void)
{
    static const struct row rows[] = {
        ROW(told_by_the_loop),
        ROW(told_where_all_are_waited_for),
        ROW(dead_before_the_loop_turns),
        ROW(a_talloc_object),
        ROW(talloc_free_ends_the_watch),
        ROW(the_parent_s_end_is_the_watch_s),
        ROW(owned_by_its_memctx),
        ROW(a_failure_leaves_no_object),
    };
    static const struct row once[] = {
        ROW(from_the_loop_s_thread_only),
    };
    int failed;

    spawn_as_vfork(NULL);
    failed = BED_RUN(rows, BED_HOSTS | BED_FAILING);
    spawn_as_fork(NULL);
    failed += BED_RUN(rows, BED_HOSTS | BED_FAILING);
    failed += BED_RUN(once, BED_HOSTS);
    return failed;
}
