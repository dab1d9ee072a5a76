/* sss_sigchld_ctx_signalled() does what sss_child_handler() does, and returns an errno. */
#include "support/test.h"

static void errors_are_told(void **state)
{
    siginfo_t info = { 0 };

    (void)state;
    check_int(sss_sigchld_ctx_signalled(NULL, NULL), EINVAL);
    check_int(sss_sigchld_ctx_signalled(NULL, &info), EINVAL);
}

static void the_child_that_is_named_is_told(void **state)
{
    struct sss_sigchild_ctx *ctx = ctx_make(SSS_SCOPE_REGISTERED, 0);
    struct seen seen = { 0 };
    struct sss_child_ctx *child;
    siginfo_t info = { .si_code = CLD_EXITED };
    struct gate gate;

    (void)state;
    gate_make(&gate);
    info.si_pid = child_at(&gate, 5);
    check_ok(sss_child_register(NULL, ctx, info.si_pid, see, &seen, &child));
    gate_open(&gate);
    await_zombie(info.si_pid);
    check_ok(sss_sigchld_ctx_signalled(ctx, &info));
    check_seen(&seen, info.si_pid, 5);
    check_ok(sss_child_free(child));
    check_ok(sss_sigchld_ctx_free(ctx));
}

/* Without a name, with a wrong one, and with a signal that kill(2) sent. */
static void whatever_is_named_the_others_are_told(void **state)
{
    struct sss_sigchild_ctx *ctx = ctx_make(SSS_SCOPE_REGISTERED, 0);
    siginfo_t wrong = { .si_code = CLD_EXITED }, sent = { .si_code = SI_USER };
    const siginfo_t *infos[] = { NULL, &wrong, &sent };
    unsigned i;

    (void)state;
    wrong.si_pid = getppid();
    sent.si_pid = getpid();
    for (i = 0; i < ARRAY_SIZE(infos); i++) {
        struct seen seen = { 0 };
        struct gate gate;
        pid_t pid;

        gate_make(&gate);
        pid = child_at(&gate, 8);
        check_ok(sss_child_register(NULL, ctx, pid, see, &seen, NULL));
        gate_open(&gate);
        await_zombie(pid);
        check_ok(sss_sigchld_ctx_signalled(ctx, infos[i]));
        check_seen(&seen, pid, 8);
    }
    check_ok(sss_sigchld_ctx_free(ctx));
}

static void signalled_in_a_child(void *ctx)
{
    check_int(sss_sigchld_ctx_signalled(ctx, NULL), ECHILD);
    check_int(sss_sigchld_ctx_free(ctx), ECHILD);
}

static void a_forked_child_is_refused(void **state)
{
    struct sss_sigchild_ctx *ctx = ctx_make(SSS_SCOPE_REGISTERED, 0);

    (void)state;
    in_child(signalled_in_a_child, ctx);
    check_ok(sss_sigchld_ctx_free(ctx));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(errors_are_told),
        cmocka_unit_test(the_child_that_is_named_is_told),
        cmocka_unit_test(whatever_is_named_the_others_are_told),
        cmocka_unit_test(a_forked_child_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
