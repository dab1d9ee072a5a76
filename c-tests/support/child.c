#define _GNU_SOURCE
#include "support/child.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/check.h"

#if defined(__has_include)
#if __has_include(<valgrind/valgrind.h>)
#include <valgrind/valgrind.h>
#endif
#endif

void gate_make(struct gate *gate)
{
    int ends[2];

    check_ok(pipe2(ends, O_CLOEXEC));
    gate->rd = ends[0];
    gate->wr = ends[1];
}

void gate_open(struct gate *gate)
{
    check_ok(close(gate->rd));
    check_ok(close(gate->wr));
}

int status_of(int end)
{
    return end < 0 ? -end : W_EXITCODE(end, 0);
}

static void end_by_signal(int signum)
{
    sigset_t set;

    prctl(PR_SET_DUMPABLE, 0);
    signal(signum, SIG_DFL);
    sigemptyset(&set);
    sigaddset(&set, signum);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
    kill(getpid(), signum);
}

static void wait_at(const struct gate *gate)
{
    char byte;

    dup2(gate->rd, STDIN_FILENO);
    closefrom(STDERR_FILENO + 1); /* no gate is held open by another's child */
    while (read(STDIN_FILENO, &byte, 1) == -1 && errno == EINTR) {
    }
}

static void live_and_end(const struct gate *gate, int end)
{
#ifdef VALGRIND_CLO_CHANGE
    /* What the parent's stack held is no leak of the child's. */
    VALGRIND_CLO_CHANGE("--leak-check=no");
#endif
    if (gate != NULL) {
        wait_at(gate);
    }
    if (end < 0) {
        end_by_signal(-end);
    }
    _exit(end);
}

pid_t child_at(struct gate *gate, int end)
{
    pid_t pid = fork();

    check(pid != -1);
    if (pid == 0) {
        live_and_end(gate, end);
    }
    return pid;
}

pid_t child_with_pid(pid_t pid, struct gate *gate, int end)
{
    pid_t wanted[] = { pid };
    struct clone_args args;
    long got;

    memset(&args, 0, sizeof(args));
    args.exit_signal = SIGCHLD;
    args.set_tid = (uintptr_t)wanted;
    args.set_tid_size = 1;
    got = syscall(SYS_clone3, &args, sizeof(args));
    if (got == 0) {
        live_and_end(gate, end);
    }
    return (pid_t)got;
}

void child_reusing(pid_t pid, struct gate *gate, int end)
{
    pid_t got;

    check(!is_child(pid));
    got = child_with_pid(pid, gate, end);
    if (got == -1) {
        gate_open(gate);
        test_lacks("no clone3 with set_tid to be had");
    }
    check_int(got, pid);
}

pid_t hold_init(pid_t init, struct gate *gate)
{
    int ready[2], ns, status;
    char path[64], byte;
    pid_t pid, inner;

    snprintf(path, sizeof(path), "/proc/%d/ns/pid", (int)init);
    ns = open(path, O_RDONLY | O_CLOEXEC);
    check(ns >= 0);
    check_ok(pipe2(ready, O_CLOEXEC));
    pid = fork();
    check(pid >= 0);
    if (pid == 0) {
        close(gate->wr);
        check_ok(setns(ns, CLONE_NEWPID));
        inner = fork();
        check(inner >= 0);
        if (inner == 0) {
            _exit(0);
        }
        check_int(write(ready[1], "r", 1), 1);
        check_int(read(gate->rd, &byte, 1), 0);
        check_int(waitpid(inner, &status, 0), inner);
        _exit(0);
    }
    close(ns);
    close(ready[1]);
    check_int(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    return pid;
}

pid_t child_dead(int end)
{
    pid_t pid = child_at(NULL, end);

    await_zombie(pid);
    return pid;
}

static void await_state(pid_t pid, int state)
{
    siginfo_t info;
    int code;

    alarm(DEADLINE_MS / 1000); /* ends the program */
    do {
        code = waitid(P_PID, (id_t)pid, &info, state | WNOWAIT);
    } while (code == -1 && errno == EINTR);
    alarm(0);
    check_ok(code);
    check_int(info.si_pid, pid);
}

void await_zombie(pid_t pid)
{
    await_state(pid, WEXITED);
}

void await_stopped(pid_t pid)
{
    await_state(pid, WSTOPPED);
}

void await_continued(pid_t pid)
{
    await_state(pid, WCONTINUED);
}

bool is_child(pid_t pid)
{
    siginfo_t info;

    if (waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT | WNOHANG) == 0) {
        return true;
    }
    check_int(errno, ECHILD);
    return false;
}

void reap(pid_t pid, int end)
{
    int status;
    pid_t got;

    do {
        got = waitpid(pid, &status, 0);
    } while (got == -1 && errno == EINTR);
    check_int(got, pid);
    check_int(status, status_of(end));
}

static bool has_children(void)
{
    siginfo_t info;

    return waitid(P_ALL, 0, &info, WEXITED | WNOWAIT | WNOHANG) == 0;
}

static void end_children(void)
{
    FILE *list;
    int pid;

    while (has_children()) {
        list = fopen("/proc/thread-self/children", "re");
        while (list != NULL && fscanf(list, "%d", &pid) == 1) {
            kill(pid, SIGKILL);
        }
        if (list == NULL || fclose(list) != 0 || wait(NULL) == -1) {
            return;
        }
    }
}

void check_no_children(void)
{
    bool left = has_children();

    if (left) {
        end_children();
    }
    check(!left);
}
