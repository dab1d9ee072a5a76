/* profiles: plain soak: memory is measured, and somebody else has to see each process */
/*
 * A daemon that uses every family at once, in a pid namespace so small that pids come
 * again all the time. Units crash, fork twice, are stopped and restarted; services leave
 * processes behind; the fork server is killed each second; logs rotate. In one round
 * another thread waits for whatever child it finds, in the next descriptors run short.
 *
 * The proc connector, read outside of the namespace, counts each process from its fork
 * to its exit. After each round everything is stopped, and memory, descriptors, mappings
 * and threads are compared with those of the first rounds.
 *
 * SSS_TEST_SOAK=SECONDS goes on for so long.
 */
#include "support/test.h"

#include <fcntl.h>
#include <malloc.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "support/kernel.h"
#include "support/observer.h"
#include "support/server.h"
#include "support/small_pids.h"
#include "support/unit.h"

enum { CHILDREN = 32, UNITS = 8, SERVICES = 6, PID_MAX = 1000, MOST_ROUNDS = 4096 };
enum { ROUND_MS = 2000, KILL_SERVER_MS = 1000, QUIET_MS = 3 * DEADLINE_MS };

/* Exit codes by the way a child is started: what is forked here and told by a callback
 * is counted by its code, and the observer has to have seen as many. */
enum { FORKED = 40, SPAWNED = 80, LAUNCHED = 120, CODES = 32, LAST_CODE = 160 };

/* Shared by the daemon and the process that observes it. */
struct shared {
    atomic_int daemon; /* its pid where the observer is */
    unsigned long told[LAST_CODE];
    unsigned long lost;   /* told with a status that nobody had */
    /* The same of a service's processes: the thief may find one that has come to us before
     * the library has its pidfd. */
    unsigned long lost_adopted;
    unsigned long reaped; /* by the library */
    atomic_ulong stolen; /* by the thief */
    char log_dir[32];
    unsigned long reused, crashes, restarts, services, rotations, short_of, rounds;
};

struct child {
    struct sss_child_ctx *ctx;
    int code;
    bool busy;
};

struct service {
    struct sss_service *ctx;
    unsigned adopted, exited, dead, lost;
};

/* What is to stay the same. */
struct size {
    size_t heap, resident;
    unsigned fds, mappings, threads;
};

struct daemon {
    struct loop loop;
    struct shared *shared;
    struct sss_forksrv *server;
    int server_fd; /* a pidfd, or -1 where it has just died */
    pid_t server_pid; /* 0: none runs */
    struct sss_log *log;
    int log_fd;
    char log_path[64];
    struct child children[CHILDREN];
    struct service services[SERVICES];
    struct sss_unit_ctx *units[UNITS];
    struct size sizes[MOST_ROUNDS];
    unsigned rounds;
    bool had[PID_MAX + 1];
    bool theft; /* in this round */
    unsigned long seed;
    char *ends, *unit;
    pthread_t thief;
    atomic_bool stealing, idle, over;
};

static unsigned pick(struct daemon *d, unsigned below)
{
    d->seed = d->seed * 6364136223846793005ul + 1442695040888963407ul;
    return (unsigned)(d->seed >> 33) % below;
}

/* ---- Children: forked, spawned, launched ---- */

static struct daemon *daemon_of_children;

static void child_ended(int pid, int status, void *pvt)
{
    struct child *child = pvt;
    struct shared *shared = daemon_of_children->shared;

    (void)pid;
    check(child->busy);
    if (status == SSS_WAIT_STATUS_LOST) {
        check(daemon_of_children->theft);
        shared->lost++;
    } else {
        check_int(status, status_of(child->code));
    }
    shared->told[child->code]++;
    check_ok(sss_child_free(child->ctx));
    child->busy = false;
}

/* Whether this error is to be expected: descriptors, pids or the fork server are missing for
 * a while. */
static bool may_fail(errno_t ret)
{
    return ret == EMFILE || ret == EAGAIN || ret == ECONNRESET || ret == ENOTCONN;
}

static void seen_pid(struct daemon *d, struct child *child)
{
    pid_t pid;

    if (sss_child_pid(child->ctx, &pid) == 0) {
        check(pid <= PID_MAX);
        d->shared->reused += d->had[pid];
        d->had[pid] = true;
    }
}

static void start_child(struct daemon *d)
{
    struct child *child = &d->children[pick(d, CHILDREN)];
    struct order order;
    unsigned way = pick(d, 3);
    errno_t ret;
    pid_t pid;

    if (child->busy) {
        return;
    }
    child->code = (int)((way + 1) * 40 + pick(d, CODES));
    child->busy = true;
    if (way == 0) {
        pid = fork();
        if (pid == 0) {
            usleep(pick(d, 20000));
            _exit(child->code);
        }
        check(pid > 0 || errno == EAGAIN);
        ret = pid < 0 ? EAGAIN
                      : sss_child_register(NULL, d->loop.ctx, pid, child_ended, child, &child->ctx);
        if (ret == ESRCH && d->theft) {
            d->shared->told[child->code]++; /* the thief was faster than the registration */
            child->busy = false;
            return;
        }
        check(ret == 0 || pid < 0);
    } else {
        struct sss_spawn *spawn = order_ends(&order, NULL, child->code);

        ret = way == 1 ? sss_child_spawn(NULL, d->loop.ctx, spawn, child_ended, child, &child->ctx)
                       : sss_forksrv_launch(NULL, d->server, spawn, child_ended, child, &child->ctx);
    }
    if (ret != 0) {
        if (!may_fail(ret)) {
            fprintf(stderr, "way %u: %s\n", way, strerror(ret));
            print_processes();
        }
        check(may_fail(ret));
        child->busy = false;
        return;
    }
    seen_pid(d, child);
}

/* ---- The fork server ---- */

static void server_event(struct sss_forksrv *server, const struct sss_forksrv_event *event,
                         void *pvt)
{
    struct daemon *d = pvt;

    (void)server;
    if (d->server_fd != -1) {
        close(d->server_fd);
        d->server_fd = -1;
    }
    d->server_pid = 0;
    if (event->event == SSS_FORKSRV_READY || event->event == SSS_FORKSRV_RESTARTED) {
        d->server_pid = event->pid;
        d->server_fd = (int)syscall(SYS_pidfd_open, event->pid, 0);
        return;
    }
    d->shared->crashes += event->event == SSS_FORKSRV_CRASHED;
}

/* Whether a server runs that can be killed. There may have been no descriptor for it when it
 * began. While nobody steals its pid is still its own. */
static bool holds_server(struct daemon *d)
{
    if (d->server_fd == -1 && d->server_pid != 0 && !atomic_load(&d->stealing)) {
        d->server_fd = (int)syscall(SYS_pidfd_open, d->server_pid, 0);
    }
    return d->server_fd != -1;
}

static void kill_server(struct daemon *d)
{
    if (holds_server(d)) {
        (void)syscall(SYS_pidfd_send_signal, d->server_fd, SIGKILL, NULL, 0);
    }
}

/* ---- Services: the first process and its child end, a third is left and killed ---- */

static void service_event(struct sss_service *ctx, const struct sss_service_event *event,
                          void *pvt)
{
    struct service *service = pvt;

    check(ctx == service->ctx || service->ctx == NULL);
    check_int(service->dead, 0);
    service->adopted += event->event == SSS_SERVICE_ADOPTED;
    service->exited += event->event == SSS_SERVICE_EXITED;
    service->dead += event->event == SSS_SERVICE_DEAD;
    service->lost += event->event == SSS_SERVICE_EXITED
                     && event->wait_status == SSS_WAIT_STATUS_LOST;
}

static void start_service(struct daemon *d)
{
    struct service *service = &d->services[pick(d, SERVICES)];
    struct sss_service_params params = { .size = sizeof(params) };
    struct sss_spawn spawn = spawn_zero();
    const char *argv[] = { "unit", "daemon", "leave", "exit", "7", NULL };
    errno_t ret;

    if (service->ctx != NULL) {
        return;
    }
    memset(service, 0, sizeof(*service));
    spawn.path = d->unit;
    spawn.argv = argv;
    ret = sss_service_spawn(NULL, d->loop.ctx, &spawn, &params, service_event, service,
                            &service->ctx);
    check(ret == 0 || may_fail(ret));
}

/* Where nobody else waits, each of its processes is told of. */
static void check_service(struct daemon *d, const struct service *service)
{
    if (d->theft) {
        d->shared->lost_adopted += service->lost;
        return;
    }
    check_int(service->lost, 0);
    check_int(service->exited, service->adopted + 1);
}

static void end_service(struct daemon *d)
{
    struct service *service = &d->services[pick(d, SERVICES)];
    struct sss_service_kill kill = { .size = sizeof(kill), .signal = SIGKILL };
    struct sss_service_killed killed = { .size = sizeof(killed) };

    if (service->ctx == NULL) {
        return;
    }
    if (!service->dead) {
        errno_t ret = sss_service_kill(service->ctx, &kill, &killed);

        check(ret == 0 || ret == ESRCH || may_fail(ret));
        return;
    }
    check_service(d, service);
    check_ok(sss_service_free(service->ctx));
    service->ctx = NULL;
    d->shared->services++;
}

/* ---- Units ---- */

static void unit_event(struct sss_unit_ctx *unit, const struct sss_unit_event *event, void *pvt)
{
    struct daemon *d = pvt;

    (void)unit;
    d->shared->restarts += event->type == SSS_UNIT_EVENT_STATE && event->state == SSS_UNIT_BACKOFF;
}

static void add_unit(struct daemon *d, unsigned at, uint32_t mode, struct sss_log *log,
                     const char *const *actions)
{
    static const struct sss_stop_step step = {
        .signum = SIGTERM, .scope = SSS_STOP_TREE, .timeout = 50 * MS,
    };
    const char *argv[16] = { "unit" };
    char name[16];
    struct sss_spawn spawn = spawn_zero();
    struct sss_unit unit = {
        .size = sizeof(unit),
        .mask = SSS_UNIT_START_MODE | SSS_UNIT_RESTART | SSS_UNIT_DELAY | SSS_UNIT_START_LIMIT
                | SSS_UNIT_STOP_STEPS | SSS_UNIT_READY_TIMEOUT,
        .name = name,
        .spawn = &spawn,
        .start_mode = mode,
        .restart = SSS_UNIT_RESTART_ALWAYS,
        .delay = 20 * MS,
        .delay_max = 20 * MS,
        .ready_timeout = DEADLINE_MS * MS,
        .stop_steps = &step,
        .stop_steps_count = 1,
        .log = log,
    };

    for (int i = 0; actions[i] != NULL; i++) {
        argv[i + 1] = actions[i];
    }
    snprintf(name, sizeof(name), "soak-%u", at);
    spawn.path = d->unit;
    spawn.argv = argv;
    check_ok(sss_supervisor_add(NULL, d->loop.ctx, &unit, unit_event, d, &d->units[at]));
}

static void add_units(struct daemon *d)
{
    add_unit(d, 0, SSS_UNIT_EXEC, NULL, ACTIONS("exit", "9"));
    add_unit(d, 1, SSS_UNIT_EXEC, NULL, ACTIONS("raise", "9"));
    add_unit(d, 2, SSS_UNIT_FORKING, NULL, ACTIONS("daemon", "daemon", "pause"));
    add_unit(d, 3, SSS_UNIT_EXEC, NULL, ACTIONS("leave", "pause"));
    add_unit(d, 4, SSS_UNIT_NOTIFY, NULL, ACTIONS("say", "READY=1", "pause"));
    add_unit(d, 5, SSS_UNIT_EXEC, d->log, ACTIONS("print", "a line of a unit\n", "exit", "0"));
    add_unit(d, 6, SSS_UNIT_FORKING, d->log, ACTIONS("print", "words", "daemon", "exit", "1"));
    add_unit(d, 7, SSS_UNIT_EXEC, NULL, ACTIONS("daemon", "leave", "exit", "2"));
}

static void order_unit(struct daemon *d)
{
    static errno_t (*const orders[])(struct sss_unit_ctx *) = {
        sss_supervisor_start, sss_supervisor_start, sss_supervisor_stop,
        sss_supervisor_restart, sss_supervisor_reload,
    };

    /* It may be in a state in which there is nothing to reload. */
    (void)orders[pick(d, ARRAY_SIZE(orders))](d->units[pick(d, UNITS)]);
}

/* ---- The thief: a thread that waits for any child ---- */

static void *steal(void *arg)
{
    struct daemon *d = arg;
    int status;

    while (!atomic_load(&d->over)) {
        if (!atomic_load(&d->stealing)) {
            atomic_store(&d->idle, true);
            poll(NULL, 0, 5);
            continue;
        }
        if (waitpid(-1, &status, WNOHANG) > 0) {
            atomic_fetch_add(&d->shared->stolen, 1);
        }
        poll(NULL, 0, 1);
    }
    return NULL;
}

static void stop_stealing(struct daemon *d)
{
    atomic_store(&d->stealing, false);
    atomic_store(&d->idle, false);
    while (!atomic_load(&d->idle)) {
        loop_turn(&d->loop, 1);
    }
}

/* ---- Descriptors ---- */

static void run_short(struct daemon *d, bool is_short)
{
    struct rlimit limit;

    check_ok(getrlimit(RLIMIT_NOFILE, &limit));
    limit.rlim_cur = is_short ? 12 : limit.rlim_max;
    check_ok(setrlimit(RLIMIT_NOFILE, &limit));
    d->shared->short_of += is_short;
}

/* ---- Rounds ---- */

static void write_log(struct daemon *d)
{
    static const char line[] = "a line of the daemon, so long that files fill up in a while\n";

    check_int(write(d->log_fd, line, sizeof(line) - 1), sizeof(line) - 1);
}

static void load(struct daemon *d)
{
    int64_t began = now_ms(), killed = began;
    bool is_short = false;

    for (int i = 0; i < UNITS; i++) {
        check_ok(sss_supervisor_start(d->units[i]));
    }
    atomic_store(&d->stealing, d->theft);
    while (now_ms() - began < ROUND_MS) {
        bool shall = !d->theft && (now_ms() - began) / 200 % 3 == 1;

        if (shall != is_short) {
            run_short(d, shall);
            is_short = shall;
        }
        start_child(d);
        if (pick(d, 4) == 0) {
            start_service(d);
            end_service(d);
            order_unit(d);
            write_log(d);
        }
        if (now_ms() - killed >= KILL_SERVER_MS) {
            kill_server(d);
            killed = now_ms();
        }
        loop_turn(&d->loop, (int)pick(d, 5));
    }
    if (is_short) {
        run_short(d, false);
    }
    stop_stealing(d);
}

static bool is_quiet(struct daemon *d)
{
    struct sss_unit_status status = { .size = sizeof(status) };
    bool quiet = holds_server(d);

    for (int i = 0; i < UNITS; i++) {
        check_ok(sss_supervisor_status(d->units[i], &status));
        quiet = quiet && status.state == SSS_UNIT_STOPPED && status.processes == 0;
    }
    for (int i = 0; i < CHILDREN; i++) {
        quiet = quiet && !d->children[i].busy;
    }
    for (int i = 0; i < SERVICES; i++) {
        quiet = quiet && d->services[i].ctx == NULL;
    }
    return quiet;
}

static void print_unquiet(struct daemon *d)
{
    struct sss_unit_status status = { .size = sizeof(status) };

    fprintf(stderr, "server %d, descriptor %d\n", d->server_pid, d->server_fd);
    for (int i = 0; i < UNITS; i++) {
        check_ok(sss_supervisor_status(d->units[i], &status));
        fprintf(stderr, "unit %d: state %u, %u processes, main %d\n", i, status.state,
                status.processes, status.main_pid);
    }
    for (int i = 0; i < CHILDREN; i++) {
        if (d->children[i].busy) {
            fprintf(stderr, "a child with the code %d\n", d->children[i].code);
        }
    }
    for (int i = 0; i < SERVICES; i++) {
        if (d->services[i].ctx != NULL) {
            fprintf(stderr, "service: %u adopted, %u exited, dead %u\n", d->services[i].adopted,
                    d->services[i].exited, d->services[i].dead);
        }
    }
}

/* Everything stops, but for the fork server; nobody else is left in the namespace. */
static void quiet(struct daemon *d)
{
    int64_t deadline = now_ms() + QUIET_MS;

    for (int i = 0; i < UNITS; i++) {
        check_ok(sss_supervisor_stop(d->units[i]));
    }
    while (!is_quiet(d)) {
        end_service(d);
        loop_turn(&d->loop, 10);
        if (now_ms() >= deadline) {
            print_unquiet(d);
        }
        check(now_ms() < deadline);
    }
    check_ok(sss_log_flush(d->log, DEADLINE_MS * MS));
    loop_settle(&d->loop);
    /* One that the thief made, or an orphan, may still be on its way out. */
    while (processes_in_namespace() != 2) {
        if (now_ms() >= deadline) {
            print_processes();
        }
        check(now_ms() < deadline);
        loop_turn(&d->loop, 10);
    }
}

static unsigned lines_of(const char *path)
{
    FILE *file = fopen(path, "re");
    unsigned lines = 0;
    int c;

    check(file != NULL);
    while ((c = getc(file)) != EOF) {
        lines += c == '\n';
    }
    fclose(file);
    return lines;
}

static void measure(struct daemon *d)
{
    struct size *size = &d->sizes[d->rounds++];
    FILE *file = fopen("/proc/self/statm", "re");
    unsigned long pages = 0, resident = 0;

    check(file != NULL && fscanf(file, "%lu %lu", &pages, &resident) == 2);
    fclose(file);
    size->heap = mallinfo2().uordblks;
    size->resident = resident * (size_t)sysconf(_SC_PAGESIZE);
    size->fds = count_fds();
    /* A log's thread may still be about to close what it has read to its end. */
    for (int i = 0; i < 20; i++) {
        unsigned fds;

        usleep(5000);
        fds = count_fds();
        size->fds = fds < size->fds ? fds : size->fds;
    }
    size->mappings = lines_of("/proc/self/maps");
    size->threads = count_threads();
    printf("round %u: heap %zu, resident %zu, %u descriptors, %u mappings, %u threads\n",
           d->rounds, size->heap, size->resident, size->fds, size->mappings, size->threads);
    fflush(stdout);
}

/* The most of the rounds from one to another. */
static struct size most(const struct daemon *d, unsigned from, unsigned to)
{
    struct size most = d->sizes[from];

    for (; from < to; from++) {
        const struct size *size = &d->sizes[from];

        most.heap = size->heap > most.heap ? size->heap : most.heap;
        most.resident = size->resident > most.resident ? size->resident : most.resident;
        most.fds = size->fds > most.fds ? size->fds : most.fds;
        most.mappings = size->mappings > most.mappings ? size->mappings : most.mappings;
        most.threads = size->threads > most.threads ? size->threads : most.threads;
    }
    return most;
}

/* The last third takes no more than the first did, but for two things: malloc keeps some
 * memory, and where a write hung another thread has taken over that writer's work. */
static void check_flat(const struct daemon *d, unsigned takeovers)
{
    struct size first = most(d, 0, (d->rounds + 2) / 3);
    struct size last = most(d, d->rounds - (d->rounds + 2) / 3, d->rounds);

    check(last.heap <= first.heap + first.heap / 20 + 65536);
    check(last.resident <= first.resident + first.resident / 10 + (2 << 20));
    check(last.fds <= first.fds);
    check(last.mappings <= first.mappings + 8 + 4 * takeovers);
    check(last.threads <= first.threads + takeovers);
}

static void begin(struct daemon *d)
{
    struct sss_log_params log = {
        .size = sizeof(log),
        .mask = SSS_LOG_TIME | SSS_LOG_BLOCK | SSS_LOG_MAX_SIZE | SSS_LOG_KEEP,
        .target = SSS_LOG_TO_FILE,
        .path = d->log_path,
        .max_size = 4096,
        .keep = 3,
    };
    struct sss_forksrv_params server = server_zero(SSS_FORKSRV_RESTART, NULL);

    d->ends = helper_path("ends");
    d->unit = helper_path("unit");
    snprintf(d->log_path, sizeof(d->log_path), "%s/log", d->shared->log_dir);
    loop_start(&d->loop, ctx_untrusted(SSS_SCOPE_REGISTERED), WAKE_DESCRIPTOR);
    check_ok(sss_log_open(NULL, d->loop.ctx, &log, &d->log));
    check_ok(sss_log_pipe(d->log, "daemon", &d->log_fd, NULL));
    server.event = server_event;
    server.pvt = d;
    server.restart_burst = 1000;
    server.timeout = DEADLINE_MS * MS;
    check_ok(sss_forksrv_start(NULL, d->loop.ctx, &server, &d->server));
    add_units(d);
    check_int(pthread_create(&d->thief, NULL, steal, d), 0);
}

static void end(struct daemon *d)
{
    struct sss_log_stats log = { .size = sizeof(log) };
    struct sss_ctx_stats stats;
    int64_t deadline = now_ms() + DEADLINE_MS;

    atomic_store(&d->over, true);
    check_int(pthread_join(d->thief, NULL), 0);
    for (int i = 0; i < UNITS; i++) {
        check_ok(sss_supervisor_remove(d->units[i]));
    }
    check_ok(sss_forksrv_stop(d->server));
    while (processes_in_namespace() > 1) {
        check(now_ms() < deadline);
        loop_turn(&d->loop, 10);
    }
    loop_settle(&d->loop);
    check_ok(sss_forksrv_free(d->server));
    stats = stats_of(d->loop.ctx);
    d->shared->reaped = stats.reaped;
    d->shared->rounds = d->rounds;
    check_int(stats.watches, 0);
    check_int(stats.young + stats.old, 0);
    check_ok(close(d->log_fd));
    check_ok(sss_log_flush(d->log, DEADLINE_MS * MS));
    check_ok(sss_log_stats(d->log, &log));
    d->shared->rotations = log.rotations;
    check_int(log.dropped_lines, 0);
    check_flat(d, (unsigned)log.takeovers);
    check_ok(sss_log_free(d->log));
    loop_end(&d->loop);
    check_no_children();
    free(d->ends);
    free(d->unit);
}

/* Whether it did what it is for. Rotations of its logs are counted at the end. */
static bool did_all(const struct shared *shared)
{
    return shared->reused > 0 && shared->crashes > 0 && shared->restarts > 0
           && shared->services > 0 && shared->stolen > 0 && shared->short_of > 0;
}

static void soak(void *pvt)
{
    static struct daemon d = { .server_fd = -1 };
    const char *seconds = getenv("SSS_TEST_SOAK");
    int64_t until = now_ms() + (seconds != NULL ? atoll(seconds) : 6) * 1000;

    daemon_of_children = &d;
    d.shared = pvt;
    d.seed = (unsigned long)time(NULL);
    observer_watches_me(&d.shared->daemon);
    if (!small_pids(PID_MAX)) {
        test_lacks("no pid_max of a namespace's own, as Linux 6.14 has it");
    }
    begin(&d);
    for (unsigned round = 0; round < 3 || now_ms() < until || !did_all(d.shared); round++) {
        d.theft = round % 2 == 1;
        load(&d);
        quiet(&d);
        check(d.rounds < MOST_ROUNDS);
        measure(&d);
    }
    end(&d);
}

static void all_families(void **state)
{
    struct shared *shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
                                 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    struct observer observer;
    char command[64];

    (void)state;
    check(shared != MAP_FAILED);
    strcpy(shared->log_dir, "/tmp/sss-soak-XXXXXX");
    check(mkdtemp(shared->log_dir) != NULL);
    observer_begin(&observer, &shared->daemon);
    in_pid_namespace(soak, shared);
    observer_end(&observer);
    snprintf(command, sizeof(command), "rm -rf %s", shared->log_dir);
    check_int(system(command), 0);
    printf("%lu rounds, %lu forks, %lu exits: %lu reaped, %lu stolen, %lu lost, %lu of services' "
           "lost; %lu pids came again, %lu servers died, %lu units ended, %lu services, "
           "%lu rotations, %lu times short of descriptors\n",
           shared->rounds, observer.forks, observer.exits, shared->reaped, shared->stolen,
           shared->lost, shared->lost_adopted, shared->reused, shared->crashes,
           shared->restarts, shared->services, shared->rotations, shared->short_of);
    check(observer.complete);
    for (int code = FORKED; code < LAST_CODE; code++) {
        check_int(shared->told[code], observer.exits_by_code[code]);
    }
    check_int(observer.forks, observer.exits);
    check_int(observer.exits, shared->reaped + shared->stolen);
    check(shared->lost <= (kernel_keeps_status() ? 0 : shared->stolen));
    check(shared->lost_adopted <= shared->stolen);
    check(did_all(shared) && shared->rotations > 0);
    munmap(shared, sizeof(*shared));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_families),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
