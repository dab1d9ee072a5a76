/*
 * Whatever attributes a child gets, and wherever its start fails, the daemon's own state is
 * unchanged: while the child is held, when it runs, and when it has ended.
 */
#include "support/test.h"

#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <stdarg.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "support/filter.h"
#include "support/hold.h"
#include "support/spawn.h"

enum { NOBODY = 65534 };

/* All that a spawn could change, in words. */
struct snapshot {
    size_t length;
    char text[65536];
};

__attribute__((format(printf, 2, 3)))
static void note(struct snapshot *snapshot, const char *format, ...)
{
    size_t room = sizeof(snapshot->text) - snapshot->length;
    va_list args;
    int length;

    va_start(args, format);
    length = vsnprintf(snapshot->text + snapshot->length, room, format, args);
    va_end(args);
    check(length >= 0 && (size_t)length < room);
    snapshot->length += (size_t)length;
}

static void note_file(struct snapshot *snapshot, const char *path, const char *const *lines)
{
    FILE *file = fopen(path, "re");
    char line[1024];
    size_t i;

    if (file == NULL) {
        note(snapshot, "%s: none\n", path);
        return;
    }
    while (fgets(line, sizeof(line), file) != NULL) {
        for (i = 0; lines != NULL && lines[i] != NULL; i++) {
            if (strncmp(line, lines[i], strlen(lines[i])) == 0) {
                break;
            }
        }
        if (lines == NULL || lines[i] != NULL) {
            note(snapshot, "%s: %s", path, line);
        }
    }
    check_ok(fclose(file));
}

static void note_process(struct snapshot *snapshot)
{
    int signum = -1;

    check_ok(prctl(PR_GET_PDEATHSIG, &signum));
    note(snapshot, "pdeathsig %d\n", signum);
    note(snapshot, "dumpable %d\n", prctl(PR_GET_DUMPABLE));
    note(snapshot, "no_new_privs %d\n", prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
    note(snapshot, "keepcaps %d\n", prctl(PR_GET_KEEPCAPS));
    note(snapshot, "securebits %d\n", prctl(PR_GET_SECUREBITS));
    note(snapshot, "nice %d\n", getpriority(PRIO_PROCESS, 0));
    note(snapshot, "session %d group %d parent %d\n", getsid(0), getpgrp(), getppid());
    note(snapshot, "scheduler %d\n", sched_getscheduler(0));
}

/* The kernel's own calls: glibc hides two signals. */
static void note_signals(struct snapshot *snapshot)
{
    uint64_t action[4];
    uint64_t mask;
    int signum;

    for (signum = 1; signum <= 64; signum++) {
        memset(action, 0, sizeof(action));
        check_ok(syscall(SYS_rt_sigaction, signum, NULL, action, sizeof(mask)));
        note(snapshot, "signal %d: %jx %jx %jx %jx\n", signum, (uintmax_t)action[0],
             (uintmax_t)action[1], (uintmax_t)action[2], (uintmax_t)action[3]);
    }
    check_ok(syscall(SYS_rt_sigprocmask, SIG_BLOCK, NULL, &mask, sizeof(mask)));
    note(snapshot, "mask %jx\n", (uintmax_t)mask);
}

static void note_fds(struct snapshot *snapshot)
{
    DIR *dir = opendir("/proc/self/fd");
    struct dirent *entry;
    struct stat st;
    int fd;

    check(dir != NULL);
    while ((entry = readdir(dir)) != NULL) {
        fd = atoi(entry->d_name);
        if (entry->d_name[0] == '.' || fd == dirfd(dir)) {
            continue;
        }
        check_ok(fstat(fd, &st));
        note(snapshot, "fd %d: %jx:%jx %x %x\n", fd, (uintmax_t)st.st_dev,
             (uintmax_t)st.st_ino, (unsigned)fcntl(fd, F_GETFD), (unsigned)fcntl(fd, F_GETFL));
    }
    check_ok(closedir(dir));
}

/* Its descriptors apart: those of a gate and a pidfd come and go with the child. */
static void take(struct snapshot *snapshot, bool with_fds)
{
    static const char *const lines[] = {
        "Umask:", "Tgid:", "PPid:", "TracerPid:", "Uid:", "Gid:", "Groups:", "NStgid:",
        "Threads:", "SigBlk:", "SigIgn:", "SigCgt:", "Cap", "NoNewPrivs:", "Seccomp",
        "Cpus_allowed:", "NSpid:", NULL,
    };
    char cwd[4096];

    snapshot->length = 0;
    snapshot->text[0] = '\0';
    note_file(snapshot, "/proc/thread-self/status", lines);
    note_file(snapshot, "/proc/self/oom_score_adj", NULL);
    note_file(snapshot, "/proc/self/limits", NULL);
    note_file(snapshot, "/proc/self/cgroup", NULL);
    note_process(snapshot);
    note_signals(snapshot);
    if (with_fds) {
        note_fds(snapshot);
    }
    note(snapshot, "cwd %s\n", getcwd(cwd, sizeof(cwd)) != NULL ? cwd : "gone");
}

static void check_same(const struct snapshot *before, bool with_fds, const char *when,
                       const char *kind)
{
    static struct snapshot after;
    size_t i = 0, start;

    take(&after, with_fds);
    if (strcmp(before->text, after.text) == 0) {
        return;
    }
    while (before->text[i] == after.text[i]) {
        i++;
    }
    for (start = i; start > 0 && before->text[start - 1] != '\n'; start--) {
    }
    fprintf(stderr, "%s, %s:\n-%.*s\n+%.*s\n", kind, when,
            (int)strcspn(before->text + start, "\n"), before->text + start,
            (int)strcspn(after.text + start, "\n"), after.text + start);
    check(false);
}

/* A daemon with something of its own in every place. */
static void handle(int signum)
{
    (void)signum;
}

static void dress(void)
{
    struct sigaction action;
    FILE *file;

    memset(&action, 0, sizeof(action));
    action.sa_handler = handle;
    action.sa_flags = SA_RESTART;
    sigaddset(&action.sa_mask, SIGUSR2);
    check_ok(sigaction(SIGUSR1, &action, NULL));
    check_ok(sigaction(SIGRTMIN + 3, &action, NULL));
    check(signal(SIGPIPE, SIG_IGN) != SIG_ERR);
    sigemptyset(&action.sa_mask);
    sigaddset(&action.sa_mask, SIGWINCH);
    check_ok(sigprocmask(SIG_BLOCK, &action.sa_mask, NULL));
    umask(027);
    check_ok(chdir("/usr"));
    check_ok(setpriority(PRIO_PROCESS, 0, 3));
    check_ok(prctl(PR_SET_DUMPABLE, 1));
    check(dup(STDERR_FILENO) != -1);
    file = fopen("/proc/self/oom_score_adj", "we");
    check(file != NULL);
    check(fprintf(file, "77") == 2);
    check_ok(fclose(file));
}

static const uint32_t some_groups[] = { 7, 8 };
static const struct sss_spawn_rlimit some_rlimits[] = {
    { RLIMIT_CORE, 0, 0, 0 }, { RLIMIT_MEMLOCK, 0, 4096, 8192 },
};

/* One kind of spawn: what it asks for, and where it is to fail. */
struct kind {
    const char *name;
    void (*ask)(struct sss_spawn *spawn);
    void (*prepare)(void); /* or NULL */
    uint32_t step;         /* 0: it succeeds */
    int error;             /* or ANY_ERRNO, where kernels differ */
};

enum { ANY_ERRNO = -1 };

static struct loop loop;

static struct sss_spawn spawn_of(const struct kind *kind, uint32_t mask, uint32_t *step)
{
    static const char *const argv[] = { "true", NULL };
    struct sss_spawn spawn = spawn_zero();

    spawn.path = "/bin/true";
    spawn.argv = argv;
    spawn.failed_step = step;
    kind->ask(&spawn);
    spawn.mask |= mask;
    return spawn;
}

static void fail_once(const struct kind *kind, uint32_t mask)
{
    static struct snapshot before;
    uint32_t step = 0;
    struct sss_spawn spawn = spawn_of(kind, mask, &step);
    struct sss_child_ctx *child;
    errno_t ret;

    take(&before, true);
    ret = sss_child_spawn(NULL, loop.ctx, &spawn, NULL, NULL, &child);
    if (ret == 0 || step != kind->step) {
        fprintf(stderr, "%s: step %u, errno %d\n", kind->name, step, ret);
    }
    check(ret != 0);
    check(ret == kind->error || kind->error == ANY_ERRNO);
    check_int(step, kind->step);
    check_same(&before, true, "failed", kind->name);
    check_int(stats_of(loop.ctx).watches, 0);
    check_no_children();
}

static void check_gone(struct sss_child_ctx *child, const struct seen *seen)
{
    loop_until(&loop, &seen->calls, 1);
    loop_settle(&loop);
    check_seen(seen, seen->pid, 0);
    check_ok(sss_child_free(child));
}

static void succeed_once(const struct kind *kind, uint32_t mask)
{
    static struct snapshot before, before_fds;
    uint32_t step = 0;
    struct sss_spawn spawn = spawn_of(kind, mask, &step);
    struct seen seen = { 0 };
    struct sss_child_ctx *child;
    errno_t ret;

    take(&before, false);
    take(&before_fds, true);
    ret = sss_child_spawn(NULL, loop.ctx, &spawn, see, &seen, &child);
    if (ret != 0) {
        fprintf(stderr, "%s: step %u, errno %d\n", kind->name, step, ret);
    }
    check_ok(ret);
    check_same(&before, false, "spawned", kind->name);
    if (spawn.mask & SSS_SPAWN_GATE) {
        check_ok(sss_child_open_gate(child));
        check_same(&before, false, "let go", kind->name);
    }
    check_gone(child, &seen);
    check_same(&before_fds, true, "done", kind->name);
}

static void be_daemon(void *pvt)
{
    static const uint32_t manners[] = {
        0, SSS_SPAWN_FORK, SSS_SPAWN_GATE, SSS_SPAWN_GATE | SSS_SPAWN_FORK,
    };
    const struct kind *kind = pvt;
    size_t i;

    dress();
    if (kind->prepare != NULL) {
        kind->prepare();
    }
    loop_start(&loop, ctx_make(SSS_SCOPE_REGISTERED, 0), WAKE_DESCRIPTOR);
    for (i = 0; i < ARRAY_SIZE(manners); i++) {
        if (kind->step == 0) {
            succeed_once(kind, manners[i]);
        } else if (kind->step != SSS_SPAWN_STEP_EXEC || !(manners[i] & SSS_SPAWN_GATE)) {
            fail_once(kind, manners[i]);
        }
    }
    loop_end(&loop);
}

/* What a kind asks for. */
static void plain(struct sss_spawn *spawn)
{
    (void)spawn;
}

static void everything(struct sss_spawn *spawn)
{
    static const struct sss_spawn_fd map[] = { { 2, 0 }, { 0, 9 }, { 1, 2 } };

    spawn->mask = SSS_SPAWN_UID | SSS_SPAWN_GID | SSS_SPAWN_GROUPS | SSS_SPAWN_UMASK
                  | SSS_SPAWN_RLIMITS | SSS_SPAWN_NICE | SSS_SPAWN_OOM_SCORE_ADJ
                  | SSS_SPAWN_PDEATHSIG | SSS_SPAWN_FDS | SSS_SPAWN_SESSION
                  | SSS_SPAWN_NO_NEW_PRIVS | SSS_SPAWN_SEARCH_PATH;
    spawn->path = "true";
    spawn->cwd = "/";
    spawn->uid = NOBODY;
    spawn->gid = NOBODY;
    spawn->groups = some_groups;
    spawn->groups_count = ARRAY_SIZE(some_groups);
    spawn->umask = 0;
    spawn->rlimits = some_rlimits;
    spawn->rlimits_count = ARRAY_SIZE(some_rlimits);
    spawn->nice = 11;
    spawn->oom_score_adj = 500;
    spawn->pdeathsig = SIGTERM;
    spawn->fds = map;
    spawn->fds_count = ARRAY_SIZE(map);
}

/* All that needs no fork. */
static void everything_shared(struct sss_spawn *spawn)
{
    everything(spawn);
    spawn->mask &= ~(uint32_t)(SSS_SPAWN_UID | SSS_SPAWN_GID);
}

#define ASKS(name, bits, ...) \
    static void name(struct sss_spawn *spawn) \
    { \
        spawn->mask |= (bits); \
        __VA_ARGS__; \
    }

ASKS(a_uid, SSS_SPAWN_UID, spawn->uid = NOBODY)
ASKS(another_uid, SSS_SPAWN_UID, spawn->uid = 1)
ASKS(the_own_uid, SSS_SPAWN_UID | SSS_SPAWN_GID, spawn->uid = getuid(); spawn->gid = getgid())
ASKS(a_gid, SSS_SPAWN_GID, spawn->gid = NOBODY)
ASKS(groups, SSS_SPAWN_GROUPS, spawn->groups = some_groups; spawn->groups_count = 2)
ASKS(no_groups, SSS_SPAWN_GROUPS, )
ASKS(a_umask, SSS_SPAWN_UMASK, spawn->umask = 0)
ASKS(rlimits, SSS_SPAWN_RLIMITS, spawn->rlimits = some_rlimits; spawn->rlimits_count = 2)
ASKS(a_nice, SSS_SPAWN_NICE, spawn->nice = -10)
ASKS(an_oom_score_adj, SSS_SPAWN_OOM_SCORE_ADJ, spawn->oom_score_adj = 78)
ASKS(a_low_oom_score_adj, SSS_SPAWN_OOM_SCORE_ADJ, spawn->oom_score_adj = -500)
ASKS(a_group, SSS_SPAWN_PGRP, spawn->pgrp = 0)
ASKS(a_session, SSS_SPAWN_SESSION, )
ASKS(a_cwd, 0, spawn->cwd = "/tmp")
ASKS(a_pdeathsig, SSS_SPAWN_PDEATHSIG, spawn->pdeathsig = SIGKILL)
ASKS(no_new_privs, SSS_SPAWN_NO_NEW_PRIVS, )
ASKS(no_fds, SSS_SPAWN_FDS, )
ASKS(no_argv, 0, static const char *const none[] = { NULL }; spawn->argv = none)
ASKS(a_foreign_group, SSS_SPAWN_PGRP, spawn->pgrp = INT32_MAX)
ASKS(no_terminal, SSS_SPAWN_SESSION | SSS_SPAWN_TERMINAL, spawn->terminal_fd = 0)
ASKS(no_foreground, SSS_SPAWN_FOREGROUND, spawn->foreground_fd = 0)
ASKS(no_cwd, 0, spawn->cwd = "/nonexistent")
ASKS(a_closed_fd, SSS_SPAWN_FDS,
     static const struct sss_spawn_fd map[] = { { 999, 1 } };
     spawn->fds = map; spawn->fds_count = 1)
ASKS(a_target_too_far, SSS_SPAWN_FDS,
     static const struct sss_spawn_fd map[] = { { 2, 2 }, { 2, INT32_MAX } };
     spawn->fds = map; spawn->fds_count = 2)
ASKS(a_wrong_rlimit, SSS_SPAWN_RLIMITS,
     static const struct sss_spawn_rlimit wrong[] = { { RLIMIT_CORE, 0, 2, 1 } };
     spawn->rlimits = wrong; spawn->rlimits_count = 1)
ASKS(no_program, 0, spawn->path = "/nonexistent")
ASKS(no_cgroup, SSS_SPAWN_CGROUP, spawn->cgroup_fd = 2)

/* What makes a kind fail, in places that the daemon itself does not use. */
static void no_clone(void)
{
    filter_deny(SYS_clone, EAGAIN);
}

static void no_sigaction(void)
{
    refuse_value(SYS_rt_sigaction, 2, 0, EIO);
}

static void no_setsid(void)
{
    filter_deny(SYS_setsid, EPERM);
}

static void no_umask(void)
{
    filter_deny(SYS_umask, EIO);
}

static void no_close_range(void)
{
    filter_deny(SYS_close_range, EIO);
}

static void no_setgroups(void)
{
    filter_deny(SYS_setgroups, EPERM);
}

static void no_setresgid(void)
{
    filter_deny(SYS_setresgid, EPERM);
}

static void no_setresuid(void)
{
    filter_deny(SYS_setresuid, EAGAIN);
}

static void no_setpriority(void)
{
    filter_deny(SYS_setpriority, EACCES);
}

static void no_prctl_pdeathsig(void)
{
    refuse_value(SYS_prctl, 0, PR_SET_PDEATHSIG, EIO);
}

static void no_prctl_no_new_privs(void)
{
    refuse_value(SYS_prctl, 0, PR_SET_NO_NEW_PRIVS, EIO);
}

/* Without the privilege to lower it. */
static void unprivileged(void)
{
    check_ok(setresgid(NOBODY, NOBODY, NOBODY));
    check_ok(setresuid(NOBODY, NOBODY, NOBODY));
    check_ok(prctl(PR_SET_DUMPABLE, 1));
}

static void other_fsuid(void)
{
    setfsuid(NOBODY);
    check_ok(prctl(PR_SET_DUMPABLE, 1));
}

static void other_fsgid(void)
{
    setfsgid(NOBODY);
    check_ok(prctl(PR_SET_DUMPABLE, 1));
}

static void saved_uid(void)
{
    check_ok(setresuid(0, 0, NOBODY));
    check_ok(prctl(PR_SET_DUMPABLE, 1));
}

static void undumpable(void)
{
    check_ok(prctl(PR_SET_DUMPABLE, 0));
}

static const struct kind kinds[] = {
    { "plain", plain, NULL, 0, 0 },
    { "undumpable", plain, undumpable, 0, 0 },
    { "uid", a_uid, NULL, 0, 0 },
    { "own_ids", the_own_uid, NULL, 0, 0 },
    { "own_ids_another_fsuid", the_own_uid, other_fsuid, 0, 0 },
    { "own_ids_another_fsgid", the_own_uid, other_fsgid, 0, 0 },
    { "own_ids_another_saved_uid", the_own_uid, saved_uid, 0, 0 },
    { "gid", a_gid, NULL, 0, 0 },
    { "groups", groups, NULL, 0, 0 },
    { "no_groups", no_groups, NULL, 0, 0 },
    { "umask", a_umask, NULL, 0, 0 },
    { "rlimits", rlimits, NULL, 0, 0 },
    { "nice", a_nice, NULL, 0, 0 },
    { "oom_score_adj", an_oom_score_adj, NULL, 0, 0 },
    { "pgrp", a_group, NULL, 0, 0 },
    { "session", a_session, NULL, 0, 0 },
    { "cwd", a_cwd, NULL, 0, 0 },
    { "pdeathsig", a_pdeathsig, NULL, 0, 0 },
    { "no_new_privs", no_new_privs, NULL, 0, 0 },
    { "no_descriptors", no_fds, NULL, 0, 0 },
    { "everything", everything, NULL, 0, 0 },
    { "everything_but_ids", everything_shared, NULL, 0, 0 },

    { "fails_at_spec", no_argv, NULL, SSS_SPAWN_STEP_SPEC, EINVAL },
    { "fails_at_clone", everything, no_clone, SSS_SPAWN_STEP_CLONE, EAGAIN },
    { "fails_at_signals", everything, no_sigaction, SSS_SPAWN_STEP_SIGNALS, EIO },
    { "fails_at_session", everything, no_setsid, SSS_SPAWN_STEP_SESSION, EPERM },
    { "fails_at_pgrp", a_foreign_group, NULL, SSS_SPAWN_STEP_PGRP, EPERM },
    { "fails_at_terminal", no_terminal, NULL, SSS_SPAWN_STEP_TERMINAL, ENOTTY },
    { "fails_at_foreground", no_foreground, NULL, SSS_SPAWN_STEP_FOREGROUND, ENOTTY },
    { "fails_at_cwd", no_cwd, NULL, SSS_SPAWN_STEP_CWD, ENOENT },
    { "fails_at_umask", everything_shared, no_umask, SSS_SPAWN_STEP_UMASK, EIO },
    { "fails_at_descriptors", a_closed_fd, NULL, SSS_SPAWN_STEP_FDS, EBADF },
    { "fails_at_a_target", a_target_too_far, NULL, SSS_SPAWN_STEP_FDS, EBADF },
    { "fails_at_close", everything_shared, no_close_range, SSS_SPAWN_STEP_CLOSE, EIO },
    { "fails_at_cgroup", no_cgroup, NULL, SSS_SPAWN_STEP_CGROUP, ANY_ERRNO },
    { "fails_at_oom_score_adj", a_low_oom_score_adj, unprivileged,
      SSS_SPAWN_STEP_OOM_SCORE_ADJ, EACCES },
    { "fails_at_nice", everything_shared, no_setpriority, SSS_SPAWN_STEP_NICE, EACCES },
    { "fails_at_rlimits", a_wrong_rlimit, NULL, SSS_SPAWN_STEP_RLIMITS, EINVAL },
    { "fails_at_groups", everything_shared, no_setgroups, SSS_SPAWN_STEP_GROUPS, EPERM },
    { "fails_at_gid", everything, no_setresgid, SSS_SPAWN_STEP_GID, EPERM },
    { "fails_at_uid", everything, no_setresuid, SSS_SPAWN_STEP_UID, EAGAIN },
    { "fails_at_uid_unprivileged", another_uid, unprivileged, SSS_SPAWN_STEP_UID, EPERM },
    { "fails_at_pdeathsig", everything_shared, no_prctl_pdeathsig, SSS_SPAWN_STEP_PDEATHSIG,
      EIO },
    { "fails_at_pdeathsig_with_ids", everything, no_prctl_pdeathsig, SSS_SPAWN_STEP_PDEATHSIG,
      EIO },
    { "fails_at_no_new_privs", everything, no_prctl_no_new_privs, SSS_SPAWN_STEP_NO_NEW_PRIVS,
      EIO },
    { "fails_at_exec", no_program, NULL, SSS_SPAWN_STEP_EXEC, ENOENT },
};

static void stays_as_it_was(void **state)
{
    const struct kind *kind = *state;

    needs_root("change ids and nice values");
    if (kind->step == SSS_SPAWN_STEP_SIGNALS && test_profile_is("valgrind")) {
        test_skip("valgrind", "sigaction is its own");
    }
    in_child(be_daemon, *state);
}

int main(void)
{
    struct CMUnitTest tests[ARRAY_SIZE(kinds)];
    size_t i;

    memset(tests, 0, sizeof(tests));
    for (i = 0; i < ARRAY_SIZE(kinds); i++) {
        tests[i].name = kinds[i].name;
        tests[i].test_func = stays_as_it_was;
        tests[i].initial_state = (void *)(uintptr_t)&kinds[i];
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
