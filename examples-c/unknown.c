/*
 * A process that gets children which it never forked, like pid 1 and subreapers. In
 * scope ALL the library reaps them and calls the unknown-child callback.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <sss_sigchld.h>

#define PATIENCE_MS 60000

struct seen {
    unsigned forked;
    unsigned adopted;
};

static void forked_ended(int pid, int wait_status, void *pvt)
{
    struct seen *seen = pvt;

    (void)pid;
    seen->forked++;
    printf("the child we forked: wait status 0x%04x\n", (unsigned)wait_status);
}

static uint32_t adopted_ended(int pid, int wait_status, void *pvt)
{
    struct seen *seen = pvt;

    (void)pid;
    seen->adopted++;
    printf("a child we adopted: wait status 0x%04x\n", (unsigned)wait_status);
    return SSS_UNKNOWN_TAKEN;
}

/* Ends with its parent, whose end closes the pipe. */
static void grandchild(const int gate[2])
{
    ssize_t got;
    char byte;

    close(gate[1]);
    do {
        got = read(gate[0], &byte, 1);
    } while (got == -1 && errno == EINTR);
    _exit(got == 0 ? 5 : 1);
}

/* Daemons fork twice to leave their parent. */
static void forks_again(const int gate[2], const sigset_t *mask)
{
    pid_t pid;

    if (sigprocmask(SIG_SETMASK, mask, NULL) == -1) {
        _exit(127);
    }
    pid = fork();
    if (pid == 0) {
        grandchild(gate);
    }
    _exit(pid == -1 ? 127 : 3);
}

static errno_t start(struct sss_sigchild_ctx *ctx, const sigset_t *mask, struct seen *seen,
                     struct sss_child_ctx **child)
{
    errno_t ret;
    int gate[2];
    pid_t pid;

    if (pipe(gate) == -1) {
        return errno;
    }
    pid = fork();
    if (pid == 0) {
        forks_again(gate, mask);
    }
    ret = pid == -1 ? errno : 0;
    close(gate[0]);
    close(gate[1]);
    if (ret != 0) {
        return ret;
    }
    return sss_child_register(NULL, ctx, pid, forked_ended, seen, child);
}

static errno_t loop(struct sss_sigchild_ctx *ctx, int signal_fd, const struct seen *seen)
{
    struct pollfd wake = { .fd = signal_fd, .events = POLLIN };
    struct signalfd_siginfo got;

    while (seen->forked == 0 || seen->adopted == 0) {
        int ready = poll(&wake, 1, PATIENCE_MS);

        if (ready == 0) {
            return ETIMEDOUT;
        }
        if (ready == -1 && errno != EINTR) {
            return errno;
        }
        if (ready == 1 && read(signal_fd, &got, sizeof(got)) == (ssize_t)sizeof(got)) {
            sss_child_handler(NULL, NULL, SIGCHLD, 1, NULL, ctx);
        }
    }
    return 0;
}

static errno_t block_sigchld(sigset_t *former, int *signal_fd)
{
    sigset_t chld;

    if (signal(SIGCHLD, SIG_DFL) == SIG_ERR || sigemptyset(&chld) == -1 ||
        sigaddset(&chld, SIGCHLD) == -1 || sigprocmask(SIG_BLOCK, &chld, former) == -1) {
        return errno;
    }
    *signal_fd = signalfd(-1, &chld, SFD_CLOEXEC | SFD_NONBLOCK);
    return *signal_fd == -1 ? errno : 0;
}

static errno_t run(void)
{
    struct sss_sigchild_ctx *ctx = NULL;
    struct sss_child_ctx *child = NULL;
    struct seen seen = { 0 };
    sigset_t former;
    int signal_fd;
    errno_t ret;

    if (prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == -1) {
        return errno;
    }
    ret = block_sigchld(&former, &signal_fd);
    if (ret == 0) {
        ret = sss_sigchld_ctx_init(NULL, NULL, 0, &ctx);
    }
    if (ret == 0) {
        ret = sss_sigchld_ctx_set_unknown_fn(ctx, adopted_ended, &seen);
    }
    if (ret == 0) {
        ret = start(ctx, &former, &seen, &child);
    }
    if (ret == 0) {
        ret = loop(ctx, signal_fd, &seen);
    }
    if (ret == 0) {
        ret = sss_child_free(child);
    }
    return ret != 0 ? ret : sss_sigchld_ctx_free(ctx);
}

int main(void)
{
    errno_t ret = run();

    if (ret != 0) {
        fprintf(stderr, "unknown: %s\n", strerror(ret));
        return 1;
    }
    return 0;
}
