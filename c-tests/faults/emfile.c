/* Out of descriptors: exits are still told, and all is as before once there are some again. */
#include "support/test.h"

#include <sys/resource.h>
#include <syslog.h>

#include "support/kernel.h"

/* No more descriptors can be opened. */
static void forbid_descriptors(void)
{
    struct rlimit limit;
    int next = dup(STDERR_FILENO);

    check(next != -1);
    check_ok(close(next));
    check_ok(getrlimit(RLIMIT_NOFILE, &limit));
    limit.rlim_cur = (rlim_t)next;
    check_ok(setrlimit(RLIMIT_NOFILE, &limit));
    check_int(dup(STDERR_FILENO), -1);
    check_int(errno, EMFILE);
}

static void allow_descriptors(void)
{
    struct rlimit limit;

    check_ok(getrlimit(RLIMIT_NOFILE, &limit));
    limit.rlim_cur = 1024;
    check_ok(setrlimit(RLIMIT_NOFILE, &limit));
}

enum { COUNT = 10, LINE = 128 };

static void watch_some(struct loop *loop, bool forbid)
{
    struct sss_child_ctx *children[COUNT];
    struct seen seen[COUNT];
    struct gate gate;
    pid_t pids[COUNT];
    int i;

    memset(seen, 0, sizeof(seen));
    gate_make(&gate);
    for (i = 0; i < COUNT; i++) {
        pids[i] = child_at(&gate, i);
    }
    if (forbid) {
        forbid_descriptors();
    }
    for (i = 0; i < COUNT; i++) {
        check_ok(sss_child_register(NULL, loop->ctx, pids[i], see, &seen[i], &children[i]));
    }
    gate_open(&gate); /* frees two descriptors */
    for (i = 0; i < COUNT; i++) {
        loop_until(loop, &seen[i].calls, 1);
        check_seen(&seen[i], pids[i], i);
        check_ok(sss_child_free(children[i]));
    }
}

static void registering(void *pvt)
{
    const struct way *way = pvt;
    bool needs_pidfds = way->waking == WAKE_DESCRIPTOR;
    uint64_t refused;
    struct loop loop;

    loop_start(&loop, ctx_make(way->scope, 0), way->waking);
    watch_some(&loop, false);
    refused = stats_of(loop.ctx).no_pidfd;
    watch_some(&loop, true);
    /* When a signal wakes the context a pidfd may be asked for too: long-lived children get
     * theirs then. */
    check(!needs_pidfds || stats_of(loop.ctx).no_pidfd > refused);
    allow_descriptors();
    refused = stats_of(loop.ctx).no_pidfd;
    watch_some(&loop, false);
    if (kernel_has_pidfds()) {
        check_int(stats_of(loop.ctx).no_pidfd, refused);
    } else {
        check(!needs_pidfds || stats_of(loop.ctx).no_pidfd > refused);
    }
    loop_end(&loop);
    check_no_children();
}

static void registering_in_each_way(void **state)
{
    size_t i;

    (void)state;
    for (i = 0; i < ARRAY_SIZE(ways); i++) {
        in_child(registering, (void *)&ways[i]);
    }
}

/* Children that got no pidfd at their registration get one later, and then need no looks at
 * intervals. */
static void heals(void *unused)
{
    struct seen seen = { 0 };
    struct sss_child_ctx *child;
    struct gate gate;
    struct loop loop;
    int64_t deadline = now_ms() + DEADLINE_MS;
    pid_t pid;

    (void)unused;
    loop_start(&loop, ctx_make(SSS_SCOPE_REGISTERED, 0), WAKE_DESCRIPTOR);
    gate_make(&gate);
    pid = child_at(&gate, 3);
    forbid_descriptors();
    check_ok(sss_child_register(NULL, loop.ctx, pid, see, &seen, &child));
    check_int(stats_of(loop.ctx).young, 1);
    allow_descriptors();
    while (kernel_has_pidfds() && stats_of(loop.ctx).old == 0) {
        check(now_ms() < deadline);
        loop_turn(&loop, 100);
    }
    gate_open(&gate);
    loop_until(&loop, &seen.calls, 1);
    check_seen(&seen, pid, 3);
    check_ok(sss_child_free(child));
    loop_end(&loop);
}

static void heals_by_itself(void **state)
{
    (void)state;
    in_child(heals, NULL);
}

static void keep_line(uint32_t level, const char *message, void *pvt)
{
    check_int(level, LOG_DEBUG);
    snprintf(pvt, LINE, "%s", message);
}

/* The errno says that there is a shortage, and the log which call found it. */
static void no_context_descriptor(void *unused)
{
    char line[LINE] = "";
    struct sss_sigchild_ctx *ctx = ctx_make(SSS_SCOPE_REGISTERED, 0);
    struct seen seen = { 0 };
    struct sss_child_ctx *child;
    struct loop loop;
    pid_t pid;
    int fd = -1;

    (void)unused;
    check_ok(sss_sigchld_set_log_fn(keep_line, line));
    forbid_descriptors();
    check_int(sss_sigchld_ctx_fd(ctx, &fd), EMFILE);
    check(strcmp(line, "epoll_create: Too many open files") == 0);
    check_ok(sss_sigchld_set_log_fn(NULL, NULL));
    check_int(fd, -1);
    check_int(sss_sigchld_ctx_dispatch(ctx, 0), ENOTSUP);
    allow_descriptors();
    loop_start(&loop, ctx, WAKE_DESCRIPTOR);
    pid = child_at(NULL, 2);
    check_ok(sss_child_register(NULL, ctx, pid, see, &seen, &child));
    loop_until(&loop, &seen.calls, 1);
    check_seen(&seen, pid, 2);
    check_ok(sss_child_free(child));
    loop_end(&loop);
}

static void the_contexts_descriptor(void **state)
{
    (void)state;
    in_child(no_context_descriptor, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(registering_in_each_way),
        cmocka_unit_test(heals_by_itself),
        cmocka_unit_test(the_contexts_descriptor),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
