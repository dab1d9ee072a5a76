/* pkgs: talloc tevent */
/* The list of behaviours on tevent. */
#include "adapters/behaviours.h"

#include <sss_sigchld/tevent.h>

static void *loop_new(void)
{
    struct tevent_context *ev = tevent_context_init(NULL);

    check(ev != NULL);
    return ev;
}

/* A loop for signals. It includes what tevent makes for a loop's first signal and keeps.
 * tevent has one list of signals for the whole process and no lock for it, so such loops
 * must not run in several threads. */
static void *signal_loop_new(void)
{
    struct tevent_context *ev = loop_new();
    struct tevent_signal *se = tevent_add_signal(ev, ev, SIGUSR2, SA_SIGINFO, NULL, NULL);

    check(se != NULL);
    talloc_free(se);
    return ev;
}

static void loop_free(void *loop)
{
    check_ok(talloc_free(loop));
}

static void after_fork(void *loop)
{
    check_ok(tevent_re_initialise(loop));
}

static void turn(void *loop)
{
    check_ok(tevent_loop_once(loop));
}

static void come_round(struct tevent_context *ev, struct tevent_timer *te, struct timeval now,
                       void *pvt)
{
    (void)ev;
    (void)te;
    (void)now;
    *(bool *)pvt = true;
}

static void turn_now(void *loop)
{
    bool round = false;

    /* A timer that has run out comes before any descriptor. */
    check(tevent_add_timer(loop, loop, tevent_timeval_current_ofs(0, 1000), come_round, &round) !=
          NULL);
    while (!round) {
        check_ok(tevent_loop_once(loop));
    }
}

int main(void)
{
    static const struct waking_on ways[] = {
        { .name = "tevent",
          .cannot = CANNOT_THREADS, /* one list of handlers for the process */
          .host = sss_tevent_host,
          .loop_new = signal_loop_new,
          .loop_free = loop_free,
          .turn = turn,
          .after_fork = after_fork,
          .turn_now = turn_now },
        { .name = "tevent_signalfd",
          .cannot = CANNOT_ORDER,
          .blocks = true,
          .host = sss_tevent_signalfd_host,
          .loop_new = loop_new,
          .loop_free = loop_free,
          .turn = turn,
          .after_fork = after_fork,
          .turn_now = turn_now },
    };
    static const struct CMUnitTest own[] = { { 0 } };

    return bed_run(ways, ARRAY_SIZE(ways), behaviours, ARRAY_SIZE(behaviours), own, 0);
}
