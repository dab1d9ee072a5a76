/*
 * The parent-death signal in every order of the parent's death and the child's
 * steps, seen by holding the child at a system call; and a child that its own
 * user stops on its way, which must not hold its parent.
 */
#include "support/test.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "support/hold.h"
#include "support/kernel.h"
#include "support/spawn.h"

enum { NOBODY = 65534 };

static const struct hold AT_PDEATHSIG = { SYS_prctl, PR_SET_PDEATHSIG };
static const struct hold AT_GETPPID = { SYS_getppid, ANY_ARG };
static const struct hold AT_EXEC = { SYS_execve, ANY_ARG };

/* A process that spawns a child which says a word, and lives until it is killed. */
struct daemon {
    struct hold holds[2];
    uint32_t mask;   /* of its spawn, besides PDEATHSIG */
    int pdeathsig;   /* or 0 */
    bool outside;    /* of its child's pid namespace */
    pid_t pid;
    int socket;      /* its end and ours, before and after the fork */
    int listener;
    int word;        /* the pipe that its child says it to */
};

/* What the daemon tells of its spawn. */
struct outcome {
    int error;
    uint32_t step;
};

static struct outcome spawn_speaker(const struct daemon *daemon, int wr)
{
    static const char *const argv[] = { "echo", NULL };
    const struct sss_spawn_fd map[] = { { wr, STDOUT_FILENO } };
    struct sss_spawn spawn = spawn_zero();
    struct outcome outcome = { 0, 0 };
    struct sss_child_ctx *child;

    spawn.mask |= SSS_SPAWN_FDS | daemon->mask;
    spawn.path = "/bin/echo";
    spawn.argv = argv;
    spawn.fds = map;
    spawn.fds_count = 1;
    spawn.uid = NOBODY;
    spawn.failed_step = &outcome.step;
    if (daemon->pdeathsig != 0) {
        spawn.mask |= SSS_SPAWN_PDEATHSIG;
        spawn.pdeathsig = daemon->pdeathsig;
    }
    outcome.error = sss_child_spawn(NULL, ctx_make(SSS_SCOPE_REGISTERED, 0), &spawn, NULL, NULL,
                                    &child);
    return outcome;
}

static void be_daemon(const struct daemon *daemon, int wr)
{
    struct outcome outcome;

    if (daemon->outside) {
        check_ok(unshare(CLONE_NEWPID));
    }
    send_fd(daemon->socket, hold_begin(daemon->holds));
    outcome = spawn_speaker(daemon, wr);
    check_ok(close(wr));
    check_int(send(daemon->socket, &outcome, sizeof(outcome), MSG_NOSIGNAL), sizeof(outcome));
    for (;;) {
        pause();
    }
}

static void daemon_start(struct daemon *daemon)
{
    int sockets[2], word[2];

    check_ok(prctl(PR_SET_CHILD_SUBREAPER, 1));
    check_ok(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets));
    check_ok(pipe2(word, O_CLOEXEC));
    daemon->pid = fork();
    check(daemon->pid != -1);
    if (daemon->pid == 0) {
        daemon->socket = sockets[1];
        be_daemon(daemon, word[1]);
    }
    check_ok(close(word[1]));
    check_ok(close(sockets[1]));
    daemon->socket = sockets[0];
    daemon->word = word[0];
    daemon->listener = receive_fd(daemon->socket);
}

static void daemon_kill(const struct daemon *daemon)
{
    check_ok(kill(daemon->pid, SIGKILL));
    reap(daemon->pid, BY_SIGNAL(SIGKILL));
}

static void check_outcome(const struct daemon *daemon, int error, uint32_t step)
{
    struct pollfd fd = { .fd = daemon->socket, .events = POLLIN };
    struct outcome outcome;

    check_int(poll(&fd, 1, DEADLINE_MS), 1);
    check_int(recv(daemon->socket, &outcome, sizeof(outcome), 0), sizeof(outcome));
    check_int(outcome.error, error);
    check_int(outcome.step, step);
}

/* The child said its word, or came to its end without. */
static void check_word(const struct daemon *daemon, bool said)
{
    struct pollfd fd = { .fd = daemon->word, .events = POLLIN };
    char byte;

    check_int(poll(&fd, 1, DEADLINE_MS), 1);
    check_int(read(daemon->word, &byte, 1), said);
}

/* The end of the daemon's child, now ours as its subreaper. */
static int orphan_status(pid_t pid)
{
    int status;

    alarm(DEADLINE_MS / 1000);
    check_int(waitpid(pid, &status, __WALL), pid);
    alarm(0);
    return status;
}

static struct held await_at(const struct daemon *daemon, const struct hold *where)
{
    struct held held = hold_await(daemon->listener);

    check_int(held.nr, where->nr);
    return held;
}

/* Dead before the signal is set: the child ends by itself. */
static void dead_before(void *pvt)
{
    struct daemon *daemon = pvt;
    struct held held;

    daemon->holds[0] = AT_PDEATHSIG;
    daemon->holds[1] = AT_PDEATHSIG;
    daemon_start(daemon);
    held = await_at(daemon, &AT_PDEATHSIG);
    daemon_kill(daemon);
    hold_release(daemon->listener, &held);
    check_word(daemon, false);
    check_int(orphan_status(held.pid), status_of(127));
}

/* Dead when the signal is set and the parent not yet checked: the child ends by one of the
 * two. */
static void dead_between(void *pvt)
{
    struct daemon *daemon = pvt;
    struct held held;
    int status;

    daemon->holds[0] = AT_GETPPID;
    daemon->holds[1] = AT_GETPPID;
    daemon_start(daemon);
    held = await_at(daemon, &AT_GETPPID);
    daemon_kill(daemon);
    if (daemon->pdeathsig != SIGKILL) {
        hold_release(daemon->listener, &held);
    }
    check_word(daemon, false);
    status = orphan_status(held.pid);
    check(status == status_of(127) || status == status_of(BY_SIGNAL(daemon->pdeathsig)));
}

/* Dead when all is done but exec: by the signal. */
static void dead_after(void *pvt)
{
    struct daemon *daemon = pvt;
    struct held held;

    daemon->holds[0] = AT_EXEC;
    daemon->holds[1] = AT_EXEC;
    daemon_start(daemon);
    held = await_at(daemon, &AT_EXEC);
    daemon_kill(daemon);
    check_word(daemon, false);
    check_int(orphan_status(held.pid), status_of(BY_SIGNAL(daemon->pdeathsig)));
}

/* Alive all the time: held at the same places, the child is well. */
static void alive(void *pvt)
{
    struct daemon *daemon = pvt;
    struct held held;

    daemon->holds[0] = AT_PDEATHSIG;
    daemon->holds[1] = AT_EXEC;
    daemon_start(daemon);
    held = await_at(daemon, &AT_PDEATHSIG);
    hold_release(daemon->listener, &held);
    held = await_at(daemon, &AT_EXEC);
    hold_release(daemon->listener, &held);
    check_outcome(daemon, 0, 0);
    check_word(daemon, true);
    daemon_kill(daemon);
}

static void in_each_manner(void (*fn)(void *daemon), bool outside)
{
    static const uint32_t masks[] = { 0, SSS_SPAWN_FORK, SSS_SPAWN_UID, SSS_SPAWN_SESSION };
    static const int signals[] = { SIGTERM, SIGKILL, SIGUSR1 };
    size_t i, j;

    needs_root("change ids");
    hold_needed();
    for (i = 0; i < ARRAY_SIZE(masks); i++) {
        for (j = 0; j < ARRAY_SIZE(signals); j++) {
            struct daemon daemon = {
                .mask = masks[i],
                .pdeathsig = signals[j],
                .outside = outside,
            };

            in_child(fn, &daemon);
        }
    }
}

static void that_died_before_it_is_set(void **state)
{
    (void)state;
    in_each_manner(dead_before, false);
}

static void that_dies_when_it_is_set(void **state)
{
    (void)state;
    in_each_manner(dead_between, false);
}

static void that_dies_before_exec(void **state)
{
    (void)state;
    in_each_manner(dead_after, false);
}

static void that_lives(void **state)
{
    (void)state;
    in_each_manner(alive, false);
}

/* Where the parent is outside of its child's pid namespace, getppid() is 0 there
 * before and after its death. */
static void nothing(void *unused)
{
    (void)unused;
}

static void namespaces_needed(void)
{
    in_pid_namespace(nothing, NULL); /* skips */
}

static void outside_that_died_before_it_is_set(void **state)
{
    (void)state;
    if (!kernel_has_pidfds()) {
        test_skip("linux-4.19 valgrind", "no pidfds");
    }
    namespaces_needed();
    in_each_manner(dead_before, true);
}

static void outside_that_lives(void **state)
{
    (void)state;
    namespaces_needed();
    in_each_manner(alive, true);
}

/* The same at the head of a pid namespace, whose end is that of all in it. */
static void first_in_namespace(void *pvt)
{
    struct daemon *daemon = pvt;

    check_ok(mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL));
    check_ok(mount("proc", "/proc", "proc", 0, NULL));
    alive(daemon);
    dead_before(daemon);
    dead_after(daemon);
}

static void be_pid_1(void *pvt)
{
    struct daemon *daemon = pvt;
    int word[2];

    check_int(getpid(), 1);
    check_ok(pipe2(word, O_CLOEXEC));
    check_ok(spawn_speaker(daemon, word[1]).error);
    daemon->word = word[0];
    check_word(daemon, true);
}

static void that_is_pid_1(void **state)
{
    struct daemon daemon = { .pdeathsig = SIGTERM };

    (void)state;
    in_pid_namespace(be_pid_1, &daemon);
    daemon.mask = SSS_SPAWN_FORK;
    in_pid_namespace(be_pid_1, &daemon);
}

static void within_a_namespace(void **state)
{
    struct daemon daemon = { .pdeathsig = SIGTERM };

    (void)state;
    hold_needed();
    in_pid_namespace(first_in_namespace, &daemon);
    daemon.mask = SSS_SPAWN_FORK;
    in_pid_namespace(first_in_namespace, &daemon);
}

/* The signal comes with the end of the thread that spawned. */
struct spawner {
    struct sss_sigchild_ctx *ctx;
    struct gate *gate;
    struct sss_child_ctx *child;
    struct seen seen;
    struct gate leave;
};

static void *spawn_and_wait(void *pvt)
{
    struct spawner *spawner = pvt;
    struct sss_spawn spawn = spawn_zero();
    char byte;

    spawn.mask |= SSS_SPAWN_PDEATHSIG;
    spawn.pdeathsig = SIGUSR2;
    spawner->child = spawn_so_at(spawner->ctx, &spawn, spawner->gate, 0, see, &spawner->seen);
    check_int(read(spawner->leave.rd, &byte, 1), 1);
    return NULL;
}

static void *leave_at_once(void *unused)
{
    return unused;
}

static void that_is_a_thread(void **state)
{
    struct loop *loop = *state;
    struct spawner spawner;
    pthread_t thread, other;
    struct gate gate;
    pid_t pid;

    memset(&spawner, 0, sizeof(spawner));
    gate_make(&gate);
    gate_make(&spawner.leave);
    spawner.ctx = loop->ctx;
    spawner.gate = &gate;
    check_ok(pthread_create(&thread, NULL, spawn_and_wait, &spawner));
    check_ok(pthread_create(&other, NULL, leave_at_once, NULL));
    check_ok(pthread_join(other, NULL));
    loop_settle(loop);
    check_int(spawner.seen.calls, 0);
    check_int(write(spawner.leave.wr, "x", 1), 1);
    check_ok(pthread_join(thread, NULL));
    pid = spawner.seen.calls == 0 ? pid_of(spawner.child) : spawner.seen.pid;
    loop_until(loop, &spawner.seen.calls, 1);
    check_seen(&spawner.seen, pid, BY_SIGNAL(SIGUSR2));
    check_ok(sss_child_free(spawner.child));
    gate_open(&gate);
    gate_open(&spawner.leave);
}

/* A process with the child's new uid. */
static void stop_as_nobody(void *pvt)
{
    const pid_t *pid = pvt;

    check_ok(setresuid(NOBODY, NOBODY, NOBODY));
    check_ok(kill(*pid, SIGSTOP));
}

/* The child is stopped again and again after it has its new uid and before its exec: it is
 * continued each time, and the spawn returns. */
static void stopped_by_its_user(void *pvt)
{
    enum { TIMES = 5 };
    struct daemon *daemon = pvt;
    struct held held;
    int i;

    daemon->holds[0] = AT_EXEC;
    daemon->holds[1] = AT_EXEC;
    daemon_start(daemon);
    for (i = 0; i < TIMES; i++) {
        held = await_at(daemon, &AT_EXEC);
        in_child(stop_as_nobody, &held.pid);
    }
    held = await_at(daemon, &AT_EXEC);
    hold_release(daemon->listener, &held);
    check_outcome(daemon, 0, 0);
    check_word(daemon, true);
    daemon_kill(daemon);
}

static void a_child_that_is_stopped_holds_nobody(void **state)
{
    static const uint32_t masks[] = { SSS_SPAWN_UID, SSS_SPAWN_UID | SSS_SPAWN_FORK };
    size_t i;

    (void)state;
    needs_root("change ids");
    hold_needed();
    for (i = 0; i < ARRAY_SIZE(masks); i++) {
        struct daemon daemon = { .mask = masks[i] };

        in_child(stopped_by_its_user, &daemon);
    }
}

/* Killed by that user before its exec: an error, and no process. */
static void kill_as_nobody(void *pvt)
{
    const pid_t *pid = pvt;

    check_ok(setresuid(NOBODY, NOBODY, NOBODY));
    check_ok(kill(*pid, SIGKILL));
}

static void killed_by_its_user(void *pvt)
{
    struct daemon *daemon = pvt;
    struct held held;

    daemon->holds[0] = AT_EXEC;
    daemon->holds[1] = AT_EXEC;
    daemon_start(daemon);
    held = await_at(daemon, &AT_EXEC);
    in_child(kill_as_nobody, &held.pid);
    check_outcome(daemon, EINTR, SSS_SPAWN_STEP_EXEC);
    check_word(daemon, false);
    check_int(kill(held.pid, 0), -1);
    check_int(errno, ESRCH);
    daemon_kill(daemon);
}

static void a_child_that_is_killed_is_an_error(void **state)
{
    struct daemon daemon = { .mask = SSS_SPAWN_UID };

    (void)state;
    needs_root("change ids");
    hold_needed();
    in_child(killed_by_its_user, &daemon);
}

/* A child that changes its ids never shares memory. */
static bool shares_memory(const struct daemon *daemon)
{
    return daemon->mask == 0 && getenv("SSS_SIGCHLD_SPAWN_FORK") == NULL;
}

static void clone_flags(void *pvt)
{
    static const struct hold at_clone = { SYS_clone, ANY_ARG };
    struct daemon *daemon = pvt;
    struct held held;

    daemon->holds[0] = at_clone;
    daemon->holds[1] = at_clone;
    daemon_start(daemon);
    held = await_at(daemon, &at_clone);
    check_int((held.args[0] & CLONE_VM) != 0, shares_memory(daemon));
    check_int((held.args[0] & CLONE_VFORK) != 0, shares_memory(daemon));
    hold_release(daemon->listener, &held);
    check_outcome(daemon, 0, 0);
    check_word(daemon, true);
    daemon_kill(daemon);
}

static void new_ids_take_the_fork(void **state)
{
    static const uint32_t masks[] = { 0, SSS_SPAWN_UID };
    size_t i;

    (void)state;
    needs_root("change ids");
    hold_needed();
    for (i = 0; i < ARRAY_SIZE(masks); i++) {
        struct daemon daemon = { .mask = masks[i] };

        in_child(clone_flags, &daemon);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(that_died_before_it_is_set),
        cmocka_unit_test(that_dies_when_it_is_set),
        cmocka_unit_test(that_dies_before_exec),
        cmocka_unit_test(that_lives),
        cmocka_unit_test(outside_that_died_before_it_is_set),
        cmocka_unit_test(outside_that_lives),
        cmocka_unit_test(that_is_pid_1),
        cmocka_unit_test(within_a_namespace),
        EACH_WAY(that_is_a_thread),
        cmocka_unit_test(a_child_that_is_stopped_holds_nobody),
        cmocka_unit_test(a_child_that_is_killed_is_an_error),
        cmocka_unit_test(new_ids_take_the_fork),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
