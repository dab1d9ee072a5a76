/* log DIRECTORY -- PROGRAM [ARGUMENT...]: runs a program, and keeps what it writes
 * in DIRECTORY/log: each line with its time and stream, in files of a megabyte. */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <sss_sigchld.h>

struct run {
    int wait_status;
    int running;
    int reading; /* how many of its streams have not ended */
};

static void check(errno_t ret, const char *what)
{
    if (ret != 0) {
        fprintf(stderr, "log: %s: %s\n", what, strerror(ret));
        exit(125);
    }
}

static void ended(int pid, int wait_status, void *pvt)
{
    struct run *run = pvt;

    (void)pid;
    run->wait_status = wait_status;
    run->running = 0;
}

static void drained(struct sss_log *log, const struct sss_log_event *event, void *pvt)
{
    struct run *run = pvt;

    (void)log;
    run->reading -= event->kind == SSS_LOG_EVENT_DRAINED;
}

int main(int argc, char **argv)
{
    struct sss_ctx_params ctx_params = { .size = sizeof(ctx_params) };
    struct run run = { .running = 1, .reading = 2 };
    struct sss_log_params params = {
        .size = sizeof(params),
        .mask = SSS_LOG_TIME | SSS_LOG_LABEL | SSS_LOG_BLOCK | SSS_LOG_MAX_SIZE,
        .target = SSS_LOG_TO_FILE,
        .max_size = 1000000,
        .event_fn = drained,
        .pvt = &run,
    };
    struct sss_spawn_fd fds[] = { { 0, 0 }, { -1, 1 }, { -1, 2 } };
    struct sss_spawn spawn = {
        .size = sizeof(spawn),
        .mask = SSS_SPAWN_FDS | SSS_SPAWN_SEARCH_PATH,
        .fds = fds,
        .fds_count = 3,
    };
    struct pollfd wake = { .events = POLLIN };
    struct sss_sigchild_ctx *ctx;
    struct sss_child_ctx *child;
    struct sss_log *log;
    uint64_t source[2];
    char path[4096];

    if (argc < 4 || strcmp(argv[2], "--") != 0 || strlen(argv[1]) + 5 > sizeof(path)) {
        fprintf(stderr, "usage: log DIRECTORY -- PROGRAM [ARGUMENT...]\n");
        return 125;
    }
    params.path = strcat(strcpy(path, argv[1]), "/log");
    spawn.argv = (const char *const *)argv + 3;
    spawn.path = argv[3];
    check(sss_sigchld_ctx_create(&ctx_params, &ctx), "context");
    check(sss_sigchld_ctx_fd(ctx, &wake.fd), "context");
    check(sss_log_open(NULL, ctx, &params, &log), path);
    check(sss_log_pipe(log, "stdout", &fds[1].source, &source[0]), "pipe");
    check(sss_log_pipe(log, "stderr", &fds[2].source, &source[1]), "pipe");
    check(sss_child_spawn(NULL, ctx, &spawn, ended, &run, &child), argv[3]);
    close(fds[1].source); /* only the program holds them open: they end with it */
    close(fds[2].source);
    while (run.running || run.reading > 0) {
        if (!run.running) { /* what it left behind in the background is not waited for */
            sss_log_drain(log, source[0]);
            sss_log_drain(log, source[1]);
        }
        poll(&wake, 1, -1);
        check(sss_sigchld_ctx_dispatch(ctx, 0), "dispatch");
    }
    check(sss_log_flush(log, 10000000000), path); /* a disk may be slow: ten seconds */
    sss_log_free(log);
    sss_sigchld_ctx_free(ctx);
    return WIFEXITED(run.wait_status) ? WEXITSTATUS(run.wait_status)
                                      : 128 + WTERMSIG(run.wait_status);
}
