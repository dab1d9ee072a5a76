/*
 * spawn COMMAND [ARGUMENT...]: a filter. Gives its standard input to a command by a
 * pipe, takes the command's output and errors by two more pipes, prints both once the
 * command has ended, and exits with its exit code. One poll loop does all of it, so that
 * neither side waits for the other, however much data there is.
 *
 *   cc spawn.c $(pkg-config --cflags --libs sss_sigchld) -o spawn
 *   ./spawn sort -n < numbers
 */
#define _GNU_SOURCE /* pipe2 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <sss_sigchld.h>

enum { CHUNK = 64 * 1024 };
enum { IN, OUT, ERR, STREAMS }; /* the child's descriptors 0, 1 and 2 */

struct stream {
    int fd; /* our end of the pipe, -1 once it is closed */
    char *data;
    size_t size;
    size_t length;
    size_t fed; /* how much of it the child has */
};

struct filter {
    struct sss_sigchild_ctx *ctx;
    struct sss_child_ctx *child;
    struct stream streams[STREAMS];
    uint32_t failed_step; /* SSS_SPAWN_STEP_*, where it did not start */
    bool running;
    int wait_status;
};

static void complain(const char *what, errno_t error)
{
    fprintf(stderr, "spawn: %s: %s\n", what, strerror(error));
}

static void close_fd(int *fd)
{
    if (*fd != -1 && close(*fd) == -1) {
        complain("close", errno);
    }
    *fd = -1;
}

/* The streams. */

/* Makes room for at least one byte more. */
static errno_t make_room(struct stream *stream)
{
    size_t size = stream->size == 0 ? CHUNK : stream->size * 2;
    char *data;

    if (stream->length < stream->size) {
        return 0;
    }
    data = realloc(stream->data, size);
    if (data == NULL) {
        return ENOMEM;
    }
    stream->data = data;
    stream->size = size;
    return 0;
}

/* Writes what the pipe takes now. */
static errno_t feed(struct stream *stream)
{
    ssize_t written = write(stream->fd, stream->data + stream->fed,
                            stream->length - stream->fed);

    if (written == -1 && (errno == EAGAIN || errno == EINTR)) {
        return 0;
    }
    if (written == -1 && errno != EPIPE) {
        return errno;
    }
    if (written >= 0) {
        stream->fed += (size_t)written;
    }
    /* EPIPE: it does not want the rest, as head(1). */
    if (written == -1 || stream->fed == stream->length) {
        close_fd(&stream->fd);
    }
    return 0;
}

/* Reads what the pipe has now. */
static errno_t take(struct stream *stream)
{
    errno_t ret = make_room(stream);
    ssize_t got;

    if (ret != 0) {
        return ret;
    }
    got = read(stream->fd, stream->data + stream->length, stream->size - stream->length);
    if (got == -1) {
        return errno == EAGAIN || errno == EINTR ? 0 : errno;
    }
    if (got == 0) {
        close_fd(&stream->fd);
    }
    stream->length += (size_t)got;
    return 0;
}

static errno_t read_input(struct stream *stream)
{
    size_t got;
    errno_t ret;

    do {
        ret = make_room(stream);
        if (ret != 0) {
            return ret;
        }
        got = fread(stream->data + stream->length, 1, stream->size - stream->length, stdin);
        stream->length += got;
    } while (got > 0);
    return ferror(stdin) ? EIO : 0;
}

static errno_t print(const struct stream *stream, FILE *file)
{
    if (fwrite(stream->data, 1, stream->length, file) < stream->length || fflush(file) != 0) {
        return EIO;
    }
    return 0;
}

/* The child. */

static void filter_ended(int pid, int wait_status, void *pvt)
{
    struct filter *filter = pvt;

    (void)pid;
    filter->running = false;
    filter->wait_status = wait_status;
}

/* A pipe of which the child gets one end, and we the other, which never blocks. */
static errno_t open_pipe(struct filter *filter, int target, struct sss_spawn_fd *entry)
{
    int ours = target == IN ? 1 : 0;
    int ends[2];

    if (pipe2(ends, O_CLOEXEC) == -1) {
        return errno;
    }
    filter->streams[target].fd = ends[ours];
    entry->source = ends[!ours];
    return fcntl(ends[ours], F_SETFL, O_NONBLOCK) == -1 ? errno : 0;
}

static errno_t spawn_with(struct filter *filter, char **argv, const struct sss_spawn_fd *map)
{
    struct sss_spawn spawn = {
        .size = sizeof(spawn),
        .mask = SSS_SPAWN_SEARCH_PATH | SSS_SPAWN_FDS | SSS_SPAWN_PDEATHSIG,
        .path = argv[0],
        .argv = (const char *const *)argv,
        .fds = map,
        .fds_count = STREAMS,
        .pdeathsig = SIGTERM,
        .failed_step = &filter->failed_step,
    };
    errno_t ret = sss_child_spawn(NULL, filter->ctx, &spawn, filter_ended, filter,
                                  &filter->child);

    filter->running = ret == 0;
    return ret;
}

static errno_t start(struct filter *filter, char **argv)
{
    struct sss_spawn_fd map[STREAMS] = { { -1, IN }, { -1, OUT }, { -1, ERR } };
    errno_t ret = 0;

    for (int target = 0; ret == 0 && target < STREAMS; target++) {
        ret = open_pipe(filter, target, &map[target]);
    }
    if (ret == 0) {
        ret = spawn_with(filter, argv, map);
    }
    /* There is no end of file as long as we hold the child's ends too. */
    for (int target = 0; target < STREAMS; target++) {
        close_fd(&map[target].source);
    }
    return ret;
}

static errno_t stop(struct filter *filter)
{
    errno_t ret;

    for (int target = 0; target < STREAMS; target++) {
        close_fd(&filter->streams[target].fd);
    }
    if (filter->running) {
        ret = sss_child_kill(filter->child, SIGKILL);
        if (ret != 0 && ret != ESRCH) {
            complain("sss_child_kill", ret);
        }
    }
    return sss_child_free(filter->child);
}

/* The loop. */

static errno_t turn(struct filter *filter, int wake)
{
    struct stream *streams = filter->streams;
    struct pollfd polled[STREAMS + 1] = {
        { .fd = streams[IN].fd, .events = POLLOUT },
        { .fd = streams[OUT].fd, .events = POLLIN },
        { .fd = streams[ERR].fd, .events = POLLIN },
        { .fd = wake, .events = POLLIN },
    };
    errno_t ret = 0;

    if (poll(polled, STREAMS + 1, -1) == -1) {
        return errno == EINTR ? 0 : errno;
    }
    if (polled[IN].revents != 0) {
        ret = feed(&streams[IN]);
    }
    for (int target = OUT; ret == 0 && target < STREAMS; target++) {
        if (polled[target].revents != 0) {
            ret = take(&streams[target]);
        }
    }
    if (ret == 0 && polled[STREAMS].revents != 0) {
        ret = sss_sigchld_ctx_dispatch(filter->ctx, 0);
    }
    return ret;
}

/* The pipes may still hold what the child wrote before its end. */
static bool is_done(const struct filter *filter)
{
    return !filter->running && filter->streams[OUT].fd == -1 && filter->streams[ERR].fd == -1;
}

static errno_t run(struct filter *filter, char **argv)
{
    errno_t stopped, ret;
    int wake;

    ret = sss_sigchld_ctx_fd(filter->ctx, &wake);
    if (ret == 0) {
        ret = read_input(&filter->streams[IN]);
    }
    if (ret == 0) {
        ret = start(filter, argv);
    }
    while (ret == 0 && !is_done(filter)) {
        ret = turn(filter, wake);
    }
    stopped = stop(filter);
    return ret != 0 ? ret : stopped;
}

static int tell(const struct filter *filter)
{
    if (print(&filter->streams[OUT], stdout) != 0 || print(&filter->streams[ERR], stderr) != 0) {
        return 1;
    }
    if (WIFEXITED(filter->wait_status)) {
        return WEXITSTATUS(filter->wait_status);
    }
    fprintf(stderr, "spawn: wait status 0x%04x\n", (unsigned)filter->wait_status);
    return 1;
}

int main(int argc, char **argv)
{
    struct sss_ctx_params params = { .size = sizeof(params) };
    struct filter filter = { .streams = { { .fd = -1 }, { .fd = -1 }, { .fd = -1 } } };
    errno_t ret;
    int code = 1;

    if (argc < 2) {
        fprintf(stderr, "usage: spawn COMMAND [ARGUMENT...]\n");
        return 2;
    }
    /* While it is ignored, writes fail with EPIPE. The child has it at its default. */
    if (signal(SIGPIPE, SIG_IGN) == SIG_ERR || signal(SIGCHLD, SIG_DFL) == SIG_ERR) {
        return 1;
    }
    ret = sss_sigchld_ctx_create(&params, &filter.ctx);
    if (ret == 0) {
        ret = run(&filter, argv + 1);
    }
    if (ret == 0) {
        code = tell(&filter);
    } else {
        fprintf(stderr, "spawn: %s: step %u: %s\n", argv[1], filter.failed_step, strerror(ret));
    }
    for (int target = 0; target < STREAMS; target++) {
        free(filter.streams[target].data);
    }
    return sss_sigchld_ctx_free(filter.ctx) == 0 ? code : 1;
}
