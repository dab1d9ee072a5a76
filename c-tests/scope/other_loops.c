/* A look that was put off is made by the first loop that runs; each loop is woken again. */
#include "support/test.h"

#include <poll.h>

static unsigned told;

static uint32_t see_unknown(int pid, int wait_status, void *pvt)
{
    (void)wait_status;
    told += pvt == NULL || pid == *(pid_t *)pvt;
    return SSS_UNKNOWN_TAKEN;
}

/* The loop of the context that had the signal does not run again. */
static void a_look_is_made_while_another_loop_is_blocked(void **state)
{
    enum { IDLE = 100 };
    struct sss_child_ctx *children[IDLE];
    struct loop blocked, awake;
    struct gate gate, own;
    siginfo_t info;
    pid_t named, unknown;
    int i;

    (void)state;
    told = 0;
    loop_start(&awake, ctx_make(SSS_SCOPE_ALL, 0), WAKE_BOTH);
    check_ok(sss_sigchld_ctx_set_unknown_fn(awake.ctx, see_unknown, &unknown));
    /* No sweep finds it on the way. */
    loop_start(&blocked, ctx_untrusted(SSS_SCOPE_REGISTERED), WAKE_BOTH);
    gate_make(&gate);
    gate_make(&own);
    for (i = 0; i < IDLE; i++) {
        check_ok(sss_child_register(NULL, blocked.ctx, child_at(&gate, 0), NULL, NULL,
                                    &children[i]));
    }
    sss_child_handler(NULL, NULL, SIGCHLD, 1, NULL, awake.ctx);
    sss_child_handler(NULL, NULL, SIGCHLD, 1, NULL, blocked.ctx);
    named = child_at(&own, 1);
    check_ok(sss_child_register(NULL, blocked.ctx, named, NULL, NULL, &children[0]));
    unknown = child_at(&own, 2);
    gate_open(&own);
    await_zombie(named);
    await_zombie(unknown);
    memset(&info, 0, sizeof(info));
    info.si_code = CLD_EXITED;
    info.si_pid = named;
    sss_child_handler(NULL, NULL, SIGCHLD, 1, &info, blocked.ctx);
    awake.sigfd = -1; /* by its descriptor alone */
    loop_until(&awake, &told, 1);
    gate_open(&gate);
    check_ok(sss_sigchld_ctx_free(blocked.ctx));
    check_ok(sss_sigchld_ctx_free(awake.ctx));
    while (wait(NULL) > 0) {
    }
}

/* An unknown child, for which a context was woken, is claimed by another one. */
static void after_another_context_claimed_its_child(void **state)
{
    struct sss_ctx_audit audit = { .size = sizeof(audit) };
    struct loop bare, other;
    struct sss_child_ctx *child;
    struct seen seen = { 0 };
    pid_t pid;

    (void)state;
    told = 0;
    loop_start(&bare, ctx_make(SSS_SCOPE_ALL, 0), WAKE_SIGNAL);
    check_ok(sss_sigchld_ctx_set_unknown_fn(bare.ctx, see_unknown, NULL));
    loop_start(&other, ctx_make(SSS_SCOPE_REGISTERED, 0), WAKE_DESCRIPTOR);
    pid = child_dead(1);
    check_ok(sss_sigchld_ctx_audit(other.ctx, &audit)); /* finds it, and wakes bare */
    check_ok(sss_child_register(NULL, other.ctx, pid, see, &seen, &child));
    loop_until(&other, &seen.calls, 1);
    loop_settle(&bare);
    check_int(told, 0);
    pid = child_dead(2);
    loop_settle(&bare);
    told = 0;
    pid = child_at(NULL, 3);
    loop_until_reaped(&bare, pid);
    check_ok(sss_child_free(child));
    pid = child_dead(4);
    while (sigchld_is_pending()) { /* takes the kernel's, so that only ours is left */
        struct pollfd poller = { bare.sigfd, POLLIN, 0 };
        char info[128];

        check_int(poll(&poller, 1, DEADLINE_MS), 1);
        check(read(bare.sigfd, info, sizeof(info)) == sizeof(info));
    }
    told = 0;
    check_ok(sss_sigchld_ctx_audit(other.ctx, &audit));
    loop_until(&bare, &told, 1);
    check_ok(sss_sigchld_ctx_free(other.ctx));
    check_ok(sss_sigchld_ctx_free(bare.ctx));
    check_no_children();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_look_is_made_while_another_loop_is_blocked),
        cmocka_unit_test(after_another_context_claimed_its_child),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
