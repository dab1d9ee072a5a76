/*
 * The list: what a context promises on every event loop. Each loop's program
 * runs it in each of its ways of waking; what a way cannot do is in the last
 * column.
 */
#ifndef ADAPTERS_BEHAVIOURS_H
#define ADAPTERS_BEHAVIOURS_H

#include "adapters/bed.h"

#include <pthread.h>

/* The end of one child. */

static void an_exit_is_told(struct bed *bed)
{
    struct seen seen = { 0 };
    pid_t pid = child_at(NULL, 7);
    struct sss_child_ctx *child = bed_watch(bed, pid, see, &seen);

    bed_until(bed, &seen.calls, 1);
    bed_settle(bed);
    check_seen(&seen, pid, 7);
    check_ok(sss_child_free(child));
}

static void a_signal_is_told(struct bed *bed)
{
    struct seen seen = { 0 };
    pid_t pid = child_at(NULL, BY_SIGNAL(SIGUSR1));
    struct sss_child_ctx *child = bed_watch(bed, pid, see, &seen);

    bed_until(bed, &seen.calls, 1);
    check_seen(&seen, pid, BY_SIGNAL(SIGUSR1));
    check_ok(sss_child_free(child));
}

/* How many rounds: fewer where each fork takes long. */
static unsigned rounds_of(unsigned count)
{
    return test_profile_is("valgrind") ? count / 5 : count;
}

static void every_exit_code_is_told(struct bed *bed)
{
    int code;

    for (code = 0; code < 256; code += test_profile_is("valgrind") ? 51 : 5) {
        struct seen seen = { 0 };
        pid_t pid = child_at(NULL, code);

        check_ok(sss_child_register(NULL, bed->ctx, pid, see, &seen, NULL));
        bed_until(bed, &seen.calls, 1);
        check_seen(&seen, pid, code);
    }
}

static void one_that_is_dead_before_its_registration(struct bed *bed)
{
    struct seen seen = { 0 };
    pid_t pid = child_dead(3);
    struct sss_child_ctx *child = bed_watch(bed, pid, see, &seen);

    check_int(seen.calls, 0); /* never from inside the registration */
    bed_until(bed, &seen.calls, 1);
    check_seen(&seen, pid, 3);
    check_ok(sss_child_free(child));
}

static void one_that_is_dead_before_the_context(struct bed *bed)
{
    struct seen seen = { 0 };
    pid_t pid = child_dead(4);

    bed_ctx_instead(bed, SSS_SCOPE_REGISTERED, 0);
    check_ok(sss_child_register(NULL, bed->ctx, pid, see, &seen, NULL));
    bed_until(bed, &seen.calls, 1);
    check_seen(&seen, pid, 4);
}

static void without_a_callback_it_is_reaped(struct bed *bed)
{
    pid_t pid = child_at(NULL, 0);

    check_ok(sss_child_register(NULL, bed->ctx, pid, NULL, NULL, NULL));
    bed_until_reaped(bed, pid);
}

static void what_is_no_child_is_refused(struct bed *bed)
{
    struct sss_child_ctx *child = NULL;
    struct seen seen = { 0 };

    check_int(sss_child_register(NULL, bed->ctx, getppid(), see, &seen, &child), ESRCH);
    check_int(sss_child_register(NULL, bed->ctx, 0, see, &seen, &child), EINVAL);
    check_int(sss_child_register(NULL, bed->ctx, -1, see, &seen, &child), EINVAL);
    check_int(sss_child_register(NULL, NULL, 1, see, &seen, &child), EINVAL);
    check(child == NULL);
    bed_settle(bed);
    check_int(seen.calls, 0);
}

/* Many. */

enum { MANY = 200 };

static void tell_of_many(struct bed *bed, struct gate *gate)
{
    static struct seen seen[MANY];
    static struct sss_child_ctx *children[MANY];
    static pid_t pids[MANY];
    int i, many = (int)rounds_of(MANY);

    memset(seen, 0, sizeof(seen));
    for (i = 0; i < many; i++) {
        pids[i] = child_at(gate, i % 250);
        children[i] = bed_watch(bed, pids[i], see, &seen[i]);
    }
    if (gate != NULL) {
        gate_open(gate);
    }
    for (i = 0; i < many; i++) {
        while (seen[i].calls == 0) {
            bed_turn_of(bed, bed->loop);
        }
    }
    bed_settle(bed);
    for (i = 0; i < many; i++) {
        check_seen(&seen[i], pids[i], i % 250);
        check_ok(sss_child_free(children[i]));
    }
}

static void many_are_told_once_each(struct bed *bed)
{
    tell_of_many(bed, NULL);
}

static void many_that_end_at_once(struct bed *bed)
{
    struct gate gate;

    gate_make(&gate);
    tell_of_many(bed, &gate);
}

static void short_ones_among_idle_ones(struct bed *bed)
{
    struct seen idle[50] = { { 0 } };
    struct gate gate;
    unsigned i, told = 0, turns = rounds_of(100), count = rounds_of(ARRAY_SIZE(idle));

    gate_make(&gate);
    for (i = 0; i < count; i++) {
        check_ok(sss_child_register(NULL, bed->ctx, child_at(&gate, 1), see, &idle[i], NULL));
    }
    for (i = 0; i < turns; i++) {
        struct seen seen = { 0 };
        pid_t pid = child_at(NULL, (int)i);

        check_ok(sss_child_register(NULL, bed->ctx, pid, see, &seen, NULL));
        bed_until(bed, &seen.calls, 1);
        check_seen(&seen, pid, (int)i);
    }
    for (i = 0; i < count; i++) {
        told += idle[i].calls;
    }
    check_int(told, 0);
    gate_open(&gate);
    for (i = 0; i < count; i++) {
        bed_until(bed, &idle[i].calls, 1);
    }
}

/* Ending a watch. */

static void freed_it_is_not_told_but_reaped(struct bed *bed)
{
    struct seen seen = { 0 };
    struct gate gate;
    pid_t pid;

    gate_make(&gate);
    pid = child_at(&gate, 0);
    check_ok(sss_child_free(bed_watch(bed, pid, see, &seen)));
    gate_open(&gate);
    bed_until_reaped(bed, pid);
    check_int(seen.calls, 0);
}

static void freed_with_its_call_due_it_is_not_told(struct bed *bed)
{
    struct seen seen = { 0 };
    struct sss_child_ctx *child = bed_watch(bed, child_dead(0), see, &seen);

    check_ok(sss_child_free(child));
    bed_settle(bed);
    check_int(seen.calls, 0);
}

struct frees {
    struct bed *bed;
    struct sss_child_ctx *children[2];
    struct sss_sigchild_ctx *ctx;
    unsigned calls;
};

static void free_both(int pid, int wait_status, void *pvt)
{
    struct frees *frees = (struct frees *)pvt;
    int i;

    (void)pid;
    (void)wait_status;
    frees->calls++;
    for (i = 0; i < 2; i++) {
        check_ok(sss_child_free(frees->children[i]));
        frees->children[i] = NULL;
    }
}

static void a_callback_frees_itself_and_another(struct bed *bed)
{
    struct frees frees = { .bed = bed };
    int i;

    for (i = 0; i < 2; i++) {
        frees.children[i] = bed_watch(bed, child_dead(1), free_both, &frees);
    }
    bed_until(bed, &frees.calls, 1);
    bed_settle(bed);
    check_int(frees.calls, 1);
}

static void free_context(int pid, int wait_status, void *pvt)
{
    struct frees *frees = (struct frees *)pvt;
    struct sss_sigchild_ctx *ctx = frees->ctx;

    (void)pid;
    (void)wait_status;
    frees->calls++;
    frees->ctx = NULL;
    bed_ctx_free(frees->bed, ctx);
}

static void a_callback_frees_the_context(struct bed *bed)
{
    struct frees frees = { .bed = bed };
    struct sss_child_ctx *children[2];
    int i;

    frees.ctx = bed->ctx;
    for (i = 0; i < 2; i++) {
        children[i] = bed_watch(bed, child_dead(1), free_context, &frees);
    }
    bed_until(bed, &frees.calls, 1);
    bed->ctx = NULL;
    bed_settle(bed);
    check_int(frees.calls, 1);
    for (i = 0; i < 2; i++) {
        check_ok(sss_child_free(children[i])); /* what is left of a handle */
    }
}

static void the_context_goes_before_its_children(struct bed *bed)
{
    struct seen seen = { 0 };
    struct gate gate;
    pid_t pid;

    gate_make(&gate);
    pid = child_at(&gate, 2);
    check_ok(sss_child_register(NULL, bed->ctx, pid, see, &seen, NULL));
    bed_ctx_free(bed, bed->ctx);
    bed->ctx = NULL;
    gate_open(&gate);
    reap(pid, 2);
    bed_settle(bed);
    check_int(seen.calls, 0);
}

static void a_released_child_is_the_daemon_s(struct bed *bed)
{
    struct seen seen = { 0 };
    struct gate gate;
    int status = -1;
    pid_t pid;

    gate_make(&gate);
    pid = child_at(&gate, 6);
    check_ok(sss_child_release(bed_watch(bed, pid, see, &seen), &status));
    check_int(status, SSS_WAIT_STATUS_NONE);
    gate_open(&gate);
    await_zombie(pid);
    bed_settle(bed);
    reap(pid, 6);
    check_int(seen.calls, 0);
}

static int refuse(struct sss_child_ctx *child, void *pvt)
{
    (void)child;
    ++*(unsigned *)pvt;
    return -1;
}

static void a_hook_may_refuse(struct bed *bed)
{
    struct seen seen = { 0 };
    unsigned asked = 0;
    struct gate gate;
    pid_t pid;
    struct sss_child_ctx *child;

    gate_make(&gate);
    pid = child_at(&gate, 1);
    child = bed_watch(bed, pid, see, &seen);
    check_ok(sss_child_set_destructor(child, refuse, &asked));
    check_int(sss_child_free(child), EBUSY);
    gate_open(&gate);
    bed_until(bed, &seen.calls, 1);
    check_ok(sss_child_set_destructor(child, NULL, NULL));
    check_ok(sss_child_free(child));
    check_int(asked, 1);
}

/* Using a watch. */

static void the_latest_registration_counts(struct bed *bed)
{
    struct seen former = { 0 }, latter = { 0 };
    struct sss_child_ctx *old, *new_one;
    struct gate gate;
    pid_t pid;

    gate_make(&gate);
    pid = child_at(&gate, 5);
    old = bed_watch(bed, pid, see, &former);
    new_one = bed_watch(bed, pid, see, &latter);
    gate_open(&gate);
    bed_until(bed, &latter.calls, 1);
    bed_settle(bed);
    check_int(former.calls, 0);
    check_ok(sss_child_free(old));
    check_ok(sss_child_free(new_one));
}

static void the_callback_can_be_changed(struct bed *bed)
{
    struct seen former = { 0 }, latter = { 0 };
    pid_t pid = child_dead(5);
    struct sss_child_ctx *child = bed_watch(bed, pid, see, &former);

    check_ok(sss_child_set_cb(child, see, &latter));
    bed_until(bed, &latter.calls, 1);
    check_seen(&latter, pid, 5);
    check_int(former.calls, 0);
    check_ok(sss_child_free(child));
}

static void it_is_killed_by_its_handle(struct bed *bed)
{
    struct seen seen = { 0 };
    struct gate gate;
    pid_t pid;
    struct sss_child_ctx *child;

    gate_make(&gate);
    pid = child_at(&gate, 0);
    child = bed_watch(bed, pid, see, &seen);
    check_ok(sss_child_kill(child, SIGKILL));
    bed_until(bed, &seen.calls, 1);
    check_seen(&seen, pid, BY_SIGNAL(SIGKILL));
    check_int(sss_child_kill(child, SIGKILL), ESRCH);
    check_ok(sss_child_free(child));
    gate_open(&gate);
}

static void learn(int pid, int wait_status, void *pvt)
{
    struct frees *frees = (struct frees *)pvt;

    (void)pid;
    (void)wait_status;
    frees->calls++;
    check_ok(sss_child_current(&frees->children[0]));
}

static void a_callback_knows_its_handle(struct bed *bed)
{
    struct frees frees = { .bed = bed };
    struct sss_child_ctx *child = bed_watch(bed, child_at(NULL, 0), learn, &frees);

    bed_until(bed, &frees.calls, 1);
    check(frees.children[0] == child);
    check_ok(sss_child_free(child));
}

static void room_is_made_before_the_fork(struct bed *bed)
{
    struct seen seen = { 0 };
    struct sss_child_ctx *child;
    pid_t pid;

    check_ok(sss_child_reserve(NULL, bed->ctx, &child));
    pid = child_at(NULL, 8);
    check_ok(sss_child_register_reserved(child, pid, see, &seen));
    bed_until(bed, &seen.calls, 1);
    check_seen(&seen, pid, 8);
    check_ok(sss_child_free(child));
}

static int show(const struct sss_child_info *info, void *pvt)
{
    ++*(unsigned *)pvt;
    check(info->cb == see);
    return 0;
}

static void watches_are_shown_and_counted(struct bed *bed)
{
    struct seen seen = { 0 };
    struct sss_child_ctx *child;
    unsigned shown = 0;
    struct gate gate;

    gate_make(&gate);
    child = bed_watch(bed, child_at(&gate, 0), see, &seen);
    check_ok(sss_sigchld_ctx_foreach(bed->ctx, show, &shown));
    check_int(shown, 1);
    check_int(stats_of(bed->ctx).watches, 1);
    gate_open(&gate);
    bed_until(bed, &seen.calls, 1);
    check_int(stats_of(bed->ctx).watches, 0);
    check_int(stats_of(bed->ctx).delivered, 1);
    check_ok(sss_child_free(child));
}

/* From inside a callback. */

struct chain {
    struct bed *bed;
    unsigned calls;
    bool spawns;
};

static void start_the_next(int pid, int wait_status, void *pvt)
{
    const char *argv[] = { "true", NULL };
    struct chain *chain = (struct chain *)pvt;
    struct sss_spawn spawn;

    (void)pid;
    check_int(wait_status, 0);
    if (++chain->calls == 20) {
        return;
    }
    if (!chain->spawns) {
        check_ok(sss_child_register(NULL, chain->bed->ctx, child_at(NULL, 0), start_the_next, chain,
                                    NULL));
        return;
    }
    memset(&spawn, 0, sizeof(spawn));
    spawn.size = sizeof(spawn);
    spawn.path = "/bin/true";
    spawn.argv = argv;
    check_ok(sss_child_spawn(NULL, chain->bed->ctx, &spawn, start_the_next, chain, NULL));
}

static void run_chain(struct bed *bed, bool spawns)
{
    struct chain chain = { .bed = bed, .spawns = spawns };

    check_ok(sss_child_register(NULL, bed->ctx, child_at(NULL, 0), start_the_next, &chain, NULL));
    while (chain.calls < 20) {
        bed_turn_of(bed, bed->loop);
    }
}

static void a_callback_registers_the_next(struct bed *bed)
{
    run_chain(bed, false);
}

static void a_callback_spawns_the_next(struct bed *bed)
{
    run_chain(bed, true);
}

static void in_the_child(void *pvt)
{
    struct frees *frees = (struct frees *)pvt;
    struct sss_child_ctx *child;

    check_int(sss_child_register(NULL, frees->ctx, getpid(), see, NULL, &child), ECHILD);
}

static void fork_within(int pid, int wait_status, void *pvt)
{
    struct frees *frees = (struct frees *)pvt;

    (void)pid;
    (void)wait_status;
    frees->calls++;
    in_child(in_the_child, frees);
}

static void a_callback_forks(struct bed *bed)
{
    struct frees frees = { .bed = bed };

    frees.ctx = bed->ctx;
    check_ok(sss_child_register(NULL, bed->ctx, child_at(NULL, 0), fork_within, &frees, NULL));
    bed_until(bed, &frees.calls, 1);
    an_exit_is_told(bed);
}

/* As with daemon(3): the context is made before the fork, and used in the child only. */
static void go_on_in_the_child(void *pvt)
{
    struct bed *bed = (struct bed *)pvt;

    if (bed->way->after_fork != NULL) {
        bed->way->after_fork(bed->loop);
    }
    check_ok(sss_sigchld_ctx_after_fork(bed->ctx));
    an_exit_is_told(bed);
    many_are_told_once_each(bed);
    bed_ctx_free(bed, bed->ctx);
    bed->way->turn_now(bed->loop);
    bed->way->loop_free(bed->loop);
}

static void it_goes_along_over_a_fork(struct bed *bed)
{
    in_child(go_on_in_the_child, bed);
    an_exit_is_told(bed);
}

/* Starting children. */

static void a_spawned_child_is_told(struct bed *bed)
{
    const char *argv[] = { "false", NULL };
    struct sss_spawn spawn = { .size = sizeof(spawn), .path = "/bin/false", .argv = argv };
    struct sss_child_ctx *child;
    struct seen seen = { 0 };

    check_ok(sss_child_spawn(NULL, bed->ctx, &spawn, see, &seen, &child));
    bed_until(bed, &seen.calls, 1);
    check_int(seen.status, status_of(1));
    check_ok(sss_child_free(child));
}

static void a_spawn_that_fails_calls_nobody(struct bed *bed)
{
    const char *argv[] = { "none", NULL };
    struct sss_spawn spawn = { .size = sizeof(spawn), .path = "/nowhere/none", .argv = argv };
    struct sss_child_ctx *child = NULL;
    struct seen seen = { 0 };

    check_int(sss_child_spawn(NULL, bed->ctx, &spawn, see, &seen, &child), ENOENT);
    check(child == NULL);
    bed_settle(bed);
    check_int(seen.calls, 0);
}

/* Other code in the process. */

static void popen_and_system_keep_theirs(struct bed *bed)
{
    struct seen seen = { 0 };
    FILE *pipe;
    int i;

    for (i = 0; i < 10; i++) {
        check_ok(sss_child_register(NULL, bed->ctx, child_at(NULL, 0), see, &seen, NULL));
        pipe = popen("exit 3", "r");
        check(pipe != NULL);
        bed->way->turn_now(bed->loop);
        check_int(pclose(pipe), status_of(3));
        check_int(system("exit 4"), status_of(4));
    }
    while (seen.calls < 10) {
        bed_turn_of(bed, bed->loop);
    }
}

static void one_that_somebody_took_is_told_all_the_same(struct bed *bed)
{
    struct seen seen = { 0 };
    struct gate gate;
    pid_t pid;

    gate_make(&gate);
    pid = child_at(&gate, 9);
    check_ok(sss_child_register(NULL, bed->ctx, pid, see, &seen, NULL));
    gate_open(&gate);
    reap(pid, 9);
    bed_until(bed, &seen.calls, 1);
    check(seen.status == status_of(9) || seen.status == SSS_WAIT_STATUS_LOST);
}

static uint32_t unknown(int pid, int wait_status, void *pvt)
{
    struct seen *seen = (struct seen *)pvt;

    see(pid, wait_status, seen);
    return SSS_UNKNOWN_TAKEN;
}

static void in_scope_all_strangers_are_told(struct bed *bed)
{
    struct seen seen = { 0 };
    pid_t pid;

    bed_ctx_instead(bed, SSS_SCOPE_ALL, 0);
    check_ok(sss_sigchld_ctx_set_unknown_fn(bed->ctx, unknown, &seen));
    pid = child_at(NULL, 11);
    bed_until(bed, &seen.calls, 1);
    check_seen(&seen, pid, 11);
}

static void in_scope_all_a_late_registration_is_served(struct bed *bed)
{
    struct seen seen = { 0 };
    pid_t pid;

    bed_ctx_instead(bed, SSS_SCOPE_ALL, 0);
    pid = child_at(NULL, 12);
    while (is_child(pid)) {
        bed_turn_of(bed, bed->loop);
    }
    check_ok(sss_child_register(NULL, bed->ctx, pid, see, &seen, NULL));
    bed_until(bed, &seen.calls, 1);
    check_seen(&seen, pid, 12);
}

/* Stops and continues. */

static void stops_and_continues_are_told(struct bed *bed)
{
    struct seen seen = { 0 };
    struct sss_child_ctx *child;
    struct gate gate;
    pid_t pid;

    bed_ctx_instead(bed, SSS_SCOPE_REGISTERED, WUNTRACED | WCONTINUED);
    gate_make(&gate);
    pid = child_at(&gate, 0);
    child = bed_watch(bed, pid, see, &seen);
    check_ok(sss_child_kill(child, SIGSTOP));
    bed_until(bed, &seen.calls, 1);
    check(WIFSTOPPED(seen.status));
    check_ok(sss_child_kill(child, SIGCONT));
    bed_until(bed, &seen.calls, 2);
    check(WIFCONTINUED(seen.status));
    gate_open(&gate);
    bed_until(bed, &seen.calls, 3);
    check_int(seen.status, 0);
    check_ok(sss_child_free(child));
}

static void a_stop_is_no_end(struct bed *bed)
{
    struct seen seen = { 0 };
    struct gate gate;
    pid_t pid;

    gate_make(&gate);
    pid = child_at(&gate, 0);
    check_ok(sss_child_register(NULL, bed->ctx, pid, see, &seen, NULL));
    check_ok(kill(pid, SIGSTOP));
    await_stopped(pid);
    bed_settle(bed);
    check_int(seen.calls, 0);
    check_ok(kill(pid, SIGCONT));
    gate_open(&gate);
    bed_until(bed, &seen.calls, 1);
    check_int(seen.status, 0);
}

/* Several contexts, several loops. */

static void two_contexts_on_one_loop(struct bed *bed)
{
    struct sss_sigchild_ctx *other = bed_ctx(bed, SSS_SCOPE_REGISTERED, 0);
    struct seen mine = { 0 }, theirs = { 0 };
    pid_t pid;

    check_ok(sss_child_register(NULL, bed->ctx, child_at(NULL, 1), see, &mine, NULL));
    pid = child_at(NULL, 2);
    check_ok(sss_child_register(NULL, other, pid, see, &theirs, NULL));
    bed_until(bed, &mine.calls, 1);
    bed_until(bed, &theirs.calls, 1);
    check_seen(&theirs, pid, 2);
    bed_ctx_free(bed, other);
    an_exit_is_told(bed);
}

static void one_child_in_two_contexts(struct bed *bed)
{
    struct sss_sigchild_ctx *other = bed_ctx(bed, SSS_SCOPE_REGISTERED, 0);
    struct seen mine = { 0 }, theirs = { 0 };
    struct gate gate;
    pid_t pid;

    gate_make(&gate);
    pid = child_at(&gate, 1);
    check_ok(sss_child_register(NULL, bed->ctx, pid, see, &mine, NULL));
    check_ok(sss_child_register(NULL, other, pid, see, &theirs, NULL));
    gate_open(&gate);
    bed_until(bed, &mine.calls, 1);
    bed_until(bed, &theirs.calls, 1);
    bed_ctx_free(bed, other);
}

static void two_loops_in_one_thread(struct bed *bed)
{
    void *loop = bed->way->loop_new();
    struct sss_sigchild_ctx *ctx = bed_ctx_on(bed, loop, SSS_SCOPE_REGISTERED, 0);
    struct seen mine = { 0 }, theirs = { 0 };
    int i;

    for (i = 1; i <= 10; i++) {
        check_ok(sss_child_register(NULL, bed->ctx, child_at(NULL, 1), see, &mine, NULL));
        check_ok(sss_child_register(NULL, ctx, child_at(NULL, 2), see, &theirs, NULL));
        while (theirs.calls < (unsigned)i || mine.calls < (unsigned)i) {
            /* A loop that has read the signal may need another turn to tell of it. */
            bed->way->turn_now(bed->loop);
            bed->way->turn_now(loop);
        }
    }
    bed_ctx_free_on(bed, loop, ctx);
    bed->way->turn_now(loop);
    bed->way->loop_free(loop);
    an_exit_is_told(bed);
}

static void *a_thread_with_a_loop(void *pvt)
{
    struct bed own = *(struct bed *)pvt;
    struct sss_child_ctx *child;
    unsigned i;

    check_int(sss_child_register(NULL, own.ctx, getpid(), see, NULL, &child),
              own.way->host != NULL ? EPERM : ESRCH);
    own.loop = own.way->loop_new();
    own.ctx = bed_ctx(&own, SSS_SCOPE_REGISTERED, 0);
    for (i = 0; i < rounds_of(50); i++) {
        an_exit_is_told(&own);
    }
    bed_ctx_free(&own, own.ctx);
    if (!own.way->leaves) {
        own.way->turn_now(own.loop);
    }
    own.way->loop_free(own.loop);
    return NULL;
}

static void threads_with_a_loop_each(struct bed *bed)
{
    pthread_t threads[4];
    unsigned i;

    for (i = 0; i < ARRAY_SIZE(threads); i++) {
        check_ok(pthread_create(&threads[i], NULL, a_thread_with_a_loop, bed));
    }
    for (i = 0; i < rounds_of(50); i++) {
        an_exit_is_told(bed);
    }
    for (i = 0; i < ARRAY_SIZE(threads); i++) {
        check_ok(pthread_join(threads[i], NULL));
    }
    an_exit_is_told(bed);
}

static void the_loop_goes_before_the_context(struct bed *bed)
{
    struct seen seen = { 0 };
    pid_t pid = child_dead(1);
    struct sss_child_ctx *child = bed_watch(bed, pid, see, &seen);

    bed->way->loop_free(bed->loop);
    bed->loop = NULL;
    check_int(seen.calls, 0);
    check_ok(sss_child_free(child));
    check_ok(sss_sigchld_ctx_free(bed->ctx));
    bed->ctx = NULL;
    if (is_child(pid)) { /* nobody looked any more */
        reap(pid, 1);
    }
}

static void contexts_come_and_go(struct bed *bed)
{
    unsigned fds = count_fds(), i;

    for (i = 0; i < rounds_of(100); i++) {
        struct seen seen = { 0 };

        bed_ctx_instead(bed, SSS_SCOPE_REGISTERED, 0);
        check_ok(sss_child_register(NULL, bed->ctx, child_dead(0), see, &seen, NULL));
        bed_until(bed, &seen.calls, 1);
    }
    bed_settle(bed);
    check_int(count_fds(), fds);
    an_exit_is_told(bed);
}

static void former_handler(int signum)
{
    (void)signum;
}

static void the_former_disposition_comes_back(struct bed *bed)
{
    struct sigaction act = { .sa_handler = former_handler }, now;

    bed_ctx_free(bed, bed->ctx);
    bed_settle(bed);
    check_ok(sigaction(SIGCHLD, &act, NULL));
    bed->ctx = bed_ctx(bed, SSS_SCOPE_REGISTERED, 0);
    an_exit_is_told(bed);
    bed_ctx_free(bed, bed->ctx);
    bed->ctx = NULL;
    bed_settle(bed);
    check_ok(sigaction(SIGCHLD, NULL, &now));
    check(now.sa_handler == former_handler);
    check_ok(sigaction(SIGCHLD, &bed->former, NULL));
}

/* Makes two contexts, and frees this one (0 or 1) before the other. */
static void two_contexts_come_and_go(struct bed *bed, int first)
{
    struct sss_sigchild_ctx *ctx[2];

    ctx[0] = bed_ctx(bed, SSS_SCOPE_REGISTERED, 0);
    ctx[1] = bed_ctx(bed, SSS_SCOPE_REGISTERED, 0);
    bed_ctx_free(bed, ctx[first]);
    bed->ctx = ctx[!first];
    an_exit_is_told(bed);
    bed_ctx_free(bed, bed->ctx);
    bed->ctx = NULL;
    bed_settle(bed);
}

static void two_contexts_leave_the_former_disposition(struct bed *bed)
{
    struct sigaction act = { .sa_handler = former_handler }, now;
    int first;

    bed_ctx_free(bed, bed->ctx);
    bed_settle(bed);
    for (first = 0; first < 2; first++) {
        check_ok(sigaction(SIGCHLD, &act, NULL));
        two_contexts_come_and_go(bed, first);
        check_ok(sigaction(SIGCHLD, NULL, &now));
        check(now.sa_handler == former_handler);
    }
    check_ok(sigaction(SIGCHLD, &bed->former, NULL));
}

/* A daemon whose parent ignores SIGCHLD starts with it ignored. */
static void an_ignored_sigchld_is_taken(struct bed *bed)
{
    struct sigaction act = { .sa_handler = SIG_IGN };

    bed_ctx_free(bed, bed->ctx);
    bed_settle(bed);
    check_ok(sigaction(SIGCHLD, &act, NULL));
    bed->ctx = bed_ctx(bed, SSS_SCOPE_REGISTERED, 0);
    an_exit_is_told(bed);
    many_that_end_at_once(bed);
    bed_ctx_free(bed, bed->ctx);
    bed->ctx = NULL;
    bed_settle(bed);
    check_ok(sigaction(SIGCHLD, &bed->former, NULL));
}

/* The last of two contexts restores the disposition, in whatever order they are freed. */
static void the_former_mask_comes_back(struct bed *bed)
{
    int i;

    bed_ctx_free(bed, bed->ctx);
    for (i = 0; i < 4; i++) {
        bed_mask(i / 2 == 0 ? SIG_BLOCK : SIG_UNBLOCK);
        two_contexts_come_and_go(bed, i % 2);
        check_int(bed_blocked(), i / 2 == 0);
    }
    bed_mask(bed->way->blocks ? SIG_BLOCK : SIG_UNBLOCK);
}

/* Deadlines, services, units. */
#include "adapters/families.h"

static const struct behaviour behaviours[] = {
    { "an_exit_is_told", an_exit_is_told, 0 },
    { "a_signal_is_told", a_signal_is_told, 0 },
    { "every_exit_code_is_told", every_exit_code_is_told, 0 },
    { "one_that_is_dead_before_its_registration", one_that_is_dead_before_its_registration, 0 },
    { "one_that_is_dead_before_the_context", one_that_is_dead_before_the_context, 0 },
    { "without_a_callback_it_is_reaped", without_a_callback_it_is_reaped, 0 },
    { "what_is_no_child_is_refused", what_is_no_child_is_refused, 0 },
    { "many_are_told_once_each", many_are_told_once_each, 0 },
    { "many_that_end_at_once", many_that_end_at_once, 0 },
    { "short_ones_among_idle_ones", short_ones_among_idle_ones, 0 },
    { "freed_it_is_not_told_but_reaped", freed_it_is_not_told_but_reaped, 0 },
    { "freed_with_its_call_due_it_is_not_told", freed_with_its_call_due_it_is_not_told, 0 },
    { "a_callback_frees_itself_and_another", a_callback_frees_itself_and_another, 0 },
    { "a_callback_frees_the_context", a_callback_frees_the_context, 0 },
    { "the_context_goes_before_its_children", the_context_goes_before_its_children, 0 },
    { "a_released_child_is_the_daemon_s", a_released_child_is_the_daemon_s, 0 },
    { "a_hook_may_refuse", a_hook_may_refuse, 0 },
    { "the_latest_registration_counts", the_latest_registration_counts, 0 },
    { "the_callback_can_be_changed", the_callback_can_be_changed, 0 },
    { "it_is_killed_by_its_handle", it_is_killed_by_its_handle, 0 },
    { "a_callback_knows_its_handle", a_callback_knows_its_handle, 0 },
    { "room_is_made_before_the_fork", room_is_made_before_the_fork, 0 },
    { "watches_are_shown_and_counted", watches_are_shown_and_counted, 0 },
    { "a_callback_registers_the_next", a_callback_registers_the_next, 0 },
    { "a_callback_spawns_the_next", a_callback_spawns_the_next, 0 },
    { "a_callback_forks", a_callback_forks, 0 },
    { "it_goes_along_over_a_fork", it_goes_along_over_a_fork, CANNOT_FORK },
    { "a_spawned_child_is_told", a_spawned_child_is_told, 0 },
    { "a_spawn_that_fails_calls_nobody", a_spawn_that_fails_calls_nobody, 0 },
    { "popen_and_system_keep_theirs", popen_and_system_keep_theirs, 0 },
    { "one_that_somebody_took_is_told_all_the_same", one_that_somebody_took_is_told_all_the_same,
      0 },
    { "in_scope_all_strangers_are_told", in_scope_all_strangers_are_told, 0 },
    { "in_scope_all_a_late_registration_is_served", in_scope_all_a_late_registration_is_served, 0 },
    { "stops_and_continues_are_told", stops_and_continues_are_told, CANNOT_STOPS },
    { "a_stop_is_no_end", a_stop_is_no_end, 0 },
    { "two_contexts_on_one_loop", two_contexts_on_one_loop, CANNOT_CONTEXTS },
    { "one_child_in_two_contexts", one_child_in_two_contexts, CANNOT_CONTEXTS },
    { "two_loops_in_one_thread", two_loops_in_one_thread, CANNOT_LOOPS },
    { "threads_with_a_loop_each", threads_with_a_loop_each, CANNOT_LOOPS | CANNOT_THREADS },
    { "the_loop_goes_before_the_context", the_loop_goes_before_the_context, CANNOT_LOOP_FIRST },
    { "the_former_disposition_comes_back", the_former_disposition_comes_back, CANNOT_FORMER },
    { "two_contexts_leave_the_former_disposition", two_contexts_leave_the_former_disposition,
      CANNOT_CONTEXTS | CANNOT_FORMER | CANNOT_ORDER },
    { "an_ignored_sigchld_is_taken", an_ignored_sigchld_is_taken,
      CANNOT_STOPS | CANNOT_FORMER | CANNOT_IGNORED },
    { "the_former_mask_comes_back", the_former_mask_comes_back, CANNOT_CONTEXTS | CANNOT_MASK },
    { "contexts_come_and_go", contexts_come_and_go, 0 },
    { "a_deadline_is_kept_step_by_step", a_deadline_is_kept_step_by_step, 0 },
    { "a_deadline_ends_with_its_child", a_deadline_ends_with_its_child, 0 },
    { "a_deadline_set_late_is_kept", a_deadline_set_late_is_kept, 0 },
    { "a_command_reads_and_writes", a_command_reads_and_writes, 0 },
    { "a_service_of_one_ends", a_service_of_one_ends, 0 },
    { "a_service_is_killed_whole", a_service_is_killed_whole, 0 },
    { "a_service_is_freed_in_its_callback", a_service_is_freed_in_its_callback, 0 },
    { "a_unit_runs_and_is_stopped", a_unit_runs_and_is_stopped, 0 },
    { "a_unit_that_crashes_is_started_again", a_unit_that_crashes_is_started_again, 0 },
    { "a_unit_says_that_it_is_ready", a_unit_says_that_it_is_ready, 0 },
};

#define BEHAVIOURS_RUN(ways, own) \
    bed_run(ways, ARRAY_SIZE(ways), behaviours, ARRAY_SIZE(behaviours), own, ARRAY_SIZE(own))

#endif
