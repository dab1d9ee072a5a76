/*
 * Spawns from four threads while others open and close descriptors, fork and exec,
 * and change handlers and masks; handlers under a storm of signals; cancellation.
 */
#include "support/test.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "support/spawn.h"

enum { SPAWNERS = 4 };

/* Tools under which each fork takes long. */
static bool is_slow(void)
{
    return test_profile_is("valgrind") || test_profile_is("tsan");
}

/* How many in all, the most where there is no pidfd. */
static int spawns(const struct loop *loop)
{
    if (is_slow()) {
        return 80;
    }
    if (!test_profile_is("plain")) {
        return 400;
    }
    return loop->ctxfd == -1 ? 10000 : 1000;
}

struct work {
    struct loop *loop;
    int count; /* of each spawner */
    char *helper;
    atomic_int working;
    atomic_uint told;
    atomic_bool over;
    uint32_t mask;
};

/* One spawned child. */
struct spawned {
    struct work *work;
    struct sss_child_ctx *child;
    atomic_int calls;
    int status;
};

static void told(int pid, int wait_status, void *pvt)
{
    struct spawned *spawned = pvt;

    (void)pid;
    spawned->status = wait_status;
    atomic_fetch_add(&spawned->calls, 1);
    atomic_fetch_add(&spawned->work->told, 1);
}

/* Every third child has no map, every third an empty one but for its errors. */
static void spawn_listing(struct spawned *spawned, int round, int source)
{
    static const char *const standard[] = { "only_fds", "0", "1", "2", NULL };
    static const char *const errors[] = { "only_fds", "2", NULL };
    static const char *const mapped[] = { "only_fds", "2", "5", "9", NULL };
    const struct sss_spawn_fd map[] = { { 2, 2 }, { source, 5 }, { 0, 9 } };
    struct sss_spawn spawn = spawn_zero();
    uint32_t step = 0;
    errno_t ret;

    spawn.mask |= spawned->work->mask;
    spawn.path = spawned->work->helper;
    spawn.fds = map;
    spawn.failed_step = &step;
    switch (round % 3) {
    case 0:
        spawn.argv = standard;
        break;
    case 1:
        spawn.argv = errors;
        spawn.mask |= SSS_SPAWN_FDS;
        spawn.fds_count = 1;
        break;
    default:
        spawn.argv = mapped;
        spawn.mask |= SSS_SPAWN_FDS;
        spawn.fds_count = 3;
    }
    ret = sss_child_spawn(NULL, spawned->work->loop->ctx, &spawn, told, spawned,
                          &spawned->child);
    if (ret != 0) {
        fprintf(stderr, "step %u: %s\n", step, strerror(ret));
    }
    check_ok(ret);
    if (spawn.mask & SSS_SPAWN_GATE) {
        check_ok(sss_child_open_gate(spawned->child));
    }
}

/* No more at once than a small machine can take. */
static void await_few(const struct spawned *list, int begun)
{
    enum { FEW = 16 };
    int64_t deadline = now_ms() + DEADLINE_MS;

    while (begun >= FEW && atomic_load(&list[begun - FEW].calls) == 0) {
        check(now_ms() < deadline);
        sched_yield();
    }
}

static void *spawn_many(void *pvt)
{
    struct work *work = pvt;
    struct spawned *list = calloc((size_t)work->count, sizeof(*list));
    int source = open("/dev/null", O_RDONLY | O_CLOEXEC);
    int64_t deadline;
    int i;

    check(list != NULL);
    check(source != -1);
    for (i = 0; i < work->count; i++) {
        list[i].work = work;
        spawn_listing(&list[i], i, source);
        await_few(list, i);
    }
    deadline = now_ms() + DEADLINE_MS;
    for (i = 0; i < work->count; i++) {
        while (atomic_load(&list[i].calls) == 0) {
            check(now_ms() < deadline);
            sched_yield();
        }
    }
    for (i = 0; i < work->count; i++) {
        check_int(atomic_load(&list[i].calls), 1);
        check_int(list[i].status, 0);
        check_ok(sss_child_free(list[i].child));
    }
    check_ok(close(source));
    free(list);
    atomic_fetch_sub(&work->working, 1);
    return NULL;
}

/* Descriptors that are not close-on-exec, low and high. */
static void *open_and_close(void *pvt)
{
    struct work *work = pvt;
    int ends[2];
    int high;

    while (!atomic_load(&work->over)) {
        check_ok(pipe(ends));
        high = fcntl(ends[0], F_DUPFD, 300);
        check(high != -1);
        check_ok(close(ends[0]));
        sched_yield();
        check_ok(close(high));
        check_ok(close(ends[1]));
    }
    return NULL;
}

/* In scope ALL these children may be waited for by the library. */
static void *fork_and_exec(void *pvt)
{
    struct work *work = pvt;
    int status;
    pid_t pid;

    while (!atomic_load(&work->over)) {
        pid = fork();
        check(pid != -1);
        if (pid == 0) {
            execl("/bin/true", "true", NULL);
            _exit(EXIT_FAILURE);
        }
        if (waitpid(pid, &status, 0) == pid) {
            check_int(status, 0);
        } else {
            check_int(errno, ECHILD);
        }
    }
    return NULL;
}

static void handle(int signum)
{
    (void)signum;
}

static void *change_signals(void *pvt)
{
    struct work *work = pvt;
    struct sigaction action, old;
    sigset_t all;
    bool odd = false;

    sigfillset(&all);
    while (!atomic_load(&work->over)) {
        memset(&action, 0, sizeof(action));
        action.sa_handler = odd ? handle : SIG_IGN;
        check_ok(sigaction(SIGUSR1, &action, &old));
        check(old.sa_handler == handle || old.sa_handler == SIG_IGN
              || old.sa_handler == SIG_DFL);
        check_ok(pthread_sigmask(odd ? SIG_BLOCK : SIG_UNBLOCK, &all, NULL));
        odd = !odd;
        sched_yield();
    }
    return NULL;
}

static void spawn_beside(struct loop *loop, uint32_t mask, int count)
{
    static void *(*const others[])(void *) = {
        open_and_close, open_and_close, fork_and_exec, change_signals,
    };
    struct work work = { .loop = loop, .mask = mask, .count = count / SPAWNERS };
    pthread_t spawners[SPAWNERS], beside[ARRAY_SIZE(others)];
    size_t i;

    work.helper = helper_path("only_fds");
    atomic_store(&work.working, SPAWNERS);
    for (i = 0; i < ARRAY_SIZE(others); i++) {
        check_ok(pthread_create(&beside[i], NULL, others[i], &work));
    }
    for (i = 0; i < SPAWNERS; i++) {
        check_ok(pthread_create(&spawners[i], NULL, spawn_many, &work));
    }
    while (atomic_load(&work.working) > 0) {
        loop_turn(loop, 10);
    }
    atomic_store(&work.over, true);
    for (i = 0; i < SPAWNERS; i++) {
        check_ok(pthread_join(spawners[i], NULL));
    }
    for (i = 0; i < ARRAY_SIZE(others); i++) {
        check_ok(pthread_join(beside[i], NULL));
    }
    check(signal(SIGUSR1, SIG_DFL) != SIG_ERR);
    loop_settle(loop);
    while (waitid(P_ALL, 0, &(siginfo_t){ 0 }, WEXITED | WNOWAIT | WNOHANG) == 0) {
        loop_turn(loop, 10);
    }
    check_int(atomic_load(&work.told), work.count * SPAWNERS);
    check_int(stats_of(loop->ctx).watches, 0);
    check_int(stats_of(loop->ctx).lost, 0);
    free(work.helper);
}

/* A child forked beside other threads inherits locks that ThreadSanitizer's runtime held in
 * those threads, and nobody releases them there; a child that shares memory does not. */
static void forks_needed(void)
{
    if (test_profile_is("tsan")) {
        test_skip("tsan", "a forked child inherits the tool's locks");
    }
}

static void each_lists_its_map(void **state)
{
    if (test_profile_is("tsan")) {
        check_ok(unsetenv("SSS_SIGCHLD_SPAWN_FORK"));
    }
    spawn_beside(*state, 0, spawns(*state));
}

static void each_lists_its_map_by_fork(void **state)
{
    forks_needed();
    spawn_beside(*state, SSS_SPAWN_FORK, is_slow() ? 40 : 400);
}

static void each_lists_its_map_after_its_gate(void **state)
{
    forks_needed();
    spawn_beside(*state, SSS_SPAWN_GATE, is_slow() ? 40 : 400);
}

/* The daemon's handler tells who ran it. */
struct ran {
    atomic_int daemon;
    atomic_ulong by_daemon;
    atomic_ulong by_others;
};

static struct ran *ran;

static void tell_who(int signum)
{
    (void)signum;
    if (syscall(SYS_getpid) == atomic_load(&ran->daemon)) {
        atomic_fetch_add(&ran->by_daemon, 1);
    } else {
        atomic_fetch_add(&ran->by_others, 1);
    }
}

/* Signals that a program ignores, to the whole group, until the pipe's end. */
static pid_t start_storm(struct gate *gate)
{
    static const int storm[] = { SIGURG, SIGWINCH };
    pid_t pid;
    unsigned i;
    char byte;

    gate_make(gate);
    check_int(fcntl(gate->rd, F_SETFL, O_NONBLOCK), 0);
    pid = fork();
    check(pid != -1);
    if (pid != 0) {
        return pid;
    }
    signal(SIGURG, SIG_IGN);
    signal(SIGWINCH, SIG_IGN);
    close(gate->wr);
    for (i = 0; read(gate->rd, &byte, 1) == -1; i++) {
        kill(0, storm[i % 2]);
    }
    _exit(EXIT_SUCCESS);
}

static void take_signals(void)
{
    struct sigaction action;

    memset(&action, 0, sizeof(action));
    action.sa_handler = tell_who;
    action.sa_flags = SA_RESTART;
    check_ok(sigaction(SIGURG, &action, NULL));
    check_ok(sigaction(SIGWINCH, &action, NULL));
}

static void spawn_in_storm(void *pvt)
{
    static const uint32_t masks[] = { 0, SSS_SPAWN_FORK, SSS_SPAWN_GATE };
    int rounds = test_profile_is("plain") ? 300 : 30;
    struct sss_sigchild_ctx *ctx = ctx_make(SSS_SCOPE_REGISTERED, 0);
    struct sss_child_ctx *child;
    struct gate gate;
    struct loop loop;
    pid_t storm;
    int i;

    (void)pvt;
    check_ok(setpgid(0, 0));
    atomic_store(&ran->daemon, getpid());
    take_signals();
    storm = start_storm(&gate);
    loop_start(&loop, ctx, WAKE_DESCRIPTOR);
    for (i = 0; i < rounds; i++) {
        struct sss_spawn spawn = spawn_zero();
        struct seen seen = { 0 };

        spawn.mask |= masks[i % ARRAY_SIZE(masks)];
        child = spawn_so_at(ctx, &spawn, NULL, i % 100, see, &seen);
        if (spawn.mask & SSS_SPAWN_GATE) {
            check_ok(sss_child_open_gate(child));
        }
        loop_until(&loop, &seen.calls, 1);
        check_seen(&seen, seen.pid, i % 100);
        check_ok(sss_child_free(child));
    }
    loop_end(&loop);
    gate_open(&gate);
    reap(storm, 0);
}

static void handlers_run_in_the_daemon_only(void **state)
{
    (void)state;
    ran = mmap(NULL, sizeof(*ran), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    check(ran != MAP_FAILED);
    in_child(spawn_in_storm, NULL);
    check(atomic_load(&ran->by_daemon) > 0);
    check_int(atomic_load(&ran->by_others), 0);
    check_ok(munmap(ran, sizeof(*ran)));
}

/* A thread that is cancelled: no call here is a cancellation point. */
struct cancelled {
    struct loop *loop;
    struct spawned *list;
    atomic_int begun; /* spawns that were called */
    atomic_int done;  /* that returned */
    struct work work;
};

enum { CANCELLED_MAX = 4000 };

static void spawn_next(struct cancelled *cancelled)
{
    static const uint32_t masks[] = { 0, SSS_SPAWN_FORK, SSS_SPAWN_GATE };
    int i = atomic_fetch_add(&cancelled->begun, 1);
    struct spawned *spawned = &cancelled->list[i];
    static const char *const argv[] = { "none", NULL };
    struct sss_spawn spawn = spawn_zero();
    struct sss_child_ctx *none;

    spawned->work = &cancelled->work;
    spawn.mask |= masks[i % ARRAY_SIZE(masks)];
    spawned->child = spawn_so_at(cancelled->loop->ctx, &spawn, NULL, 0, told, spawned);
    if (spawn.mask & SSS_SPAWN_GATE) {
        check_ok(sss_child_open_gate(spawned->child));
    }
    spawn.mask &= ~(uint32_t)SSS_SPAWN_GATE;
    spawn.fds_count = 0;
    spawn.path = "/nonexistent";
    spawn.argv = argv;
    check_int(sss_child_spawn(NULL, cancelled->loop->ctx, &spawn, NULL, NULL, &none), ENOENT);
    atomic_fetch_add(&cancelled->done, 1);
}

static void *spawn_cancelled_already(void *pvt)
{
    check_ok(pthread_cancel(pthread_self()));
    spawn_next(pvt);
    spawn_next(pvt);
    spawn_next(pvt);
    pthread_testcancel();
    return NULL;
}

static void *spawn_until_cancelled(void *pvt)
{
    struct cancelled *cancelled = pvt;

    while (atomic_load(&cancelled->begun) < CANCELLED_MAX) {
        spawn_next(cancelled);
        pthread_testcancel();
    }
    pause(); /* until it is cancelled */
    return NULL;
}

/* Cancelled at any instruction, but for these. */
static void *spawn_disabled(void *pvt)
{
    int old;

    check_ok(pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &old));
    check_ok(pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, &old));
    check_ok(pthread_cancel(pthread_self()));
    spawn_next(pvt);
    spawn_next(pvt);
    spawn_next(pvt);
    check_ok(pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &old));
    pthread_testcancel();
    return NULL;
}

static void join_cancelled(struct cancelled *cancelled, pthread_t thread)
{
    unsigned count;
    void *result;
    unsigned i;

    check_ok(pthread_join(thread, &result));
    check(result == PTHREAD_CANCELED);
    check_int(atomic_load(&cancelled->begun), atomic_load(&cancelled->done));
    count = (unsigned)atomic_load(&cancelled->done);
    for (i = 0; i < count; i++) {
        int64_t deadline = now_ms() + DEADLINE_MS;

        while (atomic_load(&cancelled->list[i].calls) == 0) {
            check(now_ms() < deadline);
            loop_turn(cancelled->loop, 10);
        }
        check_int(cancelled->list[i].status, 0);
        check_ok(sss_child_free(cancelled->list[i].child));
    }
    loop_settle(cancelled->loop);
    check_int(atomic_load(&cancelled->work.told), count);
    check_int(stats_of(cancelled->loop->ctx).watches, 0);
    check_no_children();
}

static void cancel_one(struct loop *loop, void *(*fn)(void *))
{
    struct cancelled cancelled = { .loop = loop };
    pthread_t thread;
    int64_t deadline = now_ms() + DEADLINE_MS;

    cancelled.list = calloc(CANCELLED_MAX, sizeof(*cancelled.list));
    check(cancelled.list != NULL);
    check_ok(pthread_create(&thread, NULL, fn, &cancelled));
    if (fn == spawn_until_cancelled) {
        while (atomic_load(&cancelled.begun) < 5) {
            check(now_ms() < deadline);
            loop_turn(loop, 0);
        }
        check_ok(pthread_cancel(thread));
    }
    join_cancelled(&cancelled, thread);
    free(cancelled.list);
}

static void a_cancelled_thread(void **state)
{
    int rounds = test_profile_is("plain") ? 10 : 2;
    int i;

    cancel_one(*state, spawn_cancelled_already);
    cancel_one(*state, spawn_disabled);
    for (i = 0; i < rounds; i++) {
        cancel_one(*state, spawn_until_cancelled);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        EACH_WAY(each_lists_its_map),
        ONE_WAY(each_lists_its_map_by_fork, "_all_signal", 0),
        ONE_WAY(each_lists_its_map_by_fork, "_registered_descriptor", 4),
        ONE_WAY(each_lists_its_map_after_its_gate, "_all_signal", 0),
        ONE_WAY(each_lists_its_map_after_its_gate, "_registered_descriptor", 4),
        EACH_WAY(a_cancelled_thread),
        cmocka_unit_test(handlers_run_in_the_daemon_only),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
