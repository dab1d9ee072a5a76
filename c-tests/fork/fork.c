/* In a forked child each function answers ECHILD, and the parent is untouched. */
#include "support/test.h"

#include "support/kernel.h"

#include <fcntl.h>

struct inherited {
    struct loop *loop;
    struct sss_child_ctx *child;
};

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

static int hook(struct sss_child_ctx *child, void *pvt)
{
    (void)child;
    (void)pvt;
    check(!"a hook runs in a forked child");
    return 0;
}

static void each_function(void *pvt)
{
    struct inherited *parents = pvt;
    struct sss_sigchild_ctx *ctx = parents->loop->ctx;
    struct sss_child_ctx *child = parents->child;
    struct sss_child_ctx *made = NULL;
    struct sss_ctx_stats stats = { .size = sizeof(stats) };
    struct sss_ctx_audit found = { .size = sizeof(found) };
    struct seen seen = { 0 };
    uint64_t id = 0;
    pid_t pid = child_dead(0);
    pid_t told = -1;
    int fd = -1;

    check_int(sss_child_register(NULL, ctx, pid, see, &seen, &made), ECHILD);
    check_int(sss_child_set_cb(child, see, &seen), ECHILD);
    check_int(sss_child_set_destructor(child, hook, NULL), ECHILD);
    check_int(sss_child_id(child, &id), ECHILD);
    check_int(sss_child_pid(child, &told), ECHILD);
    check_int(sss_child_kill(child, SIGKILL), ECHILD);
    check_int(sss_child_pidfd(child, &fd), ECHILD);
    check_int(sss_child_release(child, NULL), ECHILD);
    check_int(sss_child_free(child), ECHILD);
    check_int(sss_sigchld_ctx_set_unknown_fn(ctx, unknown, NULL), ECHILD);
    check_int(sss_sigchld_ctx_foreach(ctx, show, NULL), ECHILD);
    check_int(sss_sigchld_ctx_stats(ctx, &stats), ECHILD);
    check_int(sss_sigchld_ctx_fd(ctx, &fd), ECHILD);
    check_int(sss_sigchld_ctx_dispatch(ctx, 0), ECHILD);
    check_int(sss_sigchld_ctx_audit(ctx, &found), ECHILD);
    sss_child_handler(NULL, NULL, 0, 0, NULL, ctx);
    check(made == NULL && id == 0 && fd == -1);
    reap(pid, 0); /* nobody took it */
    check_int(sss_sigchld_ctx_free(ctx), ECHILD);
    check_int(sss_child_free(child), ECHILD);
    check_int(seen.calls, 0);
}

static void parent_untouched(struct loop *loop, void (*run)(void (*fn)(void *), void *))
{
    struct inherited inherited = { .loop = loop };
    struct seen seen = { 0 };
    struct gate gate;
    unsigned fds;
    pid_t pid;

    gate_make(&gate);
    pid = child_at(&gate, 3);
    check_ok(sss_child_register(NULL, loop->ctx, pid, see, &seen, &inherited.child));
    check_ok(sss_child_set_destructor(inherited.child, NULL, NULL));
    fds = count_fds();
    run(each_function, &inherited);
    check_int(count_fds(), fds);
    gate_open(&gate);
    loop_until(loop, &seen.calls, 1);
    check_seen(&seen, pid, 3);
    check_ok(sss_child_free(inherited.child));
}

static void each_function_in_a_child(void **state)
{
    parent_untouched(*state, in_child);
}

/* A context of the child's own beside the inherited one. */
static void own_context(void *pvt)
{
    struct inherited *parents = pvt;
    struct seen seen = { 0 };
    struct sss_child_ctx *child;
    struct loop own;
    pid_t pid = child_dead(5);

    loop_start(&own, ctx_make(SSS_SCOPE_ALL, 0), WAKE_DESCRIPTOR);
    check_ok(sss_child_register(NULL, own.ctx, pid, see, &seen, &child));
    loop_until(&own, &seen.calls, 1);
    check_seen(&seen, pid, 5);
    check_int(sss_child_kill(parents->child, SIGKILL), ECHILD);
    check_int(sss_child_free(parents->child), ECHILD);
    check_int(sss_sigchld_ctx_free(parents->loop->ctx), ECHILD);
    check_ok(sss_child_free(child));
    loop_end(&own);
}

static void with_a_context_of_its_own(void **state)
{
    struct loop *loop = *state;
    struct inherited inherited = { .loop = loop };
    struct seen seen = { 0 };
    struct gate gate;
    pid_t pid;

    gate_make(&gate);
    pid = child_at(&gate, 3);
    check_ok(sss_child_register(NULL, loop->ctx, pid, see, &seen, &inherited.child));
    in_child(own_context, &inherited);
    gate_open(&gate);
    loop_until(loop, &seen.calls, 1);
    check_seen(&seen, pid, 3);
    check_ok(sss_child_free(inherited.child));
}

/* The inherited descriptors are closed by the free, the parent's stay. */
static void free_closes(void *pvt)
{
    struct loop *loop = pvt;

    check(fcntl(loop->ctxfd, F_GETFD) != -1);
    check_int(sss_sigchld_ctx_free(loop->ctx), ECHILD);
    check_int(fcntl(loop->ctxfd, F_GETFD), -1);
    check_int(errno, EBADF);
}

static void inherited_descriptors(void **state)
{
    struct loop *loop = *state;
    struct seen seen = { 0 };
    struct sss_child_ctx *child;
    struct gate gate;
    pid_t pid;

    gate_make(&gate);
    pid = child_at(&gate, 3);
    check_ok(sss_child_register(NULL, loop->ctx, pid, see, &seen, &child));
    in_child(free_closes, loop);
    check(fcntl(loop->ctxfd, F_GETFD) != -1);
    gate_open(&gate);
    loop_until(loop, &seen.calls, 1);
    check_seen(&seen, pid, 3);
    check_ok(sss_child_free(child));
}

static unsigned count_pidfds(void)
{
    char path[64], target[64];
    unsigned n = 0;
    int fd;

    for (fd = 0; fd < 1024; fd++) {
        ssize_t length;

        snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        length = readlink(path, target, sizeof(target));
        n += length >= 18 && memcmp(target, "anon_inode:[pidfd]", 18) == 0;
    }
    return n;
}

static void free_closes_pidfds(void *pvt)
{
    struct loop *loop = pvt;

    check_int(count_pidfds(), kernel_has_pidfds() ? 3 : 0);
    check_int(sss_sigchld_ctx_free(loop->ctx), ECHILD);
    check_int(count_pidfds(), 0);
}

static void inherited_pidfds(void **state)
{
    struct loop *loop = *state;
    struct sss_child_ctx *children[3];
    struct seen seen[3] = { 0 };
    struct gate gates[3];
    pid_t pids[3];
    int i;

    for (i = 0; i < 3; i++) {
        gate_make(&gates[i]);
        pids[i] = child_at(&gates[i], i);
        check_ok(sss_child_register(NULL, loop->ctx, pids[i], see, &seen[i], &children[i]));
    }
    in_child(free_closes_pidfds, loop);
    check_int(count_pidfds(), kernel_has_pidfds() ? 3 : 0);
    for (i = 0; i < 3; i++) {
        gate_open(&gates[i]);
        loop_until(loop, &seen[i].calls, 1);
        check_seen(&seen[i], pids[i], i);
        check_ok(sss_child_free(children[i]));
    }
    check_int(count_pidfds(), 0);
}

/* A callback forks, as daemons do. */
struct forking {
    struct loop *loop;
    struct sss_child_ctx *child;
    unsigned calls;
};

static void in_the_callbacks_child(void *pvt)
{
    struct forking *f = pvt;

    check_int(sss_child_free(f->child), ECHILD);
    check_int(sss_sigchld_ctx_free(f->loop->ctx), ECHILD);
}

static void fork_in_callback(int pid, int wait_status, void *pvt)
{
    struct forking *f = pvt;

    (void)pid;
    (void)wait_status;
    f->calls++;
    in_child(in_the_callbacks_child, f);
}

static void from_a_callback(void **state)
{
    struct forking f = { .loop = *state };

    check_ok(sss_child_register(NULL, f.loop->ctx, child_dead(0), fork_in_callback, &f,
                                &f.child));
    loop_until(f.loop, &f.calls, 1);
    loop_settle(f.loop);
    check_int(f.calls, 1);
    check_ok(sss_child_free(f.child));
}

/* Both are pid 1, so getpid() does not distinguish them. */
static void as_pid_one(void *unused)
{
    struct loop loop;

    (void)unused;
    check_int(getpid(), 1);
    loop_start(&loop, ctx_make(SSS_SCOPE_REGISTERED, 0), WAKE_BOTH);
    parent_untouched(&loop, in_pid_namespace);
    loop_end(&loop);
}

static void where_both_are_pid_one(void **state)
{
    (void)state;
    in_pid_namespace(as_pid_one, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        EACH_WAY(each_function_in_a_child),
        EACH_WAY(with_a_context_of_its_own),
        EACH_WAY(from_a_callback),
        ONE_WAY(inherited_descriptors, "_all_descriptor", 1),
        ONE_WAY(inherited_descriptors, "_registered_both", 5),
        ONE_WAY(inherited_pidfds, "_all_descriptor", 1),
        cmocka_unit_test(where_both_are_pid_one),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
