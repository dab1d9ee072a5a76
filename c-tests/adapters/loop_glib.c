/* pkgs: glib-2.0 */
/* The list of behaviours on GLib, and its call for one child. */
#include "adapters/behaviours.h"

#include <sss_sigchld/glib.h>

static void *loop_new(void)
{
    return g_main_context_new();
}

static void loop_free(void *loop)
{
    g_main_context_unref(loop);
}

static void turn(void *loop)
{
    g_main_context_iteration(loop, TRUE);
}

static void turn_now(void *loop)
{
    g_main_context_iteration(loop, FALSE);
}

static void told(GPid pid, gint wait_status, gpointer data)
{
    see(pid, wait_status, data);
}

/* GLib's own and ours, in the same GMainContext. */
static void child_watch_add(void **state)
{
    struct sss_sigchild_ctx *ctx = NULL, *again = NULL;
    struct seen ours = { 0 }, glibs = { 0 };
    pid_t pid = child_at(NULL, 4), other = child_at(NULL, 5);

    (void)state;
    check_int(sss_glib_child_watch_add(getppid(), told, &ours), ESRCH);
    check_ok(sss_glib_child_watch_add(pid, told, &ours));
    check(g_child_watch_add(other, told, &glibs) > 0);
    while (ours.calls + glibs.calls < 2) {
        g_main_context_iteration(NULL, TRUE);
    }
    check_seen(&ours, pid, 4);
    check_seen(&glibs, other, 5);
    check_ok(sss_glib_ctx_shared(&ctx));
    check_ok(sss_glib_ctx_shared(&again));
    check(ctx == again);
    check_ok(sss_sigchld_ctx_free(ctx)); /* the next call makes another one */
    check_ok(sss_glib_child_watch_add(child_at(NULL, 6), told, &ours));
    while (ours.calls < 2) {
        g_main_context_iteration(NULL, TRUE);
    }
    check_int(ours.status, status_of(6));
}

static void go_on_with_the_shared(void *pvt)
{
    struct sss_sigchild_ctx *ctx = pvt, *now = NULL;
    struct seen seen = { 0 };
    pid_t pid;

    check_ok(sss_sigchld_ctx_after_fork(ctx));
    check_ok(sss_glib_ctx_shared(&now));
    check(now == ctx);
    pid = child_at(NULL, 7);
    check_ok(sss_glib_child_watch_add(pid, told, &seen));
    while (seen.calls == 0) {
        g_main_context_iteration(NULL, TRUE);
    }
    check_seen(&seen, pid, 7);
}

static void the_shared_context_goes_along_over_a_fork(void **state)
{
    struct sss_sigchild_ctx *ctx = NULL;

    (void)state;
    check_ok(sss_glib_ctx_shared(&ctx));
    in_child(go_on_with_the_shared, ctx);
    check_ok(sss_sigchld_ctx_free(ctx));
}

/* A thread's GMainContext, which may be its own, and with it the shared context. */
static void *in_a_thread(void *pvt)
{
    GMainContext *main = pvt != NULL ? pvt : g_main_context_new();
    int i;

    g_main_context_push_thread_default(main);
    for (i = 0; i < 50; i++) {
        struct seen seen = { 0 };
        pid_t pid = child_at(NULL, i);

        check_ok(sss_glib_child_watch_add(pid, told, &seen));
        while (seen.calls == 0) {
            g_main_context_iteration(main, TRUE);
        }
        check_seen(&seen, pid, i);
    }
    g_main_context_pop_thread_default(main);
    if (pvt == NULL) {
        g_main_context_unref(main);
    }
    return NULL;
}

static void child_watch_add_in_threads(void **state)
{
    pthread_t threads[4];
    unsigned i, fds;

    (void)state;
    in_a_thread(NULL);
    fds = count_fds();
    for (i = 0; i < ARRAY_SIZE(threads); i++) {
        check_ok(pthread_create(&threads[i], NULL, in_a_thread, NULL));
    }
    for (i = 0; i < ARRAY_SIZE(threads); i++) {
        check_ok(pthread_join(threads[i], NULL));
    }
    check_int(count_fds(), fds);
    check_no_children();
}

/* A thread ends before the GMainContext that another thread has made for it: the shared
 * context is freed with the thread. */
static void a_thread_ends_before_its_main_context(void **state)
{
    unsigned fds = count_fds();
    pthread_t thread;
    int i;

    (void)state;
    for (i = 0; i < 2; i++) {
        GMainContext *main = g_main_context_new();

        check_ok(pthread_create(&thread, NULL, in_a_thread, main));
        check_ok(pthread_join(thread, NULL));
        g_main_context_unref(main);
        check_int(count_fds(), fds);
    }
    check_no_children();
}

static void *watch_in_the_default_one(void *pvt)
{
    check_int(sss_glib_child_watch_add(*(pid_t *)pvt, told, NULL), EPERM);
    return NULL;
}

/* The watch is refused, because its callback would run in the other thread, and not in the one
 * that asked for it. */
static void a_main_context_of_another_thread_is_refused(void **state)
{
    struct sss_sigchild_ctx *ctx = NULL;
    pid_t pid = child_at(NULL, 2);
    pthread_t thread;
    int i;

    (void)state;
    check(g_main_context_acquire(NULL));
    for (i = 0; i < 2; i++) { /* without a shared context, and with one */
        check_ok(pthread_create(&thread, NULL, watch_in_the_default_one, &pid));
        check_ok(pthread_join(thread, NULL));
        check_ok(sss_glib_ctx_shared(&ctx));
    }
    check_ok(sss_sigchld_ctx_free(ctx));
    g_main_context_release(NULL);
    reap(pid, 2);
}

int main(void)
{
    static const struct waking_on ways[] = {
        { .name = "glib",
          .cannot = CANNOT_STOPS,
          .host = sss_glib_host,
          .loop_new = loop_new,
          .loop_free = loop_free,
          .turn = turn,
          .turn_now = turn_now },
        { .name = "glib_signalfd",
          .blocks = true,
          .host = sss_glib_signalfd_host,
          .loop_new = loop_new,
          .loop_free = loop_free,
          .turn = turn,
          .turn_now = turn_now },
    };
    static const struct CMUnitTest own[] = {
        cmocka_unit_test(child_watch_add),
        cmocka_unit_test(the_shared_context_goes_along_over_a_fork),
        cmocka_unit_test(child_watch_add_in_threads),
        cmocka_unit_test(a_thread_ends_before_its_main_context),
        cmocka_unit_test(a_main_context_of_another_thread_is_refused),
    };

    return BEHAVIOURS_RUN(ways, own);
}
