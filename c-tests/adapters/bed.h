/*
 * What the list of behaviours uses: an event loop, a way of waking a context on it, and the
 * check that nothing of either is left.
 */
#ifndef ADAPTERS_BED_H
#define ADAPTERS_BED_H

#include "support/test.h"

/* What a way of waking cannot do: a column of the list. */
enum {
    CANNOT_STOPS = 1,      /* only SIGCHLD tells of stops and continues */
    CANNOT_LOOPS = 2,      /* SIGCHLD is taken for one loop at a time */
    CANNOT_THREADS = 16,   /* loops of several threads share what is not locked */
    CANNOT_LOOP_FIRST = 4, /* the loop cannot go before the context */
    CANNOT_FORK = 32,      /* the loop does not work in a forked child */
    CANNOT_FORMER = 64,    /* the loop itself holds SIGCHLD */
    CANNOT_CONTEXTS = 8,   /* only one context of a loop can take SIGCHLD */
    CANNOT_MASK = 128,     /* the daemon itself blocks SIGCHLD */
    CANNOT_IGNORED = 256,  /* the daemon itself sees to it that SIGCHLD is not ignored */
    CANNOT_ORDER = 512,    /* of several contexts the last one must be freed first */
};

struct waking_on {
    const char *name;
    unsigned cannot;
    bool blocks; /* SIGCHLD is to be blocked before */
    bool leaves; /* a freed signal source still wakes the loop while a forked child has its
                    descriptor: libsystemd 252 aborts */
    const struct sss_host *(*host)(void);
    void *(*loop_new)(void);
    void (*loop_free)(void *loop);
    void (*turn)(void *loop);     /* blocks until something came */
    void (*turn_now)(void *loop); /* what is there */
    void (*after_fork)(void *loop); /* makes the loop ready in a forked child, or NULL */
    /* Without a host: called when a context comes and goes. */
    void (*ctx_comes)(void *loop, struct sss_sigchild_ctx *ctx);
    void (*ctx_goes)(void *loop, struct sss_sigchild_ctx *ctx);
};

struct bed {
    const struct waking_on *way;
    void *loop;
    struct sss_sigchild_ctx *ctx; /* of scope REGISTERED */
    unsigned fds;
    struct sigaction former;
};

struct behaviour {
    const char *name;
    void (*fn)(struct bed *bed);
    unsigned needs;
};

static inline struct sss_sigchild_ctx *bed_ctx_on(struct bed *bed, void *loop, uint32_t scope,
                                                  int options)
{
    struct sss_ctx_params params = params_zero();
    struct sss_sigchild_ctx *ctx = NULL;

    params.mask = SSS_CTX_PARAM_SCOPE | SSS_CTX_PARAM_OPTIONS;
    params.scope = scope;
    params.options = options;
    if (bed->way->host != NULL) {
        params.host = bed->way->host();
        params.loop = loop;
    }
    check_ok(sss_sigchld_ctx_create(&params, &ctx));
    if (bed->way->ctx_comes != NULL) {
        bed->way->ctx_comes(loop, ctx);
    }
    return ctx;
}

static inline void bed_ctx_free_on(struct bed *bed, void *loop, struct sss_sigchild_ctx *ctx)
{
    if (bed->way->ctx_goes != NULL) {
        bed->way->ctx_goes(loop, ctx);
    }
    check_ok(sss_sigchld_ctx_free(ctx));
}

static inline struct sss_sigchild_ctx *bed_ctx(struct bed *bed, uint32_t scope, int options)
{
    return bed_ctx_on(bed, bed->loop, scope, options);
}

static inline void bed_ctx_free(struct bed *bed, struct sss_sigchild_ctx *ctx)
{
    bed_ctx_free_on(bed, bed->loop, ctx);
}

/* Makes another one in place of bed->ctx, as not every way can have two. */
static inline void bed_ctx_instead(struct bed *bed, uint32_t scope, int options)
{
    bed_ctx_free(bed, bed->ctx);
    bed->ctx = bed_ctx(bed, scope, options);
}

/* One turn of the loop, which must come. */
static inline void bed_turn_of(struct bed *bed, void *loop)
{
    alarm(60); /* ends the program */
    bed->way->turn(loop);
    alarm(0);
}

static inline void bed_until(struct bed *bed, const unsigned *count, unsigned wanted)
{
    while (*count < wanted) {
        bed_turn_of(bed, bed->loop);
    }
    check_int(*count, wanted);
}

static inline void bed_settle(struct bed *bed)
{
    int i;

    for (i = 0; i < 8; i++) {
        bed->way->turn_now(bed->loop);
    }
}

static inline void bed_until_reaped(struct bed *bed, pid_t pid)
{
    while (is_child(pid)) {
        bed_turn_of(bed, bed->loop);
    }
    bed_settle(bed);
}

static inline struct sss_child_ctx *bed_watch(struct bed *bed, pid_t pid, sss_child_fn_t cb,
                                              void *pvt)
{
    struct sss_child_ctx *child = NULL;

    check_ok(sss_child_register(NULL, bed->ctx, pid, cb, pvt, &child));
    return child;
}

static inline void bed_mask(int how)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    check_ok(pthread_sigmask(how, &set, NULL));
}

static inline bool bed_blocked(void)
{
    sigset_t set;

    check_ok(pthread_sigmask(SIG_BLOCK, NULL, &set));
    return sigismember(&set, SIGCHLD) == 1;
}

/* Makes and frees a loop once before, for what libraries make once and keep. */
static inline void bed_warm(struct bed *bed)
{
    void *loop = bed->way->loop_new();
    struct sss_sigchild_ctx *ctx = bed_ctx_on(bed, loop, SSS_SCOPE_REGISTERED, 0);

    bed->way->turn_now(loop);
    bed_ctx_free_on(bed, loop, ctx);
    bed->way->turn_now(loop);
    bed->way->loop_free(loop);
}

static inline void bed_setup(struct bed *bed, const struct waking_on *way)
{
    memset(bed, 0, sizeof(*bed));
    bed->way = way;
    bed_mask(way->blocks ? SIG_BLOCK : SIG_UNBLOCK);
    bed_warm(bed);
    bed->fds = count_fds();
    check_ok(sigaction(SIGCHLD, NULL, &bed->former));
    bed->loop = way->loop_new();
    bed->ctx = bed_ctx(bed, SSS_SCOPE_REGISTERED, 0);
}

static inline void bed_teardown(struct bed *bed)
{
    struct sigaction now;

    if (bed->ctx != NULL) {
        bed_settle(bed);
        bed_ctx_free(bed, bed->ctx);
    }
    if (bed->loop != NULL) {
        bed->way->turn_now(bed->loop); /* libuv closes in a turn */
        bed->way->loop_free(bed->loop);
    }
    check_no_children();
    check_int(count_fds(), bed->fds);
    check_ok(sigaction(SIGCHLD, NULL, &now));
    check(now.sa_handler == bed->former.sa_handler);
    check_int(bed_blocked(), bed->way->blocks);
    bed_mask(SIG_UNBLOCK);
}

struct bed_test {
    const struct waking_on *way;
    const struct behaviour *behaviour;
};

static inline void bed_run_one(void **state)
{
    const struct bed_test *test = (const struct bed_test *)*state;
    struct bed bed;

    bed_setup(&bed, test->way);
    test->behaviour->fn(&bed);
    bed_teardown(&bed);
}

/* Every behaviour in every way that can do it, and a loop's own tests. */
static inline int bed_run(const struct waking_on *ways, size_t ways_count,
                          const struct behaviour *list, size_t count,
                          const struct CMUnitTest *own, size_t own_count)
{
    struct CMUnitTest *tests;
    struct bed_test *states;
    size_t made = 0, i, j;
    char *name;
    int failed;

    tests = (struct CMUnitTest *)calloc(ways_count * count + own_count, sizeof(*tests));
    states = (struct bed_test *)calloc(ways_count * count, sizeof(*states));
    check(tests != NULL && states != NULL);
    for (i = 0; i < ways_count; i++) {
        for (j = 0; j < count; j++) {
            if (list[j].needs & ways[i].cannot) {
                printf("%s cannot: %s\n", ways[i].name, list[j].name);
                continue;
            }
            check(asprintf(&name, "%s_%s", ways[i].name, list[j].name) != -1);
            states[made] = (struct bed_test){ &ways[i], &list[j] };
            tests[made].name = name;
            tests[made].test_func = bed_run_one;
            tests[made].initial_state = &states[made];
            made++;
        }
    }
    for (i = 0; i < own_count; i++) {
        tests[made + i] = own[i];
    }
    failed = _cmocka_run_group_tests("behaviours", tests, made + own_count, NULL, NULL);
    while (made-- > 0) {
        free((void *)(uintptr_t)tests[made].name);
    }
    free(states);
    free(tests);
    return failed;
}

#endif
