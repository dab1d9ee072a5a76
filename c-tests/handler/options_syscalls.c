/* profiles: all but valgrind: the tool makes system calls of its own */
/* Each sweep waits with exactly options | WNOHANG, every other wait with WNOHANG. */
#include "support/test.h"

#include <sys/syscall.h>

#include "support/trace.h"

static struct trace trace;

struct scene {
    struct loop loop;
    struct seen seen;
    struct sss_child_ctx *dead, *live;
    struct gate gate;
    pid_t dead_pid, live_pid;
    siginfo_t *hint;
};

static void traced_handler(void *pvt)
{
    struct scene *scene = pvt;

    trace_on();
    sss_child_handler(NULL, NULL, SIGCHLD, 1, scene->hint, scene->loop.ctx);
    trace_off();
}

static void check_waits(int options)
{
    unsigned i;

    for (i = 0; i < trace.count; i++) {
        if (trace.calls[i].nr == SYS_wait4) {
            check_int(trace.calls[i].args[2], options | WNOHANG);
        }
        if (trace.calls[i].nr == SYS_waitid) {
            check((trace.calls[i].args[3] & WNOHANG) != 0);
        }
    }
    check(trace_count(&trace, SYS_wait4) > 0);
}

static void check_scope(uint32_t scope)
{
    unsigned all = 0;
    unsigned i;

    for (i = 0; i < trace.count; i++) {
        all += trace.calls[i].nr == SYS_wait4 && (int)trace.calls[i].args[0] == -1;
        all += trace.calls[i].nr == SYS_waitid && trace.calls[i].args[0] == P_ALL;
    }
    check(scope == SSS_SCOPE_ALL ? all > 0 : all == 0);
}

static void sweep(uint32_t scope, int options, bool hinted)
{
    struct scene scene;
    siginfo_t info;

    memset(&scene, 0, sizeof(scene));
    memset(&info, 0, sizeof(info));
    loop_start(&scene.loop, ctx_make(scope, options), WAKE_SIGNAL);
    gate_make(&scene.gate);
    scene.live_pid = child_at(&scene.gate, 1);
    scene.dead_pid = child_dead(2);
    check_ok(sss_child_register(NULL, scene.loop.ctx, scene.live_pid, NULL, NULL, &scene.live));
    check_ok(sss_child_register(NULL, scene.loop.ctx, scene.dead_pid, see, &scene.seen,
                                &scene.dead));
    if (hinted) {
        info.si_code = CLD_EXITED;
        info.si_pid = scene.dead_pid;
        scene.hint = &info;
    }
    trace_run(traced_handler, &scene, &trace);
    loop_until(&scene.loop, &scene.seen.calls, 1);
    check_seen(&scene.seen, scene.dead_pid, 2);
    check_waits(options);
    if (!hinted) {
        check_scope(scope);
    }
    gate_open(&scene.gate);
    loop_until_reaped(&scene.loop, scene.live_pid);
    check_ok(sss_child_free(scene.live));
    check_ok(sss_child_free(scene.dead));
    loop_end(&scene.loop);
    check_no_children();
}

static void exactly_options(void **state)
{
    static const int options[] = { 0, WUNTRACED, WCONTINUED, WUNTRACED | WCONTINUED };
    size_t i;

    (void)state;
    trace_needed();
    for (i = 0; i < ARRAY_SIZE(options); i++) {
        sweep(SSS_SCOPE_ALL, options[i], false);
        sweep(SSS_SCOPE_ALL, options[i], true);
        sweep(SSS_SCOPE_REGISTERED, options[i], false);
        sweep(SSS_SCOPE_REGISTERED, options[i], true);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exactly_options),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
