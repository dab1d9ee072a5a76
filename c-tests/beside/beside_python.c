/* pkgs: python3-embed */
/*
 * Scope REGISTERED in a program with Python in it: subprocess.run() beside our
 * own children; no side loses a status.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "support/test.h"
#include "support/watched.h"

#include <poll.h>

/* The children of subprocess end while ours do; ours are told in between. */
static void run_theirs(int code)
{
    char script[160];

    snprintf(script, sizeof(script),
             "assert subprocess.run(['/bin/sh', '-c', 'exit %d']).returncode == %d\n", code, code);
    check_ok(PyRun_SimpleString(script));
}

static void until_told(struct sss_sigchild_ctx *ctx, int fd, const struct watched *ours)
{
    struct pollfd wake = { .fd = fd, .events = POLLIN };

    while (ours->calls == 0) {
        check_int(poll(&wake, 1, 30000), 1);
        check_ok(sss_sigchld_ctx_dispatch(ctx, 0));
    }
}

static void beside_subprocess(void **state)
{
    struct sss_sigchild_ctx *ctx = ctx_make(SSS_SCOPE_REGISTERED, 0);
    int rounds = test_profile_is("plain") ? 2000 : 20;
    int fd, round;

    (void)state;
    check_ok(sss_sigchld_ctx_fd(ctx, &fd));
    Py_InitializeEx(0);
    check_ok(PyRun_SimpleString("import subprocess"));
    for (round = 0; round < rounds; round++) {
        struct watched ours = { 0 };

        watched_start(ctx, &ours, round % 256);
        run_theirs(255 - round % 256);
        until_told(ctx, fd, &ours);
        check_int(ours.calls, 1);
    }
    check_ok(Py_FinalizeEx());
    check_ok(sss_sigchld_ctx_free(ctx));
    check_no_children();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(beside_subprocess),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
