/* pkgs: talloc tevent */
/* NULL out pointers, bad pids and strangers: refused before anything is allocated. */
#include "tevent/bed.h"

static void init_without_an_out_pointer(struct bed *bed)
{
    struct sss_sigchild_ctx *ctx = NULL;
    size_t blocks = talloc_total_blocks(NULL);
    unsigned fds = count_fds();

    check_int(sss_sigchld_init(bed->mem, bed->ev, NULL), EINVAL);
    check_int(sss_sigchld_init(bed->mem, NULL, &ctx), EINVAL);
    check_int(bed_create(bed, bed->mem, SSS_SCOPE_ALL, 0, NULL), EINVAL);
    check_int(bed_create(bed, bed->mem, SSS_SCOPE_ALL, WNOHANG, &ctx), EINVAL);
    check_int(bed_create(bed, bed->mem, 77, 0, &ctx), EINVAL);
    check(ctx == NULL);
    check_int(talloc_total_blocks(NULL), blocks);
    check_int(count_fds(), fds);
    check(bed_sigchld_is(SIG_DFL));
}

static void a_context_without_a_loop(struct bed *bed)
{
    struct sss_sigchild_ctx *ctx = NULL;
    struct bed none = *bed;
    size_t blocks = talloc_total_blocks(NULL);

    none.ev = NULL;
    check_int(bed_create(&none, bed->mem, SSS_SCOPE_ALL, 0, &ctx), EINVAL);
    check(ctx == NULL);
    check_int(talloc_total_blocks(NULL), blocks);
}

static void register_with_a_bad_pid(struct bed *bed)
{
    struct sss_child_ctx *child = NULL;
    struct seen seen = { 0 };
    size_t blocks;
    const pid_t bad[] = { 0, -1, -getpid(), INT32_MIN };
    const pid_t strange[] = { 1, getpid(), getppid(), INT32_MAX };
    size_t i;

    bed_start(bed, SSS_SCOPE_ALL, 0);
    blocks = talloc_total_blocks(NULL);
    for (i = 0; i < ARRAY_SIZE(bad); i++) {
        check_int(sss_child_register(bed->mem, bed->ctx, bad[i], see, &seen, &child), EINVAL);
        check_int(sss_child_register(bed->mem, bed->ctx, strange[i], see, &seen, &child), ESRCH);
    }
    check_int(sss_child_register(bed->mem, NULL, 1, see, &seen, &child), EINVAL);
    check(child == NULL);
    check_int(talloc_total_blocks(NULL), blocks);
    bed_settle(bed);
    check_int(seen.calls, 0);
}

/* Without an out pointer the memctx owns the watch; without both nobody does. */
static void register_without_an_out_pointer(struct bed *bed)
{
    struct seen seen = { 0 }, alone = { 0 };
    struct gate gate;
    void *owner;
    pid_t pid;

    bed_start(bed, SSS_SCOPE_ALL, 0);
    owner = bed_memory(bed->mem);
    gate_make(&gate);
    pid = child_at(&gate, 2);
    check_ok(sss_child_register(NULL, bed->ctx, child_dead(3), see, &alone, NULL));
    bed_until(bed, &alone.calls, 1);
    check_int(alone.status, status_of(3));
    check_ok(sss_child_register(owner, bed->ctx, pid, see, &seen, NULL));
    check_int(talloc_total_blocks(owner), 3);
    gate_open(&gate);
    bed_until(bed, &seen.calls, 1);
    check_seen(&seen, pid, 2);
    check_ok(talloc_free(owner));
}

static void a_null_callback_reaps(struct bed *bed)
{
    struct sss_child_ctx *child;
    pid_t pid;

    bed_start(bed, SSS_SCOPE_REGISTERED, 0);
    pid = child_dead(0);
    child = bed_watch(bed, NULL, pid, NULL, NULL);
    bed_until_reaped(bed, pid);
    check_ok(talloc_free(child));
}

int main(void)
{
    static const struct row rows[] = {
        ROW(init_without_an_out_pointer),
        ROW(a_context_without_a_loop),
        ROW(register_with_a_bad_pid),
        ROW(register_without_an_out_pointer),
        ROW(a_null_callback_reaps),
    };
    static const struct row failing[] = { ROW(a_null_callback_reaps) };

    return BED_RUN(rows, BED_HOSTS) + BED_RUN(failing, BED_FAILING);
}
