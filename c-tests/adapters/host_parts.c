/*
 * A host that leaves functions out: then the library allocates for itself and wakes the loop
 * by its descriptor. The host of these tests is a poll loop.
 */
#include "support/test.h"

#include <poll.h>
#include <pthread.h>
#include <sys/signalfd.h>

/* One descriptor and what is to be called for it. */
struct watch {
    int fd;
    bool signal;
    void (*readable)(void *arg);
    void *arg;
};

struct pollers {
    struct watch watches[2];
    unsigned watched;
    unsigned deferred; /* calls of defer() */
    void (*fn)(void *arg);
    void *arg;
    bool due;
};

static struct pollers pollers;

static errno_t add(int fd, bool signal, void (*readable)(void *arg), void *arg, void **watch)
{
    struct watch *place = pollers.watches[0].fd == -1 ? &pollers.watches[0] : &pollers.watches[1];

    check_int(place->fd, -1);
    *place = (struct watch){ .fd = fd, .signal = signal, .readable = readable, .arg = arg };
    pollers.watched++;
    *watch = place;
    return 0;
}

static errno_t watch_fd(void *owner, void *loop, int fd, void (*readable)(void *arg), void *arg,
                        void **watch)
{
    check(owner != NULL);
    check(loop == &pollers);
    return add(fd, false, readable, arg, watch);
}

static void signal_seen(void *arg)
{
    check_ok(sss_sigchld_ctx_signalled(arg, NULL));
}

static errno_t watch_sigchld(void *owner, void *loop, struct sss_sigchild_ctx *ctx, void **watch)
{
    sigset_t set;

    (void)owner;
    (void)loop;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    check_ok(sigprocmask(SIG_BLOCK, &set, NULL));
    return add(signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK), true, signal_seen, ctx, watch);
}

static void unwatch(void *watch)
{
    struct watch *place = watch;

    if (place->signal) {
        sigset_t set;

        check_ok(close(place->fd));
        sigemptyset(&set);
        sigaddset(&set, SIGCHLD);
        check_ok(sigprocmask(SIG_UNBLOCK, &set, NULL));
    }
    place->fd = -1;
    pollers.watched--;
}

static void *defer_new(void *owner, void *loop, void (*fn)(void *arg), void *arg)
{
    (void)owner;
    pollers.fn = fn;
    pollers.arg = arg;
    return loop;
}

static void defer(void *deferral)
{
    check(deferral == &pollers);
    pollers.due = true;
    pollers.deferred++;
}

static void defer_free(void *deferral)
{
    check(deferral == &pollers);
    pollers.fn = NULL;
}

static void *alloc_never(void *parent, size_t size, const char *type, void (*gone)(void *memory))
{
    (void)parent;
    (void)size;
    (void)type;
    (void)gone;
    return NULL;
}

static int free_never(void *memory)
{
    (void)memory;
    return -1;
}

static struct sss_host bare_host(void)
{
    struct sss_host host = { .size = sizeof(host), .watch_fd = watch_fd, .unwatch = unwatch };

    return host;
}

static errno_t create(const struct sss_host *host, void *memctx, struct sss_sigchild_ctx **ctx)
{
    struct sss_ctx_params params = params_zero();

    params.host = host;
    params.loop = &pollers;
    params.memctx = memctx;
    return sss_sigchld_ctx_create(&params, ctx);
}

static struct sss_sigchild_ctx *made(const struct sss_host *host)
{
    struct sss_sigchild_ctx *ctx;

    check_ok(create(host, NULL, &ctx));
    return ctx;
}

static void turn(void)
{
    struct pollfd fds[2];
    unsigned i;

    if (pollers.due) {
        pollers.due = false;
        pollers.fn(pollers.arg);
        return;
    }
    for (i = 0; i < 2; i++) {
        fds[i] = (struct pollfd){ .fd = pollers.watches[i].fd, .events = POLLIN };
    }
    check(poll(fds, 2, DEADLINE_MS) > 0);
    for (i = 0; i < 2; i++) {
        if (fds[i].revents != 0 && pollers.watches[i].fd == fds[i].fd) {
            struct signalfd_siginfo info;
            struct watch watch = pollers.watches[i];

            if (watch.signal) {
                check_int(read(watch.fd, &info, sizeof(info)), sizeof(info));
            }
            watch.readable(watch.arg);
            return;
        }
    }
}

static int setup(void **state)
{
    (void)state;
    memset(&pollers, 0, sizeof(pollers));
    pollers.watches[0].fd = pollers.watches[1].fd = -1;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    check_int(pollers.watched, 0);
    check_no_children();
    return 0;
}

static void tell_of_some(struct sss_sigchild_ctx *ctx)
{
    struct seen seen = { 0 }, dead = { 0 };
    struct sss_child_ctx *child;
    struct gate gate;
    pid_t pid;

    gate_make(&gate);
    pid = child_at(&gate, 4);
    check_ok(sss_child_register(NULL, ctx, pid, see, &seen, &child));
    check_ok(sss_child_register(NULL, ctx, child_dead(5), see, &dead, NULL));
    while (dead.calls == 0) {
        turn();
    }
    check_int(dead.status, status_of(5));
    check_int(seen.calls, 0);
    gate_open(&gate);
    while (seen.calls == 0) {
        turn();
    }
    check_seen(&seen, pid, 4);
    check_ok(sss_child_free(child));
}

static void only_a_descriptor(void **state)
{
    struct sss_host host = bare_host();
    struct sss_sigchild_ctx *ctx = made(&host);

    (void)state;
    tell_of_some(ctx);
    check_ok(sss_sigchld_ctx_free(ctx));
}

static void a_descriptor_and_the_signal(void **state)
{
    struct sss_host host = bare_host();
    struct sss_sigchild_ctx *ctx;

    (void)state;
    host.watch_sigchld = watch_sigchld;
    ctx = made(&host);
    tell_of_some(ctx);
    check_ok(sss_sigchld_ctx_free(ctx));
}

static void a_deferral_but_no_memory(void **state)
{
    struct sss_host host = bare_host();
    struct sss_sigchild_ctx *ctx;

    (void)state;
    host.watch_sigchld = watch_sigchld;
    host.defer_new = defer_new;
    host.defer = defer;
    host.defer_free = defer_free;
    ctx = made(&host);
    tell_of_some(ctx);
    check(pollers.deferred > 0);
    check_ok(sss_sigchld_ctx_free(ctx));
    check(pollers.fn == NULL);
}

/* Without a deferral the callbacks come before the handler returns. */
static void the_signal_calls_back_at_once(void **state)
{
    struct sss_host host = bare_host();
    struct sss_sigchild_ctx *ctx;
    struct seen seen = { 0 };
    struct gate gate;
    pid_t pid;

    (void)state;
    host.watch_sigchld = watch_sigchld;
    ctx = made(&host);
    gate_make(&gate);
    pid = child_at(&gate, 1);
    check_ok(sss_child_register(NULL, ctx, pid, see, &seen, NULL));
    gate_open(&gate);
    await_zombie(pid);
    check_ok(sss_sigchld_ctx_signalled(ctx, NULL));
    check_seen(&seen, pid, 1);
    check_ok(sss_sigchld_ctx_free(ctx));
}

static void free_ctx(int pid, int wait_status, void *pvt)
{
    struct sss_sigchild_ctx **ctx = pvt;

    (void)pid;
    (void)wait_status;
    check_ok(sss_sigchld_ctx_free(*ctx));
    *ctx = NULL;
}

static void the_context_is_freed_in_its_callback(void **state)
{
    struct sss_host host = bare_host();
    struct sss_sigchild_ctx *ctx;
    bool by_signal;

    (void)state;
    for (by_signal = false;; by_signal = true) {
        host.watch_sigchld = by_signal ? watch_sigchld : NULL;
        ctx = made(&host);
        check_ok(sss_child_register(NULL, ctx, child_at(NULL, 0), free_ctx, &ctx, NULL));
        while (ctx != NULL) {
            turn();
        }
        check_int(pollers.watched, 0);
        if (by_signal) {
            break;
        }
    }
}

static void half_a_pair_is_refused(void **state)
{
    struct sss_sigchild_ctx *ctx;
    struct sss_host host = bare_host();
    int memory = 0;

    (void)state;
    check_int(create(&host, &memory, &ctx), EINVAL); /* nothing that allocates below it */
    host.alloc = alloc_never;
    check_int(create(&host, NULL, &ctx), EINVAL);
    host.alloc = NULL;
    host.free = free_never;
    check_int(create(&host, NULL, &ctx), EINVAL);
    host.alloc = alloc_never;
    check_int(create(&host, NULL, &ctx), ENOMEM);
    host = bare_host();
    host.defer = defer;
    check_int(create(&host, NULL, &ctx), EINVAL);
    host.defer_new = defer_new;
    check_int(create(&host, NULL, &ctx), EINVAL);
    host.defer = NULL;
    host.defer_free = defer_free;
    check_int(create(&host, NULL, &ctx), EINVAL);
    host = bare_host();
    host.watch_fd = NULL;
    check_int(create(&host, NULL, &ctx), EINVAL);
    host = bare_host();
    host.unwatch = NULL;
    check_int(create(&host, NULL, &ctx), EINVAL);
}

static void *from_another_thread(void *ctx)
{
    struct sss_child_ctx *child;

    check_int(sss_child_register(NULL, ctx, getpid(), see, NULL, &child), EPERM);
    check_int(sss_child_reserve(NULL, ctx, &child), EPERM);
    check_int(sss_sigchld_ctx_signalled(ctx, NULL), EPERM);
    check_int(sss_sigchld_ctx_free(ctx), EPERM);
    return NULL;
}

static void another_thread_is_refused(void **state)
{
    struct sss_host host = bare_host();
    struct sss_sigchild_ctx *ctx = made(&host);
    pthread_t thread;

    (void)state;
    check_ok(pthread_create(&thread, NULL, from_another_thread, ctx));
    check_ok(pthread_join(thread, NULL));
    tell_of_some(ctx);
    check_ok(sss_sigchld_ctx_free(ctx));
}

#define ROW(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ROW(only_a_descriptor),
        ROW(a_descriptor_and_the_signal),
        ROW(a_deferral_but_no_memory),
        ROW(the_signal_calls_back_at_once),
        ROW(the_context_is_freed_in_its_callback),
        ROW(half_a_pair_is_refused),
        ROW(another_thread_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
