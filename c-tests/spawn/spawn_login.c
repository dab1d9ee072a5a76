/*
 * What login, cron and inetd need of a spawn: a user by name with its groups, its
 * home entered as that user, the signals that a session begins with, scripts without
 * a first line, and a terminal.
 */
#include "support/test.h"

#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <pwd.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "support/spawn.h"

#define SIGNAL_BIT(signum) (UINT64_C(1) << ((signum) - 1))

/* A user who is not us, and whose groups are known. */
static const struct passwd *somebody(void)
{
    const struct passwd *user = getpwnam("nobody");

    if (user == NULL || geteuid() != 0) {
        test_skip("user", "needs root and a user nobody");
    }
    return user;
}

/* The groups of initgroups(3), as /proc shows them. */
static void groups_of(const struct passwd *user, char *text, size_t size)
{
    gid_t groups[64];
    int count = ARRAY_SIZE(groups), i;

    check(getgrouplist(user->pw_name, user->pw_gid, groups, &count) != -1);
    text[0] = '\0';
    for (i = 0; i < count; i++) {
        size_t used = strlen(text);

        snprintf(text + used, size - used, "%s%u", i == 0 ? "" : " ", groups[i]);
    }
}

static void a_user_by_name(void **state)
{
    const struct passwd *user = somebody();
    struct sss_spawn spawn = spawn_zero();
    struct report report;
    uint32_t groups[] = { 7 };
    char text[512];

    spawn.mask |= SSS_SPAWN_USER;
    spawn.user = user->pw_name;
    report_spawned(*state, &spawn, &report);
    check_reported(&report, "Uid", "%u %u %u %u", user->pw_uid, user->pw_uid, user->pw_uid,
                   user->pw_uid);
    check_reported(&report, "Gid", "%u %u %u %u", user->pw_gid, user->pw_gid, user->pw_gid,
                   user->pw_gid);
    groups_of(user, text, sizeof(text));
    check_reported(&report, "Groups", "%s", text);

    spawn.mask |= SSS_SPAWN_GID | SSS_SPAWN_GROUPS;
    spawn.gid = 5;
    spawn.groups = groups;
    spawn.groups_count = 1;
    report_spawned(*state, &spawn, &report);
    check_reported(&report, "Uid", "%u %u %u %u", user->pw_uid, user->pw_uid, user->pw_uid,
                   user->pw_uid);
    check_reported(&report, "Gid", "5 5 5 5");
    check_reported(&report, "Groups", "7");
    check_int(geteuid(), 0);
}

static errno_t refused(struct loop *loop, struct sss_spawn *spawn, uint32_t *step)
{
    static const char *const argv[] = { "true", NULL };
    struct sss_child_ctx *child;
    errno_t ret;

    *step = 0;
    spawn->failed_step = step;
    if (spawn->path == NULL) {
        spawn->path = "/bin/true";
    }
    spawn->argv = argv;
    ret = sss_child_spawn(NULL, loop->ctx, spawn, NULL, NULL, &child);
    check(ret != 0);
    check_no_children();
    check_int(stats_of(loop->ctx).watches, 0);
    return ret;
}

static void no_such_user(void **state)
{
    struct sss_spawn spawn = spawn_zero();
    uint32_t step;

    spawn.mask |= SSS_SPAWN_USER;
    check_int(refused(*state, &spawn, &step), EINVAL); /* NULL */
    check_int(step, SSS_SPAWN_STEP_SPEC);
    spawn.user = "no such user";
    check_int(refused(*state, &spawn, &step), ENOENT);
    check_int(step, SSS_SPAWN_STEP_USER);
    spawn.user = "";
    check_int(refused(*state, &spawn, &step), ENOENT);
    check_int(step, SSS_SPAWN_STEP_USER);
    spawn.user = "root";
    spawn.mask |= SSS_SPAWN_UID;
    check_int(refused(*state, &spawn, &step), EINVAL);
    check_int(step, SSS_SPAWN_STEP_SPEC);
}

/* A directory that root may enter and nobody else, or that only its owner may. */
static void make_home(char *path, uid_t owner)
{
    strcpy(path, "/tmp/sss_sigchld-home-XXXXXX");
    check(mkdtemp(path) != NULL);
    check_ok(chmod(path, 0700));
    check_ok(chown(path, owner, (gid_t)-1));
}

static void a_home_is_entered_as_its_owner(void **state)
{
    const struct passwd *user = somebody();
    struct sss_spawn spawn = spawn_zero();
    struct report report;
    char home[64], caller[4096];
    uint32_t step;

    check(getcwd(caller, sizeof(caller)) != NULL);
    make_home(home, 0);
    spawn.mask |= SSS_SPAWN_USER;
    spawn.user = user->pw_name;
    spawn.cwd = home;
    report_spawned(*state, &spawn, &report); /* root's right to enter it */
    check_reported(&report, "cwd", "%s", home);

    spawn.path = NULL;
    spawn.mask |= SSS_SPAWN_CWD_AS_CHILD;
    check_int(refused(*state, &spawn, &step), EACCES);
    check_int(step, SSS_SPAWN_STEP_CWD);

    spawn.path = NULL;
    spawn.argv = NULL;
    spawn.mask |= SSS_SPAWN_CWD_MAY_FAIL;
    report_spawned(*state, &spawn, &report);
    check_reported(&report, "cwd", "%s", caller);

    check_ok(chown(home, user->pw_uid, (gid_t)-1));
    spawn.mask &= ~SSS_SPAWN_CWD_MAY_FAIL;
    report_spawned(*state, &spawn, &report);
    check_reported(&report, "cwd", "%s", home);
    check_ok(rmdir(home));
}

/* The descriptors are those of the map: 4 and 5. */
static void check_numbers(const struct report *report)
{
    const char *fds = reported(report, "fd"), *second = strchr(fds, '|');

    check_int(strncmp(fds, "4=", 2), 0);
    check(second != NULL && strncmp(second, "|5=", 3) == 0 && strchr(second + 1, '|') == NULL);
}

static void a_home_by_its_descriptor(void **state)
{
    struct sss_spawn spawn = spawn_zero();
    const struct sss_spawn_fd map[] = { { 2, 5 }, { 1, 4 } };
    struct report report;
    uint32_t step;

    spawn.mask |= SSS_SPAWN_CWD_FD | SSS_SPAWN_CWD_AS_CHILD | SSS_SPAWN_FDS;
    spawn.cwd_fd = open("/usr", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    check(spawn.cwd_fd != -1);
    spawn.fds = map;
    spawn.fds_count = 2;
    report_spawned(*state, &spawn, &report);
    check_reported(&report, "cwd", "/usr");
    check_numbers(&report);
    check_ok(fcntl(spawn.cwd_fd, F_SETFD, 0)); /* the child has it neither way */
    report_spawned(*state, &spawn, &report);
    check_reported(&report, "cwd", "/usr");
    check_numbers(&report);
    check_ok(close(spawn.cwd_fd));

    spawn.mask |= SSS_SPAWN_CWD_MAY_FAIL; /* a closed descriptor is an error all the same */
    check_int(refused(*state, &spawn, &step), EBADF);
    check_int(step, SSS_SPAWN_STEP_CWD);
}

static void a_home_that_is_not_there(void **state)
{
    struct sss_spawn spawn = spawn_zero();
    struct report report;
    char caller[4096];
    uint32_t step;

    check(getcwd(caller, sizeof(caller)) != NULL);
    spawn.cwd = "/nonexistent";
    spawn.mask |= SSS_SPAWN_CWD_MAY_FAIL;
    report_spawned(*state, &spawn, &report);
    check_reported(&report, "cwd", "%s", caller);
    spawn.cwd = NULL; /* none that could fail */
    check_int(refused(*state, &spawn, &step), EINVAL);
    check_int(step, SSS_SPAWN_STEP_SPEC);
}

static void its_signals(void **state)
{
    struct sss_spawn spawn = spawn_zero();
    struct report report;
    uint32_t step;

    if (test_profile_is("valgrind")) {
        test_skip("valgrind", "valgrind has signals of its own");
    }
    spawn.mask |= SSS_SPAWN_SIGMASK | SSS_SPAWN_SIGIGNORE;
    spawn.sigmask = SIGNAL_BIT(SIGUSR1) | SIGNAL_BIT(SIGCHLD) | SIGNAL_BIT(64);
    spawn.sigignore = SIGNAL_BIT(SIGHUP) | SIGNAL_BIT(SIGTSTP) | SIGNAL_BIT(64);
    report_spawned(*state, &spawn, &report);
    check_reported(&report, "SigBlk", "%016jx", (uintmax_t)spawn.sigmask);
    check_reported(&report, "SigIgn", "%016jx", (uintmax_t)spawn.sigignore);

    spawn.mask &= ~(SSS_SPAWN_SIGMASK | SSS_SPAWN_SIGIGNORE);
    report_spawned(*state, &spawn, &report);
    check_reported(&report, "SigBlk", "%016x", 0);
    check_reported(&report, "SigIgn", "%016x", 0);

    spawn.mask |= SSS_SPAWN_SIGIGNORE;
    spawn.sigignore = SIGNAL_BIT(SIGKILL);
    check_int(refused(*state, &spawn, &step), EINVAL);
    check_int(step, SSS_SPAWN_STEP_SPEC);
    spawn.sigignore = SIGNAL_BIT(SIGSTOP);
    check_int(refused(*state, &spawn, &step), EINVAL);
}

static void write_script(char *path)
{
    static const char text[] = "[ \"$1\" = two\\ words ] && [ $# = 2 ] && exit 9\n";
    int fd;

    strcpy(path, "/tmp/sss_sigchld-script-XXXXXX");
    fd = mkostemp(path, O_CLOEXEC);
    check(fd != -1);
    check_int(write(fd, text, sizeof(text) - 1), sizeof(text) - 1);
    check_ok(fchmod(fd, 0755));
    check_ok(close(fd));
}

static void a_script_without_a_first_line(void **state)
{
    const char *const argv[] = { "script", "two words", "", NULL };
    struct sss_spawn spawn = spawn_zero();
    struct loop *loop = *state;
    struct sss_child_ctx *child;
    char path[64];
    uint32_t step;
    int search;

    write_script(path);
    spawn.path = path;
    check_int(refused(loop, &spawn, &step), ENOEXEC);
    check_int(step, SSS_SPAWN_STEP_EXEC);
    spawn.mask |= SSS_SPAWN_SHELL;
    for (search = 0; search < 2; search++) {
        struct seen seen = { 0 };

        if (search) {
            check_ok(setenv("PATH", "/nonexistent:/tmp:/bin", 1));
            spawn.path = strrchr(path, '/') + 1;
            spawn.mask |= SSS_SPAWN_SEARCH_PATH;
        }
        spawn.argv = argv;
        check_ok(sss_child_spawn(NULL, loop->ctx, &spawn, see, &seen, &child));
        loop_until(loop, &seen.calls, 1);
        check_int(seen.status, status_of(9));
        check_ok(sss_child_free(child));
    }
    check_ok(unlink(path));
    spawn.path = "/bin/true"; /* what can be executed needs no shell */
    {
        struct seen seen = { 0 };

        check_ok(sss_child_spawn(NULL, loop->ctx, &spawn, see, &seen, &child));
        loop_until(loop, &seen.calls, 1);
        check_int(seen.status, 0);
        check_ok(sss_child_free(child));
    }
}

/* Reads what comes out of a terminal until it hangs up. */
static void read_terminal(int master, char *text, size_t size)
{
    struct pollfd fd = { .fd = master, .events = POLLIN };
    size_t used = 0;
    ssize_t got;

    for (;;) {
        check_int(poll(&fd, 1, DEADLINE_MS), 1);
        got = read(master, text + used, size - used - 1);
        if (got <= 0) {
            check(got == 0 || errno == EIO);
            break;
        }
        used += (size_t)got;
    }
    text[used] = '\0';
}

static void a_terminal_of_its_own(void **state)
{
    static const char script[] = "read line; echo got $line; stty size; tty; "
                                 "echo ctty > /dev/tty";
    const char *const argv[] = { "sh", "-c", script, NULL };
    struct sss_spawn spawn = spawn_zero();
    struct winsize size = { .ws_row = 33, .ws_col = 77 };
    struct loop *loop = *state;
    struct sss_child_ctx *child;
    struct seen seen = { 0 };
    char text[4096], name[64];
    int32_t master = -7;

    spawn.mask |= SSS_SPAWN_PTY;
    spawn.path = "/bin/sh";
    spawn.argv = argv;
    spawn.pty_master = &master;
    check_ok(sss_child_spawn(NULL, loop->ctx, &spawn, see, &seen, &child));
    check(master > 2);
    check_int(fcntl(master, F_GETFD), FD_CLOEXEC);
    check_ok(ptsname_r(master, name, sizeof(name)));
    check_ok(ioctl(master, TIOCSWINSZ, &size));
    check_int(write(master, "word\n", 5), 5);
    read_terminal(master, text, sizeof(text));
    check(strstr(text, "got word") != NULL);
    check(strstr(text, "33 77") != NULL);
    check(strstr(text, name) != NULL);
    check(strstr(text, "ctty") != NULL);
    loop_until(loop, &seen.calls, 1);
    check_int(seen.status, 0);
    check_ok(close(master));
    check_ok(sss_child_free(child));
}

static void a_terminal_in_the_map(void **state)
{
    const char *const argv[] = { "sh", "-c", "echo to the terminal >&7; [ -t 7 ] && [ ! -t 1 ] "
                                 "&& [ ! -e /proc/self/fd/0 ]", NULL };
    const struct sss_spawn_fd map[] = { { SSS_SPAWN_FD_PTY, 7 }, { -1, 1 }, { 2, 2 } };
    struct sss_spawn_fd given[3];
    struct sss_spawn spawn = spawn_zero();
    struct loop *loop = *state;
    struct sss_child_ctx *child;
    struct seen seen = { 0 };
    int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    char text[4096];
    int32_t master = -7;
    uint32_t step;

    memcpy(given, map, sizeof(map));
    given[1].source = null;
    spawn.mask |= SSS_SPAWN_PTY | SSS_SPAWN_FDS;
    spawn.path = "/bin/sh";
    spawn.argv = argv;
    spawn.fds = given;
    spawn.fds_count = 2;
    spawn.pty_master = &master;
    check_ok(sss_child_spawn(NULL, loop->ctx, &spawn, see, &seen, &child));
    read_terminal(master, text, sizeof(text));
    check(strstr(text, "to the terminal") != NULL);
    loop_until(loop, &seen.calls, 1);
    check_int(seen.status, 0);
    check_ok(close(master));
    check_ok(sss_child_free(child));
    check_ok(close(null));

    given[1].source = 1;
    spawn.mask &= ~SSS_SPAWN_PTY; /* the number means nothing then */
    check_int(refused(loop, &spawn, &step), EBADF);
    check_int(step, SSS_SPAWN_STEP_FDS);
}

static void terminals_that_cannot_be(void **state)
{
    struct sss_spawn spawn = spawn_zero();
    unsigned fds = count_fds();
    int32_t master = -7;
    uint32_t step;

    spawn.mask |= SSS_SPAWN_PTY;
    check_int(refused(*state, &spawn, &step), EINVAL); /* no place for the master */
    check_int(step, SSS_SPAWN_STEP_SPEC);
    spawn.pty_master = &master;
    spawn.mask |= SSS_SPAWN_PGRP;
    check_int(refused(*state, &spawn, &step), EINVAL);
    spawn.mask ^= SSS_SPAWN_PGRP | SSS_SPAWN_TERMINAL;
    check_int(refused(*state, &spawn, &step), EINVAL);
    spawn.mask ^= SSS_SPAWN_TERMINAL;
    spawn.path = "/nonexistent";
    check_int(refused(*state, &spawn, &step), ENOENT);
    check_int(step, SSS_SPAWN_STEP_EXEC);
    check_int(master, -7);
    check_int(count_fds(), fds);
}

static void a_terminal_belongs_to_its_user(void **state)
{
    const struct passwd *user = somebody();
    const char *const argv[] = { "sh", "-c", "exec 3<>$(tty) && echo opened >&3", NULL };
    struct sss_spawn spawn = spawn_zero();
    struct loop *loop = *state;
    struct sss_child_ctx *child;
    struct seen seen = { 0 };
    char text[4096];
    int32_t master;

    spawn.mask |= SSS_SPAWN_USER;
    spawn.user = user->pw_name;
    spawn.mask |= SSS_SPAWN_PTY;
    spawn.path = "/bin/sh";
    spawn.argv = argv;
    spawn.pty_master = &master;
    check_ok(sss_child_spawn(NULL, loop->ctx, &spawn, see, &seen, &child));
    read_terminal(master, text, sizeof(text));
    check(strstr(text, "opened") != NULL);
    loop_until(loop, &seen.calls, 1);
    check_int(seen.status, 0);
    check_ok(close(master));
    check_ok(sss_child_free(child));
}

#define TEST(test) ONE_WAY(test, "", 4)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_user_by_name),
        TEST(no_such_user),
        TEST(a_home_is_entered_as_its_owner),
        TEST(a_home_by_its_descriptor),
        TEST(a_home_that_is_not_there),
        TEST(its_signals),
        TEST(a_script_without_a_first_line),
        TEST(a_terminal_of_its_own),
        TEST(a_terminal_in_the_map),
        TEST(terminals_that_cannot_be),
        TEST(a_terminal_belongs_to_its_user),
    };

    return RUN_BOTH_MANNERS(tests);
}
