/* pidfd_open() fails, as on old kernels, in containers and with full tables: ends are still
 * told. */
#include "support/test.h"

#include <sys/syscall.h>

#include "support/filter.h"

struct refusal {
    const struct way *way;
    int nr;
    int error;
};

static void live_with(void *pvt)
{
    const struct refusal *refusal = pvt;
    enum { COUNT = 20 };
    struct sss_child_ctx *children[COUNT];
    struct seen seen[COUNT];
    struct gate gate;
    struct loop loop;
    pid_t pids[COUNT];
    int i;

    filter_deny(refusal->nr, refusal->error);
    memset(seen, 0, sizeof(seen));
    loop_start(&loop, ctx_make(refusal->way->scope, 0), refusal->way->waking);
    gate_make(&gate);
    for (i = 0; i < COUNT; i++) {
        pids[i] = child_at(&gate, i);
        check_ok(sss_child_register(NULL, loop.ctx, pids[i], see, &seen[i], &children[i]));
    }
    check_ok(sss_child_kill(children[0], SIGKILL));
    gate_open(&gate);
    for (i = 0; i < COUNT; i++) {
        loop_until(&loop, &seen[i].calls, 1);
        check_int(seen[i].calls, 1);
        check_int(seen[i].pid, pids[i]);
        check(seen[i].status == status_of(i) || (i == 0 && seen[i].status == SIGKILL));
        check_ok(sss_child_free(children[i]));
    }
    loop_end(&loop);
    check_no_children();
}

static void in_each_way(int nr, int error)
{
    struct refusal refusal = { .nr = nr, .error = error };
    size_t i;

    for (i = 0; i < ARRAY_SIZE(ways); i++) {
        refusal.way = &ways[i];
        in_child(live_with, &refusal);
    }
}

static void pidfd_open_refused(void **state)
{
    static const int errors[] = { ENOSYS, EPERM, EMFILE, ENFILE, ENOMEM, EACCES };
    size_t i;

    (void)state;
    for (i = 0; i < ARRAY_SIZE(errors); i++) {
        in_each_way(SYS_pidfd_open, errors[i]);
    }
}

static void pidfd_send_signal_refused(void **state)
{
    (void)state;
    in_each_way(SYS_pidfd_send_signal, ENOSYS);
    in_each_way(SYS_pidfd_send_signal, EPERM);
}

static void ioctl_refused(void **state)
{
    (void)state;
    in_each_way(SYS_ioctl, ENOTTY);
}

static void untrusted_without(void *unused)
{
    struct seen seen = { 0 };
    struct sss_child_ctx *child;
    struct gate gate;
    struct loop loop;
    pid_t pid;

    (void)unused;
    filter_deny(SYS_pidfd_open, EPERM);
    loop_start(&loop, ctx_untrusted(SSS_SCOPE_REGISTERED), WAKE_SIGNAL);
    gate_make(&gate);
    pid = child_at(&gate, 6);
    check_ok(sss_child_register(NULL, loop.ctx, pid, see, &seen, &child));
    gate_open(&gate);
    reap(pid, 6);
    loop_until(&loop, &seen.calls, 1);
    check_int(seen.status, SSS_WAIT_STATUS_LOST);
    check_ok(sss_child_free(child));
    loop_end(&loop);
}

static void stolen_without_pidfds(void **state)
{
    (void)state;
    in_child(untrusted_without, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pidfd_open_refused),
        cmocka_unit_test(pidfd_send_signal_refused),
        cmocka_unit_test(ioctl_refused),
        cmocka_unit_test(stolen_without_pidfds),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
