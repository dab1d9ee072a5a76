/*
 * Another thread registers a child that is still being spawned, so the child is in the table
 * before the spawn registers it. The same is tried while the table still has the pid for an
 * earlier child, which other code waited for.
 */
#include "support/test.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/syscall.h>

#include "support/hold.h"
#include "support/kernel.h"
#include "support/spawn.h"

/* A thread that spawns one child, held before its execve(2). */
struct spawner {
    pthread_t thread;
    struct sss_sigchild_ctx *ctx;
    struct gate *gate;
    struct seen seen;
    struct sss_child_ctx *child;
    pid_t follows; /* the pid that its child's comes after, or 0 */
    int listener;
};

static void choose_next_pid(pid_t follows)
{
    int fd = open("/proc/sys/kernel/ns_last_pid", O_WRONLY | O_CLOEXEC);
    char text[16];
    int length = snprintf(text, sizeof(text), "%d", follows);

    check(fd != -1);
    check_int(write(fd, text, (size_t)length), length);
    check_ok(close(fd));
}

static void *spawn_one(void *pvt)
{
    struct spawner *spawner = pvt;

    if (spawner->follows != 0) {
        choose_next_pid(spawner->follows);
    }
    spawner->child = spawn_at(spawner->ctx, spawner->gate, 3, see, &spawner->seen);
    return NULL;
}

/* Returns when the child is about to call execve(2), where it is held. */
static struct held spawner_start(struct spawner *spawner, void *(*spawn)(void *pvt))
{
    static const struct hold exec[2] = { { SYS_execve, ANY_ARG }, { SYS_execve, ANY_ARG } };

    spawner->listener = hold_thread(&spawner->thread, exec, spawn, spawner);
    return hold_await(spawner->listener);
}

static void spawner_go_on(struct spawner *spawner, const struct held *held)
{
    hold_release(spawner->listener, held);
    check_int(pthread_join(spawner->thread, NULL), 0);
    check_ok(close(spawner->listener));
}

/* Both loops, until both are told. */
static void turn_both(struct loop *one, struct loop *two, const struct seen *first,
                      const struct seen *second)
{
    int64_t deadline = now_ms() + DEADLINE_MS;

    while (first->calls == 0 || second->calls == 0) {
        check(now_ms() < deadline);
        loop_turn(one, 10);
        if (two != one) {
            loop_turn(two, 10);
        }
    }
}

/* The table has no child with this pid, and takes the next one. */
static void check_sound(struct loop *loop)
{
    struct seen seen = { 0 };
    struct sss_child_ctx *child;
    struct gate gate;
    pid_t pid;

    check_int(stats_of(loop->ctx).young, 0);
    check_int(stats_of(loop->ctx).old, 0);
    gate_make(&gate);
    pid = child_at(&gate, 5);
    check_ok(sss_child_register(NULL, loop->ctx, pid, see, &seen, &child));
    check_int(stats_of(loop->ctx).young + stats_of(loop->ctx).old, 1);
    gate_open(&gate);
    loop_until(loop, &seen.calls, 1);
    check_seen(&seen, pid, 5);
    check_ok(sss_child_free(child));
    check_int(stats_of(loop->ctx).young, 0);
    check_int(stats_of(loop->ctx).old, 0);
}

enum order { REGISTER_FIRST, SPAWN_FIRST };

/* One child with two watches, of two contexts. */
static void two_watches(struct loop *spawns, struct loop *registers, enum order order)
{
    struct spawner spawner = { .ctx = spawns->ctx };
    struct seen seen = { 0 };
    struct sss_child_ctx *child;
    struct held held;
    struct gate gate;

    gate_make(&gate);
    spawner.gate = &gate;
    held = spawner_start(&spawner, spawn_one);
    if (order == REGISTER_FIRST) {
        check_ok(sss_child_register(NULL, registers->ctx, held.pid, see, &seen, &child));
        spawner_go_on(&spawner, &held);
    } else {
        spawner_go_on(&spawner, &held);
        check_ok(sss_child_register(NULL, registers->ctx, held.pid, see, &seen, &child));
    }
    check_int(pid_of(spawner.child), held.pid);
    check_int(stats_of(spawns->ctx).young + stats_of(spawns->ctx).old, 1);
    gate_open(&gate);
    turn_both(spawns, registers, &spawner.seen, &seen);
    check_seen(&spawner.seen, held.pid, 3);
    check_seen(&seen, held.pid, 3);
    check_ok(sss_child_free(spawner.child));
    check_ok(sss_child_free(child));
    check_sound(spawns);
    check_sound(registers);
}

/* The thread that registers uses this way of waking, one of the test's six. */
static void beside(struct loop *spawns, const struct way *way, enum order order)
{
    struct loop registers;

    loop_start(&registers, ctx_make(way->scope, 0), way->waking);
    two_watches(spawns, &registers, order);
    loop_end(&registers);
}

static void in_order(struct loop *spawns, enum order order)
{
    size_t i;

    hold_needed();
    /* Two signalfds for the same signal would take it from each other. */
    for (i = 0; i < ARRAY_SIZE(ways); i++) {
        if (spawns->sigfd == -1 || ways[i].waking == WAKE_DESCRIPTOR) {
            beside(spawns, &ways[i], order);
        }
    }
}

static void registered_before_the_spawn_is_over(void **state)
{
    in_order(*state, REGISTER_FIRST);
}

static void registered_after_the_spawn(void **state)
{
    in_order(*state, SPAWN_FIRST);
}

/* Killed where it is held: there was no program, and the spawn says so. The other
 * watch is told of the end of the process that it is for. */
static void *spawn_in_vain(void *pvt)
{
    static const char *const argv[] = { "true", NULL };
    struct sss_spawn spawn = spawn_zero();
    struct spawner *spawner = pvt;

    spawn.path = "/bin/true";
    spawn.argv = argv;
    check_int(sss_child_spawn(NULL, spawner->ctx, &spawn, see, &spawner->seen, &spawner->child),
              EINTR);
    return NULL;
}

static void killed_before_the_spawn_is_over(void **state)
{
    struct loop *loop = *state;
    struct seen seen = { 0 };
    struct sss_child_ctx *child;
    struct spawner spawner = { .ctx = loop->ctx };
    struct held held;

    hold_needed();
    held = spawner_start(&spawner, spawn_in_vain);
    check_ok(sss_child_register(NULL, loop->ctx, held.pid, see, &seen, &child));
    check_ok(sss_child_kill(child, SIGKILL));
    check_int(pthread_join(spawner.thread, NULL), 0);
    check_ok(close(spawner.listener));
    loop_until(loop, &seen.calls, 1);
    check_int(seen.calls, 1);
    if (kernel_keeps_status()) {
        check_seen(&seen, held.pid, BY_SIGNAL(SIGKILL));
    }
    check_int(spawner.seen.calls, 0);
    check_ok(sss_child_free(child));
    check_sound(loop);
}

/* The pid was another child's before, which other code has waited for. */
static void reused(const struct way *way, enum order order)
{
    struct seen former = { 0 }, latter = { 0 };
    struct sss_child_ctx *old, *new;
    struct spawner spawner = { 0 };
    struct loop loop, registers;
    struct held held;
    struct gate gate;
    pid_t pid;

    loop_start(&loop, ctx_untrusted(way->scope), way->waking);
    loop_start(&registers, ctx_make(SSS_SCOPE_REGISTERED, 0), WAKE_DESCRIPTOR);
    gate_make(&gate);
    pid = child_at(&gate, 1);
    check_ok(sss_child_register(NULL, loop.ctx, pid, see, &former, &old));
    gate_open(&gate);
    reap(pid, 1);

    gate_make(&gate);
    spawner.ctx = loop.ctx;
    spawner.gate = &gate;
    spawner.follows = pid - 1;
    held = spawner_start(&spawner, spawn_one);
    check_int(held.pid, pid);
    if (order == REGISTER_FIRST) {
        check_ok(sss_child_register(NULL, registers.ctx, pid, see, &latter, &new));
        spawner_go_on(&spawner, &held);
    } else {
        spawner_go_on(&spawner, &held);
        check_ok(sss_child_register(NULL, registers.ctx, pid, see, &latter, &new));
    }
    check_int(stats_of(loop.ctx).young + stats_of(loop.ctx).old, 1);
    gate_open(&gate);
    turn_both(&loop, &registers, &spawner.seen, &latter);
    check_seen(&spawner.seen, pid, 3);
    check_seen(&latter, pid, 3);
    check(former.calls <= 1); /* the newer watch of its context takes its place */
    check(former.calls == 0 || former.status == status_of(1)
          || former.status == SSS_WAIT_STATUS_LOST);
    check_ok(sss_child_free(old));
    check_ok(sss_child_free(new));
    check_ok(sss_child_free(spawner.child));
    check_sound(&loop);
    check_sound(&registers);
    loop_end(&registers);
    loop_end(&loop);
    check_no_children();
}

static void reused_each_way(void *order)
{
    size_t i;

    for (i = 0; i < ARRAY_SIZE(ways); i++) {
        reused(&ways[i], *(const enum order *)order);
    }
}

static void the_pid_was_anothers_and_it_is_registered_first(void **state)
{
    enum order order = REGISTER_FIRST;

    (void)state;
    hold_needed();
    in_pid_namespace(reused_each_way, &order);
}

static void the_pid_was_anothers_and_it_is_spawned_first(void **state)
{
    enum order order = SPAWN_FIRST;

    (void)state;
    hold_needed();
    in_pid_namespace(reused_each_way, &order);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        EACH_WAY(registered_before_the_spawn_is_over),
        EACH_WAY(registered_after_the_spawn),
        EACH_WAY(killed_before_the_spawn_is_over),
        cmocka_unit_test(the_pid_was_anothers_and_it_is_registered_first),
        cmocka_unit_test(the_pid_was_anothers_and_it_is_spawned_first),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
