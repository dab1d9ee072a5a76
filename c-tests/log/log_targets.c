/* Syslog's and the journal's sockets. Each test has /dev/log and /run for itself. */
#include "support/test.h"

#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <syslog.h>

#include "log/bed.h"

static int listen_at(const char *path, int type)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);

    check(fd != -1);
    strcpy(address.sun_path, path);
    unlink(path);
    check_ok(bind(fd, (struct sockaddr *)&address, sizeof(address)));
    check_ok(type == SOCK_STREAM ? listen(fd, 5) : 0);
    return fd;
}

/* A /run that is empty, and a /dev/log that leads there. */
static int own_run_setup(void **state)
{
    bed_setup(state);
    if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("sss", "/run", "tmpfs", 0, NULL) != 0 || mount("sss", "/dev", "tmpfs", 0, NULL) != 0) {
        return 0; /* own_run_needed() tells */
    }
    check_ok(mknod("/dev/null", S_IFCHR | 0666, 1 << 8 | 3));
    check_ok(mknod("/dev/urandom", S_IFCHR | 0666, 1 << 8 | 9));
    check_ok(mkdir("/run/own", 0755) | mkdir("/run/systemd", 0755));
    check_ok(mkdir("/run/systemd/journal", 0755));
    return 0;
}

static int own_run_teardown(void **state)
{
    if (access("/run/own", F_OK) == 0) {
        check_ok(umount2("/dev", MNT_DETACH) | umount2("/run", MNT_DETACH));
    }
    return bed_teardown(state);
}

static void own_run_needed(void)
{
    if (access("/run/own", F_OK) != 0) {
        test_lacks("no mount namespace");
    }
}

static struct sss_log_params to_syslog(const struct bed *bed)
{
    struct sss_log_params params = log_params(bed);

    params.target = SSS_LOG_TO_SYSLOG;
    params.mask |= SSS_LOG_PRIORITY;
    params.priority = LOG_LOCAL3 | LOG_NOTICE;
    params.identifier = "web";
    return params;
}

static void check_datagram(int fd, const char *wanted)
{
    struct pollfd in = { .fd = fd, .events = POLLIN };
    char got[4096] = { 0 };

    check_int(poll(&in, 1, 6 * DEADLINE_MS), 1);
    check(recv(fd, got, sizeof(got) - 1, 0) > 0);
    check_text(got, wanted, __FILE__, __LINE__);
}

static void syslog_gets_a_datagram_for_each_line(void **state)
{
    struct bed *bed = *state;
    struct sss_log_params params;
    struct sss_log *log;
    int server, fd;

    own_run_needed();
    server = listen_at("/dev/log", SOCK_DGRAM);
    params = to_syslog(bed);
    log = log_of(bed, &params);
    fd = log_pipe(log, NULL, NULL);
    put(fd, "one\ntwo\nlast");
    check_ok(close(fd));
    check_datagram(server, "<157>web: one");
    check_datagram(server, "<157>web: two");
    check_datagram(server, "<157>web: last [no newline]");
    check_ok(close(server) | sss_log_free(log));
}

static void syslog_is_restarted(void **state)
{
    struct bed *bed = *state;
    struct sss_log_params params;
    struct sss_log *log;
    int server, fd;

    own_run_needed();
    params = to_syslog(bed);
    check_int(sss_log_open(NULL, bed->loop.ctx, &params, &log), ENOENT);
    server = listen_at("/dev/log", SOCK_DGRAM);
    log = log_of(bed, &params);
    fd = log_pipe(log, NULL, NULL);
    put(fd, "one\n");
    check_datagram(server, "<157>web: one");
    check_ok(close(server));
    put(fd, "two\n");
    await(stats_of_log(log).last_error == ECONNREFUSED);
    server = listen_at("/dev/log", SOCK_DGRAM);
    put(fd, "three\n");
    check_datagram(server, "<157>web: two");
    check_datagram(server, "<157>web: three");
    check_ok(close(fd) | close(server) | sss_log_free(log));
}

/* Nobody reads the socket: no other log is held up, and nothing is lost. */
static void syslog_is_slow(void **state)
{
    struct bed *bed = *state;
    struct sss_log_params params;
    struct sss_log *log;
    struct piped beside;
    char line[64], wanted[128];
    int server, fd, i;

    own_run_needed();
    server = listen_at("/dev/log", SOCK_DGRAM);
    params = to_syslog(bed);
    log = log_of(bed, &params);
    beside = piped_log(bed);
    fd = log_pipe(log, NULL, NULL);
    for (i = 0; i < 5000; i++) {
        put_bytes(fd, line, (size_t)snprintf(line, sizeof(line), "line %d\n", i));
    }
    await(stats_of_log(log).last_error == EAGAIN);
    check_not_held_up(bed, &beside);
    for (i = 0; i < 5000; i++) {
        snprintf(wanted, sizeof(wanted), "<157>web: line %d", i);
        check_datagram(server, wanted);
    }
    end_piped(&beside);
    check_ok(close(fd) | close(server) | sss_log_free(log));
}

static bool takes_more(int fd)
{
    struct pollfd out = { .fd = fd, .events = POLLOUT };

    return poll(&out, 1, 0) == 1;
}

/* The same after the log was freed: its writes fail before and after that. */
static void syslog_is_slow_and_the_log_is_freed(void **state)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX, .sun_path = "/dev/log" };
    struct bed *bed = *state;
    struct sss_log_params params;
    struct sss_log *log;
    char line[64], wanted[128];
    int server, other, fd, i;

    own_run_needed();
    server = listen_at("/dev/log", SOCK_DGRAM);
    other = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    check(other != -1);
    check_ok(connect(other, (struct sockaddr *)&address, sizeof(address)));
    params = to_syslog(bed);
    log = log_of(bed, &params);
    fd = log_pipe(log, NULL, NULL);
    for (i = 0; i < 200; i++) {
        put_bytes(fd, line, (size_t)snprintf(line, sizeof(line), "line %d\n", i));
    }
    check_ok(close(fd));
    await(stats_of_log(log).last_error == EAGAIN && stats_of_log(log).sources == 0);
    check_ok(sss_log_free(log));
    for (i = 0; i < 200; i++) {
        if (i == 1) {
            /* The writer has gone on, until no more can be sent. */
            await(!takes_more(other));
        }
        snprintf(wanted, sizeof(wanted), "<157>web: line %d", i);
        check_datagram(server, wanted);
    }
    check_ok(close(other) | close(server));
}

static struct sss_log_params to_journal(const struct bed *bed)
{
    struct sss_log_params params = to_syslog(bed);

    params.target = SSS_LOG_TO_JOURNAL;
    return params;
}

static void the_journal_gets_a_stream(void **state)
{
    struct bed *bed = *state;
    struct sss_log_params params;
    char got[256] = { 0 };
    size_t length = 0;
    struct sss_log *log;
    int server, stream, fd;

    own_run_needed();
    server = listen_at("/run/systemd/journal/stdout", SOCK_STREAM);
    params = to_journal(bed);
    log = log_of(bed, &params);
    fd = log_pipe(log, NULL, NULL);
    put(fd, "one\ntwo\n");
    check_ok(close(fd));
    stream = accept(server, NULL, NULL);
    while (length < strlen("web\n\n5\n0\n0\n0\n0\none\ntwo\n")) {
        ssize_t more = read(stream, got + length, sizeof(got) - 1 - length);

        check(more > 0);
        length += (size_t)more;
    }
    check_text(got, "web\n\n5\n0\n0\n0\n0\none\ntwo\n", __FILE__, __LINE__);
    check_ok(close(server) | close(stream) | sss_log_free(log));
}

static int accept_journal(int server)
{
    static const char head[] = "web\n\n5\n0\n0\n0\n0\n";
    int stream = accept(server, NULL, NULL);
    char got[sizeof(head)] = { 0 };

    check(stream != -1);
    check_int(recv(stream, got, sizeof(head) - 1, MSG_WAITALL), sizeof(head) - 1);
    check_text(got, head, __FILE__, __LINE__);
    return stream;
}

/* Nobody reads the stream: no other log is held up. It is connected anew meanwhile, and no
 * line is cut, lost or doubled. */
static void the_journal_hangs_and_is_reopened(void **state)
{
    enum { LINE = 97, LINES = 6000, ALL = LINE * LINES };
    struct bed *bed = *state;
    static char sent[ALL], got[ALL + 1];
    struct sss_log_params params;
    struct sss_log *log;
    struct piped beside;
    int server, stream, fd, i, streams = 0;
    size_t length = 0;
    ssize_t more;

    own_run_needed();
    server = listen_at("/run/systemd/journal/stdout", SOCK_STREAM);
    params = to_journal(bed);
    log = log_of(bed, &params);
    beside = piped_log(bed);
    fd = log_pipe(log, NULL, NULL);
    for (i = 0; i < LINES; i++) {
        memset(sent + LINE * i, 'x', LINE);
        snprintf(sent + LINE * i, LINE, "%d", i);
        sent[LINE * (i + 1) - 1] = '\n';
    }
    put_bytes(fd, sent, ALL);
    check_ok(close(fd));
    await(stats_of_log(log).last_error == EAGAIN && stats_of_log(log).sources == 0);
    check_not_held_up(bed, &beside);
    check_ok(sss_log_reopen(log));
    while (length < ALL) {
        stream = accept_journal(server);
        streams++;
        while ((more = read(stream, got + length, ALL - length)) > 0) {
            length += (size_t)more;
        }
        check_int(more, 0);
        check(length % LINE == 0);
        check_ok(close(stream));
    }
    check_int(streams, 2);
    check_ok(memcmp(sent, got, ALL));
    flush_log(log);
    end_piped(&beside);
    check_ok(close(server) | sss_log_free(log));
}

static void the_journal_is_restarted(void **state)
{
    struct bed *bed = *state;
    struct sss_log_params params;
    char got[32] = { 0 };
    struct sss_log *log;
    int server, stream, fd;

    own_run_needed();
    params = to_journal(bed);
    check_int(sss_log_open(NULL, bed->loop.ctx, &params, &log), ENOENT);
    server = listen_at("/run/systemd/journal/stdout", SOCK_STREAM);
    log = log_of(bed, &params);
    fd = log_pipe(log, NULL, NULL);
    put(fd, "one\n");
    stream = accept_journal(server);
    check_int(recv(stream, got, 4, MSG_WAITALL), 4);
    check_ok(close(stream) | close(server));
    put(fd, "two\n");
    await(stats_of_log(log).last_error == ECONNREFUSED);
    server = listen_at("/run/systemd/journal/stdout", SOCK_STREAM);
    put(fd, "three\n");
    stream = accept_journal(server);
    check_int(recv(stream, got, 10, MSG_WAITALL), 10);
    check_text(got, "two\nthree\n", __FILE__, __LINE__);
    check_int(stats_of_log(log).dropped_lines, 0);
    check_ok(close(fd) | close(stream) | close(server) | sss_log_free(log));
}

static bool journal_has(const char *wanted)
{
    char text[4096] = { 0 };
    FILE *pipe = popen("journalctl -q -o cat -D /run/log/journal SYSLOG_IDENTIFIER=web 2>/dev/null",
                       "r");

    check(pipe != NULL);
    check(fread(text, 1, sizeof(text) - 1, pipe) < sizeof(text) - 1);
    pclose(pipe);
    return strcmp(text, wanted) == 0;
}

static void a_real_journal(void **state)
{
    static const char daemon[] = "/lib/systemd/systemd-journald";
    struct bed *bed = *state;
    struct sss_log_params params;
    struct sss_log *log = NULL;
    errno_t ret;
    pid_t journald;
    int fd;

    own_run_needed();
    if (access(daemon, X_OK) != 0) {
        test_lacks("no journald");
    }
    journald = fork();
    check(journald != -1);
    if (journald == 0) {
        execl(daemon, daemon, NULL);
        _exit(127);
    }
    params = to_journal(bed);
    await(access("/run/systemd/journal/stdout", F_OK) == 0);
    /* Between its bind(2) and its listen(2) a connection is refused. */
    await((ret = sss_log_open(NULL, bed->loop.ctx, &params, &log)) != ECONNREFUSED);
    check_ok(ret);
    fd = log_pipe(log, NULL, NULL);
    put(fd, "one\ntwo\nlast");
    check_ok(close(fd));
    flush_log(log);
    await(journal_has("one\ntwo\nlast [no newline]\n"));
    check_ok(sss_log_free(log));
    check_ok(kill(journald, SIGKILL));
    reap(journald, BY_SIGNAL(SIGKILL));
}

#define ON_OWN_RUN(test) cmocka_unit_test_setup_teardown(test, own_run_setup, own_run_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_OWN_RUN(syslog_gets_a_datagram_for_each_line),
        ON_OWN_RUN(syslog_is_restarted),
        ON_OWN_RUN(syslog_is_slow),
        ON_OWN_RUN(syslog_is_slow_and_the_log_is_freed),
        ON_OWN_RUN(the_journal_gets_a_stream),
        ON_OWN_RUN(the_journal_hangs_and_is_reopened),
        ON_OWN_RUN(the_journal_is_restarted),
        ON_OWN_RUN(a_real_journal),
    };

    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
