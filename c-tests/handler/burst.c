/* Thousands of live children end at once: each is told once, with its own status. */
#include "support/test.h"

enum { MOST = 10000 };

static struct seen seen[MOST];
static struct sss_child_ctx *children[MOST];
static pid_t pids[MOST];

static int size(void)
{
    if (test_profile_is("plain") || test_profile_is("soak")) {
        return MOST;
    }
    return test_profile_is("valgrind") ? 300 : 2000;
}

static void released_at_once(void **state)
{
    struct loop *loop = *state;
    struct gate gate;
    int count = size();
    int i;

    memset(seen, 0, sizeof(seen));
    gate_make(&gate);
    for (i = 0; i < count; i++) {
        pids[i] = child_at(&gate, i % 256);
    }
    for (i = 0; i < count; i++) {
        check_ok(sss_child_register(NULL, loop->ctx, pids[i], see, &seen[i], &children[i]));
    }
    check_int(stats_of(loop->ctx).watches, count);
    gate_open(&gate);
    for (i = 0; i < count; i++) {
        loop_until(loop, &seen[i].calls, 1);
    }
    loop_settle(loop);
    for (i = 0; i < count; i++) {
        check_seen(&seen[i], pids[i], i % 256);
        check_ok(sss_child_free(children[i]));
    }
    check_int(stats_of(loop->ctx).watches, 0);
    check_int(stats_of(loop->ctx).delivered, count);

}

static void dead_at_once(void **state)
{
    struct loop *loop = *state;
    struct gate gate;
    int count = size() / 10;
    int i;

    memset(seen, 0, sizeof(seen));
    gate_make(&gate);
    for (i = 0; i < count; i++) {
        pids[i] = child_at(&gate, i % 256);
    }
    for (i = 0; i < count; i++) {
        check_ok(sss_child_register(NULL, loop->ctx, pids[i], see, &seen[i], &children[i]));
    }
    gate_open(&gate);
    for (i = 0; i < count; i++) {
        await_zombie(pids[i]);
    }
    for (i = 0; i < count; i++) {
        loop_until(loop, &seen[i].calls, 1);
        check_seen(&seen[i], pids[i], i % 256);
        check_ok(sss_child_free(children[i]));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        EACH_WAY(released_at_once),
        EACH_WAY(dead_at_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
