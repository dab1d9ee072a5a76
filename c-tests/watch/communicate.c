/* Children whose input and output are pipes of the library's. */
#include "support/test.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "support/spawn.h"
#include "support/told.h"

static const int64_t MS = 1000000;

/* What the callbacks were told; the bytes are copied. */
struct result {
    unsigned calls;
    unsigned chunks;
    struct sss_child_ctx *child;
    struct sss_communicated done;
    struct sss_child_event end;
    char *text[2];
    size_t length[2];
    size_t fed;
    size_t feed;
    bool free_it;
};

static void keep_text(struct result *result, int stream, const void *data, size_t length)
{
    size_t at = result->length[stream];

    result->text[stream] = realloc(result->text[stream], at + length + 1);
    check(result->text[stream] != NULL);
    memcpy(result->text[stream] + at, data, length);
    result->text[stream][at + length] = '\0';
    result->length[stream] = at + length;
}

static void see_done(struct sss_child_ctx *child, const struct sss_communicated *done, void *pvt)
{
    struct result *result = pvt;

    check_int(done->size, sizeof(*done));
    check_int(done->end->size, sizeof(*done->end));
    result->calls++;
    result->child = child;
    result->done = *done;
    result->end = *done->end;
    check_int(((const char *)done->output)[done->output_length], 0);
    check_int(((const char *)done->error)[done->error_length], 0);
    keep_text(result, 0, done->output, done->output_length);
    keep_text(result, 1, done->error, done->error_length);
    if (result->free_it) {
        check_ok(sss_child_free(child));
    }
}

static void see_chunk(struct sss_child_ctx *child, const struct sss_chunk *chunk, void *pvt)
{
    struct result *result = pvt;

    check(chunk->length > 0);
    result->chunks++;
    keep_text(result, (int)chunk->stream - 1, chunk->data, chunk->length);
    if (result->free_it) {
        check_ok(sss_child_free(child));
    }
}

static uint32_t feed(struct sss_child_ctx *child, const struct sss_room *room, void *pvt)
{
    struct result *result = pvt;
    size_t left = result->feed - result->fed;
    size_t count = left < room->capacity ? left : room->capacity;

    if (count > 1000) {
        count = 1000;
    }
    memset(room->data, 'f', count);
    result->fed += count;
    if (result->free_it) {
        check_ok(sss_child_free(child));
    }
    return (uint32_t)count;
}

static void forget(struct result *result)
{
    free(result->text[0]);
    free(result->text[1]);
}

static struct sss_communicate comm_of(struct result *result, uint32_t mask)
{
    struct sss_communicate comm;

    memset(result, 0, sizeof(*result));
    memset(&comm, 0, sizeof(comm));
    comm.size = sizeof(comm);
    comm.mask = mask;
    comm.cb = see_done;
    comm.pvt = result;
    return comm;
}

enum {
    INPUT = SSS_COMMUNICATE_INPUT,
    OUTPUT = SSS_COMMUNICATE_OUTPUT,
    ERROR = SSS_COMMUNICATE_ERROR,
    ALL = INPUT | OUTPUT | ERROR,
};

static int start(struct loop *loop, const char *script, const struct sss_communicate *comm,
                 struct sss_child_ctx **child)
{
    const char *const argv[] = { "sh", "-c", script, NULL };
    struct sss_spawn spawn = spawn_zero();

    spawn.path = "/bin/sh";
    spawn.argv = argv;
    return sss_child_communicate(NULL, loop->ctx, &spawn, comm, child);
}

static void run(struct loop *loop, const char *script, const struct sss_communicate *comm,
                struct result *result)
{
    struct sss_child_ctx *child;

    check_ok(start(loop, script, comm, &child));
    loop_until(loop, &result->calls, 1);
    loop_settle(loop);
    check_int(result->calls, 1);
    check(result->child == child);
    check_ok(sss_child_free(child));
}

static void all_three(void **state)
{
    struct loop *loop = *state;
    struct result result;
    struct sss_communicate comm = comm_of(&result, ALL);

    comm.input = "some words\n";
    comm.input_length = strlen("some words\n");
    run(loop, "cat; echo wrong >&2; exit 3", &comm, &result);
    check_int(result.end.event, SSS_CHILD_EVENT_EXITED);
    check_int(result.end.status, 3);
    check(result.end.have & SSS_RECORD_RUSAGE);
    assert_string_equal(result.text[0], "some words\n");
    assert_string_equal(result.text[1], "wrong\n");
    check_int(result.done.output_total, 11);
    check_int(result.done.input_written, 11);
    check_int(result.done.input_errno, 0);
    check_int(result.done.output_errno, 0);
    check_int(result.done.error_errno, 0);
    forget(&result);
}

static void nothing_at_all(void **state)
{
    struct loop *loop = *state;
    struct result result;
    struct sss_communicate comm = comm_of(&result, ALL);

    run(loop, "cat", &comm, &result);
    check_int(result.end.status, 0);
    check_int(result.done.output_length, 0);
    check_int(result.done.error_total, 0);
    forget(&result);
    comm = comm_of(&result, 0);
    run(loop, "exit 4", &comm, &result);
    check_int(result.end.status, 4);
    forget(&result);
    comm = comm_of(&result, OUTPUT | SSS_COMMUNICATE_ERROR_TO_OUTPUT);
    run(loop, "echo one; echo two >&2; echo three", &comm, &result);
    assert_string_equal(result.text[0], "one\ntwo\nthree\n");
    forget(&result);
}

/* More than the pipes hold, in both directions at once. */
static void much_both_ways(void **state)
{
    enum { BYTES = 3 << 20 };
    struct loop *loop = *state;
    struct result result;
    struct sss_communicate comm = comm_of(&result, ALL);
    char *input = malloc(BYTES);
    size_t i;

    check(input != NULL);
    for (i = 0; i < BYTES; i++) {
        input[i] = (char)(i * 7 + i / 251);
    }
    comm.input = input;
    comm.input_length = BYTES;
    run(loop, "tee /dev/stderr", &comm, &result);
    check_int(result.length[0], BYTES);
    check_int(result.length[1], BYTES);
    check(memcmp(result.text[0], input, BYTES) == 0);
    check(memcmp(result.text[1], input, BYTES) == 0);
    check_int(result.done.input_written, BYTES);
    forget(&result);
    free(input);
}

static void piece_by_piece(void **state)
{
    enum { BYTES = 200001 };
    struct loop *loop = *state;
    struct result result;
    struct sss_communicate comm = comm_of(&result, ALL);

    result.feed = BYTES;
    comm.input_fn = feed;
    comm.output_fn = see_chunk;
    comm.error_fn = see_chunk;
    run(loop, "tee /dev/stderr", &comm, &result);
    check_int(result.fed, BYTES);
    check_int(result.length[0], BYTES);
    check_int(result.length[1], BYTES);
    check_int(strspn(result.text[0], "f"), BYTES);
    check(result.chunks > 2);
    check_int(result.done.output_length, 0);
    check_int(result.done.output_total, BYTES);
    check_int(result.done.error_total, BYTES);
    check_int(result.done.input_written, BYTES);
    forget(&result);
}

static void what_is_beyond_the_limit_is_dropped(void **state)
{
    static const uint64_t limits[] = { 0, 1, 1000, 65536, 70000 };
    struct loop *loop = *state;
    size_t i, streamed;

    for (i = 0; i < ARRAY_SIZE(limits); i++) {
        for (streamed = 0; streamed < 2; streamed++) {
            struct result result;
            struct sss_communicate comm = comm_of(&result, OUTPUT | ERROR
                                                               | SSS_COMMUNICATE_OUTPUT_LIMIT
                                                               | SSS_COMMUNICATE_ERROR_LIMIT);

            comm.output_limit = limits[i];
            comm.error_limit = limits[ARRAY_SIZE(limits) - 1 - i];
            comm.output_fn = streamed ? see_chunk : NULL;
            comm.error_fn = streamed ? see_chunk : NULL;
            run(loop, "head -c 300000 /dev/zero; head -c 300001 /dev/zero >&2; exit 1", &comm,
                &result);
            check_int(result.end.status, 1);
            check_int(result.length[0], limits[i]);
            check_int(result.length[1], comm.error_limit);
            check_int(result.done.output_total, 300000);
            check_int(result.done.error_total, 300001);
            check_int(result.done.output_errno, 0);
            check_int(result.done.error_errno, 0);
            forget(&result);
        }
    }
}

/* 16 MiB are collected, and all is passed on. */
static void the_limit_that_nobody_set(void **state)
{
    enum { LIMIT = 16 << 20 };
    struct loop *loop = *state;
    int streamed;

    for (streamed = 0; streamed < 2; streamed++) {
        struct result result;
        struct sss_communicate comm = comm_of(&result, OUTPUT);

        comm.output_fn = streamed ? see_chunk : NULL;
        run(loop, "head -c 16777217 /dev/zero", &comm, &result);
        check_int(result.end.status, 0);
        check_int(result.length[0], LIMIT + streamed);
        check_int(result.done.output_total, LIMIT + 1);
        check_int(result.done.output_errno, 0);
        forget(&result);
    }
}

static uint32_t feed_too_much(struct sss_child_ctx *child, const struct sss_room *room, void *pvt)
{
    struct result *result = pvt;

    (void)child;
    result->fed++;
    memset(room->data, 'x', room->capacity);
    return result->fed == 1 ? (uint32_t)room->capacity : (uint32_t)room->capacity + 1;
}

/* No byte is read from a stream that was not asked for. */
static void more_than_there_is_room_for(void **state)
{
    struct loop *loop = *state;
    struct result result;
    struct sss_communicate comm = comm_of(&result, INPUT | OUTPUT);

    comm.input_fn = feed_too_much;
    run(loop, "cat; exit 2", &comm, &result);
    check_int(result.end.status, 2);
    check_int(result.fed, 2);
    check_int(result.done.input_errno, EMSGSIZE);
    check(result.done.input_written > 0);
    check_int(result.length[0], result.done.input_written);
    forget(&result);
}

/* A child that does not read its input. */
static void sigpipe_stays_away(void **state)
{
    enum { BYTES = 1 << 20 };
    struct loop *loop = *state;
    struct result result;
    struct sss_communicate comm = comm_of(&result, INPUT);
    char *input = calloc(1, BYTES);
    sigset_t pending;

    check(input != NULL);
    check(signal(SIGPIPE, SIG_DFL) == SIG_DFL);
    comm.input = input;
    comm.input_length = BYTES;
    run(loop, "exec <&-; sleep 0.01; exit 5", &comm, &result);
    check_int(result.end.status, 5);
    check_int(result.done.input_errno, EPIPE);
    check(result.done.input_written < BYTES);
    check_ok(sigpending(&pending));
    check_int(sigismember(&pending, SIGPIPE), 0);
    forget(&result);
    free(input);
}

/* Whether one was pending, which is none any more. */
static bool take_sigpipe(void)
{
    const struct timespec now = { 0, 0 };
    sigset_t set;

    check_ok(sigemptyset(&set) | sigaddset(&set, SIGPIPE));
    return sigtimedwait(&set, NULL, &now) == SIGPIPE;
}

/* The daemon blocks SIGPIPE: the library leaves none pending, and one that was pending before
 * stays. */
static void a_blocked_sigpipe_is_the_daemons(void **state)
{
    enum { BYTES = 1 << 20 };
    struct loop *loop = *state;
    char *input = calloc(1, BYTES);
    sigset_t set, former;
    int pending;

    check(input != NULL);
    check_ok(sigemptyset(&set) | sigaddset(&set, SIGPIPE));
    check_ok(pthread_sigmask(SIG_BLOCK, &set, &former));
    for (pending = 0; pending < 2; pending++) {
        struct result result;
        struct sss_communicate comm = comm_of(&result, INPUT);

        if (pending) {
            check_ok(raise(SIGPIPE));
        }
        comm.input = input;
        comm.input_length = BYTES;
        run(loop, "exec <&-; sleep 0.01; exit 5", &comm, &result);
        check_int(result.end.status, 5);
        check_int(result.done.input_errno, EPIPE);
        check_int(take_sigpipe(), pending);
        check_int(take_sigpipe(), 0);
        forget(&result);
    }
    check_ok(pthread_sigmask(SIG_SETMASK, &former, NULL));
    free(input);
}

/* A gate for scripts: a fifo whose writer, the test, lets the reader go on. */
static const char *fifo_make(void)
{
    static char path[64];

    snprintf(path, sizeof(path), "/tmp/communicate.%d", getpid());
    unlink(path);
    check_ok(mkfifo(path, 0600));
    return path;
}

static void fifo_open(const char *path)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);

    check(fd >= 0);
    check_int(write(fd, "\n", 1), 1);
    check_ok(close(fd));
}

static void the_end_of_the_output_is_not_the_childs(void **state)
{
    struct loop *loop = *state;
    struct result result;
    struct sss_communicate comm = comm_of(&result, OUTPUT | ERROR);
    const char *fifo = fifo_make();
    struct sss_child_ctx *child;
    char script[128];

    comm.output_fn = see_chunk;
    snprintf(script, sizeof(script), "echo early; exec >&- 2>&-; read x < %s; exit 6", fifo);
    check_ok(start(loop, script, &comm, &child));
    loop_until(loop, &result.chunks, 1);
    loop_settle(loop);
    check_int(result.calls, 0);
    fifo_open(fifo);
    loop_until(loop, &result.calls, 1);
    check_int(result.end.status, 6);
    check_int(result.done.output_errno, 0);
    assert_string_equal(result.text[0], "early\n");
    check_ok(sss_child_free(child));
    check_ok(unlink(fifo));
    forget(&result);
}

static void the_childs_end_is_not_that_of_the_output(void **state)
{
    struct loop *loop = *state;
    struct result result;
    struct sss_communicate comm = comm_of(&result, OUTPUT | ERROR | SSS_COMMUNICATE_DRAIN);
    const char *fifo = fifo_make();
    struct sss_child_ctx *child;
    char script[128];
    int32_t pid;

    comm.drain_ns = 600000 * MS;
    snprintf(script, sizeof(script), "(read x < %s; echo late) & exit 7", fifo);
    check_ok(start(loop, script, &comm, &child));
    check_ok(sss_child_pid(child, &pid));
    loop_until_reaped(loop, pid);
    check_int(result.calls, 0);
    fifo_open(fifo);
    loop_until(loop, &result.calls, 1);
    check_int(result.end.status, 7);
    check_int(result.done.output_errno, 0);
    assert_string_equal(result.text[0], "late\n");
    check_ok(sss_child_free(child));
    check_ok(unlink(fifo));
    forget(&result);
}

static void a_grandchild_that_holds_the_pipe_is_not_waited_for(void **state)
{
    struct loop *loop = *state;
    int64_t bounds[] = { 0, 5 * MS };
    size_t i;

    for (i = 0; i < ARRAY_SIZE(bounds); i++) {
        struct result result;
        struct sss_communicate comm = comm_of(&result, OUTPUT | SSS_COMMUNICATE_DRAIN);
        const char *fifo = fifo_make();
        char script[128];

        comm.drain_ns = bounds[i];
        snprintf(script, sizeof(script), "echo here; (read x < %s) & exit 8", fifo);
        run(loop, script, &comm, &result);
        check_int(result.end.status, 8);
        check_int(result.done.output_errno, ETIMEDOUT);
        assert_string_equal(result.text[0], "here\n");
        fifo_open(fifo);
        check_ok(unlink(fifo));
        forget(&result);
    }
}

/* The loop runs again only when the child is dead and the bound has passed. What the child
 * wrote, and the end of the file, were there before that. */
static void a_late_loop_loses_nothing(void **state)
{
    enum { BYTES = 50000 };
    struct loop *loop = *state;
    int streamed, held;

    for (streamed = 0; streamed < 2; streamed++) {
        for (held = 0; held < 2; held++) {
            struct result result;
            struct sss_communicate comm = comm_of(&result, INPUT | OUTPUT | ERROR
                                                               | SSS_COMMUNICATE_DRAIN);
            const char *fifo = fifo_make();
            struct sss_child_ctx *child;
            char script[256];

            comm.drain_ns = 0;
            comm.output_fn = streamed ? see_chunk : NULL;
            comm.error_fn = streamed ? see_chunk : NULL;
            snprintf(script, sizeof(script),
                     "head -c %d /dev/zero; head -c %d /dev/zero >&2; %s exit 8", BYTES, BYTES,
                     held ? "exec 2>&-; (read x < /tmp/communicate.$PPID) &" : "");
            check_ok(start(loop, script, &comm, &child));
            await_dead(pid_of(child));
            loop_until(loop, &result.calls, 1);
            loop_settle(loop);
            check_int(result.end.status, 8);
            check_int(result.length[0], BYTES);
            check_int(result.length[1], BYTES);
            check_int(result.done.output_errno, held ? ETIMEDOUT : 0);
            check_int(result.done.error_errno, 0);
            check_int(result.done.input_errno, 0);
            check_ok(sss_child_free(child));
            if (held) {
                fifo_open(fifo);
            }
            check_ok(unlink(fifo));
            forget(&result);
        }
    }
}

static void freed_early(void **state)
{
    struct loop *loop = *state;
    struct result result;
    struct sss_communicate comm = comm_of(&result, ALL);
    struct sss_child_ctx *child;
    unsigned fds = count_fds();
    int32_t pid;

    check_ok(start(loop, "exec cat", &comm, &child));
    check_ok(sss_child_pid(child, &pid));
    check_ok(sss_child_kill(child, SIGKILL));
    check_ok(sss_child_free(child));
    check_int(sss_child_kill(child, SIGKILL), ESRCH);
    loop_until_reaped(loop, pid);
    check_int(result.calls, 0);
    check_int(count_fds(), fds);
    /* In the callback. */
    comm = comm_of(&result, ALL);
    result.free_it = true;
    comm.input = "x";
    comm.input_length = 1;
    check_ok(start(loop, "cat", &comm, &child));
    loop_until(loop, &result.calls, 1);
    loop_settle(loop);
    check_int(sss_child_kill(child, 0), ESRCH);
    check_int(count_fds(), fds);
    forget(&result);
}

static void freed_in_the_middle(void **state)
{
    struct loop *loop = *state;
    struct result result;
    struct sss_child_ctx *child;
    unsigned fds = count_fds();
    int streamed;

    for (streamed = 0; streamed < 2; streamed++) {
        struct sss_communicate comm = comm_of(&result, ALL);
        int32_t pid;

        result.free_it = true;
        result.feed = 2000;
        if (streamed) {
            comm.output_fn = see_chunk;
        } else {
            comm.input_fn = feed;
        }
        check_ok(start(loop, "echo words; exec cat", &comm, &child));
        check_ok(sss_child_pid(child, &pid));
        /* What is left of it ends with its input. */
        loop_until_reaped(loop, pid);
        check_int(result.chunks, streamed);
        check_int(result.calls, 0);
        check_int(count_fds(), fds);
        forget(&result);
    }
}

static void released(void **state)
{
    struct loop *loop = *state;
    struct result result;
    struct sss_communicate comm = comm_of(&result, ALL);
    struct sss_child_ctx *child;
    unsigned fds = count_fds();
    int status;
    int32_t pid;

    check_ok(start(loop, "exec cat", &comm, &child));
    check_ok(sss_child_pid(child, &pid));
    check_ok(sss_child_release(child, &status));
    check_int(status, SSS_WAIT_STATUS_NONE);
    check_int(count_fds(), fds);
    /* It reads to the end of the file. */
    reap(pid, 0);
    check_ok(start(loop, "exit 3", &comm, &child));
    check_ok(sss_child_wait(child, -1, NULL, NULL));
    check_ok(sss_child_release(child, &status));
    check_int(status, status_of(3));
    check_int(count_fds(), fds);
    loop_settle(loop);
    check_int(result.calls, 0);
}

static void the_handle_is_a_childs(void **state)
{
    const struct sss_deadline_step step = { .after_ns = 0, .signum = SIGTERM };
    struct sss_deadline deadline;
    struct loop *loop = *state;
    struct result result;
    struct sss_communicate comm = comm_of(&result, OUTPUT);
    struct sss_child_ctx *child;
    struct sss_child_event record;
    int status;

    memset(&deadline, 0, sizeof(deadline));
    deadline.size = sizeof(deadline);
    deadline.steps = &step;
    deadline.steps_count = 1;
    comm.deadline = &deadline;
    check_ok(start(loop, "exec sleep 1000", &comm, &child));
    loop_until(loop, &result.calls, 1);
    check_int(result.end.event, SSS_CHILD_EVENT_KILLED);
    check_int(result.end.status, SIGTERM);
    check_int(result.end.step_signal, SIGTERM);
    check_ok(sss_child_free(child));
    forget(&result);
    /* Waited for, and told all the same. */
    comm = comm_of(&result, OUTPUT);
    check_ok(start(loop, "echo words; exit 9", &comm, &child));
    check_int(sss_child_set_cb(child, see, NULL), ENOTSUP);
    memset(&record, 0, sizeof(record));
    record.size = sizeof(record);
    check_ok(sss_child_wait(child, -1, &status, &record));
    check_int(status, status_of(9));
    check_int(result.calls, 0);
    loop_until(loop, &result.calls, 1);
    check_int(result.end.status, 9);
    assert_string_equal(result.text[0], "words\n");
    check_ok(sss_child_free(child));
    forget(&result);
}

static void without_a_handle(void **state)
{
    struct loop *loop = *state;
    struct result result;
    struct sss_communicate comm = comm_of(&result, OUTPUT);
    unsigned fds = count_fds();

    comm.output_fn = see_chunk;
    check_ok(start(loop, "echo words; exit 3", &comm, NULL));
    loop_until(loop, &result.calls, 1);
    loop_settle(loop);
    check_int(result.end.status, 3);
    assert_string_equal(result.text[0], "words\n");
    forget(&result);
    comm = comm_of(&result, OUTPUT);
    comm.cb = NULL;
    check_ok(start(loop, "echo words", &comm, NULL));
    while (count_fds() > fds || stats_of(loop->ctx).watches > 0) {
        loop_turn(loop, 100);
    }
    loop_settle(loop);
    check_int(count_fds(), fds);
}

static void bad_input(void **state)
{
    static const struct {
        uint32_t mask;
        bool input;
        bool input_fn;
        bool output_fn;
        bool error_fn;
        uint32_t reserved;
        int64_t drain_ns;
    } cases[] = {
        { .mask = 0x80 },
        { .mask = 0x80000000 },
        { .mask = 0, .input = true },
        { .mask = 0, .input_fn = true },
        { .mask = INPUT, .input = true, .input_fn = true },
        { .mask = ERROR, .output_fn = true },
        { .mask = OUTPUT, .error_fn = true },
        { .mask = ERROR | SSS_COMMUNICATE_OUTPUT_LIMIT },
        { .mask = OUTPUT | SSS_COMMUNICATE_ERROR_LIMIT },
        { .mask = SSS_COMMUNICATE_ERROR_TO_OUTPUT },
        { .mask = OUTPUT | ERROR | SSS_COMMUNICATE_ERROR_TO_OUTPUT },
        { .mask = OUTPUT, .reserved = 1 },
        { .mask = SSS_COMMUNICATE_DRAIN, .drain_ns = -1 },
    };
    const char *const argv[] = { "true", NULL };
    struct sss_spawn_fd fds[] = { { 0, 1 } };
    struct loop *loop = *state;
    struct sss_spawn spawn = spawn_zero();
    struct result result;
    struct sss_communicate comm;
    struct sss_child_ctx *child = NULL;
    unsigned open = count_fds();
    uint32_t step = 0;
    size_t i;

    spawn.path = "/bin/true";
    spawn.argv = argv;
    spawn.failed_step = &step;
    for (i = 0; i < ARRAY_SIZE(cases); i++) {
        comm = comm_of(&result, cases[i].mask);
        comm.input = cases[i].input ? "x" : NULL;
        comm.input_fn = cases[i].input_fn ? feed : NULL;
        comm.output_fn = cases[i].output_fn ? see_chunk : NULL;
        comm.error_fn = cases[i].error_fn ? see_chunk : NULL;
        comm.reserved = cases[i].reserved;
        comm.drain_ns = cases[i].drain_ns;
        check_int(sss_child_communicate(NULL, loop->ctx, &spawn, &comm, &child), EINVAL);
    }
    comm = comm_of(&result, INPUT);
    comm.input_length = 1;
    check_int(sss_child_communicate(NULL, loop->ctx, &spawn, &comm, &child), EINVAL);
    comm = comm_of(&result, ALL);
    check_int(sss_child_communicate(NULL, NULL, &spawn, &comm, &child), EINVAL);
    check_int(sss_child_communicate(NULL, loop->ctx, NULL, &comm, &child), EINVAL);
    check_int(sss_child_communicate(NULL, loop->ctx, &spawn, NULL, &child), EINVAL);
    comm.size = 8;
    check_int(sss_child_communicate(NULL, loop->ctx, &spawn, &comm, &child), EINVAL);
    comm = comm_of(&result, OUTPUT);
    spawn.mask |= SSS_SPAWN_FDS;
    spawn.fds = fds;
    spawn.fds_count = 1;
    check_int(sss_child_communicate(NULL, loop->ctx, &spawn, &comm, &child), EINVAL);
    check_int(step, SSS_SPAWN_STEP_FDS);
    comm = comm_of(&result, ALL); /* the pipes would get this number */
    fds[0] = (struct sss_spawn_fd){ .source = dup(0), .target = 3 };
    check_ok(close(fds[0].source));
    check_int(sss_child_communicate(NULL, loop->ctx, &spawn, &comm, &child), EBADF);
    check_int(step, SSS_SPAWN_STEP_FDS);
    spawn.fds_count = 0;
    comm = comm_of(&result, ERROR);
    spawn.path = "/nowhere";
    check_int(sss_child_communicate(NULL, loop->ctx, &spawn, &comm, &child), ENOENT);
    check_int(step, SSS_SPAWN_STEP_EXEC);
    check(child == NULL);
    loop_settle(loop);
    check_int(result.calls, 0);
    check_int(stats_of(loop->ctx).watches, 0);
    check_int(count_fds(), open);
}

static void without_a_descriptor_there_is_none(void **state)
{
    struct loop *loop = *state;
    struct result result;
    struct sss_communicate comm = comm_of(&result, ALL);
    struct sss_child_ctx *child;

    check_int(start(loop, "true", &comm, &child), ENOTSUP);
}

#define POLLED(test) \
    ONE_WAY(test, "_all_descriptor", 1), ONE_WAY(test, "_all_both", 2), \
    ONE_WAY(test, "_registered_descriptor", 4), ONE_WAY(test, "_registered_both", 5)

int main(void)
{
    const struct CMUnitTest tests[] = {
        POLLED(all_three),
        POLLED(nothing_at_all),
        POLLED(much_both_ways),
        POLLED(piece_by_piece),
        POLLED(what_is_beyond_the_limit_is_dropped),
        ONE_WAY(the_limit_that_nobody_set, "_registered_descriptor", 4),
        POLLED(more_than_there_is_room_for),
        POLLED(sigpipe_stays_away),
        POLLED(a_blocked_sigpipe_is_the_daemons),
        POLLED(the_end_of_the_output_is_not_the_childs),
        POLLED(the_childs_end_is_not_that_of_the_output),
        POLLED(a_grandchild_that_holds_the_pipe_is_not_waited_for),
        POLLED(a_late_loop_loses_nothing),
        POLLED(freed_early),
        POLLED(freed_in_the_middle),
        POLLED(released),
        POLLED(the_handle_is_a_childs),
        POLLED(without_a_handle),
        POLLED(bad_input),
        ONE_WAY(without_a_descriptor_there_is_none, "_all_signal", 0),
        ONE_WAY(without_a_descriptor_there_is_none, "_registered_signal", 3),
    };

    return cmocka_run_group_tests(tests, spawn_as_vfork, NULL);
}
