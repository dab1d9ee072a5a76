/* A free waits for the callback or hook of its own watch in another thread, whatever has
 * happened to the handle meanwhile, and for nothing else. */
#include "support/test.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>

struct scene {
    struct sss_sigchild_ctx *ctx;
    struct sss_child_ctx *child, *other;
    int fd;
    int in[2], go[2]; /* pipes: the callback has begun; it may go on */
    atomic_bool over, freed_during;
    bool frees_handle, frees_ctx, nests;
};

static void tell(int fd)
{
    check_int(write(fd, "", 1), 1);
}

static void await_byte(int fd)
{
    char byte;

    check_int(read(fd, &byte, 1), 1);
}

static void scene_make(struct scene *scene)
{
    memset(scene, 0, sizeof(*scene));
    scene->ctx = ctx_make(SSS_SCOPE_REGISTERED, 0);
    check_ok(sss_sigchld_ctx_fd(scene->ctx, &scene->fd));
    check_ok(pipe(scene->in) | pipe(scene->go));
}

static void scene_end(struct scene *scene)
{
    if (!scene->frees_ctx) {
        check_ok(sss_sigchld_ctx_free(scene->ctx));
    }
    check_ok(close(scene->in[0]) | close(scene->in[1]));
    check_ok(close(scene->go[0]) | close(scene->go[1]));
    check_no_children();
}

static void dispatch(struct scene *scene)
{
    struct pollfd poller = { scene->fd, POLLIN, 0 };

    check_int(poll(&poller, 1, DEADLINE_MS), 1);
    check_ok(sss_sigchld_ctx_dispatch(scene->ctx, 0));
}

static void *free_it(void *pvt)
{
    struct scene *scene = pvt;

    await_byte(scene->in[0]);
    check_ok(sss_child_free(scene->child));
    scene->freed_during = !scene->over;
    return NULL;
}

/* That a free waits shows only by its not having returned. */
static void let_the_free_begin(void)
{
    for (int i = 0; i < 2000; i++) {
        (void)sched_yield();
    }
}

static void held(int pid, int wait_status, void *pvt)
{
    struct scene *scene = pvt;

    (void)pid;
    (void)wait_status;
    if (scene->frees_handle) {
        check_ok(sss_child_free(scene->child));
    }
    if (scene->frees_ctx) {
        check_ok(sss_sigchld_ctx_free(scene->ctx));
    }
    tell(scene->in[1]);
    let_the_free_begin();
    scene->over = true;
}

static void after(bool frees_handle, bool frees_ctx)
{
    struct scene scene;
    pthread_t thread;

    scene_make(&scene);
    scene.frees_handle = frees_handle;
    scene.frees_ctx = frees_ctx;
    check_ok(sss_child_register(NULL, scene.ctx, child_dead(1), held, &scene, &scene.child));
    check_ok(pthread_create(&thread, NULL, free_it, &scene));
    dispatch(&scene);
    check_ok(pthread_join(thread, NULL));
    check(!scene.freed_during);
    scene_end(&scene);
}

static void its_callback(void **state)
{
    (void)state;
    after(false, false);
}

static void a_callback_that_freed_its_handle(void **state)
{
    (void)state;
    after(true, false);
}

static void a_callback_that_freed_its_context(void **state)
{
    (void)state;
    after(false, true);
}

static int hooked(struct sss_child_ctx *child, void *pvt)
{
    (void)child;
    held(0, 0, pvt);
    return 0;
}

static void a_hook_of_its_context_s_end(void **state)
{
    struct scene scene;
    struct gate gate;
    pthread_t thread;

    (void)state;
    scene_make(&scene);
    gate_make(&gate);
    check_ok(sss_child_register(NULL, scene.ctx, child_at(&gate, 1), NULL, NULL, &scene.child));
    check_ok(sss_child_set_destructor(scene.child, hooked, &scene));
    check_ok(pthread_create(&thread, NULL, free_it, &scene));
    check_ok(sss_sigchld_ctx_free(scene.ctx));
    check_ok(pthread_join(thread, NULL));
    check(!scene.freed_during);
    scene.frees_ctx = true;
    gate_open(&gate);
    check(wait(NULL) > 0);
    scene_end(&scene);
}

static void *free_ctx(void *pvt)
{
    struct scene *scene = pvt;

    await_byte(scene->in[0]);
    check_ok(sss_sigchld_ctx_free(scene->ctx));
    scene->freed_during = !scene->over;
    return NULL;
}

static void the_context_waits_for_a_hook(void **state)
{
    struct scene scene;
    struct gate gate;
    pthread_t thread;

    (void)state;
    scene_make(&scene);
    gate_make(&gate);
    check_ok(sss_child_register(NULL, scene.ctx, child_at(&gate, 1), NULL, NULL, &scene.child));
    check_ok(sss_child_set_destructor(scene.child, hooked, &scene));
    check_ok(pthread_create(&thread, NULL, free_ctx, &scene));
    check_ok(sss_child_free(scene.child));
    check_ok(pthread_join(thread, NULL));
    check(!scene.freed_during);
    scene.frees_ctx = true;
    gate_open(&gate);
    check(wait(NULL) > 0);
    scene_end(&scene);
}

static void inner(int pid, int wait_status, void *pvt)
{
    struct scene *scene = pvt;

    (void)pid;
    (void)wait_status;
    tell(scene->in[1]);
    await_byte(scene->go[0]); /* until the other watch has been freed */
}

static void outer(int pid, int wait_status, void *pvt)
{
    struct scene *scene = pvt;

    (void)pid;
    (void)wait_status;
    check_ok(sss_sigchld_ctx_dispatch(scene->ctx, 0));
}

static void *free_other(void *pvt)
{
    struct scene *scene = pvt;

    await_byte(scene->in[0]);
    check_ok(sss_child_free(scene->other));
    tell(scene->go[1]);
    return NULL;
}

/* Two callbacks run, one below the other; a third watch is in neither. */
static void not_for_a_nested_dispatch(void **state)
{
    struct sss_child_ctx *children[2];
    struct scene scene;
    struct gate gate;
    pthread_t thread;

    (void)state;
    scene_make(&scene);
    gate_make(&gate);
    check_ok(sss_child_register(NULL, scene.ctx, child_dead(1), outer, &scene, &children[0]));
    check_ok(sss_child_register(NULL, scene.ctx, child_dead(2), inner, &scene, &children[1]));
    check_ok(sss_child_register(NULL, scene.ctx, child_at(&gate, 3), NULL, NULL, &scene.other));
    check_ok(pthread_create(&thread, NULL, free_other, &scene));
    dispatch(&scene);
    check_ok(pthread_join(thread, NULL));
    check_ok(sss_child_free(children[0]) | sss_child_free(children[1]));
    gate_open(&gate);
    check_ok(sss_sigchld_ctx_free(scene.ctx));
    scene.frees_ctx = true;
    check(wait(NULL) > 0);
    scene_end(&scene);
}

static void slow(int pid, int wait_status, void *pvt)
{
    inner(pid, wait_status, pvt);
}

static void *dispatch_thread(void *pvt)
{
    dispatch(pvt);
    return NULL;
}

/* A second thread that dispatches while the first is in a callback finds a few
 * wake-ups, and then none until the callback is over. */
static void a_second_dispatcher_does_not_spin(void **state)
{
    struct sss_child_ctx *children[2];
    struct seen seen = { 0 };
    struct scene scene;
    struct pollfd poller;
    pthread_t thread;
    int turns = 0;

    (void)state;
    scene_make(&scene);
    check_ok(sss_child_register(NULL, scene.ctx, child_dead(1), slow, &scene, &children[0]));
    check_ok(pthread_create(&thread, NULL, dispatch_thread, &scene));
    await_byte(scene.in[0]);
    check_ok(sss_child_register(NULL, scene.ctx, child_dead(2), see, &seen, &children[1]));
    poller = (struct pollfd){ scene.fd, POLLIN, 0 };
    while (turns < 100 && poll(&poller, 1, 50) == 1) {
        check_ok(sss_sigchld_ctx_dispatch(scene.ctx, 0));
        turns++;
    }
    check(turns < 10);
    tell(scene.go[1]);
    check_ok(pthread_join(thread, NULL));
    check_int(seen.calls, 1);
    check_ok(sss_child_free(children[0]) | sss_child_free(children[1]));
    scene_end(&scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(its_callback),
        cmocka_unit_test(a_callback_that_freed_its_handle),
        cmocka_unit_test(a_callback_that_freed_its_context),
        cmocka_unit_test(a_hook_of_its_context_s_end),
        cmocka_unit_test(the_context_waits_for_a_hook),
        cmocka_unit_test(not_for_a_nested_dispatch),
        cmocka_unit_test(a_second_dispatcher_does_not_spin),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
