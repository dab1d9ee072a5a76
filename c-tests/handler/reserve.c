/* Room made before the fork: the registration after it cannot fail for want of memory. */
#include "support/test.h"

static void it_becomes_a_watch(void **state)
{
    struct loop *loop = *state;
    struct seen seen = { 0 };
    struct sss_child_ctx *child;
    uint64_t before, after;
    pid_t pid;

    check_ok(sss_child_reserve(NULL, loop->ctx, &child));
    check_ok(sss_child_id(child, &before));
    check_int(stats_of(loop->ctx).watches, 0);
    pid = child_at(NULL, 6);
    check_ok(sss_child_register_reserved(child, pid, see, &seen));
    check_ok(sss_child_id(child, &after));
    check(before == after);
    loop_until(loop, &seen.calls, 1);
    check_seen(&seen, pid, 6);
    check_int(sss_child_register_reserved(child, pid, see, &seen), EALREADY);
    check_ok(sss_child_free(child));
    check_int(sss_child_register_reserved(child, pid, see, &seen), ESRCH);
}

static void it_is_inert_until_then(void **state)
{
    struct loop *loop = *state;
    struct sss_child_ctx *child;

    check_int(sss_child_reserve(NULL, NULL, &child), EINVAL);
    check_int(sss_child_reserve(NULL, loop->ctx, NULL), EINVAL);
    check_int(sss_child_reserve(loop, loop->ctx, &child), EINVAL);
    check_ok(sss_child_reserve(NULL, loop->ctx, &child));
    check_int(sss_child_kill(child, 0), ESRCH);
    check_int(sss_child_release(child, NULL), ESRCH);
    check_int(sss_child_set_cb(child, see, NULL), ESRCH);
    check_int(sss_child_register_reserved(child, 0, see, NULL), EINVAL);
    check_int(sss_child_register_reserved(child, getppid(), see, NULL), ESRCH);
    check_ok(sss_child_free(child));
    check_ok(sss_child_free(child));
}

static void it_ends_with_its_context(void **state)
{
    struct loop *loop = *state;
    struct sss_sigchild_ctx *ctx = ctx_make(SSS_SCOPE_REGISTERED, 0);
    struct seen seen = { 0 };
    struct sss_child_ctx *child;
    pid_t pid;

    check_ok(sss_child_reserve(NULL, ctx, &child));
    check_ok(sss_sigchld_ctx_free(ctx));
    pid = child_dead(0);
    check_int(sss_child_register_reserved(child, pid, see, &seen), ESRCH);
    check_ok(sss_child_free(child));
    check_ok(sss_child_register(NULL, loop->ctx, pid, see, &seen, NULL));
    loop_until(loop, &seen.calls, 1);
}

static int refuse(struct sss_child_ctx *child, void *pvt)
{
    (void)child;
    ++*(unsigned *)pvt;
    return -1;
}

static void a_hook_stays(void **state)
{
    struct loop *loop = *state;
    struct seen seen = { 0 };
    struct sss_child_ctx *child;
    unsigned asked = 0;

    check_ok(sss_child_reserve(NULL, loop->ctx, &child));
    check_ok(sss_child_set_destructor(child, refuse, &asked));
    check_int(sss_child_free(child), EBUSY);
    check_ok(sss_child_register_reserved(child, child_dead(1), see, &seen));
    check_int(sss_child_free(child), EBUSY);
    check_int(asked, 2);
    loop_until(loop, &seen.calls, 1);
    check_ok(sss_child_set_destructor(child, NULL, NULL));
    check_ok(sss_child_free(child));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        EACH_WAY(it_becomes_a_watch),
        EACH_WAY(it_is_inert_until_then),
        EACH_WAY(it_ends_with_its_context),
        EACH_WAY(a_hook_stays),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
