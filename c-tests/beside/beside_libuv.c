/* pkgs: libuv */
/*
 * Scope REGISTERED in a libuv loop: uv_spawn()'s children beside ours; no side
 * loses a status. libuv takes SIGCHLD, so the descriptor wakes our context.
 */
#include "support/test.h"
#include "support/watched.h"

#include <sss_sigchld/libuv.h>

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

static void run_beside(const struct sss_host *host)
{
    struct sss_ctx_params params = params_zero();
    struct sss_sigchild_ctx *ctx;
    struct theirs theirs;
    uv_loop_t loop;
    int round;

    check_ok(uv_loop_init(&loop));
    params.host = host;
    params.loop = &loop;
    check_ok(sss_sigchld_ctx_create(&params, &ctx));
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
    check_ok(sss_sigchld_ctx_free(ctx));
    uv_run(&loop, UV_RUN_DEFAULT);
    check_ok(uv_loop_close(&loop));
    check_no_children();
}

static void beside_processes_by_signal(void **state)
{
    (void)state;
    run_beside(sss_uv_signal_host());
}

static void beside_processes_by_descriptor(void **state)
{
    (void)state;
    run_beside(sss_uv_fd_host());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(beside_processes_by_signal),
        cmocka_unit_test(beside_processes_by_descriptor),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
