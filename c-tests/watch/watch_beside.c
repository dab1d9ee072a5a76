/* Rich watches in several threads, and in a process that forks. */
#include "support/test.h"

#include <pthread.h>

#include "support/told.h"

enum { THREADS = 4 };

static const struct sss_deadline_step in_an_hour = {
    .after_ns = 3600 * 1000000000LL, .signum = SIGKILL,
};
static const struct sss_deadline late = {
    .size = sizeof(late), .steps = &in_an_hour, .steps_count = 1,
};

static int rounds(void)
{
    return test_profile_is("plain") ? 400 : 40;
}

/* Every kind of rich watch: kept, with a deadline that is left or taken away. */
static void *watch_many(void *pvt)
{
    struct loop loop;
    int round;

    (void)pvt;
    loop_start(&loop, ctx_make(SSS_SCOPE_REGISTERED, 0), WAKE_DESCRIPTOR);
    for (round = 0; round < rounds(); round++) {
        struct told told = { 0 }, kept = { 0 };
        pid_t pid = child_at(NULL, round % 256);
        struct sss_watch watch = watch_of(pid, &told), keep = watch_of(pid, &kept);
        struct sss_child_ctx *children[2];

        keep.mask |= SSS_WATCH_KEEP_ZOMBIE;
        keep.deadline = &late;
        check_ok(sss_child_watch(NULL, loop.ctx, &keep, &children[0]));
        check_ok(sss_child_watch(NULL, loop.ctx, &watch, &children[1]));
        if (round % 2 == 0) {
            int ret = sss_child_set_deadline(children[0], NULL);

            check(ret == 0 || ret == ESRCH); /* it has ended, which is not told yet */
        }
        loop_until(&loop, &kept.calls, 1);
        loop_until(&loop, &told.calls, 1);
        check(kept.was_zombie);
        check_told(&kept, pid, round % 256);
        check_told(&told, pid, round % 256);
        check_ok(sss_child_free(children[0]));
        check_ok(sss_child_free(children[1]));
    }
    loop_end(&loop);
    return NULL;
}

static void threads_watch_their_own(void **state)
{
    pthread_t threads[THREADS];
    int i;

    (void)state;
    for (i = 0; i < THREADS; i++) {
        check_ok(pthread_create(&threads[i], NULL, watch_many, NULL));
    }
    for (i = 0; i < THREADS; i++) {
        check_ok(pthread_join(threads[i], NULL));
    }
    check_no_children();
}

struct part {
    pid_t pid;
    bool keeps;
    pthread_barrier_t *made;
    struct told told;
};

static void *watch_one(void *pvt)
{
    struct part *part = pvt;
    struct sss_watch watch = watch_of(part->pid, &part->told);
    struct sss_child_ctx *child;
    struct loop loop;

    loop_start(&loop, ctx_make(SSS_SCOPE_REGISTERED, 0), WAKE_DESCRIPTOR);
    if (part->keeps) {
        watch.mask |= SSS_WATCH_KEEP_ZOMBIE;
    }
    check_ok(sss_child_watch(NULL, loop.ctx, &watch, &child));
    pthread_barrier_wait(part->made);
    loop_until(&loop, &part->told.calls, 1);
    if (part->keeps) {
        check(part->told.was_zombie);
    }
    check_ok(sss_child_free(child));
    loop_end(&loop);
    return NULL;
}

static void threads_watch_one_child(void **state)
{
    int round, i;

    (void)state;
    for (round = 0; round < rounds() / 4; round++) {
        struct part parts[THREADS];
        pthread_barrier_t made;
        struct gate gate;
        pthread_t threads[THREADS];
        pid_t pid;

        gate_make(&gate);
        pid = child_at(&gate, round % 256);
        check_ok(pthread_barrier_init(&made, NULL, THREADS + 1));
        memset(parts, 0, sizeof(parts));
        for (i = 0; i < THREADS; i++) {
            parts[i].pid = pid;
            parts[i].keeps = i % 2 == round % 2;
            parts[i].made = &made;
            check_ok(pthread_create(&threads[i], NULL, watch_one, &parts[i]));
        }
        pthread_barrier_wait(&made);
        gate_open(&gate);
        for (i = 0; i < THREADS; i++) {
            check_ok(pthread_join(threads[i], NULL));
            check_told(&parts[i].told, pid, round % 256);
        }
        check_ok(pthread_barrier_destroy(&made));
        check_no_children();
    }
}

struct output {
    unsigned calls;
    int status;
    size_t length;
};

static void see_output(struct sss_child_ctx *child, const struct sss_communicated *done, void *pvt)
{
    struct output *output = pvt;

    (void)child;
    output->calls++;
    output->status = done->end->status;
    output->length = done->output_length;
}

/* More than a pipe holds, there and back. */
static void *communicate_often(void *pvt)
{
    enum { BYTES = 300000 };
    static const char *const argv[] = { "sh", "-c", "cat; exit 6", NULL };
    const struct sss_spawn spawn = { .size = sizeof(spawn), .path = "/bin/sh", .argv = argv };
    struct output output;
    const struct sss_communicate comm = {
        .size = sizeof(comm),
        .mask = SSS_COMMUNICATE_INPUT | SSS_COMMUNICATE_OUTPUT,
        .input = pvt,
        .input_length = BYTES,
        .deadline = &late,
        .cb = see_output,
        .pvt = &output,
    };
    struct loop loop;
    int round;

    loop_start(&loop, ctx_make(SSS_SCOPE_REGISTERED, 0), WAKE_DESCRIPTOR);
    for (round = 0; round < rounds() / 20; round++) {
        struct sss_child_ctx *child;

        memset(&output, 0, sizeof(output));
        check_ok(sss_child_communicate(NULL, loop.ctx, &spawn, &comm, &child));
        loop_until(&loop, &output.calls, 1);
        check_int(output.status, 6);
        check_int(output.length, BYTES);
        check_ok(sss_child_free(child));
    }
    loop_end(&loop);
    return NULL;
}

static void threads_communicate(void **state)
{
    pthread_t threads[THREADS];
    char *input = calloc(1, 300000);
    int i;

    (void)state;
    check(input != NULL);
    for (i = 0; i < THREADS; i++) {
        check_ok(pthread_create(&threads[i], NULL, communicate_often, input));
    }
    for (i = 0; i < THREADS; i++) {
        check_ok(pthread_join(threads[i], NULL));
    }
    check_no_children();
    free(input);
}

struct inherited {
    struct loop *loop;
    struct sss_child_ctx *child;
};

/* What the parent has is not the child's; what it makes itself works. */
static void in_the_forked_child(void *pvt)
{
    static const char *const argv[] = { "true", NULL };
    const struct sss_spawn spawn = { .size = sizeof(spawn), .path = "/bin/true", .argv = argv };
    const struct sss_communicate comm = { .size = sizeof(comm) };
    struct inherited *parents = pvt;
    struct sss_child_event event = { .size = sizeof(event) };
    struct sss_child_ctx *child;
    struct told told = { 0 };
    struct sss_watch watch;
    struct loop own;
    pid_t pid = child_dead(5);

    watch = watch_of(pid, &told);
    check_int(sss_child_watch(NULL, parents->loop->ctx, &watch, &child), ECHILD);
    check_int(sss_child_set_deadline(parents->child, &late), ECHILD);
    check_int(sss_child_wait(parents->child, 0, NULL, &event), ECHILD);
    check_int(sss_child_communicate(NULL, parents->loop->ctx, &spawn, &comm, &child), ECHILD);
    loop_start(&own, ctx_make(SSS_SCOPE_REGISTERED, 0), WAKE_DESCRIPTOR);
    watch.mask |= SSS_WATCH_KEEP_ZOMBIE;
    watch.deadline = &late;
    check_ok(sss_child_watch(NULL, own.ctx, &watch, &child));
    loop_until(&own, &told.calls, 1);
    check(told.was_zombie);
    check_told(&told, pid, 5);
    check_ok(sss_child_free(child));
    loop_end(&own);
    check_int(sss_child_free(parents->child), ECHILD);
    check_int(sss_sigchld_ctx_free(parents->loop->ctx), ECHILD);
}

static void in_a_process_that_forks(void **state)
{
    struct inherited inherited = { .loop = *state };
    struct loop *loop = *state;
    struct told told = { 0 };
    struct sss_watch watch;
    struct gate gate;
    pid_t pid;

    gate_make(&gate);
    pid = child_at(&gate, 3);
    watch = watch_of(pid, &told);
    watch.mask |= SSS_WATCH_KEEP_ZOMBIE;
    watch.deadline = &late;
    check_ok(sss_child_watch(NULL, loop->ctx, &watch, &inherited.child));
    in_child(in_the_forked_child, &inherited);
    gate_open(&gate);
    loop_until(loop, &told.calls, 1);
    check(told.was_zombie);
    check_told(&told, pid, 3);
    check_ok(sss_child_free(inherited.child));
}

/* The zombie is kept while another process is forked: it remains the parent's only. */
static void forked_while_a_zombie_lies(void **state)
{
    struct inherited inherited = { .loop = *state };
    struct loop *loop = *state;
    struct told told = { 0 };
    struct sss_watch watch;
    pid_t pid = child_dead(4);

    watch = watch_of(pid, &told);
    watch.mask |= SSS_WATCH_KEEP_ZOMBIE;
    check_ok(sss_child_watch(NULL, loop->ctx, &watch, &inherited.child));
    in_child(in_the_forked_child, &inherited);
    check(is_child(pid));
    loop_until(loop, &told.calls, 1);
    check(told.was_zombie);
    check_told(&told, pid, 4);
    check_ok(sss_child_free(inherited.child));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_watch_their_own),
        cmocka_unit_test(threads_watch_one_child),
        cmocka_unit_test(threads_communicate),
        ONE_WAY(in_a_process_that_forks, "_all_descriptor", 1),
        ONE_WAY(in_a_process_that_forks, "_registered_descriptor", 4),
        ONE_WAY(forked_while_a_zombie_lies, "_all_descriptor", 1),
        ONE_WAY(forked_while_a_zombie_lies, "_registered_descriptor", 4),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
