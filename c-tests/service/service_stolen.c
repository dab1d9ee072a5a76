/*
 * Other code of the daemon waits for an orphan while the library looks: after the list of our
 * children was read, before the orphan's origin is found out, or before it is watched. The
 * orphan's children become ours after that list was read, and must not be missed.
 */
#include "support/test.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/syscall.h>

#include "support/family.h"
#include "support/hold.h"

struct bed {
    struct loop loop;
    struct family family;
    struct told told;
    struct sss_service *service;
    pid_t first, middle, last;
    atomic_bool over;
};

/* The daemon's loop. */
static void *turn(void *pvt)
{
    struct bed *bed = pvt;

    while (!bed->told.dead && told_times(&bed->told, SSS_SERVICE_ADOPTED, bed->last) == 0) {
        loop_turn(&bed->loop, 10);
    }
    atomic_store(&bed->over, true);
    return NULL;
}

/* Other code waits for the orphan right before the library makes this system call about it. */
static void stolen_at(int nr)
{
    struct sss_service_params params = service_params(SSS_SERVICE_BY_TAG, 0);
    struct bed bed = { .over = false };
    struct hold holds[2];
    struct held held;
    struct pollfd more = { .events = POLLIN };
    pthread_t daemon;

    hold_needed();
    loop_start(&bed.loop, ctx_untrusted(SSS_SCOPE_REGISTERED), WAKE_DESCRIPTOR);
    family_begin(&bed.family);
    bed.service = family_start(&bed.family, &bed.loop, &params, &bed.told, &bed.first);
    bed.middle = family_fork(&bed.family, bed.first);
    bed.last = family_fork(&bed.family, bed.middle);
    holds[0] = holds[1] = (struct hold){ nr, (uint32_t)bed.middle };
    more.fd = hold_thread(&daemon, holds, turn, &bed);
    family_exit(&bed.family, bed.first, 0);
    held = hold_await(more.fd);
    family_exit(&bed.family, bed.middle, 0);
    check_int(waitpid(bed.middle, NULL, 0), bed.middle);
    hold_release(more.fd, &held);
    while (!atomic_load(&bed.over)) {
        if (poll(&more, 1, 1) == 1 && hold_take(more.fd, &held)) {
            hold_release(more.fd, &held);
        }
    }
    check_int(pthread_join(daemon, NULL), 0);
    check_ok(close(more.fd));
    check_int(bed.told.dead, 0);
    family_exit(&bed.family, bed.last, 0);
    loop_until_dead(&bed.loop, &bed.told);
    check_int(told_times(&bed.told, SSS_SERVICE_EXITED, bed.last), 1);
    check_ok(sss_service_free(bed.service));
    loop_end(&bed.loop);
    family_end(&bed.family);
    check_no_children();
}

static void before_it_is_asked(void **state)
{
    (void)state;
    stolen_at(SYS_prlimit64);
}

static void before_it_is_watched(void **state)
{
    (void)state;
    if (test_profile_is("linux-4.19")) {
        test_skip("linux-4.19", "no pidfd is opened");
    }
    stolen_at(SYS_pidfd_open);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(before_it_is_asked),
        cmocka_unit_test(before_it_is_watched),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
