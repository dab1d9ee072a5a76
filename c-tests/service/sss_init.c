/* sss-init does the work of an init: signals, orphans, exit codes, as pid 1 and as a
 * subreaper. */
#include "support/test.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <termios.h>

#include "support/hold.h"

struct ran {
    int status;
    char text[4096]; /* what it and the program wrote */
};

static const char *init_path(void)
{
    static char path[512];

    snprintf(path, sizeof(path), "%s/bin/sss-init", getenv("SSS_TEST_INSTALLED"));
    return path;
}

static pid_t start(const char *const args[], int out, bool as_pid_1)
{
    const char *argv[24] = { init_path() };
    pid_t pid;

    for (int i = 0; args[i] != NULL; i++) {
        argv[i + 1] = args[i];
    }
    if (as_pid_1 && unshare(CLONE_NEWPID | CLONE_NEWNS) != 0) {
        _exit(77); /* a process of its own */
    }
    pid = fork();
    check(pid != -1);
    if (pid == 0) {
        if (as_pid_1 && (mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) != 0
                         || mount("proc", "/proc", "proc", 0, NULL) != 0)) {
            _exit(99);
        }
        dup2(out, STDOUT_FILENO);
        dup2(out, STDERR_FILENO);
        execv(argv[0], (char **)argv);
        _exit(98);
    }
    return pid;
}

static void finish(pid_t pid, int out, struct ran *ran)
{
    size_t length = 0;
    ssize_t got;

    while (length < sizeof(ran->text) - 1
           && (got = read(out, ran->text + length, sizeof(ran->text) - 1 - length)) > 0) {
        length += (size_t)got;
    }
    ran->text[length] = '\0';
    check_int(waitpid(pid, &ran->status, 0), pid);
    close(out);
}

static void run(struct ran *ran, const char *const args[])
{
    int ends[2];
    pid_t pid;

    check_ok(pipe2(ends, O_CLOEXEC));
    pid = start(args, ends[1], false);
    close(ends[1]);
    finish(pid, ends[0], ran);
}

#define RUN(ran, ...) run(ran, (const char *const[]){ __VA_ARGS__, NULL })

static void exit_codes(void **state)
{
    struct ran ran;

    (void)state;
    RUN(&ran, "-s", "--", "sh", "-c", "exit 7");
    check_int(ran.status, status_of(7));
    RUN(&ran, "-s", "sh", "-c", "exit 0");
    check_int(ran.status, 0);
    RUN(&ran, "-s", "--", "sh", "-c", "kill -9 $$");
    check_int(ran.status, status_of(128 + 9));
    RUN(&ran, "-s", "--", "/nonexistent");
    check_int(ran.status, status_of(127));
    RUN(&ran, "-s", "--", "/etc/passwd");
    check_int(ran.status, status_of(126));
    RUN(&ran, "-s", "-e", "7", "-e", "143", "--", "sh", "-c", "exit 7");
    check_int(ran.status, 0);
    RUN(&ran, "-s", "-e", "143", "--", "sh", "-c", "kill -TERM $$");
    check_int(ran.status, 0);
}

static void bad_arguments(void **state)
{
    struct ran ran;

    (void)state;
    RUN(&ran, "-s");
    check_int(ran.status, status_of(1));
    RUN(&ran, "-e", "256", "--", "true");
    check_int(ran.status, status_of(1));
    RUN(&ran, "-p", "NOSUCH", "--", "true");
    check_int(ran.status, status_of(1));
    RUN(&ran, "-x", "--", "true");
    check_int(ran.status, status_of(1));
    RUN(&ran, "--version");
    check_int(ran.status, 0);
    check(strstr(ran.text, sss_version()) != NULL);
}

/* The program waits until its orphan has been told, so nothing is timed. */
static void orphans_are_reaped_and_told(void **state)
{
    struct ran ran;
    static const char script[] =
        "(sh -c 'exec cat <&3' 3<fifo & echo $! > pid) ;"
        "p=$(cat pid); exec 4>fifo; exec 4>&-;"
        "while [ -e /proc/$p ]; do :; done; exit 5";
    char dir[] = "/tmp/sss-init-XXXXXX", path[64];

    (void)state;
    check(mkdtemp(dir) != NULL);
    check_ok(chdir(dir));
    check_int(system("mkfifo fifo"), 0);
    RUN(&ran, "-s", "-w", "--", "sh", "-c", script);
    check_int(ran.status, status_of(5));
    check(strstr(ran.text, "reaped orphan") != NULL);
    RUN(&ran, "--trace", "--", "sh", "-c", script);
    check_int(ran.status, status_of(5));
    check(strstr(ran.text, "known by") != NULL);
    check_ok(chdir("/"));
    snprintf(path, sizeof(path), "rm -r %s", dir);
    check_int(system(path), 0);
}

static pid_t start_reading(const char *const args[], struct ran *ran, int *out)
{
    int ends[2];
    pid_t pid;
    char byte = 0;

    (void)ran;
    check_ok(pipe2(ends, O_CLOEXEC));
    pid = start(args, ends[1], false);
    close(ends[1]);
    /* The program says "r" when it is ready. */
    while (byte != 'r') {
        check_int(read(ends[0], &byte, 1), 1);
    }
    *out = ends[0];
    return pid;
}

static void signals_are_forwarded(void **state)
{
    struct ran ran;
    pid_t pid;
    int out;

    (void)state;
    pid = start_reading((const char *const[]){ "-s", "--", "sh", "-c",
                                               "trap 'exit 9' USR1; echo r; while :; do sleep 0.05; "
                                               "done", NULL }, &ran, &out);
    check_ok(kill(pid, SIGUSR1));
    finish(pid, out, &ran);
    check_int(ran.status, status_of(9));
    /* To the group: the sleep ends too, although the shell ignores the signal. It says
     * itself that it is there: until it has called exec it would run the shell's trap. */
    pid = start_reading((const char *const[]){ "-s", "-g", "--", "sh", "-c",
                                               "trap : TERM; sh -c 'echo r; exec sleep 1000' & wait; exit 4",
                                               NULL },
                        &ran, &out);
    check_ok(kill(pid, SIGTERM));
    finish(pid, out, &ran);
    check_int(ran.status, status_of(4));
}

/* Starts sss-init so that each setpgid(2) with this first argument is held. */
static pid_t start_held(const char *const args[], uint32_t arg, int *listener, int *out)
{
    const struct hold calls[2] = { { SYS_setpgid, arg }, { SYS_setpgid, arg } };
    int sockets[2], ends[2];
    pid_t pid;

    check_ok(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets));
    check_ok(pipe2(ends, O_CLOEXEC));
    pid = fork();
    check(pid != -1);
    if (pid == 0) {
        const char *argv[8] = { init_path() };

        for (int i = 0; args[i] != NULL; i++) {
            argv[i + 1] = args[i];
        }
        dup2(ends[1], STDOUT_FILENO);
        dup2(ends[1], STDERR_FILENO);
        send_fd(sockets[1], hold_begin(calls));
        execv(argv[0], (char **)argv);
        _exit(98);
    }
    *listener = receive_fd(sockets[0]);
    check_ok(close(sockets[0]) | close(sockets[1]) | close(ends[1]));
    *out = ends[0];
    return pid;
}

/* The group is there for a signal that comes before the program's process has made it. */
static void a_signal_during_the_start(void **state)
{
    static const char *const args[] = { "-s", "-g", "-vvv", "--", "sleep", "1000", NULL };
    static const char wanted[] = "forwarding signal 15";
    char text[512] = { 0 };
    size_t length = 0;
    int listener, out;
    struct held held;
    struct ran ran;
    ssize_t got;
    pid_t pid;

    (void)state;
    hold_needed();
    pid = start_held(args, 0, &listener, &out);
    held = hold_await(listener);
    check_ok(kill(pid, SIGTERM));
    while (strstr(text, wanted) == NULL) {
        got = read(out, text + length, sizeof(text) - 1 - length);
        check(got > 0);
        length += (size_t)got;
    }
    hold_release(listener, &held);
    finish(pid, out, &ran);
    check(strstr(ran.text, "nobody") == NULL);
    check_int(ran.status, status_of(128 + SIGTERM));
    check_ok(close(listener));
}

/* Where nobody would watch it, the program is not executed. */
static void killed_during_the_start(void **state)
{
    static const char *const args[] = { "-s", "--", "echo", "executed", NULL };
    int listener, out;
    struct held one, other;
    struct ran ran;
    pid_t pid;

    (void)state;
    hold_needed();
    pid = start_held(args, ANY_ARG, &listener, &out);
    one = hold_await(listener);
    other = hold_await(listener);
    check_ok(kill(pid, SIGKILL));
    hold_release(listener, one.pid == pid ? &other : &one);
    finish(pid, out, &ran);
    assert_string_equal(ran.text, "");
    check_int(ran.status, SIGKILL);
    check_ok(close(listener));
}

static void in_a_namespace(void *arg)
{
    static const char *const args[] = { "--trace", "-w", "--", "sh", "-c", "exit 6", NULL };
    struct ran ran;
    int ends[2];
    pid_t pid;

    (void)arg;
    check_ok(pipe2(ends, O_CLOEXEC));
    pid = start(args, ends[1], true);
    close(ends[1]);
    finish(pid, ends[0], &ran);
    if (ran.status == status_of(99)) {
        _exit(77);
    }
    check_int(ran.status, status_of(6));
}

static void as_pid_1(void **state)
{
    pid_t pid = fork();
    int status;

    (void)state;
    check(pid != -1);
    if (pid == 0) {
        in_a_namespace(NULL);
        _exit(0);
    }
    check_int(waitpid(pid, &status, 0), pid);
    if (status == status_of(77)) {
        test_lacks("no pid namespace can be made here");
    }
    check_int(status, 0);
}

static unsigned long long bits(const struct ran *ran, const char *name)
{
    const char *line = strstr(ran->text, name);

    check(line != NULL);
    return strtoull(line + strlen(name), NULL, 16);
}

/* The signal mask and the ignored signals are what sss-init found. */
static void mask_as_found(void **state)
{
    sigset_t blocked, before;
    struct ran ran;

    (void)state;
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGUSR2);
    sigprocmask(SIG_BLOCK, &blocked, &before);
    signal(SIGHUP, SIG_IGN);
    RUN(&ran, "-s", "--", "grep", "-E", "SigBlk|SigIgn", "/proc/self/status");
    signal(SIGHUP, SIG_DFL);
    sigprocmask(SIG_SETMASK, &before, NULL);
    check_int(ran.status, 0);
    check_int(bits(&ran, "SigBlk:\t") & 1 << (SIGUSR2 - 1), 1 << (SIGUSR2 - 1));
    check_int(bits(&ran, "SigIgn:\t") & 1 << (SIGHUP - 1), 1 << (SIGHUP - 1));
}

/* With one -v it tells what it does; with two it also tells of each signal. */
static void verbosity(void **state)
{
    static const char script[] =
        "trap 'exit 9' USR1; kill -USR1 $PPID; while :; do sleep 0.05; done";
    struct ran ran;

    (void)state;
    RUN(&ran, "-s", "--", "sh", "-c", script);
    check_int(ran.status, status_of(9));
    assert_string_equal(ran.text, "");
    RUN(&ran, "-s", "-v", "--", "sh", "-c", script);
    check_int(ran.status, status_of(9));
    check(strstr(ran.text, "started sh, pid ") != NULL);
    check(strstr(ran.text, "forwarding") == NULL);
    RUN(&ran, "-s", "-v", "-v", "--", "sh", "-c", script);
    check_int(ran.status, status_of(9));
    check(strstr(ran.text, "started sh, pid ") != NULL);
    check(strstr(ran.text, "forwarding signal 10") != NULL);
}

/* When the parent of sss-init ends, sss-init gets the signal that -p names, and passes it on
 * to the program. */
static void the_parent_ends(void **state)
{
    static const char *const args[] = {
        "-s", "-p", "USR1", "--", "sh", "-c",
        "trap 'exit 9' USR1; echo r; while :; do sleep 0.05; done", NULL
    };
    struct gate gate;
    struct ran ran;
    int ends[2], init_pid[2];
    pid_t parent, init;
    char byte = 0;

    (void)state;
    check_ok(prctl(PR_SET_CHILD_SUBREAPER, 1));
    check_ok(pipe2(ends, O_CLOEXEC));
    check_ok(pipe2(init_pid, O_CLOEXEC));
    gate_make(&gate);
    parent = fork();
    check(parent != -1);
    if (parent == 0) {
        init = start(args, ends[1], false);
        check_int(write(init_pid[1], &init, sizeof(init)), sizeof(init));
        close(gate.wr);
        _exit((int)read(gate.rd, &byte, 1));
    }
    close(ends[1]);
    check_int(read(init_pid[0], &init, sizeof(init)), sizeof(init));
    close(init_pid[0]);
    close(init_pid[1]);
    while (byte != 'r') {
        check_int(read(ends[0], &byte, 1), 1);
    }
    gate_open(&gate);
    reap(parent, 0);
    finish(init, ends[0], &ran);
    check_int(ran.status, status_of(9));
    check_ok(prctl(PR_SET_CHILD_SUBREAPER, 0));
}

/* The program is in the terminal's foreground: it may read, and ^C is for it. */
static void foreground(void **state)
{
    static const char *const args[] = {
        "-s", "--", "sh", "-c",
        "trap 'exit 9' INT; read line; set -- $(cut -d' ' -f5,8 /proc/$$/stat);"
        "[ $1 = $2 ] || exit 1; echo r; while :; do sleep 0.05; done", NULL
    };
    struct ran ran;
    int terminal, ends[2];
    pid_t pid;
    char byte = 0;

    (void)state;
    terminal = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (terminal == -1) {
        test_lacks("no pseudoterminals");
    }
    check_ok(grantpt(terminal));
    check_ok(unlockpt(terminal));
    check_ok(pipe2(ends, O_CLOEXEC));
    pid = fork();
    check(pid != -1);
    if (pid == 0) {
        const char *argv[8] = { init_path() };
        int tty;

        memcpy(argv + 1, args, sizeof(args));
        check(setsid() > 0);
        tty = open(ptsname(terminal), O_RDWR); /* becomes the session's */
        check(tty != -1 && tcgetpgrp(tty) == getpgrp());
        dup2(tty, STDIN_FILENO);
        dup2(ends[1], STDOUT_FILENO);
        dup2(ends[1], STDERR_FILENO);
        execv(argv[0], (char **)argv);
        _exit(98);
    }
    close(ends[1]);
    check_int(write(terminal, "line\n", 5), 5);
    while (byte != 'r') {
        check_int(read(ends[0], &byte, 1), 1);
    }
    check_int(write(terminal, "\003", 1), 1); /* ^C */
    finish(pid, ends[0], &ran);
    check_int(ran.status, status_of(9));
    check_ok(close(terminal));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exit_codes),
        cmocka_unit_test(bad_arguments),
        cmocka_unit_test(orphans_are_reaped_and_told),
        cmocka_unit_test(signals_are_forwarded),
        cmocka_unit_test(a_signal_during_the_start),
        cmocka_unit_test(killed_during_the_start),
        cmocka_unit_test(as_pid_1),
        cmocka_unit_test(mask_as_found),
        cmocka_unit_test(verbosity),
        cmocka_unit_test(the_parent_ends),
        cmocka_unit_test(foreground),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
