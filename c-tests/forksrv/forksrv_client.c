/*
 * Kills or stops the client at each point of a launch. Each system call of the client, of its
 * server and of the new process is held once, and the signal comes there. When the client is
 * dead the server ends, and no process is left that waits for the client's word. A client that
 * was stopped and continued finds everything as it should be.
 */
#include "support/test.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/hold.h"
#include "support/server.h"

/* What is held, and where it comes in a launch. */
static const struct hold kinds[][2] = {
    { { SYS_recvmsg, ANY_ARG }, { SYS_sendmsg, ANY_ARG } },
    { { SYS_clone3, ANY_ARG }, { SYS_clone, ANY_ARG } },
    { { SYS_sendto, ANY_ARG }, { SYS_ppoll, ANY_ARG } },
    { { SYS_execve, ANY_ARG }, { SYS_exit_group, ANY_ARG } },
};

#define END 11
/* The exit code of a process whose client died before the process could exec. */
#define NEVER_RAN 127
/* The exit codes of a server whose client died before the server had begun, and before it
 * had read the client's hello. */
#define NO_START 70
#define ORPHAN 76

struct client {
    uint32_t flags;
    int sent[2]; /* readable when its parent has the listener, and lets its calls go on */
};

/* A launch, and an orderly end. */
static void *launch_and_end(void *arg)
{
    struct client *client = arg;
    struct server_bed bed = { 0 };
    struct sss_child_ctx *child;
    struct seen seen = { 0 };
    char byte;

    check_int(read(client->sent[0], &byte, 1), 1);
    server_bed_open(&bed, client->flags);
    child = launch_at(bed.srv, NULL, END, see, &seen);
    loop_until(&bed.loop, &seen.calls, 1);
    check_int(seen.status, END << 8);
    check_ok(sss_child_free(child));
    server_bed_close(&bed);
    return NULL;
}

static _Noreturn void be_client(const struct hold *kind, uint32_t flags, int tell)
{
    struct client client = { .flags = flags };
    struct rlimit none = { 0, 0 };
    pthread_t thread;
    int listener;

    /* cmocka catches it. */
    check(signal(SIGSEGV, SIG_DFL) != SIG_ERR);
    check_ok(setrlimit(RLIMIT_CORE, &none));
    check_ok(pipe(client.sent));
    listener = hold_thread(&thread, kind, launch_and_end, &client);
    send_fd(tell, listener);
    check_ok(close(listener));
    check_int(write(client.sent[1], "", 1), 1);
    check_ok(pthread_join(thread, NULL));
    _exit(EXIT_SUCCESS);
}

struct point {
    int listener;
    pid_t client;
    int signum;
    unsigned at, calls;
    bool sent;
    unsigned stopped; /* turns without a call since the client was stopped */
};

/* After so many turns without a call, all that can go on without the client has done so. */
#define QUIET 3

/* Lets a call go on, the client sent the signal before if it is the one. */
static void turn(struct point *point)
{
    struct pollfd fd = { .fd = point->listener, .events = POLLIN };
    struct held held;

    check(poll(&fd, 1, 10) != -1);
    if (fd.revents == 0 && point->stopped > 0 && ++point->stopped > QUIET) {
        point->stopped = 0;
        check_ok(kill(point->client, SIGCONT));
    }
    if (fd.revents & POLLIN && hold_take(point->listener, &held)) {
        if (++point->calls == point->at) {
            point->sent = true;
            point->stopped = point->signum == SIGSTOP;
            check_ok(kill(point->client, point->signum));
        }
        hold_give_back(point->listener, &held);
    } else if (fd.revents & (POLLHUP | POLLERR)) {
        close(point->listener);
        point->listener = -1;
    }
}

/* Waits until every process is gone. All of them are our children, or become so when their
 * parent dies. */
static void until_all_ended(struct point *point, unsigned *programs)
{
    int64_t late = now_ms() + DEADLINE_MS;
    int status;
    pid_t pid;

    while ((pid = waitpid(-1, &status, WNOHANG)) != -1) {
        check(now_ms() < late);
        if (pid == 0) {
            turn(point);
        } else if (pid == point->client) {
            if (WIFSIGNALED(status)) {
                check(point->sent);
                check_int(WTERMSIG(status), point->signum);
            } else {
                check_int(status, 0);
            }
        } else {
            check(WIFEXITED(status));
            *programs += WEXITSTATUS(status) == END;
            switch (WEXITSTATUS(status)) {
            case 0:
            case END:
            case NEVER_RAN:
            case NO_START:
            case ORPHAN:
                break;
            default:
                check_int(WEXITSTATUS(status), END);
            }
        }
    }
    check_int(errno, ECHILD);
}

/* False where a launch has fewer calls than that. */
static bool signalled_at(const struct hold *kind, uint32_t flags, int signum, unsigned at,
                         unsigned *programs)
{
    struct point point = { .at = at, .signum = signum };
    int ends[2];

    check_ok(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends));
    point.client = fork();
    check(point.client != -1);
    if (point.client == 0) {
        be_client(kind, flags, ends[1]);
    }
    check_ok(close(ends[1]));
    point.listener = receive_fd(ends[0]);
    until_all_ended(&point, programs);
    if (point.listener != -1) {
        check_ok(close(point.listener));
    }
    check_ok(close(ends[0]));
    return point.sent;
}

static void walk(uint32_t flags, int signum)
{
    unsigned points = 0, programs = 0;
    size_t kind;

    hold_needed();
    check_ok(prctl(PR_SET_CHILD_SUBREAPER, 1));
    for (kind = 0; kind < ARRAY_SIZE(kinds); kind++) {
        unsigned at = 0;
        bool sent;

        do {
            sent = signalled_at(kinds[kind], flags, signum, ++at, &programs);
            points += sent;
        } while (sent);
    }
    printf("flags %#x, signal %d: %u points, %u programs ran\n", flags, signum, points, programs);
    check(points > 10);
    check_ok(prctl(PR_SET_CHILD_SUBREAPER, 0));
}

static void at_each_point(int signum)
{
    walk(SSS_FORKSRV_CLONE_PARENT, signum);
    walk(SSS_FORKSRV_SERVERS_CHILDREN, signum);
}

static void killed(void **state)
{
    (void)state;
    at_each_point(SIGKILL);
}

static void faulting(void **state)
{
    (void)state;
    at_each_point(SIGSEGV);
}

static void stopped(void **state)
{
    (void)state;
    at_each_point(SIGSTOP);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(killed),
        cmocka_unit_test(faulting),
        cmocka_unit_test(stopped),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
