/* This user has too many descriptors on their way (ETOOMANYREFS), for a while and for longer
 * than a launch may take. */
#include "support/test.h"

#include <poll.h>
#include <pthread.h>
#include <sys/syscall.h>

#include "support/hold.h"
#include "support/server.h"

static const uint32_t manners[] = {
    SSS_FORKSRV_CLONE_PARENT,
    SSS_FORKSRV_SERVERS_CHILDREN,
    SSS_FORKSRV_FORK,
};

#define END 12

/* A launch by a thread of its own, each of whose sendmsg(2) is held until the test lets it go. */
struct launch {
    struct server_bed *bed;
    bool by_the_loop;
    unsigned done;
    unsigned launched, failed;
    int error;
    struct seen seen;
};

static struct launch *current;

static void event_told(struct sss_forksrv *srv, const struct sss_forksrv_event *event, void *pvt)
{
    server_told(srv, event, pvt);
    if (event->event == SSS_FORKSRV_LAUNCHED) {
        current->launched++;
    } else if (event->event == SSS_FORKSRV_FAILED) {
        current->failed++;
        current->error = event->error;
    }
}

static void *launch_it(void *arg)
{
    struct launch *launch = arg;
    struct server_bed *bed = launch->bed;
    struct sss_child_ctx *child = NULL;
    struct order order;
    pid_t pid;
    errno_t ret;

    order_ends(&order, NULL, END);
    order.spawn.mask |= launch->by_the_loop ? SSS_SPAWN_ASYNC : 0;
    ret = sss_forksrv_launch(NULL, bed->srv, &order.spawn, see, &launch->seen, &child);
    if (launch->by_the_loop) {
        check_ok(ret);
        while (launch->launched + launch->failed == 0) {
            check(loop_turn(&bed->loop, DEADLINE_MS) != 0);
        }
    } else {
        launch->launched = ret == 0;
        launch->failed = ret != 0;
        launch->error = ret;
    }
    if (launch->launched) {
        pid = pid_of(child);
        loop_until(&bed->loop, &launch->seen.calls, 1);
        check_seen(&launch->seen, pid, END);
    }
    check_ok(sss_child_free(child));
    __atomic_store_n(&launch->done, 1, __ATOMIC_SEQ_CST);
    return NULL;
}

/* Has the first `fail` sends fail with ETOOMANYREFS; returns how many sends there were. */
static unsigned run(struct launch *launch, unsigned fail)
{
    static const struct hold holds[2] = { { SYS_sendmsg, ANY_ARG }, { SYS_sendmsg, ANY_ARG } };
    struct pollfd fd = { .events = POLLIN };
    struct held held;
    pthread_t thread;
    unsigned sends = 0;

    current = launch;
    fd.fd = hold_thread(&thread, holds, launch_it, launch);
    while (__atomic_load_n(&launch->done, __ATOMIC_SEQ_CST) == 0) {
        check(poll(&fd, 1, 1) != -1);
        if ((fd.revents & POLLIN) == 0 || !hold_take(fd.fd, &held)) {
            continue;
        }
        if (sends++ < fail) {
            (void)hold_fail(fd.fd, &held, ETOOMANYREFS);
        } else {
            (void)hold_give_back(fd.fd, &held);
        }
    }
    check_ok(pthread_join(thread, NULL));
    check_ok(close(fd.fd));
    return sends;
}

static void for_a_while(void **state)
{
    struct server_bed *bed = *state;
    size_t i;

    hold_needed();
    for (i = 0; i < 2 * ARRAY_SIZE(manners); i++) {
        unsigned fail;

        server_start_with(bed, manners[i / 2], event_told, 0);
        for (fail = 1; fail < 5; fail++) {
            struct launch launch = { .bed = bed, .by_the_loop = i % 2 == 1 };

            check(run(&launch, fail) > fail);
            check_int(launch.launched, 1);
            check_int(launch.failed, 0);
        }
        server_finish(bed);
    }
}

static void for_too_long(void **state)
{
    struct server_bed *bed = *state;
    size_t i;

    hold_needed();
    for (i = 0; i < 2 * ARRAY_SIZE(manners); i++) {
        struct launch launch = { .bed = bed, .by_the_loop = i % 2 == 1 };

        server_start_with(bed, manners[i / 2], event_told, 30 * 1000 * 1000);
        check(run(&launch, UINT32_MAX) > 1);
        check_int(launch.launched, 0);
        check_int(launch.failed, 1);
        check_int(launch.error, ETIMEDOUT);
        server_finish(bed);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(for_a_while, server_bed_begin, server_bed_end),
        cmocka_unit_test_setup_teardown(for_too_long, server_bed_begin, server_bed_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
