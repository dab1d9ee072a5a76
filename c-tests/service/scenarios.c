/* The four ways in which a daemon's processes come to us and end, with the loop at work
 * after any of the steps or busy: the same is told, with each evidence. */
#include "support/test.h"

#include <spawn.h>

#include "support/family.h"
#include "support/kernel.h"
#include "support/records.h"
#include "support/spawn.h"

/* Processes by their letters: P is the first, and each fork names the next. */
struct step {
    char who;
    char child; /* or 0: it exits */
};

struct scenario {
    const char *name;
    struct step steps[8];
    unsigned count;
};

static const struct scenario scenarios[] = {
    { "ideal", { { 'P', 'C' }, { 'P', 0 }, { 'C', 0 } }, 3 },
    { "daemonise", { { 'P', 'I' }, { 'I', 'D' }, { 'P', 0 }, { 'I', 0 }, { 'D', 0 } }, 5 },
    { "both at once", { { 'P', 'C' }, { 'C', 0 }, { 'P', 0 } }, 3 },
    { "wrong order", { { 'P', 'I' }, { 'I', 'D' }, { 'I', 0 }, { 'P', 0 }, { 'D', 0 } }, 5 },
};

static const struct way some_ways[] = {
    { SSS_SCOPE_ALL, WAKE_DESCRIPTOR },
    { SSS_SCOPE_ALL, WAKE_BOTH },
    { SSS_SCOPE_REGISTERED, WAKE_DESCRIPTOR },
    { SSS_SCOPE_REGISTERED, WAKE_BOTH },
};

static int exit_code(char who)
{
    return who == 'P' ? 0 : who % 32;
}

/* Everything once, adopted before the end of itself and of its parent, DEAD last. */
static void check_told(const struct scenario *scenario, const struct told *told,
                       const pid_t pids[128], uint32_t evidence, const struct way *way)
{
    unsigned forks = 0;

    for (unsigned i = 0; i < scenario->count; i++) {
        const struct step *step = &scenario->steps[i];
        pid_t pid = pids[(int)step->who], child = pids[(int)step->child];

        if (step->child == 0) {
            int at = told_at(told, SSS_SERVICE_EXITED, pid);

            check_int(told_times(told, SSS_SERVICE_EXITED, pid), 1);
            check_int(told->events[at].wait_status, status_of(exit_code(step->who)));
            continue;
        }
        forks++;
        check_int(told_times(told, SSS_SERVICE_ADOPTED, child), 1);
        int at = told_at(told, SSS_SERVICE_ADOPTED, child);
        check(at < told_at(told, SSS_SERVICE_EXITED, child));
        check(at < told_at(told, SSS_SERVICE_EXITED, pid));
        check_int(told->events[at].evidence, evidence);
        if (evidence == SSS_EVIDENCE_DESCENT || evidence == SSS_EVIDENCE_FORK) {
            check_int(told->events[at].former_parent, pid);
        }
    }
    check_int(told->events[told->count - 1].event, SSS_SERVICE_DEAD);
    for (unsigned i = 0, adopted = 0; i < told->count; i++) {
        adopted += told->events[i].event == SSS_SERVICE_ADOPTED;
        check(adopted <= forks);
        check_int(told->events[i].root, pids['P']);
    }
    (void)way;
}

static void run(const struct scenario *scenario, unsigned looks, uint32_t by, uint32_t evidence,
                const struct way *way)
{
    struct sss_service_params params = service_params(by, 0);
    struct sss_service *service;
    struct family family;
    struct told told;
    struct loop loop;
    pid_t pids[128] = { 0 };
    size_t none = 0;

    loop_start(&loop, ctx_make(way->scope, 0), way->waking);
    family_begin(&family);
    service = family_start(&family, &loop, &params, &told, &pids['P']);
    if (by == SSS_SERVICE_BY_CONNECTOR) {
        give_room_to_connector();
    }
    for (unsigned i = 0; i < scenario->count; i++) {
        const struct step *step = &scenario->steps[i];

        if (step->child != 0) {
            pids[(int)step->child] = family_fork(&family, pids[(int)step->who]);
        } else {
            family_exit(&family, pids[(int)step->who], exit_code(step->who));
        }
        /* Descent is known from what was seen, here at each look. */
        if (by == SSS_SERVICE_BY_DESCENT && step->child != 0) {
            check_ok(sss_service_pids(service, NULL, &none));
            none = 0;
        }
        if (looks & 1u << i) {
            family_settle(&family, &loop);
        }
    }
    loop_until_dead(&loop, &told);
    check_told(scenario, &told, pids, evidence, way);
    check_ok(sss_service_free(service));
    loop_end(&loop);
    family_end(&family);
    check_no_children();
}

static void each(uint32_t by, uint32_t evidence, const unsigned always[4])
{
    for (unsigned s = 0; s < ARRAY_SIZE(scenarios); s++) {
        for (unsigned looks = 0; looks < 1u << (scenarios[s].count - 1); looks++) {
            if (always != NULL && (looks & always[s]) != always[s]) {
                continue;
            }
            run(&scenarios[s], looks, by, evidence, &some_ways[(looks + s) % 4]);
        }
    }
}

static void by_tag(void **state)
{
    (void)state;
    each(SSS_SERVICE_BY_TAG, SSS_EVIDENCE_TAG, NULL);
}

/* The environment of a zombie cannot be read: a process that lives when its parent has ended
 * must be looked at then. */
static void by_environment(void **state)
{
    (void)state;
    each(SSS_SERVICE_BY_ENVIRONMENT, SSS_EVIDENCE_ENVIRONMENT,
         (const unsigned[]){ 0x2, 0xc, ~0u, ~0u });
}

static void by_descent(void **state)
{
    (void)state;
    each(SSS_SERVICE_BY_DESCENT, SSS_EVIDENCE_DESCENT, NULL);
}

/* Whether the system lets a service have this evidence. */
static void need(uint32_t by)
{
    struct sss_service_params params = service_params(by, 0);
    struct sss_service_status status = { .size = sizeof(status) };
    struct sss_service *service;
    struct family family;
    struct told told;
    struct loop loop;
    pid_t pid;

    loop_start(&loop, ctx_make(SSS_SCOPE_REGISTERED, 0), WAKE_DESCRIPTOR);
    family_begin(&family);
    service = family_start(&family, &loop, &params, &told, &pid);
    check_ok(sss_service_status(service, &status));
    family_exit(&family, pid, 0);
    loop_until_dead(&loop, &told);
    check_ok(sss_service_free(service));
    loop_end(&loop);
    family_end(&family);
    if ((status.evidence & by) == 0) {
        test_lacks("the system does not let us have this evidence");
    }
}

static void by_cgroup(void **state)
{
    (void)state;
    need(SSS_SERVICE_BY_CGROUP);
    each(SSS_SERVICE_BY_CGROUP, SSS_EVIDENCE_CGROUP, NULL);
}

static void by_connector(void **state)
{
    (void)state;
    need(SSS_SERVICE_BY_CONNECTOR);
    /* Looks after each step: records are read by the loop. */
    each(SSS_SERVICE_BY_CONNECTOR, SSS_EVIDENCE_FORK, (const unsigned[]){ ~0u, ~0u, ~0u, ~0u });
    each(SSS_SERVICE_BY_CONNECTOR, SSS_EVIDENCE_FORK, (const unsigned[]){ 0x3, 0xf, 0x3, 0xf });
}

/* A process below is known, ends, and is waited for by its parent: it holds up nothing. */
static void known_and_waited_for(uint32_t by)
{
    struct sss_service_params params = service_params(by, 0);
    struct sss_service *service;
    struct family family;
    struct told told;
    struct loop loop;
    pid_t first, child;
    size_t count = 0;

    loop_start(&loop, ctx_make(SSS_SCOPE_REGISTERED, 0), WAKE_DESCRIPTOR);
    family_begin(&family);
    service = family_start(&family, &loop, &params, &told, &first);
    if (by == SSS_SERVICE_BY_CONNECTOR) {
        give_room_to_connector();
    }
    child = family_fork(&family, first);
    check_ok(sss_service_pids(service, NULL, &count));
    check_int(count, 2);
    family_exit(&family, child, 0);
    family_order(&family, first, "w");
    family_exit(&family, first, 0);
    loop_until_dead(&loop, &told);
    check_int(told_times(&told, SSS_SERVICE_ADOPTED, child), 0);
    check_int(told_times(&told, SSS_SERVICE_EXITED, first), 1);
    check_ok(sss_service_free(service));
    loop_end(&loop);
    family_end(&family);
    check_no_children();
}

static void waited_for_in_a_cgroup(void **state)
{
    (void)state;
    need(SSS_SERVICE_BY_CGROUP);
    known_and_waited_for(SSS_SERVICE_BY_CGROUP);
}

static void waited_for_with_the_connector(void **state)
{
    (void)state;
    need(SSS_SERVICE_BY_CONNECTOR);
    known_and_waited_for(SSS_SERVICE_BY_CONNECTOR);
}

struct connected {
    struct loop loop;
    struct family family;
    struct told told;
    struct sss_service *service;
    pid_t first;
};

static void connected_make(struct connected *one)
{
    loop_start(&one->loop, ctx_make(SSS_SCOPE_REGISTERED, 0), WAKE_DESCRIPTOR);
    family_begin(&one->family);
}

static void connected_start(struct connected *one)
{
    /* Where records are lost on a busy machine, the loop is told so, and descent is used. */
    const uint32_t by = SSS_SERVICE_BY_CONNECTOR | SSS_SERVICE_BY_DESCENT;
    struct sss_service_params params = service_params(by, 0);
    struct sss_service_status status = { .size = sizeof(status) };

    one->service = family_start(&one->family, &one->loop, &params, &one->told, &one->first);
    check_ok(sss_service_status(one->service, &status));
    check_int(status.connector_errno, 0);
    check_int(status.evidence, by);
}

/* Has it fork: the loop learns of that by the connector alone. */
static void connected_fork(struct connected *one)
{
    struct sss_service_status status = { .size = sizeof(status) };

    family_fork(&one->family, one->first);
    loop_settle(&one->loop);
    check_ok(sss_service_status(one->service, &status));
    check_int(status.processes, 2);
}

static void connected_stop(struct connected *one)
{
    struct sss_service_killed killed = { .size = sizeof(killed) };

    kill_whole(one->service, NULL, &killed);
    loop_until_dead(&one->loop, &one->told);
    check_ok(sss_service_free(one->service));
}

static void connected_free(struct connected *one)
{
    loop_end(&one->loop);
    family_end(&one->family);
    check_no_children();
}

/* The connector is closed with the last service, and opened again for the next one. */
static void the_connector_anew(void **state)
{
    struct connected one;

    (void)state;
    need(SSS_SERVICE_BY_CONNECTOR);
    connected_make(&one);
    for (unsigned i = 0; i < 3; i++) {
        connected_start(&one);
        connected_fork(&one);
        connected_stop(&one);
    }
    connected_free(&one);
}

/* The context whose loop reads the connector ends: the other one's loop reads it. */
static void the_connectors_context_ends(void **state)
{
    struct connected one, other;

    (void)state;
    need(SSS_SERVICE_BY_CONNECTOR);
    connected_make(&one);
    connected_start(&one);
    connected_make(&other);
    connected_start(&other);
    loop_end(&one.loop);
    check_ok(sss_service_free(one.service));
    family_exit(&one.family, one.first, 0);
    reap(one.first, 0);
    family_end(&one.family);
    connected_fork(&other);
    connected_stop(&other);
    connected_free(&other);
}

/* A start that fails closes the connector, if there is no other service. */
static void no_connector_after_a_failure(void **state)
{
    static const uint32_t evidence[] = { 0, SSS_SERVICE_BY_CONNECTOR };
    const char *argv[] = { "none", NULL };
    struct sss_spawn spawn = spawn_zero();
    struct sss_service *service = NULL;
    struct connected one;
    unsigned fds[2];

    (void)state;
    need(SSS_SERVICE_BY_CONNECTOR);
    connected_make(&one);
    spawn.path = "/nonexistent";
    spawn.argv = argv;
    for (unsigned i = 0; i < 2; i++) {
        struct sss_service_params params = service_params(evidence[i], 0);

        check_int(sss_service_spawn(NULL, one.loop.ctx, &spawn, &params, NULL, NULL, &service),
                  ENOENT);
        fds[i] = count_fds();
    }
    check_int(fds[1], fds[0]);
    connected_start(&one);
    connected_fork(&one);
    connected_stop(&one);
    connected_free(&one);
}

static uint32_t take(int pid, int wait_status, void *pvt)
{
    (void)pid;
    (void)wait_status;
    ++*(unsigned *)pvt;
    return SSS_UNKNOWN_TAKEN;
}

/* Nobody claims them: in scope ALL they are told as unknown, each once. */
static void without_evidence(void **state)
{
    (void)state;
    for (unsigned s = 0; s < ARRAY_SIZE(scenarios); s++) {
        const struct scenario *scenario = &scenarios[s];
        struct sss_service_params params = service_params(0, 0);
        struct sss_service *service;
        struct family family;
        struct told told;
        struct loop loop;
        pid_t pids[128] = { 0 };
        unsigned unknown = 0, forks = 0;

        loop_start(&loop, ctx_make(SSS_SCOPE_ALL, 0), WAKE_BOTH);
        check_ok(sss_sigchld_ctx_set_unknown_fn(loop.ctx, take, &unknown));
        family_begin(&family);
        service = family_start(&family, &loop, &params, &told, &pids['P']);
        for (unsigned i = 0; i < scenario->count; i++) {
            const struct step *step = &scenario->steps[i];

            if (step->child != 0) {
                pids[(int)step->child] = family_fork(&family, pids[(int)step->who]);
                forks++;
            } else {
                family_exit(&family, pids[(int)step->who], exit_code(step->who));
            }
        }
        loop_until_dead(&loop, &told);
        loop_until(&loop, &unknown, forks);
        check_int(told.count, 2); /* EXITED of the first process, DEAD */
        check_int(told.events[0].pid, pids['P']);
        check_ok(sss_service_free(service));
        loop_end(&loop);
        family_end(&family);
        check_no_children();
    }
}

/* For a moment in execve(2) no environment can be read, and posix_spawn() may return in that
 * moment. A process that is looked at then is looked at again. */
static void in_execve(void **state)
{
    enum { ROUNDS = 100 };
    struct sss_service_params params = service_params(SSS_SERVICE_BY_ENVIRONMENT, 0);
    char tag[32], variable[64];
    char *const argv[] = { "sleep", "1000", NULL }, *const envp[] = { variable, NULL };
    struct sss_service *service;
    struct family family;
    struct told told;
    struct loop loop;
    pid_t first, pid;

    (void)state;
    if (test_profile_is("valgrind")) {
        test_skip("valgrind", "posix_spawn() returns before the child is in execve(2)");
    }
    loop_start(&loop, ctx_make(SSS_SCOPE_REGISTERED, 0), WAKE_BOTH);
    family_begin(&family);
    service = family_start(&family, &loop, &params, &told, &first);
    read_variable(first, "SSS_SERVICE_TAG", tag, sizeof(tag));
    snprintf(variable, sizeof(variable), "SSS_SERVICE_TAG=%s", tag);
    for (unsigned round = 0; round < ROUNDS; round++) {
        size_t none = 0;

        check_int(posix_spawnp(&pid, argv[0], NULL, NULL, argv, envp), 0);
        check_ok(sss_service_pids(service, NULL, &none));
        loop_until(&loop, &told.count, 2 * round + 1);
        check_int(told.events[2 * round].event, SSS_SERVICE_ADOPTED);
        check_int(told.events[2 * round].pid, pid);
        check_int(told.events[2 * round].evidence, SSS_EVIDENCE_ENVIRONMENT);
        check_ok(kill(pid, SIGKILL));
        loop_until(&loop, &told.count, 2 * round + 2);
        check_int(told.events[2 * round + 1].event, SSS_SERVICE_EXITED);
    }
    family_exit(&family, first, 0);
    loop_until_dead(&loop, &told);
    check_ok(sss_service_free(service));
    loop_end(&loop);
    family_end(&family);
    check_no_children();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(by_tag),       cmocka_unit_test(by_environment),
        cmocka_unit_test(by_descent),   cmocka_unit_test(by_cgroup),
        cmocka_unit_test(by_connector), cmocka_unit_test(waited_for_in_a_cgroup),
        cmocka_unit_test(waited_for_with_the_connector), cmocka_unit_test(the_connector_anew),
        cmocka_unit_test(the_connectors_context_ends),
        cmocka_unit_test(no_connector_after_a_failure), cmocka_unit_test(without_evidence),
        cmocka_unit_test(in_execve),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
