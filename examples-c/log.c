/* log DIRECTORY -- PROGRAM [ARGUMENT...]: runs a program, and keeps what it writes
 * in DIRECTORY/log: each line with its time and stream, in files of a megabyte. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <sss_sigchld.h>

static struct sss_log *run_log;
static uint64_t streams[2]; /* stdout, stderr */
static int reading = 2;     /* how many of them have not ended */
static int running = 1;
static int wait_status;

static void check(errno_t ret, const char *what)
{
    if (ret != 0) {
        fprintf(stderr, "log: %s: %s\n", what, strerror(ret));
        exit(125);
    }
}

static void ended(int pid, int status, void *pvt)
{
    (void)pid, (void)pvt;
    running = 0;
    wait_status = status;
    /* what it left behind in the background may hold the pipes: do not wait for that */
    sss_log_drain(run_log, streams[0]);
    sss_log_drain(run_log, streams[1]);
}

static void told(struct sss_log *log, const struct sss_log_event *event, void *pvt)
{
    (void)log, (void)pvt;
    reading -= event->kind == SSS_LOG_EVENT_DRAINED;
}

int main(int argc, char **argv)
{
    struct sss_ctx_params ctx_params = { .size = sizeof(ctx_params) };
    struct sss_log_params params = {
        .size = sizeof(params),
        .mask = SSS_LOG_DIR_FD | SSS_LOG_TIME | SSS_LOG_LABEL | SSS_LOG_BLOCK | SSS_LOG_MAX_SIZE,
        .target = SSS_LOG_TO_FILE,
        .path = "log",
        .max_size = 1000000,
        .event_fn = told,
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

    if (argc < 4 || strcmp(argv[2], "--") != 0) {
        fprintf(stderr, "usage: log DIRECTORY -- PROGRAM [ARGUMENT...]\n");
        return 125;
    }
    signal(SIGCHLD, SIG_DFL); /* our parent may have ignored it */
    spawn.argv = (const char *const *)argv + 3;
    spawn.path = argv[3];
    params.dir_fd = open(argv[1], O_DIRECTORY | O_CLOEXEC);
    check(params.dir_fd == -1 ? errno : 0, argv[1]);
    check(sss_sigchld_ctx_create(&ctx_params, &ctx), "context");
    check(sss_sigchld_ctx_fd(ctx, &wake.fd), "context");
    check(sss_log_open(NULL, ctx, &params, &run_log), argv[1]);
    check(sss_log_pipe(run_log, "stdout", &fds[1].source, &streams[0]), "pipe");
    check(sss_log_pipe(run_log, "stderr", &fds[2].source, &streams[1]), "pipe");
    check(sss_child_spawn(NULL, ctx, &spawn, ended, NULL, &child), argv[3]);
    close(fds[1].source); /* only the program holds them open: they end with it */
    close(fds[2].source);
    while (running || reading > 0) {
        poll(&wake, 1, -1);
        check(sss_sigchld_ctx_dispatch(ctx, 0), "dispatch");
    }
    check(sss_log_flush(run_log, 10000000000), argv[1]); /* ten seconds: disks are slow */
    return WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : 128 + WTERMSIG(wait_status);
}
