/* pkgs: glib-2.0 */
/*
 * Scope REGISTERED in a GLib main loop: GLib's child watches beside ours, as
 * many of each at the same time; no side loses a status.
 */
#include "support/kernel.h"
#include "support/test.h"

#include <sss_sigchld/glib.h>

struct watched {
    struct sss_child_ctx *child;
    int code;
    pid_t pid;
    unsigned calls;
};

enum { EACH = 4 }; /* of each at the same time */

static unsigned pending;

static void told(int pid, int wait_status, void *pvt)
{
    struct watched *watched = pvt;

    check_int(pid, watched->pid);
    check_int(wait_status, status_of(watched->code));
    watched->calls++;
    pending--;
    check_ok(sss_child_free(watched->child));
}

static void told_richly(struct sss_child_ctx *child, const struct sss_child_event *event,
                        void *pvt)
{
    (void)child;
    told(event->pid, event->wait_status, pvt);
}

/* Registered plainly; where the exit code is odd watched richly, with the zombie kept. */
static void watch_ours(struct sss_sigchild_ctx *ctx, struct watched *ours)
{
    const struct sss_watch watch = {
        .size = sizeof(watch),
        .mask = SSS_WATCH_PID | SSS_WATCH_KEEP_ZOMBIE,
        .pid = ours->pid,
        .cb = told_richly,
        .pvt = ours,
    };

    if (ours->code % 2 == 1) {
        check_ok(sss_child_watch(NULL, ctx, &watch, &ours->child));
    } else {
        check_ok(sss_child_register(NULL, ctx, ours->pid, told, ours, &ours->child));
    }
}

static void told_by_glib(GPid pid, gint wait_status, gpointer pvt)
{
    struct watched *watched = pvt;

    check_int(pid, watched->pid);
    check_int(wait_status, status_of(watched->code));
    watched->calls++;
    pending--;
    g_spawn_close_pid(pid);
}

static int rounds(void)
{
    return test_profile_is("plain") ? 2000 : 25;
}

static void watch_one_of_each(struct sss_sigchild_ctx *ctx, struct watched *ours,
                              struct watched *glibs, int code)
{
    ours->code = code;
    ours->pid = child_at(NULL, code);
    watch_ours(ctx, ours);
    glibs->code = 255 - code;
    glibs->pid = child_at(NULL, glibs->code);
    check(g_child_watch_add(glibs->pid, told_by_glib, glibs) != 0);
    pending += 2;
}

static void run_beside(const struct sss_host *host)
{
    struct sss_ctx_params params = params_zero();
    struct sss_sigchild_ctx *ctx;
    struct watched ours[EACH], glibs[EACH];
    int round, i;

    params.host = host;
    check_ok(sss_sigchld_ctx_create(&params, &ctx));
    for (round = 0; round < rounds(); round++) {
        memset(ours, 0, sizeof(ours));
        memset(glibs, 0, sizeof(glibs));
        for (i = 0; i < EACH; i++) {
            watch_one_of_each(ctx, &ours[i], &glibs[i], (round + i) % 256);
        }
        alarm(60); /* ends the program where a status was lost */
        while (pending > 0) {
            g_main_context_iteration(NULL, TRUE);
        }
        alarm(0);
        for (i = 0; i < EACH; i++) {
            check_int(ours[i].calls, 1);
            check_int(glibs[i].calls, 1);
        }
    }
    check_ok(sss_sigchld_ctx_free(ctx));
    check_no_children();
}

static void beside_child_watches_by_descriptor(void **state)
{
    (void)state;
    run_beside(sss_glib_host());
}

static void beside_child_watches_by_signalfd(void **state)
{
    sigset_t set;

    (void)state;
    if (!kernel_has_pidfds()) {
        test_skip("linux-4.19 valgrind", "without pidfds GLib itself needs SIGCHLD");
    }
    run_beside(sss_glib_signalfd_host());
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    check_ok(sigprocmask(SIG_UNBLOCK, &set, NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(beside_child_watches_by_descriptor),
        cmocka_unit_test(beside_child_watches_by_signalfd),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
