/* Many services whose processes fork, leave and end at random, watched by somebody
 * else: by the proc connector the test counts which processes were forked below us, and
 * compares them with those that were told.
 *
 * As a soak there are 100,000 processes, in a pid namespace of so few pids that each
 * comes again. */
#include "support/test.h"

#include <fcntl.h>
#include <sys/syscall.h>

#include "support/family.h"
#include "support/kernel.h"
#include "support/records.h"
#include "support/small_pids.h"
#include "support/spawn.h"

#define SERVICES 32
#define MOST_PIDS (1 << 22)
#define FEW_PIDS 24576 /* fewer than the machine has */

/* What the observer saw of each pid of ours, and what we were told. */
struct seen_pid {
    /* 1 + the service that its parent is of. The observer writes it. */
    _Atomic uint8_t service;
    uint8_t orphan; /* ADOPTED and not yet EXITED */
};

static struct seen_pid *pids;

/* Whose a process was: as the observer saw it fork, and as its ADOPTED said. Compared at the
 * end: a record may be read behind the event. */
struct claim {
    pid_t pid;
    unsigned service;
};

struct claims {
    struct claim *list;
    size_t count, room;
};

static struct claims forked, adopted;

static void claim(struct claims *claims, pid_t pid, unsigned service)
{
    if (claims->count == claims->room) {
        claims->room = claims->room * 2 + 1024;
        claims->list = realloc(claims->list, claims->room * sizeof(*claims->list));
        check(claims->list != NULL);
    }
    claims->list[claims->count++] = (struct claim){ pid, service };
}

static int compare(const void *one, const void *other)
{
    const struct claim *a = one, *b = other;

    if (a->pid != b->pid) {
        return a->pid < b->pid ? -1 : 1;
    }
    return (a->service > b->service) - (a->service < b->service);
}

/* How many were adopted for a service that the observer saw them not fork for. */
static unsigned wrongly_adopted(void)
{
    unsigned unseen = 0;
    size_t at = 0;

    qsort(forked.list, forked.count, sizeof(*forked.list), compare);
    qsort(adopted.list, adopted.count, sizeof(*adopted.list), compare);
    for (size_t i = 0; i < adopted.count; i++) {
        while (at < forked.count && compare(&forked.list[at], &adopted.list[i]) < 0) {
            at++;
        }
        if (at < forked.count && compare(&forked.list[at], &adopted.list[i]) == 0) {
            at++; /* a reused pid has one more entry in both */
        } else {
            unseen++;
        }
    }
    return unseen;
}

static void forget_claims(struct claims *claims)
{
    free(claims->list);
    memset(claims, 0, sizeof(*claims));
}

static unsigned long forks, exits, adoptions, orphans;

struct service {
    struct sss_service *handle;
    unsigned number;
    unsigned live;
    unsigned first_ended;
    unsigned dead;
    pid_t last; /* told to have ended */
};

static unsigned dead;

/* In a pid namespace: the /proc of the first one, where the records' pids are from; else -1.
 * Our own pid there. */
static int first_proc = -1;
static pid_t me;

/* The pid of a process, a zombie perhaps, in the records. */
static pid_t in_records(pid_t pid)
{
    char name[64], text[256];
    int pidfd, info;
    ssize_t length;
    const char *line;

    if (first_proc == -1) {
        return pid;
    }
    pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    check(pidfd != -1);
    snprintf(name, sizeof(name), "self/fdinfo/%d", pidfd);
    info = openat(first_proc, name, O_RDONLY | O_CLOEXEC);
    check(info != -1);
    length = read(info, text, sizeof(text) - 1);
    check(length > 0);
    text[length] = '\0';
    line = strstr(text, "\nPid:");
    check(line != NULL);
    check_ok(close(info));
    check_ok(close(pidfd));
    return atoi(line + 5);
}

/* A process that was forked by a service's process belongs to that service. */
static void take(const struct proc_event *event, void *pvt)
{
    const struct fork_proc_event *fork = &event->event_data.fork;

    (void)pvt;
    if (event->what != PROC_EVENT_FORK || fork->child_pid != fork->child_tgid
        || fork->parent_tgid == me) {
        return;
    }
    /* Another process may have got the pid of one of ours. */
    pids[fork->child_pid].service = pids[fork->parent_tgid].service;
    if (pids[fork->child_pid].service != 0) {
        forks++;
        claim(&forked, fork->child_pid, pids[fork->child_pid].service - 1u);
    }
}

static void tell(struct sss_service *handle, const struct sss_service_event *event, void *pvt)
{
    struct service *service = pvt;
    struct seen_pid *pid;
    pid_t number;

    (void)handle;
    check_int(service->dead, 0);
    if (event->event != SSS_SERVICE_ADOPTED && event->event != SSS_SERVICE_EXITED) {
        if (event->event == SSS_SERVICE_DEAD) {
            check_int(service->live, 0);
            check_int(service->first_ended, 1);
            check_int(event->processes, 0);
            /* Reaped, unless it is a later process in a namespace of few pids. */
            check(getenv("SSS_TEST_SOAK") != NULL || !is_child(service->last));
            service->dead++;
            orphans += event->orphans;
            dead++;
        }
        return;
    }
    number = in_records(event->pid);
    pid = &pids[number];
    if (event->event == SSS_SERVICE_ADOPTED) {
        adoptions++;
        claim(&adopted, number, service->number);
        service->live++;
        check_int(pid->orphan, 0);
        pid->orphan = 1;
        return;
    }
    exits++;
    service->last = event->pid;
    /* By the evidence: an orphan may have got the pid of the first one. */
    if (event->evidence != SSS_EVIDENCE_STARTED) {
        check_int(pid->orphan, 1);
        pid->orphan = 0;
        service->live--;
    } else {
        service->first_ended++;
    }
}

struct round {
    unsigned links;
    uint32_t scope;
    struct records records;
    bool observed;
};

static void swarm(struct round *round)
{
    unsigned links = round->links;
    struct service services[SERVICES];
    bool observed = round->observed;
    char *path = helper_path("chains"), count[16], seed[16];
    const char *argv[] = { "chains", count, seed, NULL };
    struct sss_service_params params = service_params(SSS_SERVICE_BY_TAG | SSS_SERVICE_BY_DESCENT,
                                                      0);
    struct sss_spawn spawn = spawn_zero();
    struct loop loop;
    int64_t deadline = now_ms() + 2 * DEADLINE_MS;
    unsigned long ended = 0;

    forks = exits = adoptions = orphans = dead = 0;
    pids = calloc(MOST_PIDS, sizeof(*pids));
    check(pids != NULL);
    snprintf(count, sizeof(count), "%u", links);
    spawn.path = path;
    spawn.argv = argv;
    loop_start(&loop, ctx_make(round->scope, 0), WAKE_DESCRIPTOR);
    memset(services, 0, sizeof(services));
    for (unsigned i = 0; i < SERVICES; i++) {
        struct sss_service_status status = { .size = sizeof(status) };

        services[i].number = i;
        snprintf(seed, sizeof(seed), "%u", i + 1);
        check_ok(sss_service_spawn(NULL, loop.ctx, &spawn, &params, tell, &services[i],
                                   &services[i].handle));
        check_ok(sss_service_status(services[i].handle, &status));
        pids[in_records(status.root)].service = (uint8_t)(i + 1);
    }
    if (observed) {
        records_begin(&round->records, take, NULL);
    }
    while (dead < SERVICES) {
        if (ended < exits + dead) {
            ended = exits + dead;
            deadline = now_ms() + 2 * DEADLINE_MS;
        }
        check(now_ms() < deadline);
        loop_turn(&loop, 100);
    }
    for (unsigned i = 0; i < SERVICES; i++) {
        check_ok(sss_service_free(services[i].handle));
    }
    loop_end(&loop);
    check_no_children();
    if (observed) {
        observed = records_end(&round->records);
    }
    check_int(orphans, 0); /* nobody was left unclaimed */
    check_int(exits, adoptions + SERVICES);
    /* The first of each chain is waited for by its parent, all others come to us. */
    if (observed) {
        check_int(forks, adoptions + (unsigned long)links * SERVICES);
        check_int(wrongly_adopted(), 0);
    }
    forget_claims(&forked);
    forget_claims(&adopted);
    fprintf(stderr, "%lu forks seen, %lu adopted, %lu ended, the observer %s\n", forks, adoptions,
            exits, observed ? "complete" : "not complete");
    free(pids);
    free(path);
}

static void in_few_pids(void *arg)
{
    char text[32] = "";

    first_proc = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    check(first_proc != -1 && readlinkat(first_proc, "self", text, sizeof(text) - 1) > 0);
    me = atoi(text);
    if (!small_pids(FEW_PIDS)) {
        fprintf(stderr, "no pid_max of a namespace's own before Linux 6.14\n");
    }
    swarm(arg);
}

static void with_links(unsigned links, uint32_t scope)
{
    struct round round = { .links = links, .scope = scope };

    /* Opened before the pid namespace is made: the kernel refuses a request for records from
     * inside one. */
    round.observed = records_open(&round.records);
    if (getenv("SSS_TEST_SOAK") != NULL) {
        round.links *= 10;
        in_pid_namespace(in_few_pids, &round);
        if (round.observed) {
            check_ok(close(round.records.fd));
        }
        return;
    }
    me = getpid();
    round.links /= test_profile_is("plain") ? 1 : 20;
    swarm(&round);
}

static void registered(void **state)
{
    (void)state;
    with_links(120, SSS_SCOPE_REGISTERED);
}

static void all(void **state)
{
    (void)state;
    with_links(60, SSS_SCOPE_ALL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(registered),
        cmocka_unit_test(all),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
