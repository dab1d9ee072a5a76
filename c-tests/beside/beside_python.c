/* pkgs: python3-embed */
/* profiles: all but asan tsan valgrind: Python leaks, and its allocator is its own */
/*
 * Scope REGISTERED in a program with Python in it: subprocess.run() and asyncio
 * beside our own children; no side loses a status.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "support/test.h"
#include "support/watched.h"

#include <poll.h>

static const char prepare[] =
    "import asyncio, subprocess\n"
    "async def start_and_wait(code):\n"
    "    process = await asyncio.create_subprocess_exec('/bin/sh', '-c', f'exit {code}')\n"
    "    return await process.wait()\n"
    "def by_asyncio(code):\n"
    "    return loop.run_until_complete(start_and_wait(code))\n"
    "def by_subprocess(code):\n"
    "    return subprocess.run(['/bin/sh', '-c', f'exit {code}']).returncode\n"
    "loop = asyncio.new_event_loop()\n"
    "asyncio.set_event_loop(loop)\n";

/* Python's children end while ours do; ours are told in between. */
static void run_theirs(const char *how, int code)
{
    char script[160];

    snprintf(script, sizeof(script), "assert %s(%d) == %d\n", how, code, code);
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

static void run_beside(const char *how)
{
    struct sss_sigchild_ctx *ctx = ctx_make(SSS_SCOPE_REGISTERED, 0);
    int rounds = test_profile_is("plain") ? 2000 : 20;
    int fd, round;

    check_ok(sss_sigchld_ctx_fd(ctx, &fd));
    for (round = 0; round < rounds; round++) {
        struct watched ours = { 0 };

        watched_start(ctx, &ours, round % 256);
        run_theirs(how, 255 - round % 256);
        until_told(ctx, fd, &ours);
        check_int(ours.calls, 1);
    }
    check_ok(sss_sigchld_ctx_free(ctx));
    check_no_children();
}

static void beside_subprocess(void **state)
{
    (void)state;
    run_beside("by_subprocess");
}

static void beside_asyncio(void **state)
{
    (void)state;
    run_beside("by_asyncio");
}

static int start_python(void **state)
{
    (void)state;
    Py_InitializeEx(0);
    check_ok(PyRun_SimpleString(prepare));
    return 0;
}

static int end_python(void **state)
{
    (void)state;
    check_ok(PyRun_SimpleString("loop.close()"));
    check_ok(Py_FinalizeEx());
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(beside_subprocess),
        cmocka_unit_test(beside_asyncio),
    };

    return cmocka_run_group_tests(tests, start_python, end_python);
}
