/* log DIRECTORY -- PROGRAM [ARGUMENT...]: runs a program, and keeps what it writes
 * in DIRECTORY/log: each line with its time and stream, ten files of a megabyte. */
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <sss_sigchld.h>

struct run {
    int wait_status;
    int running;
    int reading; /* how many of its streams have not ended */
};

static void ended(int pid, int wait_status, void *pvt)
{
    struct run *run = pvt;

    (void)pid;
    run->wait_status = wait_status;
    run->running = 0;
}

/* A stream of the program has ended, and all of it was read. */
static void drained(struct sss_log *log, const struct sss_log_event *event, void *pvt)
{
    struct run *run = pvt;

    (void)log;
    if (event->kind == SSS_LOG_EVENT_DRAINED) {
        run->reading--;
    }
}

static errno_t start(struct sss_sigchild_ctx *ctx, struct sss_log *log,
                     const char *const *argv, struct run *run, uint64_t source[2],
                     struct sss_child_ctx **child)
{
    struct sss_spawn_fd fds[] = { { 0, 0 }, { -1, 1 }, { -1, 2 } };
    struct sss_spawn spawn = {
        .size = sizeof(spawn),
        .mask = SSS_SPAWN_FDS | SSS_SPAWN_SEARCH_PATH,
        .path = argv[0],
        .argv = argv,
        .fds = fds,
        .fds_count = 3,
    };
    errno_t ret = sss_log_pipe(log, "stdout", &fds[1].source, &source[0]);

    if (ret == 0) {
        ret = sss_log_pipe(log, "stderr", &fds[2].source, &source[1]);
    }
    if (ret == 0) {
        ret = sss_child_spawn(NULL, ctx, &spawn, ended, run, child);
    }
    close(fds[1].source); /* only the program holds them open: they end with it */
    close(fds[2].source);
    return ret;
}

int main(int argc, char **argv)
{
    struct sss_ctx_params ctx_params = { .size = sizeof(ctx_params) };
    struct run run = { .running = 1, .reading = 2 };
    struct pollfd wake = { .events = POLLIN };
    struct sss_sigchild_ctx *ctx;
    struct sss_child_ctx *child;
    struct sss_log *log;
    uint64_t source[2];
    char path[4096];
    struct sss_log_params params = {
        .size = sizeof(params),
        .mask = SSS_LOG_TIME | SSS_LOG_LABEL | SSS_LOG_BLOCK | SSS_LOG_MAX_SIZE,
        .target = SSS_LOG_TO_FILE,
        .path = path,
        .max_size = 1000000,
        .event_fn = drained,
        .pvt = &run,
    };
    errno_t ret;

    if (argc < 4 || strcmp(argv[2], "--") != 0 ||
        snprintf(path, sizeof(path), "%s/log", argv[1]) >= (int)sizeof(path) ||
        sss_sigchld_ctx_create(&ctx_params, &ctx) != 0 ||
        sss_sigchld_ctx_fd(ctx, &wake.fd) != 0) {
        fprintf(stderr, "usage: log DIRECTORY -- PROGRAM [ARGUMENT...]\n");
        return 125;
    }
    ret = sss_log_open(NULL, ctx, &params, &log);
    if (ret == 0) {
        ret = start(ctx, log, (const char *const *)argv + 3, &run, source, &child);
    }
    if (ret != 0) {
        fprintf(stderr, "log: %s\n", strerror(ret));
        return 125;
    }
    while (run.running || run.reading > 0) {
        if (!run.running) { /* what it left behind in the background is not waited for */
            sss_log_drain(log, source[0]);
            sss_log_drain(log, source[1]);
        }
        if (poll(&wake, 1, -1) == 1 && sss_sigchld_ctx_dispatch(ctx, 0) != 0) {
            return 125;
        }
    }
    ret = sss_log_flush(log, 10000000000); /* a disk may be slow: ten seconds */
    sss_log_free(log);
    sss_sigchld_ctx_free(ctx);
    if (ret != 0) {
        fprintf(stderr, "log: %s\n", strerror(ret));
        return 125;
    }
    return WIFEXITED(run.wait_status) ? WEXITSTATUS(run.wait_status)
                                      : 128 + WTERMSIG(run.wait_status);
}
