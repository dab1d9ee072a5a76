/* No function changes errno, whether it succeeds or fails. */
#include "support/test.h"

#define KEEPS_ERRNO(call) do { \
        errno = 4242; \
        call; \
        check_int_at(errno, 4242, "errno after " #call, __FILE__, __LINE__); \
    } while (0)

static uint32_t unknown(int pid, int wait_status, void *pvt)
{
    (void)pid;
    (void)wait_status;
    (void)pvt;
    return SSS_UNKNOWN_PARK;
}

static int show(const struct sss_child_info *info, void *pvt)
{
    (void)info;
    (void)pvt;
    return 0;
}

static int refuse(struct sss_child_ctx *child, void *pvt)
{
    (void)child;
    return *(int *)pvt;
}

static void all_of_them(struct sss_sigchild_ctx *ctx, struct sss_child_ctx *child, pid_t pid)
{
    struct sss_sigchild_ctx *other = NULL;
    struct sss_child_ctx *again = NULL;
    struct sss_ctx_params params = params_zero();
    struct sss_ctx_stats stats = { .size = sizeof(stats) };
    struct sss_ctx_audit found = { .size = sizeof(found) };
    int verdict = -1;
    uint64_t id;
    pid_t told;
    int fd = -1;

    KEEPS_ERRNO(sss_version());
    KEEPS_ERRNO(sss_sigchld_set_log_fn(NULL, NULL));
    KEEPS_ERRNO(sss_sigchld_ctx_init(NULL, NULL, 0, &other));
    KEEPS_ERRNO(sss_sigchld_ctx_free(other));
    KEEPS_ERRNO(sss_sigchld_ctx_init(NULL, NULL, -1, &other));
    KEEPS_ERRNO(sss_sigchld_ctx_create(&params, &other));
    KEEPS_ERRNO(sss_sigchld_ctx_free(other));
    KEEPS_ERRNO(sss_child_register(NULL, ctx, pid, see, NULL, &again));
    KEEPS_ERRNO(sss_child_register(NULL, ctx, 1, see, NULL, &again));
    KEEPS_ERRNO(sss_child_register(NULL, ctx, -1, see, NULL, &again));
    KEEPS_ERRNO(sss_child_id(child, &id));
    KEEPS_ERRNO(sss_child_pid(child, &told));
    KEEPS_ERRNO(sss_child_kill(child, 0));
    KEEPS_ERRNO(sss_child_kill(child, -1));
    KEEPS_ERRNO(sss_child_set_cb(child, NULL, NULL));
    KEEPS_ERRNO(sss_child_set_destructor(child, refuse, &verdict));
    KEEPS_ERRNO(sss_child_free(child));
    KEEPS_ERRNO(sss_child_release(child, NULL));
    verdict = 0;
    KEEPS_ERRNO(sss_child_pidfd(child, &fd));
    if (fd != -1) {
        check_ok(close(fd));
    }
    KEEPS_ERRNO(sss_sigchld_ctx_set_unknown_fn(ctx, unknown, NULL));
    KEEPS_ERRNO(sss_sigchld_ctx_foreach(ctx, show, NULL));
    KEEPS_ERRNO(sss_sigchld_ctx_stats(ctx, &stats));
    KEEPS_ERRNO(sss_sigchld_ctx_audit(ctx, &found));
    KEEPS_ERRNO(sss_sigchld_ctx_fd(ctx, &fd));
    KEEPS_ERRNO(sss_sigchld_ctx_dispatch(ctx, 0));
    KEEPS_ERRNO(sss_sigchld_ctx_after_fork(ctx));
    KEEPS_ERRNO(sss_child_handler(NULL, NULL, 0, 0, NULL, ctx));
    KEEPS_ERRNO(sss_child_free(again));
    KEEPS_ERRNO(sss_child_free(child));
}

static void by_each_function(void **state)
{
    struct loop *loop = *state;
    struct sss_child_ctx *child;
    struct gate gate;
    pid_t pid;

    gate_make(&gate);
    pid = child_at(&gate, 0);
    check_ok(sss_child_register(NULL, loop->ctx, pid, NULL, NULL, &child));
    all_of_them(loop->ctx, child, pid);
    gate_open(&gate);
    await_zombie(pid);
    KEEPS_ERRNO(sss_child_handler(NULL, NULL, 0, 0, NULL, loop->ctx));
    loop_until_reaped(loop, pid);
}

static void in_a_forked_child(void *pvt)
{
    struct loop *loop = pvt;
    struct sss_child_ctx *none = NULL;

    KEEPS_ERRNO(sss_child_register(NULL, loop->ctx, 1, see, NULL, &none));
    KEEPS_ERRNO(sss_sigchld_ctx_dispatch(loop->ctx, 0));
    KEEPS_ERRNO(sss_sigchld_ctx_free(loop->ctx));
}

static void after_a_fork(void **state)
{
    in_child(in_a_forked_child, *state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        EACH_WAY(by_each_function),
        EACH_WAY(after_a_fork),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
