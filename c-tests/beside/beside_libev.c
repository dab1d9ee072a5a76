/* pkgs: -lev */
/*
 * Scope REGISTERED on libev's default loop, which waits for every child of the
 * process: ev_child watchers beside ours, and no side loses a status. Ours are
 * recovered by their pidfds.
 */
#include "support/test.h"
#include "support/kernel.h"

#include <sss_sigchld/libev.h>

enum { EACH = 4 }; /* of each at the same time */

static unsigned pending;

struct theirs {
    ev_child w;
    int code;
    unsigned calls;
};

struct ours {
    pid_t pid;
    int code;
    unsigned calls;
};

static void told_by_libev(struct ev_loop *loop, ev_child *w, int revents)
{
    struct theirs *theirs = w->data;

    (void)revents;
    check_int(w->rpid, w->pid);
    check_int(w->rstatus, status_of(theirs->code));
    theirs->calls++;
    pending--;
    ev_child_stop(loop, w);
}

static void told(int pid, int wait_status, void *pvt)
{
    struct ours *ours = pvt;

    check_int(pid, ours->pid);
    check_int(wait_status, status_of(ours->code));
    ours->calls++;
    pending--;
}

static void start_one_of_each(struct ev_loop *loop, struct sss_sigchild_ctx *ctx,
                              struct ours *ours, struct theirs *theirs, int code)
{
    struct gate gate;

    gate_make(&gate);
    ours->code = code;
    ours->pid = child_at(&gate, code);
    check_ok(sss_child_register(NULL, ctx, ours->pid, told, ours, NULL));
    gate_open(&gate);
    theirs->code = 255 - code;
    ev_child_init(&theirs->w, told_by_libev, child_at(NULL, theirs->code), 0);
    theirs->w.data = theirs;
    ev_child_start(loop, &theirs->w);
    pending += 2;
}

static void beside_ev_child(void **state)
{
    struct ev_loop *loop = ev_default_loop(0);
    struct sss_ctx_params params = params_zero();
    struct sss_sigchild_ctx *ctx;
    struct ours ours[EACH];
    struct theirs theirs[EACH];
    int rounds = test_profile_is("plain") ? 2000 : 25;
    int round, i;

    (void)state;
    if (!kernel_keeps_status()) {
        test_skip("linux-5.10 linux-4.19 valgrind", "a status that was taken cannot be had again");
    }
    params.mask = SSS_CTX_PARAM_FLAGS;
    params.flags = SSS_CTX_UNTRUSTED;
    params.host = sss_ev_beside_host();
    params.loop = loop;
    check_ok(sss_sigchld_ctx_create(&params, &ctx));
    for (round = 0; round < rounds; round++) {
        memset(ours, 0, sizeof(ours));
        memset(theirs, 0, sizeof(theirs));
        for (i = 0; i < EACH; i++) {
            start_one_of_each(loop, ctx, &ours[i], &theirs[i], (round + i) % 256);
        }
        alarm(60);
        while (pending > 0) {
            ev_run(loop, EVRUN_ONCE);
        }
        alarm(0);
        for (i = 0; i < EACH; i++) {
            check_int(ours[i].calls, 1);
            check_int(theirs[i].calls, 1);
        }
    }
    printf("recovered: %llu\n", (unsigned long long)stats_of(ctx).recovered);
    check_int(stats_of(ctx).lost, 0);
    check_ok(sss_sigchld_ctx_free(ctx));
    ev_loop_destroy(loop);
    check_no_children();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(beside_ev_child),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
