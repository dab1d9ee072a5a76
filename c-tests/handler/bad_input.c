/* Each bad argument of each function: its errno, and nothing changed. */
#include "support/test.h"

#include <limits.h>

#include "support/memory.h"

/* Runs a call that must fail: nothing is allocated, opened or watched by it. */
#define REFUSED(ctx, call, error) do { \
        struct sss_ctx_stats stats_ = stats_of(ctx); \
        unsigned fds_ = count_fds(); \
        struct memory memory_; \
        int code_; \
        memory_begin(0); \
        code_ = (call); \
        memory_ = memory_end(); \
        check_int_at(code_, (error), #call, __FILE__, __LINE__); \
        check_int_at(memory_.bytes, 0, "bytes allocated by " #call, __FILE__, __LINE__); \
        check_int_at(count_fds(), fds_, "descriptors after " #call, __FILE__, __LINE__); \
        check_same_stats(&stats_, ctx, #call, __LINE__); \
    } while (0)

#define JUNK ((void *)0x10)

static void check_same_stats(const struct sss_ctx_stats *before, struct sss_sigchild_ctx *ctx,
                             const char *call, int line)
{
    struct sss_ctx_stats after = stats_of(ctx);

    after.sweeps = before->sweeps;
    after.walks = before->walks;
    check_at(memcmp(before, &after, sizeof(after)) == 0, call, __FILE__, line);
}

static void init(void **state)
{
    static const int bad[] = { -1, WNOHANG, WEXITED, WNOWAIT, INT_MIN, 0x100,
                               WUNTRACED | WNOHANG };
    struct loop *loop = *state;
    struct sss_sigchild_ctx *out = JUNK;
    size_t i;

    REFUSED(loop->ctx, sss_sigchld_ctx_init(NULL, NULL, 0, NULL), EINVAL);
    REFUSED(loop->ctx, sss_sigchld_ctx_init(JUNK, NULL, 0, &out), EINVAL);
    REFUSED(loop->ctx, sss_sigchld_ctx_init(NULL, JUNK, 0, &out), EINVAL);
    for (i = 0; i < ARRAY_SIZE(bad); i++) {
        REFUSED(loop->ctx, sss_sigchld_ctx_init(NULL, NULL, bad[i], &out), EINVAL);
    }
    check(out == JUNK);
}

static uint32_t unknown(int pid, int wait_status, void *pvt)
{
    (void)pid;
    (void)wait_status;
    (void)pvt;
    return SSS_UNKNOWN_PARK;
}

static void create(void **state)
{
    struct loop *loop = *state;
    struct sss_sigchild_ctx *out = JUNK;
    struct sss_ctx_params good = params_zero();
    struct sss_ctx_params bad;
    union {
        struct sss_ctx_params params;
        char bytes[sizeof(struct sss_ctx_params) + 64];
    } later;
    static struct { size_t size; char rest[8192]; } huge = { sizeof(huge), { 0 } };
    struct sss_host host;

#define BAD(change, error) do { \
        bad = good; \
        change; \
        REFUSED(loop->ctx, sss_sigchld_ctx_create(&bad, &out), error); \
    } while (0)

    REFUSED(loop->ctx, sss_sigchld_ctx_create(NULL, &out), EINVAL);
    REFUSED(loop->ctx, sss_sigchld_ctx_create(&good, NULL), EINVAL);
    BAD(bad.size = 0, EINVAL);
    BAD(bad.size = sizeof(size_t), EINVAL);
    BAD(bad.mask = 0x10, EINVAL);
    BAD(bad.reserved = 1, E2BIG);
    BAD(bad.mask = 0x80000000u, EINVAL);
    BAD((bad.mask = SSS_CTX_PARAM_OPTIONS, bad.options = WNOHANG), EINVAL);
    BAD((bad.mask = SSS_CTX_PARAM_OPTIONS, bad.options = -1), EINVAL);
    BAD(bad.mask = SSS_CTX_PARAM_SCOPE, EINVAL);
    BAD((bad.mask = SSS_CTX_PARAM_SCOPE, bad.scope = 3), EINVAL);
    BAD((bad.mask = SSS_CTX_PARAM_FLAGS, bad.flags = 0x4), EINVAL);
    BAD(bad.memctx = JUNK, EINVAL);
    BAD(bad.loop = JUNK, EINVAL);
    memset(&host, 0, sizeof(host));
    BAD(bad.host = &host, EINVAL);
    host.size = sizeof(host);
    BAD(bad.host = &host, EINVAL);

    memset(&later, 0, sizeof(later));
    later.params = good;
    later.params.size = sizeof(later);
    later.bytes[sizeof(later) - 1] = 1;
    REFUSED(loop->ctx, sss_sigchld_ctx_create(&later.params, &out), E2BIG);
    REFUSED(loop->ctx, sss_sigchld_ctx_create((void *)&huge, &out), E2BIG);
    check(out == JUNK);
#undef BAD
}

static void of_a_later_version(void **state)
{
    struct sss_sigchild_ctx *ctx;
    union {
        struct sss_ctx_params params;
        char bytes[sizeof(struct sss_ctx_params) + 64];
    } later;

    (void)state;
    memset(&later, 0, sizeof(later));
    later.params.size = sizeof(later);
    check_ok(sss_sigchld_ctx_create(&later.params, &ctx)); /* the tail is zeros */
    check_ok(sss_sigchld_ctx_free(ctx));
    later.params.size = offsetof(struct sss_ctx_params, host);
    later.params.host = JUNK;
    check_ok(sss_sigchld_ctx_create(&later.params, &ctx)); /* and here unseen */
    check_ok(sss_sigchld_ctx_free(ctx));
}

static pid_t grandchild(pid_t *parent, struct gate *gate)
{
    int ends[2];
    pid_t pid;

    check_ok(pipe(ends));
    gate_make(gate);
    *parent = fork();
    check(*parent != -1);
    if (*parent == 0) {
        pid = child_at(gate, 0);
        close(gate->wr);
        if (write(ends[1], &pid, sizeof(pid)) != sizeof(pid)) {
            _exit(1);
        }
        reap(pid, 0);
        _exit(0);
    }
    check_int(read(ends[0], &pid, sizeof(pid)), sizeof(pid));
    check_ok(close(ends[0]));
    check_ok(close(ends[1]));
    return pid;
}

static void registering(void **state)
{
    static const pid_t invalid[] = { 0, -1, INT_MIN };
    struct loop *loop = *state;
    struct seen seen = { 0 };
    struct sss_child_ctx *out = JUNK;
    struct gate gate;
    pid_t strangers[] = { 1, getppid(), getpid(), INT_MAX, 0, 0 };
    pid_t pid, parent;
    size_t i;

    pid = grandchild(&parent, &gate);
    strangers[4] = pid;
    strangers[5] = child_dead(0);
    reap(strangers[5], 0);
    REFUSED(loop->ctx, sss_child_register(NULL, NULL, parent, see, &seen, &out), EINVAL);
    REFUSED(loop->ctx, sss_child_register(NULL, loop->ctx, 0, see, &seen, NULL), EINVAL);
    REFUSED(loop->ctx, sss_child_register(&seen, loop->ctx, parent, see, &seen, NULL), EINVAL);
    REFUSED(loop->ctx, sss_child_register(JUNK, loop->ctx, parent, see, &seen, &out), EINVAL);
    for (i = 0; i < ARRAY_SIZE(invalid); i++) {
        REFUSED(loop->ctx, sss_child_register(NULL, loop->ctx, invalid[i], see, &seen, &out),
                EINVAL);
    }
    for (i = 0; i < ARRAY_SIZE(strangers); i++) {
        REFUSED(loop->ctx, sss_child_register(NULL, loop->ctx, strangers[i], see, &seen, &out),
                ESRCH);
    }
    check(out == JUNK);
    check_int(seen.calls, 0);
    close(gate.wr);
    close(gate.rd);
    reap(parent, 0);
}

static void children(void **state)
{
    struct loop *loop = *state;
    struct seen seen = { 0 };
    struct sss_child_ctx *child;
    struct gate gate;
    uint64_t id;
    pid_t pid;
    int fd = -1;

    gate_make(&gate);
    pid = child_at(&gate, 0);
    check_ok(sss_child_register(NULL, loop->ctx, pid, see, &seen, &child));

    REFUSED(loop->ctx, sss_child_free(NULL), 0);
    REFUSED(loop->ctx, sss_child_release(NULL, NULL), 0);
    REFUSED(loop->ctx, sss_child_set_cb(NULL, see, NULL), EINVAL);
    REFUSED(loop->ctx, sss_child_set_destructor(NULL, NULL, NULL), EINVAL);
    REFUSED(loop->ctx, sss_child_id(NULL, &id), EINVAL);
    REFUSED(loop->ctx, sss_child_id(child, NULL), EINVAL);
    REFUSED(loop->ctx, sss_child_pid(NULL, &pid), EINVAL);
    REFUSED(loop->ctx, sss_child_pid(child, NULL), EINVAL);
    REFUSED(loop->ctx, sss_child_pidfd(NULL, &fd), EINVAL);
    REFUSED(loop->ctx, sss_child_pidfd(child, NULL), EINVAL);
    REFUSED(loop->ctx, sss_child_kill(NULL, SIGTERM), EINVAL);
    REFUSED(loop->ctx, sss_child_kill(child, -1), EINVAL);
    REFUSED(loop->ctx, sss_child_kill(child, SIGRTMAX + 1), EINVAL);
    REFUSED(loop->ctx, sss_child_kill(child, INT_MAX), EINVAL);
    check_int(fd, -1);

    gate_open(&gate);
    loop_until(loop, &seen.calls, 1);
    check_seen(&seen, pid, 0);
    check_ok(sss_child_free(child));
}

static int show(const struct sss_child_info *info, void *pvt)
{
    (void)info;
    (void)pvt;
    return 0;
}

static void contexts(void **state)
{
    struct loop *loop = *state;
    struct sss_ctx_stats stats = { .size = 0 };
    struct sss_ctx_audit found = { .size = 0 };
    int fd = -1;

    REFUSED(loop->ctx, sss_sigchld_ctx_free(NULL), 0);
    REFUSED(loop->ctx, sss_sigchld_ctx_after_fork(NULL), EINVAL);
    REFUSED(loop->ctx, sss_sigchld_ctx_set_unknown_fn(NULL, unknown, NULL), EINVAL);
    REFUSED(loop->ctx, sss_sigchld_ctx_foreach(NULL, show, NULL), EINVAL);
    REFUSED(loop->ctx, sss_sigchld_ctx_foreach(loop->ctx, NULL, NULL), EINVAL);
    REFUSED(loop->ctx, sss_sigchld_ctx_fd(NULL, &fd), EINVAL);
    REFUSED(loop->ctx, sss_sigchld_ctx_fd(loop->ctx, NULL), EINVAL);
    REFUSED(loop->ctx, sss_sigchld_ctx_dispatch(NULL, 0), EINVAL);
    REFUSED(loop->ctx, sss_sigchld_ctx_stats(NULL, &stats), EINVAL);
    REFUSED(loop->ctx, sss_sigchld_ctx_stats(loop->ctx, NULL), EINVAL);
    REFUSED(loop->ctx, sss_sigchld_ctx_stats(loop->ctx, &stats), EINVAL);
    REFUSED(loop->ctx, sss_sigchld_ctx_audit(NULL, &found), EINVAL);
    REFUSED(loop->ctx, sss_sigchld_ctx_audit(loop->ctx, NULL), EINVAL);
    REFUSED(loop->ctx, sss_sigchld_ctx_audit(loop->ctx, &found), EINVAL);
    check_int(fd, -1);
    sss_child_handler(NULL, NULL, 0, 0, NULL, NULL);
}

static void not_of_this_context(void **state)
{
    struct sss_sigchild_ctx *ctx = ctx_make(SSS_SCOPE_REGISTERED, 0);

    (void)state;
    REFUSED(ctx, sss_sigchld_ctx_dispatch(ctx, 0), ENOTSUP); /* its fd was never asked for */
    check_ok(sss_sigchld_ctx_free(ctx));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        EACH_WAY(init),
        EACH_WAY(create),
        EACH_WAY(registering),
        EACH_WAY(children),
        EACH_WAY(contexts),
        cmocka_unit_test(of_a_later_version),
        cmocka_unit_test(not_of_this_context),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
