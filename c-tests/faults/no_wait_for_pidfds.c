/* Linux 5.3 has pidfd_open(), but waitid() does not take a pidfd. The library then does as on
 * a kernel without pidfds. */
#include "support/test.h"

#include <sys/syscall.h>

#include "support/hold.h"

static void live_with(void *pvt)
{
    enum { IDLE = 100, SHORT = 60 };
    const struct way *way = pvt;
    struct sss_child_ctx *idle[IDLE], *child;
    struct seen ended = { 0 };
    struct gate gate;
    struct loop loop;
    pid_t pid;
    int i;

    refuse_value(SYS_waitid, 0, P_PIDFD, EINVAL);
    loop_start(&loop, ctx_make(way->scope, 0), way->waking);
    gate_make(&gate);
    for (i = 0; i < IDLE; i++) {
        check_ok(sss_child_register(NULL, loop.ctx, child_at(&gate, 0), see, &ended, &idle[i]));
    }
    for (i = 0; i < SHORT; i++) {
        struct seen seen = { 0 };

        pid = child_at(NULL, i);
        check_ok(sss_child_register(NULL, loop.ctx, pid, see, &seen, &child));
        loop_until(&loop, &seen.calls, 1);
        check_seen(&seen, pid, i);
        check_ok(sss_child_free(child));
    }
    check_int(stats_of(loop.ctx).old, 0);
    check_int(stats_of(loop.ctx).promoted, 0);
    gate_open(&gate);
    loop_until(&loop, &ended.calls, IDLE);
    for (i = 0; i < IDLE; i++) {
        check_ok(sss_child_free(idle[i]));
    }
    loop_end(&loop);
    check_no_children();
}

static void each_way(void **state)
{
    size_t i;

    (void)state;
    for (i = 0; i < ARRAY_SIZE(ways); i++) {
        in_child(live_with, (void *)&ways[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_way),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
