/* The enumeration shows each watch whose end was not told yet. */
#include "support/test.h"

enum { COUNT = 40 };

struct scene {
    struct loop *loop;
    struct gate gate;
    struct seen seen[COUNT];
    struct sss_child_ctx *children[COUNT];
    uint64_t ids[COUNT];
    pid_t pids[COUNT];
    unsigned shown[COUNT];
    unsigned calls;
    unsigned stop_after;
    uint32_t state;
};

static void start(struct scene *scene, struct loop *loop)
{
    int i;

    memset(scene, 0, sizeof(*scene));
    scene->loop = loop;
    scene->state = SSS_CHILD_RUNNING;
    gate_make(&scene->gate);
    for (i = 0; i < COUNT; i++) {
        scene->pids[i] = child_at(&scene->gate, i);
        check_ok(sss_child_register(NULL, loop->ctx, scene->pids[i], see, &scene->seen[i],
                                    &scene->children[i]));
        check_ok(sss_child_id(scene->children[i], &scene->ids[i]));
    }
}

static void finish(struct scene *scene)
{
    int i;

    gate_open(&scene->gate);
    for (i = 0; i < COUNT; i++) {
        if (scene->loop->ctx != NULL) {
            loop_until_reaped(scene->loop, scene->pids[i]);
        } else if (is_child(scene->pids[i])) {
            reap(scene->pids[i], i);
        }
        check_ok(sss_child_free(scene->children[i]));
    }
}

static int index_of(const struct scene *scene, const struct sss_child_info *info)
{
    int i = (int)((struct seen *)info->pvt - scene->seen);

    check(i >= 0 && i < COUNT);
    check_int(info->size, sizeof(*info));
    check_int(info->pid, scene->pids[i]);
    check(info->id == scene->ids[i]);
    check(info->cb == see);
    check_int(info->state, scene->state);
    return i;
}

static int show(const struct sss_child_info *info, void *pvt)
{
    struct scene *scene = pvt;

    scene->shown[index_of(scene, info)]++;
    scene->calls++;
    return scene->calls == scene->stop_after;
}

static void shows_each_once(void **state)
{
    struct scene scene;
    int i;

    start(&scene, *state);
    check_ok(sss_sigchld_ctx_foreach(scene.loop->ctx, show, &scene));
    check_int(scene.calls, COUNT);
    for (i = 0; i < COUNT; i++) {
        check_int(scene.shown[i], 1);
    }
    finish(&scene);
    scene.calls = 0;
    check_ok(sss_sigchld_ctx_foreach(scene.loop->ctx, show, &scene));
    check_int(scene.calls, 0);
}

static void stops(void **state)
{
    struct scene scene;

    start(&scene, *state);
    scene.stop_after = 3;
    check_ok(sss_sigchld_ctx_foreach(scene.loop->ctx, show, &scene));
    check_int(scene.calls, 3);
    finish(&scene);
}

static void not_those_of_others(void **state)
{
    struct sss_sigchild_ctx *other = ctx_make(SSS_SCOPE_REGISTERED, 0);
    struct scene scene;

    start(&scene, *state);
    check_ok(sss_sigchld_ctx_foreach(other, show, &scene));
    check_int(scene.calls, 0);
    check_ok(sss_sigchld_ctx_free(other));
    finish(&scene);
}

/* Frees the one that is shown and the next. */
static int free_two(const struct sss_child_info *info, void *pvt)
{
    struct scene *scene = pvt;
    int i = index_of(scene, info);

    scene->calls++;
    scene->shown[i]++;
    check_ok(sss_child_free(scene->children[i]));
    check_ok(sss_child_free(scene->children[(i + 1) % COUNT]));
    return 0;
}

static void may_free(void **state)
{
    struct scene scene;
    int i;

    start(&scene, *state);
    check_ok(sss_sigchld_ctx_foreach(scene.loop->ctx, free_two, &scene));
    check(scene.calls >= COUNT / 2 && scene.calls <= COUNT);
    for (i = 0; i < COUNT; i++) {
        check(scene.shown[i] <= 1);
    }
    check_int(stats_of(scene.loop->ctx).watches, 0);
    finish(&scene);
}

static int kill_it(const struct sss_child_info *info, void *pvt)
{
    struct scene *scene = pvt;

    scene->calls++;
    check_ok(sss_child_kill(scene->children[index_of(scene, info)], SIGKILL));
    return 0;
}

static void may_kill(void **state)
{
    struct scene scene;
    int i;

    start(&scene, *state);
    check_ok(sss_sigchld_ctx_foreach(scene.loop->ctx, kill_it, &scene));
    check_int(scene.calls, COUNT);
    for (i = 0; i < COUNT; i++) {
        loop_until(scene.loop, &scene.seen[i].calls, 1);
        check_seen(&scene.seen[i], scene.pids[i], BY_SIGNAL(SIGKILL));
    }
    finish(&scene);
}

static int free_context(const struct sss_child_info *info, void *pvt)
{
    struct scene *scene = pvt;

    (void)info;
    scene->calls++;
    check_ok(sss_sigchld_ctx_free(scene->loop->ctx));
    scene->loop->ctx = NULL;
    return 0;
}

static void may_free_the_context(void **state)
{
    struct scene scene;
    struct sss_sigchild_ctx *ctx;

    start(&scene, *state);
    ctx = scene.loop->ctx;
    check_ok(sss_sigchld_ctx_foreach(ctx, free_context, &scene));
    check_int(scene.calls, 1);
    finish(&scene);
}

/* From a callback: the others that are due are shown as ended. */
static void show_those_due(int pid, int wait_status, void *pvt)
{
    struct scene *scene = pvt;

    (void)pid;
    (void)wait_status;
    scene->state = SSS_CHILD_ENDED;
    check_ok(sss_sigchld_ctx_foreach(scene->loop->ctx, show, scene));
    scene->state = SSS_CHILD_RUNNING;
}

static void those_that_ended(void **state)
{
    struct sss_child_ctx *first;
    struct loop *loop = *state;
    struct scene scene;
    struct gate gate;
    pid_t pid;
    int i;

    gate_make(&gate);
    pid = child_at(&gate, 0);
    check_ok(sss_child_register(NULL, loop->ctx, pid, show_those_due, &scene, &first));
    start(&scene, loop);
    gate_open(&gate);
    await_zombie(pid);
    gate_open(&scene.gate);
    for (i = 0; i < COUNT; i++) {
        await_zombie(scene.pids[i]);
    }
    gate_make(&scene.gate);
    loop_until_reaped(loop, pid);
    check(scene.calls <= COUNT);
    finish(&scene);
    check_ok(sss_child_free(first));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        EACH_WAY(shows_each_once),
        EACH_WAY(stops),
        EACH_WAY(not_those_of_others),
        EACH_WAY(may_free),
        EACH_WAY(may_kill),
        EACH_WAY(may_free_the_context),
        ONE_WAY(those_that_ended, "_all_signal", 0),
        ONE_WAY(those_that_ended, "_registered_signal", 3),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
