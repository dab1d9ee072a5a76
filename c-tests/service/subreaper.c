/* sss_subreaper_enable() sets what the kernel has, and orphans come to the process. */
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/child.h"
#include "support/server.h"
#include "support/test.h"
#include "support/unit.h"

static void set_and_get(void **state)
{
    int enabled = -1, kernels = -1;

    (void)state;
    for (int want = 1; want >= 0; want--) {
        check_int(sss_subreaper_enable(want), 0);
        check_int(prctl(PR_GET_CHILD_SUBREAPER, &kernels, 0, 0, 0), 0);
        check_int(kernels, want);
        check_int(sss_subreaper_is_enabled(&enabled), 0);
        check_int(enabled, want);
    }
    check_int(sss_subreaper_enable(2), EINVAL);
    check_int(sss_subreaper_enable(-1), EINVAL);
    check_int(sss_subreaper_is_enabled(NULL), EINVAL);
}

static void orphans_come(void **state)
{
    int report[2], status;
    pid_t parent, orphan;
    struct gate gate;

    (void)state;
    gate_make(&gate);
    check_int(pipe(report), 0);
    check_int(sss_subreaper_enable(1), 0);
    parent = fork();
    check(parent >= 0);
    if (parent == 0) {
        orphan = child_at(&gate, 7);
        _exit(write(report[1], &orphan, sizeof(orphan)) != sizeof(orphan));
    }
    check_int(read(report[0], &orphan, sizeof(orphan)), sizeof(orphan));
    check_int(waitpid(parent, &status, 0), parent);
    check(is_child(orphan));
    gate_open(&gate);
    check_int(waitpid(orphan, &status, 0), orphan);
    check_int(status, status_of(7));
    check_int(sss_subreaper_enable(0), 0);
    close(report[0]);
    close(report[1]);
    check_no_children();
}

static int is_enabled(void)
{
    int enabled = -1;

    check_ok(sss_subreaper_is_enabled(&enabled));
    return enabled;
}

/* Each call that makes the process a subreaper, and fails. */
static void fail_each(struct sss_sigchild_ctx *ctx)
{
    static const char *const none[] = { "none", NULL }, *const after[] = { "nobody", NULL };
    struct sss_forksrv_params server = { .size = sizeof(server), .helper = "/nowhere/none" };
    struct sss_service_params service = { .size = sizeof(service) };
    struct sss_spawn spawn = spawn_zero();
    struct sss_unit unit = unit_zero("a");
    struct sss_service *made = NULL;
    struct sss_unit_ctx *added = NULL;
    struct sss_forksrv *srv = NULL;
    int before = is_enabled();

    check_int(sss_forksrv_start(NULL, ctx, &server, &srv), ENOENT);
    check_int(is_enabled(), before);
    spawn.path = "/nowhere/none";
    spawn.argv = none;
    check_int(sss_service_spawn(NULL, ctx, &spawn, &service, NULL, NULL, &made), ENOENT);
    check_int(is_enabled(), before);
    unit.spawn = &spawn;
    unit.after = after;
    unit.after_count = 1;
    check_int(sss_supervisor_add(NULL, ctx, &unit, NULL, NULL, &added), ENOENT);
    check_int(is_enabled(), before);
}

/* It stays one where it was one before, and where it has become one for something else. */
static void what_fails_changes_nothing(void **state)
{
    struct server_bed bed;

    (void)state;
    server_bed_start(&bed);
    fail_each(bed.loop.ctx);
    check_int(is_enabled(), 0);
    check_ok(sss_subreaper_enable(1));
    fail_each(bed.loop.ctx);
    check_ok(sss_subreaper_enable(0));
    server_start(&bed, 0);
    check_int(is_enabled(), 1);
    fail_each(bed.loop.ctx);
    server_bed_close(&bed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(set_and_get),
        cmocka_unit_test(orphans_come),
        cmocka_unit_test(what_fails_changes_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
