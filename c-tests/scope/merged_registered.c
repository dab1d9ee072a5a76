/*
 * Scope REGISTERED: an exit whose SIGCHLD merged with another one is told though no
 * further SIGCHLD comes, whichever other children are dead, and also if the other SIGCHLD
 * was the library's own timer's.
 */
#include "support/alarm.h"
#include "support/test.h"

#include <poll.h>

enum { EACH_WITHIN_MS = 1000, SOON_MS = 50, CROWD = 100 };

struct watched {
    struct gate gate;
    struct seen seen;
    struct sss_child_ctx *child;
    pid_t pid;
};

struct scene {
    struct loop loop;
    struct watched first, last; /* registered before and after the crowd */
    struct gate crowd_gate;
    struct sss_child_ctx *crowd[CROWD];
    pid_t pids[CROWD];
};

static void watch(struct scene *scene, struct watched *one, int end)
{
    gate_make(&one->gate);
    one->pid = child_at(&one->gate, end);
    check_ok(sss_child_register(NULL, scene->loop.ctx, one->pid, see, &one->seen, &one->child));
}

static void scene_start(struct scene *scene, enum waking waking)
{
    int i;

    memset(scene, 0, sizeof(*scene));
    loop_start(&scene->loop, ctx_make(SSS_SCOPE_REGISTERED, 0), waking);
    watch(scene, &scene->first, 1);
    gate_make(&scene->crowd_gate);
    for (i = 0; i < CROWD; i++) {
        scene->pids[i] = child_at(&scene->crowd_gate, 0);
        check_ok(sss_child_register(NULL, scene->loop.ctx, scene->pids[i], NULL, NULL,
                                    &scene->crowd[i]));
    }
    watch(scene, &scene->last, 2);
}

static void scene_end(struct scene *scene)
{
    int i;

    check_ok(sss_child_free(scene->first.child));
    check_ok(sss_child_free(scene->last.child));
    gate_open(&scene->crowd_gate);
    for (i = 0; i < CROWD; i++) {
        loop_until_reaped(&scene->loop, scene->pids[i]);
        check_ok(sss_child_free(scene->crowd[i]));
    }
    loop_end(&scene->loop);
}

/* Ends a scene whose first context was freed: its children are now the test's own to reap. */
static void leave_to_us(struct scene *scene)
{
    int i;

    check_ok(sss_child_free(scene->first.child));
    check_ok(sss_child_free(scene->last.child));
    gate_open(&scene->first.gate);
    reap(scene->first.pid, 1);
    gate_open(&scene->last.gate);
    reap(scene->last.pid, 2);
    gate_open(&scene->crowd_gate);
    for (i = 0; i < CROWD; i++) {
        check_ok(sss_child_free(scene->crowd[i]));
        reap(scene->pids[i], 0);
    }
    loop_end(&scene->loop);
}

/* SIGCHLD is blocked: the pending one names the first child, and the second child's merges
 * with it. */
static void die(struct watched *first, struct watched *second)
{
    gate_open(&first->gate);
    await_zombie(first->pid);
    gate_open(&second->gate);
    await_zombie(second->pid);
}

static void both_are_told(enum waking waking, bool first_named, bool beside_a_stranger)
{
    struct scene scene;
    pid_t stranger = 0;

    if (beside_a_stranger) {
        stranger = child_dead(9); /* the oldest of all */
    }
    scene_start(&scene, waking);
    if (beside_a_stranger) {
        loop_settle(&scene.loop); /* its signal was taken */
    }
    if (first_named) {
        die(&scene.first, &scene.last);
    } else {
        die(&scene.last, &scene.first);
    }
    loop_until(&scene.loop, &scene.first.seen.calls, 1);
    loop_until(&scene.loop, &scene.last.seen.calls, 1);
    check_seen(&scene.first.seen, scene.first.pid, 1);
    check_seen(&scene.last.seen, scene.last.pid, 2);
    if (beside_a_stranger) {
        reap(stranger, 9); /* still there for the code that started it */
    }
    scene_end(&scene);
}

static void in_both_orders(bool beside_a_stranger)
{
    both_are_told(WAKE_SIGNAL, true, beside_a_stranger);
    both_are_told(WAKE_SIGNAL, false, beside_a_stranger);
    both_are_told(WAKE_BOTH, true, beside_a_stranger);
    both_are_told(WAKE_BOTH, false, beside_a_stranger);
}

static void far_apart(void **state)
{
    (void)state;
    in_both_orders(false);
}

static void behind_a_strangers_corpse(void **state)
{
    (void)state;
    in_both_orders(true);
}

/* There is no zombie any more when the library looks: only a wait for the child itself shows
 * that it is gone. */
static void one_was_taken(void **state)
{
    enum waking wakings[] = { WAKE_SIGNAL, WAKE_BOTH };
    struct scene scene;
    size_t i;

    (void)state;
    for (i = 0; i < sizeof(wakings) / sizeof(*wakings); i++) {
        scene_start(&scene, wakings[i]);
        loop_settle(&scene.loop);
        die(&scene.last, &scene.first);
        reap(scene.first.pid, 1); /* other code waits for it */
        loop_until(&scene.loop, &scene.last.seen.calls, 1);
        check(scene.first.seen.calls == 1 || alarm_due_within(EACH_WITHIN_MS));
        loop_until(&scene.loop, &scene.first.seen.calls, 1);
        check_seen(&scene.last.seen, scene.last.pid, 2);
        check_int(scene.first.seen.status, SSS_WAIT_STATUS_LOST);
        scene_end(&scene);
    }
}

static void pretend_that_one_changed(struct scene *scene)
{
    siginfo_t info;

    memset(&info, 0, sizeof(info));
    info.si_signo = SIGCHLD;
    info.si_code = CLD_EXITED;
    info.si_pid = scene->pids[0];
    sss_child_handler(NULL, NULL, SIGCHLD, 1, &info, scene->loop.ctx);
}

/* A sweep that is put off has the timer run out soon. Its SIGCHLD is pending then,
 * and drops out of the queue if the timer is set anew (Linux 6.13 and later). On a
 * slow machine the second change may come when the first's sweep is long past, and
 * nothing is put off. */
static void let_the_timer_run_out(struct scene *scene)
{
    int64_t deadline = now_ms() + DEADLINE_MS;

    loop_settle(&scene->loop);
    while (!sigchld_is_pending()) {
        int64_t soon = now_ms() + SOON_MS;

        check(now_ms() < deadline);
        pretend_that_one_changed(scene);
        pretend_that_one_changed(scene);
        while (!sigchld_is_pending() && now_ms() < soon) {
        }
    }
}

static void with_the_timer(void **state)
{
    struct scene scene;

    (void)state;
    scene_start(&scene, WAKE_SIGNAL);
    let_the_timer_run_out(&scene);
    /* One of these sweeps is put off. */
    pretend_that_one_changed(&scene);
    pretend_that_one_changed(&scene);
    gate_open(&scene.last.gate);
    await_zombie(scene.last.pid);
    loop_settle(&scene.loop);
    check_seen(&scene.last.seen, scene.last.pid, 2);
    gate_open(&scene.first.gate);
    loop_until_reaped(&scene.loop, scene.first.pid);
    scene_end(&scene);
}

static bool is_readable(int fd)
{
    struct pollfd wake = { .fd = fd, .events = POLLIN };

    return poll(&wake, 1, 0) == 1;
}

/* The descriptor stays readable until somebody reads it, so a sweep may have become due since. */
static void with_the_descriptor_s_timer(void **state)
{
    struct scene scene;
    int64_t deadline = now_ms() + DEADLINE_MS;

    (void)state;
    scene_start(&scene, WAKE_BOTH);
    loop_settle(&scene.loop);
    while (!is_readable(scene.loop.ctxfd)) {
        check(now_ms() < deadline);
        pretend_that_one_changed(&scene);
    }
    pretend_that_one_changed(&scene);
    pretend_that_one_changed(&scene);
    check(is_readable(scene.loop.ctxfd));
    die(&scene.first, &scene.last);
    loop_until(&scene.loop, &scene.first.seen.calls, 1);
    loop_until(&scene.loop, &scene.last.seen.calls, 1);
    scene_end(&scene);
}

static void with_the_timer_of_a_context_that_is_gone(void **state)
{
    struct scene scene;
    struct watched one;

    (void)state;
    scene_start(&scene, WAKE_SIGNAL);
    let_the_timer_run_out(&scene);
    check_ok(sss_sigchld_ctx_free(scene.loop.ctx));
    scene.loop.ctx = ctx_make(SSS_SCOPE_REGISTERED, 0);
    memset(&one, 0, sizeof(one));
    gate_make(&one.gate);
    one.pid = child_at(&one.gate, 3);
    check_ok(sss_child_register(NULL, scene.loop.ctx, one.pid, see, &one.seen, &one.child));
    gate_open(&one.gate);
    await_zombie(one.pid);
    loop_settle(&scene.loop);
    check_seen(&one.seen, one.pid, 3);
    check_ok(sss_child_free(one.child));
    leave_to_us(&scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(far_apart),
        cmocka_unit_test(behind_a_strangers_corpse),
        cmocka_unit_test(one_was_taken),
        cmocka_unit_test(with_the_timer),
        cmocka_unit_test(with_the_descriptor_s_timer),
        cmocka_unit_test(with_the_timer_of_a_context_that_is_gone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
