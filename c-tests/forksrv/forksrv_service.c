/* A child that a fork server launched becomes a service. */
#include "support/test.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>

#include "support/family.h"
#include "support/server.h"

/* The family's first process, launched; its end is told by the handle as well. */
static pid_t launch_family(struct server_bed *bed, struct family *family, struct seen *seen,
                           struct sss_child_ctx **child, uint32_t mask)
{
    char *path = helper_path("family");
    const char *argv[] = { "family", family->name, NULL };
    struct sss_spawn spawn = spawn_zero();
    pid_t pid = 0;

    memset(seen, 0, sizeof(*seen));
    spawn.path = path;
    spawn.argv = argv;
    spawn.mask |= mask;
    check_ok(sss_forksrv_launch(NULL, bed->srv, &spawn, see, seen, child));
    free(path);
    check_ok(sss_child_pid(*child, &pid));
    while (pid == 0) {
        check(loop_turn(&bed->loop, DEADLINE_MS) != 0);
        check_ok(sss_child_pid(*child, &pid));
    }
    check_int(family_report(family), pid);
    return pid;
}

/* It lives on as a service, with its descendants, though its server dies. */
static void attached_and_told(struct server_bed *bed, struct family *family, pid_t first)
{
    struct sss_service_params params = service_params(0, 0);
    static struct told told;
    struct sss_service *service = NULL;
    pid_t child, server = server_pid(bed->srv);

    memset(&told, 0, sizeof(told));
    params.mask = SSS_SERVICE_PARAM_FLAGS;
    check_ok(sss_service_attach(NULL, bed->loop.ctx, first, &params, tell_service, &told,
                                &service));
    child = family_fork(family, first);
    check_ok(kill(server, SIGKILL));
    loop_until(&bed->loop, &bed->events.crashed, 1);
    check_int(told.dead, 0);
    family_exit(family, first, 5);
    family_exit(family, child, 6);
    loop_until_dead(&bed->loop, &told);
    check_int(told_times(&told, SSS_SERVICE_EXITED, first), 1);
    check_int(told_times(&told, SSS_SERVICE_EXITED, child), 1);
    check_ok(sss_service_free(service));
}

static void the_daemons_own_child(void **state)
{
    static const uint32_t masks[] = { 0, SSS_SPAWN_ASYNC };
    struct server_bed *bed = *state;
    struct sss_child_ctx *child;
    struct family family;
    struct seen seen;
    size_t i;
    pid_t pid;

    for (i = 0; i < ARRAY_SIZE(masks); i++) {
        server_start(bed, SSS_FORKSRV_CLONE_PARENT);
        family_begin(&family);
        pid = launch_family(bed, &family, &seen, &child, masks[i]);
        attached_and_told(bed, &family, pid);
        loop_until(&bed->loop, &seen.calls, 1);
        check_seen(&seen, pid, 5);
        check_ok(sss_child_free(child));
        family_end(&family);
        check_ok(sss_forksrv_free(bed->srv));
    }
}

/* The server's own child cannot be attached before the server is dead. */
static void the_servers_child(void **state)
{
    struct sss_service_params params = service_params(0, 0);
    struct server_bed *bed = *state;
    struct sss_service *service = NULL;
    struct sss_child_ctx *child;
    struct family family;
    static struct told told;
    struct seen seen;
    pid_t pid;

    memset(&told, 0, sizeof(told));
    params.mask = SSS_SERVICE_PARAM_FLAGS;
    server_start(bed, SSS_FORKSRV_SERVERS_CHILDREN);
    family_begin(&family);
    pid = launch_family(bed, &family, &seen, &child, 0);
    check_int(sss_service_attach(NULL, bed->loop.ctx, pid, &params, tell_service, &told, &service),
              ESRCH);
    check_ok(sss_forksrv_stop(bed->srv));
    loop_until(&bed->loop, &bed->events.stopped, 1);
    check_ok(sss_service_attach(NULL, bed->loop.ctx, pid, &params, tell_service, &told, &service));
    family_exit(&family, pid, 7);
    loop_until_dead(&bed->loop, &told);
    check_int(told_times(&told, SSS_SERVICE_EXITED, pid), 1);
    loop_until(&bed->loop, &seen.calls, 1);
    check_seen(&seen, pid, 7);
    check_ok(sss_child_free(child));
    check_ok(sss_service_free(service));
    family_end(&family);
    check_ok(sss_forksrv_free(bed->srv));
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_daemons_own_child, server_bed_begin, server_bed_end),
        cmocka_unit_test_setup_teardown(the_servers_child, server_bed_begin, server_bed_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
