/* What is read becomes lines: whole, stamped, labelled, split, marked, told. */
#include "support/test.h"

#include <sys/epoll.h>

#include <sys/socket.h>
#include <time.h>

#include "log/bed.h"

static void lines_of_two_sources_are_whole(void **state)
{
    struct bed *bed = *state;
    struct sss_log_params params = log_params(bed);
    struct sss_log *log;
    uint64_t one, two;
    int out, err;

    params.mask |= SSS_LOG_LABEL;
    params.prefix = "web: ";
    log = log_of(bed, &params);
    out = log_pipe(log, "stdout", &one);
    err = log_pipe(log, "stderr", &two);
    check(one != two && one != 0 && two != 0);
    put(out, "half ");
    flush_log(log);
    put(err, "an error\n");
    flush_log(log);
    put(out, "a line\nand\n\nlast words");
    check_ok(close(out) | close(err));
    await(stats_of_log(log).sources == 0);
    flush_log(log);
    check_int(stats_of_log(log).lines, 5);
    check_ok(sss_log_free(log));
    check_log(bed, "web: stderr an error\n"
                   "web: stdout half a line\n"
                   "web: stdout and\n"
                   "web: stdout \n"
                   "web: stdout last words [no newline]\n");
}

static void a_time_stands_in_front(void **state)
{
    struct bed *bed = *state;
    struct sss_log_params params = log_params(bed);
    struct sss_log *log;
    struct tm tm = { 0 };
    time_t before = time(NULL), told;
    struct timespec after;
    char *text, *rest;
    size_t length;
    int fd;

    params.mask |= SSS_LOG_TIME;
    log = log_of(bed, &params);
    fd = log_pipe(log, NULL, NULL);
    put(fd, "x\n");
    flush_log(log);
    check_ok(close(fd) | sss_log_free(log));
    text = log_text(bed, &length);
    rest = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);
    check(rest != NULL && rest[0] == '.' && strspn(rest + 1, "0123456789") == 9);
    check_ok(strcmp(rest + 10, "Z x\n"));
    told = timegm(&tm);
    /* time() is as old as the last clock tick, so it may be earlier than the log's time. */
    check_ok(clock_gettime(CLOCK_REALTIME, &after));
    check(told >= before && told <= after.tv_sec);
    free(text);
}

static void a_long_line_is_split_and_marked(void **state)
{
    struct bed *bed = *state;
    struct sss_log_params params = log_params(bed);
    struct sss_log *log;
    int fd;

    params.mask |= SSS_LOG_MAX_LINE;
    params.max_line = 4;
    log = log_of(bed, &params);
    fd = log_pipe(log, NULL, NULL);
    put(fd, "abcd\nabcdefghij\nabcde");
    check_ok(close(fd));
    flush_log(log);
    check_ok(sss_log_free(log));
    check_log(bed, "abcd\nabcd [line continues]\nefgh [line continues]\nij\n"
                   "abcd [line continues]\ne [no newline]\n");
}

static void a_line_of_ten_megabytes(void **state)
{
    struct bed *bed = *state;
    struct sss_log_params params = log_params(bed);
    struct sss_log *log;
    size_t length, i, lines = 0, xs = 0;
    static char block[1 << 20];
    char *text;
    int fd;

    memset(block, 'x', sizeof(block));
    log = log_of(bed, &params);
    fd = log_pipe(log, NULL, NULL);
    for (i = 0; i < 10; i++) {
        put_bytes(fd, block, sizeof(block));
    }
    put(fd, "\nshort\n");
    check_ok(close(fd));
    flush_log(log);
    check_ok(sss_log_free(log));
    text = log_text(bed, &length);
    for (i = 0; i < length; i++) {
        lines += text[i] == '\n';
        xs += text[i] == 'x';
    }
    check_int(xs, 10 * sizeof(block));
    check_int(lines, 10 * sizeof(block) / 65536 + 1);
    check_ok(strcmp(text + length - 7, "\nshort\n"));
    free(text);
}

static void bytes_come_as_they_are(void **state)
{
    struct bed *bed = *state;
    struct sss_log_params params = log_params(bed);
    static unsigned char bytes[300000];
    struct sss_log *log;
    size_t length, i;
    char *text;
    int fd;

    for (i = 0; i < sizeof(bytes); i++) {
        bytes[i] = (unsigned char)(i * 2654435761u >> 13);
    }
    params.mask = SSS_LOG_BLOCK;
    log = log_of(bed, &params);
    fd = log_pipe(log, "ignored", NULL);
    for (i = 0; i < sizeof(bytes); i += 1000) {
        put_bytes(fd, bytes + i, 1000);
    }
    check_ok(close(fd));
    flush_log(log);
    check_int(stats_of_log(log).bytes_written, sizeof(bytes));
    check_ok(sss_log_free(log));
    text = log_text(bed, &length);
    check_int(length, sizeof(bytes));
    check_ok(memcmp(text, bytes, length));
    free(text);
}

/* The queue is full some 2,000 times. */
static void who_was_blocked_goes_on_at_once(void **state)
{
    enum { ALL = 8000000 };
    struct bed *bed = *state;
    struct sss_log_params params = log_params(bed);
    static char block[ALL];
    struct sss_log *log;
    struct stat info;
    unsigned lines;

    for (lines = 0; lines < 2; lines++) {
        int fd;

        memset(block, 'x', sizeof(block));
        block[ALL - 1] = '\n';
        params.mask = SSS_LOG_BLOCK | SSS_LOG_MAX_LINE | SSS_LOG_MAX_QUEUE;
        params.mask |= lines ? SSS_LOG_LINES : 0;
        params.max_line = 1000;
        params.max_queue = 4096;
        log = log_of(bed, &params);
        fd = log_pipe(log, NULL, NULL);
        put_bytes(fd, block, sizeof(block));
        check_ok(close(fd));
        flush_log(log);
        check_int(stats_of_log(log).bytes_read, ALL);
        check_ok(sss_log_free(log));
        check_ok(stat(bed->path, &info));
        check_int(info.st_size, lines ? 7999 * (1000 + 18) + 1000 : ALL);
        check_ok(unlink(bed->path));
    }
}

static void the_callback_is_told_in_order(void **state)
{
    struct bed *bed = *state;
    struct sss_log_params params = log_params(bed);
    struct told *told = calloc(1, sizeof(*told));
    struct sss_log *log;
    uint64_t source;
    int fd;

    params.target = SSS_LOG_TO_CALLBACK;
    params.mask |= SSS_LOG_MAX_LINE;
    params.max_line = 5;
    params.event_fn = tell;
    params.pvt = told;
    log = log_of(bed, &params);
    fd = log_pipe(log, "out", &source);
    put(fd, "one\ntwo\nthree four\n\nend");
    check_ok(close(fd));
    loop_until(&bed->loop, &told->drained, 1);
    check_int(told->source, source);
    check_text(told->text,
               "line out:one\nline out:two\nsplit out:three\nline out: four\nline out:\n"
               "partial out:end\ndrained out:\n", __FILE__, __LINE__);
    check_int(sss_log_flush(log, 0), ENOTSUP);
    check_ok(sss_log_free(log));
    free(told);
}

static void free_in_callback(struct sss_log *log, const struct sss_log_event *event, void *pvt)
{
    unsigned *calls = pvt;

    check_ok(strcmp(event->text, "one"));
    ++*calls;
    check_ok(sss_log_free(log));
}

static void nothing_is_told_after_free(void **state)
{
    struct bed *bed = *state;
    struct sss_log_params params = log_params(bed);
    unsigned calls = 0;
    int fd;

    params.target = SSS_LOG_TO_CALLBACK;
    params.event_fn = free_in_callback;
    params.pvt = &calls;
    fd = log_pipe(log_of(bed, &params), NULL, NULL);
    put(fd, "one\ntwo\n");
    loop_until(&bed->loop, &calls, 1);
    loop_settle(&bed->loop);
    check_int(calls, 1);
    check_ok(close(fd));
}

/* A grandchild holds the writing end open. */
static void drain_does_not_wait_for_an_end_of_file(void **state)
{
    struct bed *bed = *state;
    struct sss_log_params params = log_params(bed);
    struct told *told = calloc(1, sizeof(*told));
    struct sss_log *log;
    uint64_t source;
    int fd;

    params.event_fn = tell;
    params.pvt = told;
    log = log_of(bed, &params);
    fd = log_pipe(log, "out", &source);
    put(fd, "last words");
    check_ok(sss_log_drain(log, source));
    loop_until(&bed->loop, &told->drained, 1);
    check_int(told->source, source);
    check_int(told->events, 1);
    check_int(sss_log_drain(log, source), ESRCH);
    flush_log(log);
    check_log(bed, "last words [no newline]\n");
    check_ok(sss_log_free(log));
    check_ok(close(fd));
    free(told);
}

/* What was in the pipe when its writer was killed. */
static void last_words_of_who_was_killed(void **state)
{
    struct bed *bed = *state;
    struct sss_log_params params = log_params(bed);
    struct sss_log *log = log_of(bed, &params);
    int fd = log_pipe(log, NULL, NULL);
    pid_t pid = fork();

    check(pid != -1);
    if (pid == 0) {
        put(fd, "first\nlast words");
        raise(SIGKILL);
    }
    check_ok(close(fd));
    reap(pid, BY_SIGNAL(SIGKILL));
    await(stats_of_log(log).sources == 0);
    flush_log(log);
    check_ok(sss_log_free(log));
    check_log(bed, "first\nlast words [no newline]\n");
}

/* The file ends in the middle of a line of another process: that line is ended before the next
 * one. */
static void what_another_process_left_unfinished_is_ended(void **state)
{
    struct bed *bed = *state;
    struct sss_log_params params = log_params(bed);
    int file = open(bed->path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    struct sss_log *log;
    int fd;

    check(file != -1);
    put(file, "whole\ncut o");
    check_ok(close(file));
    log = log_of(bed, &params);
    fd = log_pipe(log, NULL, NULL);
    put(fd, "next\n");
    check_ok(close(fd));
    flush_log(log);
    check_ok(sss_log_free(log));
    check_log(bed, "whole\ncut o [no newline]\nnext\n");
}

static void any_descriptor_in(void **state)
{
    struct bed *bed = *state;
    struct sss_log_params params = log_params(bed);
    struct sss_log *log = log_of(bed, &params);
    int file = open("/dev/null", O_RDONLY | O_CLOEXEC);
    int pair[2];

    check_ok(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
    check_ok(sss_log_attach(log, pair[0], "socket", NULL));
    check_ok(close(pair[0]));
    put(pair[1], "by a socket\n");
    check_ok(close(pair[1]));
    check_int(sss_log_attach(log, file, NULL, NULL), ENOTSUP);
    check_int(sss_log_attach(log, 9999, NULL, NULL), EBADF);
    check_ok(close(file));
    flush_log(log);
    check_ok(sss_log_free(log));
    check_log(bed, "by a socket\n");
}

static void a_terminal_in(void **state)
{
    struct bed *bed = *state;
    struct sss_log_params params = log_params(bed);
    struct sss_log *log = log_of(bed, &params);
    int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC), slave;

    check(master != -1);
    check_ok(grantpt(master) | unlockpt(master));
    slave = open(ptsname(master), O_RDWR | O_NOCTTY | O_CLOEXEC);
    check(slave != -1);
    check_ok(sss_log_attach(log, master, NULL, NULL));
    check_ok(close(master));
    put(slave, "by a terminal\n");
    flush_log(log);
    check_log(bed, "by a terminal\r\n");
    put(slave, "last words");
    flush_log(log);
    check_ok(close(slave));
    await(stats_of_log(log).sources == 0);
    flush_log(log);
    check_ok(sss_log_free(log));
    check_log(bed, "by a terminal\r\nlast words [no newline]\n");
}

/* The loop turns too late: one event says how many lines were dropped meanwhile. */
static void the_callback_is_told_what_was_dropped(void **state)
{
    enum { LINES = 1000 };
    struct bed *bed = *state;
    struct sss_log_params params = log_params(bed);
    struct told *told = calloc(1, sizeof(*told));
    struct sss_log *log;
    char wanted[100];
    unsigned i, taken, dropped, bytes;
    const char *notice;
    int fd;

    check(told != NULL);
    params.target = SSS_LOG_TO_CALLBACK;
    params.mask = SSS_LOG_LINES | SSS_LOG_MAX_LINE | SSS_LOG_MAX_QUEUE;
    params.max_line = 1000;
    params.max_queue = 4096;
    params.event_fn = tell;
    params.pvt = told;
    log = log_of(bed, &params);
    fd = log_pipe(log, NULL, NULL);
    for (i = 0; i < LINES; i++) {
        put(fd, "a line\n");
    }
    await(stats_of_log(log).lines + stats_of_log(log).dropped_lines == LINES);
    taken = (unsigned)stats_of_log(log).lines;
    loop_until(&bed->loop, &told->events, taken + 1);
    put(fd, "again\n");
    loop_until(&bed->loop, &told->events, taken + 2);
    notice = strstr(told->text, "dropped :");
    check(notice != NULL);
    check_int(sscanf(notice, "dropped :[sss_sigchld: dropped %u lines, %u bytes]", &dropped, &bytes),
              2);
    check_int(taken + dropped, LINES);
    check_int(bytes, dropped * strlen("a line\n"));
    check_int(stats_of_log(log).dropped_lines, dropped);
    snprintf(wanted, sizeof(wanted),
             "line :a line\ndropped :[sss_sigchld: dropped %u lines, %u bytes]\nline :again\n",
             dropped, bytes);
    check_text(notice - strlen("line :a line\n"), wanted, __FILE__, __LINE__);
    check_int(told->events, taken + 2);
    check_ok(close(fd) | sss_log_free(log));
    free(told);
}

static void another_descriptor_out(void **state)
{
    struct bed *bed = *state;
    struct sss_log_params params = log_params(bed);
    struct sss_log *log;
    char got[100] = { 0 };
    int out[2], fd;

    check_ok(pipe2(out, O_CLOEXEC));
    params.target = SSS_LOG_TO_FD;
    params.mask |= SSS_LOG_FD;
    params.fd = out[1];
    params.prefix = "web | ";
    log = log_of(bed, &params);
    check_ok(close(out[1]));
    fd = log_pipe(log, NULL, NULL);
    put(fd, "one\ntwo\n");
    flush_log(log);
    check_int(read(out[0], got, sizeof(got) - 1), 20);
    check_text(got, "web | one\nweb | two\n", __FILE__, __LINE__);
    /* The target's reader is gone: what comes is dropped, and nobody is blocked. */
    check_ok(close(out[0]));
    put(fd, "three\n");
    await(stats_of_log(log).dropped_lines == 1);
    check_int(stats_of_log(log).last_error, EPIPE);
    check_ok(close(fd) | sss_log_free(log));
}

/* A loop that polls the context's descriptor by edges hears of each line. */
static void told_by_edges(void **state)
{
    struct bed *bed = *state;
    struct epoll_event edge = { .events = EPOLLIN | EPOLLET };
    struct told told = { 0 };
    struct sss_log_params params = log_params(bed);
    int epoll = epoll_create1(EPOLL_CLOEXEC), fd;
    struct sss_log *log;

    check(epoll != -1);
    params.target = SSS_LOG_TO_CALLBACK;
    params.path = NULL;
    params.event_fn = tell;
    params.pvt = &told;
    log = log_of(bed, &params);
    fd = log_pipe(log, NULL, NULL);
    loop_settle(&bed->loop);
    check_ok(epoll_ctl(epoll, EPOLL_CTL_ADD, bed->loop.ctxfd, &edge));
    while (epoll_wait(epoll, &edge, 1, 0) == 1) {
        /* what it said when it was added */
    }
    for (unsigned line = 1; line <= 4; line++) {
        put(fd, "a line\n");
        while (told.events < line) {
            check_int(epoll_wait(epoll, &edge, 1, 6 * DEADLINE_MS), 1);
            check_ok(sss_sigchld_ctx_dispatch(bed->loop.ctx, 0));
        }
    }
    check_ok(close(epoll));
    check_ok(close(fd));
    check_ok(sss_log_free(log));
}

/* The context is freed in the callback of the first line. */
struct ending {
    struct sss_sigchild_ctx *ctx;
    unsigned events;
};

static void end_context(struct sss_log *log, const struct sss_log_event *event, void *pvt)
{
    struct ending *ending = pvt;

    (void)log;
    ending->events++;
    check_ok(sss_sigchld_ctx_free(ending->ctx));
    check_ok(strcmp(event->text, "one"));
}

static void lines_that_nobody_is_told_are_counted(void **state)
{
    struct bed *bed = *state;
    struct sss_log_params params = log_params(bed);
    struct ending ending = { .ctx = ctx_make(SSS_SCOPE_REGISTERED, 0) };
    struct sss_log *log;
    int fd, ctxfd;

    check_ok(sss_sigchld_ctx_fd(ending.ctx, &ctxfd));
    params.target = SSS_LOG_TO_CALLBACK;
    params.path = NULL;
    params.event_fn = end_context;
    params.pvt = &ending;
    check_ok(sss_log_open(NULL, ending.ctx, &params, &log));
    fd = log_pipe(log, NULL, NULL);
    put(fd, "one\ntwo\n\nthree\nfour");
    check_ok(close(fd));
    await(stats_of_log(log).sources == 0);
    check_ok(sss_sigchld_ctx_dispatch(ending.ctx, 0));
    check_int(ending.events, 1);
    check_int(stats_of_log(log).lines, 5);
    check_int(stats_of_log(log).dropped_lines, 4);
    check_int(stats_of_log(log).bytes_queued, 0);
    check_ok(sss_log_free(log));
}

/* Only the end of a source is told of a log that goes to a file. */
static void a_file_s_lines_do_not_wake_the_loop(void **state)
{
    struct bed *bed = *state;
    struct sss_log_params params = log_params(bed);
    static struct told told;
    struct pollfd loop = { .fd = bed->loop.ctxfd, .events = POLLIN };
    struct sss_log *log;
    int fd;

    params.event_fn = tell;
    params.pvt = &told;
    log = log_of(bed, &params);
    fd = log_pipe(log, NULL, NULL);
    check_ok(sss_sigchld_ctx_dispatch(bed->loop.ctx, 0));
    put(fd, "one\n");
    flush_log(log);
    check_int(poll(&loop, 1, 0), 0);
    check_ok(close(fd));
    check_int(poll(&loop, 1, DEADLINE_MS), 1);
    loop_until(&bed->loop, &told.drained, 1);
    check_int(told.events, 1);
    check_ok(sss_log_free(log));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_BED(lines_of_two_sources_are_whole),
        ON_BED(a_time_stands_in_front),
        ON_BED(a_long_line_is_split_and_marked),
        ON_BED(a_line_of_ten_megabytes),
        ON_BED(bytes_come_as_they_are),
        ON_BED(who_was_blocked_goes_on_at_once),
        ON_BED(the_callback_is_told_in_order),
        ON_BED(nothing_is_told_after_free),
        ON_BED(drain_does_not_wait_for_an_end_of_file),
        ON_BED(last_words_of_who_was_killed),
        ON_BED(what_another_process_left_unfinished_is_ended),
        ON_BED(any_descriptor_in),
        ON_BED(a_terminal_in),
        ON_BED(the_callback_is_told_what_was_dropped),
        ON_BED(another_descriptor_out),
        ON_BED(told_by_edges),
        ON_BED(lines_that_nobody_is_told_are_counted),
        ON_BED(a_file_s_lines_do_not_wake_the_loop),
    };

    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
