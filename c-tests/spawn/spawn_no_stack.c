/* profiles: all but asan tsan valgrind: each spawn is by fork, which needs no stack */
/* Memory runs out while a child's stack is made: the spawn fails, and nothing else happens. */
#include "support/test.h"

#include <sys/resource.h>

#include "support/spawn.h"

static void once(void **state)
{
    static const char *const argv[] = { "true", NULL };
    struct loop *loop = *state;
    struct sss_spawn spawn = spawn_zero();
    struct sss_child_ctx *child = NULL;
    struct rlimit enough, none;
    struct seen seen = { 0 };
    uint32_t step = 0;
    errno_t ret;

    spawn.path = "/bin/true";
    spawn.argv = argv;
    spawn.failed_step = &step;
    check_ok(getrlimit(RLIMIT_DATA, &enough));
    none = enough;
    none.rlim_cur = 4096;
    check_ok(setrlimit(RLIMIT_DATA, &none));
    ret = sss_child_spawn(NULL, loop->ctx, &spawn, see, &seen, &child);
    check_ok(setrlimit(RLIMIT_DATA, &enough));
    check_int(ret, ENOMEM);
    check_int(step, SSS_SPAWN_STEP_MEMORY);

    check_ok(sss_child_spawn(NULL, loop->ctx, &spawn, see, &seen, &child));
    loop_until(loop, &seen.calls, 1);
    check_seen(&seen, seen.pid, 0);
    check_ok(sss_child_free(child));
}

int main(void)
{
    /* One way only: the stack that the first spawn makes is kept for the next. */
    const struct CMUnitTest tests[] = { ONE_WAY(once, "", 4) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
