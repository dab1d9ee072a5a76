/*
 * Each bad input of a spawn, and each failure of the child's: its errno and its
 * step, and nothing left behind: no process, descriptor, watch or callback.
 */
#include "support/test.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "support/spawn.h"

#define JUNK ((void *)0x10)
#define NO_STEP 12345
#define CLOSED_FD 999
#define NOBODY 61234

static const char *const true_argv[] = { "true", NULL };

static struct sss_spawn spawn_true(void)
{
    struct sss_spawn spawn = spawn_zero();

    spawn.path = "/bin/true";
    spawn.argv = true_argv;
    return spawn;
}

/* Also those that have not executed a program, which no other wait finds. */
static bool any_children(void)
{
    return waitpid(-1, NULL, WNOHANG | __WALL) != -1;
}

static void check_unchanged(struct sss_sigchild_ctx *ctx, const struct sss_ctx_stats *before,
                            const char *what, int line)
{
    struct sss_ctx_stats after = stats_of(ctx);

    after.sweeps = before->sweeps;
    after.walks = before->walks;
    check_at(memcmp(before, &after, sizeof(after)) == 0, what, __FILE__, line);
}

static int found(const struct sss_child_info *info, void *pvt)
{
    (void)info;
    *(bool *)pvt = true;
    return 0;
}

static void check_refused_at(struct loop *loop, struct sss_spawn *spawn, int error, uint32_t step,
                             const char *what, int line)
{
    struct sss_ctx_stats before = stats_of(loop->ctx);
    struct sss_child_ctx *child = JUNK;
    struct seen seen = { 0 };
    uint32_t failed = NO_STEP;
    bool watched = false;
    unsigned fds = count_fds();
    int code;

    spawn->failed_step = &failed;
    errno = 77;
    code = sss_child_spawn(NULL, loop->ctx, spawn, see, &seen, &child);
    check_int_at(errno, 77, what, __FILE__, line);
    check_int_at(code, error, what, __FILE__, line);
    check_int_at(failed, step, what, __FILE__, line);
    check_at(child == JUNK, what, __FILE__, line);
    check_at(!any_children(), what, __FILE__, line);
    check_int_at(count_fds(), fds, what, __FILE__, line);
    check_ok(sss_sigchld_ctx_foreach(loop->ctx, found, &watched));
    check_at(!watched, what, __FILE__, line);
    loop_settle(loop);
    check_int_at(seen.calls, 0, what, __FILE__, line);
    check_unchanged(loop->ctx, &before, what, line);
    spawn->failed_step = NULL; /* it may be NULL */
    check_int_at(sss_child_spawn(NULL, loop->ctx, spawn, see, &seen, &child), error, what,
                 __FILE__, line);
    check_at(!any_children(), what, __FILE__, line);
}

#define REFUSED(loop, spawn, error, step) \
    check_refused_at((loop), (spawn), (error), (step), "the spawn above", __LINE__)

/* With /bin/true but for these fields, which may be several assignments. */
#define REFUSED_WITH(loop, error, step, ...) do { \
        struct sss_spawn spawn_ = spawn_true(), *s = &spawn_; \
        __VA_ARGS__; \
        check_refused_at((loop), s, (error), (step), #__VA_ARGS__, __LINE__); \
    } while (0)

#define SPEC SSS_SPAWN_STEP_SPEC

static void pointers(void **state)
{
    struct sss_spawn spawn = spawn_true();
    struct loop *loop = *state;
    struct sss_child_ctx *child = JUNK;
    struct seen seen = { 0 };
    struct loop other = *loop;
    struct sss_spawn copy = spawn;

    check_int(sss_child_spawn(NULL, loop->ctx, NULL, see, &seen, &child), EINVAL);
    check_int(sss_child_spawn(NULL, NULL, &spawn, see, &seen, &child), EINVAL);
    check_int(sss_child_spawn(JUNK, loop->ctx, &spawn, see, &seen, &child), EINVAL);
    check_int(sss_child_spawn(JUNK, loop->ctx, &spawn, see, &seen, NULL), EINVAL);
    check(child == JUNK);
    check(!any_children());
    check_int(stats_of(other.ctx).watches, 0);
    check(memcmp(&spawn, &copy, sizeof(copy)) == 0);
}

static void the_program(void **state)
{
    static const char *const none[] = { NULL };
    struct loop *loop = *state;

    REFUSED_WITH(loop, EINVAL, SPEC, s->path = NULL);
    REFUSED_WITH(loop, EINVAL, SPEC, s->argv = NULL);
    REFUSED_WITH(loop, EINVAL, SPEC, s->argv = none);
}

static void unknown_bits(void **state)
{
    const uint32_t known = SSS_SPAWN_UID | SSS_SPAWN_GID | SSS_SPAWN_GROUPS | SSS_SPAWN_UMASK
        | SSS_SPAWN_RLIMITS | SSS_SPAWN_NICE | SSS_SPAWN_OOM_SCORE_ADJ | SSS_SPAWN_PGRP
        | SSS_SPAWN_TERMINAL | SSS_SPAWN_FOREGROUND | SSS_SPAWN_PDEATHSIG | SSS_SPAWN_CGROUP
        | SSS_SPAWN_CWD_FD | SSS_SPAWN_FDS | SSS_SPAWN_SEARCH_PATH | SSS_SPAWN_SESSION
        | SSS_SPAWN_NO_NEW_PRIVS | SSS_SPAWN_GATE | SSS_SPAWN_FORK | SSS_SPAWN_SIGMASK
        | SSS_SPAWN_SIGIGNORE | SSS_SPAWN_SHELL | SSS_SPAWN_CWD_AS_CHILD
        | SSS_SPAWN_CWD_MAY_FAIL | SSS_SPAWN_PTY | SSS_SPAWN_USER;
    struct loop *loop = *state;
    unsigned bit;

    for (bit = 0; bit < 32; bit++) {
        if (!(known & 1u << bit)) {
            REFUSED_WITH(loop, EINVAL, SPEC, s->mask |= 1u << bit);
        }
    }
    REFUSED_WITH(loop, EINVAL, SPEC, s->mask = UINT32_MAX);
}

static errno_t spawn_sized(struct loop *loop, struct sss_spawn *spawn, size_t size)
{
    struct sss_child_ctx *child = JUNK;
    struct seen seen = { 0 };
    errno_t ret;

    spawn->size = size;
    ret = sss_child_spawn(NULL, loop->ctx, spawn, see, &seen, &child);
    if (ret != 0) {
        check(child == JUNK);
        check(!any_children());
        check_int(stats_of(loop->ctx).watches, 0);
        return ret;
    }
    loop_until(loop, &seen.calls, 1);
    check_seen(&seen, seen.pid, 0);
    check_ok(sss_child_free(child));
    return 0;
}

static void sizes(void **state)
{
    struct {
        struct sss_spawn spawn;
        unsigned char tail[4096];
    } later = { .spawn = spawn_true() };
    struct sss_spawn *spawn = &later.spawn;
    const size_t size = sizeof(*spawn);
    uint32_t step = NO_STEP;
    size_t i;

    spawn->failed_step = &step;
    check_int(spawn_sized(*state, spawn, 0), EINVAL);
    check_int(spawn_sized(*state, spawn, sizeof(size_t)), EINVAL);
    check_int(spawn_sized(*state, spawn, offsetof(struct sss_spawn, path)), EINVAL);
    check_int(spawn_sized(*state, spawn, offsetof(struct sss_spawn, argv)), EINVAL);
    check_int(spawn_sized(*state, spawn, 4097), E2BIG);
    check_int(spawn_sized(*state, spawn, SIZE_MAX), E2BIG);
    check_int(step, NO_STEP);
    check_ok(spawn_sized(*state, spawn, size));
    check_ok(spawn_sized(*state, spawn, size + 1));
    check_ok(spawn_sized(*state, spawn, 4096));
    for (i = 1; i <= 64; i++) {
        later.tail[i - 1] = 1;
        check_int(spawn_sized(*state, spawn, size + i), E2BIG);
        check_ok(spawn_sized(*state, spawn, size));
        later.tail[i - 1] = 0;
    }
    check_int(step, NO_STEP);
}

static void lists(void **state)
{
    static const struct sss_spawn_rlimit reserved[] = { { RLIMIT_CORE, 1, 0, 0 } };
    struct loop *loop = *state;

    REFUSED_WITH(loop, EINVAL, SPEC, s->mask |= SSS_SPAWN_FDS; s->fds_count = 1);
    REFUSED_WITH(loop, EINVAL, SPEC, s->mask |= SSS_SPAWN_GROUPS; s->groups_count = 1);
    REFUSED_WITH(loop, EINVAL, SPEC, s->mask |= SSS_SPAWN_RLIMITS; s->rlimits_count = 1);
    REFUSED_WITH(loop, EINVAL, SPEC, s->mask |= SSS_SPAWN_FDS; s->fds = JUNK;
                 s->fds_count = SIZE_MAX);
    REFUSED_WITH(loop, EINVAL, SPEC, s->mask |= SSS_SPAWN_GROUPS; s->groups = JUNK;
                 s->groups_count = SIZE_MAX / 2);
    REFUSED_WITH(loop, EINVAL, SPEC, s->mask |= SSS_SPAWN_RLIMITS; s->rlimits = JUNK;
                 s->rlimits_count = SIZE_MAX / 8);
    REFUSED_WITH(loop, EINVAL, SPEC, s->mask |= SSS_SPAWN_RLIMITS; s->rlimits = reserved;
                 s->rlimits_count = 1);
    REFUSED_WITH(loop, EINVAL, SPEC, s->mask |= SSS_SPAWN_CWD_FD; s->cwd = "/");
}

static void values_out_of_range(void **state)
{
    struct loop *loop = *state;

    REFUSED_WITH(loop, EINVAL, SPEC, s->mask |= SSS_SPAWN_UID; s->uid = UINT32_MAX);
    REFUSED_WITH(loop, EINVAL, SPEC, s->mask |= SSS_SPAWN_GID; s->gid = UINT32_MAX);
    REFUSED_WITH(loop, EINVAL, SPEC, s->mask |= SSS_SPAWN_UMASK; s->umask = 01000);
    REFUSED_WITH(loop, EINVAL, SPEC, s->mask |= SSS_SPAWN_UMASK; s->umask = UINT32_MAX);
    REFUSED_WITH(loop, EINVAL, SPEC, s->mask |= SSS_SPAWN_NICE; s->nice = -21);
    REFUSED_WITH(loop, EINVAL, SPEC, s->mask |= SSS_SPAWN_NICE; s->nice = 20);
    REFUSED_WITH(loop, EINVAL, SPEC, s->mask |= SSS_SPAWN_OOM_SCORE_ADJ; s->oom_score_adj = 1001);
    REFUSED_WITH(loop, EINVAL, SPEC, s->mask |= SSS_SPAWN_OOM_SCORE_ADJ;
                 s->oom_score_adj = -1001);
    REFUSED_WITH(loop, EINVAL, SPEC, s->mask |= SSS_SPAWN_PGRP; s->pgrp = -1);
    REFUSED_WITH(loop, EINVAL, SPEC, s->mask |= SSS_SPAWN_PDEATHSIG; s->pdeathsig = 0);
    REFUSED_WITH(loop, EINVAL, SPEC, s->mask |= SSS_SPAWN_PDEATHSIG; s->pdeathsig = -1);
    REFUSED_WITH(loop, EINVAL, SPEC, s->mask |= SSS_SPAWN_PDEATHSIG; s->pdeathsig = 65);
}

#define MAPPED(...) do { \
        static const struct sss_spawn_fd map_[] = { __VA_ARGS__ }; \
        s->mask |= SSS_SPAWN_FDS; \
        s->fds = map_; \
        s->fds_count = ARRAY_SIZE(map_); \
    } while (0)

static void the_map(void **state)
{
    struct loop *loop = *state;
    struct rlimit limit;

    REFUSED_WITH(loop, EBADF, SSS_SPAWN_STEP_FDS, MAPPED({ 0, 0 }, { CLOSED_FD, 1 }));
    REFUSED_WITH(loop, EBADF, SSS_SPAWN_STEP_FDS, MAPPED({ CLOSED_FD, CLOSED_FD }));
    REFUSED_WITH(loop, EBADF, SSS_SPAWN_STEP_FDS, MAPPED({ -1, 1 }));
    REFUSED_WITH(loop, EBADF, SSS_SPAWN_STEP_FDS, MAPPED({ INT32_MIN, 1 }));
    REFUSED_WITH(loop, EBADF, SSS_SPAWN_STEP_FDS, MAPPED({ INT32_MAX, 1 }));
    REFUSED_WITH(loop, EINVAL, SSS_SPAWN_STEP_FDS, MAPPED({ 0, -1 }));
    REFUSED_WITH(loop, EINVAL, SSS_SPAWN_STEP_FDS, MAPPED({ 0, INT32_MIN }));
    REFUSED_WITH(loop, EINVAL, SSS_SPAWN_STEP_FDS, MAPPED({ 0, 5 }, { 1, 6 }, { 2, 5 }));
    REFUSED_WITH(loop, EINVAL, SSS_SPAWN_STEP_FDS, MAPPED({ 0, 0 }, { 0, 0 }));
    check_ok(getrlimit(RLIMIT_NOFILE, &limit));
    REFUSED_WITH(loop, EBADF, SSS_SPAWN_STEP_FDS, MAPPED({ 0, INT32_MAX }));
    REFUSED_WITH(loop, EBADF, SSS_SPAWN_STEP_FDS, const struct sss_spawn_fd map_[] = {
            { 0, 0 }, { 2, (int32_t)limit.rlim_cur } };
        s->mask |= SSS_SPAWN_FDS; s->fds = map_; s->fds_count = 2);
}

/* Where there is a number for the library's own use, it is not mistaken for the caller's. */
static void a_closed_number_stays_closed(void **state)
{
    struct loop *loop = *state;
    int lowest = dup(0);

    check(lowest != -1);
    check_ok(close(lowest));
    REFUSED_WITH(loop, EBADF, SSS_SPAWN_STEP_FDS, const struct sss_spawn_fd map_[] = {
            { lowest, 1 } };
        s->mask |= SSS_SPAWN_FDS | SSS_SPAWN_GATE; s->fds = map_; s->fds_count = 1);
    REFUSED_WITH(loop, EBADF, SSS_SPAWN_STEP_CWD, s->mask |= SSS_SPAWN_CWD_FD | SSS_SPAWN_GATE;
                 s->cwd_fd = lowest);
}

static void the_cwd(void **state)
{
    struct loop *loop = *state;
    char directory[] = "/tmp/sss_sigchld-XXXXXX";
    int own = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
    int file = open("/dev/null", O_RDONLY | O_CLOEXEC);

    check(own != -1 && file != -1);
    REFUSED_WITH(loop, ENOENT, SSS_SPAWN_STEP_CWD, s->cwd = "/nowhere");
    REFUSED_WITH(loop, ENOENT, SSS_SPAWN_STEP_CWD, s->cwd = "");
    REFUSED_WITH(loop, ENOTDIR, SSS_SPAWN_STEP_CWD, s->cwd = "/dev/null");
    REFUSED_WITH(loop, EBADF, SSS_SPAWN_STEP_CWD, s->mask |= SSS_SPAWN_CWD_FD;
                 s->cwd_fd = CLOSED_FD);
    REFUSED_WITH(loop, EBADF, SSS_SPAWN_STEP_CWD, s->mask |= SSS_SPAWN_CWD_FD; s->cwd_fd = -1);
    REFUSED_WITH(loop, ENOTDIR, SSS_SPAWN_STEP_CWD, s->mask |= SSS_SPAWN_CWD_FD;
                 s->cwd_fd = file);
    check(mkdtemp(directory) != NULL);
    check_ok(chdir(directory));
    check_ok(mkdir("sub", 0700));
    check_ok(rmdir("sub"));
    REFUSED_WITH(loop, ENOENT, SSS_SPAWN_STEP_CWD, s->cwd = "sub");
    check_ok(rmdir(directory));
    REFUSED_WITH(loop, ENOENT, SSS_SPAWN_STEP_CWD, s->cwd = "../usr");
    check_ok(fchdir(own));
    check_ok(close(own));
    check_ok(close(file));
}

static void write_file(const char *path, const char *text, mode_t mode)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

    check(fd != -1);
    check_int(write(fd, text, strlen(text)), strlen(text));
    check_ok(fchmod(fd, mode));
    check_ok(close(fd));
}

static void the_exec(void **state)
{
    struct loop *loop = *state;
    char directory[] = "/tmp/sss_sigchld-XXXXXX";
    int own = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
    char endless[5000];

    memset(endless, 'x', sizeof(endless));
    endless[sizeof(endless) - 1] = '\0';
    check(own != -1);
    check(mkdtemp(directory) != NULL);
    check_ok(chdir(directory));
    write_file("text", "no program\n", 0755);
    write_file("empty", "", 0755);
    write_file("denied", "#!/bin/sh\n", 0644);
    check_ok(symlink("loop", "loop"));
    REFUSED_WITH(loop, ENOENT, SSS_SPAWN_STEP_EXEC, s->path = "nothing");
    REFUSED_WITH(loop, ENOENT, SSS_SPAWN_STEP_EXEC, s->path = "");
    REFUSED_WITH(loop, ENOTDIR, SSS_SPAWN_STEP_EXEC, s->path = "text/nothing");
    REFUSED_WITH(loop, EACCES, SSS_SPAWN_STEP_EXEC, s->path = "denied");
    REFUSED_WITH(loop, EACCES, SSS_SPAWN_STEP_EXEC, s->path = directory);
    REFUSED_WITH(loop, ENOEXEC, SSS_SPAWN_STEP_EXEC, s->path = "text");
    REFUSED_WITH(loop, ENOEXEC, SSS_SPAWN_STEP_EXEC, s->path = "empty");
    REFUSED_WITH(loop, ELOOP, SSS_SPAWN_STEP_EXEC, s->path = "loop");
    REFUSED_WITH(loop, ENAMETOOLONG, SSS_SPAWN_STEP_EXEC, s->path = endless);
    check_ok(unlink("text"));
    check_ok(unlink("empty"));
    check_ok(unlink("denied"));
    check_ok(unlink("loop"));
    check_ok(fchdir(own));
    check_ok(close(own));
    check_ok(rmdir(directory));
}

/* valgrind execs in the child's stead, and ends it where that fails late. */
static void late_errors_needed(void)
{
    if (test_profile_is("valgrind")) {
        test_skip("valgrind", "valgrind ends the child where its execve fails late");
    }
}

static void a_missing_interpreter(void **state)
{
    char path[] = "/tmp/sss_sigchld-XXXXXX";

    late_errors_needed();
    check_ok(close(mkstemp(path)));
    check_ok(unlink(path));
    write_file(path, "#!/nowhere/interpreter\n", 0755);
    REFUSED_WITH(*state, ENOENT, SSS_SPAWN_STEP_EXEC, s->path = path);
    check_ok(unlink(path));
}

/* No shell makes up for it, and no directory after it. */
static void the_search(void **state)
{
    struct loop *loop = *state;
    char directory[] = "/tmp/sss_sigchld-XXXXXX";
    char *kept = strdup(getenv("PATH")), *path, *list;

    check(mkdtemp(directory) != NULL);
    check(asprintf(&path, "%s/true", directory) != -1);
    check(asprintf(&list, "%s:/bin", directory) != -1);
    write_file(path, "exit 0\n", 0755);
    check_ok(setenv("PATH", list, 1));
    REFUSED_WITH(loop, ENOEXEC, SSS_SPAWN_STEP_EXEC, s->path = "true";
                 s->mask |= SSS_SPAWN_SEARCH_PATH);
    REFUSED_WITH(loop, ENOENT, SSS_SPAWN_STEP_EXEC, s->path = "no such program";
                 s->mask |= SSS_SPAWN_SEARCH_PATH);
    check_ok(setenv("PATH", "/dev/null", 1));
    REFUSED_WITH(loop, ENOTDIR, SSS_SPAWN_STEP_EXEC, s->path = "true";
                 s->mask |= SSS_SPAWN_SEARCH_PATH);
    check_ok(setenv("PATH", kept, 1));
    check_ok(unlink(path));
    check_ok(rmdir(directory));
    free(list);
    free(path);
    free(kept);
}

/* One argument longer than the kernel takes, and too many of a length that it takes. */
static void arguments_too_long(void **state)
{
    enum { LONGEST = 32 * 4096, COUNT = 600 };
    struct loop *loop = *state;
    static char argument[LONGEST + 1];
    const char *argv[COUNT + 1] = { "true", argument, NULL };
    const char *envp[] = { argument, NULL };
    size_t i;

    late_errors_needed();
    memset(argument, 'x', LONGEST);
    argument[LONGEST] = '\0';
    REFUSED_WITH(loop, E2BIG, SSS_SPAWN_STEP_EXEC, s->argv = argv);
    REFUSED_WITH(loop, E2BIG, SSS_SPAWN_STEP_EXEC, s->envp = envp);
    argument[LONGEST / 2] = '\0';
    for (i = 1; i < COUNT; i++) {
        argv[i] = argument;
    }
    argv[COUNT] = NULL;
    REFUSED_WITH(loop, E2BIG, SSS_SPAWN_STEP_EXEC, s->argv = argv);
}

static bool has_clone3(void)
{
    return syscall(SYS_clone3, NULL, 0) != -1 || errno != ENOSYS;
}

static void the_cgroup(void **state)
{
    struct loop *loop = *state;
    int directory = open("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    /* Without clone3(2) it is missed there: cgroup.procs. */
    int error = has_clone3() ? EBADF : ENOENT;

    check(directory != -1);
    REFUSED_WITH(loop, EBADF, SSS_SPAWN_STEP_CGROUP, s->mask |= SSS_SPAWN_CGROUP;
                 s->cgroup_fd = CLOSED_FD);
    REFUSED_WITH(loop, EBADF, SSS_SPAWN_STEP_CGROUP, s->mask |= SSS_SPAWN_CGROUP;
                 s->cgroup_fd = -1);
    REFUSED_WITH(loop, error, SSS_SPAWN_STEP_CGROUP, s->mask |= SSS_SPAWN_CGROUP;
                 s->cgroup_fd = directory);
    check_ok(close(directory));
}

static void the_terminal(void **state)
{
    struct loop *loop = *state;
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    int slave;

    check(null != -1 && master != -1);
    check_ok(grantpt(master));
    check_ok(unlockpt(master));
    slave = open(ptsname(master), O_RDWR | O_NOCTTY | O_CLOEXEC);
    check(slave != -1);
    REFUSED_WITH(loop, EBADF, SSS_SPAWN_STEP_TERMINAL,
                 s->mask |= SSS_SPAWN_SESSION | SSS_SPAWN_TERMINAL; s->terminal_fd = CLOSED_FD);
    REFUSED_WITH(loop, ENOTTY, SSS_SPAWN_STEP_TERMINAL,
                 s->mask |= SSS_SPAWN_SESSION | SSS_SPAWN_TERMINAL; s->terminal_fd = null);
    REFUSED_WITH(loop, EPERM, SSS_SPAWN_STEP_TERMINAL,
                 s->mask |= SSS_SPAWN_TERMINAL; s->terminal_fd = slave);
    REFUSED_WITH(loop, EBADF, SSS_SPAWN_STEP_FOREGROUND,
                 s->mask |= SSS_SPAWN_FOREGROUND; s->foreground_fd = CLOSED_FD);
    REFUSED_WITH(loop, ENOTTY, SSS_SPAWN_STEP_FOREGROUND,
                 s->mask |= SSS_SPAWN_FOREGROUND; s->foreground_fd = null);
    REFUSED_WITH(loop, ENOTTY, SSS_SPAWN_STEP_FOREGROUND,
                 s->mask |= SSS_SPAWN_SESSION | SSS_SPAWN_FOREGROUND; s->foreground_fd = slave);
    check_ok(close(slave));
    check_ok(close(master));
    check_ok(close(null));
}

static void the_limits(void **state)
{
    static const struct sss_spawn_rlimit unknown[] = { { 99, 0, 0, 0 } };
    static const struct sss_spawn_rlimit crossed[] = { { RLIMIT_CORE, 0, 0, 0 },
                                                       { RLIMIT_NOFILE, 0, 20, 10 } };
    static const struct sss_spawn_rlimit beyond[] = { { RLIMIT_NOFILE, 0, 1, UINT64_MAX } };
    struct loop *loop = *state;

    REFUSED_WITH(loop, EINVAL, SSS_SPAWN_STEP_RLIMITS, s->mask |= SSS_SPAWN_RLIMITS;
                 s->rlimits = unknown; s->rlimits_count = 1);
    REFUSED_WITH(loop, EINVAL, SSS_SPAWN_STEP_RLIMITS, s->mask |= SSS_SPAWN_RLIMITS;
                 s->rlimits = crossed; s->rlimits_count = 2);
    REFUSED_WITH(loop, EPERM, SSS_SPAWN_STEP_RLIMITS, s->mask |= SSS_SPAWN_RLIMITS;
                 s->rlimits = beyond; s->rlimits_count = 1);
}

static void the_group(void **state)
{
    struct loop *loop = *state;
    int gate[2];
    pid_t stranger;
    char byte;

    /* In a session of its own, in a process that is no child of the library's. */
    check_ok(pipe2(gate, O_CLOEXEC));
    stranger = fork();
    check(stranger != -1);
    if (stranger == 0) {
        pid_t pid = fork();

        if (pid != 0) {
            _exit(pid == -1);
        }
        setsid();
        pid = getpid();
        close(loop->sigfd);
        if (write(gate[1], &pid, sizeof(pid)) == sizeof(pid)) {
            close(gate[1]);
            pause();
        }
        _exit(0);
    }
    reap(stranger, 0);
    check_int(read(gate[0], &stranger, sizeof(stranger)), sizeof(stranger));
    REFUSED_WITH(loop, EPERM, SSS_SPAWN_STEP_PGRP, s->mask |= SSS_SPAWN_PGRP;
                 s->pgrp = stranger);
    REFUSED_WITH(loop, EPERM, SSS_SPAWN_STEP_PGRP, s->mask |= SSS_SPAWN_PGRP | SSS_SPAWN_SESSION;
                 s->pgrp = getpgrp());
    check_ok(kill(stranger, SIGKILL));
    check_ok(close(gate[1]));
    check_int(read(gate[0], &byte, 1), 0); /* the child is gone */
    check_ok(close(gate[0]));
    REFUSED_WITH(loop, EPERM, SSS_SPAWN_STEP_PGRP, s->mask |= SSS_SPAWN_PGRP;
                 s->pgrp = INT32_MAX);
}

static void as_user(void (*fn)(void *arg))
{
    in_child(fn, NULL);
}

/* A context of the forked child's own, which runs as nobody. */
static void user_start(struct loop *loop)
{
    check_ok(setresgid(NOBODY, NOBODY, NOBODY));
    check_ok(setresuid(NOBODY, NOBODY, NOBODY));
    loop_start(loop, ctx_make(SSS_SCOPE_REGISTERED, 0), WAKE_BOTH);
}

static void ask_for_privileges(void *unused)
{
    static const struct sss_spawn_rlimit higher[] = { { RLIMIT_MSGQUEUE, 0, 1 << 30, 1 << 30 } };
    static const uint32_t groups[] = { 0 };
    struct loop loop;

    (void)unused;
    user_start(&loop);
    REFUSED_WITH(&loop, EPERM, SSS_SPAWN_STEP_UID, s->mask |= SSS_SPAWN_UID; s->uid = 0);
    REFUSED_WITH(&loop, EPERM, SSS_SPAWN_STEP_UID, s->mask |= SSS_SPAWN_UID; s->uid = 1);
    REFUSED_WITH(&loop, EPERM, SSS_SPAWN_STEP_GID, s->mask |= SSS_SPAWN_GID; s->gid = 0);
    REFUSED_WITH(&loop, EPERM, SSS_SPAWN_STEP_GROUPS, s->mask |= SSS_SPAWN_GROUPS;
                 s->groups = groups; s->groups_count = 1);
    REFUSED_WITH(&loop, EPERM, SSS_SPAWN_STEP_GROUPS, s->mask |= SSS_SPAWN_GROUPS);
    REFUSED_WITH(&loop, EPERM, SSS_SPAWN_STEP_RLIMITS, s->mask |= SSS_SPAWN_RLIMITS;
                 s->rlimits = higher; s->rlimits_count = 1);
    REFUSED_WITH(&loop, EACCES, SSS_SPAWN_STEP_NICE, s->mask |= SSS_SPAWN_NICE; s->nice = -5);
    REFUSED_WITH(&loop, EACCES, SSS_SPAWN_STEP_OOM_SCORE_ADJ,
                 s->mask |= SSS_SPAWN_OOM_SCORE_ADJ; s->oom_score_adj = -500);
    REFUSED_WITH(&loop, EACCES, SSS_SPAWN_STEP_CWD, s->cwd = "/root");
    loop_end(&loop);
}

static void privileges(void **state)
{
    struct stat st;

    needs_root("change ids");
    (void)state;
    check_ok(stat("/root", &st));
    check_int(st.st_mode & 0001, 0);
    as_user(ask_for_privileges);
}

/* As a user may: the ids that it has, and no others, are not denied. */
static void ask_for_its_own(void *unused)
{
    struct sss_spawn spawn = spawn_true();
    struct loop loop;

    (void)unused;
    user_start(&loop);
    spawn.mask |= SSS_SPAWN_UID | SSS_SPAWN_GID;
    spawn.uid = NOBODY;
    spawn.gid = NOBODY;
    check_ok(spawn_sized(&loop, &spawn, sizeof(spawn)));
    loop_end(&loop);
}

static void a_user_s_own_ids(void **state)
{
    (void)state;
    needs_root("change ids");
    as_user(ask_for_its_own);
}

static void ask_for_processes(void *unused)
{
    const struct rlimit limit = { 0, 0 };
    struct loop loop;

    (void)unused;
    user_start(&loop);
    check_ok(setrlimit(RLIMIT_NPROC, &limit));
    REFUSED_WITH(&loop, EAGAIN, SSS_SPAWN_STEP_CLONE, (void)s);
    REFUSED_WITH(&loop, EAGAIN, SSS_SPAWN_STEP_CLONE, s->mask |= SSS_SPAWN_GATE);
    loop_end(&loop);
}

static void no_more_processes(void **state)
{
    (void)state;
    needs_root("change ids");
    as_user(ask_for_processes);
}

/* Root makes the process, but the user that it becomes has too many: the kernel reports that
 * at the exec. */
static void no_more_processes_of_the_user(void **state)
{
    static const struct sss_spawn_rlimit limits[] = { { RLIMIT_NPROC, 0, 0, 0 } };
    struct loop *loop = *state;
    struct sss_spawn spawn = spawn_true(), first = spawn_true();
    struct sss_child_ctx *child, *other = JUNK;
    struct seen seen = { 0 }, none = { 0 };
    uint32_t step = NO_STEP;

    needs_root("change ids");
    late_errors_needed();
    first.mask |= SSS_SPAWN_UID | SSS_SPAWN_GATE;
    first.uid = NOBODY;
    check_ok(sss_child_spawn(NULL, loop->ctx, &first, see, &seen, &child));
    spawn.mask |= SSS_SPAWN_UID | SSS_SPAWN_RLIMITS;
    spawn.uid = NOBODY;
    spawn.rlimits = limits;
    spawn.rlimits_count = 1;
    spawn.failed_step = &step;
    check_int(sss_child_spawn(NULL, loop->ctx, &spawn, see, &none, &other), EAGAIN);
    check_int(step, SSS_SPAWN_STEP_EXEC);
    check(other == JUNK);
    check_ok(sss_child_open_gate(child));
    loop_until(loop, &seen.calls, 1);
    check_seen(&seen, seen.pid, 0);
    check_int(none.calls, 0);
    check_ok(sss_child_free(child));
}

/* The first that fails is told, in the order in which the child does them. */
static void the_first_step_that_fails(void **state)
{
    struct loop *loop = *state;

    needs_root("change ids");
    REFUSED_WITH(loop, ENOENT, SSS_SPAWN_STEP_CWD, s->cwd = "/nowhere"; s->path = "/nowhere");
    REFUSED_WITH(loop, EPERM, SSS_SPAWN_STEP_PGRP, s->cwd = "/nowhere";
                 s->mask |= SSS_SPAWN_PGRP; s->pgrp = INT32_MAX);
    REFUSED_WITH(loop, EBADF, SSS_SPAWN_STEP_FDS, s->cwd = "/nowhere";
                 MAPPED({ CLOSED_FD, 0 }));
    REFUSED_WITH(loop, ENOENT, SSS_SPAWN_STEP_EXEC, s->path = "/nowhere";
                 s->mask |= SSS_SPAWN_UID; s->uid = NOBODY);
}

struct inherited {
    struct sss_sigchild_ctx *ctx;
    struct sss_child_ctx *child;
};

static void ask_in_another_process(void *pvt)
{
    struct inherited *inherited = pvt;
    struct sss_spawn spawn = spawn_true();
    struct sss_child_ctx *child = JUNK;
    struct seen seen = { 0 };

    check_int(sss_child_spawn(NULL, inherited->ctx, &spawn, see, &seen, &child), ECHILD);
    check_int(sss_child_open_gate(inherited->child), ECHILD);
    check(child == JUNK);
    check(!any_children());
}

static void of_another_process(void **state)
{
    struct loop *loop = *state;
    struct seen seen = { 0 };
    struct sss_spawn spawn = spawn_true();
    struct inherited inherited = { .ctx = loop->ctx };

    spawn.mask |= SSS_SPAWN_GATE;
    check_ok(sss_child_spawn(NULL, loop->ctx, &spawn, see, &seen, &inherited.child));
    in_child(ask_in_another_process, &inherited);
    check_ok(sss_child_open_gate(inherited.child));
    loop_until(loop, &seen.calls, 1);
    check_seen(&seen, seen.pid, 0);
    check_ok(sss_child_free(inherited.child));
}

static void the_gate(void **state)
{
    struct loop *loop = *state;
    struct sss_child_ctx *child;
    struct seen seen = { 0 };
    struct gate gate;

    check_int(sss_child_open_gate(NULL), EINVAL);
    gate_make(&gate);
    child = spawn_at(loop->ctx, &gate, 0, see, &seen);
    check_int(sss_child_open_gate(child), EALREADY);
    gate_open(&gate);
    loop_until(loop, &seen.calls, 1);
    check_int(sss_child_open_gate(child), ESRCH);
    check_ok(sss_child_free(child));
    check_int(sss_child_open_gate(child), ESRCH);
}

/* Many failures in a row use nothing up. */
static void again_and_again(void **state)
{
    struct loop *loop = *state;
    int rounds = test_profile_is("valgrind") ? 20 : 500;
    int i;

    for (i = 0; i < rounds; i++) {
        REFUSED_WITH(loop, ENOENT, SSS_SPAWN_STEP_EXEC, s->path = "/nowhere");
    }
}

#define TEST(test) ONE_WAY(test, "", 5)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(pointers),
        TEST(the_program),
        TEST(unknown_bits),
        TEST(sizes),
        TEST(lists),
        TEST(values_out_of_range),
        TEST(the_map),
        TEST(a_closed_number_stays_closed),
        TEST(the_cwd),
        TEST(the_exec),
        TEST(a_missing_interpreter),
        TEST(the_search),
        TEST(arguments_too_long),
        TEST(the_cgroup),
        TEST(the_terminal),
        TEST(the_limits),
        TEST(the_group),
        TEST(privileges),
        TEST(a_user_s_own_ids),
        TEST(no_more_processes),
        TEST(no_more_processes_of_the_user),
        TEST(the_first_step_that_fails),
        TEST(of_another_process),
        TEST(the_gate),
        EACH_WAY(again_and_again),
    };

    return RUN_BOTH_MANNERS(tests);
}
