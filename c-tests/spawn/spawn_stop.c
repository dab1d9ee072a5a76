/* profiles: all but valgrind: a pressed key meets a child of the tool's own making */
/*
 * ^Z while a child is being started: the job has to stop, and its child too, although the
 * job's thread waits in the kernel for the child's exec.
 */
#include "support/test.h"

#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <termios.h>
#include <time.h>

#include "support/hold.h"
#include "support/spawn.h"

/* A program in the foreground of a terminal, as its shell sees it. */
struct job {
    uint32_t mask; /* of its child's spawn */
    struct gate gate;
    int master;
    int terminal;
    int socket;
    int listener; /* of the execve(2) of its child, or -1 */
    pid_t pid;
};

static void lead_a_session(struct job *job)
{
    int unlocked = 0;
    char name[64];

    job->master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    check(job->master != -1);
    check_ok(ioctl(job->master, TIOCSPTLCK, &unlocked));
    check_ok(ptsname_r(job->master, name, sizeof(name)));
    check(setsid() != -1);
    job->terminal = open(name, O_RDWR | O_CLOEXEC);
    check(job->terminal != -1);
    check_ok(ioctl(job->terminal, TIOCSCTTY, 0));
    signal(SIGTTOU, SIG_IGN); /* as shells do */
}

static void to_the_foreground(const struct job *job, pid_t group)
{
    check(setpgid(group, group) == 0 || errno == EACCES);
    check_ok(tcsetpgrp(job->terminal, group == 0 ? getpid() : group));
}

/* Starts one child, and ends when it has. */
static void one_child(struct job *job)
{
    static const struct hold exec[2] = { { SYS_execve, ANY_ARG }, { SYS_execve, ANY_ARG } };
    struct sss_spawn spawn = spawn_zero();
    struct seen seen = { 0 };
    struct loop loop;

    check_ok(close(job->gate.wr)); /* the shell's */
    loop_start(&loop, ctx_make(SSS_SCOPE_REGISTERED, 0), WAKE_DESCRIPTOR);
    send_fd(job->socket, hold_begin(exec));
    spawn.mask |= job->mask;
    spawn_so_at(loop.ctx, &spawn, &job->gate, 3, see, &seen);
    loop_until(&loop, &seen.calls, 1);
    check_int(seen.status, status_of(3));
    loop_end(&loop);
}

/* One after the other for as long as the shell lives. */
static void many_children(struct job *job)
{
    static const char *const argv[] = { "true", NULL };
    struct sss_spawn spawn = spawn_zero();
    struct loop loop;

    loop_start(&loop, ctx_make(SSS_SCOPE_REGISTERED, 0), WAKE_DESCRIPTOR);
    check_int(send(job->socket, "", 1, MSG_NOSIGNAL), 1);
    spawn.path = "/bin/true";
    spawn.argv = argv;
    for (;;) {
        struct seen seen = { 0 };
        struct sss_child_ctx *child;

        check_ok(sss_child_spawn(NULL, loop.ctx, &spawn, see, &seen, &child));
        loop_until(&loop, &seen.calls, 1);
        check_int(seen.status, 0);
        check_ok(sss_child_free(child));
    }
}

static void job_start(struct job *job, void (*run)(struct job *job))
{
    int sockets[2];

    check_ok(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets));
    job->pid = fork();
    check(job->pid != -1);
    if (job->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        to_the_foreground(job, 0);
        signal(SIGTTOU, SIG_DFL);
        close(sockets[0]);
        job->socket = sockets[1];
        run(job);
        exit(0);
    }
    check_ok(close(sockets[1]));
    to_the_foreground(job, job->pid);
    job->socket = sockets[0];
}

static void await_state(pid_t pid, char state)
{
    int64_t deadline = now_ms() + DEADLINE_MS;
    char path[64], got;
    FILE *file;

    snprintf(path, sizeof(path), "/proc/%d/stat", pid);
    do {
        file = fopen(path, "re");
        check(file != NULL);
        check_int(fscanf(file, "%*d (%*[^)]) %c", &got), 1);
        check_ok(fclose(file));
    } while (got != state && poll(NULL, 0, 1) == 0 && now_ms() < deadline);
    check_int(got, state);
}

/* Lets the child go on each time it is held, until the job stops or ends. */
static int job_wait(struct job *job)
{
    int64_t deadline = now_ms() + DEADLINE_MS;
    struct pollfd fd = { .fd = job->listener, .events = POLLIN };
    int status;
    pid_t pid;

    while ((pid = waitpid(job->pid, &status, WNOHANG | WUNTRACED)) == 0) {
        check(now_ms() < deadline);
        if (poll(&fd, 1, 1) == 1 && (fd.revents & POLLIN) != 0) {
            struct held held = hold_await(job->listener);

            hold_release(job->listener, &held);
        }
    }
    check_int(pid, job->pid);
    return status;
}

static void check_stops(struct job *job, int signum)
{
    int status = job_wait(job);

    check(WIFSTOPPED(status));
    check_int(WSTOPSIG(status), signum);
}

static void press(struct job *job)
{
    check_int(write(job->master, "\x1a", 1), 1);
}

struct pressed {
    int signum; /* 0: ^Z */
    bool alone; /* the child only, in a group of its own */
};

static void stopped_before_its_exec(void *arg)
{
    const struct pressed *pressed = arg;
    struct job job = { .mask = pressed->alone ? SSS_SPAWN_PGRP : 0 };
    struct held held;
    pid_t child;

    lead_a_session(&job);
    gate_make(&job.gate);
    job_start(&job, one_child);
    job.listener = receive_fd(job.socket);
    held = hold_await(job.listener); /* it stands at its execve */
    child = held.pid;

    if (pressed->alone) {
        check_ok(kill(child, pressed->signum));
    } else if (pressed->signum != 0) {
        check_ok(kill(-job.pid, pressed->signum));
    } else {
        press(&job);
    }
    if (!pressed->alone) {
        check_stops(&job, pressed->signum != 0 ? pressed->signum : SIGTSTP);
        await_state(child, 'T');
        check_ok(kill(-job.pid, SIGCONT));
    } else if (spawn_manner == 0) {
        held = hold_await(job.listener);
        hold_release(job.listener, &held);
        await_state(child, 'T');
        await_state(job.pid, 'S');
        check_ok(kill(child, SIGCONT));
    }
    gate_open(&job.gate);
    check_int(job_wait(&job), 0);
}

static void at_its_exec(struct pressed pressed)
{
    hold_needed();
    in_child(stopped_before_its_exec, &pressed);
}

static void by_the_terminal(void **state)
{
    (void)state;
    at_its_exec((struct pressed){ 0 });
}

static void by_each_stop_signal(void **state)
{
    (void)state;
    at_its_exec((struct pressed){ .signum = SIGTSTP });
    at_its_exec((struct pressed){ .signum = SIGTTIN });
    at_its_exec((struct pressed){ .signum = SIGTTOU });
}

static void the_child_alone(void **state)
{
    (void)state;
    if (test_profile_is("asan") || test_profile_is("tsan") || test_profile_is("linux-4.19")) {
        test_skip("linux-4.19 asan tsan", "the parent goes on while its child is stopped");
    }
    at_its_exec((struct pressed){ .signum = SIGTSTP, .alone = true });
    at_its_exec((struct pressed){ .signum = SIGTTIN, .alone = true });
}

/* Wherever the child is when the key is pressed. */
static void pressed_often(void *arg)
{
    int left = *(const int *)arg;
    struct job job = { .listener = -1 };
    char ready;

    lead_a_session(&job);
    job_start(&job, many_children);
    check_int(read(job.socket, &ready, 1), 1);
    srandom(1);
    while (left-- > 0) {
        struct timespec moment = { .tv_nsec = random() % 2000000 };

        nanosleep(&moment, NULL);
        press(&job);
        check_stops(&job, SIGTSTP);
        check_ok(kill(-job.pid, SIGCONT));
    }
    check_ok(kill(-job.pid, SIGKILL));
    reap(job.pid, BY_SIGNAL(SIGKILL));
}

static void each_press_stops_it(void **state)
{
    int presses = 100;

    (void)state;
    in_child(pressed_often, &presses);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(by_the_terminal),
        cmocka_unit_test(by_each_stop_signal),
        cmocka_unit_test(the_child_alone),
        cmocka_unit_test(each_press_stops_it),
    };

    return RUN_BOTH_MANNERS(tests);
}
