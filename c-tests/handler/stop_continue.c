/* profiles: all but valgrind: stops do not reach its children as they do the kernel's */
/* A stop and a continue call back as options ask, and the watch stays. */
#include "support/test.h"

struct job {
    struct loop loop;
    struct gate gate;
    struct seen seen;
    struct sss_child_ctx *child;
    pid_t pid;
};

static void start(struct job *job, uint32_t scope, int options)
{
    memset(job, 0, sizeof(*job));
    loop_start(&job->loop, ctx_make(scope, options), WAKE_SIGNAL);
    gate_make(&job->gate);
    job->pid = child_at(&job->gate, 3);
    check_ok(sss_child_register(NULL, job->loop.ctx, job->pid, see, &job->seen, &job->child));
}

static void finish(struct job *job)
{
    check_ok(sss_child_free(job->child));
    loop_end(&job->loop);
    check_no_children();
}

static void stop_and_continue(uint32_t scope)
{
    struct job job;

    start(&job, scope, WUNTRACED | WCONTINUED);
    check_ok(kill(job.pid, SIGSTOP));
    loop_until(&job.loop, &job.seen.calls, 1);
    check(WIFSTOPPED(job.seen.status));
    check_int(WSTOPSIG(job.seen.status), SIGSTOP);
    check_int(stats_of(job.loop.ctx).watches, 1);

    check_ok(kill(job.pid, SIGCONT));
    loop_until(&job.loop, &job.seen.calls, 2);
    check(WIFCONTINUED(job.seen.status));

    check_ok(kill(job.pid, SIGTSTP));
    loop_until(&job.loop, &job.seen.calls, 3);
    check_int(WSTOPSIG(job.seen.status), SIGTSTP);

    gate_open(&job.gate);
    check_ok(kill(job.pid, SIGKILL));
    loop_until(&job.loop, &job.seen.calls, 4);
    check_int(job.seen.status, SIGKILL);
    check_int(job.seen.pid, job.pid);
    finish(&job);
}

static void each_is_told(void **state)
{
    (void)state;
    stop_and_continue(SSS_SCOPE_ALL);
    stop_and_continue(SSS_SCOPE_REGISTERED);
}

static void stopped_and_continued_untold(int options, unsigned told)
{
    struct job job;

    start(&job, SSS_SCOPE_ALL, options);
    check_ok(kill(job.pid, SIGSTOP));
    await_stopped(job.pid);
    loop_until(&job.loop, &job.seen.calls, (options & WUNTRACED) != 0);
    loop_settle(&job.loop);
    check_ok(kill(job.pid, SIGCONT));
    loop_until(&job.loop, &job.seen.calls, told);
    loop_settle(&job.loop);
    gate_open(&job.gate);
    loop_until(&job.loop, &job.seen.calls, told + 1);
    check_int(job.seen.status, status_of(3));
    finish(&job);
}

static void only_what_options_ask(void **state)
{
    (void)state;
    stopped_and_continued_untold(0, 0);
    stopped_and_continued_untold(WUNTRACED, 1);
    stopped_and_continued_untold(WCONTINUED, 1);
    stopped_and_continued_untold(WUNTRACED | WCONTINUED, 2);
}

/* Collected by another context's handler, told later when the descriptor is dispatched. */
static void together_in_order(uint32_t scope)
{
    struct sss_sigchild_ctx *other;
    struct job job;

    start(&job, scope, WUNTRACED | WCONTINUED);
    check_ok(sss_sigchld_ctx_fd(job.loop.ctx, &job.loop.ctxfd));
    other = ctx_make(SSS_SCOPE_REGISTERED, 0);
    check_ok(kill(job.pid, SIGSTOP));
    await_stopped(job.pid);
    sss_child_handler(NULL, NULL, 0, 0, NULL, other);
    check_ok(kill(job.pid, SIGCONT));
    await_continued(job.pid);
    sss_child_handler(NULL, NULL, 0, 0, NULL, other);
    check_ok(kill(job.pid, SIGKILL));
    await_zombie(job.pid);
    sss_child_handler(NULL, NULL, 0, 0, NULL, other);
    check(!is_child(job.pid));
    check_int(job.seen.calls, 0);
    loop_until(&job.loop, &job.seen.calls, 3);
    check(WIFSTOPPED(job.seen.statuses[0]));
    check(WIFCONTINUED(job.seen.statuses[1]));
    check_int(job.seen.statuses[2], SIGKILL);
    gate_open(&job.gate);
    check_ok(sss_sigchld_ctx_free(other));
    finish(&job);
}

static void those_that_come_together(void **state)
{
    (void)state;
    together_in_order(SSS_SCOPE_ALL);
    together_in_order(SSS_SCOPE_REGISTERED);
}

static void merged_stops_of_many(void **state)
{
    enum { COUNT = 30 };
    struct loop loop;
    struct seen seen[COUNT];
    struct sss_child_ctx *children[COUNT];
    struct gate gate;
    pid_t pids[COUNT];
    int i;

    (void)state;
    memset(seen, 0, sizeof(seen));
    loop_start(&loop, ctx_make(SSS_SCOPE_REGISTERED, WUNTRACED), WAKE_SIGNAL);
    gate_make(&gate);
    for (i = 0; i < COUNT; i++) {
        pids[i] = child_at(&gate, 0);
        check_ok(sss_child_register(NULL, loop.ctx, pids[i], see, &seen[i], &children[i]));
    }
    for (i = 0; i < COUNT; i++) {
        check_ok(kill(pids[i], SIGSTOP));
        await_stopped(pids[i]);
    }
    for (i = 0; i < COUNT; i++) {
        loop_until(&loop, &seen[i].calls, 1);
        check(WIFSTOPPED(seen[i].status));
        check_ok(kill(pids[i], SIGKILL));
    }
    for (i = 0; i < COUNT; i++) {
        loop_until(&loop, &seen[i].calls, 2);
        check_int(seen[i].status, SIGKILL);
        check_ok(sss_child_free(children[i]));
    }
    gate_open(&gate);
    loop_end(&loop);
    check_no_children();
}

/* Of two watches only the one of the context that asked is told of the stop. */
static void each_context_by_its_own_options(void **state)
{
    struct sss_sigchild_ctx *plain;
    struct seen ended = { 0 };
    struct sss_child_ctx *child;
    struct job job;

    (void)state;
    start(&job, SSS_SCOPE_REGISTERED, WUNTRACED);
    plain = ctx_make(SSS_SCOPE_REGISTERED, 0);
    check_ok(sss_child_register(NULL, plain, job.pid, see, &ended, &child));
    check_ok(kill(job.pid, SIGSTOP));
    loop_until(&job.loop, &job.seen.calls, 1);
    check_int(ended.calls, 0);
    check_ok(kill(job.pid, SIGKILL));
    loop_until(&job.loop, &job.seen.calls, 2);
    check_seen(&ended, job.pid, BY_SIGNAL(SIGKILL));
    gate_open(&job.gate);
    check_ok(sss_child_free(child));
    check_ok(sss_sigchld_ctx_free(plain));
    finish(&job);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_is_told),
        cmocka_unit_test(only_what_options_ask),
        cmocka_unit_test(those_that_come_together),
        cmocka_unit_test(merged_stops_of_many),
        cmocka_unit_test(each_context_by_its_own_options),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
