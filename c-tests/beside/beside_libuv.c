/* pkgs: libuv */
/*
 * Scope REGISTERED in a libuv loop: uv_spawn()'s children beside ours; no side
 * loses a status. libuv takes SIGCHLD, so ours come by the descriptor.
 */
#include "support/test.h"
#include "support/watched.h"

#include <uv.h>

struct theirs {
    uv_process_t process;
    int code;
    unsigned calls;
    bool closed;
};

static void closed(uv_handle_t *process)
{
    struct theirs *theirs = process->data;

    theirs->closed = true;
}

static void told_by_libuv(uv_process_t *process, int64_t exit_status, int term_signal)
{
    struct theirs *theirs = process->data;

    check_int(exit_status, theirs->code);
    check_int(term_signal, 0);
    theirs->calls++;
    uv_close((uv_handle_t *)process, closed);
}

static void readable(uv_poll_t *poll, int status, int events)
{
    check_ok(status);
    check_int(events, UV_READABLE);
    check_ok(sss_sigchld_ctx_dispatch(poll->data, 0));
}

static void spawn_theirs(uv_loop_t *loop, struct theirs *theirs, int code)
{
    char command[32];
    char *argv[] = { (char *)"sh", (char *)"-c", command, NULL };
    uv_process_options_t options;

    memset(theirs, 0, sizeof(*theirs));
    memset(&options, 0, sizeof(options));
    snprintf(command, sizeof(command), "exit %d", code);
    options.file = "/bin/sh";
    options.args = argv;
    options.exit_cb = told_by_libuv;
    theirs->code = code;
    theirs->process.data = theirs;
    check_ok(uv_spawn(loop, &theirs->process, &options));
}

static int rounds(void)
{
    return test_profile_is("plain") ? 2000 : 50;
}

static void beside_processes(void **state)
{
    struct sss_sigchild_ctx *ctx = ctx_make(SSS_SCOPE_REGISTERED, 0);
    struct theirs theirs;
    uv_loop_t loop;
    uv_poll_t poll;
    int fd, round;

    (void)state;
    check_ok(uv_loop_init(&loop));
    check_ok(sss_sigchld_ctx_fd(ctx, &fd));
    check_ok(uv_poll_init(&loop, &poll, fd));
    poll.data = ctx;
    check_ok(uv_poll_start(&poll, UV_READABLE, readable));
    for (round = 0; round < rounds(); round++) {
        struct watched ours = { 0 };

        watched_start(ctx, &ours, round % 256);
        spawn_theirs(&loop, &theirs, 255 - round % 256);
        alarm(60); /* ends the program where a status was lost */
        while (ours.calls == 0 || !theirs.closed) {
            uv_run(&loop, UV_RUN_ONCE);
        }
        alarm(0);
        check_int(ours.calls, 1);
        check_int(theirs.calls, 1);
    }
    uv_close((uv_handle_t *)&poll, NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    check_ok(uv_loop_close(&loop));
    check_ok(sss_sigchld_ctx_free(ctx));
    check_no_children();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(beside_processes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
