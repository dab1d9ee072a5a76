/* What sss_sigchld_ctx_stats() counts, and that it respects the caller's size. */
#include "support/test.h"

static void follow_a_watch(void **state)
{
    struct loop *loop = *state;
    struct sss_ctx_stats before = stats_of(loop->ctx), now;
    struct seen seen = { 0 };
    struct sss_child_ctx *child;
    struct gate gate;
    pid_t pid;

    check_int(before.watches + before.pending + before.delivered, 0);
    check_int(before.young + before.old, 0);
    gate_make(&gate);
    pid = child_at(&gate, 2);
    check_ok(sss_child_register(NULL, loop->ctx, pid, see, &seen, &child));
    now = stats_of(loop->ctx);
    check_int(now.watches, 1);
    check_int(now.young + now.old, 1);
    check_int(now.pending, 0);
    gate_open(&gate);
    loop_until(loop, &seen.calls, 1);
    now = stats_of(loop->ctx);
    check_int(now.watches, 0);
    check_int(now.young + now.old, 0);
    check_int(now.pending, 0);
    check_int(now.delivered, 1);
    check_int(now.reaped, before.reaped + 1);
    check_int(now.unknown, before.unknown);
    check_int(now.lost + now.recovered, before.lost + before.recovered);
    check_ok(sss_child_free(child));
}

static void other_contexts_are_not_counted(void **state)
{
    struct loop *loop = *state;
    struct sss_sigchild_ctx *other = ctx_make(SSS_SCOPE_REGISTERED, 0);
    struct seen seen = { 0 };
    struct sss_child_ctx *child;
    pid_t pid = child_dead(2);

    check_ok(sss_child_register(NULL, loop->ctx, pid, see, &seen, &child));
    check_int(stats_of(other).watches, 0);
    loop_until(loop, &seen.calls, 1);
    check_int(stats_of(other).delivered, 0);
    check_ok(sss_child_free(child));
    check_ok(sss_sigchld_ctx_free(other));
}

static void no_further_than_its_size(void **state)
{
    struct loop *loop = *state;
    union {
        struct sss_ctx_stats stats;
        unsigned char bytes[sizeof(struct sss_ctx_stats) + 64];
    } room;
    size_t i;

    memset(&room, 0xaa, sizeof(room));
    room.stats.size = offsetof(struct sss_ctx_stats, pending);
    check_ok(sss_sigchld_ctx_stats(loop->ctx, &room.stats));
    check_int(room.stats.size, offsetof(struct sss_ctx_stats, pending));
    check_int(room.stats.watches, 0);
    for (i = offsetof(struct sss_ctx_stats, pending); i < sizeof(room); i++) {
        check_int(room.bytes[i], 0xaa);
    }

    memset(&room, 0xaa, sizeof(room));
    room.stats.size = sizeof(room);
    check_ok(sss_sigchld_ctx_stats(loop->ctx, &room.stats));
    for (i = sizeof(room.stats); i < sizeof(room); i++) {
        check_int(room.bytes[i], 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        EACH_WAY(follow_a_watch),
        EACH_WAY(other_contexts_are_not_counted),
        EACH_WAY(no_further_than_its_size),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
