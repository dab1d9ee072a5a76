/*
 * timeout [OPTION...] DURATION COMMAND [ARGUMENT...]: runs a command, and ends it
 * if it still runs after DURATION. Options, times and exit codes are those of
 * coreutils' timeout(1).
 *
 * The command is in a process group of its own, which gets the signals, so that its
 * children end with it; with --foreground it stays in the group of timeout, can use
 * the terminal, and its children are left alone.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <sss_sigchld.h>

enum {
    EXIT_TIMED_OUT = 124,
    EXIT_CANCELED = 125,
    EXIT_CANNOT_INVOKE = 126,
    EXIT_NOT_FOUND = 127,
};

struct job {
    /* What was asked for; times in nanoseconds, 0 for none. */
    int64_t duration;
    int64_t kill_after;
    int signum;
    int foreground;
    int preserve_status;
    int verbose;
    char **command;

    struct sss_sigchild_ctx *ctx;
    struct sss_child_ctx *child;
    struct sss_child_event end;
    int timed_out;
    int running;
};

static void fail(const char *what, int error)
{
    fprintf(stderr, "timeout: %s: %s\n", what, strerror(error));
    exit(EXIT_CANCELED);
}

static void usage(int status)
{
    fprintf(status == 0 ? stdout : stderr,
            "Usage: timeout [OPTION]... DURATION COMMAND [ARG]...\n"
            "Start COMMAND, and end it if it still runs after DURATION.\n\n"
            "  -f, --foreground         leave COMMAND in the foreground, and its children alone\n"
            "  -k, --kill-after=TIME    send KILL if COMMAND still runs so long after the signal\n"
            "  -p, --preserve-status    exit with COMMAND's status, even when it timed out\n"
            "  -s, --signal=SIGNAL      the signal to send: a name or a number; default TERM\n"
            "  -v, --verbose            tell on stderr of each signal that is sent\n"
            "      --help\n"
            "      --version\n\n"
            "Times are numbers with an optional s, m, h or d; 0 is none.\n"
            "Exit status: 124 if it timed out, 125 if timeout itself fails, 126 if COMMAND\n"
            "cannot be run, 127 if it is not found, 137 if it was sent KILL; else COMMAND's.\n");
    exit(status);
}

/* A time such as 1.5, 2m or 1h, in nanoseconds. One that is too long becomes the longest. */
static int64_t parse_time(const char *text)
{
    double factor = 1, value;
    char *end;

    errno = 0;
    value = strtod(text, &end);
    if (end == text || !(value >= 0) || (errno != 0 && errno != ERANGE)) {
        goto invalid;
    }
    switch (*end) {
    case '\0':
    case 's':
        break;
    case 'm':
        factor = 60;
        break;
    case 'h':
        factor = 60 * 60;
        break;
    case 'd':
        factor = 24 * 60 * 60;
        break;
    default:
        goto invalid;
    }
    if (*end != '\0' && end[1] != '\0') {
        goto invalid;
    }
    value *= factor * 1e9;
    /* The clock and both times together have to fit. A time above 0 does not become 0. */
    return value < 3e18 ? (int64_t)value + (value > (double)(int64_t)value) : (int64_t)3e18;

invalid:
    fprintf(stderr, "timeout: invalid time interval '%s'\n", text);
    usage(EXIT_CANCELED);
    return 0;
}

/* RTMIN, RTMAX, RTMIN+1, RTMAX-1 and so on; 0 for another name. */
static int realtime_signal(const char *name)
{
    int from_least = strncasecmp(name, "RTMIN", 5) == 0;
    char *end;
    long offset;

    if (!from_least && strncasecmp(name, "RTMAX", 5) != 0) {
        return 0;
    }
    offset = strtol(name + 5, &end, 10);
    if (*end != '\0' || offset < -SIGRTMAX || offset > SIGRTMAX) {
        return 0;
    }
    offset += from_least ? SIGRTMIN : SIGRTMAX;
    return offset < SIGRTMIN || offset > SIGRTMAX ? 0 : (int)offset;
}

static int parse_signal(const char *text)
{
    char *end;
    long number = strtol(text, &end, 10);
    int signum;

    if (end != text && *end == '\0' && number >= 0 && number <= SIGRTMAX) {
        return (int)number;
    }
    if (strncasecmp(text, "SIG", 3) == 0) {
        text += 3;
    }
    if (strcasecmp(text, "EXIT") == 0) {
        return 0;
    }
    for (signum = 1; signum < NSIG; signum++) {
        const char *name = sigabbrev_np(signum);

        if (name != NULL && strcasecmp(name, text) == 0) {
            return signum;
        }
    }
    signum = realtime_signal(text);
    if (signum != 0) {
        return signum;
    }
    fprintf(stderr, "timeout: '%s': invalid signal\n", text);
    usage(EXIT_CANCELED);
    return 0;
}

static void parse(struct job *job, int argc, char **argv)
{
    static const struct option options[] = {
        { "foreground", no_argument, NULL, 'f' },
        { "kill-after", required_argument, NULL, 'k' },
        { "preserve-status", no_argument, NULL, 'p' },
        { "signal", required_argument, NULL, 's' },
        { "verbose", no_argument, NULL, 'v' },
        { "help", no_argument, NULL, 'H' },
        { "version", no_argument, NULL, 'V' },
        { NULL, 0, NULL, 0 },
    };
    int option;

    job->signum = SIGTERM;
    while ((option = getopt_long(argc, argv, "+fk:ps:v", options, NULL)) != -1) {
        switch (option) {
        case 'f':
            job->foreground = 1;
            break;
        case 'k':
            job->kill_after = parse_time(optarg);
            break;
        case 'p':
            job->preserve_status = 1;
            break;
        case 's':
            job->signum = parse_signal(optarg);
            break;
        case 'v':
            job->verbose = 1;
            break;
        case 'H':
            usage(0);
            break;
        case 'V':
            printf("timeout (libsss_sigchld %s)\n", sss_version());
            exit(0);
        default:
            usage(EXIT_CANCELED);
        }
    }
    if (argc - optind < 2) {
        usage(EXIT_CANCELED);
    }
    job->duration = parse_time(argv[optind]);
    job->command = argv + optind + 1;
}

static void tell_of_signal(const struct job *job, int signum)
{
    const char *name = sigabbrev_np(signum);

    if (signum == 0) {
        name = "EXIT";
    }
    if (job->verbose) {
        fprintf(stderr, "timeout: sending signal %s to command '%s'\n",
                name != NULL ? name : "?", job->command[0]);
    }
}

static void changed(struct sss_child_ctx *child, const struct sss_child_event *event, void *pvt)
{
    struct job *job = pvt;

    (void)child;
    switch (event->event) {
    case SSS_CHILD_EVENT_STEP:
        job->timed_out = 1;
        /* SIGCONT goes with the signal before it, or stands for signal 0. */
        if (event->step_signal != SIGCONT || job->signum == SIGCONT) {
            tell_of_signal(job, event->step_signal);
        } else if (job->signum == 0) {
            tell_of_signal(job, 0);
        }
        break;
    case SSS_CHILD_EVENT_UNKILLABLE:
        fprintf(stderr, "timeout: command '%s' cannot be killed\n", job->command[0]);
        break;
    default:
        job->end = *event;
        job->running = 0;
    }
}

/* The signal after the duration, and KILL after kill_after; each may be left out. */
struct plan {
    struct sss_deadline_step steps[3];
    struct sss_deadline deadline;
};

static const struct sss_deadline *make_plan(const struct job *job, int64_t duration,
                                            struct plan *plan)
{
    uint32_t whom = job->foreground ? SSS_STEP_CHILD : SSS_STEP_GROUP;
    size_t count = 0;

    if (duration != 0) {
        /* With 0 no signal is sent, and the library does not take 0: it only times out. */
        if (job->signum != 0) {
            plan->steps[count++] = (struct sss_deadline_step){ duration, job->signum, whom };
            duration = 0;
        }
        if (job->signum != SIGKILL && job->signum != SIGCONT) {
            /* A stopped command could not end. */
            plan->steps[count++] = (struct sss_deadline_step){ duration, SIGCONT, whom };
        }
    }
    if (job->kill_after != 0) {
        plan->steps[count++] = (struct sss_deadline_step){ job->kill_after, SIGKILL, whom };
    }
    plan->deadline = (struct sss_deadline){
        .size = sizeof(plan->deadline),
        .steps = plan->steps,
        .steps_count = count,
    };
    return count == 0 ? NULL : &plan->deadline;
}

static void start(struct job *job)
{
    struct sss_spawn spawn = {
        .size = sizeof(spawn),
        .mask = SSS_SPAWN_SEARCH_PATH | (job->foreground ? 0 : SSS_SPAWN_PGRP),
        .path = job->command[0],
        .argv = (const char *const *)job->command,
    };
    struct sss_watch watch = {
        .size = sizeof(watch),
        .mask = SSS_WATCH_PID | SSS_WATCH_EVENTS,
        .events = SSS_CHILD_EVENT_EXITED | SSS_CHILD_EVENT_KILLED | SSS_CHILD_EVENT_DUMPED
            | SSS_CHILD_EVENT_STEP | SSS_CHILD_EVENT_UNKILLABLE,
        .cb = changed,
        .pvt = job,
    };
    struct sss_child_ctx *started;
    struct plan plan;
    int ret;

    if (job->duration != 0) {
        watch.deadline = make_plan(job, job->duration, &plan);
    }
    ret = sss_child_spawn(NULL, job->ctx, &spawn, NULL, NULL, &started);
    if (ret != 0) {
        fprintf(stderr, "timeout: failed to run command '%s': %s\n", job->command[0],
                strerror(ret));
        exit(ret == ENOENT ? EXIT_NOT_FOUND : EXIT_CANNOT_INVOKE);
    }
    ret = sss_child_pid(started, &watch.pid);
    if (ret == 0) {
        ret = sss_child_watch(NULL, job->ctx, &watch, &job->child);
    }
    if (ret == 0) {
        ret = sss_child_free(started);
    }
    if (ret != 0) {
        fail("cannot watch the command", ret);
    }
    job->running = 1;
}

static void send_to_command(const struct job *job, int signum)
{
    pid_t pid;

    if (job->foreground || sss_child_pid(job->child, &pid) != 0) {
        sss_child_kill(job->child, signum);
    } else if (sss_child_kill(job->child, 0) == 0) {
        /* It is not reaped, so no other group has its number. */
        kill(-pid, signum);
    }
}

/* A signal that is sent to us goes to the command. */
static void forward(struct job *job, int sigfd)
{
    struct signalfd_siginfo info;
    struct plan plan;

    if (read(sigfd, &info, sizeof(info)) != sizeof(info)) {
        return;
    }
    tell_of_signal(job, (int)info.ssi_signo);
    send_to_command(job, (int)info.ssi_signo);
    send_to_command(job, SIGCONT);
    if (job->kill_after != 0) {
        sss_child_set_deadline(job->child, make_plan(job, 0, &plan));
    }
}

static int open_signals(const struct job *job)
{
    static const int signals[] = { SIGHUP, SIGINT, SIGQUIT, SIGTERM };
    sigset_t set;
    size_t i;
    int fd;

    sigemptyset(&set);
    for (i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
        struct sigaction action;

        /* A signal that was ignored from the start stays ignored, as under nohup(1). */
        if (sigaction(signals[i], NULL, &action) == 0 && action.sa_handler != SIG_IGN) {
            sigaddset(&set, signals[i]);
        }
    }
    if (job->signum != 0 && job->signum != SIGKILL && job->signum != SIGSTOP) {
        sigaddset(&set, job->signum);
    }
    if (sigprocmask(SIG_BLOCK, &set, NULL) != 0) {
        fail("sigprocmask", errno);
    }
    fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    if (fd == -1) {
        fail("signalfd", errno);
    }
    return fd;
}

/* Ends by the signal that ended the command, so that our parent sees the same status. */
static void die_by(int signum)
{
    const struct rlimit none = { 0, 0 };
    sigset_t set;

    setrlimit(RLIMIT_CORE, &none);
    prctl(PR_SET_DUMPABLE, 0);
    signal(signum, SIG_DFL);
    sigemptyset(&set);
    sigaddset(&set, signum);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
    raise(signum);
}

static int exit_status(const struct job *job)
{
    const struct sss_child_event *end = &job->end;

    switch (end->event) {
    case SSS_CHILD_EVENT_EXITED:
        return job->timed_out && !job->preserve_status ? EXIT_TIMED_OUT : end->status;
    case SSS_CHILD_EVENT_KILLED:
    case SSS_CHILD_EVENT_DUMPED:
        if (end->core_dumped) {
            fprintf(stderr, "timeout: the monitored command dumped core\n");
        }
        if (!job->timed_out) {
            die_by(end->status);
        }
        if (job->timed_out && !job->preserve_status && end->status != SIGKILL) {
            return EXIT_TIMED_OUT;
        }
        return 128 + end->status;
    default:
        fprintf(stderr, "timeout: the command's status is lost\n");
        return EXIT_CANCELED;
    }
}

int main(int argc, char **argv)
{
    struct sss_ctx_params params = { .size = sizeof(params) };
    struct job job = { 0 };
    struct pollfd fds[2] = { { .events = POLLIN }, { .events = POLLIN } };
    int ret;

    parse(&job, argc, argv);
    signal(SIGCHLD, SIG_DFL); /* our parent may have ignored it */
    fds[1].fd = open_signals(&job);
    ret = sss_sigchld_ctx_create(&params, &job.ctx);
    if (ret == 0) {
        ret = sss_sigchld_ctx_fd(job.ctx, &fds[0].fd);
    }
    if (ret != 0) {
        fail("cannot watch children", ret);
    }
    start(&job);
    while (job.running) {
        if (poll(fds, 2, -1) == -1 && errno != EINTR) {
            fail("poll", errno);
        }
        if (fds[1].revents != 0) {
            forward(&job, fds[1].fd);
        }
        if (fds[0].revents != 0) {
            ret = sss_sigchld_ctx_dispatch(job.ctx, 0);
            if (ret != 0) {
                fail("cannot watch the command", ret);
            }
        }
    }
    sss_child_free(job.child);
    sss_sigchld_ctx_free(job.ctx);
    return exit_status(&job);
}
