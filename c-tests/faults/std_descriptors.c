/*
 * A daemon is started with descriptors 0, 1 and 2 closed, and opens /dev/null there later:
 * no descriptor of the library may have these numbers.
 */
#include "support/test.h"

#include <fcntl.h>

#include "support/spawn.h"

/* Which of 0, 1 and 2 are open: a bit for each. */
static unsigned standard_three(void)
{
    unsigned opened = 0;
    int i;

    for (i = 0; i < 3; i++) {
        opened |= fcntl(i, F_GETFD) == -1 ? 0 : 1u << i;
    }
    return opened;
}

/* What daemonize() does in every daemon. */
static void null_onto_the_standard_three(void)
{
    int fd = open("/dev/null", O_RDWR);
    int i;

    check(fd != -1);
    for (i = 0; i < 3; i++) {
        check_int(dup2(fd, i), i);
    }
    if (fd > 2) {
        check_ok(close(fd));
    }
}

static void close_but(unsigned opened)
{
    int i;

    for (i = 0; i < 3; i++) {
        if ((opened & 1u << i) == 0) {
            check_ok(close(i));
        }
    }
}

static void tell(struct loop *loop, struct sss_child_ctx *child, struct seen *seen, int end)
{
    loop_until(loop, &seen->calls, 1);
    check_int(seen->calls, 1);
    check_int(seen->status, status_of(end));
    check_ok(sss_child_free(child));
}

struct started {
    struct way way;
    unsigned opened;
};

static void start_and_daemonize(void *arg)
{
    const struct started *started = arg;
    static const char *const argv[] = { "true", NULL };
    struct sss_child_ctx *registered, *spawned, *held;
    struct seen seen[3] = { 0 };
    struct sss_spawn spawn = spawn_zero();
    struct sss_sigchild_ctx *ctx;
    struct loop loop;
    struct gate gate;
    int ctxfd;

    gate_make(&gate);
    close_but(started->opened);
    ctx = ctx_make(started->way.scope, 0);
    if (started->way.waking & WAKE_DESCRIPTOR) {
        check_ok(sss_sigchld_ctx_fd(ctx, &ctxfd));
    }
    check_int(standard_three(), started->opened);
    /* The test's own signalfd must have a higher number too. */
    null_onto_the_standard_three();
    loop_start(&loop, ctx, started->way.waking);
    close_but(started->opened);
    check_int(standard_three(), started->opened);

    check_ok(sss_child_register(NULL, loop.ctx, child_at(&gate, 4), see, &seen[0], &registered));
    spawn.path = "/bin/true";
    spawn.argv = argv;
    spawn.mask |= SSS_SPAWN_FDS; /* none */
    check_ok(sss_child_spawn(NULL, loop.ctx, &spawn, see, &seen[1], &spawned));
    spawn.mask |= SSS_SPAWN_GATE;
    check_ok(sss_child_spawn(NULL, loop.ctx, &spawn, see, &seen[2], &held));
    check_int(standard_three(), started->opened);

    null_onto_the_standard_three();
    tell(&loop, spawned, &seen[1], 0);
    gate_open(&gate);
    tell(&loop, registered, &seen[0], 4);
    check_ok(sss_child_open_gate(held));
    tell(&loop, held, &seen[2], 0);
    loop_end(&loop);
    check_no_children();
    check_int(standard_three(), 7);
}

static void none_of_ours(void **state)
{
    size_t way;
    unsigned opened;

    (void)state;
    for (way = 0; way < ARRAY_SIZE(ways); way++) {
        for (opened = 0; opened < 8; opened++) {
            struct started started = { .way = ways[way], .opened = opened };

            in_child(start_and_daemonize, &started);
        }
    }
}

/* This holds for a log's descriptors too, which its threads use. */
static void open_log(void *opened)
{
    struct sss_log_params params = { .size = sizeof(params) };
    struct sss_sigchild_ctx *ctx = ctx_make(SSS_SCOPE_REGISTERED, 0);
    struct sss_log *log;
    int fd = open("/dev/null", O_WRONLY | O_CLOEXEC), writes;

    check(fd != -1);
    params.target = SSS_LOG_TO_FD;
    params.mask = SSS_LOG_FD;
    params.fd = fd;
    close_but(*(unsigned *)opened);
    check_ok(sss_log_open(NULL, ctx, &params, &log));
    check_ok(sss_log_pipe(log, NULL, &writes, NULL));
    check_int(standard_three(), *(unsigned *)opened);
    check_ok(close(writes) | sss_log_free(log) | sss_sigchld_ctx_free(ctx));
}

static void none_of_a_log_s(void **state)
{
    unsigned opened;

    (void)state;
    for (opened = 0; opened < 8; opened++) {
        in_child(open_log, &opened);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(none_of_ours),
        cmocka_unit_test(none_of_a_log_s),
    };

    return RUN_BOTH_MANNERS(tests);
}
