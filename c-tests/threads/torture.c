/*
 * Random operations against a model, in a pid namespace so small that each pid
 * is used again and again: no callback for the wrong child, no signal to a
 * stranger, none lost, no descriptor leaked.
 *
 * SSS_TEST_SOAK=SECONDS goes on for so long; SSS_TEST_SEED repeats a run.
 */
#include "support/test.h"

#include <time.h>

#include "support/kernel.h"
#include "support/small_pids.h"

enum { WATCHES = 48, STALE = 64, STRANGERS = 8, PID_MAX = 450 };

enum owner { NOBODY, WATCHED, UNWATCHED, OURS };

struct entry {
    enum owner owner;
    struct sss_child_ctx *child;
    int pid;
    int code;
    bool rich, keeps; /* a rich watch, which keeps the zombie */
    bool killed, stolen, told;
    int status;
};

struct model {
    struct loop loop;
    struct gate gate; /* opened at the end only */
    struct entry entries[WATCHES];
    struct sss_child_ctx *stale[STALE];
    pid_t strangers[STRANGERS];
    unsigned next_stale, made, told, lost;
    unsigned reused; /* children whose pid another one had before */
    bool had[1 << 22];
    unsigned long seed;
    bool thieves, keeps, deadlines;
};

struct run {
    struct way way;
    bool thieves;
};

static unsigned pick(struct model *m, unsigned below)
{
    m->seed = m->seed * 6364136223846793005ul + 1442695040888963407ul;
    return (unsigned)(m->seed >> 33) % below;
}

static bool is_possible(const struct model *m, const struct entry *e, int status)
{
    if (e->stolen && !m->keeps && status == SSS_WAIT_STATUS_LOST) {
        return true;
    }
    return status == status_of(e->code) || (e->killed && status == SIGKILL);
}

static void told(int pid, int wait_status, void *pvt)
{
    struct entry *e = pvt;

    check_int(pid, e->pid);
    check_int(e->owner, WATCHED);
    check(!e->told);
    e->told = true;
    e->status = wait_status;
}

static void told_richly(struct sss_child_ctx *child, const struct sss_child_event *event,
                        void *pvt)
{
    struct entry *e = pvt;

    check(child == e->child);
    if (!e->stolen) {
        check_int(event->source, SSS_SOURCE_WAITED);
        check_int(event->zombie_kept, e->keeps);
        check(!e->keeps || is_child(event->pid));
    }
    told(event->pid, event->wait_status, pvt);
}

static struct entry *any(struct model *m)
{
    return &m->entries[pick(m, WATCHES)];
}

static void make_stale(struct model *m, struct entry *e)
{
    m->stale[m->next_stale++ % STALE] = e->child;
    e->child = NULL;
}

/* A deadline kills the child, and no later process with its pid. */
static void watch_richly(struct model *m, struct entry *e)
{
    const struct sss_deadline_step step = {
        .after_ns = pick(m, 3) * 500000, .signum = SIGKILL,
    };
    const struct sss_deadline deadline = {
        .size = sizeof(deadline), .steps = &step, .steps_count = 1,
    };
    struct sss_watch watch = {
        .size = sizeof(watch), .mask = SSS_WATCH_PID | SSS_WATCH_EVENTS, .pid = e->pid,
        .events = SSS_CHILD_EVENT_EXITED | SSS_CHILD_EVENT_KILLED,
        .cb = told_richly, .pvt = e,
    };

    e->keeps = pick(m, 2) == 0;
    watch.mask |= e->keeps ? SSS_WATCH_KEEP_ZOMBIE : 0;
    if (m->deadlines && pick(m, 2) == 0) {
        watch.deadline = &deadline;
        e->killed = true; /* or it ends before */
    }
    check_ok(sss_child_watch(NULL, m->loop.ctx, &watch, &e->child));
}

/* A new child at a free entry: it ends by itself, or lives until it is killed. */
static void start(struct model *m)
{
    struct entry *e = any(m);
    bool lives = pick(m, 3) == 0;

    if (e->owner != NOBODY) {
        return;
    }
    memset(e, 0, sizeof(*e));
    e->code = (int)(m->made++ % 251);
    e->pid = child_at(lives ? &m->gate : NULL, e->code);
    e->owner = WATCHED;
    m->reused += m->had[e->pid];
    m->had[e->pid] = true;
    e->rich = pick(m, 2) == 0;
    if (e->rich) {
        watch_richly(m, e);
        return;
    }
    check_ok(sss_child_register(NULL, m->loop.ctx, e->pid, told, e, &e->child));
}

static void settle_told(struct model *m, struct entry *e)
{
    if (e->owner != WATCHED || !e->told) {
        return;
    }
    check(is_possible(m, e, e->status));
    m->told++;
    m->lost += e->status == SSS_WAIT_STATUS_LOST;
    check_int(sss_child_kill(e->child, SIGKILL), ESRCH);
    check_ok(sss_child_free(e->child));
    make_stale(m, e);
    e->owner = NOBODY;
}

static void free_it(struct model *m)
{
    struct entry *e = any(m);

    if (e->owner != WATCHED || e->told) {
        return;
    }
    (void)sss_child_kill(e->child, SIGKILL); /* it may have ended already */
    check_ok(sss_child_free(e->child));
    make_stale(m, e);
    e->owner = UNWATCHED;
}

/* The library still reaps what was freed; only then the entry is free. */
static void forget_reaped(struct entry *e)
{
    if (e->owner == UNWATCHED && !is_child(e->pid)) {
        e->owner = NOBODY;
    }
}

static void release_it(struct model *m)
{
    struct entry *e = any(m);
    int status;

    if (e->owner != WATCHED || e->told || e->stolen) {
        return;
    }
    check_ok(sss_child_release(e->child, &status));
    make_stale(m, e);
    if (status == SSS_WAIT_STATUS_NONE) {
        e->owner = OURS;
        return;
    }
    check(is_possible(m, e, status));
    m->told++;
    e->owner = NOBODY;
}

static void reap_ours(struct model *m)
{
    struct entry *e = any(m);
    int status;

    if (e->owner != OURS) {
        return;
    }
    kill(e->pid, SIGKILL);
    e->killed = true;
    check_int(waitpid(e->pid, &status, 0), e->pid);
    check(is_possible(m, e, status));
    e->owner = NOBODY;
}

static void kill_it(struct model *m)
{
    struct entry *e = any(m);
    int code;

    if (e->owner != WATCHED) {
        return;
    }
    code = sss_child_kill(e->child, SIGKILL);
    check(code == 0 || code == ESRCH);
    e->killed |= code == 0;
}

static void register_again(struct model *m)
{
    struct entry *e = any(m);
    struct sss_child_ctx *child;
    int code;

    if (e->owner != WATCHED || e->rich || e->told || e->stolen) {
        return; /* beside a rich watch it would be a second one */
    }
    code = sss_child_register(NULL, m->loop.ctx, e->pid, told, e, &child);
    if (code == ESRCH) {
        return; /* reaped, and about to be told */
    }
    check_ok(code);
    make_stale(m, e);
    e->child = child;
}

static void steal(struct model *m)
{
    struct entry *e = any(m);
    int status;

    if (!m->thieves || e->owner != WATCHED || e->told || e->stolen) {
        return;
    }
    if (waitpid(e->pid, &status, WNOHANG) == e->pid) {
        check(is_possible(m, e, status));
        e->stolen = true;
    }
}

static void use_stale(struct model *m)
{
    struct sss_child_ctx *child = m->stale[pick(m, STALE)];

    if (child == NULL) {
        return;
    }
    check_int(sss_child_kill(child, SIGKILL), ESRCH);
    check_int(sss_child_release(child, NULL), ESRCH);
    check_int(sss_child_set_cb(child, told, NULL), ESRCH);
    check(sss_child_set_deadline(child, NULL) != 0);
    check_ok(sss_child_free(child));
}

static void turn(struct model *m)
{
    int i;

    loop_turn(&m->loop, pick(m, 4) == 0 ? 1 : 0);
    for (i = 0; i < WATCHES; i++) {
        settle_told(m, &m->entries[i]);
        forget_reaped(&m->entries[i]);
    }
}

/* Picks one of a few strangers. If there is one it must still live, as it ends only when the
 * gate opens; else starts one. */
static void change_strangers(struct model *m)
{
    unsigned at = pick(m, STRANGERS);

    if (m->strangers[at] != 0) {
        check(is_child(m->strangers[at]));
        return;
    }
    m->strangers[at] = child_at(&m->gate, 200 + (int)at);
}

static void (*const operations[])(struct model *m) = {
    start, start, start, start, kill_it, kill_it, free_it, release_it, reap_ours,
    register_again, steal, use_stale, turn, turn, change_strangers,
};

static bool drained(struct model *m)
{
    int i;

    for (i = 0; i < WATCHES; i++) {
        if (m->entries[i].owner == WATCHED || m->entries[i].owner == UNWATCHED) {
            return false;
        }
    }
    return true;
}

static void finish(struct model *m)
{
    int64_t deadline = now_ms() + DEADLINE_MS;
    int i;

    gate_open(&m->gate);
    while (!drained(m)) {
        check(now_ms() < deadline);
        turn(m);
    }
    for (i = 0; i < WATCHES; i++) {
        if (m->entries[i].owner == OURS) {
            m->entries[i].owner = NOBODY;
            waitpid(m->entries[i].pid, NULL, 0);
        }
    }
    for (i = 0; i < STRANGERS; i++) {
        if (m->strangers[i] != 0) {
            reap(m->strangers[i], 200 + i);
        }
    }
    check_no_children();
    check_int(stats_of(m->loop.ctx).watches, 0);
    check_int(stats_of(m->loop.ctx).young + stats_of(m->loop.ctx).old, 0);
}

static struct sss_sigchild_ctx *context(const struct run *run)
{
    struct sss_ctx_params params = params_zero();
    struct sss_sigchild_ctx *ctx;

    params.mask = SSS_CTX_PARAM_SCOPE | SSS_CTX_PARAM_FLAGS;
    params.scope = run->way.scope;
    params.flags = run->thieves ? SSS_CTX_UNTRUSTED : 0;
    check_ok(sss_sigchld_ctx_create(&params, &ctx));
    return ctx;
}

static bool go_on(int64_t began, unsigned done)
{
    const char *soak = getenv("SSS_TEST_SOAK");

    if (soak != NULL) {
        return now_ms() - began < atoll(soak) * 1000 / 4;
    }
    return done < (test_profile_is("valgrind") ? 2000 : 30000);
}

static void torture(void *pvt)
{
    static struct model m;
    const struct run *run = pvt;
    const char *seed = getenv("SSS_TEST_SEED");
    int64_t began = now_ms();
    bool small = small_pids(PID_MAX);
    unsigned fds, done;

    memset(&m, 0, sizeof(m));
    m.keeps = kernel_keeps_status();
    m.thieves = run->thieves;
    m.deadlines = run->way.waking != WAKE_SIGNAL;
    m.seed = seed != NULL ? strtoul(seed, NULL, 0) : (unsigned long)time(NULL);
    printf("SSS_TEST_SEED=%lu\n", m.seed);
    fds = count_fds();
    loop_start(&m.loop, context(run), run->way.waking);
    gate_make(&m.gate);
    for (done = 0; go_on(began, done); done++) {
        operations[pick(&m, ARRAY_SIZE(operations))](&m);
    }
    finish(&m);
    loop_end(&m.loop);
    check_int(count_fds(), fds);
    check(m.thieves || m.lost == 0);
    printf("%u children, %u with a used pid, %u told, %u lost\n", m.made, m.reused, m.told,
           m.lost);
    check(!small || m.made < 2 * PID_MAX || m.reused > m.made / 2);
    fflush(stdout);
}

static void by_signal(void **state)
{
    struct run run = { { SSS_SCOPE_REGISTERED, WAKE_SIGNAL }, false };

    (void)state;
    in_pid_namespace(torture, &run);
}

static void by_descriptor(void **state)
{
    struct run run = { { SSS_SCOPE_REGISTERED, WAKE_DESCRIPTOR }, false };

    (void)state;
    in_pid_namespace(torture, &run);
}

static void thieves_by_signal(void **state)
{
    struct run run = { { SSS_SCOPE_REGISTERED, WAKE_SIGNAL }, true };

    (void)state;
    if (!kernel_has_pidfds()) {
        test_skip("linux-4.19 valgrind", "no pidfds");
    }
    in_pid_namespace(torture, &run);
}

static void thieves_by_descriptor(void **state)
{
    struct run run = { { SSS_SCOPE_REGISTERED, WAKE_BOTH }, true };

    (void)state;
    if (!kernel_has_pidfds()) {
        test_skip("linux-4.19 valgrind", "no pidfds");
    }
    in_pid_namespace(torture, &run);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(by_signal),
        cmocka_unit_test(by_descriptor),
        cmocka_unit_test(thieves_by_signal),
        cmocka_unit_test(thieves_by_descriptor),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
