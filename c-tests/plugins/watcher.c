/* A plugin with the static library in it: run() starts a child and hears its end. */
#include <poll.h>
#include <sss_sigchld.h>

int run(int leaves);

static void ended(int pid, int wait_status, void *pvt)
{
    (void)pid;
    *(int *)pvt = wait_status;
}

static errno_t watch_one(struct sss_sigchild_ctx *ctx)
{
    static const char *const argv[] = { "true", NULL };
    struct sss_spawn spawn = { .size = sizeof(spawn), .path = "/bin/true", .argv = argv };
    struct pollfd wake = { .events = POLLIN };
    struct sss_child_ctx *child;
    int status = -1;
    errno_t ret = sss_sigchld_ctx_fd(ctx, &wake.fd);

    if (ret == 0) {
        ret = sss_child_spawn(NULL, ctx, &spawn, ended, &status, &child);
    }
    if (ret != 0) {
        return ret;
    }
    while (ret == 0 && status == -1) {
        if (poll(&wake, 1, -1) == 1) {
            ret = sss_sigchld_ctx_dispatch(ctx, 0);
        }
    }
    if (ret == 0) {
        ret = sss_child_free(child);
    }
    return ret != 0 ? ret : status;
}

static void heard(uint32_t level, const char *message, void *pvt)
{
    (void)level;
    (void)message;
    (void)pvt;
}

int run(int leaves)
{
    struct sss_ctx_params params = { .size = sizeof(params) };
    struct sss_sigchild_ctx *ctx;
    errno_t ret = sss_sigchld_set_log_fn(heard, NULL);

    (void)leaves;
    if (ret == 0) {
        ret = sss_sigchld_ctx_create(&params, &ctx);
    }
    if (ret == 0) {
        ret = watch_one(ctx);
        if (ret == 0) {
            ret = sss_sigchld_ctx_free(ctx);
        }
    }
    return ret;
}
