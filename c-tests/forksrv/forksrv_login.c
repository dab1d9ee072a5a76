/* As login does, by a fork server: a home entered as its owner, the signals that a session
 * begins with, a script without a first line, a terminal. */
#include "support/test.h"

#include <fcntl.h>
#include <poll.h>
#include <pwd.h>
#include <sys/stat.h>

#include "support/server.h"

#define SIGNAL_BIT(signum) (UINT64_C(1) << ((signum) - 1))

static const uint32_t manners[] = { SSS_FORKSRV_CLONE_PARENT, SSS_FORKSRV_SERVERS_CHILDREN };

static errno_t refused(struct server_bed *bed, struct sss_spawn *spawn, uint32_t *step)
{
    static const char *const argv[] = { "true", NULL };
    struct sss_child_ctx *child;

    spawn->path = "/bin/true";
    spawn->argv = argv;
    spawn->failed_step = step;
    *step = 0;
    return sss_forksrv_launch(NULL, bed->srv, spawn, see, NULL, &child);
}

static void a_home_is_entered_as_its_owner(void **state)
{
    const struct passwd *user = getpwnam("nobody");
    struct server_bed bed;
    struct report report;
    char home[64], caller[4096];
    uint32_t step;
    size_t i;

    (void)state;
    if (user == NULL || geteuid() != 0) {
        test_skip("user", "needs root and a user nobody");
    }
    check(getcwd(caller, sizeof(caller)) != NULL);
    strcpy(home, "/tmp/sss_sigchld-home-XXXXXX");
    check(mkdtemp(home) != NULL);
    check_ok(chmod(home, 0700));
    for (i = 0; i < 2 * ARRAY_SIZE(manners); i++) {
        struct sss_spawn spawn = spawn_zero();
        bool by_descriptor = i >= ARRAY_SIZE(manners);

        server_bed_open(&bed, manners[i % ARRAY_SIZE(manners)]);
        check_ok(chown(home, 0, (gid_t)-1));
        spawn.mask |= SSS_SPAWN_USER;
        spawn.user = user->pw_name;
        if (by_descriptor) {
            spawn.mask |= SSS_SPAWN_CWD_FD;
            spawn.cwd_fd = open(home, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
            check(spawn.cwd_fd != -1);
        } else {
            spawn.cwd = home;
        }
        server_report(&bed, &spawn, &report); /* root's right to enter it */
        check_reported(&report, "cwd", "%s", home);
        check_reported(&report, "Uid", "%u %u %u %u", user->pw_uid, user->pw_uid, user->pw_uid,
                       user->pw_uid);

        spawn.mask |= SSS_SPAWN_CWD_AS_CHILD;
        check_int(refused(&bed, &spawn, &step), EACCES);
        check_int(step, SSS_SPAWN_STEP_CWD);
        spawn.mask |= SSS_SPAWN_CWD_MAY_FAIL;
        server_report(&bed, &spawn, &report);
        check_reported(&report, "cwd", "%s", caller);

        check_ok(chown(home, user->pw_uid, (gid_t)-1));
        spawn.mask &= ~SSS_SPAWN_CWD_MAY_FAIL;
        server_report(&bed, &spawn, &report);
        check_reported(&report, "cwd", "%s", home);
        if (by_descriptor) {
            check_ok(close(spawn.cwd_fd));
        }
        server_bed_close(&bed);
    }
    check_ok(rmdir(home));
}

static void a_home_that_is_not_there(void **state)
{
    struct sss_spawn spawn = spawn_zero();
    struct report report;
    struct server_bed bed;
    char caller[4096];
    uint32_t step;

    (void)state;
    check(getcwd(caller, sizeof(caller)) != NULL);
    server_bed_open(&bed, 0);
    spawn.cwd = "/nonexistent";
    check_int(refused(&bed, &spawn, &step), ENOENT);
    check_int(step, SSS_SPAWN_STEP_CWD);
    spawn.mask |= SSS_SPAWN_CWD_MAY_FAIL;
    server_report(&bed, &spawn, &report);
    check_reported(&report, "cwd", "%s", caller);
    server_bed_close(&bed);
}

static void its_signals(void **state)
{
    struct report report;
    struct server_bed bed;
    size_t i;

    (void)state;
    for (i = 0; i < ARRAY_SIZE(manners); i++) {
        struct sss_spawn spawn = spawn_zero();

        server_bed_open(&bed, manners[i]);
        spawn.mask |= SSS_SPAWN_SIGMASK | SSS_SPAWN_SIGIGNORE;
        spawn.sigmask = SIGNAL_BIT(SIGUSR1) | SIGNAL_BIT(SIGCHLD) | SIGNAL_BIT(64);
        spawn.sigignore = SIGNAL_BIT(SIGHUP) | SIGNAL_BIT(SIGTSTP) | SIGNAL_BIT(64);
        server_report(&bed, &spawn, &report);
        check_reported(&report, "SigBlk", "%016jx", (uintmax_t)spawn.sigmask);
        check_reported(&report, "SigIgn", "%016jx", (uintmax_t)spawn.sigignore);

        spawn.mask &= ~(SSS_SPAWN_SIGMASK | SSS_SPAWN_SIGIGNORE);
        server_report(&bed, &spawn, &report);
        check_reported(&report, "SigBlk", "%016x", 0);
        check_reported(&report, "SigIgn", "%016x", 0);
        server_bed_close(&bed);
    }
}

static void a_script_without_a_first_line(void **state)
{
    static const char text[] = "[ \"$1\" = two\\ words ] && [ $# = 2 ] && exit 9\n";
    const char *const argv[] = { "script", "two words", "", NULL };
    char path[] = "/tmp/sss_sigchld-script-XXXXXX";
    int fd = mkostemp(path, O_CLOEXEC);
    struct server_bed bed;
    uint32_t step;
    size_t i;

    (void)state;
    check(fd != -1);
    check_int(write(fd, text, sizeof(text) - 1), sizeof(text) - 1);
    check_ok(fchmod(fd, 0755));
    check_ok(close(fd));
    for (i = 0; i < ARRAY_SIZE(manners); i++) {
        struct sss_spawn spawn = spawn_zero();
        struct sss_child_ctx *child;
        struct seen seen = { 0 };

        server_bed_open(&bed, manners[i]);
        spawn.path = path;
        spawn.argv = argv;
        spawn.failed_step = &step;
        check_int(sss_forksrv_launch(NULL, bed.srv, &spawn, see, &seen, &child), ENOEXEC);
        check_int(step, SSS_SPAWN_STEP_EXEC);
        spawn.mask |= SSS_SPAWN_SHELL;
        check_ok(sss_forksrv_launch(NULL, bed.srv, &spawn, see, &seen, &child));
        loop_until(&bed.loop, &seen.calls, 1);
        check_int(seen.status, status_of(9));
        check_ok(sss_child_free(child));
        server_bed_close(&bed);
    }
    check_ok(unlink(path));
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
    const char *const argv[] = { "sh", "-c",
                                 "read line; echo got $line; tty; echo ctty > /dev/tty", NULL };
    struct server_bed bed;
    size_t i;

    (void)state;
    for (i = 0; i < ARRAY_SIZE(manners); i++) {
        struct sss_spawn spawn = spawn_zero();
        struct sss_child_ctx *child;
        struct seen seen = { 0 };
        char text[4096], name[64];
        int32_t master = -7;
        uint32_t step;

        server_bed_open(&bed, manners[i]);
        spawn.mask |= SSS_SPAWN_PTY;
        spawn.pty_master = &master;
        check_int((spawn.cwd = "/nonexistent", refused(&bed, &spawn, &step)), ENOENT);
        check_int(master, -7);
        spawn.cwd = NULL;
        spawn.path = "/bin/sh";
        spawn.argv = argv;
        check_ok(sss_forksrv_launch(NULL, bed.srv, &spawn, see, &seen, &child));
        check(master > 2);
        check_int(fcntl(master, F_GETFD), FD_CLOEXEC);
        check_ok(ptsname_r(master, name, sizeof(name)));
        check_int(write(master, "word\n", 5), 5);
        read_terminal(master, text, sizeof(text));
        check(strstr(text, "got word") != NULL);
        check(strstr(text, name) != NULL);
        check(strstr(text, "ctty") != NULL);
        loop_until(&bed.loop, &seen.calls, 1);
        check_int(seen.status, 0);
        check_ok(close(master));
        check_ok(sss_child_free(child));
        server_bed_close(&bed);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_home_is_entered_as_its_owner),
        cmocka_unit_test(a_home_that_is_not_there),
        cmocka_unit_test(its_signals),
        cmocka_unit_test(a_script_without_a_first_line),
        cmocka_unit_test(a_terminal_of_its_own),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
