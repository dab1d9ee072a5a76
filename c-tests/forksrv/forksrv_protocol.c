/*
 * Messages that no library of ours sends: truncated, oversized, repeated, of another version,
 * of another process, with too few or too many descriptors, and orders that stall. The
 * server answers each with an error, keeps nothing of it, and goes on serving.
 */
#include "support/test.h"

#include <dirent.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <time.h>

#include "support/server.h"

/* As in src/forksrv/protocol.rs. The version is found out. */
#define MAGIC 0x53464b53u
#define REQUEST_WORDS 16
#define REPLY_WORDS 8
#define MOST_FDS 8
enum { HELLO = 1, LAUNCH = 2, WAIT = 3 };
enum { FAILED = 3, STATUS = 5 };
/* The word of the errno in Failed and in Status. */
enum { FAILED_ERRNO = 3, STATUS_ERRNO = 5 };

static uint32_t version = 1;

/* The only socket of its kind that the library keeps: our end of the server's. */
static int control_socket(void)
{
    DIR *dir = opendir("/proc/self/fd");
    struct dirent *entry;
    int found = -1;

    check(dir != NULL);
    while ((entry = readdir(dir)) != NULL) {
        int fd = atoi(entry->d_name), type = 0;
        socklen_t length = sizeof(type);

        if (fd > 2 && getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) == 0
            && type == SOCK_SEQPACKET) {
            check_int(found, -1);
            found = fd;
        }
    }
    check_ok(closedir(dir));
    check(found != -1);
    return found;
}

static unsigned descriptors_of(pid_t pid)
{
    unsigned count = 0;
    char path[64];
    DIR *dir;

    snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
    dir = opendir(path);
    check(dir != NULL);
    while (readdir(dir) != NULL) {
        count++;
    }
    check_ok(closedir(dir));
    return count;
}

/* False where the other end has closed its own. */
static bool send_message(int to, const void *bytes, size_t length, const int *fds, size_t count)
{
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(MOST_FDS * sizeof(int))];
    } control = { .room = { 0 } };
    struct iovec data = { .iov_base = (void *)(uintptr_t)bytes, .iov_len = length };
    struct msghdr message = { .msg_iov = &data, .msg_iovlen = 1 };
    ssize_t sent;

    if (count > 0) {
        message.msg_control = control.room;
        message.msg_controllen = CMSG_SPACE(count * sizeof(int));
        control.header.cmsg_level = SOL_SOCKET;
        control.header.cmsg_type = SCM_RIGHTS;
        control.header.cmsg_len = CMSG_LEN(count * sizeof(int));
        memcpy(CMSG_DATA(&control.header), fds, count * sizeof(int));
    }
    sent = sendmsg(to, &message, MSG_NOSIGNAL);
    check(sent == (ssize_t)length || (sent == -1 && (errno == EPIPE || errno == ECONNRESET)));
    return sent != -1;
}

/* Sends a request that carries a socket, of which the other end is returned. */
static int ask(int control, const void *bytes, size_t length)
{
    int ends[2];

    check_ok(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends));
    check(send_message(control, bytes, length, &ends[1], 1));
    check_ok(close(ends[1]));
    return ends[0];
}

/* Takes the next message; its kind, 0 for the end. */
static uint32_t next(int reply, uint32_t words[REPLY_WORDS])
{
    struct pollfd fd = { .fd = reply, .events = POLLIN };
    ssize_t got;

    check_int(poll(&fd, 1, DEADLINE_MS), 1);
    got = recv(reply, words, REPLY_WORDS * sizeof(words[0]), 0);
    if (got == 0 || (got == -1 && errno == ECONNRESET)) {
        return 0;
    }
    check_int(got, REPLY_WORDS * sizeof(words[0]));
    check_int(words[0], MAGIC);
    return words[1] & 0xffff;
}

/* The error that is answered. */
static int refusal(int reply)
{
    uint32_t words[REPLY_WORDS];

    check_int(next(reply, words), FAILED);
    check_ok(close(reply));
    return (int)words[FAILED_ERRNO];
}

static void request(uint32_t words[REQUEST_WORDS], uint32_t kind)
{
    memset(words, 0, REQUEST_WORDS * sizeof(words[0]));
    words[0] = MAGIC;
    words[1] = version << 16 | kind;
}

static void launch_request(uint32_t words[REQUEST_WORDS], int64_t until, uint32_t length,
                           uint32_t descriptors)
{
    request(words, LAUNCH);
    words[2] = (uint32_t)until;
    words[3] = (uint32_t)((uint64_t)until >> 32);
    words[4] = length;
    words[5] = descriptors;
}

static int64_t in_ms(int64_t milliseconds)
{
    struct timespec now;

    check_ok(clock_gettime(CLOCK_MONOTONIC, &now));
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec + milliseconds * 1000000;
}

static int answer_to(int control, const uint32_t words[REQUEST_WORDS])
{
    return refusal(ask(control, words, REQUEST_WORDS * sizeof(words[0])));
}

static void find_version(int control)
{
    uint32_t words[REQUEST_WORDS];

    for (version = 1; version < 1000; version++) {
        request(words, 99);
        if (answer_to(control, words) != EPROTONOSUPPORT) {
            return;
        }
    }
    check(version < 1000);
}

static void launch_works(struct server_bed *bed)
{
    struct seen seen = { 0 };
    struct sss_child_ctx *child = launch_at(bed->srv, NULL, 6, see, &seen);
    pid_t pid = pid_of(child);

    loop_until(&bed->loop, &seen.calls, 1);
    check_seen(&seen, pid, 6);
    check_ok(sss_child_free(child));
    check_int(bed->events.crashed, 0);
}

struct start {
    int control;
    unsigned descriptors; /* of the server, at the most */
};

static struct start begin(struct server_bed *bed)
{
    struct start start;

    server_start(bed, 0);
    start.control = control_socket();
    find_version(start.control);
    launch_works(bed);
    start.descriptors = descriptors_of(server_pid(bed->srv));
    return start;
}

static void end(struct server_bed *bed, const struct start *start)
{
    int64_t late = now_ms() + DEADLINE_MS;

    launch_works(bed);
    while (descriptors_of(server_pid(bed->srv)) > start->descriptors) {
        check(now_ms() < late);
        loop_turn(&bed->loop, 1);
    }
    server_finish(bed);
}

static void bad_requests(void **state)
{
    struct server_bed *bed = *state;
    struct start start = begin(bed);
    uint32_t words[4 * REQUEST_WORDS], reply[REPLY_WORDS];
    size_t length;
    int i, got;

    request(words, HELLO);
    check_int(answer_to(start.control, words), EPROTO); /* a second one */
    for (i = 0; i < 100; i++) {
        request(words, 5 + (uint32_t)i);
        check_int(answer_to(start.control, words), EPROTO);
    }
    request(words, LAUNCH);
    words[1] ^= 1U << 16;
    check_int(answer_to(start.control, words), EPROTONOSUPPORT);
    request(words, LAUNCH);
    words[0]++;
    check_int(answer_to(start.control, words), EPROTO);
    request(words, WAIT);
    words[REQUEST_WORDS - 1] = 1; /* what is not used is 0 */
    check_int(answer_to(start.control, words), EPROTO);
    launch_request(words, in_ms(60000), 9 << 20, 0);
    check_int(answer_to(start.control, words), EPROTO);
    launch_request(words, in_ms(60000), 100, 20000);
    check_int(answer_to(start.control, words), EPROTO);
    memset(words, 0, sizeof(words));
    for (length = 0; length <= sizeof(words); length += 3) {
        request(words, LAUNCH);
        if (length != REQUEST_WORDS * sizeof(words[0])) {
            check_int(refusal(ask(start.control, words, length)),
                      length < REQUEST_WORDS * sizeof(words[0]) ? EPROTO : EMSGSIZE);
        }
    }
    request(words, WAIT);
    words[2] = 12345; /* no child of its */
    got = ask(start.control, words, REQUEST_WORDS * sizeof(words[0]));
    check_int(next(got, reply), STATUS);
    check_int(reply[STATUS_ERRNO], ECHILD);
    check_ok(close(got));
    /* Without a socket to answer by, and with more than one. */
    request(words, LAUNCH);
    check(send_message(start.control, words, 64, NULL, 0));
    check(send_message(start.control, words, 7, NULL, 0));
    check(send_message(start.control, words, 64, (int[]){ 0, 2, 0, 2 }, 4));
    end(bed, &start);
}

static void bad_orders(void **state)
{
    struct server_bed *bed = *state;
    struct start start = begin(bed);
    uint32_t words[REQUEST_WORDS], reply[REPLY_WORDS];
    char order[1024];
    int fds[MOST_FDS] = { 0 };
    int i, got;

    memset(order, 0xa5, sizeof(order));
    for (i = 0; i < 3; i++) {
        /* Bytes that are no order. */
        launch_request(words, in_ms(60000), 100, 0);
        got = ask(start.control, words, sizeof(words));
        check(send_message(got, order, 100, NULL, 0));
        check_int(refusal(got), EPROTO);
        /* More than was said, and again. */
        got = ask(start.control, words, sizeof(words));
        check(send_message(got, order, 60, NULL, 0));
        (void)send_message(got, order, 60, NULL, 0);
        check_int(refusal(got), EPROTO);
        /* More descriptors than were said. */
        launch_request(words, in_ms(60000), 100, 2);
        got = ask(start.control, words, sizeof(words));
        check(send_message(got, order, 50, fds, 3));
        check_int(refusal(got), EPROTO);
        /* Fewer, and then nothing. */
        got = ask(start.control, words, sizeof(words));
        check(send_message(got, order, 100, fds, 1));
        check_ok(shutdown(got, SHUT_WR));
        check_int(refusal(got), EPIPE);
        /* Nothing at all. */
        got = ask(start.control, words, sizeof(words));
        check_ok(close(got));
        /* The deadline has passed already: there is no answer, and nothing is kept. */
        launch_request(words, 1, 100, 0);
        got = ask(start.control, words, sizeof(words));
        check_int(next(got, reply), 0);
        check_ok(close(got));
    }
    end(bed, &start);
}

/* More of them than the server reads at one time: a launch waits until they are late, and
 * then works. */
static void orders_that_stall(void **state)
{
    enum { STALLED = 40 };
    struct server_bed *bed = *state;
    struct start start = begin(bed);
    uint32_t words[REQUEST_WORDS], reply[REPLY_WORDS];
    int stalled[STALLED], i;

    /* A few stalled orders delay nothing. */
    launch_request(words, in_ms(100 * DEADLINE_MS), 100, 1);
    for (i = 0; i < 10; i++) {
        stalled[i] = ask(start.control, words, sizeof(words));
        check(send_message(stalled[i], "part", 4, NULL, 0));
    }
    launch_works(bed);
    for (i = 0; i < 10; i++) {
        check_ok(close(stalled[i]));
    }
    launch_request(words, in_ms(100), 100, 1);
    for (i = 0; i < STALLED; i++) {
        stalled[i] = ask(start.control, words, sizeof(words));
        (void)send_message(stalled[i], "part", 4, NULL, 0);
    }
    launch_works(bed);
    for (i = 0; i < STALLED; i++) {
        check_int(next(stalled[i], reply), 0);
        check_ok(close(stalled[i]));
    }
    end(bed, &start);
}

static void asks_as_another(void *arg)
{
    uint32_t words[REQUEST_WORDS];

    check_int(refusal(ask(*(const int *)arg, "", 0)), EPERM);
    request(words, 99);
    check_int(answer_to(*(const int *)arg, words), EPERM);
    launch_request(words, in_ms(60000), 0, 0);
    check_int(answer_to(*(const int *)arg, words), EPERM);
}

static void another_process(void **state)
{
    struct server_bed *bed = *state;
    struct start start = begin(bed);

    in_child(asks_as_another, &start.control);
    end(bed, &start);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(bad_requests, server_bed_begin, server_bed_end),
        cmocka_unit_test_setup_teardown(bad_orders, server_bed_begin, server_bed_end),
        cmocka_unit_test_setup_teardown(orders_that_stall, server_bed_begin, server_bed_end),
        cmocka_unit_test_setup_teardown(another_process, server_bed_begin, server_bed_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
