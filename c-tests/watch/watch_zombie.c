/* Zombies that are kept until their callbacks have returned. */
#include "support/test.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/syscall.h>

#include "support/filter.h"
#include "support/hold.h"
#include "support/told.h"

static struct sss_child_ctx *keep_with(struct sss_sigchild_ctx *ctx, pid_t pid,
                                       sss_child_event_fn_t cb, void *pvt)
{
    struct sss_watch watch = watch_of(pid, pvt);

    watch.mask |= SSS_WATCH_KEEP_ZOMBIE;
    watch.cb = cb;
    return watch_with(ctx, &watch);
}

static struct sss_child_ctx *keep(struct sss_sigchild_ctx *ctx, pid_t pid, struct told *told)
{
    return keep_with(ctx, pid, tell, told);
}

static void look_into_proc(struct sss_child_ctx *child, const struct sss_child_event *event,
                           void *pvt)
{
    char path[64], line[512] = "";
    FILE *file;

    tell(child, event, pvt);
    snprintf(path, sizeof(path), "/proc/%d/stat", event->pid);
    file = fopen(path, "re");
    check(file != NULL);
    check(fgets(line, sizeof(line), file) != NULL);
    check(strstr(line, ") Z ") != NULL);
    check_ok(fclose(file));
}

static void the_callback_comes_before_the_reap(void **state)
{
    struct loop *loop = *state;
    struct told told = { 0 };
    struct sss_child_ctx *child;
    struct gate gate;
    pid_t pid;

    gate_make(&gate);
    pid = child_at(&gate, 3);
    child = keep_with(loop->ctx, pid, look_into_proc, &told);
    gate_open(&gate);
    loop_until(loop, &told.calls, 1);
    check(told.was_zombie);
    check_int(told.event.zombie_kept, 1);
    check(told.event.have & SSS_RECORD_RUSAGE);
    check_told(&told, pid, 3);
    loop_settle(loop);
    check(!is_child(pid));
    check_int(told.calls, 1);
    check_ok(sss_child_free(child));
}

static void one_that_is_dead_before(void **state)
{
    struct loop *loop = *state;
    struct told told = { 0 };
    struct sss_child_ctx *child;
    pid_t pid = child_dead(4);

    child = keep(loop->ctx, pid, &told);
    check(is_child(pid));
    loop_until(loop, &told.calls, 1);
    check(told.was_zombie);
    check_told(&told, pid, 4);
    check(!is_child(pid));
    check_ok(sss_child_free(child));
}

static void free_it(struct sss_child_ctx *child, const struct sss_child_event *event, void *pvt)
{
    tell(child, event, pvt);
    check_ok(sss_child_free(child));
}

static void freed_in_its_callback(void **state)
{
    struct loop *loop = *state;
    struct told told = { 0 };
    struct gate gate;
    pid_t pid;

    gate_make(&gate);
    pid = child_at(&gate, 3);
    keep_with(loop->ctx, pid, free_it, &told);
    gate_open(&gate);
    loop_until(loop, &told.calls, 1);
    check(told.was_zombie);
    check(!is_child(pid));
    loop_settle(loop);
}

static void freed_before_it_ends(void **state)
{
    struct loop *loop = *state;
    struct told told = { 0 }, other = { 0 };
    struct sss_child_ctx *child, *plain;
    struct gate gate;
    pid_t pid;

    gate_make(&gate);
    pid = child_at(&gate, 3);
    child = keep(loop->ctx, pid, &told);
    plain = watch_child(loop->ctx, pid, &other);
    check_ok(sss_child_free(child));
    gate_open(&gate);
    loop_until(loop, &other.calls, 1);
    check(!other.was_zombie);
    check_int(other.event.zombie_kept, 0);
    check_int(told.calls, 0);
    check_ok(sss_child_free(plain));
}

/* The end is known and not told. */
static void freed_while_it_lies(void **state)
{
    struct loop *loop = *state;
    struct told told = { 0 };
    struct sss_child_ctx *child;
    pid_t pid = child_dead(4);

    child = keep(loop->ctx, pid, &told);
    check(is_child(pid));
    check_ok(sss_child_free(child));
    loop_until_reaped(loop, pid);
    check_int(told.calls, 0);
}

struct pair {
    struct loop *loop;
    struct sss_child_ctx *other;
    struct told told;
};

static void free_the_other(struct sss_child_ctx *child, const struct sss_child_event *event,
                           void *pvt)
{
    struct pair *pair = pvt;

    tell(child, event, &pair->told);
    check_ok(sss_child_free(pair->other));
    check(is_child(event->pid));
}

static void several_keepers_one_of_them_freed_in_between(void **state)
{
    struct loop *loop = *state;
    struct pair pair = { .loop = loop };
    struct told freed = { 0 }, last = { 0 }, plain = { 0 };
    struct sss_child_ctx *first, *third, *fourth;
    struct gate gate;
    pid_t pid;

    gate_make(&gate);
    pid = child_at(&gate, 5);
    first = keep_with(loop->ctx, pid, free_the_other, &pair);
    pair.other = keep(loop->ctx, pid, &freed);
    third = watch_child(loop->ctx, pid, &plain);
    fourth = keep(loop->ctx, pid, &last);
    gate_open(&gate);
    loop_until(loop, &last.calls, 1);
    loop_settle(loop);
    check(pair.told.was_zombie);
    check(plain.was_zombie);
    check(last.was_zombie);
    check_told(&plain, pid, 5);
    check_told(&last, pid, 5);
    check_int(freed.calls, 0);
    check(!is_child(pid));
    check_ok(sss_child_free(first));
    check_ok(sss_child_free(third));
    check_ok(sss_child_free(fourth));
}

static void a_watch_that_comes_while_it_lies(void **state)
{
    struct loop *loop = *state;
    struct told kept = { 0 }, late = { 0 };
    struct seen seen = { 0 };
    struct sss_child_ctx *children[3];
    pid_t pid = child_dead(4);

    children[0] = keep(loop->ctx, pid, &kept);
    children[1] = watch_child(loop->ctx, pid, &late);
    check_ok(sss_child_register(NULL, loop->ctx, pid, see, &seen, &children[2]));
    check(is_child(pid));
    loop_until(loop, &seen.calls, 1);
    loop_settle(loop);
    check_told(&kept, pid, 4);
    check_told(&late, pid, 4);
    check_seen(&seen, pid, 4);
    check(!is_child(pid));
    check_ok(sss_child_free(children[0]));
    check_ok(sss_child_free(children[1]));
    check_ok(sss_child_free(children[2]));
}

/* Of two registrations the newer one alone is told, also where the end is known by then. */
static void registered_twice_while_it_lies(void **state)
{
    struct loop *loop = *state;
    struct sss_child_ctx *keeper, *former, *newer;
    struct seen seen = { 0 }, inert = { 0 };
    struct told told = { 0 };
    pid_t pid = child_dead(4);

    keeper = keep(loop->ctx, pid, &told);
    check(is_child(pid));
    check_ok(sss_child_register(NULL, loop->ctx, pid, see, &inert, &former));
    check_ok(sss_child_register(NULL, loop->ctx, pid, see, &seen, &newer));
    check_int(stats_of(loop->ctx).watches, 2);
    loop_until(loop, &seen.calls, 1);
    loop_settle(loop);
    check_seen(&seen, pid, 4);
    check_told(&told, pid, 4);
    check_int(inert.calls, 0);
    check_int(stats_of(loop->ctx).watches, 0);
    check_ok(sss_child_free(keeper) | sss_child_free(former) | sss_child_free(newer));
}

struct again {
    struct sss_sigchild_ctx *ctx;
    struct sss_child_ctx *child;
    struct seen first, second;
};

static void register_again(int pid, int wait_status, void *pvt)
{
    struct again *again = pvt;

    see(pid, wait_status, &again->first);
    check_ok(sss_child_register(NULL, again->ctx, pid, see, &again->second, &again->child));
}

/* Another context keeps the zombie, as its callback has not come yet. */
static void registered_by_its_callback_while_it_lies(void **state)
{
    struct loop *loop = *state;
    struct again again = { .ctx = loop->ctx };
    struct sss_child_ctx *keeper, *child;
    struct told told = { 0 };
    struct loop other;
    pid_t pid;

    loop_start(&other, ctx_make(SSS_SCOPE_REGISTERED, 0), WAKE_DESCRIPTOR);
    pid = child_dead(4);
    keeper = keep(other.ctx, pid, &told);
    check(is_child(pid));
    check_ok(sss_child_register(NULL, loop->ctx, pid, register_again, &again, &child));
    loop_until(loop, &again.second.calls, 1);
    check_seen(&again.first, pid, 4);
    check_seen(&again.second, pid, 4);
    check_int(stats_of(loop->ctx).watches, 0);
    loop_until(&other, &told.calls, 1);
    check_told(&told, pid, 4);
    check_ok(sss_child_free(keeper) | sss_child_free(child) | sss_child_free(again.child));
    loop_end(&other);
}

static void its_context_is_freed_while_it_lies(void **state)
{
    struct loop *loop = *state, other;
    struct told told = { 0 }, here = { 0 };
    struct sss_child_ctx *children[2];
    pid_t pid;

    loop_start(&other, ctx_make(SSS_SCOPE_REGISTERED, 0), WAKE_DESCRIPTOR);
    pid = child_dead(4);
    children[0] = keep(other.ctx, pid, &told);
    children[1] = watch_child(loop->ctx, pid, &here);
    check(is_child(pid));
    loop_end(&other);
    loop_until(loop, &here.calls, 1);
    loop_until_reaped(loop, pid);
    check_told(&here, pid, 4);
    check_int(told.calls, 0);
    check_ok(sss_child_free(children[0]));
    check_ok(sss_child_free(children[1]));
}

struct whole {
    struct loop *loop;
    struct told told;
};

static void free_the_context(struct sss_child_ctx *child, const struct sss_child_event *event,
                             void *pvt)
{
    struct whole *whole = pvt;

    tell(child, event, &whole->told);
    check_ok(sss_sigchld_ctx_free(whole->loop->ctx));
    whole->loop->ctx = NULL;
    check_ok(sss_child_free(child));
}

static void its_context_is_freed_in_its_callback(void **state)
{
    struct loop *loop = *state;
    struct whole whole = { .loop = loop };
    struct gate gate;
    pid_t pid;

    gate_make(&gate);
    pid = child_at(&gate, 3);
    keep_with(loop->ctx, pid, free_the_context, &whole);
    gate_open(&gate);
    loop_until(loop, &whole.told.calls, 1);
    check(whole.told.was_zombie);
    check_told(&whole.told, pid, 3);
    check(!is_child(pid));
}

static void one_that_others_take_is_not_kept(void **state)
{
    struct loop *loop = *state;
    struct told told = { 0 };
    struct sss_child_ctx *child;
    struct gate gate;
    pid_t pid;

    gate_make(&gate);
    pid = child_at(&gate, 3);
    child = keep(loop->ctx, pid, &told);
    gate_open(&gate);
    reap(pid, 3);
    loop_until(loop, &told.calls, 1);
    check_int(told.event.zombie_kept, 0);
    check(told.event.source != SSS_SOURCE_WAITED);
    check_ok(sss_child_free(child));
}

/* Its end is known and not told. */
static void one_that_others_take_while_it_lies(void **state)
{
    struct loop *loop = *state;
    struct told told = { 0 }, last = { 0 };
    struct sss_child_ctx *children[3];
    struct gate gate;
    pid_t pid;

    gate_make(&gate);
    pid = child_at(&gate, 3);
    children[0] = keep(loop->ctx, pid, &told);
    children[1] = keep(loop->ctx, pid, &last);
    check_ok(sss_child_register(NULL, loop->ctx, pid, NULL, NULL, &children[2]));
    gate_open(&gate);
    check_ok(sss_child_wait(children[2], -1, NULL, NULL));
    check(is_child(pid));
    reap(pid, 3);
    loop_until(loop, &last.calls, 1);
    loop_settle(loop);
    check_told(&told, pid, 3);
    check_int(told.event.zombie_kept, 0);
    check_told(&last, pid, 3);
    check_int(last.event.zombie_kept, 0);
    check_ok(sss_child_free(children[0]));
    check_ok(sss_child_free(children[1]));
    check_ok(sss_child_free(children[2]));
}

/* The first of its watches has the status only. */
static void one_that_comes_late_is_told_all(void **state)
{
    struct loop *loop = *state;
    struct told told = { 0 }, late = { 0 };
    struct sss_child_ctx *children[3];
    struct gate gate;
    pid_t pid;

    gate_make(&gate);
    pid = child_at(&gate, 3);
    check_ok(sss_child_register(NULL, loop->ctx, pid, NULL, NULL, &children[0]));
    children[1] = keep(loop->ctx, pid, &told);
    gate_open(&gate);
    check_ok(sss_child_wait(children[0], -1, NULL, NULL));
    children[2] = watch_child(loop->ctx, pid, &late);
    loop_until(loop, &late.calls, 1);
    loop_settle(loop);
    check_told(&told, pid, 3);
    check_told(&late, pid, 3);
    check(told.event.have & SSS_RECORD_RUSAGE);
    check_int(late.event.have, told.event.have);
    check(late.event.time_ns == told.event.time_ns);
    check_ok(sss_child_free(children[0]));
    check_ok(sss_child_free(children[1]));
    check_ok(sss_child_free(children[2]));
}

static unsigned unknown;

static uint32_t see_unknown(int pid, int wait_status, void *pvt)
{
    (void)wait_status;
    unknown += pid == *(pid_t *)pvt;
    return SSS_UNKNOWN_TAKEN;
}

static void unknown_ones_are_found_beside_it(void **state)
{
    struct loop *loop = *state;
    struct told told = { 0 };
    struct sss_child_ctx *child;
    struct gate gate;
    pid_t pid, stranger;

    unknown = 0;
    check_ok(sss_sigchld_ctx_set_unknown_fn(loop->ctx, see_unknown, &stranger));
    gate_make(&gate);
    pid = child_at(&gate, 3);
    child = keep(loop->ctx, pid, &told);
    gate_open(&gate);
    await_zombie(pid);
    stranger = child_dead(9);
    loop_until(loop, &told.calls, 1);
    loop_until(loop, &unknown, 1);
    check(told.was_zombie);
    check_told(&told, pid, 3);
    check_int(unknown, 1);
    check_ok(sss_child_free(child));
}

/* The kept zombie hides them, and stays, as its own loop does not run. */
static void unknown_ones_are_found_behind_it(void **state)
{
    struct loop *loop = *state, other;
    struct told told = { 0 };
    struct sss_child_ctx *child;
    struct gate gate;
    pid_t pid, stranger;
    int i;

    unknown = 0;
    check_ok(sss_sigchld_ctx_set_unknown_fn(loop->ctx, see_unknown, &stranger));
    loop_start(&other, ctx_make(SSS_SCOPE_REGISTERED, 0), WAKE_DESCRIPTOR);
    gate_make(&gate);
    pid = child_at(&gate, 3);
    child = keep(other.ctx, pid, &told);
    gate_open(&gate);
    await_zombie(pid);
    for (i = 1; i <= 3; i++) {
        stranger = child_dead(9);
        loop_until(loop, &unknown, (unsigned)i);
        check(!is_child(stranger));
        check(is_child(pid));
    }
    check_int(told.calls, 0);
    loop_until(&other, &told.calls, 1);
    check(told.was_zombie);
    check_told(&told, pid, 3);
    check_int(unknown, 3);
    check_ok(sss_child_free(child));
    loop_end(&other);
}

/* An unknown zombie before the kept one is found by waitid(2); one behind it only when the
 * kept one is gone, as /proc cannot be read. */
static void without_proc(void *unused)
{
    struct told told = { 0 };
    struct sss_child_ctx *child;
    struct gate first, second;
    struct loop loop, other;
    pid_t pid, stranger;

    (void)unused;
    unknown = 0;
    loop_start(&loop, ctx_make(SSS_SCOPE_ALL, 0), WAKE_DESCRIPTOR);
    loop_start(&other, ctx_make(SSS_SCOPE_REGISTERED, 0), WAKE_DESCRIPTOR);
    check_ok(sss_sigchld_ctx_set_unknown_fn(loop.ctx, see_unknown, &stranger));
    gate_make(&first);
    stranger = child_at(&first, 9);
    gate_make(&second);
    pid = child_at(&second, 3);
    child = keep(other.ctx, pid, &told);
    filter_deny(SYS_openat, EACCES);
    gate_open(&second);
    await_zombie(pid);
    gate_open(&first);
    await_zombie(stranger);
    loop_until(&loop, &unknown, 1);
    check(is_child(pid));
    stranger = child_dead(9);
    loop_settle(&loop);
    check_int(unknown, 1);
    check_int(told.calls, 0);
    loop_until(&other, &told.calls, 1);
    check(told.was_zombie);
    check_told(&told, pid, 3);
    loop_until(&loop, &unknown, 2);
    check_ok(sss_child_free(child));
    loop_end(&other);
    loop_end(&loop);
}

static void unknown_ones_before_it_need_no_proc(void **state)
{
    (void)state;
    in_child(without_proc, NULL);
}

struct scan {
    struct loop loop;
    atomic_bool over;
};

static void *scan_proc(void *pvt)
{
    struct scan *scan = pvt;

    loop_until(&scan->loop, &unknown, 1);
    scan->over = true;
    return NULL;
}

/* A thread is held in the middle of reading /proc: the others go on. */
static void the_scan_holds_nobody_up(void **state)
{
    static const struct hold opens[2] = { { SYS_openat, ANY_ARG }, { SYS_openat, ANY_ARG } };
    struct pollfd held_ones = { .events = POLLIN };
    struct scan scan = { .over = false };
    struct sss_child_ctx *child;
    struct told told = { 0 };
    struct loop other;
    struct held held;
    struct gate gate;
    pid_t pid, stranger;
    pthread_t thread;

    (void)state;
    hold_needed();
    unknown = 0;
    loop_start(&scan.loop, ctx_make(SSS_SCOPE_ALL, 0), WAKE_DESCRIPTOR);
    loop_start(&other, ctx_make(SSS_SCOPE_REGISTERED, 0), WAKE_DESCRIPTOR);
    check_ok(sss_sigchld_ctx_set_unknown_fn(scan.loop.ctx, see_unknown, &stranger));
    gate_make(&gate);
    pid = child_at(&gate, 3);
    child = keep(other.ctx, pid, &told);
    gate_open(&gate);
    await_zombie(pid);
    stranger = child_dead(9);
    held_ones.fd = hold_thread(&thread, opens, scan_proc, &scan);
    held = hold_await(held_ones.fd);
    check_int(stats_of(other.ctx).watches, 1);
    loop_until(&other, &told.calls, 1);
    check_told(&told, pid, 3);
    check_ok(sss_child_free(child));
    hold_release(held_ones.fd, &held);
    while (!scan.over) {
        if (poll(&held_ones, 1, 10) == 1 && hold_take(held_ones.fd, &held)) {
            hold_release(held_ones.fd, &held);
        }
    }
    check_ok(pthread_join(thread, NULL));
    check_ok(close(held_ones.fd));
    loop_end(&other);
    loop_end(&scan.loop);
    check_no_children();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        EACH_WAY(the_callback_comes_before_the_reap),
        EACH_WAY(one_that_is_dead_before),
        EACH_WAY(freed_in_its_callback),
        EACH_WAY(freed_before_it_ends),
        EACH_WAY(freed_while_it_lies),
        EACH_WAY(several_keepers_one_of_them_freed_in_between),
        EACH_WAY(a_watch_that_comes_while_it_lies),
        EACH_WAY(registered_twice_while_it_lies),
        EACH_WAY(registered_by_its_callback_while_it_lies),
        EACH_WAY(its_context_is_freed_while_it_lies),
        EACH_WAY(its_context_is_freed_in_its_callback),
        EACH_WAY(one_that_others_take_is_not_kept),
        EACH_WAY(one_that_others_take_while_it_lies),
        EACH_WAY(one_that_comes_late_is_told_all),
        ALL_WAYS(unknown_ones_are_found_beside_it),
        ALL_WAYS(unknown_ones_are_found_behind_it),
        cmocka_unit_test(unknown_ones_before_it_need_no_proc),
        cmocka_unit_test(the_scan_holds_nobody_up),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
