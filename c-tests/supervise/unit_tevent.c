/* pkgs: talloc tevent */
/* Units of a context whose loop is tevent's, and calls from another thread than that loop's. */
#include "support/test.h"

#include <pthread.h>

#include <sss_sigchld/sssd.h>

#include "support/spawn.h"
#include "support/unit.h"

struct turns {
    struct tevent_context *ev;
    struct sss_sigchild_ctx *ctx;
    struct sss_unit_ctx *unit;
};

static void turn_until(struct turns *turns, uint32_t state)
{
    while (unit_status(turns->unit).state != state) {
        check_ok(tevent_loop_once(turns->ev));
    }
}

static errno_t add(struct turns *turns, void *memctx, const char *name,
                   struct sss_unit_ctx **unit_ctx)
{
    char *path = helper_path("unit");
    const char *argv[] = { path, "pause", NULL };
    struct sss_spawn spawn = spawn_zero();
    struct sss_unit unit = unit_zero(name);
    errno_t ret;

    spawn.path = path;
    spawn.argv = argv;
    unit.spawn = &spawn;
    ret = sss_supervisor_add(memctx, turns->ctx, &unit, NULL, NULL, unit_ctx);
    free(path);
    return ret;
}

static int count_unit(struct sss_unit_ctx *unit, const struct sss_unit_status *status, void *count)
{
    (void)unit;
    (void)status;
    ++*(int *)count;
    return 0;
}

/* What needs the host's allocator or its loop is refused; what is asked of a unit is not. */
static void *in_a_thread(void *arg)
{
    struct turns *turns = arg;
    struct sss_unit_ctx *none = NULL;
    int count = 0;

    check_int(add(turns, NULL, "b", &none), EPERM);
    check(none == NULL);
    check_int(sss_supervisor_shutdown(turns->ctx, 0, NULL, NULL), EPERM);
    check_int(sss_supervisor_shutdown_wait(turns->ctx, 0, NULL), EPERM);
    check_int(sss_supervisor_foreach(turns->ctx, count_unit, &count), EPERM);
    check_int(count, 0);
    check_int(unit_status(turns->unit).state, SSS_UNIT_STOPPED);
    check_ok(sss_supervisor_start(turns->unit));
    return NULL;
}

static void calls_from_a_thread(void **state)
{
    TALLOC_CTX *mem = talloc_new(NULL);
    struct turns turns = { .ev = tevent_context_init(mem) };
    struct sss_shutdown_event left = { .size = sizeof(left) };
    pthread_t thread;

    (void)state;
    check(mem != NULL && turns.ev != NULL);
    check_ok(sss_sigchld_init(mem, turns.ev, &turns.ctx));
    check_ok(add(&turns, mem, "a", &turns.unit));
    assert_string_equal(talloc_get_name(turns.unit), "struct sss_unit_ctx");
    check_ok(pthread_create(&thread, NULL, in_a_thread, &turns));
    check_ok(pthread_join(thread, NULL));
    turn_until(&turns, SSS_UNIT_RUNNING);
    check_ok(sss_supervisor_shutdown_wait(turns.ctx, 3600000 * MS, &left));
    check_int(left.units_left, 0);
    turn_until(&turns, SSS_UNIT_STOPPED);
    check_ok(talloc_free(mem));
    check_no_children();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(calls_from_a_thread),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
