/*
 * A child that is being spawned, and unknown children: another thread that looks
 * after these may reap it before it is registered, and must not be told of it.
 */
#include "support/test.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/sendfile.h>
#include <sys/stat.h>

#include "support/spawn.h"

struct watcher {
    struct sss_sigchild_ctx *all;
    pthread_t thread;
    atomic_bool over;
    unsigned unknown;
    pid_t pid;
};

static uint32_t count_unknown(int pid, int wait_status, void *pvt)
{
    struct watcher *watcher = pvt;

    (void)wait_status;
    watcher->unknown++;
    watcher->pid = pid;
    return SSS_UNKNOWN_TAKEN;
}

static struct sss_sigchild_ctx *watching_all(struct watcher *watcher)
{
    struct sss_ctx_params params = params_zero();
    struct sss_sigchild_ctx *ctx = NULL;

    params.mask = SSS_CTX_PARAM_SCOPE;
    params.scope = SSS_SCOPE_ALL;
    params.unknown_fn = count_unknown;
    params.unknown_pvt = watcher;
    check_ok(sss_sigchld_ctx_create(&params, &ctx));
    return ctx;
}

static void *walk(void *pvt)
{
    struct watcher *watcher = pvt;

    while (!atomic_load(&watcher->over)) {
        sss_child_handler(NULL, NULL, SIGCHLD, 1, NULL, watcher->all);
        sched_yield();
    }
    return NULL;
}

static void watcher_start(struct watcher *watcher)
{
    memset(watcher, 0, sizeof(*watcher));
    watcher->all = watching_all(watcher);
    check_ok(pthread_create(&watcher->thread, NULL, walk, watcher));
}

/* Once it has looked at all there is. */
static void watcher_end(struct watcher *watcher)
{
    atomic_store(&watcher->over, true);
    check_ok(pthread_join(watcher->thread, NULL));
    sss_child_handler(NULL, NULL, SIGCHLD, 1, NULL, watcher->all);
}

static int rounds(void)
{
    return test_profile_is("plain") ? 1000 : 50;
}

/* Held by a pidfd from the start. */
static void the_spawned_is_none(void **state)
{
    struct watcher watcher;
    struct loop loop;
    int i;

    (void)state;
    loop_start(&loop, ctx_untrusted(SSS_SCOPE_REGISTERED), WAKE_DESCRIPTOR);
    watcher_start(&watcher);
    for (i = 0; i < rounds(); i++) {
        struct seen seen = { 0 };
        struct sss_child_ctx *child = spawn_at(loop.ctx, NULL, i % 256, see, &seen);

        loop_until(&loop, &seen.calls, 1);
        check_seen(&seen, seen.pid, i % 256);
        check_ok(sss_child_free(child));
    }
    watcher_end(&watcher);
    check_int(watcher.unknown, 0);
    check_int(stats_of(watcher.all).parked, 0);
    check_ok(sss_sigchld_ctx_free(watcher.all));
    loop_end(&loop);
}

/* A held one is an ordinary child, also one that fails before it is held. */
static void the_failed_is_none(void **state)
{
    static const char *const argv[] = { "ends", "0", NULL };
    struct sss_spawn spawn = spawn_zero();
    struct sss_child_ctx *child = NULL;
    struct watcher watcher;
    uint32_t step;
    int i;

    (void)state;
    spawn.mask |= SSS_SPAWN_GATE;
    spawn.path = "/bin/true";
    spawn.argv = argv;
    spawn.cwd = "/nonexistent";
    spawn.failed_step = &step;
    watcher_start(&watcher);
    for (i = 0; i < rounds(); i++) {
        step = 0;
        check_int(sss_child_spawn(NULL, watcher.all, &spawn, see, NULL, &child), ENOENT);
        check_int(step, SSS_SPAWN_STEP_CWD);
    }
    watcher_end(&watcher);
    check_int(watcher.unknown, 0);
    check_int(stats_of(watcher.all).parked, 0);
    check_ok(sss_sigchld_ctx_free(watcher.all));
}

/* A program whose exec waits for the holder of a lease on its file. */
struct leased {
    char path[64];
    int fd;
};

static void lease(struct leased *leased)
{
    char *helper = helper_path("ends");
    int from = open(helper, O_RDONLY | O_CLOEXEC);
    struct stat stat;
    int to;

    strcpy(leased->path, "/tmp/sss_sigchld-leased-XXXXXX");
    to = mkostemp(leased->path, O_CLOEXEC);
    check(from >= 0 && to >= 0);
    check_ok(fstat(from, &stat));
    check_int(sendfile(to, from, NULL, (size_t)stat.st_size), stat.st_size);
    check_ok(fchmod(to, 0700));
    /* One that is open for writing cannot be executed. */
    check_ok(close(to));
    leased->fd = open(leased->path, O_RDONLY | O_CLOEXEC);
    check(leased->fd >= 0);
    check(signal(SIGIO, SIG_IGN) != SIG_ERR);
    check_ok(fcntl(leased->fd, F_SETLEASE, F_WRLCK));
    close(from);
    free(helper);
}

static void await_exec(const struct leased *leased)
{
    int64_t deadline = now_ms() + DEADLINE_MS;

    while (fcntl(leased->fd, F_GETLEASE) == F_WRLCK) {
        check(now_ms() < deadline);
        sched_yield();
    }
}

static void unlease(struct leased *leased)
{
    check_ok(fcntl(leased->fd, F_SETLEASE, F_UNLCK));
    close(leased->fd);
    check(signal(SIGIO, SIG_DFL) != SIG_ERR);
}

struct spawner {
    struct sss_sigchild_ctx *ctx;
    struct sss_child_ctx *child;
    struct seen seen;
    const char *path;
    atomic_bool returned;
};

static void *spawn_leased(void *pvt)
{
    static const char *const argv[] = { "ends", "7", NULL };
    struct spawner *spawner = pvt;
    struct sss_spawn spawn = spawn_zero();

    spawn.mask |= SSS_SPAWN_FDS;
    spawn.path = spawner->path;
    spawn.argv = argv;
    check_ok(sss_child_spawn(NULL, spawner->ctx, &spawn, see, &spawner->seen, &spawner->child));
    atomic_store(&spawner->returned, true);
    return NULL;
}

static void one_that_hangs_puts_them_off_for_a_while(void **state)
{
    struct watcher watcher = { .unknown = 0 };
    struct spawner spawner = { .ctx = ctx_make(SSS_SCOPE_REGISTERED, 0) };
    const enum waking *waking = *state;
    struct loop loop, spawners;
    struct leased leased;
    pthread_t thread;
    pid_t pid;

    loop_start(&spawners, spawner.ctx, WAKE_DESCRIPTOR);
    loop_start(&loop, watching_all(&watcher), *waking);
    lease(&leased);
    spawner.path = leased.path;
    check_ok(pthread_create(&thread, NULL, spawn_leased, &spawner));
    await_exec(&leased);

    pid = child_dead(3);
    loop_until(&loop, &watcher.unknown, 1);
    check_int(watcher.pid, pid);
    check(!atomic_load(&spawner.returned));

    unlease(&leased);
    check_ok(pthread_join(thread, NULL));
    loop_until(&spawners, &spawner.seen.calls, 1);
    check_seen(&spawner.seen, spawner.seen.pid, 7);
    check_ok(sss_child_free(spawner.child));
    check_ok(unlink(leased.path));
    loop_end(&loop);
    loop_end(&spawners);
}

static enum waking by_signal = WAKE_SIGNAL, by_descriptor = WAKE_DESCRIPTOR;

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_spawned_is_none),
        cmocka_unit_test(the_failed_is_none),
        cmocka_unit_test_prestate(one_that_hangs_puts_them_off_for_a_while, &by_signal),
        cmocka_unit_test_prestate(one_that_hangs_puts_them_off_for_a_while, &by_descriptor),
    };

    return RUN_BOTH_MANNERS(tests);
}
