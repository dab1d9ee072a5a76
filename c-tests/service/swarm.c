/* Many services whose processes fork, leave and end at random, watched by somebody
 * else: the proc connector counts who was forked below us, and who was told of. */
#include "support/test.h"

#include "support/family.h"
#include "support/records.h"
#include "support/spawn.h"

#define SERVICES 32
#define MOST_PIDS (1 << 22)

/* What the observer saw of each pid of ours, and what we were told. */
struct seen_pid {
    uint16_t forked;  /* so often, below us */
    uint16_t exited;  /* told EXITED */
    uint8_t service;  /* 1 + the service that its parent is of */
    uint8_t orphan;   /* ADOPTED and not yet EXITED */
};

static struct seen_pid *pids;
static unsigned long forks, exits, adoptions, wrong, orphans;

struct service {
    struct sss_service *handle;
    unsigned number;
    unsigned live;
    unsigned dead;
};

static unsigned dead;

/* Who was forked by one of a service's is the service's. */
static void take(const struct proc_event *event, void *pvt)
{
    const struct fork_proc_event *fork = &event->event_data.fork;

    (void)pvt;
    if (event->what != PROC_EVENT_FORK || fork->child_pid != fork->child_tgid
        || fork->parent_tgid == getpid()) {
        return;
    }
    /* A stranger may have got the pid of one of ours. */
    pids[fork->child_pid].service = pids[fork->parent_tgid].service;
    if (pids[fork->child_pid].service != 0) {
        pids[fork->child_pid].forked++;
        forks++;
    }
}

static void tell(struct sss_service *handle, const struct sss_service_event *event, void *pvt)
{
    struct service *service = pvt;
    struct seen_pid *pid = &pids[event->pid];

    (void)handle;
    check_int(service->dead, 0);
    switch (event->event) {
    case SSS_SERVICE_ADOPTED:
        adoptions++;
        service->live++;
        check_int(pid->orphan, 0);
        pid->orphan = 1;
        pid->exited++;
        wrong += pid->service != 0 && pid->service != service->number + 1;
        break;
    case SSS_SERVICE_EXITED:
        exits++;
        if (event->pid != event->root) {
            check_int(pid->orphan, 1);
            pid->orphan = 0;
            service->live--;
        }
        break;
    case SSS_SERVICE_DEAD:
        check_int(service->live, 0);
        service->dead++;
        orphans += event->orphans;
        dead++;
        break;
    default:
        break;
    }
}

static void swarm(unsigned links, uint32_t scope)
{
    struct service services[SERVICES];
    char *path = helper_path("chains"), count[16], seed[16];
    const char *argv[] = { "chains", count, seed, NULL };
    struct sss_service_params params = service_params(SSS_SERVICE_BY_TAG | SSS_SERVICE_BY_DESCENT,
                                                      0);
    struct sss_spawn spawn = spawn_zero();
    struct loop loop;
    struct records records;
    bool observed = records_open(&records);
    int64_t deadline = now_ms() + 100000;

    forks = exits = adoptions = wrong = orphans = dead = 0;
    pids = calloc(MOST_PIDS, sizeof(*pids));
    check(pids != NULL);
    snprintf(count, sizeof(count), "%u", links);
    spawn.path = path;
    spawn.argv = argv;
    loop_start(&loop, ctx_make(scope, 0), WAKE_DESCRIPTOR);
    memset(services, 0, sizeof(services));
    for (unsigned i = 0; i < SERVICES; i++) {
        struct sss_service_status status = { .size = sizeof(status) };

        services[i].number = i;
        snprintf(seed, sizeof(seed), "%u", i + 1);
        check_ok(sss_service_spawn(NULL, loop.ctx, &spawn, &params, tell, &services[i],
                                   &services[i].handle));
        check_ok(sss_service_status(services[i].handle, &status));
        pids[status.root].service = (uint8_t)(i + 1);
    }
    if (observed) {
        records_begin(&records, take, NULL);
    }
    while (dead < SERVICES && now_ms() < deadline) {
        loop_turn(&loop, 100);
    }
    check_int(dead, SERVICES);
    for (unsigned i = 0; i < SERVICES; i++) {
        check_ok(sss_service_free(services[i].handle));
    }
    loop_end(&loop);
    check_no_children();
    if (observed) {
        observed = records_end(&records);
    }
    check_int(wrong, 0);
    check_int(orphans, 0); /* nobody was left unclaimed */
    /* The first of each chain is waited for by its parent, all others come to us. */
    if (observed) {
        check_int(forks, adoptions + (unsigned long)links * SERVICES);
    }
    fprintf(stderr, "%lu forks seen, %lu adopted, %lu ended, the observer %s\n", forks, adoptions,
            exits, observed ? "complete" : "not complete");
    free(pids);
    free(path);
}

static unsigned scale(unsigned links)
{
    const char *soak = getenv("SSS_TEST_SOAK");

    return soak != NULL ? links * 5 : test_profile_is("plain") ? links : links / 20;
}

static void registered(void **state)
{
    (void)state;
    swarm(scale(120), SSS_SCOPE_REGISTERED);
}

static void all(void **state)
{
    (void)state;
    swarm(scale(60), SSS_SCOPE_ALL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(registered),
        cmocka_unit_test(all),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
