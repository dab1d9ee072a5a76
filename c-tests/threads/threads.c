/*
 * Eight threads fork, register, kill and free while a ninth
 * dispatches. After sss_child_free() no callback of the watch runs: its pvt is
 * freed then, and overwritten.
 */
#include "support/test.h"

#include <pthread.h>
#include <stdatomic.h>

enum { THREADS = 8, ALIVE = 0x600d, DEAD = 0xdead };

static int rounds(void)
{
    if (test_profile_is("valgrind")) {
        return 20;
    }
    return test_profile_is("plain") ? 400 : 100;
}

struct shared {
    struct loop *loop;
    atomic_int working;
    atomic_uint told;
};

struct watched {
    struct shared *shared;
    atomic_int magic;
    atomic_int calls;
    int pid;
    int code;
};

static void told(int pid, int wait_status, void *pvt)
{
    struct watched *w = pvt;

    check_int(atomic_load(&w->magic), ALIVE);
    check_int(pid, w->pid);
    if (wait_status != SIGKILL) {
        check_int(wait_status, status_of(w->code));
    }
    check_int(atomic_fetch_add(&w->calls, 1), 0);
    atomic_fetch_add(&w->shared->told, 1);
    check_int(atomic_load(&w->magic), ALIVE);
}

static void discard(struct watched *w)
{
    atomic_store(&w->magic, DEAD);
    free(w);
}

static void one_child(struct shared *shared, int round)
{
    struct watched *w = calloc(1, sizeof(*w));
    int64_t deadline = now_ms() + DEADLINE_MS;
    struct sss_child_ctx *child;
    int code;

    check(w != NULL);
    w->shared = shared;
    w->code = round % 100;
    atomic_store(&w->magic, ALIVE);
    w->pid = child_at(NULL, w->code);
    check_ok(sss_child_register(NULL, shared->loop->ctx, w->pid, told, w, &child));
    switch (round % 4) {
    case 0: /* freed at once, whether it was told or not */
        break;
    case 1:
        code = sss_child_kill(child, SIGKILL);
        check(code == 0 || code == ESRCH);
        break;
    case 2:
        code = sss_child_set_cb(child, told, w);
        check(code == 0 || code == ESRCH);
        break;
    default:
        while (atomic_load(&w->calls) == 0) {
            check(now_ms() < deadline);
            sched_yield();
        }
    }
    check_ok(sss_child_free(child));
    discard(w);
}

static void *work(void *pvt)
{
    struct shared *shared = pvt;
    int count = rounds();
    int i;

    for (i = 0; i < count; i++) {
        one_child(shared, i);
    }
    atomic_fetch_sub(&shared->working, 1);
    return NULL;
}

static void register_and_free(void **state)
{
    struct shared shared = { .loop = *state };
    pthread_t threads[THREADS];
    int i;

    atomic_store(&shared.working, THREADS);
    for (i = 0; i < THREADS; i++) {
        check_ok(pthread_create(&threads[i], NULL, work, &shared));
    }
    while (atomic_load(&shared.working) > 0) {
        loop_turn(shared.loop, 10);
    }
    for (i = 0; i < THREADS; i++) {
        check_ok(pthread_join(threads[i], NULL));
    }
    while (waitid(P_ALL, 0, &(siginfo_t){ 0 }, WEXITED | WNOWAIT | WNOHANG) == 0) {
        loop_turn(shared.loop, 10);
    }
    check_int(stats_of(shared.loop->ctx).watches, 0);
    check_int(stats_of(shared.loop->ctx).lost, 0);
    check_int(stats_of(shared.loop->ctx).delivered, atomic_load(&shared.told));
    check(atomic_load(&shared.told) >= (unsigned)(THREADS * (rounds() / 4)));
}

/* sss_child_free() waits for a callback that is running in another thread. */
struct blocking {
    atomic_bool entered, leave, left;
    struct sss_child_ctx *child;
};

static void block(int pid, int wait_status, void *pvt)
{
    struct blocking *b = pvt;

    (void)pid;
    (void)wait_status;
    atomic_store(&b->entered, true);
    while (!atomic_load(&b->leave)) {
        sched_yield();
    }
    atomic_store(&b->left, true);
}

static void *free_while_it_runs(void *pvt)
{
    struct blocking *b = pvt;

    while (!atomic_load(&b->entered)) {
        sched_yield();
    }
    check_ok(sss_child_free(b->child));
    check(atomic_load(&b->left));
    return NULL;
}

static void *let_it_leave(void *pvt)
{
    struct blocking *b = pvt;
    int i;

    while (!atomic_load(&b->entered)) {
        sched_yield();
    }
    for (i = 0; i < 1000; i++) { /* gives a free that does not wait its chance */
        sched_yield();
    }
    atomic_store(&b->leave, true);
    return NULL;
}

static void free_waits_for_the_callback(void **state)
{
    struct loop *loop = *state;
    struct blocking b;
    pthread_t freer, leaver;

    memset(&b, 0, sizeof(b));
    check_ok(sss_child_register(NULL, loop->ctx, child_dead(0), block, &b, &b.child));
    check_ok(pthread_create(&freer, NULL, free_while_it_runs, &b));
    check_ok(pthread_create(&leaver, NULL, let_it_leave, &b));
    while (!atomic_load(&b.left)) {
        loop_turn(loop, 10);
    }
    check_ok(pthread_join(freer, NULL));
    check_ok(pthread_join(leaver, NULL));
}

/* Two threads dispatch one context: callbacks still run one at a time. */
struct alone {
    struct loop *loop;
    atomic_int inside;
    atomic_uint calls;
    atomic_bool over;
};

static void be_alone(int pid, int wait_status, void *pvt)
{
    struct alone *a = pvt;

    (void)pid;
    (void)wait_status;
    check_int(atomic_fetch_add(&a->inside, 1), 0);
    sched_yield();
    atomic_fetch_sub(&a->inside, 1);
    atomic_fetch_add(&a->calls, 1);
}

static void *dispatch(void *pvt)
{
    struct alone *a = pvt;

    while (!atomic_load(&a->over)) {
        sss_child_handler(NULL, NULL, 0, 0, NULL, a->loop->ctx);
        sched_yield();
    }
    return NULL;
}

static void two_dispatch(void **state)
{
    enum { COUNT = 200 };
    struct alone a = { .loop = *state };
    struct sss_child_ctx *children[COUNT];
    int64_t deadline;
    pthread_t other;
    int i;

    check_ok(pthread_create(&other, NULL, dispatch, &a));
    for (i = 0; i < COUNT; i++) {
        check_ok(sss_child_register(NULL, a.loop->ctx, child_at(NULL, 0), be_alone, &a,
                                    &children[i]));
    }
    deadline = now_ms() + DEADLINE_MS;
    while (atomic_load(&a.calls) < COUNT && now_ms() < deadline) {
        loop_turn(a.loop, 10);
    }
    atomic_store(&a.over, true);
    check_ok(pthread_join(other, NULL));
    check_int(atomic_load(&a.calls), COUNT);
    for (i = 0; i < COUNT; i++) {
        check_ok(sss_child_free(children[i]));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        EACH_WAY(register_and_free),
        EACH_WAY(free_waits_for_the_callback),
        EACH_WAY(two_dispatch),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
