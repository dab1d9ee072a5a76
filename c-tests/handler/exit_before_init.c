/* A child that is dead before the context exists is told too. */
#include "support/test.h"

static void exit_before_init(const struct way *way)
{
    struct seen seen = { 0 };
    struct sss_child_ctx *child;
    struct loop loop;
    pid_t pid = child_dead(4);

    loop_start(&loop, ctx_make(way->scope, 0), way->waking);
    check_ok(sss_child_register(NULL, loop.ctx, pid, see, &seen, &child));
    loop_until(&loop, &seen.calls, 1);
    loop_settle(&loop);
    check_seen(&seen, pid, 4);
    check_ok(sss_child_free(child));
    loop_end(&loop);
    check_no_children();
}

static void in_each_way(void **state)
{
    size_t i;

    (void)state;
    for (i = 0; i < ARRAY_SIZE(ways); i++) {
        exit_before_init(&ways[i]);
    }
}

/* SSSD's own code leaves such a zombie until some later SIGCHLD. */
static void unregistered_is_looked_for_once(void **state)
{
    struct sss_sigchild_ctx *ctx;
    pid_t pid = child_dead(4);

    (void)state;
    check_ok(sss_sigchld_ctx_init(NULL, NULL, 0, &ctx));
    check(!is_child(pid));
    check_int(stats_of(ctx).parked, 1);
    check_ok(sss_sigchld_ctx_free(ctx));
}

static void another_context_made_later(void **state)
{
    struct seen seen = { 0 };
    struct sss_child_ctx *child;
    struct sss_sigchild_ctx *late;
    struct loop *loop = *state;
    pid_t pid = child_dead(8);

    late = ctx_make(SSS_SCOPE_REGISTERED, 0);
    check_ok(sss_child_register(NULL, loop->ctx, pid, see, &seen, &child));
    loop_until(loop, &seen.calls, 1);
    check_seen(&seen, pid, 8);
    check_ok(sss_child_free(child));
    check_ok(sss_sigchld_ctx_free(late));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(in_each_way),
        cmocka_unit_test(unregistered_is_looked_for_once),
        EACH_WAY(another_context_made_later),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
