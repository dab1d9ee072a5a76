#define _GNU_SOURCE
#include "support/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/check.h"

uint32_t spawn_manner;

int spawn_as_vfork(void **state)
{
    (void)state;
    printf("as by vfork\n");
    spawn_manner = 0;
    return 0;
}

int spawn_as_fork(void **state)
{
    (void)state;
    printf("as by fork\n");
    spawn_manner = SSS_SPAWN_FORK;
    return 0;
}

char *helper_path(const char *name)
{
    const char *programs = getenv("SSS_TEST_BIN");
    char *path;

    check(programs != NULL);
    check(asprintf(&path, "%s/helpers/%s", programs, name) != -1);
    return path;
}

const char *helper_installed(const char *name)
{
    static char path[4096];
    const char *installed = getenv("SSS_TEST_INSTALLED");

    check(installed != NULL);
    snprintf(path, sizeof(path), "%s/libexec/sss_sigchld/%s", installed, name);
    return path;
}

int free_port(void)
{
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_addr = { htonl(INADDR_LOOPBACK) } };
    socklen_t length = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    check_ok(bind(fd, (struct sockaddr *)&address, sizeof(address)));
    check_ok(getsockname(fd, (struct sockaddr *)&address, &length));
    close(fd);
    return ntohs(address.sin_port);
}

struct sss_spawn spawn_zero(void)
{
    struct sss_spawn spawn;

    memset(&spawn, 0, sizeof(spawn));
    spawn.size = sizeof(spawn);
    spawn.mask = spawn_manner;
    return spawn;
}

pid_t pid_of(struct sss_child_ctx *child)
{
    pid_t pid = -1;

    check_ok(sss_child_pid(child, &pid));
    check(pid > 0);
    return pid;
}

struct sss_child_ctx *spawn_so_at(struct sss_sigchild_ctx *ctx, struct sss_spawn *spawn,
                                  struct gate *gate, int end, sss_child_fn_t cb, void *pvt)
{
    const struct sss_spawn_fd map[] = {
        { gate != NULL ? gate->rd : STDIN_FILENO, STDIN_FILENO },
        { STDERR_FILENO, STDERR_FILENO },
    };
    struct sss_child_ctx *child = NULL;
    char text[16];
    const char *argv[] = { "ends", text, NULL };
    char *path = helper_path("ends");

    snprintf(text, sizeof(text), "%d", end);
    spawn->mask |= SSS_SPAWN_FDS;
    spawn->fds = map;
    spawn->fds_count = 2;
    spawn->path = path;
    spawn->argv = argv;
    check_ok(sss_child_spawn(NULL, ctx, spawn, cb, pvt, &child));
    check(child != NULL);
    free(path);
    return child;
}

struct sss_child_ctx *spawn_at(struct sss_sigchild_ctx *ctx, struct gate *gate, int end,
                               sss_child_fn_t cb, void *pvt)
{
    struct sss_spawn spawn = spawn_zero();

    return spawn_so_at(ctx, &spawn, gate, end, cb, pvt);
}

void await_dead(pid_t pid)
{
    if (is_child(pid)) {
        await_zombie(pid);
    }
}

/* A directory for every user, as the tree of the build need not be. */
static struct {
    pid_t owner;
    char directory[32];
    char program[64];
    char output[64];
    const char *argv[3];
} place;

static void leave_place(void)
{
    if (getpid() != place.owner) {
        return;
    }
    unlink(place.program);
    unlink(place.output);
    rmdir(place.directory);
}

static void copy_program(const char *from, const char *to)
{
    int in = open(from, O_RDONLY | O_CLOEXEC);
    int out = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0700);
    struct stat st;

    check(in != -1);
    check(out != -1);
    check_ok(fstat(in, &st));
    check_int(sendfile(out, in, NULL, (size_t)st.st_size), st.st_size);
    check_ok(fchmod(out, 0755));
    check_ok(close(in));
    check_ok(close(out));
}

static void enter_place(void)
{
    char *helper;

    if (place.owner != 0) {
        return;
    }
    strcpy(place.directory, "/tmp/sss_sigchld-XXXXXX");
    check(mkdtemp(place.directory) != NULL);
    place.owner = getpid();
    check_ok(atexit(leave_place));
    check_ok(chmod(place.directory, 0755));
    snprintf(place.program, sizeof(place.program), "%s/report", place.directory);
    snprintf(place.output, sizeof(place.output), "%s/output", place.directory);
    place.argv[0] = "report";
    place.argv[1] = place.output;
    helper = helper_path("report");
    copy_program(helper, place.program);
    free(helper);
}

const char *report_program(void)
{
    enter_place();
    return place.program;
}

const char *const *report_argv(void)
{
    enter_place();
    return place.argv;
}

void report_clear(void)
{
    int fd;

    enter_place();
    fd = open(place.output, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    check(fd != -1);
    /* Once open to all it stays so. */
    check(fchmod(fd, 0666) == 0 || errno == EPERM);
    check_ok(close(fd));
}

void report_read(pid_t pid, struct report *report)
{
    int fd = open(place.output, O_RDONLY | O_CLOEXEC);
    ssize_t got;

    check(fd != -1);
    got = read(fd, report->text, sizeof(report->text) - 1);
    check_ok(close(fd));
    check(got > 0 && (size_t)got < sizeof(report->text) - 1);
    report->text[got] = '\0';
    report->length = (size_t)got;
    report->pid = pid;
    check_reported(report, "complete", "%s", "yes");
}

void report_spawned(struct loop *loop, struct sss_spawn *spawn, struct report *report)
{
    struct seen seen = { 0 };
    struct sss_child_ctx *child;
    uint32_t step = 0;
    errno_t ret;

    report_clear();
    if (spawn->path == NULL) {
        spawn->path = place.program;
    }
    if (spawn->argv == NULL) {
        spawn->argv = place.argv;
    }
    spawn->failed_step = &step;
    ret = sss_child_spawn(NULL, loop->ctx, spawn, see, &seen, &child);
    if (ret != 0) {
        fprintf(stderr, "step %u: %s\n", step, strerror(ret));
    }
    check_ok(ret);
    loop_until(loop, &seen.calls, 1);
    loop_settle(loop);
    check_seen(&seen, seen.pid, 0);
    check_ok(sss_child_free(child));
    report_read(seen.pid, report);
}

void report_execed(struct report *report)
{
    pid_t pid;

    report_clear();
    pid = fork();
    check(pid != -1);
    if (pid == 0) {
        closefrom(STDERR_FILENO + 1);
        execv(place.program, (char *const *)(uintptr_t)place.argv);
        _exit(EXIT_FAILURE);
    }
    reap(pid, 0);
    report_read(pid, report);
}

const char *reported(const struct report *report, const char *key)
{
    static char joined[sizeof(report->text)];
    const char *end = report->text + report->length;
    size_t length = strlen(key);
    const char *at;
    char *to = joined;

    *to = '\0';
    for (at = report->text; at < end; at += strlen(at) + 1) {
        if (strncmp(at, key, length) == 0 && at[length] == ' ') {
            to = stpcpy(to, to == joined ? "" : "|");
            to = stpcpy(to, at + length + 1);
        }
    }
    return joined;
}

void check_reported_at(const struct report *report, const char *key, const char *file, int line,
                       const char *format, ...)
{
    const char *got = reported(report, key);
    char wanted[4096];
    va_list args;
    int length;

    va_start(args, format);
    length = vsnprintf(wanted, sizeof(wanted), format, args);
    va_end(args);
    check(length >= 0 && (size_t)length < sizeof(wanted));
    if (strcmp(got, wanted) != 0) {
        fprintf(stderr, "%s: \"%s\", wanted \"%s\"\n", key, got, wanted);
    }
    check_at(strcmp(got, wanted) == 0, key, file, line);
}
