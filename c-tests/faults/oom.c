/* profiles: all but asan tsan valgrind: malloc cannot be taken over */
/* Memory runs out at the n-th allocation, for each n: ENOMEM, and nothing has changed. */
#include "support/test.h"

#include "support/memory.h"

enum { MANY = 300 };

struct scene {
    struct loop loop;
    struct gate gate;
    struct seen seen[MANY];
    struct sss_child_ctx *children[MANY];
    pid_t pids[MANY];
    struct sss_sigchild_ctx *made;
};

static struct scene scene;

static void scene_make(const struct way *way)
{
    int i;

    memset(&scene, 0, sizeof(scene));
    loop_start(&scene.loop, ctx_make(way->scope, 0), way->waking);
    gate_make(&scene.gate);
    for (i = 0; i < MANY; i++) {
        scene.pids[i] = child_at(&scene.gate, i % 200);
    }
}

static void scene_end(void)
{
    int i;

    gate_open(&scene.gate);
    for (i = 0; i < MANY; i++) {
        loop_until(&scene.loop, &scene.seen[i].calls, 1);
    }
    loop_settle(&scene.loop);
    for (i = 0; i < MANY; i++) {
        check_seen(&scene.seen[i], scene.pids[i], i % 200);
        check_ok(sss_child_free(scene.children[i]));
    }
    loop_end(&scene.loop);
    check_no_children();
}

/* Repeats a call, with its first allocation failing, then its second and so on, until it
 * succeeds. */
static unsigned until_it_works(int (*call)(int at), int at)
{
    struct sss_ctx_stats before, after;
    struct memory memory;
    unsigned n;
    unsigned fds;
    int code;

    for (n = 1;; n++) {
        before = stats_of(scene.loop.ctx);
        fds = count_fds();
        memory_begin(n);
        code = call(at);
        memory = memory_end();
        if (memory.failed == 0 || code == 0) {
            break; /* or it did without */
        }
        check_int(code, ENOMEM);
        after = stats_of(scene.loop.ctx);
        check_int(after.watches, before.watches);
        check_int(after.young + after.old, before.young + before.old);
        check_int(count_fds(), fds);
    }
    check_ok(code);
    return n - 1;
}

static int do_register(int at)
{
    return sss_child_register(NULL, scene.loop.ctx, scene.pids[at], see, &scene.seen[at],
                              &scene.children[at]);
}

static void registering(void **state)
{
    unsigned failed = 0;
    size_t way;
    int i;

    (void)state;
    memory_needed();
    for (way = 0; way < ARRAY_SIZE(ways); way++) {
        scene_make(&ways[way]);
        for (i = 0; i < MANY; i++) {
            failed += until_it_works(do_register, i);
            check(scene.children[i] != NULL);
        }
        scene_end();
    }
    check(failed > 0);
}

static int do_create(int at)
{
    struct sss_ctx_params params = params_zero();

    params.mask = SSS_CTX_PARAM_SCOPE;
    params.scope = at != 0 ? SSS_SCOPE_ALL : SSS_SCOPE_REGISTERED;
    return sss_sigchld_ctx_create(&params, &scene.made);
}

static void another_context(void **state)
{
    unsigned failed = 0;
    int at;

    (void)state;
    memory_needed();
    scene_make(&ways[3]);
    for (at = 0; at < MANY; at++) {
        check_ok(do_register(at));
    }
    for (at = 0; at < 40; at++) {
        failed += until_it_works(do_create, at % 2);
        check_ok(sss_sigchld_ctx_free(scene.made));
    }
    check(failed > 0);
    scene_end();
}

/* In a process that never used the library: its own state is made too. */
static void first_contexts(void *unused)
{
    struct memory memory;
    unsigned fds = count_fds();
    unsigned n;
    int code;

    (void)unused;
    for (n = 1;; n++) {
        memory_begin(n);
        code = sss_sigchld_ctx_init(NULL, NULL, 0, &scene.made);
        memory = memory_end();
        if (memory.failed == 0) {
            break;
        }
        check(code == ENOMEM || code == 0);
        if (code == 0) {
            check_ok(sss_sigchld_ctx_free(scene.made));
        }
        check_int(count_fds(), fds);
    }
    check_ok(code);
    check(n > 1);
    check_ok(sss_sigchld_ctx_free(scene.made));
}

static void first_context(void **state)
{
    (void)state;
    memory_needed();
    in_child(first_contexts, NULL);
}

static int agree(struct sss_child_ctx *child, void *pvt)
{
    (void)child;
    (*(int *)pvt)++;
    return 0;
}

static int hooks_run;

static int do_destructor(int at)
{
    return sss_child_set_destructor(scene.children[at], agree, &hooks_run);
}

static void hooks(void **state)
{
    int i;

    (void)state;
    memory_needed();
    hooks_run = 0;
    scene_make(&ways[3]);
    for (i = 0; i < MANY; i++) {
        check_ok(do_register(i));
        until_it_works(do_destructor, i);
    }
    scene_end();
    check_int(hooks_run, MANY);
}

static int do_fd(int at)
{
    (void)at;
    return sss_sigchld_ctx_fd(scene.loop.ctx, &scene.loop.ctxfd);
}

static void descriptor(void **state)
{
    int i;

    (void)state;
    memory_needed();
    scene_make(&ways[3]);
    for (i = 0; i < MANY; i++) {
        check_ok(do_register(i));
    }
    until_it_works(do_fd, 0);
    scene_end();
}

/* All allocations fail while children end, and every end is told. */
static void collecting(void **state)
{
    size_t way;
    int i;

    (void)state;
    memory_needed();
    for (way = 0; way < ARRAY_SIZE(ways); way++) {
        scene_make(&ways[way]);
        for (i = 0; i < MANY; i++) {
            check_ok(do_register(i));
        }
        gate_open(&scene.gate);
        for (i = 0; i < MANY; i++) {
            await_zombie(scene.pids[i]);
        }
        memory_begin(1);
        for (i = 0; i < MANY; i++) {
            loop_until(&scene.loop, &scene.seen[i].calls, 1);
        }
        check_int(memory_end().calls, 0);
        gate_make(&scene.gate);
        scene_end();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(first_context),
        cmocka_unit_test(registering),
        cmocka_unit_test(another_context),
        cmocka_unit_test(hooks),
        cmocka_unit_test(descriptor),
        cmocka_unit_test(collecting),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
