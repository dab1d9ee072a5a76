/*
 * The context's own descriptor in a poll loop. It needs no SIGCHLD. In scope REGISTERED
 * the library waits for registered children only, so popen(3) and system(3) work beside
 * it.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <sss_sigchld.h>

#define WORKERS 5
#define PATIENCE_MS 60000

struct worker {
    struct sss_child_ctx *child;
    unsigned *running;
};

static void worker_ended(int pid, int wait_status, void *pvt)
{
    struct worker *worker = pvt;
    errno_t ret = sss_child_free(worker->child);

    worker->child = NULL;
    (*worker->running)--;
    if (ret != 0) {
        fprintf(stderr, "poll_fd: sss_child_free: %s\n", strerror(ret));
    }
    if (WIFEXITED(wait_status)) {
        printf("worker %d exited with %d\n", pid, WEXITSTATUS(wait_status));
    } else {
        printf("worker %d ended, wait status 0x%x\n", pid, (unsigned)wait_status);
    }
}

static errno_t start(struct sss_sigchild_ctx *ctx, struct worker *worker, int code)
{
    pid_t pid = fork();
    errno_t ret;

    if (pid == -1) {
        return errno;
    }
    if (pid == 0) {
        _exit(code);
    }
    ret = sss_child_register(NULL, ctx, pid, worker_ended, worker, &worker->child);
    if (ret == 0) {
        (*worker->running)++;
    }
    return ret;
}

/* Both wait for a child of their own, whose status nobody else takes. */
static errno_t run_beside(void)
{
    FILE *pipe = popen("exit 21", "r");
    int status;

    if (pipe == NULL) {
        return errno;
    }
    status = pclose(pipe);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 21) {
        return EIO;
    }
    status = system("exit 22");
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 22) {
        return EIO;
    }
    printf("popen and system have their statuses\n");
    return 0;
}

static errno_t turn(struct sss_sigchild_ctx *ctx, int fd)
{
    struct pollfd wake = { .fd = fd, .events = POLLIN };
    int ready = poll(&wake, 1, PATIENCE_MS);

    if (ready == -1) {
        return errno == EINTR ? 0 : errno;
    }
    if (ready == 0) {
        return ETIMEDOUT;
    }
    return sss_sigchld_ctx_dispatch(ctx, 0);
}

static errno_t run(struct sss_sigchild_ctx *ctx)
{
    static struct worker workers[WORKERS];
    unsigned running = 0;
    errno_t ret;
    int fd;

    ret = sss_sigchld_ctx_fd(ctx, &fd);
    for (int i = 0; ret == 0 && i < WORKERS; i++) {
        workers[i].running = &running;
        ret = start(ctx, &workers[i], i);
    }
    while (ret == 0 && running > 0) {
        ret = run_beside();
        if (ret == 0) {
            ret = turn(ctx, fd);
        }
    }
    return ret;
}

int main(void)
{
    struct sss_ctx_params params = {
        .size = sizeof(params),
        .mask = SSS_CTX_PARAM_SCOPE,
        .scope = SSS_SCOPE_REGISTERED,
    };
    struct sss_sigchild_ctx *ctx = NULL;
    errno_t ret;

    /* Our parent may have ignored it: then the kernel keeps no statuses. */
    if (signal(SIGCHLD, SIG_DFL) == SIG_ERR) {
        return 1;
    }
    ret = sss_sigchld_ctx_create(&params, &ctx);
    if (ret == 0) {
        ret = run(ctx);
    }
    if (ret != 0) {
        fprintf(stderr, "poll_fd: %s\n", strerror(ret));
        return 1;
    }
    return sss_sigchld_ctx_free(ctx) != 0;
}
