/*
 * sss-init [-s] [-w] [-g] [-p SIGNAL] [-e CODE]... [-v]... [--trace] [--] PROGRAM...
 *
 * An init for containers, as pid 1 or as a subreaper: starts one program, forwards
 * signals to it, reaps every orphan, and exits as the program did. --trace prints where
 * each orphan came from. See sss-init(1).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <sss_sigchld.h>

static struct {
    bool subreaper;
    bool warn;
    bool group;
    bool trace;
    int verbosity; /* 1: warnings, 2: what it does, 3: and each signal */
    int parent_death;
    bool success[256]; /* exit codes to be remapped to 0 */
} options = { .verbosity = 1 };

/* The program that was started. */
static struct {
    pid_t pid;
    bool ended;
    int wait_status;
} program;

static void say(int level, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void say(int level, const char *format, ...)
{
    char line[512];
    va_list args;
    int length;

    if (level > options.verbosity) {
        return;
    }
    va_start(args, format);
    length = vsnprintf(line, sizeof(line) - 1, format, args);
    va_end(args);
    if (length < 0) {
        return;
    }
    if (length > (int)sizeof(line) - 2) {
        length = (int)sizeof(line) - 2;
    }
    line[length] = '\n';
    fprintf(stderr, "sss-init: %.*s", length + 1, line);
}

static int fail(const char *what, int error)
{
    say(0, "%s: %s", what, strerror(error));
    return 1;
}

/* SIGTERM, TERM or 15; 0 where it is none. */
static int signal_number(const char *text)
{
    char *end;
    long number = strtol(text, &end, 10);

    if (end != text && *end == '\0') {
        return number > 0 && number <= SIGRTMAX ? (int)number : 0;
    }
    if (strncmp(text, "SIG", 3) == 0) {
        text += 3;
    }
    for (int signum = 1; signum < NSIG; signum++) {
        const char *name = sigabbrev_np(signum);

        if (name != NULL && strcmp(name, text) == 0) {
            return signum;
        }
    }
    return 0;
}

static void usage(FILE *to)
{
    fprintf(to, "usage: sss-init [-s] [-w] [-g] [-p SIGNAL] [-e CODE]... [-v]... [--trace] "
                "[--] PROGRAM [ARGUMENT...]\n"
                "  -s         be a subreaper where it is not pid 1\n"
                "  -w         warn of each orphan that is reaped\n"
                "  -g         send signals to the program's process group\n"
                "  -p SIGNAL  the signal to get when the parent of sss-init ends\n"
                "  -e CODE    exit with 0 where the program exits with this code\n"
                "  -v         say more; twice: each signal\n"
                "  --trace    tell of each orphan who it was and where it came from\n"
                "  --version\n");
}

/* The number of arguments before the program, or the negative exit code. */
static int parse(int argc, char **argv)
{
    static const struct option longs[] = {
        { "trace", no_argument, NULL, 't' },
        { "version", no_argument, NULL, 'V' },
        { "help", no_argument, NULL, 'h' },
        { 0 },
    };
    char *end;
    long code;
    int option;

    while ((option = getopt_long(argc, argv, "+swgp:e:vh", longs, NULL)) != -1) {
        switch (option) {
        case 's':
            options.subreaper = true;
            break;
        case 'w':
            options.warn = true;
            break;
        case 'g':
            options.group = true;
            break;
        case 'p':
            options.parent_death = signal_number(optarg);
            if (options.parent_death == 0) {
                say(0, "not a signal: %s", optarg);
                return -1;
            }
            break;
        case 'e':
            code = strtol(optarg, &end, 10);
            if (end == optarg || *end != '\0' || code < 0 || code > 255) {
                say(0, "not an exit code: %s", optarg);
                return -1;
            }
            options.success[code] = true;
            break;
        case 'v':
            options.verbosity++;
            break;
        case 't':
            options.trace = true;
            break;
        case 'V':
            printf("sss-init of libsss_sigchld %s\n", sss_version());
            exit(0);
        case 'h':
            usage(stdout);
            exit(0);
        default:
            usage(stderr);
            return -1;
        }
    }
    if (optind == argc) {
        usage(stderr);
        return -1;
    }
    return optind;
}

static void program_ended(int pid, int wait_status, void *pvt)
{
    (void)pvt;
    say(2, "the program, pid %d, ended with wait status %#x", pid, (unsigned)wait_status);
    program.ended = true;
    program.wait_status = wait_status;
}

static uint32_t orphan_ended(int pid, int wait_status, void *pvt)
{
    (void)pvt;
    if (options.warn) {
        say(0, "reaped orphan %d, wait status %#x", pid, (unsigned)wait_status);
    } else {
        say(2, "reaped orphan %d, wait status %#x", pid, (unsigned)wait_status);
    }
    return SSS_UNKNOWN_TAKEN;
}

static void command_of(pid_t pid, char name[32])
{
    char path[64];
    ssize_t got = -1;
    int fd;

    snprintf(path, sizeof(path), "/proc/%d/comm", pid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd != -1) {
        got = read(fd, name, 31);
        close(fd);
    }
    if (got <= 0) {
        strcpy(name, "?");
        return;
    }
    name[got] = '\0';
    name[strcspn(name, "\n")] = '\0';
}

static const char *evidence_name(uint32_t evidence)
{
    static const char *const names[] = {
        [SSS_EVIDENCE_CGROUP] = "cgroup",
        [SSS_EVIDENCE_FORK] = "fork record",
        [SSS_EVIDENCE_DESCENT] = "descent",
        [SSS_EVIDENCE_TAG] = "tag",
        [SSS_EVIDENCE_ENVIRONMENT] = "environment",
    };

    return evidence < sizeof(names) / sizeof(names[0]) && names[evidence] != NULL
               ? names[evidence] : "?";
}

/* With --trace the program is a service, and what comes of it is told. */
static void traced(struct sss_service *service, const struct sss_service_event *event, void *pvt)
{
    char name[32], from[32] = "an unknown parent";

    (void)service;
    (void)pvt;
    switch (event->event) {
    case SSS_SERVICE_ADOPTED:
        command_of(event->pid, name);
        if (event->former_parent != 0) {
            snprintf(from, sizeof(from), "%d", event->former_parent);
        }
        say(0, "orphan %d (%s), from %s, known by %s", event->pid, name, from,
            evidence_name(event->evidence));
        break;
    case SSS_SERVICE_EXITED:
        if (event->pid == event->root) {
            program_ended(event->pid, event->wait_status, NULL);
        } else {
            orphan_ended(event->pid, event->wait_status, NULL);
        }
        break;
    default:
        break;
    }
}

/* In the child: undoes what we changed for ourselves, and executes the program. */
static void execute(char **argv, const sigset_t *mask, int go)
{
    ssize_t got;
    char byte;
    int error;

    setpgid(0, 0);
    if (isatty(STDIN_FILENO)) {
        /* In the background SIGTTOU would stop us; it is still blocked. */
        tcsetpgrp(STDIN_FILENO, getpgrp());
    }
    do {
        got = read(go, &byte, 1);
    } while (got == -1 && errno == EINTR);
    if (got != 1) {
        _exit(1); /* nobody watches us */
    }
    close(go);
    if (options.parent_death != 0) {
        prctl(PR_SET_PDEATHSIG, 0);
    }
    sigprocmask(SIG_SETMASK, mask, NULL);
    execvp(argv[0], argv);
    error = errno;
    say(0, "%s: %s", argv[0], strerror(error));
    _exit(error == ENOENT ? 127 : 126);
}

/* Forks; the child waits until it is watched. */
static int start(struct sss_sigchild_ctx *ctx, char **argv, const sigset_t *mask)
{
    struct sss_child_ctx *child;
    struct sss_service *service;
    int go[2];
    errno_t ret;

    if (pipe2(go, O_CLOEXEC) != 0) {
        return fail("pipe", errno);
    }
    program.pid = fork();
    if (program.pid == -1) {
        return fail("fork", errno);
    }
    if (program.pid == 0) {
        close(go[1]);
        execute(argv, mask, go[0]);
    }
    close(go[0]);
    /* The child does so too. Whoever comes first, from here on signals reach its group. */
    (void)setpgid(program.pid, program.pid);
    if (options.trace) {
        ret = sss_service_attach(NULL, ctx, program.pid, NULL, traced, NULL, &service);
        if (ret != 0) {
            say(0, "cannot trace: %s", strerror(ret));
            options.trace = false;
        }
    }
    if (!options.trace) {
        ret = sss_child_register(NULL, ctx, program.pid, program_ended, NULL, &child);
        if (ret != 0) {
            return fail("cannot watch the program", ret);
        }
    }
    (void)!write(go[1], "", 1);
    close(go[1]);
    say(2, "started %s, pid %d", argv[0], program.pid);
    return 0;
}

static void forward(int signum)
{
    pid_t to = options.group ? -program.pid : program.pid;

    say(3, "forwarding signal %d", signum);
    if (program.ended || kill(to, signum) != 0) {
        say(3, "nobody to forward signal %d to", signum);
    }
}

static void take_signals(int sigfd, struct sss_sigchild_ctx *ctx)
{
    struct signalfd_siginfo from;
    siginfo_t info;

    while (read(sigfd, &from, sizeof(from)) == sizeof(from)) {
        if (from.ssi_signo != SIGCHLD) {
            forward((int)from.ssi_signo);
            continue;
        }
        memset(&info, 0, sizeof(info));
        info.si_signo = SIGCHLD;
        info.si_code = from.ssi_code;
        info.si_pid = (pid_t)from.ssi_pid;
        sss_child_handler(NULL, NULL, SIGCHLD, 1, &info, ctx);
    }
}

static int exit_code(void)
{
    int status = program.wait_status;

    if (WIFSIGNALED(status)) {
        status = 128 + WTERMSIG(status);
    } else if (WIFEXITED(status)) {
        status = WEXITSTATUS(status);
    } else {
        return 1; /* somebody else has it */
    }
    return options.success[status & 0xff] ? 0 : status;
}

/* Blocks every signal that can be forwarded; returns the descriptor that has them. */
static int signals_begin(sigset_t *before)
{
    /* Faults are our own, and stops by the terminal the shell's business. */
    static const int ours[] = { SIGFPE, SIGILL, SIGSEGV, SIGBUS, SIGABRT, SIGTRAP, SIGSYS };
    sigset_t all;

    sigfillset(&all);
    for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++) {
        sigdelset(&all, ours[i]);
    }
    sigprocmask(SIG_SETMASK, &all, before);
    signal(SIGCHLD, SIG_DFL); /* our parent may have ignored it */
    sigdelset(&all, SIGTTIN);
    sigdelset(&all, SIGTTOU);
    return signalfd(-1, &all, SFD_CLOEXEC | SFD_NONBLOCK);
}

int main(int argc, char **argv)
{
    struct sss_ctx_params params = {
        .size = sizeof(params),
        .mask = SSS_CTX_PARAM_SCOPE,
        .scope = SSS_SCOPE_ALL,
        .unknown_fn = orphan_ended,
    };
    struct sss_sigchild_ctx *ctx;
    struct pollfd fds[2] = { { .events = POLLIN }, { .events = POLLIN } };
    sigset_t before;
    int first = parse(argc, argv);
    errno_t ret;

    if (first < 0) {
        return 1;
    }
    if (options.parent_death != 0 && prctl(PR_SET_PDEATHSIG, options.parent_death) != 0) {
        return fail("PR_SET_PDEATHSIG", errno);
    }
    if (getpid() != 1) {
        ret = options.subreaper ? sss_subreaper_enable(1) : 0;
        if (ret != 0) {
            return fail("cannot become a subreaper", ret);
        }
        if (!options.subreaper && !options.trace) {
            say(1, "neither pid 1 nor a subreaper (-s): orphans go to somebody else");
        }
    }
    fds[0].fd = signals_begin(&before);
    if (fds[0].fd == -1) {
        return fail("signalfd", errno);
    }
    ret = sss_sigchld_ctx_create(&params, &ctx);
    if (ret == 0) {
        ret = sss_sigchld_ctx_fd(ctx, &fds[1].fd);
    }
    if (ret != 0) {
        return fail("cannot watch children", ret);
    }
    if (start(ctx, argv + first, &before) != 0) {
        return 1;
    }
    while (!program.ended) {
        if (poll(fds, 2, -1) == -1 && errno != EINTR) {
            return fail("poll", errno);
        }
        take_signals(fds[0].fd, ctx);
        ret = sss_sigchld_ctx_dispatch(ctx, 0);
        if (ret != 0) {
            return fail("cannot wait for children", ret);
        }
    }
    return exit_code();
}
