/* Ends of the server's own children that it can tell only late. */
#include "support/test.h"

#include <pthread.h>
#include <sched.h>
#include <sys/ptrace.h>

#include "support/family.h"
#include "support/server.h"

static void await_state(pid_t pid, char wanted)
{
    int64_t late = now_ms() + DEADLINE_MS;

    while (process_state(pid) != wanted) {
        check(now_ms() < late);
        sched_yield();
    }
}

/* Another process, which traces a child of the server's and keeps its zombie. */
struct tracer {
    pid_t pid;
    struct gate gate; /* it lets go when this opens */
    int said;         /* a byte: it traces; the next: the child has ended */
};

static _Noreturn void trace(pid_t victim, struct gate *victims, struct tracer *tracer, int say)
{
    siginfo_t info;
    char byte;

    close(victims->wr);
    close(tracer->gate.wr);
    if (ptrace(PTRACE_SEIZE, victim, NULL, NULL) != 0 || write(say, "", 1) != 1
        || waitid(P_PID, (id_t)victim, &info, WEXITED | WNOWAIT | __WALL) != 0
        || write(say, "", 1) != 1) {
        _exit(1);
    }
    _exit(read(tracer->gate.rd, &byte, 1) == 0 ? 0 : 2);
}

static void await_word(const struct tracer *tracer)
{
    char byte;

    check_int(read(tracer->said, &byte, 1), 1);
}

static void tracer_begin(struct tracer *tracer, pid_t victim, struct gate *victims)
{
    int said[2];

    gate_make(&tracer->gate);
    check_ok(pipe(said));
    tracer->pid = fork();
    check(tracer->pid != -1);
    if (tracer->pid == 0) {
        close(said[0]);
        trace(victim, victims, tracer, said[1]);
    }
    check_ok(close(said[1]));
    tracer->said = said[0];
    await_word(tracer);
}

static void tracer_end(struct tracer *tracer)
{
    gate_open(&tracer->gate);
    check_ok(close(tracer->said));
    reap(tracer->pid, 0);
}

/* The child's pidfd is readable while its tracer keeps the zombie, and nothing tells the server
 * when the tracer lets go. */
static void a_traced_child(void **state)
{
    struct server_bed *bed = *state;
    struct sss_child_ctx *child;
    struct waiter waiter;
    struct tracer tracer;
    struct gate gate;
    int i, status;
    pid_t pid;

    server_start(bed, SSS_FORKSRV_SERVERS_CHILDREN);
    gate_make(&gate);
    child = launch_at(bed->srv, &gate, 4, see, NULL);
    pid = pid_of(child);
    check_ok(sss_child_release(child, &status));
    tracer_begin(&tracer, pid, &gate);
    gate_open(&gate);
    await_word(&tracer);
    waiter_begin(&waiter, bed->srv, pid);
    /* When the second is answered the server has seen all that was there before the first. */
    for (i = 0; i < 2; i++) {
        check_int(sss_forksrv_waitpid(bed->srv, pid, WNOHANG, &status), EAGAIN);
    }
    tracer_end(&tracer);
    loop_until(&bed->loop, &waiter.done, 1);
    check_ok(pthread_join(waiter.thread, NULL));
    check_ok(waiter.ret);
    check_int(waiter.status, status_of(4));
    server_finish(bed);
}

/* The server is stopped until whoever has asked for the status has given up: the server keeps
 * the status for the next who asks. */
static void asked_in_vain(void **state)
{
    struct server_bed *bed = *state;
    struct sss_child_ctx *child = NULL;
    struct order order;
    struct gate gate;
    errno_t ret;
    int status;
    pid_t pid;

    server_start_with(bed, SSS_FORKSRV_SERVERS_CHILDREN, server_told, 100 * 1000 * 1000);
    gate_make(&gate);
    do {
        ret = sss_forksrv_launch(NULL, bed->srv, order_ends(&order, &gate, 4), see, NULL, &child);
    } while (ret == ETIMEDOUT);
    check_ok(ret);
    pid = pid_of(child);
    check_ok(sss_child_release(child, &status));
    check_ok(kill(server_pid(bed->srv), SIGSTOP));
    await_state(server_pid(bed->srv), 'T');
    gate_open(&gate);
    await_state(pid, 'Z');
    check_int(sss_forksrv_waitpid(bed->srv, pid, WNOHANG, &status), ETIMEDOUT);
    check_ok(kill(server_pid(bed->srv), SIGCONT));
    check_ok(sss_forksrv_waitpid(bed->srv, pid, 0, &status));
    check_int(status, status_of(4));
    server_finish(bed);
}

/* A child whose handle was freed is reaped, even if sss_forksrv_waitpid() found it alive
 * before. */
static void waited_for_after_its_handle_was_freed(void **state)
{
    struct server_bed *bed = *state;
    struct sss_child_ctx *child;
    struct gate gate;
    int status;
    pid_t pid;

    server_start(bed, SSS_FORKSRV_CLONE_PARENT);
    gate_make(&gate);
    child = launch_at(bed->srv, &gate, 4, see, NULL);
    pid = pid_of(child);
    check_ok(sss_child_free(child));
    check_int(sss_forksrv_waitpid(bed->srv, pid, WNOHANG, &status), EAGAIN);
    gate_open(&gate);
    loop_until_reaped(&bed->loop, pid);
    server_finish(bed);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_traced_child, server_bed_begin, server_bed_end),
        cmocka_unit_test_setup_teardown(asked_in_vain, server_bed_begin, server_bed_end),
        cmocka_unit_test_setup_teardown(waited_for_after_its_handle_was_freed, server_bed_begin, server_bed_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
