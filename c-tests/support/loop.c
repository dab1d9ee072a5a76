#define _GNU_SOURCE
#include "support/loop.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "support/check.h"
#include "support/child.h"

struct sss_ctx_params params_zero(void)
{
    struct sss_ctx_params params;

    memset(&params, 0, sizeof(params));
    params.size = sizeof(params);
    return params;
}

static struct sss_sigchild_ctx *ctx_of(const struct sss_ctx_params *params)
{
    struct sss_sigchild_ctx *ctx = NULL;

    check_ok(sss_sigchld_ctx_create(params, &ctx));
    check(ctx != NULL);
    return ctx;
}

struct sss_sigchild_ctx *ctx_make(uint32_t scope, int options)
{
    struct sss_ctx_params params = params_zero();

    params.mask = SSS_CTX_PARAM_SCOPE | SSS_CTX_PARAM_OPTIONS;
    params.scope = scope;
    params.options = options;
    return ctx_of(&params);
}

struct sss_sigchild_ctx *ctx_untrusted(uint32_t scope)
{
    struct sss_ctx_params params = params_zero();

    params.mask = SSS_CTX_PARAM_SCOPE | SSS_CTX_PARAM_FLAGS;
    params.scope = scope;
    params.flags = SSS_CTX_UNTRUSTED;
    return ctx_of(&params);
}

static void mask_sigchld(int how)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    check_ok(sigprocmask(how, &set, NULL));
}

void loop_start(struct loop *loop, struct sss_sigchild_ctx *ctx, enum waking waking)
{
    sigset_t set;

    loop->ctx = ctx;
    loop->sigfd = -1;
    loop->ctxfd = -1;
    if (waking & WAKE_SIGNAL) {
        mask_sigchld(SIG_BLOCK);
        sigemptyset(&set);
        sigaddset(&set, SIGCHLD);
        loop->sigfd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
        check(loop->sigfd != -1);
        sss_child_handler(NULL, NULL, 0, 0, NULL, ctx);
    }
    if (waking & WAKE_DESCRIPTOR) {
        check_ok(sss_sigchld_ctx_fd(ctx, &loop->ctxfd));
    }
}

static void drop_pending_sigchld(int sigfd)
{
    struct signalfd_siginfo info;

    while (read(sigfd, &info, sizeof(info)) > 0) {
    }
    check_int(errno, EAGAIN);
}

void loop_end(struct loop *loop)
{
    check_ok(sss_sigchld_ctx_free(loop->ctx));
    loop->ctx = NULL;
    if (loop->sigfd == -1) {
        return;
    }
    drop_pending_sigchld(loop->sigfd);
    check_ok(close(loop->sigfd));
    mask_sigchld(SIG_UNBLOCK);
}

static void take_signals(struct loop *loop)
{
    struct signalfd_siginfo from;
    siginfo_t info;

    while (loop->ctx != NULL && read(loop->sigfd, &from, sizeof(from)) == sizeof(from)) {
        memset(&info, 0, sizeof(info));
        info.si_signo = SIGCHLD;
        info.si_code = from.ssi_code;
        info.si_pid = (pid_t)from.ssi_pid;
        info.si_status = from.ssi_status;
        sss_child_handler(NULL, NULL, SIGCHLD, 1, &info, loop->ctx);
    }
}

int loop_turn(struct loop *loop, int timeout_ms)
{
    struct pollfd fds[] = {
        { .fd = loop->sigfd, .events = POLLIN },
        { .fd = loop->ctxfd, .events = POLLIN },
    };
    int ready = poll(fds, 2, timeout_ms);

    if (ready == -1) {
        check_int(errno, EINTR);
        return 0;
    }
    if (fds[0].revents != 0) {
        take_signals(loop);
    }
    if (fds[1].revents != 0 && loop->ctx != NULL) {
        check_int(fds[1].revents, POLLIN);
        check_ok(sss_sigchld_ctx_dispatch(loop->ctx, 0));
    }
    return ready;
}

void loop_until(struct loop *loop, const unsigned *count, unsigned wanted)
{
    int64_t deadline = now_ms() + DEADLINE_MS;

    while (*count < wanted && now_ms() < deadline) {
        loop_turn(loop, 100);
    }
    check_int(*count, wanted);
}

void loop_settle(struct loop *loop)
{
    int64_t deadline = now_ms() + DEADLINE_MS;

    while (loop_turn(loop, 0) > 0) {
        check(now_ms() < deadline);
    }
}

void loop_until_reaped(struct loop *loop, pid_t pid)
{
    int64_t deadline = now_ms() + DEADLINE_MS;

    while (is_child(pid)) {
        check(now_ms() < deadline);
        loop_turn(loop, 100);
    }
    loop_settle(loop);
}

void see(int pid, int wait_status, void *pvt)
{
    struct seen *seen = pvt;

    if (seen->calls < sizeof(seen->statuses) / sizeof(seen->statuses[0])) {
        seen->statuses[seen->calls] = wait_status;
    }
    seen->calls++;
    seen->pid = pid;
    seen->status = wait_status;
}

void check_seen(const struct seen *seen, pid_t pid, int end)
{
    check_int(seen->calls, 1);
    check_int(seen->pid, pid);
    check_int(seen->status, status_of(end));
}

bool sigchld_is_pending(void)
{
    sigset_t pending;

    check_ok(sigpending(&pending));
    return sigismember(&pending, SIGCHLD) == 1;
}

void await_sigchld_pending(void)
{
    int64_t deadline = now_ms() + DEADLINE_MS;

    while (!sigchld_is_pending()) {
        check(now_ms() < deadline);
    }
}

struct sss_ctx_stats stats_of(struct sss_sigchild_ctx *ctx)
{
    struct sss_ctx_stats stats;

    memset(&stats, 0, sizeof(stats));
    stats.size = sizeof(stats);
    check_ok(sss_sigchld_ctx_stats(ctx, &stats));
    return stats;
}

const struct way ways[6] = {
    { SSS_SCOPE_ALL, WAKE_SIGNAL },
    { SSS_SCOPE_ALL, WAKE_DESCRIPTOR },
    { SSS_SCOPE_ALL, WAKE_BOTH },
    { SSS_SCOPE_REGISTERED, WAKE_SIGNAL },
    { SSS_SCOPE_REGISTERED, WAKE_DESCRIPTOR },
    { SSS_SCOPE_REGISTERED, WAKE_BOTH },
};

static struct loop way_loop;
static unsigned way_fds;

int way_setup(void **state)
{
    const struct way *way = *state;

    way_fds = count_fds();
    loop_start(&way_loop, ctx_make(way->scope, 0), way->waking);
    *state = &way_loop;
    return 0;
}

int way_teardown(void **state)
{
    (void)state;
    loop_end(&way_loop);
    check_no_children();
    check_int(count_fds(), way_fds);
    return 0;
}
