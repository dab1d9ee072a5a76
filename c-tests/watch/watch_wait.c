/* Waiting for one child, or for all, without callbacks. */
#include "support/test.h"

#include <pthread.h>

#include "support/told.h"

static const int64_t MS = 1000000;
static const int64_t LONG = 60000 * (int64_t)1000000;

static struct sss_child_event record_zero(void)
{
    struct sss_child_event record;

    memset(&record, 0, sizeof(record));
    record.size = sizeof(record);
    return record;
}

static void *open_soon(void *arg)
{
    gate_open(arg);
    return NULL;
}

static void the_end_is_taken(void **state)
{
    struct loop *loop = *state;
    struct sss_child_event record = record_zero();
    struct told told = { 0 };
    struct seen seen = { 0 };
    struct sss_child_ctx *rich, *plain;
    struct gate gate;
    pthread_t thread;
    int status = 0;
    pid_t pid;

    gate_make(&gate);
    pid = child_at(&gate, 11);
    rich = watch_child(loop->ctx, pid, &told);
    check_ok(sss_child_register(NULL, loop->ctx, pid, see, &seen, &plain));
    check_int(sss_child_wait(rich, 0, &status, &record), ETIMEDOUT);
    check_int(sss_child_wait(rich, 2 * MS, &status, NULL), ETIMEDOUT);
    check_int(sss_child_wait(plain, 2 * MS, NULL, NULL), ETIMEDOUT);
    check_int(status, 0);
    check_ok(pthread_create(&thread, NULL, open_soon, &gate));
    check_ok(sss_child_wait(rich, -1, &status, &record));
    check_ok(pthread_join(thread, NULL));
    check_int(status, status_of(11));
    check_int(record.pid, pid);
    check_int(record.wait_status, status_of(11));
    check_int(record.event, SSS_CHILD_EVENT_EXITED);
    check(record.have & SSS_RECORD_RUSAGE);
    check_int(told.calls + seen.calls, 0);
    /* Again, the same; and its watch is not told any more, the other one is. */
    status = 0;
    check_ok(sss_child_wait(rich, LONG, &status, NULL));
    check_int(status, status_of(11));
    loop_until(loop, &seen.calls, 1);
    loop_settle(loop);
    check_int(told.calls, 0);
    check_seen(&seen, pid, 11);
    record = record_zero();
    check_ok(sss_child_wait(plain, LONG, &status, &record));
    check_int(record.have, SSS_RECORD_STATUS);
    check_int(record.status, 11);
    check_ok(sss_child_free(rich));
    check_int(sss_child_wait(rich, 0, NULL, NULL), ESRCH);
    check_ok(sss_child_free(plain));
}

static void one_that_is_due_already(void **state)
{
    struct loop *loop = *state;
    struct seen seen = { 0 };
    struct sss_child_ctx *plain;
    int status;
    pid_t pid = child_dead(3);

    check_ok(sss_child_register(NULL, loop->ctx, pid, see, &seen, &plain));
    check_ok(sss_child_wait(plain, 0, &status, NULL));
    check_int(status, status_of(3));
    loop_settle(loop);
    check_int(seen.calls, 0);
    check_int(stats_of(loop->ctx).watches, 0);
    check_int(stats_of(loop->ctx).pending, 0);
    check_ok(sss_child_free(plain));
}

static void one_that_is_kept(void **state)
{
    struct loop *loop = *state;
    struct told told = { 0 };
    struct sss_watch watch;
    struct sss_child_ctx *child;
    int status;
    pid_t pid = child_dead(4);

    watch = watch_of(pid, &told);
    watch.mask |= SSS_WATCH_KEEP_ZOMBIE;
    check_ok(sss_child_watch(NULL, loop->ctx, &watch, &child));
    check_ok(sss_child_wait(child, LONG, &status, NULL));
    check_int(status, status_of(4));
    check(!is_child(pid));
    loop_settle(loop);
    check_int(told.calls, 0);
    check_ok(sss_child_free(child));
}

static void one_that_was_replaced(void **state)
{
    struct loop *loop = *state;
    struct sss_child_ctx *children[2];
    struct gate gate;
    pid_t pid;

    gate_make(&gate);
    pid = child_at(&gate, 3);
    check_ok(sss_child_register(NULL, loop->ctx, pid, NULL, NULL, &children[0]));
    check_ok(sss_child_register(NULL, loop->ctx, pid, NULL, NULL, &children[1]));
    check_int(sss_child_wait(children[0], LONG, NULL, NULL), ESRCH);
    gate_open(&gate);
    check_ok(sss_child_wait(children[1], LONG, NULL, NULL));
    check_ok(sss_child_free(children[0]));
    check_ok(sss_child_free(children[1]));
}

static void a_deadline_is_kept_meanwhile(void **state)
{
    const struct sss_deadline_step step = { .after_ns = MS, .signum = SIGKILL };
    struct sss_deadline deadline;
    struct loop *loop = *state;
    struct told told = { 0 };
    struct sss_child_ctx *child;
    struct gate gate;
    int status;

    memset(&deadline, 0, sizeof(deadline));
    deadline.size = sizeof(deadline);
    deadline.steps = &step;
    deadline.steps_count = 1;
    gate_make(&gate);
    child = watch_child(loop->ctx, child_at(&gate, 3), &told);
    check_ok(sss_child_set_deadline(child, &deadline));
    check_ok(sss_child_wait(child, -1, &status, NULL));
    check_int(status, SIGKILL);
    check_int(told.calls, 0);
    gate_open(&gate);
    check_ok(sss_child_free(child));
}

static void all_of_a_context(void **state)
{
    enum { COUNT = 5 };
    struct loop *loop = *state;
    struct sss_child_ctx *children[COUNT], *second;
    struct seen seen[COUNT];
    struct told told = { 0 };
    struct gate early, late;
    int32_t left[COUNT];
    size_t count = 1;
    pid_t pids[COUNT];
    int i;

    memset(seen, 0, sizeof(seen));
    gate_make(&early);
    gate_make(&late);
    for (i = 0; i < COUNT; i++) {
        pids[i] = child_at(i < 3 ? &early : &late, i);
        check_ok(sss_child_register(NULL, loop->ctx, pids[i], see, &seen[i], &children[i]));
    }
    second = watch_child(loop->ctx, pids[4], &told);
    check_int(sss_sigchld_ctx_wait_all(loop->ctx, 0, left, &count), ETIMEDOUT);
    check_int(count, COUNT);
    check(left[0] == pids[0] || left[0] == pids[1] || left[0] == pids[2] || left[0] == pids[3]
          || left[0] == pids[4]);
    gate_open(&early);
    for (i = 0; i < 3; i++) {
        await_zombie(pids[i]);
    }
    count = COUNT;
    check_int(sss_sigchld_ctx_wait_all(loop->ctx, MS, left, &count), ETIMEDOUT);
    check_int(count, 2);
    check(left[0] + left[1] == pids[3] + pids[4]);
    for (i = 0; i < COUNT; i++) {
        check_int(seen[i].calls, 0);
    }
    gate_open(&late);
    check_ok(sss_sigchld_ctx_wait_all(loop->ctx, -1, NULL, NULL));
    count = COUNT;
    check_ok(sss_sigchld_ctx_wait_all(loop->ctx, 0, left, &count));
    check_int(count, 0);
    /* They are told afterwards. */
    for (i = 0; i < COUNT; i++) {
        loop_until(loop, &seen[i].calls, 1);
        check_seen(&seen[i], pids[i], i);
        check_ok(sss_child_free(children[i]));
    }
    loop_until(loop, &told.calls, 1);
    check_ok(sss_child_free(second));
}

static void bad_arguments(void **state)
{
    struct loop *loop = *state;
    struct sss_child_event record = record_zero();
    struct sss_child_ctx *child;
    struct gate gate;
    size_t count = 0;
    int32_t left;

    gate_make(&gate);
    check_ok(sss_child_register(NULL, loop->ctx, child_at(&gate, 3), NULL, NULL, &child));
    check_int(sss_child_wait(NULL, 0, NULL, NULL), EINVAL);
    check_int(sss_child_wait(child, -2, NULL, NULL), EINVAL);
    check_int(sss_child_wait(child, INT64_MIN, NULL, NULL), EINVAL);
    record.size = 8;
    check_int(sss_child_wait(child, 0, NULL, &record), EINVAL);
    check_int(sss_sigchld_ctx_wait_all(NULL, 0, NULL, NULL), EINVAL);
    check_int(sss_sigchld_ctx_wait_all(loop->ctx, -2, NULL, NULL), EINVAL);
    check_int(sss_sigchld_ctx_wait_all(loop->ctx, 0, &left, NULL), EINVAL);
    check_int(sss_sigchld_ctx_wait_all(loop->ctx, 0, NULL, &count), EINVAL);
    gate_open(&gate);
    check_ok(sss_child_wait(child, INT64_MAX, NULL, NULL));
    check_ok(sss_child_free(child));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        EACH_WAY(the_end_is_taken),
        EACH_WAY(one_that_is_due_already),
        EACH_WAY(one_that_is_kept),
        EACH_WAY(one_that_was_replaced),
        EACH_WAY(all_of_a_context),
        EACH_WAY(bad_arguments),
        ONE_WAY(a_deadline_is_kept_meanwhile, "_all_descriptor", 1),
        ONE_WAY(a_deadline_is_kept_meanwhile, "_registered_both", 5),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
