/* Each attribute that a spawn asks for is the child's, and no other is. */
#include "support/test.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/magic.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <termios.h>

#include "support/spawn.h"

enum { UID = 61234, GID = 61235 };

static void the_uid(void **state)
{
    struct sss_spawn spawn = spawn_zero();
    struct report report;

    needs_root("change ids, groups and nice values");
    spawn.mask |= SSS_SPAWN_UID;
    spawn.uid = UID;
    report_spawned(*state, &spawn, &report);
    check_reported(&report, "Uid", "%d %d %d %d", UID, UID, UID, UID);
    check_reported(&report, "Gid", "%d %d %d %d", getgid(), getegid(), getegid(), getegid());
    check_reported(&report, "CapEff", "0000000000000000");
    check_reported(&report, "CapPrm", "0000000000000000");
    check_int(geteuid(), 0);
}

static void the_gid(void **state)
{
    struct sss_spawn spawn = spawn_zero();
    struct report report;

    needs_root("change ids, groups and nice values");
    spawn.mask |= SSS_SPAWN_GID;
    spawn.gid = GID;
    report_spawned(*state, &spawn, &report);
    check_reported(&report, "Gid", "%d %d %d %d", GID, GID, GID, GID);
    check_reported(&report, "Uid", "0 0 0 0");
    check_int(getegid(), 0);
}

static const gid_t own_groups[] = { 71, 72, 70000 };

static int own_groups_kept;
static gid_t kept_groups[64];

static void take_groups(void)
{
    own_groups_kept = getgroups(ARRAY_SIZE(kept_groups), kept_groups);
    check(own_groups_kept >= 0);
    check_ok(setgroups(ARRAY_SIZE(own_groups), own_groups));
}

static void give_groups_back(void)
{
    check_ok(setgroups((size_t)own_groups_kept, kept_groups));
}

static void the_groups(void **state)
{
    static const uint32_t groups[] = { 5, 99, 1048576 };
    struct sss_spawn spawn = spawn_zero();
    struct report report;

    needs_root("change ids, groups and nice values");
    take_groups();
    report_spawned(*state, &spawn, &report);
    check_reported(&report, "Groups", "71 72 70000");
    spawn.mask |= SSS_SPAWN_GROUPS;
    spawn.groups = groups;
    spawn.groups_count = ARRAY_SIZE(groups);
    report_spawned(*state, &spawn, &report);
    check_reported(&report, "Groups", "5 99 1048576");
    spawn.groups_count = 0;
    report_spawned(*state, &spawn, &report);
    check_reported(&report, "Groups", "%s", "");
    check_int(getgroups(0, NULL), ARRAY_SIZE(own_groups));
    give_groups_back();
}

/* Root's groups go with root's uid, whatever the new one is; but not with the gid. */
static void the_groups_go_with_the_uid(void **state)
{
    static const uint32_t groups[] = { 5 };
    struct sss_spawn spawn = spawn_zero();
    struct report report;

    needs_root("change ids, groups and nice values");
    take_groups();
    spawn.mask |= SSS_SPAWN_UID;
    spawn.uid = UID;
    report_spawned(*state, &spawn, &report);
    check_reported(&report, "Groups", "%s", "");
    spawn.uid = 0;
    report_spawned(*state, &spawn, &report);
    check_reported(&report, "Groups", "%s", "");
    check_reported(&report, "Uid", "0 0 0 0");
    spawn.uid = UID;
    spawn.gid = GID;
    spawn.mask |= SSS_SPAWN_GID | SSS_SPAWN_GROUPS;
    spawn.groups = groups;
    spawn.groups_count = 1;
    report_spawned(*state, &spawn, &report);
    check_reported(&report, "Groups", "5");
    check_reported(&report, "Gid", "%d %d %d %d", GID, GID, GID, GID);
    check_reported(&report, "Uid", "%d %d %d %d", UID, UID, UID, UID);
    spawn = spawn_zero();
    spawn.mask |= SSS_SPAWN_GID;
    spawn.gid = GID;
    report_spawned(*state, &spawn, &report);
    check_reported(&report, "Groups", "71 72 70000");
    give_groups_back();
}

static void the_umask(void **state)
{
    static const uint32_t masks[] = { 0, 0137, 0777 };
    struct sss_spawn spawn = spawn_zero();
    struct report report;
    mode_t own = umask(0022);
    size_t i;

    report_spawned(*state, &spawn, &report);
    check_reported(&report, "Umask", "0022");
    spawn.mask |= SSS_SPAWN_UMASK;
    for (i = 0; i < ARRAY_SIZE(masks); i++) {
        spawn.umask = masks[i];
        report_spawned(*state, &spawn, &report);
        check_reported(&report, "Umask", "%04o", masks[i]);
    }
    check_int(umask(own), 0022);
}

static void check_limit(const struct report *report, int resource, intmax_t soft, intmax_t hard)
{
    const char *limits = reported(report, "limit");
    char wanted[64];

    snprintf(wanted, sizeof(wanted), "|%d=%jd:%jd|", resource, soft, hard);
    if (strstr(limits, wanted) == NULL) {
        fprintf(stderr, "%s: no %s\n", limits, wanted);
    }
    check(strstr(limits, wanted) != NULL);
}

static void the_limits(void **state)
{
    static const struct sss_spawn_rlimit limits[] = {
        { RLIMIT_SIGPENDING, 0, 50, 199 },
        { RLIMIT_CORE, 0, 0, 0 },
        { RLIMIT_FSIZE, 0, UINT64_MAX, UINT64_MAX },
        { RLIMIT_MEMLOCK, 0, 12345, 23456 },
        { RLIMIT_SIGPENDING, 0, 77, 99 },
    };
    struct sss_spawn spawn = spawn_zero();
    struct rlimit before, after;
    struct report report;

    check_ok(getrlimit(RLIMIT_SIGPENDING, &before));
    spawn.mask |= SSS_SPAWN_RLIMITS;
    spawn.rlimits = limits;
    spawn.rlimits_count = ARRAY_SIZE(limits);
    report_spawned(*state, &spawn, &report);
    check_limit(&report, RLIMIT_SIGPENDING, 77, 99);
    check_limit(&report, RLIMIT_CORE, 0, 0);
    check_limit(&report, RLIMIT_FSIZE, -1, -1);
    check_limit(&report, RLIMIT_MEMLOCK, 12345, 23456);
    check_ok(getrlimit(RLIMIT_SIGPENDING, &after));
    check(memcmp(&before, &after, sizeof(before)) == 0);
}

/* A limit below what the map opens does not forbid the map. */
static void a_limit_below_a_target(void **state)
{
    static const struct sss_spawn_rlimit limits[] = { { RLIMIT_NOFILE, 0, 20, 20 } };
    static const struct sss_spawn_fd map[] = { { 2, 2 }, { 0, 90 } };
    struct sss_spawn spawn = spawn_zero();
    struct report report;

    if (test_profile_is("valgrind")) {
        test_skip("valgrind", "valgrind keeps RLIMIT_NOFILE to itself");
    }
    spawn.mask |= SSS_SPAWN_RLIMITS | SSS_SPAWN_FDS;
    spawn.rlimits = limits;
    spawn.rlimits_count = ARRAY_SIZE(limits);
    spawn.fds = map;
    spawn.fds_count = ARRAY_SIZE(map);
    report_spawned(*state, &spawn, &report);
    check_limit(&report, RLIMIT_NOFILE, 20, 20);
    check(strstr(reported(&report, "fd"), "|90=") != NULL);
}

static void the_nice_value(void **state)
{
    static const int values[] = { 7, 19, -5, 0 };
    struct sss_spawn spawn = spawn_zero();
    int own = getpriority(PRIO_PROCESS, 0);
    struct report report;
    size_t i;

    needs_root("change ids, groups and nice values");
    spawn.mask |= SSS_SPAWN_NICE;
    for (i = 0; i < ARRAY_SIZE(values); i++) {
        spawn.nice = values[i];
        report_spawned(*state, &spawn, &report);
        check_reported(&report, "nice", "%d", values[i]);
    }
    check_int(getpriority(PRIO_PROCESS, 0), own);
}

static int own_oom_score_adj(void)
{
    FILE *file = fopen("/proc/self/oom_score_adj", "re");
    int value;

    check(file != NULL);
    check_int(fscanf(file, "%d", &value), 1);
    check_ok(fclose(file));
    return value;
}

/* In containers root often may not raise a hard limit, nor lower this one. */
static bool may_exceed(void)
{
    struct report report;
    bool may;

    report_execed(&report);
    may = strtoull(reported(&report, "CapEff"), NULL, 16) & (1ull << CAP_SYS_RESOURCE);
    if (!may) {
        printf("without CAP_SYS_RESOURCE: neither hard limits raised nor oom_score_adj lowered\n");
    }
    return may;
}

static void the_oom_score_adj(void **state)
{
    static const int values[] = { 500, 1000, 0, -500, -1000 };
    size_t count = may_exceed() ? ARRAY_SIZE(values) : 3;
    struct sss_spawn spawn = spawn_zero();
    int own = own_oom_score_adj();
    struct report report;
    size_t i;

    spawn.mask |= SSS_SPAWN_OOM_SCORE_ADJ;
    for (i = 0; i < count; i++) {
        spawn.oom_score_adj = values[i];
        report_spawned(*state, &spawn, &report);
        check_reported(&report, "oom_score_adj", "%d", values[i]);
        check_int(own_oom_score_adj(), own);
    }
}

/* What only root may do is done before the child is somebody else. */
static void privileged_before_the_uid(void **state)
{
    static const struct sss_spawn_rlimit limits[] = {
        { RLIMIT_MSGQUEUE, 0, 1 << 30, 1 << 30 },
    };
    struct sss_spawn spawn = spawn_zero();
    struct report report;

    needs_root("change ids, groups and nice values");
    spawn.mask |= SSS_SPAWN_UID | SSS_SPAWN_GID | SSS_SPAWN_NICE;
    spawn.uid = UID;
    spawn.gid = GID;
    spawn.nice = -3;
    report_spawned(*state, &spawn, &report);
    check_reported(&report, "Uid", "%d %d %d %d", UID, UID, UID, UID);
    check_reported(&report, "nice", "-3");
    if (!may_exceed()) {
        return;
    }
    spawn.mask |= SSS_SPAWN_RLIMITS | SSS_SPAWN_OOM_SCORE_ADJ;
    spawn.rlimits = limits;
    spawn.rlimits_count = ARRAY_SIZE(limits);
    spawn.oom_score_adj = -300;
    report_spawned(*state, &spawn, &report);
    check_limit(&report, RLIMIT_MSGQUEUE, 1 << 30, 1 << 30);
    check_reported(&report, "oom_score_adj", "-300");
}

static void the_session(void **state)
{
    struct sss_spawn spawn = spawn_zero();
    struct report report;

    spawn.mask |= SSS_SPAWN_SESSION;
    report_spawned(*state, &spawn, &report);
    check_reported(&report, "session", "%d", report.pid);
    check_reported(&report, "group", "%d", report.pid);
    check_reported(&report, "tty", "0");
}

static void a_group_of_its_own(void **state)
{
    struct sss_spawn spawn = spawn_zero();
    struct report report;

    spawn.mask |= SSS_SPAWN_PGRP;
    spawn.pgrp = 0;
    report_spawned(*state, &spawn, &report);
    check_reported(&report, "group", "%d", report.pid);
    check_reported(&report, "session", "%d", getsid(0));
}

static void another_child_s_group(void **state)
{
    struct loop *loop = *state;
    struct sss_spawn leader = spawn_zero(), spawn = spawn_zero();
    struct seen seen = { 0 };
    struct sss_child_ctx *child;
    struct report report;
    struct gate gate;

    gate_make(&gate);
    leader.mask |= SSS_SPAWN_PGRP;
    child = spawn_so_at(loop->ctx, &leader, &gate, 0, see, &seen);
    spawn.mask |= SSS_SPAWN_PGRP;
    spawn.pgrp = pid_of(child);
    report_spawned(loop, &spawn, &report);
    check_reported(&report, "group", "%d", spawn.pgrp);
    gate_open(&gate);
    loop_until(loop, &seen.calls, 1);
    check_ok(sss_child_free(child));
}

struct terminal {
    int master;
    int slave;
    long number; /* as in /proc/PID/stat */
};

static void terminal_open(struct terminal *terminal)
{
    struct stat st;

    terminal->master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    check(terminal->master != -1);
    check_ok(grantpt(terminal->master));
    check_ok(unlockpt(terminal->master));
    terminal->slave = open(ptsname(terminal->master), O_RDWR | O_NOCTTY | O_CLOEXEC);
    check(terminal->slave != -1);
    check_ok(fstat(terminal->slave, &st));
    terminal->number = (long)((minor(st.st_rdev) & 0xff) | (major(st.st_rdev) << 8)
                              | ((minor(st.st_rdev) & ~0xffu) << 12));
}

static void terminal_close(struct terminal *terminal)
{
    check_ok(close(terminal->slave));
    check_ok(close(terminal->master));
}

static void the_controlling_terminal(void **state)
{
    struct sss_spawn spawn = spawn_zero();
    struct terminal terminal;
    struct report report;

    terminal_open(&terminal);
    spawn.mask |= SSS_SPAWN_SESSION | SSS_SPAWN_TERMINAL;
    spawn.terminal_fd = terminal.slave;
    report_spawned(*state, &spawn, &report);
    check_reported(&report, "session", "%d", report.pid);
    check_reported(&report, "tty", "%ld", terminal.number);
    terminal_close(&terminal);
}

static void its_foreground_group(void **state)
{
    struct sss_spawn spawn = spawn_zero();
    struct terminal terminal;
    struct report report;

    terminal_open(&terminal);
    spawn.mask |= SSS_SPAWN_SESSION | SSS_SPAWN_TERMINAL | SSS_SPAWN_FOREGROUND;
    spawn.terminal_fd = terminal.slave;
    spawn.foreground_fd = terminal.slave;
    report_spawned(*state, &spawn, &report);
    check_reported(&report, "tty", "%ld", terminal.number);
    check_reported(&report, "foreground", "%d", report.pid);
    terminal_close(&terminal);
}

/* As a shell does for a job: a new group of the shell's session comes to the
 * foreground, though the shell itself, the second time, is in the background. */
static void run_jobs(void *unused)
{
    struct terminal terminal;
    struct report report;
    struct loop loop;
    int i;

    (void)unused;
    check(setsid() != -1);
    terminal_open(&terminal);
    check_ok(ioctl(terminal.slave, TIOCSCTTY, 0));
    loop_start(&loop, ctx_make(SSS_SCOPE_REGISTERED, 0), WAKE_BOTH);
    for (i = 0; i < 2; i++) {
        struct sss_spawn spawn = spawn_zero();

        spawn.mask |= SSS_SPAWN_PGRP | SSS_SPAWN_FOREGROUND;
        spawn.foreground_fd = terminal.slave;
        report_spawned(&loop, &spawn, &report);
        check_reported(&report, "session", "%d", getpid());
        check_reported(&report, "group", "%d", report.pid);
        check_reported(&report, "foreground", "%d", report.pid);
        check_reported(&report, "SigBlk", "0000000000000000");
    }
    loop_end(&loop);
    check(signal(SIGHUP, SIG_IGN) != SIG_ERR);
    terminal_close(&terminal);
}

static void a_job_in_the_foreground(void **state)
{
    (void)state;
    report_argv(); /* the test's own to remove */
    in_child(run_jobs, NULL);
}

static void the_parent_death_signal(void **state)
{
    struct sss_spawn spawn = spawn_zero();
    struct report report;

    report_spawned(*state, &spawn, &report);
    check_reported(&report, "pdeathsig", "0");
    spawn.mask |= SSS_SPAWN_PDEATHSIG;
    spawn.pdeathsig = SIGUSR1;
    report_spawned(*state, &spawn, &report);
    check_reported(&report, "pdeathsig", "%d", SIGUSR1);
    spawn.pdeathsig = SIGRTMAX;
    report_spawned(*state, &spawn, &report);
    check_reported(&report, "pdeathsig", "%d", SIGRTMAX);
}

/* A change of credentials clears the signal, which is therefore set after it. */
static void the_parent_death_signal_of_another_user(void **state)
{
    struct sss_spawn spawn = spawn_zero();
    struct report report;

    needs_root("change ids, groups and nice values");
    spawn.mask |= SSS_SPAWN_PDEATHSIG | SSS_SPAWN_UID | SSS_SPAWN_GID;
    spawn.pdeathsig = SIGTERM;
    spawn.uid = UID;
    spawn.gid = GID;
    report_spawned(*state, &spawn, &report);
    check_reported(&report, "pdeathsig", "%d", SIGTERM);
    check_reported(&report, "Uid", "%d %d %d %d", UID, UID, UID, UID);
}

static void no_new_privileges(void **state)
{
    struct sss_spawn spawn = spawn_zero();
    int own = prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0);
    struct report report;

    needs_root("change ids, groups and nice values");
    report_spawned(*state, &spawn, &report);
    check_reported(&report, "NoNewPrivs", "%d", own);
    spawn.mask |= SSS_SPAWN_NO_NEW_PRIVS;
    report_spawned(*state, &spawn, &report);
    check_reported(&report, "NoNewPrivs", "1");
    spawn.mask |= SSS_SPAWN_UID;
    spawn.uid = UID;
    report_spawned(*state, &spawn, &report);
    check_reported(&report, "NoNewPrivs", "1");
    check_int(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), own);
}

static const char *cgroup_root(void)
{
    static const char *const roots[] = { "/sys/fs/cgroup", "/sys/fs/cgroup/unified" };
    struct statfs fs;
    size_t i;

    /* By its path's type: fstatfs() may be filtered away. */
    for (i = 0; i < ARRAY_SIZE(roots); i++) {
        if (statfs(roots[i], &fs) == 0 && fs.f_type == CGROUP2_SUPER_MAGIC
            && access(roots[i], W_OK) == 0) {
            return roots[i];
        }
    }
    test_lacks("no cgroup2 that can be written");
}

static void remove_cgroup(const char *directory)
{
    int64_t deadline = now_ms() + DEADLINE_MS;

    while (rmdir(directory) != 0) {
        check_int(errno, EBUSY); /* the child is leaving */
        check(now_ms() < deadline);
    }
}

static void the_cgroup(void **state)
{
    const char *root = cgroup_root();
    struct sss_spawn spawn = spawn_zero();
    struct report report;
    char *directory, wanted[64];

    check(asprintf(&directory, "%s/sss_sigchld-%d", root, getpid()) != -1);
    snprintf(wanted, sizeof(wanted), "0::/sss_sigchld-%d", getpid());
    check_ok(mkdir(directory, 0755));
    spawn.mask |= SSS_SPAWN_CGROUP;
    spawn.cgroup_fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    check(spawn.cgroup_fd != -1);
    report_spawned(*state, &spawn, &report);
    check(strstr(reported(&report, "cgroup"), wanted) != NULL);
    spawn.mask |= SSS_SPAWN_UID | SSS_SPAWN_GID;
    spawn.uid = UID;
    spawn.gid = GID;
    report_spawned(*state, &spawn, &report);
    check(strstr(reported(&report, "cgroup"), wanted) != NULL);
    check_reported(&report, "Uid", "%d %d %d %d", UID, UID, UID, UID);
    check_ok(close(spawn.cgroup_fd));
    remove_cgroup(directory);
    free(directory);
}

static void handle(int signum)
{
    (void)signum;
}

/* The caller ignores, handles and blocks; all but SIGCHLD, which is the loop's. */
struct signals {
    struct sigaction actions[65];
    bool changed[65];
    sigset_t mask;
};

static void upset_signals(struct signals *signals, void (*handler)(int))
{
    const struct sigaction act = { .sa_handler = handler };
    sigset_t set;
    int signum;

    memset(signals, 0, sizeof(*signals));
    for (signum = 1; signum <= 64; signum++) {
        if (signum == SIGCHLD || signum == SIGALRM) {
            continue;
        }
        signals->changed[signum] = sigaction(signum, &act, &signals->actions[signum]) == 0;
    }
    check(signals->changed[SIGPIPE] && signals->changed[SIGRTMIN]);
    sigfillset(&set);
    sigdelset(&set, SIGALRM);
    check_ok(sigprocmask(SIG_SETMASK, &set, &signals->mask));
}

static void calm_signals(const struct signals *signals)
{
    int signum;

    for (signum = 1; signum <= 64; signum++) {
        if (signals->changed[signum]) {
            check_ok(sigaction(signum, &signals->actions[signum], NULL));
        }
    }
    check_ok(sigprocmask(SIG_SETMASK, &signals->mask, NULL));
}

static void default_signals(void **state)
{
    void (*const handlers[])(int) = { SIG_IGN, handle };
    struct signals signals;
    struct report report;
    sigset_t mask;
    size_t i;

    for (i = 0; i < ARRAY_SIZE(handlers); i++) {
        struct sss_spawn spawn = spawn_zero();

        upset_signals(&signals, handlers[i]);
        report_spawned(*state, &spawn, &report);
        check_ok(sigprocmask(SIG_SETMASK, NULL, &mask));
        calm_signals(&signals);
        check_reported(&report, "SigBlk", "0000000000000000");
        check_reported(&report, "SigIgn", "0000000000000000");
        check_reported(&report, "SigCgt", "0000000000000000");
        check_int(sigismember(&mask, SIGTERM), 1);
        check_int(sigismember(&mask, SIGALRM), 0);
    }
}

/* All that a report holds, except what the kernel counts for each process. */
static void check_same(const struct report *one, const struct report *other)
{
    static const char *const keys[] = {
        "fd", "arg", "env", "ppid", "session", "group", "nice", "cwd", "pdeathsig", "tty",
        "foreground", "limit", "oom_score_adj", "cgroup", "Umask", "Uid", "Gid", "Groups",
        "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp", "SigBlk",
        "SigIgn", "SigCgt", "Cpus_allowed", "TracerPid",
    };
    size_t i;

    for (i = 0; i < ARRAY_SIZE(keys); i++) {
        check_reported(one, keys[i], "%s", reported(other, keys[i]));
    }
}

static void fields_without_their_bit(void **state)
{
    struct sss_spawn spawn = spawn_zero();
    struct sss_spawn clean = spawn;
    struct report report, execed;

    needs_root("change ids, groups and nice values");
    memset(&spawn, 0x5a, sizeof(spawn));
    spawn.size = clean.size;
    spawn.mask = clean.mask;
    spawn.path = NULL; /* filled in */
    spawn.argv = NULL;
    spawn.envp = NULL;
    spawn.cwd = NULL;
    take_groups();
    report_execed(&execed);
    report_spawned(*state, &spawn, &report);
    give_groups_back();
    check_same(&report, &execed);
}

/* Everything at once: no step undoes another's. */
static void all_together(void **state)
{
    static const struct sss_spawn_rlimit limits[] = { { RLIMIT_SIGPENDING, 0, 50, 60 } };
    static const uint32_t groups[] = { 9 };
    struct sss_spawn spawn = spawn_zero();
    struct terminal terminal;
    struct report report;

    needs_root("change ids, groups and nice values");
    terminal_open(&terminal);
    spawn.mask |= SSS_SPAWN_UID | SSS_SPAWN_GID | SSS_SPAWN_GROUPS | SSS_SPAWN_UMASK
                  | SSS_SPAWN_RLIMITS | SSS_SPAWN_NICE | SSS_SPAWN_OOM_SCORE_ADJ
                  | SSS_SPAWN_SESSION | SSS_SPAWN_TERMINAL | SSS_SPAWN_FOREGROUND
                  | SSS_SPAWN_PDEATHSIG | SSS_SPAWN_NO_NEW_PRIVS;
    spawn.uid = UID;
    spawn.gid = GID;
    spawn.groups = groups;
    spawn.groups_count = ARRAY_SIZE(groups);
    spawn.umask = 0077;
    spawn.rlimits = limits;
    spawn.rlimits_count = ARRAY_SIZE(limits);
    spawn.nice = 3;
    spawn.oom_score_adj = 30;
    spawn.terminal_fd = terminal.slave;
    spawn.foreground_fd = terminal.slave;
    spawn.pdeathsig = SIGINT;
    spawn.cwd = "/";
    report_spawned(*state, &spawn, &report);
    check_reported(&report, "Uid", "%d %d %d %d", UID, UID, UID, UID);
    check_reported(&report, "Gid", "%d %d %d %d", GID, GID, GID, GID);
    check_reported(&report, "Groups", "9");
    check_reported(&report, "Umask", "0077");
    check_limit(&report, RLIMIT_SIGPENDING, 50, 60);
    check_reported(&report, "nice", "3");
    check_reported(&report, "oom_score_adj", "30");
    check_reported(&report, "session", "%d", report.pid);
    check_reported(&report, "tty", "%ld", terminal.number);
    check_reported(&report, "foreground", "%d", report.pid);
    check_reported(&report, "pdeathsig", "%d", SIGINT);
    check_reported(&report, "NoNewPrivs", "1");
    check_reported(&report, "cwd", "/");
    terminal_close(&terminal);
}

#define TEST(test) ONE_WAY(test, "", 4)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_uid),
        TEST(the_gid),
        TEST(the_groups),
        TEST(the_groups_go_with_the_uid),
        TEST(the_umask),
        TEST(the_limits),
        TEST(a_limit_below_a_target),
        TEST(the_nice_value),
        TEST(the_oom_score_adj),
        TEST(privileged_before_the_uid),
        TEST(the_session),
        TEST(a_group_of_its_own),
        TEST(another_child_s_group),
        TEST(the_controlling_terminal),
        TEST(its_foreground_group),
        TEST(a_job_in_the_foreground),
        TEST(the_parent_death_signal),
        TEST(the_parent_death_signal_of_another_user),
        TEST(no_new_privileges),
        TEST(the_cgroup),
        TEST(default_signals),
        TEST(fields_without_their_bit),
        TEST(all_together),
    };

    return RUN_BOTH_MANNERS(tests);
}
