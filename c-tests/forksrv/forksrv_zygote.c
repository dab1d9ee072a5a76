/* A server that was forked: its preload hook, functions without exec, and waiting by pid. */
#include "support/test.h"

#include <fcntl.h>
#include <pthread.h>

#include "support/family.h"
#include "support/server.h"

/* 0 in the daemon, what the hook has loaded in the server and in its children. */
static int loaded;

static int preload(void *pvt)
{
    loaded = *(int *)pvt;
    return 0;
}

static int refuses(void *pvt)
{
    (void)pvt;
    return 42;
}

static int returns_what_was_loaded(void *arg)
{
    return loaded + *(int *)arg;
}

/* Which descriptors there are, as bits, of the first eight. */
static int returns_descriptors(void *arg)
{
    int bits = 0, fd;

    (void)arg;
    for (fd = 0; fd < 1024; fd++) {
        if (fcntl(fd, F_GETFD) != -1) {
            bits |= fd < 8 ? 1 << fd : 255;
        }
    }
    return bits;
}

static int waits_for_its_gate(void *arg)
{
    char byte;

    (void)arg;
    return read(STDIN_FILENO, &byte, 1) == 0 ? 77 : 1;
}

static int crashes(void *arg)
{
    (void)arg;
    abort();
}

static struct sss_child_ctx *run(struct server_bed *bed, struct gate *gate, int (*function)(void *),
                                 void *arg, struct seen *seen)
{
    struct sss_child_ctx *child = NULL;
    struct order order;

    check_ok(sss_forksrv_launch_function(NULL, bed->srv, order_ends(&order, gate, 0), function,
                                         arg, see, seen, &child));
    return child;
}

static void functions_run_in_what_was_loaded(void **state)
{
    static int seven = 7, hundred = 100;
    struct server_bed *bed = *state;
    struct sss_forksrv_params params = server_zero(SSS_FORKSRV_FORK, &bed->events);
    struct sss_child_ctx *child;
    struct seen seen;
    unsigned i;
    pid_t pid;

    if (test_profile_is("valgrind")) {
        test_skip("valgrind", "the tool has descriptors of its own");
    }
    params.preload = preload;
    params.preload_pvt = &hundred;
    check_ok(sss_forksrv_start(NULL, bed->loop.ctx, &params, &bed->srv));
    loop_until(&bed->loop, &bed->events.ready, 1);
    check_int(loaded, 0);
    for (i = 0; i < 50; i++) {
        memset(&seen, 0, sizeof(seen));
        child = run(bed, NULL, returns_what_was_loaded, &seven, &seen);
        pid = pid_of(child);
        loop_until(&bed->loop, &seen.calls, 1);
        check_seen(&seen, pid, 107);
        check_ok(sss_child_free(child));
    }
    memset(&seen, 0, sizeof(seen));
    child = run(bed, NULL, returns_descriptors, NULL, &seen);
    pid = pid_of(child);
    loop_until(&bed->loop, &seen.calls, 1);
    check_seen(&seen, pid, 1 << STDIN_FILENO | 1 << STDERR_FILENO);
    check_ok(sss_child_free(child));
    memset(&seen, 0, sizeof(seen));
    child = run(bed, NULL, crashes, NULL, &seen);
    loop_until(&bed->loop, &seen.calls, 1);
    check(WIFSIGNALED(seen.status));
    check_int(WTERMSIG(seen.status), SIGABRT);
    check_ok(sss_child_free(child));
    server_finish(bed);
}

static void a_hook_that_refuses_ends_the_server(void **state)
{
    struct server_bed *bed = *state;
    struct sss_forksrv_params params = server_zero(SSS_FORKSRV_FORK, &bed->events);

    params.preload = refuses;
    check_ok(sss_forksrv_start(NULL, bed->loop.ctx, &params, &bed->srv));
    loop_until(&bed->loop, &bed->events.crashed, 1);
    check_int(bed->events.last.wait_status, status_of(42));
    check_int(bed->events.ready, 0);
    check_ok(sss_forksrv_free(bed->srv));
}

static void functions_need_a_forked_server(void **state)
{
    struct server_bed *bed = *state;
    struct sss_child_ctx *child = NULL;
    struct order order;

    server_start(bed, 0);
    check_int(sss_forksrv_launch_function(NULL, bed->srv, order_ends(&order, NULL, 0),
                                          waits_for_its_gate, NULL, see, NULL, &child),
              ENOTSUP);
    check_int(sss_forksrv_launch_function(NULL, bed->srv, order_ends(&order, NULL, 0), NULL, NULL,
                                          see, NULL, &child),
              EINVAL);
    server_finish(bed);
}

/* Waited for by pid: the handle's callback still comes. */
static void waiting_steals_from_no_handle(void **state)
{
    static const uint32_t flags[] = { SSS_FORKSRV_FORK | SSS_FORKSRV_CLONE_PARENT,
                                      SSS_FORKSRV_FORK | SSS_FORKSRV_SERVERS_CHILDREN };
    struct server_bed *bed = *state;
    struct sss_child_ctx *child;
    struct gate gate;
    int wait_status;
    size_t i;
    pid_t pid;

    for (i = 0; i < ARRAY_SIZE(flags); i++) {
        struct seen seen = { 0 };

        server_start(bed, flags[i]);
        gate_make(&gate);
        child = launch_at(bed->srv, &gate, 4, see, &seen);
        pid = pid_of(child);
        check_int(sss_forksrv_waitpid(bed->srv, pid, WNOHANG, &wait_status), EAGAIN);
        gate_open(&gate);
        loop_until(&bed->loop, &seen.calls, 1);
        check_seen(&seen, pid, 4);
        check_ok(sss_child_free(child));
        check_int(sss_forksrv_waitpid(bed->srv, pid, WNOHANG, &wait_status), ECHILD);
        server_finish(bed);
    }
}

/* A child that was released: for one of ours waitpid() is enough, for one of the server's the
 * server is asked. */
static void a_released_child_is_waited_for(void **state)
{
    static const uint32_t flags[] = { SSS_FORKSRV_CLONE_PARENT, SSS_FORKSRV_SERVERS_CHILDREN };
    struct server_bed *bed = *state;
    struct sss_child_ctx *child;
    struct gate gate;
    int wait_status;
    size_t i;
    pid_t pid;

    for (i = 0; i < ARRAY_SIZE(flags); i++) {
        server_start(bed, flags[i]);
        gate_make(&gate);
        child = launch_at(bed->srv, &gate, 4, see, NULL);
        pid = pid_of(child);
        check_ok(sss_child_release(child, &wait_status));
        check_int(sss_forksrv_waitpid(bed->srv, pid, WNOHANG, &wait_status), EAGAIN);
        gate_open(&gate);
        wait_status = -1;
        check_ok(sss_forksrv_waitpid(bed->srv, pid, 0, &wait_status));
        check_int(wait_status, status_of(4));
        check_int(sss_forksrv_waitpid(bed->srv, pid, 0, &wait_status), ECHILD);
        server_finish(bed);
    }
}

/* A child of the server's that nobody watches. It ends with this code when the gate opens. */
static pid_t launch_unwatched(struct server_bed *bed, struct gate *gate, int code)
{
    struct sss_child_ctx *child;
    int wait_status;
    pid_t pid;

    gate_make(gate);
    child = launch_at(bed->srv, gate, code, see, NULL);
    pid = pid_of(child);
    check_ok(sss_child_release(child, &wait_status));
    return pid;
}

/* The server answers when the child has ended, and does other work until then. Of two that
 * wait one gets the status. */
static void a_wait_is_answered_late(void **state)
{
    struct server_bed *bed = *state;
    struct sss_child_ctx *child;
    struct waiter waiters[2];
    struct gate gate;
    int i, wait_status;
    pid_t pid;

    server_start(bed, SSS_FORKSRV_SERVERS_CHILDREN);
    pid = launch_unwatched(bed, &gate, 4);
    waiter_begin(&waiters[0], bed->srv, pid);
    waiter_begin(&waiters[1], bed->srv, pid);
    for (i = 0; i < 3; i++) {
        struct seen seen = { 0 };

        child = launch_at(bed->srv, NULL, i, see, &seen);
        loop_until(&bed->loop, &seen.calls, 1);
        check_seen(&seen, pid_of(child), i);
        check_ok(sss_child_free(child));
        check_int(sss_forksrv_waitpid(bed->srv, pid, WNOHANG, &wait_status), EAGAIN);
    }
    for (i = 0; i < 2; i++) {
        check_int(__atomic_load_n(&waiters[i].done, __ATOMIC_SEQ_CST), 0);
    }
    gate_open(&gate);
    for (i = 0; i < 2; i++) {
        check_ok(pthread_join(waiters[i].thread, NULL));
    }
    i = waiters[0].ret == 0 ? 0 : 1;
    check_ok(waiters[i].ret);
    check_int(waiters[i].status, status_of(4));
    check_int(waiters[1 - i].ret, ECHILD);
    server_finish(bed);
}

/* The server dies meanwhile: the child becomes the daemon's, and so does its status. */
static void a_wait_outlives_the_server(void **state)
{
    struct server_bed *bed = *state;
    struct waiter waiter;
    struct gate gate;
    pid_t pid;

    server_start(bed, SSS_FORKSRV_SERVERS_CHILDREN);
    pid = launch_unwatched(bed, &gate, 4);
    waiter_begin(&waiter, bed->srv, pid);
    check_ok(kill(server_pid(bed->srv), SIGKILL));
    loop_until(&bed->loop, &bed->events.crashed, 1);
    check_int(__atomic_load_n(&waiter.done, __ATOMIC_SEQ_CST), 0);
    gate_open(&gate);
    check_ok(pthread_join(waiter.thread, NULL));
    check_ok(waiter.ret);
    check_int(waiter.status, status_of(4));
    check_ok(sss_forksrv_free(bed->srv));
}

static void bad_input(void **state)
{
    struct server_bed *bed = *state;
    struct sss_forksrv_params params = server_zero(0, &bed->events);
    struct sss_forksrv *srv = NULL;
    struct sss_child_ctx *child = NULL;
    struct order order;
    int wait_status;
    pid_t pid;

    check_int(sss_forksrv_start(NULL, NULL, &params, &srv), EINVAL);
    check_int(sss_forksrv_start(NULL, bed->loop.ctx, NULL, &srv), EINVAL);
    check_int(sss_forksrv_start(NULL, bed->loop.ctx, &params, NULL), EINVAL);
    check_int(sss_forksrv_start(&params, bed->loop.ctx, &params, &srv), EINVAL);
    params.flags = 1U << 31;
    check_int(sss_forksrv_start(NULL, bed->loop.ctx, &params, &srv), EINVAL);
    params = server_zero(SSS_FORKSRV_FORK | SSS_FORKSRV_RESTART, &bed->events);
    check_int(sss_forksrv_start(NULL, bed->loop.ctx, &params, &srv), EINVAL);
    params = server_zero(SSS_FORKSRV_CLONE_PARENT | SSS_FORKSRV_SERVERS_CHILDREN, &bed->events);
    check_int(sss_forksrv_start(NULL, bed->loop.ctx, &params, &srv), EINVAL);
    params = server_zero(0, &bed->events);
    params.preload = preload;
    check_int(sss_forksrv_start(NULL, bed->loop.ctx, &params, &srv), EINVAL);
    params.preload = NULL;
    params.timeout = -1;
    check_int(sss_forksrv_start(NULL, bed->loop.ctx, &params, &srv), EINVAL);
    params.timeout = 0;
    params.helper = "/nowhere/helper";
    check_int(sss_forksrv_start(NULL, bed->loop.ctx, &params, &srv), ENOENT);
    check(srv == NULL);
    check_int(sss_forksrv_launch(NULL, NULL, order_ends(&order, NULL, 0), see, NULL, &child),
              EINVAL);
    check_int(sss_forksrv_pid(NULL, &pid), EINVAL);
    check_int(sss_forksrv_stop(NULL), EINVAL);
    check_ok(sss_forksrv_free(NULL));
    server_start(bed, 0);
    check_int(sss_forksrv_launch(NULL, bed->srv, NULL, see, NULL, &child), EINVAL);
    check_int(sss_forksrv_pid(bed->srv, NULL), EINVAL);
    check_int(sss_forksrv_waitpid(bed->srv, 0, 0, &wait_status), EINVAL);
    check_int(sss_forksrv_waitpid(bed->srv, 1, WUNTRACED, &wait_status), EINVAL);
    check_int(sss_forksrv_waitpid(bed->srv, 1, 0, NULL), EINVAL);
    check_int(sss_forksrv_waitpid(bed->srv, getpid(), 0, &wait_status), ECHILD);
    server_finish(bed);
}

static void in_a_forked_process(void *arg)
{
    struct sss_forksrv *srv = arg;
    struct sss_child_ctx *child = NULL;
    struct order order;
    pid_t pid;

    check_int(sss_forksrv_launch(NULL, srv, order_ends(&order, NULL, 0), see, NULL, &child),
              ECHILD);
    check_int(sss_forksrv_pid(srv, &pid), ECHILD);
    check_int(sss_forksrv_stop(srv), ECHILD);
    check_ok(sss_forksrv_free(srv));
}

static void a_forked_process_has_no_server(void **state)
{
    struct server_bed *bed = *state;
    struct seen seen = { 0 };
    struct sss_child_ctx *child;
    pid_t pid;

    server_start(bed, 0);
    in_child(in_a_forked_process, bed->srv);
    child = launch_at(bed->srv, NULL, 3, see, &seen);
    pid = pid_of(child);
    loop_until(&bed->loop, &seen.calls, 1);
    check_seen(&seen, pid, 3);
    check_ok(sss_child_free(child));
    server_finish(bed);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(functions_run_in_what_was_loaded, server_bed_begin, server_bed_end),
        cmocka_unit_test_setup_teardown(a_hook_that_refuses_ends_the_server, server_bed_begin, server_bed_end),
        cmocka_unit_test_setup_teardown(functions_need_a_forked_server, server_bed_begin, server_bed_end),
        cmocka_unit_test_setup_teardown(waiting_steals_from_no_handle, server_bed_begin, server_bed_end),
        cmocka_unit_test_setup_teardown(a_released_child_is_waited_for, server_bed_begin, server_bed_end),
        cmocka_unit_test_setup_teardown(a_wait_is_answered_late, server_bed_begin, server_bed_end),
        cmocka_unit_test_setup_teardown(a_wait_outlives_the_server, server_bed_begin, server_bed_end),
        cmocka_unit_test_setup_teardown(bad_input, server_bed_begin, server_bed_end),
        cmocka_unit_test_setup_teardown(a_forked_process_has_no_server, server_bed_begin, server_bed_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
