/* A service is signalled whole, and ended whole, and nobody else is. */
#include "support/test.h"

#include "support/family.h"
#include "support/hold.h"
#include "support/spawn.h"

#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/syscall.h>

struct bed {
    struct loop loop;
    struct family family;
    struct told told;
    struct sss_service *service;
    pid_t first;
};

static void bed_make(struct bed *bed, uint32_t by)
{
    struct sss_service_params params = service_params(by, 0);

    loop_start(&bed->loop, ctx_make(SSS_SCOPE_REGISTERED, 0), WAKE_DESCRIPTOR);
    family_begin(&bed->family);
    bed->service = family_start(&bed->family, &bed->loop, &params, &bed->told, &bed->first);
}

static void bed_free(struct bed *bed)
{
    check_ok(sss_service_free(bed->service));
    loop_end(&bed->loop);
    family_end(&bed->family);
    check_no_children();
}

#define PLAIN (SSS_SERVICE_BY_TAG | SSS_SERVICE_BY_DESCENT)

/* Sixty-one processes that ignore SIGTERM, some orphaned before. */
static void grow(struct bed *bed, pid_t pids[61])
{
    pids[0] = bed->first;
    family_order(&bed->family, pids[0], "t");
    for (int i = 1; i < 61; i++) {
        pids[i] = family_fork(&bed->family, pids[(i - 1) / 3]);
        family_order(&bed->family, pids[i], i % 4 == 0 ? "s" : "t");
    }
    family_exit(&bed->family, pids[1], 0);
    family_exit(&bed->family, pids[5], 0);
}

static void end_whole(uint32_t by, bool by_cgroup)
{
    struct sss_service_killed killed = { .size = sizeof(killed) };
    struct sss_service_status status = { .size = sizeof(status) };
    struct gate gate;
    struct bed bed;
    pid_t pids[61], own;

    gate_make(&gate);
    own = child_at(&gate, 4); /* of the application's own */
    bed_make(&bed, by);
    check_ok(sss_service_status(bed.service, &status));
    if (by_cgroup && !(status.evidence & SSS_SERVICE_BY_CGROUP)) {
        check_ok(sss_service_kill(bed.service, NULL, NULL));
        loop_until_dead(&bed.loop, &bed.told);
        check_ok(sss_service_free(bed.service));
        loop_end(&bed.loop);
        family_end(&bed.family);
        gate_open(&gate);
        reap(own, 4);
        test_lacks("no cgroup can be made here");
    }
    grow(&bed, pids);
    family_settle(&bed.family, &bed.loop);
    kill_whole(bed.service, NULL, &killed);
    check_int(killed.refused, 0);
    check_int(killed.spared, 0);
    check_int(killed.by_cgroup, by_cgroup);
    loop_until_dead(&bed.loop, &bed.told);
    for (int i = 0; i < 61; i++) {
        check(process_state(pids[i]) == 0);
    }
    check_int(process_state(own) != 0 && process_state(own) != 'Z', 1);
    gate_open(&gate);
    reap(own, 4);
    bed_free(&bed);
}

static void by_rounds(void **state)
{
    (void)state;
    end_whole(PLAIN, false);
}

static void by_cgroup(void **state)
{
    (void)state;
    end_whole(SSS_SERVICE_BY_CGROUP, true);
}

/* A process that forks and exits for ever is caught. */
static void who_runs_away(void **state)
{
    struct sss_service_killed killed = { .size = sizeof(killed) };
    struct bed bed;
    pid_t runner;

    (void)state;
    if (test_profile_is("tsan")) {
        test_skip("tsan", "looks so slow do not catch it within the deadline");
    }
    bed_make(&bed, PLAIN);
    runner = family_fork(&bed.family, bed.first);
    /* Under valgrind we reap so slowly that its dead would use up all pids of the machine. */
    family_order(&bed.family, runner, test_profile_is("valgrind") ? "b 2000" : "b 0");
    await_gone_or_zombie(runner);
    for (int i = 0; i < 50; i++) {
        loop_turn(&bed.loop, 0);
        bed.told.count = 0; /* there are more generations than are noted here */
        sched_yield();
    }
    kill_whole(bed.service, NULL, &killed);
    int64_t deadline = now_ms() + DEADLINE_MS;
    while (bed.told.dead == 0 && now_ms() < deadline) {
        loop_turn(&bed.loop, 100);
        if (bed.told.dead == 0) {
            bed.told.count = 0;
        }
    }
    check_int(bed.told.dead, 1);
    bed_free(&bed);
}

/* A process whose first thread has ended shows as a zombie, and lives. */
static void whose_first_thread_ended(void **state)
{
    struct sss_service_killed killed = { .size = sizeof(killed) };
    struct bed bed;
    pid_t child, below;

    (void)state;
    bed_make(&bed, PLAIN);
    child = family_fork(&bed.family, bed.first);
    below = family_fork(&bed.family, child);
    family_order(&bed.family, child, "m");
    family_order(&bed.family, below, "m");
    await_gone_or_zombie(child);
    await_gone_or_zombie(below);
    /* They still obey orders: they were not killed. */
    family_fork(&bed.family, child);
    family_fork(&bed.family, below);
    kill_whole(bed.service, NULL, &killed);
    check_int(killed.signalled, 5);
    loop_until_dead(&bed.loop, &bed.told);
    check_int(process_state(child), 0);
    check_int(process_state(below), 0);
    bed_free(&bed);
}

/* A process that SIGKILL does not end is counted, and its end is told when it comes. */
static void who_cannot_die(void **state)
{
    const char *argv[] = { "unshare", "-pf", "sleep", "600", NULL };
    struct sss_service_killed killed = { .size = sizeof(killed) };
    struct sss_spawn spawn = spawn_zero();
    struct sss_service *service;
    static struct told told;
    struct loop loop;
    struct gate gate;
    pid_t first, init, holder;

    (void)state;
    needs_root("make a pid namespace");
    gate_make(&gate);
    loop_start(&loop, ctx_make(SSS_SCOPE_REGISTERED, 0), WAKE_DESCRIPTOR);
    spawn.path = "/usr/bin/unshare";
    spawn.argv = argv;
    check_ok(sss_service_spawn(NULL, loop.ctx, &spawn, NULL, tell_service, &told, &service));
    check_ok(sss_service_main_pid(service, &first));
    init = await_child_of(first);
    holder = hold_init(init, &gate);
    check_ok(sss_service_kill(service, NULL, &killed));
    check_int(killed.signalled, 2);
    check(killed.left >= 1); /* on a busy machine the first one may take longer too */
    loop_until_reaped(&loop, first);
    check_int(told.dead, 0);
    /* It has got its signal, and gets none again. */
    check_ok(sss_service_kill(service, NULL, &killed));
    check_int(killed.left, 1);
    gate_open(&gate);
    reap(holder, 0);
    loop_until_dead(&loop, &told);
    check_int(told.events[told_at(&told, SSS_SERVICE_EXITED, init)].wait_status, SIGKILL);
    check_ok(sss_service_free(service));
    loop_end(&loop);
    check_no_children();
}

static int spare_one(const struct sss_service_member *member, void *pvt)
{
    check_int(member->size, sizeof(*member));
    return member->pid == *(pid_t *)pvt;
}

static void spared_by_predicate(void **state)
{
    struct sss_service_killed killed = { .size = sizeof(killed) };
    struct sss_service_kill how = { .size = sizeof(how), .signal = SIGKILL };
    struct bed bed;
    pid_t one, two;

    (void)state;
    bed_make(&bed, PLAIN);
    one = family_fork(&bed.family, bed.first);
    two = family_fork(&bed.family, one);
    how.spare_fn = spare_one;
    how.spare_pvt = &two;
    kill_whole(bed.service, &how, &killed);
    check_int(killed.spared, 1);
    loop_until_reaped(&bed.loop, bed.first);
    loop_until_reaped(&bed.loop, one);
    check_int(process_state(two) != 0 && process_state(two) != 'Z', 1);
    check_int(bed.told.dead, 0);
    check_int(told_times(&bed.told, SSS_SERVICE_ADOPTED, two), 1);
    how.spare_fn = NULL;
    check_ok(sss_service_kill(bed.service, &how, NULL));
    loop_until_dead(&bed.loop, &bed.told);
    bed_free(&bed);
}

/* Answers when the five seconds that a kill goes on for are over. */
static int spare_none_late(const struct sss_service_member *member, void *pvt)
{
    const int64_t *until = pvt;

    (void)member;
    while (now_ms() < *until) {
        usleep(10000);
    }
    return 0;
}

/* They were stopped, and the kill is given up: they do not stay stopped. */
static void given_up(void **state)
{
    int64_t until;
    struct sss_service_kill how = { .size = sizeof(how), .signal = SIGKILL,
                                    .spare_fn = spare_none_late, .spare_pvt = &until };
    struct sss_service_killed killed = { .size = sizeof(killed) };
    struct bed bed;

    (void)state;
    bed_make(&bed, PLAIN);
    family_fork(&bed.family, bed.first);
    until = now_ms() + 5100;
    check_ok(sss_service_kill(bed.service, &how, &killed));
    check_int(killed.signalled, 2);
    check(killed.left > 0); /* who is left was not seen */
    loop_until_dead(&bed.loop, &bed.told);
    bed_free(&bed);
}

/* As sshd's logins: a monitor of the daemon's own user in a session of its own, and
 * below it another user. */
static void logins_are_spared(void **state)
{
    struct sss_service_kill how = { .size = sizeof(how), .signal = SIGKILL,
                                    .flags = SSS_SERVICE_SPARE_LOGINS };
    struct sss_service_killed killed = { .size = sizeof(killed) };
    struct bed bed;
    pid_t monitor, login, shell, worker;

    (void)state;
    if (getuid() != 0) {
        test_skip("user", "needs another user");
    }
    bed_make(&bed, PLAIN);
    monitor = family_fork(&bed.family, bed.first);
    family_order(&bed.family, monitor, "s");
    login = family_fork(&bed.family, monitor);
    family_order(&bed.family, login, "u 65534");
    shell = family_fork(&bed.family, login);
    family_order(&bed.family, shell, "s");
    worker = family_fork(&bed.family, bed.first);
    /* When the second order is obeyed the first one has been. */
    family_fork(&bed.family, shell);
    kill_whole(bed.service, &how, &killed);
    check_int(killed.spared, 4);
    loop_until_reaped(&bed.loop, bed.first);
    loop_until_reaped(&bed.loop, worker);
    check_int(process_state(worker), 0);
    check_int(process_state(bed.first), 0);
    check(process_state(monitor) != 0 && process_state(login) != 0 && process_state(shell) != 0);
    check_int(bed.told.dead, 0);
    check_ok(sss_service_kill(bed.service, NULL, NULL));
    loop_until_dead(&bed.loop, &bed.told);
    bed_free(&bed);
}

/* Once the main process is gone its session still tells a login from a worker that runs as
 * another user. */
static void logins_without_a_main_process(void **state)
{
    struct sss_service_kill how = { .size = sizeof(how), .signal = SIGKILL,
                                    .flags = SSS_SERVICE_SPARE_LOGINS };
    struct sss_service_killed killed = { .size = sizeof(killed) };
    struct bed bed;
    pid_t worker, login;

    (void)state;
    if (getuid() != 0) {
        test_skip("user", "needs another user");
    }
    bed_make(&bed, PLAIN);
    worker = family_fork(&bed.family, bed.first);
    family_order(&bed.family, worker, "u 65534");
    login = family_fork(&bed.family, bed.first);
    family_order(&bed.family, login, "s");
    family_order(&bed.family, login, "u 65534");
    /* What they fork reports when the orders before have been obeyed. */
    family_fork(&bed.family, worker);
    family_fork(&bed.family, login);
    family_exit(&bed.family, bed.first, 0);
    family_settle(&bed.family, &bed.loop);
    kill_whole(bed.service, &how, &killed);
    check_int(killed.spared, 2);
    loop_until_reaped(&bed.loop, worker);
    check(process_state(login) != 0 && process_state(login) != 'Z');
    check_ok(sss_service_kill(bed.service, NULL, NULL));
    loop_until_dead(&bed.loop, &bed.told);
    bed_free(&bed);
}

struct killing {
    struct bed *bed;
    pid_t login;
    errno_t error;
    atomic_bool over;
};

static void *kill_all_but_logins(void *pvt)
{
    struct sss_service_kill how = { .size = sizeof(how), .signal = SIGKILL,
                                    .flags = SSS_SERVICE_SPARE_LOGINS };
    struct killing *killing = pvt;

    killing->error = sss_service_kill(killing->bed->service, &how, NULL);
    atomic_store(&killing->over, true);
    return NULL;
}

/* While descriptors are out it is not known whose a process is. */
static void logins_without_descriptors(void **state)
{
    static const struct hold opens[2] = { { SYS_openat, ANY_ARG }, { SYS_openat, ANY_ARG } };
    struct bed bed;
    struct killing killing = { .bed = &bed };
    struct pollfd held_one = { .events = POLLIN };
    char status[32];
    unsigned refused = 0;
    pthread_t killer;

    (void)state;
    if (getuid() != 0) {
        test_skip("user", "needs another user");
    }
    hold_needed();
    bed_make(&bed, PLAIN);
    killing.login = family_fork(&bed.family, bed.first);
    family_order(&bed.family, killing.login, "s");
    family_order(&bed.family, killing.login, "u 65534");
    family_fork(&bed.family, killing.login);
    snprintf(status, sizeof(status), "/proc/%d/status", (int)killing.login);
    held_one.fd = hold_thread(&killer, opens, kill_all_but_logins, &killing);
    while (!atomic_load(&killing.over)) {
        struct held held;

        if (poll(&held_one, 1, 1) != 1 || !hold_take(held_one.fd, &held)) {
            continue;
        }
        if (strcmp((const char *)(uintptr_t)held.args[1], status) == 0) {
            refused++;
            check(hold_fail(held_one.fd, &held, EMFILE));
        } else {
            hold_release(held_one.fd, &held);
        }
    }
    check_int(pthread_join(killer, NULL), 0);
    check_ok(close(held_one.fd));
    check(refused > 0);
    check_int(killing.error, EMFILE);
    check(process_state(killing.login) != 0 && process_state(killing.login) != 'Z');
    check_ok(sss_service_kill(bed.service, NULL, NULL));
    loop_until_dead(&bed.loop, &bed.told);
    bed_free(&bed);
}

/* Any other signal is sent once to each. */
static void another_signal(void **state)
{
    struct sss_service_killed killed = { .size = sizeof(killed) };
    static const int signals[] = { SIGSTOP, SIGCONT, SIGTERM };
    struct sss_service_kill how = { .size = sizeof(how) };
    struct bed bed;
    pid_t child;

    (void)state;
    bed_make(&bed, PLAIN);
    child = family_fork(&bed.family, bed.first);
    for (size_t at = 0; at < ARRAY_SIZE(signals); at++) {
        how.signal = signals[at];
        check_ok(sss_service_kill(bed.service, &how, &killed));
        check_int(killed.signalled, 2);
    }
    loop_until_dead(&bed.loop, &bed.told);
    check_int(bed.told.events[told_at(&bed.told, SSS_SERVICE_EXITED, child)].wait_status,
              SIGTERM);
    bed_free(&bed);
}

static void refused(void **state)
{
    struct sss_service_kill how = { .size = sizeof(how) };
    struct bed bed;

    (void)state;
    bed_make(&bed, PLAIN);
    check_int(sss_service_kill(bed.service, &how, NULL), EINVAL);
    how.signal = 65;
    check_int(sss_service_kill(bed.service, &how, NULL), EINVAL);
    how.signal = SIGKILL;
    how.flags = 0x80;
    check_int(sss_service_kill(bed.service, &how, NULL), EINVAL);
    how.size = 3;
    check_int(sss_service_kill(bed.service, &how, NULL), EINVAL);
    check_ok(sss_service_kill(bed.service, NULL, NULL));
    loop_until_dead(&bed.loop, &bed.told);
    /* Nothing is left to be signalled. */
    check_ok(sss_service_kill(bed.service, NULL, NULL));
    bed_free(&bed);
}

/* More processes than the daemon has descriptors to hold: none is left, nor left stopped. */
static void more_than_descriptors(void **state)
{
    struct sss_service_killed killed = { .size = sizeof(killed) };
    struct rlimit limit, few;
    struct bed bed;

    (void)state;
    if (test_profile_is("valgrind")) {
        test_skip("valgrind", "it keeps descriptors of its own from the limit");
    }
    check_ok(getrlimit(RLIMIT_NOFILE, &limit));
    few = limit;
    few.rlim_cur = 64;
    check_ok(setrlimit(RLIMIT_NOFILE, &few));
    bed_make(&bed, SSS_SERVICE_BY_TAG | SSS_SERVICE_BY_DESCENT);
    for (int i = 0; i < 100; i++) {
        family_fork(&bed.family, bed.first);
    }
    kill_whole(bed.service, NULL, &killed);
    loop_until_dead(&bed.loop, &bed.told);
    check_ok(setrlimit(RLIMIT_NOFILE, &limit));
    bed_free(&bed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(by_rounds),
        cmocka_unit_test(by_cgroup),
        cmocka_unit_test(who_runs_away),
        cmocka_unit_test(whose_first_thread_ended),
        cmocka_unit_test(who_cannot_die),
        cmocka_unit_test(spared_by_predicate),
        cmocka_unit_test(given_up),
        cmocka_unit_test(logins_are_spared),
        cmocka_unit_test(logins_without_a_main_process),
        cmocka_unit_test(logins_without_descriptors),
        cmocka_unit_test(another_signal),
        cmocka_unit_test(more_than_descriptors),
        cmocka_unit_test(refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
