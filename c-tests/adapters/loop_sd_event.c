/* pkgs: libsystemd */
/* The list of behaviours on sd-event, and its event source for one child. */
#include "adapters/behaviours.h"

#include <sss_sigchld/sd_event.h>

static void *loop_new(void)
{
    sd_event *event;

    check(sd_event_new(&event) >= 0);
    return event;
}

static void loop_free(void *loop)
{
    sd_event_unref(loop);
}

static void turn(void *loop)
{
    check(sd_event_run(loop, UINT64_MAX) >= 0);
}

static void turn_now(void *loop)
{
    check(sd_event_run(loop, 0) >= 0);
}

struct heard {
    unsigned calls;
    siginfo_t info;
    bool unref;
};

static int ended(sd_event_source *source, const siginfo_t *info, void *userdata)
{
    struct heard *told = userdata;

    told->calls++;
    told->info = *info;
    if (told->unref) {
        sd_event_source_unref(source);
    }
    return 0;
}

static void tell_of(sd_event *event, struct sss_sigchild_ctx *ctx, bool floating)
{
    struct heard told = { .unref = !floating };
    sd_event_source *source = NULL;
    pid_t pid = child_at(NULL, 4);

    check_ok(sss_sd_event_add_child(ctx, event, floating ? NULL : &source, pid, ended, &told));
    while (told.calls == 0) {
        turn(event);
    }
    check_int(told.info.si_pid, pid);
    check_int(told.info.si_code, CLD_EXITED);
    check_int(told.info.si_status, 4);
    turn_now(event);
    check_int(told.calls, 1);
}

static void child_sources(void **state)
{
    sd_event *event = loop_new();
    struct sss_sigchild_ctx *ctx;
    struct heard told = { 0 };
    sd_event_source *source = NULL;
    struct gate gate;
    pid_t pid;

    (void)state;
    check_ok(sss_sd_event_ctx_create(event, SSS_SCOPE_REGISTERED, &ctx));
    check_int(sss_sd_event_add_child(ctx, event, &source, getppid(), ended, &told), -ESRCH);
    tell_of(event, ctx, false);
    tell_of(event, ctx, true);

    gate_make(&gate);
    pid = child_at(&gate, 0);
    check_ok(sss_sd_event_add_child(ctx, event, &source, pid, ended, &told));
    check(sd_event_source_set_priority(source, SD_EVENT_PRIORITY_IDLE) >= 0);
    sd_event_source_unref(source); /* frees the watch too; the child is still reaped */
    check_int(stats_of(ctx).watches, 0);
    gate_open(&gate);
    while (is_child(pid)) {
        turn(event);
    }
    check_int(told.calls, 0);
    check_ok(sss_sigchld_ctx_free(ctx));
    sd_event_unref(event);
}

static void a_stop_is_not_told_as_an_end(void **state)
{
    struct sss_ctx_params params = params_zero();
    sd_event *event = loop_new();
    struct sss_sigchild_ctx *ctx;
    struct heard told = { 0 };
    struct gate gate;
    pid_t pid;

    (void)state;
    bed_mask(SIG_BLOCK);
    params.mask = SSS_CTX_PARAM_OPTIONS;
    params.options = WUNTRACED | WCONTINUED;
    params.host = sss_sd_event_signalfd_host();
    params.loop = event;
    check_ok(sss_sigchld_ctx_create(&params, &ctx));
    gate_make(&gate);
    pid = child_at(&gate, 5);
    check_ok(sss_sd_event_add_child(ctx, event, NULL, pid, ended, &told));
    check_ok(kill(pid, SIGSTOP));
    while (stats_of(ctx).delivered < 1) {
        turn(event);
    }
    turn_now(event); /* the source's callback is a turn later */
    check_int(told.calls, 0);
    check_ok(kill(pid, SIGCONT));
    while (stats_of(ctx).delivered < 2) {
        turn(event);
    }
    turn_now(event);
    check_int(told.calls, 0);
    gate_open(&gate);
    while (told.calls == 0) {
        turn(event);
    }
    check_int(told.info.si_code, CLD_EXITED);
    check_int(told.info.si_status, 5);
    check_ok(sss_sigchld_ctx_free(ctx));
    sd_event_unref(event);
    bed_mask(SIG_UNBLOCK);
}

/* A source that outlives the context is inert. */
static void a_source_after_its_context(void **state)
{
    sd_event *event = loop_new();
    struct sss_sigchild_ctx *ctx;
    struct heard told = { 0 };
    sd_event_source *source = NULL;
    struct gate gate;
    pid_t pid;

    (void)state;
    check_ok(sss_sd_event_ctx_create(event, SSS_SCOPE_REGISTERED, &ctx));
    gate_make(&gate);
    pid = child_at(&gate, 3);
    check_ok(sss_sd_event_add_child(ctx, event, &source, pid, ended, &told));
    check_ok(sss_sigchld_ctx_free(ctx));
    gate_open(&gate);
    reap(pid, 3);
    turn_now(event);
    sd_event_source_unref(source);
    sd_event_unref(event);
    check_int(told.calls, 0);
}

static void a_signal_that_is_not_blocked_is_refused(void **state)
{
    struct sss_ctx_params params = params_zero();
    struct sss_sigchild_ctx *ctx;
    sd_event *event = loop_new();

    (void)state;
    params.host = sss_sd_event_signal_host();
    params.loop = event;
    check_int(sss_sigchld_ctx_create(&params, &ctx), EBUSY);
    sd_event_unref(event);
}

int main(void)
{
    static const struct waking_on ways[] = {
        { .name = "sd_event_fd",
          .cannot = CANNOT_STOPS | CANNOT_FORK,
          .host = sss_sd_event_fd_host,
          .loop_new = loop_new,
          .loop_free = loop_free,
          .turn = turn,
          .turn_now = turn_now },
        { .name = "sd_event_signalfd",
          .cannot = CANNOT_FORK,
          .blocks = true,
          .host = sss_sd_event_signalfd_host,
          .loop_new = loop_new,
          .loop_free = loop_free,
          .turn = turn,
          .turn_now = turn_now },
        { .name = "sd_event_signal",
          .cannot = CANNOT_CONTEXTS | CANNOT_FORK | CANNOT_MASK,
          .blocks = true,
          .leaves = true,
          .host = sss_sd_event_signal_host,
          .loop_new = loop_new,
          .loop_free = loop_free,
          .turn = turn,
          .turn_now = turn_now },
    };
    static const struct CMUnitTest own[] = {
        cmocka_unit_test(child_sources),
        cmocka_unit_test(a_stop_is_not_told_as_an_end),
        cmocka_unit_test(a_source_after_its_context),
        cmocka_unit_test(a_signal_that_is_not_blocked_is_refused),
    };

    return BEHAVIOURS_RUN(ways, own);
}
