/* pkgs: talloc tevent */
/* Contexts and handles are talloc objects: names, parents, references, destructors. */
#include "tevent/bed.h"

struct one {
    struct gate gate;
    pid_t pid;
    struct seen seen;
    struct sss_child_ctx *child;
};

static void start_one(struct bed *bed, struct one *one)
{
    memset(one, 0, sizeof(*one));
    bed_start(bed, SSS_SCOPE_ALL, 0);
    gate_make(&one->gate);
    one->pid = child_at(&one->gate, 1);
    one->child = bed_watch(bed, bed->mem, one->pid, see, &one->seen);
}

static void end_told(struct bed *bed, struct one *one)
{
    gate_open(&one->gate);
    bed_until(bed, &one->seen.calls, 1);
    bed_settle(bed);
    check_seen(&one->seen, one->pid, 1);
}

static void end_untold(struct bed *bed, struct one *one)
{
    gate_open(&one->gate);
    bed_until_reaped(bed, one->pid);
    check_int(one->seen.calls, 0);
}

static void names_and_parents(struct bed *bed)
{
    struct one one;

    start_one(bed, &one);
    check(talloc_get_type(bed->ctx, struct sss_sigchild_ctx) == bed->ctx);
    check(talloc_get_type_abort(one.child, struct sss_child_ctx) == one.child);
    check(strcmp(talloc_get_name(bed->ctx), "struct sss_sigchild_ctx") == 0);
    check(talloc_parent(bed->ctx) == bed->mem);
    check(talloc_parent(one.child) == bed->mem);
    end_told(bed, &one);
}

static void steal_keeps_the_watch(struct bed *bed)
{
    void *former, *latter;
    struct one one;

    start_one(bed, &one);
    former = bed_memory(bed->mem);
    latter = bed_memory(bed->mem);
    check(talloc_steal(former, one.child) == one.child);
    check(talloc_steal(latter, one.child) == one.child);
    check(talloc_steal(latter, bed->ctx) == bed->ctx);
    check_ok(talloc_free(former));
    end_told(bed, &one);
    check_ok(talloc_free(latter));
}

static void a_reference_keeps_the_watch(struct bed *bed)
{
    void *other;
    struct one one;

    start_one(bed, &one);
    other = bed_memory(bed->mem);
    while (talloc_reference(other, one.child) == NULL) {
        check(bed_failing);
    }
    check_int(sss_child_free(one.child), EBUSY); /* talloc frees nothing that is referenced */
    check_ok(talloc_unlink(bed->mem, one.child));
    check(talloc_parent(one.child) == other);
    end_told(bed, &one);
    check_ok(talloc_free(other));
}

static void the_last_unlink_ends_the_watch(struct bed *bed)
{
    void *other;
    struct one one;

    start_one(bed, &one);
    other = bed_memory(bed->mem);
    while (talloc_reference(other, one.child) == NULL) {
        check(bed_failing);
    }
    check_ok(talloc_unlink(bed->mem, one.child));
    check_ok(talloc_unlink(other, one.child));
    end_untold(bed, &one);
    check_ok(talloc_free(other));
}

static int verdict;
static unsigned asked;

static int ask(struct sss_child_ctx *child)
{
    check(talloc_get_type(child, struct sss_child_ctx) == child);
    asked++;
    return verdict;
}

static void the_daemon_s_destructor_may_refuse(struct bed *bed)
{
    struct one one;

    start_one(bed, &one);
    asked = 0;
    verdict = -1;
    talloc_set_destructor(one.child, ask);
    check_int(talloc_free(one.child), -1);
    check_int(sss_child_free(one.child), EBUSY);
    check_int(sss_child_release(one.child, NULL), EBUSY);
    check_int(asked, 3);
    check_ok(sss_child_kill(one.child, 0));
    end_told(bed, &one);
    verdict = 0;
    check_ok(talloc_free(one.child));
    check_int(asked, 4);
}

static void the_daemon_s_destructor_may_agree(struct bed *bed)
{
    struct one one;

    start_one(bed, &one);
    asked = 0;
    verdict = 0;
    talloc_set_destructor(one.child, ask);
    check_ok(sss_child_free(one.child));
    check_int(asked, 1);
    end_untold(bed, &one);
}

/* The end of the context is the end of the watch, veto or not. */
static void a_veto_does_not_outlive_the_context(struct bed *bed)
{
    struct one one;

    start_one(bed, &one);
    verdict = -1;
    talloc_set_destructor(one.child, ask);
    check_int(talloc_free(one.child), -1);
    check_ok(talloc_free(bed->ctx));
    gate_open(&one.gate);
    reap(one.pid, 1);
    check_int(one.seen.calls, 0);
    verdict = 0;
    check_ok(talloc_free(one.child));
}

static int veto_ctx(struct sss_sigchild_ctx *ctx)
{
    check(talloc_get_type(ctx, struct sss_sigchild_ctx) == ctx);
    return verdict;
}

static void a_context_s_destructor_may_refuse(struct bed *bed)
{
    struct one one;

    start_one(bed, &one);
    verdict = -1;
    talloc_set_destructor(bed->ctx, veto_ctx);
    check_int(talloc_free(bed->ctx), -1);
    check_int(sss_sigchld_ctx_free(bed->ctx), EBUSY);
    end_told(bed, &one);
    verdict = 0;
    check_ok(sss_sigchld_ctx_free(bed->ctx));
}

/* What the daemon put below a handle is there when the library's hook runs. */
static int read_below(struct sss_child_ctx *child, void *pvt)
{
    (void)child;
    check(strcmp(talloc_get_name(pvt), "test") == 0);
    asked++;
    return 0;
}

static void hooks_come_before_what_is_below(struct bed *bed)
{
    struct one one;
    errno_t ret;

    start_one(bed, &one);
    asked = 0;
    do {
        ret = sss_child_set_destructor(one.child, read_below, bed_memory(one.child));
    } while (bed_again(ret));
    check_ok(ret);
    check_ok(talloc_free(one.child));
    check_int(asked, 1);
    end_untold(bed, &one);
}

static void the_library_frees_talloc_s_objects(struct bed *bed)
{
    struct one one;

    start_one(bed, &one);
    check_ok(sss_child_free(one.child));
    end_untold(bed, &one);
    check_ok(sss_sigchld_ctx_free(bed->ctx));
    check_int(talloc_total_blocks(bed->mem), 1 + talloc_total_blocks(bed->ev));
}

static void release_hands_the_child_back(struct bed *bed)
{
    struct one one;

    start_one(bed, &one);
    check_ok(talloc_free(bed->ctx));
    check_ok(talloc_free(one.child));
    bed_start(bed, SSS_SCOPE_REGISTERED, 0);
    one.child = bed_watch(bed, bed->mem, one.pid, see, &one.seen);
    check_ok(sss_child_release(one.child, NULL));
    gate_open(&one.gate);
    await_zombie(one.pid);
    bed_settle(bed);
    reap(one.pid, 1);
    check_int(one.seen.calls, 0);
}

struct told {
    struct sss_child_ctx *current;
    unsigned calls;
};

static void free_current(int pid, int wait_status, void *pvt)
{
    struct told *told = (struct told *)pvt;

    (void)pid;
    check_int(wait_status, status_of(1));
    told->calls++;
    check_ok(sss_child_current(&told->current));
    check(talloc_get_type(told->current, struct sss_child_ctx) != NULL);
    check_ok(talloc_free(told->current));
}

static int show(const struct sss_child_info *info, void *pvt)
{
    check(info->cb == free_current);
    check(info->pvt == pvt);
    return 0;
}

/* Inside the callback, and to an enumeration, the object is what it is outside. */
static void a_callback_knows_its_object(struct bed *bed)
{
    struct told told = { NULL, 0 };
    struct one one;

    start_one(bed, &one);
    check_ok(sss_child_set_cb(one.child, free_current, &told));
    check_ok(sss_sigchld_ctx_foreach(bed->ctx, show, &told));
    gate_open(&one.gate);
    bed_until(bed, &told.calls, 1);
    check(told.current == one.child);
    check_int(one.seen.calls, 0);
}

static void see_current(struct sss_child_ctx *child, const struct sss_child_event *event,
                        void *pvt)
{
    struct told *told = (struct told *)pvt;

    (void)event;
    told->calls++;
    check_ok(sss_child_current(&told->current));
    check(told->current == child);
}

static errno_t watch_richly(struct bed *bed, const struct sss_watch *watch,
                            struct sss_child_ctx **child)
{
    return sss_child_watch(bed->mem, bed->ctx, watch, child);
}

static void a_rich_callback_knows_its_object(struct bed *bed)
{
    struct told told = { NULL, 0 };
    struct sss_child_ctx *child = NULL;
    struct sss_watch watch;
    struct gate gate;
    errno_t ret;

    bed_start(bed, SSS_SCOPE_REGISTERED, 0);
    gate_make(&gate);
    memset(&watch, 0, sizeof(watch));
    watch.size = sizeof(watch);
    watch.mask = SSS_WATCH_PID;
    watch.pid = child_at(&gate, 1);
    watch.cb = see_current;
    watch.pvt = &told;
    while (bed_again(ret = watch_richly(bed, &watch, &child))) {
    }
    check_ok(ret);
    gate_open(&gate);
    bed_until(bed, &told.calls, 1);
    check(told.current == child);
    check_ok(talloc_free(child));
}

static errno_t reserve(struct bed *bed, struct sss_child_ctx **child)
{
    return sss_child_reserve(bed->mem, bed->ctx, child);
}

static void a_reserved_object_waits_for_its_child(struct bed *bed)
{
    struct sss_child_ctx *child = NULL, *unused = NULL;
    struct seen seen = { 0 };
    errno_t ret;
    pid_t pid;

    bed_start(bed, SSS_SCOPE_REGISTERED, 0);
    while (bed_again(ret = reserve(bed, &child))) {
    }
    check_ok(ret);
    while (bed_again(ret = reserve(bed, &unused))) {
    }
    check_ok(ret);
    check(talloc_get_type(child, struct sss_child_ctx) != NULL);
    pid = child_at(NULL, 4);
    check_ok(sss_child_register_reserved(child, pid, see, &seen));
    bed_until(bed, &seen.calls, 1);
    check_seen(&seen, pid, 4);
    check_ok(talloc_free(unused));
    check_ok(sss_child_free(child));
}

int main(void)
{
    static const struct row rows[] = {
        ROW(names_and_parents),
        ROW(steal_keeps_the_watch),
        ROW(a_reference_keeps_the_watch),
        ROW(the_last_unlink_ends_the_watch),
        ROW(the_daemon_s_destructor_may_refuse),
        ROW(the_daemon_s_destructor_may_agree),
        ROW(a_veto_does_not_outlive_the_context),
        ROW(a_context_s_destructor_may_refuse),
        ROW(hooks_come_before_what_is_below),
        ROW(the_library_frees_talloc_s_objects),
        ROW(release_hands_the_child_back),
        ROW(a_callback_knows_its_object),
        ROW(a_rich_callback_knows_its_object),
        ROW(a_reserved_object_waits_for_its_child),
    };

    return BED_RUN(rows, BED_HOSTS | BED_FAILING);
}
