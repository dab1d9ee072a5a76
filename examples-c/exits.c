/*
 * Children that exit, crash, stop, continue and end a thousand at a time, in a plain
 * poll loop: it takes SIGCHLD by its own signalfd and calls sss_child_handler(). Each
 * line is printed by a callback.
 */
#include <errno.h>
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

#define BURST 1000
#define BURST_STATUS 42
#define PATIENCE_MS 60000

struct demo {
    struct sss_sigchild_ctx *sigchld;
    sigset_t former_mask;
    int signal_fd;
    int gate[2]; /* the children of the burst wait for its end */
    unsigned signals;
    unsigned running;
    unsigned ended;
    unsigned wrong;
};

struct worker {
    struct demo *demo;
    const char *name;
    struct sss_child_ctx *child;
};

static void complain(const char *what, errno_t error)
{
    fprintf(stderr, "exits: %s: %s\n", what, strerror(error));
}

/* The callbacks. */

/* A watch may be freed in its own callback. */
static void retire(struct worker *worker)
{
    errno_t ret = sss_child_free(worker->child);

    if (ret != 0) {
        complain("sss_child_free", ret);
    }
    worker->child = NULL;
    worker->demo->running--;
}

static void kill_worker(struct worker *worker, int signum)
{
    errno_t ret = sss_child_kill(worker->child, signum);

    if (ret != 0) {
        complain("sss_child_kill", ret);
    }
}

static void tell_end(const struct worker *worker, int wait_status)
{
    if (WIFEXITED(wait_status)) {
        printf("%s: exited with %d\n", worker->name, WEXITSTATUS(wait_status));
    } else if (WIFSIGNALED(wait_status)) {
        printf("%s: killed by signal %d (%s)%s\n", worker->name, WTERMSIG(wait_status),
               strsignal(WTERMSIG(wait_status)), WCOREDUMP(wait_status) ? ", core dumped" : "");
    } else {
        printf("%s: ended, its status was lost\n", worker->name);
    }
}

/* A stop is answered by SIGCONT and that by SIGTERM: the child stays watched
 * until its end. */
static void tell(int pid, int wait_status, void *pvt)
{
    struct worker *worker = pvt;

    (void)pid;
    if (WIFSTOPPED(wait_status)) {
        printf("%s: stopped\n", worker->name);
        kill_worker(worker, SIGCONT);
    } else if (WIFCONTINUED(wait_status)) {
        printf("%s: continued\n", worker->name);
        kill_worker(worker, SIGTERM);
    } else {
        tell_end(worker, wait_status);
        retire(worker);
    }
}

static void count(int pid, int wait_status, void *pvt)
{
    struct worker *worker = pvt;
    struct demo *demo = worker->demo;

    (void)pid;
    demo->ended++;
    if (!WIFEXITED(wait_status) || WEXITSTATUS(wait_status) != BURST_STATUS) {
        demo->wrong++;
    }
    retire(worker);
    if (demo->running == 0) {
        printf("%s: %u children ended, %u with a wrong status; SIGCHLD was read %u times\n",
               worker->name, demo->ended, demo->wrong, demo->signals);
    }
}

/* What the children do. */

static void exits(const struct demo *demo)
{
    (void)demo;
    _exit(7);
}

static void crashes(const struct demo *demo)
{
    const struct rlimit no_core = { 0, 0 };

    (void)demo;
    if (setrlimit(RLIMIT_CORE, &no_core) == 0) {
        raise(SIGSEGV);
    }
}

static void stops(const struct demo *demo)
{
    (void)demo;
    raise(SIGSTOP);
    for (;;) {
        pause();
    }
}

static void waits_at_gate(const struct demo *demo)
{
    ssize_t got;
    char byte;

    close(demo->gate[1]);
    do {
        got = read(demo->gate[0], &byte, 1);
    } while (got == -1 && errno == EINTR);
    _exit(got == 0 ? BURST_STATUS : 1);
}

/* The mask of blocked signals passes to a child, over exec too: it gets the one
 * from before SIGCHLD was blocked. It ends with a demo that fails. */
static errno_t start(struct worker *worker, void (*body)(const struct demo *), sss_child_fn_t cb)
{
    struct demo *demo = worker->demo;
    pid_t pid = fork();
    errno_t ret;

    if (pid == -1) {
        return errno;
    }
    if (pid == 0) {
        if (sigprocmask(SIG_SETMASK, &demo->former_mask, NULL) == 0 &&
            prctl(PR_SET_PDEATHSIG, SIGKILL) == 0) {
            body(demo);
        }
        _exit(127);
    }
    ret = sss_child_register(NULL, demo->sigchld, pid, cb, worker, &worker->child);
    if (ret == 0) {
        demo->running++;
    }
    return ret;
}

/* The loop. */

/* Signals merge: one may stand for many children, and the handler finds all of them.
 * With the sender's pid it need not look at the others each time. */
static errno_t take_signal(struct demo *demo)
{
    struct signalfd_siginfo got;
    ssize_t size = read(demo->signal_fd, &got, sizeof(got));
    siginfo_t info;

    if (size == -1) {
        return errno == EAGAIN || errno == EINTR ? 0 : errno;
    }
    if (size != (ssize_t)sizeof(got)) {
        return EIO;
    }
    memset(&info, 0, sizeof(info));
    info.si_signo = SIGCHLD;
    info.si_code = got.ssi_code;
    info.si_pid = (pid_t)got.ssi_pid;
    demo->signals++;
    sss_child_handler(NULL, NULL, SIGCHLD, 1, &info, demo->sigchld);
    return 0;
}

static errno_t run_until_all_ended(struct demo *demo)
{
    struct pollfd wake = { .fd = demo->signal_fd, .events = POLLIN };
    errno_t ret = 0;

    while (ret == 0 && demo->running > 0) {
        int ready = poll(&wake, 1, PATIENCE_MS);

        if (ready == 0) {
            ret = ETIMEDOUT;
        } else if (ready == 1) {
            ret = take_signal(demo);
        } else if (errno != EINTR) {
            ret = errno;
        }
    }
    return ret;
}

static errno_t one_of_each(struct demo *demo)
{
    struct worker exiting = { .demo = demo, .name = "the first" };
    struct worker crashing = { .demo = demo, .name = "the second" };
    struct worker stopping = { .demo = demo, .name = "the third" };
    errno_t ret = start(&exiting, exits, tell);

    if (ret == 0) {
        ret = start(&crashing, crashes, tell);
    }
    if (ret == 0) {
        ret = start(&stopping, stops, tell);
    }
    return ret != 0 ? ret : run_until_all_ended(demo);
}

static errno_t start_burst(struct demo *demo, struct worker *workers)
{
    errno_t ret = 0;

    if (pipe(demo->gate) == -1) {
        return errno;
    }
    for (int i = 0; ret == 0 && i < BURST; i++) {
        workers[i] = (struct worker) { .demo = demo, .name = "the burst" };
        ret = start(&workers[i], waits_at_gate, count);
    }
    close(demo->gate[0]);
    close(demo->gate[1]);
    return ret;
}

static errno_t one_burst(struct demo *demo)
{
    struct worker *workers = calloc(BURST, sizeof(*workers));
    errno_t ret;

    if (workers == NULL) {
        return ENOMEM;
    }
    demo->signals = 0;
    ret = start_burst(demo, workers);
    if (ret == 0) {
        ret = run_until_all_ended(demo);
    }
    free(workers);
    return ret;
}

/* SIGCHLD is blocked before the first child, so that the signalfd gets it. Our parent may
 * have ignored it: that is inherited over exec, and makes the kernel discard statuses. */
static errno_t setup(struct demo *demo)
{
    sigset_t chld;

    if (signal(SIGCHLD, SIG_DFL) == SIG_ERR || sigemptyset(&chld) == -1 ||
        sigaddset(&chld, SIGCHLD) == -1 ||
        sigprocmask(SIG_BLOCK, &chld, &demo->former_mask) == -1) {
        return errno;
    }
    demo->signal_fd = signalfd(-1, &chld, SFD_CLOEXEC | SFD_NONBLOCK);
    if (demo->signal_fd == -1) {
        return errno;
    }
    return sss_sigchld_ctx_init(NULL, NULL, WUNTRACED | WCONTINUED, &demo->sigchld);
}

int main(void)
{
    struct demo demo = { .signal_fd = -1 };
    errno_t ret = setup(&demo);

    if (ret == 0) {
        ret = one_of_each(&demo);
    }
    if (ret == 0) {
        ret = one_burst(&demo);
    }
    if (ret != 0) {
        complain("failed", ret);
        return 1;
    }
    ret = sss_sigchld_ctx_free(demo.sigchld);
    if (ret != 0) {
        complain("sss_sigchld_ctx_free", ret);
    }
    close(demo.signal_fd);
    return ret != 0 || demo.wrong != 0;
}
