/* What a launched child has: the client's state at the launch, the client's rights, and
 * nothing of the server's. */
#include "support/test.h"

#include <fcntl.h>
#include <grp.h>
#include <pthread.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "support/server.h"

static const char *const keys[] = {
    "cwd", "fd", "env", "limit", "nice", "session", "group", "Umask", "Uid", "Gid", "Groups",
    "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "SigBlk",
};

static void check_same(const struct report *got, const struct report *wanted)
{
    size_t i;

    for (i = 0; i < ARRAY_SIZE(keys); i++) {
        char *value = strdup(reported(wanted, keys[i]));

        check(value != NULL);
        check_reported(got, keys[i], "%s", value);
        free(value);
    }
}

/* All of it changed after the server began. */
static void the_clients_state_now(void **state)
{
    static const uint32_t flags[] = { 0, SSS_FORKSRV_SERVERS_CHILDREN, SSS_FORKSRV_FORK };
    static struct report launched, execed;
    struct server_bed *bed = *state;
    struct rlimit limit, less;
    struct sss_spawn spawn;
    char cwd[4096];
    mode_t mask;
    size_t i;

    if (test_profile_is("valgrind")) {
        test_skip("valgrind", "the tool changes the environment that it execs with");
    }
    check(getcwd(cwd, sizeof(cwd)) != NULL);
    check_ok(getrlimit(RLIMIT_CORE, &limit));
    for (i = 0; i < ARRAY_SIZE(flags); i++) {
        server_start(bed, flags[i]);
        check_ok(chdir("/usr"));
        mask = umask(0137);
        check_ok(setenv("SSS_TEST_VARIABLE", "set late", 1));
        less = limit;
        less.rlim_cur = 4096 < limit.rlim_max ? 4096 : limit.rlim_max;
        check_ok(setrlimit(RLIMIT_CORE, &less));
        spawn = spawn_zero();
        server_report(bed, &spawn, &launched);
        report_execed(&execed);
        check_same(&launched, &execed);
        check_reported(&launched, "cwd", "%s", "/usr");
        check_ok(setrlimit(RLIMIT_CORE, &limit));
        umask(mask);
        check_ok(unsetenv("SSS_TEST_VARIABLE"));
        check_ok(chdir(cwd));
        server_finish(bed);
    }
}

static void reported_fds(struct server_bed *bed, char *text, size_t size)
{
    static struct report report;
    struct sss_spawn spawn = spawn_zero();

    server_report(bed, &spawn, &report);
    check(snprintf(text, size, "%s", reported(&report, "fd")) < (int)size);
}

static void open_for_all(int fds[4])
{
    check_ok(pipe(fds));
    check((fds[2] = open("/dev/null", O_RDWR)) != -1);
    check((fds[3] = fcntl(fds[2], F_DUPFD, 500)) != -1);
}

static void close_again(const int fds[4])
{
    int i;

    for (i = 0; i < 4; i++) {
        check_ok(close(fds[i]));
    }
}

/* The daemon's own descriptors that are not close-on-exec, from before the server and after. */
static void no_descriptor_that_is_not_in_its_map(void **state)
{
    static const uint32_t flags[] = {
        SSS_FORKSRV_CLONE_PARENT,
        SSS_FORKSRV_SERVERS_CHILDREN,
        SSS_FORKSRV_FORK | SSS_FORKSRV_CLONE_PARENT,
        SSS_FORKSRV_FORK | SSS_FORKSRV_SERVERS_CHILDREN,
    };
    char without[256], with[256];
    struct server_bed *bed = *state;
    int before[4], after[4];
    size_t i;

    for (i = 0; i < ARRAY_SIZE(flags); i++) {
        server_start(bed, flags[i]);
        reported_fds(bed, without, sizeof(without));
        server_finish(bed);
        open_for_all(before);
        server_start(bed, flags[i]);
        open_for_all(after);
        reported_fds(bed, with, sizeof(with));
        check_int(strcmp(with, without), 0);
        close_again(before);
        close_again(after);
        server_finish(bed);
    }
}

static void drops_root(void *arg)
{
    uint32_t flags = *(const uint32_t *)arg;
    static struct report report;
    struct server_bed bed = { 0 };
    struct sss_spawn spawn = spawn_zero();
    gid_t group = 4711;

    loop_start(&bed.loop, ctx_make(SSS_SCOPE_REGISTERED, 0), WAKE_DESCRIPTOR);
    server_start(&bed, flags);
    server_report(&bed, &spawn, &report);
    check_reported(&report, "Uid", "%s", "0 0 0 0");
    check_ok(setgroups(1, &group));
    check_ok(setresgid(12345, 12345, 12345));
    check_ok(setresuid(12346, 12346, 12346));
    server_report(&bed, &spawn, &report);
    if ((flags & SSS_FORKSRV_OWN_CREDENTIALS) == 0) {
        check_reported(&report, "Uid", "%s", "12346 12346 12346 12346");
        check_reported(&report, "Gid", "%s", "12345 12345 12345 12345");
        check_reported(&report, "Groups", "%s", "4711");
    } else {
        check_reported(&report, "Uid", "%s", "0 0 0 0");
    }
    server_finish(&bed);
    loop_end(&bed.loop);
}

static void no_root_children_of_a_daemon_that_dropped_root(void **state)
{
    uint32_t flags[] = { 0, SSS_FORKSRV_SERVERS_CHILDREN, SSS_FORKSRV_OWN_CREDENTIALS };
    size_t i;

    (void)state;
    needs_root("change its ids");
    (void)report_program();
    for (i = 0; i < ARRAY_SIZE(flags); i++) {
        in_child(drops_root, &flags[i]);
    }
}

static void a_server_with_fewer_rights(void **state)
{
    static struct report report;
    struct server_bed *bed = *state;
    struct sss_forksrv_params params;
    struct sss_spawn spawn = spawn_zero();
    uint32_t i;

    needs_root("change its ids");
    for (i = 0; i < 2; i++) {
        memset(&bed->events, 0, sizeof(bed->events));
        params = server_zero((i == 0 ? 0 : SSS_FORKSRV_FORK) | SSS_FORKSRV_UID | SSS_FORKSRV_GID
                                 | SSS_FORKSRV_NO_NEW_PRIVS,
                             &bed->events);
        params.uid = 12346;
        params.gid = 12345;
        check_ok(chmod(report_program(), 0755));
        if (i == 0) {
            /* The build's tree need not be open to that user. */
            params.helper = server_helper_for_all();
        }
        check_ok(sss_forksrv_start(NULL, bed->loop.ctx, &params, &bed->srv));
        loop_until(&bed->loop, &bed->events.ready, 1);
        server_report(bed, &spawn, &report);
        check_reported(&report, "Uid", "%s", "12346 12346 12346 12346");
        check_reported(&report, "Gid", "%s", "12345 12345 12345 12345");
        check_reported(&report, "NoNewPrivs", "%s", "1");
        server_finish(bed);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_clients_state_now, server_bed_begin, server_bed_end),
        cmocka_unit_test_setup_teardown(no_descriptor_that_is_not_in_its_map, server_bed_begin, server_bed_end),
        cmocka_unit_test(no_root_children_of_a_daemon_that_dropped_root),
        cmocka_unit_test_setup_teardown(a_server_with_fewer_rights, server_bed_begin, server_bed_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
