/* profiles: all but linux-4.19 valgrind: no pidfds */
/* The daemon closes every descriptor, the library's too, and opens others. */
#include "support/test.h"

#include <fcntl.h>

enum { COUNT = 12, OPENED = 64 };

static void close_all_but(int first, int second)
{
    for (int fd = 3; fd < 256; fd++) {
        if (fd != first && fd != second) {
            (void)close(fd);
        }
    }
}

static void live_on(void *unused)
{
    struct sss_ctx_audit audit = { .size = sizeof(audit) };
    struct sss_child_ctx *children[COUNT];
    struct seen seen = { 0 };
    int opened[OPENED];
    struct gate gate;
    struct loop loop;
    int i;

    (void)unused;
    loop_start(&loop, ctx_untrusted(SSS_SCOPE_REGISTERED), WAKE_SIGNAL);
    gate_make(&gate);
    for (i = 0; i < COUNT; i++) {
        check_ok(sss_child_register(NULL, loop.ctx, child_at(&gate, 0), see, &seen,
                                    &children[i]));
    }
    check_int(stats_of(loop.ctx).old, COUNT);
    close_all_but(loop.sigfd, gate.wr);
    for (i = 0; i < OPENED; i++) {
        opened[i] = open("/dev/null", O_RDONLY | O_CLOEXEC);
        check(opened[i] != -1);
    }
    check_ok(sss_child_kill(children[0], 0));
    check_ok(sss_child_kill(children[1], SIGKILL));
    loop_until(&loop, &seen.calls, 1);
    check_ok(sss_sigchld_ctx_audit(loop.ctx, &audit));
    check_ok(close(gate.wr));
    loop_until(&loop, &seen.calls, COUNT);
    for (i = 0; i < COUNT; i++) {
        check_ok(sss_child_free(children[i]));
    }
    check_ok(sss_sigchld_ctx_free(loop.ctx));
    for (i = 0; i < OPENED; i++) {
        check(fcntl(opened[i], F_GETFD) == FD_CLOEXEC);
    }
    check_no_children();
}

static void and_opens_others(void **state)
{
    (void)state;
    in_child(live_on, NULL);
}

static void tell_it(void *unused)
{
    struct seen seen = { 0 };
    struct sss_child_ctx *child;
    struct gate gate;
    struct loop loop;

    (void)unused;
    loop_start(&loop, ctx_make(SSS_SCOPE_REGISTERED, 0), WAKE_DESCRIPTOR);
    gate_make(&gate);
    check_ok(sss_child_register(NULL, loop.ctx, child_at(&gate, 3), see, &seen, &child));
    close_all_but(gate.wr, -1);
    check_int(sss_sigchld_ctx_dispatch(loop.ctx, 0), EBADF);
    check_int(sss_sigchld_ctx_dispatch(loop.ctx, 0), ENOTSUP);
    check_ok(sss_sigchld_ctx_fd(loop.ctx, &loop.ctxfd));
    check_ok(close(gate.wr));
    loop_until(&loop, &seen.calls, 1);
    check_ok(sss_child_free(child));
    check_ok(sss_sigchld_ctx_free(loop.ctx));
    check_no_children();
}

static void and_asks_for_the_descriptor_anew(void **state)
{
    (void)state;
    in_child(tell_it, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(and_opens_others),
        cmocka_unit_test(and_asks_for_the_descriptor_anew),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
