/* Handles and contexts are freed in any order, also twice, also before the child ends. */
#include "support/test.h"

static void free_before_exit(void **state)
{
    struct loop *loop = *state;
    struct seen seen = { 0 };
    struct sss_child_ctx *child;
    struct gate gate;
    pid_t pid;

    gate_make(&gate);
    pid = child_at(&gate, 1);
    check_ok(sss_child_register(NULL, loop->ctx, pid, see, &seen, &child));
    check_ok(sss_child_free(child));
    check(is_child(pid));
    gate_open(&gate);
    loop_until_reaped(loop, pid);
    check_int(seen.calls, 0);
}

static void free_between_exit_and_callback(void **state)
{
    struct loop *loop = *state;
    struct seen seen = { 0 };
    struct sss_child_ctx *child;
    pid_t pid = child_dead(1);

    check_ok(sss_child_register(NULL, loop->ctx, pid, see, &seen, &child));
    check_ok(sss_child_free(child));
    loop_until_reaped(loop, pid);
    check_int(seen.calls, 0);
}

static void free_twice(void **state)
{
    struct loop *loop = *state;
    struct sss_child_ctx *child, *next;
    struct seen seen = { 0 };
    struct gate gate;
    pid_t pid;

    gate_make(&gate);
    pid = child_at(&gate, 1);
    check_ok(sss_child_register(NULL, loop->ctx, pid, see, &seen, &child));
    check_ok(sss_child_free(child));
    check_ok(sss_child_register(NULL, loop->ctx, pid, see, &seen, &next));
    check_ok(sss_child_free(child)); /* the slot is another watch's by now */
    gate_open(&gate);
    loop_until(loop, &seen.calls, 1);
    check_seen(&seen, pid, 1);
    check_ok(sss_child_free(next));
    check_ok(sss_child_free(next));
}

static void context_before_child(void **state)
{
    struct loop *loop = *state;
    struct seen seen = { 0 };
    struct sss_child_ctx *child;
    struct gate gate;
    pid_t pid;

    gate_make(&gate);
    pid = child_at(&gate, 1);
    check_ok(sss_child_register(NULL, loop->ctx, pid, see, &seen, &child));
    check_ok(sss_sigchld_ctx_free(loop->ctx));
    loop->ctx = NULL;
    check_int(sss_child_kill(child, 0), ESRCH);
    check_ok(sss_child_free(child));
    gate_open(&gate);
    reap(pid, 1); /* when the last context was freed it was left to other code */
    check_int(seen.calls, 0);
}

static void null_is_freed(void **state)
{
    (void)state;
    check_ok(sss_child_free(NULL));
    check_ok(sss_sigchld_ctx_free(NULL));
}

/* "for as long as the process has a context": another one reaps what was freed. */
static void reaped_by_the_other_context(void **state)
{
    struct loop *loop = *state;
    struct sss_sigchild_ctx *shortlived = ctx_make(SSS_SCOPE_REGISTERED, 0);
    struct seen seen = { 0 };
    struct sss_child_ctx *child;
    struct gate gate;
    pid_t pid;

    gate_make(&gate);
    pid = child_at(&gate, 1);
    check_ok(sss_child_register(NULL, shortlived, pid, see, &seen, &child));
    check_ok(sss_sigchld_ctx_free(shortlived));
    check_ok(sss_child_free(child));
    gate_open(&gate);
    loop_until_reaped(loop, pid);
    check_int(seen.calls, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        EACH_WAY(free_before_exit),
        EACH_WAY(free_between_exit_and_callback),
        EACH_WAY(free_twice),
        EACH_WAY(context_before_child),
        EACH_WAY(reaped_by_the_other_context),
        cmocka_unit_test(null_is_freed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
