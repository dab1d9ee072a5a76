/* sss_sigchld_ctx_audit() finds what keeps exits from being told, and repairs it. */
#include "support/test.h"

#include "support/kernel.h"

static struct sss_ctx_audit audit_of(struct sss_sigchild_ctx *ctx)
{
    struct sss_ctx_audit found;

    memset(&found, 0xaa, sizeof(found));
    found.size = sizeof(found);
    check_ok(sss_sigchld_ctx_audit(ctx, &found));
    check_int(found.reserved, 0);
    return found;
}

static void take_sigchld(void (*handler)(int), int flags)
{
    struct sigaction action;

    memset(&action, 0, sizeof(action));
    action.sa_handler = handler;
    action.sa_flags = flags;
    check_ok(sigaction(SIGCHLD, &action, NULL));
}

static void somebodys(int signum)
{
    (void)signum;
}

static void look(void *pvt)
{
    struct loop loop;
    sigset_t set;

    (void)pvt;
    loop_start(&loop, ctx_make(SSS_SCOPE_REGISTERED, WUNTRACED), WAKE_SIGNAL);
    check_int(audit_of(loop.ctx).findings, SSS_AUDIT_BLOCKED); /* for our signalfd */
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    check_ok(sigprocmask(SIG_UNBLOCK, &set, NULL));
    check_int(audit_of(loop.ctx).findings, 0);
    take_sigchld(somebodys, SA_NOCLDSTOP);
    check_int(audit_of(loop.ctx).findings, SSS_AUDIT_REPLACED | SSS_AUDIT_NOCLDSTOP);
    check_int(audit_of(loop.ctx).findings, SSS_AUDIT_NOCLDSTOP);
    take_sigchld(somebodys, SA_NOCLDWAIT);
    check_int(audit_of(loop.ctx).findings, SSS_AUDIT_NOCLDWAIT);
    take_sigchld(SIG_IGN, 0);
    check_int(audit_of(loop.ctx).findings, SSS_AUDIT_IGNORED | SSS_AUDIT_REPLACED);
    take_sigchld(SIG_DFL, 0);
    check_int(audit_of(loop.ctx).findings, SSS_AUDIT_REPLACED);
    check_int(audit_of(loop.ctx).findings, 0);
    check_ok(sigprocmask(SIG_BLOCK, &set, NULL));
    loop_end(&loop);
}

static void each_finding(void **state)
{
    (void)state;
    in_child(look, NULL);
}

static void no_cldstop_without_options(void *unused)
{
    struct sss_sigchild_ctx *ctx = ctx_make(SSS_SCOPE_REGISTERED, 0);

    (void)unused;
    take_sigchld(SIG_DFL, SA_NOCLDSTOP);
    check_int(audit_of(ctx).findings & SSS_AUDIT_NOCLDSTOP, 0);
    check_ok(sss_sigchld_ctx_free(ctx));
}

static void nocldstop_is_fine_without_options(void **state)
{
    (void)state;
    in_child(no_cldstop_without_options, NULL);
}

/* SIGCHLD was taken away after the registration: the audit finds the children's ends. */
static void mend(void *unused)
{
    bool keeps = kernel_keeps_status();
    struct seen seen = { 0 };
    struct sss_child_ctx *child;
    struct gate gate;
    struct loop loop;
    pid_t pid;

    (void)unused;
    loop_start(&loop, ctx_make(SSS_SCOPE_REGISTERED, 0), WAKE_BOTH);
    gate_make(&gate);
    pid = child_at(&gate, 4);
    check_ok(sss_child_register(NULL, loop.ctx, pid, see, &seen, &child));
    check_int(stats_of(loop.ctx).young, 1);
    take_sigchld(SIG_IGN, 0);
    check((audit_of(loop.ctx).findings & SSS_AUDIT_IGNORED) != 0);
    if (!kernel_has_pidfds()) {
        gate_open(&gate);
        loop_turn(&loop, 0);
        check_ok(sss_child_free(child));
        loop_end(&loop);
        return;
    }
    check_int(stats_of(loop.ctx).old, 1);
    gate_open(&gate);
    loop_until(&loop, &seen.calls, 1);
    check_int(seen.status, keeps ? status_of(4) : SSS_WAIT_STATUS_LOST);
    check_int(audit_of(loop.ctx).recovered, keeps);
    check_int(audit_of(loop.ctx).lost, !keeps);
    check_ok(sss_child_free(child));
    loop_end(&loop);
}

static void mends(void **state)
{
    (void)state;
    in_child(mend, NULL);
}

/* The audit's look finds an exit of which no signal told. */
static void looks_at_every_child(void **state)
{
    struct loop *loop = *state;
    struct seen seen = { 0 };
    struct sss_child_ctx *child;
    struct gate gate;
    pid_t pid, unknown;

    gate_make(&gate);
    pid = child_at(&gate, 4);
    unknown = child_at(&gate, 5);
    check_ok(sss_child_register(NULL, loop->ctx, pid, see, &seen, &child));
    gate_open(&gate);
    await_zombie(pid);
    await_zombie(unknown);
    check_int(audit_of(loop->ctx).parked, 1);
    check(!is_child(pid) && !is_child(unknown));
    loop_until(loop, &seen.calls, 1);
    check_seen(&seen, pid, 4);
    check_ok(sss_child_free(child));
}

static void counts(void **state)
{
    struct loop *loop = *state;
    struct sss_ctx_audit found = audit_of(loop->ctx);
    struct sss_ctx_stats stats = stats_of(loop->ctx);

    check_int(found.recovered, stats.recovered);
    check_int(found.lost, stats.lost);
    check_int(found.parked, stats.parked);
    check_int(found.unknown, stats.unknown);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_finding),
        cmocka_unit_test(nocldstop_is_fine_without_options),
        cmocka_unit_test(mends),
        ONE_WAY(looks_at_every_child, "_all_signal", 0),
        ONE_WAY(looks_at_every_child, "_all_both", 2),
        EACH_WAY(counts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
