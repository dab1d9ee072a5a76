/* pkgs: python3-embed */
/*
 * Scope REGISTERED in a program with Python in it: subprocess.run() beside our
 * own children; no side loses a status.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "support/test.h"

#include <poll.h>

struct ours {
    struct sss_child_ctx *child;
    int code;
    pid_t pid;
    unsigned calls;
};

static void told(int pid, int wait_status, void *pvt)
{
    struct ours *ours = pvt;

    check_int(pid, ours->pid);
    check_int(wait_status, status_of(ours->code));
    ours->calls++;
    check_ok(sss_child_free(ours->child));
}

static void start(struct sss_sigchild_ctx *ctx, struct ours *ours, int code)
{
    memset(ours, 0, sizeof(*ours));
    ours->code = code;
    ours->pid = child_at(NULL, code);
    check_ok(sss_child_register(NULL, ctx, ours->pid, told, ours, &ours->child));
}

/* The children of subprocess end while ours do; ours are told in between. */
static void run_theirs(int code)
{
    char script[160];

    snprintf(script, sizeof(script),
             "assert subprocess.run(['/bin/sh', '-c', 'exit %d']).returncode == %d\n", code, code);
    check_ok(PyRun_SimpleString(script));
}

static void until_told(struct sss_sigchild_ctx *ctx, int fd, const struct ours *ours)
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
    struct ours ours;
    int fd, round;

    (void)state;
    check_ok(sss_sigchld_ctx_fd(ctx, &fd));
    Py_InitializeEx(0);
    check_ok(PyRun_SimpleString("import subprocess"));
    for (round = 0; round < rounds; round++) {
        start(ctx, &ours, round % 256);
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
