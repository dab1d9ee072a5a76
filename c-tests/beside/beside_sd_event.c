/* pkgs: libsystemd */
/* profiles: all but linux-4.19 valgrind: without pidfds sd-event reads what it has freed */
/*
 * Scope REGISTERED on sd-event: sd_event_add_child() beside ours, as many of each
 * at the same time, in each way of waking; no side loses a status.
 */
#include "support/test.h"

#include <sss_sigchld/sd_event.h>

enum { EACH = 4 }; /* of each at the same time */

static unsigned pending;

struct one {
    pid_t pid;
    int code;
    unsigned calls;
};

static int told_by_sd_event(sd_event_source *source, const siginfo_t *info, void *userdata)
{
    struct one *theirs = userdata;

    check_int(info->si_pid, theirs->pid);
    check_int(info->si_code, CLD_EXITED);
    check_int(info->si_status, theirs->code);
    theirs->calls++;
    pending--;
    sd_event_source_unref(source);
    return 0;
}

static void told(int pid, int wait_status, void *pvt)
{
    struct one *ours = pvt;

    check_int(pid, ours->pid);
    check_int(wait_status, status_of(ours->code));
    ours->calls++;
    pending--;
}

static void start_one_of_each(sd_event *event, struct sss_sigchild_ctx *ctx, struct one *ours,
                              struct one *theirs, int code)
{
    sd_event_source *source;

    ours->code = code;
    ours->pid = child_at(NULL, code);
    check_ok(sss_child_register(NULL, ctx, ours->pid, told, ours, NULL));
    theirs->code = 255 - code;
    theirs->pid = child_at(NULL, theirs->code);
    check(sd_event_add_child(event, &source, theirs->pid, WEXITED, told_by_sd_event, theirs) >= 0);
    pending += 2;
}

static void run_beside(const struct sss_host *host, int rounds)
{
    struct sss_ctx_params params = params_zero();
    struct one ours[EACH], theirs[EACH];
    struct sss_sigchild_ctx *ctx;
    sigset_t set;
    sd_event *event;
    int round, i;

    if (!test_profile_is("plain")) {
        rounds = 25;
    }
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    check_ok(sigprocmask(SIG_BLOCK, &set, NULL)); /* sd-event wants it */
    check(sd_event_new(&event) >= 0);
    params.host = host;
    params.loop = event;
    check_ok(sss_sigchld_ctx_create(&params, &ctx));
    for (round = 0; round < rounds; round++) {
        memset(ours, 0, sizeof(ours));
        memset(theirs, 0, sizeof(theirs));
        for (i = 0; i < EACH; i++) {
            start_one_of_each(event, ctx, &ours[i], &theirs[i], (round + i) % 256);
        }
        alarm(60);
        while (pending > 0) {
            check(sd_event_run(event, UINT64_MAX) >= 0);
        }
        alarm(0);
        for (i = 0; i < EACH; i++) {
            check_int(ours[i].calls, 1);
            check_int(theirs[i].calls, 1);
        }
    }
    check_ok(sss_sigchld_ctx_free(ctx));
    sd_event_unref(event);
    check_ok(sigprocmask(SIG_UNBLOCK, &set, NULL));
    check_no_children();
}

static void beside_child_sources_by_descriptor(void **state)
{
    (void)state;
    run_beside(sss_sd_event_fd_host(), 2000);
}

static void beside_child_sources_by_signal(void **state)
{
    (void)state;
    run_beside(sss_sd_event_signal_host(), 2000);
}

static void beside_child_sources_by_signalfd(void **state)
{
    (void)state;
    run_beside(sss_sd_event_signalfd_host(), 200);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(beside_child_sources_by_descriptor),
        cmocka_unit_test(beside_child_sources_by_signal),
        cmocka_unit_test(beside_child_sources_by_signalfd),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
