/* A released child is the daemon's to wait for. */
#include "support/test.h"

static void lives(void **state)
{
    struct loop *loop = *state;
    struct seen seen = { 0 };
    struct sss_child_ctx *child;
    struct gate gate;
    pid_t pid;

    gate_make(&gate);
    pid = child_at(&gate, 5);
    check_ok(sss_child_register(NULL, loop->ctx, pid, see, &seen, &child));
    check_ok(sss_child_release(child, NULL));
    check_int(stats_of(loop->ctx).watches, 0);
    gate_open(&gate);
    reap(pid, 5);
    loop_settle(loop);
    check_int(seen.calls, 0);
    check_ok(sss_child_free(child));
}

/* Scope REGISTERED: however often the loop turns, the zombie stays. */
static void nobody_else_waits(void **state)
{
    struct loop *loop = *state;
    struct seen seen = { 0 };
    struct sss_child_ctx *child, *other;
    struct gate gate;
    pid_t pid, sentinel;

    gate_make(&gate);
    pid = child_at(&gate, 5);
    check_ok(sss_child_register(NULL, loop->ctx, pid, see, &seen, &child));
    check_ok(sss_child_release(child, NULL));
    gate_open(&gate);
    await_zombie(pid);
    sentinel = child_dead(6);
    check_ok(sss_child_register(NULL, loop->ctx, sentinel, see, &seen, &other));
    loop_until(loop, &seen.calls, 1);
    loop_settle(loop);
    check_seen(&seen, sentinel, 6);
    reap(pid, 5);
    check_ok(sss_child_free(other));
}

static void reaped_already(void **state)
{
    struct loop *loop = *state;
    struct seen seen = { 0 };
    struct sss_child_ctx *child;
    pid_t pid = child_dead(5);
    int status = 0;

    check_ok(sss_child_register(NULL, loop->ctx, pid, see, &seen, &child));
    loop_until(loop, &seen.calls, 1);
    check_ok(sss_child_release(child, &status));
    check_int(status, status_of(5));
    check_ok(sss_child_free(child));
    check_int(sss_child_release(child, &status), ESRCH);
}

/* Registering waits for a child that ended before: its status is not lost with the
 * release, and nothing is told. */
static void reaped_by_its_registration(void **state)
{
    struct loop *loop = *state;
    struct seen seen = { 0 };
    struct sss_child_ctx *child;
    siginfo_t info;
    int status;

    for (int code = 0; code < 200; code++) {
        pid_t pid = child_dead(code);

        status = 0;
        check_ok(sss_child_register(NULL, loop->ctx, pid, see, &seen, &child));
        check_ok(sss_child_release(child, &status));
        if (status == SSS_WAIT_STATUS_NONE) {
            reap(pid, code);
        } else {
            check_int(status, status_of(code));
            check_int(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT), -1);
        }
        check_int(sss_child_release(child, &status), ESRCH);
    }
    loop_settle(loop);
    check_int(seen.calls, 0);
    check_int(stats_of(loop->ctx).watches, 0);
    check_int(SSS_WAIT_STATUS_NONE == SSS_WAIT_STATUS_LOST, 0);
    status = SSS_WAIT_STATUS_NONE;
    check(!WIFEXITED(status) && !WIFSIGNALED(status));
    check(!WIFSTOPPED(status) && !WIFCONTINUED(status));
    check_ok(sss_child_release(NULL, &status));
    check_int(status, SSS_WAIT_STATUS_NONE);
}

struct releasing {
    struct sss_child_ctx *own, *other;
    unsigned calls;
};

static void release_other(int pid, int wait_status, void *pvt)
{
    struct releasing *r = pvt;
    int status = 0;

    (void)pid;
    r->calls++;
    check_ok(sss_child_release(r->own, &status));
    check_int(status, wait_status);
    check_ok(sss_child_release(r->other, &status));
    check_int(status, SSS_WAIT_STATUS_NONE);
    check_ok(sss_child_free(r->own));
}

static void in_a_callback(void **state)
{
    struct loop *loop = *state;
    struct releasing r = { 0 };
    struct seen seen = { 0 };
    struct gate gate;
    pid_t dead = child_dead(1);
    pid_t live;

    gate_make(&gate);
    live = child_at(&gate, 2);
    check_ok(sss_child_register(NULL, loop->ctx, dead, release_other, &r, &r.own));
    check_ok(sss_child_register(NULL, loop->ctx, live, see, &seen, &r.other));
    loop_until(loop, &r.calls, 1);
    gate_open(&gate);
    reap(live, 2);
    check_int(seen.calls, 0);
}

static void another_watch_keeps_it(void **state)
{
    struct loop *loop = *state;
    struct sss_sigchild_ctx *second = ctx_make(SSS_SCOPE_REGISTERED, 0);
    struct seen kept = { 0 }, gone = { 0 };
    struct sss_child_ctx *keeper, *leaver;
    struct gate gate;
    pid_t pid;

    gate_make(&gate);
    pid = child_at(&gate, 3);
    check_ok(sss_child_register(NULL, loop->ctx, pid, see, &kept, &keeper));
    check_ok(sss_child_register(NULL, second, pid, see, &gone, &leaver));
    check_ok(sss_child_release(leaver, NULL));
    gate_open(&gate);
    loop_until(loop, &kept.calls, 1);
    check_seen(&kept, pid, 3);
    check_int(gone.calls, 0);
    check_ok(sss_child_free(keeper));
    check_ok(sss_sigchld_ctx_free(second));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        EACH_WAY(lives),
        REGISTERED_WAYS(nobody_else_waits),
        EACH_WAY(reaped_already),
        EACH_WAY(reaped_by_its_registration),
        EACH_WAY(in_a_callback),
        EACH_WAY(another_watch_keeps_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
