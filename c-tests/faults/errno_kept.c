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

static void see_done(struct sss_child_ctx *child, const struct sss_communicated *done, void *pvt)
{
    (void)child;
    (void)done;
    (*(unsigned *)pvt)++;
}

/* Rich watches, waits and communicate; the child of `pid` lives. */
static void all_of_the_rich_ones(struct loop *loop, pid_t pid)
{
    static const char *const argv[] = { "true", NULL };
    const struct sss_deadline_step step = { .after_ns = INT64_MAX / 2, .signum = SIGKILL };
    const struct sss_deadline late = { .size = sizeof(late), .steps = &step, .steps_count = 1 };
    struct sss_deadline none = late;
    struct sss_spawn spawn = { .size = sizeof(spawn), .path = "/bin/true", .argv = argv };
    struct sss_watch watch = { .size = sizeof(watch), .mask = SSS_WATCH_PID, .pid = pid };
    struct sss_child_event record = { .size = sizeof(record) };
    struct sss_child_ctx *child = NULL, *piped = NULL;
    unsigned done = 0;
    struct sss_communicate comm = {
        .size = sizeof(comm), .mask = SSS_COMMUNICATE_OUTPUT, .cb = see_done, .pvt = &done,
    };
    int status;

    none.steps_count = 0;
    KEEPS_ERRNO(check_ok(sss_child_watch(NULL, loop->ctx, &watch, &child)));
    KEEPS_ERRNO(sss_child_set_deadline(child, &late)); /* or ENOTSUP */
    KEEPS_ERRNO(check_int(sss_child_set_deadline(child, &none), EINVAL));
    KEEPS_ERRNO(sss_child_set_deadline(child, NULL));
    KEEPS_ERRNO(check_int(sss_child_wait(child, 1, &status, &record), ETIMEDOUT));
    KEEPS_ERRNO(check_int(sss_child_wait(child, -2, &status, &record), EINVAL));
    KEEPS_ERRNO(check_int(sss_sigchld_ctx_wait_all(loop->ctx, 1, NULL, NULL), ETIMEDOUT));
    KEEPS_ERRNO(check_ok(sss_child_free(child)));
    watch.pid = 1;
    KEEPS_ERRNO(check_int(sss_child_watch(NULL, loop->ctx, &watch, &child), ESRCH));
    watch.mask = SSS_WATCH_PIDFD;
    watch.pidfd = -1;
    KEEPS_ERRNO(check_int(sss_child_watch(NULL, loop->ctx, &watch, &child), EBADF));
    KEEPS_ERRNO(sss_child_communicate(NULL, loop->ctx, &spawn, &comm, &piped));
    spawn.path = "/nowhere";
    KEEPS_ERRNO(sss_child_communicate(NULL, loop->ctx, &spawn, &comm, &child));
    if (piped != NULL) {
        KEEPS_ERRNO(check_ok(sss_child_wait(piped, -1, &status, &record)));
        while (done == 0) {
            KEEPS_ERRNO(check_ok(sss_sigchld_ctx_dispatch(loop->ctx, 0)));
        }
        KEEPS_ERRNO(check_ok(sss_child_free(piped)));
    }
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
    all_of_the_rich_ones(loop, pid);
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
