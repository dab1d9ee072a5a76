/*
 * What the tevent tests use: memory, a loop and a context, and the check that nothing of it is
 * left: no talloc block, descriptor, child or handler.
 */
#ifndef TEVENT_BED_H
#define TEVENT_BED_H

#include "support/test.h"

#include <stdio.h>
#include <sys/eventfd.h>

#include <sss_sigchld/sssd.h>

#include "support/memory.h"

struct bed {
    const struct sss_host *host;
    TALLOC_CTX *mem;
    struct tevent_context *ev;
    struct sss_sigchild_ctx *ctx;
    size_t blocks;
    unsigned fds;
};

struct row {
    const char *name;
    void (*fn)(struct bed *bed);
};
#define ROW(fn) { #fn, fn }

/* Set while one allocation is made to fail: a call that fails because of it is made again. */
static bool bed_failing;

static inline bool bed_again(errno_t ret)
{
    return bed_failing && (ret == ENOMEM || ret == EIO);
}

static inline errno_t bed_create(struct bed *bed, void *memctx, uint32_t scope, int options,
                                 struct sss_sigchild_ctx **ctx)
{
    struct sss_ctx_params params = params_zero();

    params.mask = SSS_CTX_PARAM_SCOPE | SSS_CTX_PARAM_OPTIONS;
    params.scope = scope;
    params.options = options;
    params.host = bed->host;
    params.memctx = memctx;
    params.loop = bed->ev;
    return sss_sigchld_ctx_create(&params, ctx);
}

/* A context below memctx; where memory runs out first, nothing may have changed. */
static inline struct sss_sigchild_ctx *bed_ctx(struct bed *bed, void *memctx, uint32_t scope,
                                               int options)
{
    size_t blocks = talloc_total_blocks(bed->mem);
    struct sss_sigchild_ctx *ctx = NULL;
    errno_t ret = bed_create(bed, memctx, scope, options, &ctx);

    if (bed_again(ret)) {
        check(ctx == NULL);
        check_int(talloc_total_blocks(bed->mem), blocks);
        ret = bed_create(bed, memctx, scope, options, &ctx);
    }
    check_ok(ret);
    return ctx;
}

static inline void bed_start(struct bed *bed, uint32_t scope, int options)
{
    bed->ctx = bed_ctx(bed, bed->mem, scope, options);
}

/* A watch below memctx of bed->ctx's. */
static inline struct sss_child_ctx *bed_watch(struct bed *bed, void *memctx, pid_t pid,
                                              sss_child_fn_t cb, void *pvt)
{
    size_t blocks = talloc_total_blocks(bed->mem);
    struct sss_child_ctx *child = NULL;
    errno_t ret = sss_child_register(memctx, bed->ctx, pid, cb, pvt, &child);

    if (bed_again(ret)) {
        check(child == NULL);
        check_int(talloc_total_blocks(bed->mem), blocks);
        ret = sss_child_register(memctx, bed->ctx, pid, cb, pvt, &child);
    }
    check_ok(ret);
    return child;
}

static inline void *bed_memory(void *parent)
{
    void *memory = talloc_named_const(parent, 1, "test");

    if (memory == NULL && bed_failing) {
        memory = talloc_named_const(parent, 1, "test");
    }
    check(memory != NULL);
    return memory;
}

/* One turn of the loop, which must come. */
static inline void bed_turn(struct bed *bed)
{
    alarm(DEADLINE_MS / 1000); /* ends the program */
    check_ok(tevent_loop_once(bed->ev));
    alarm(0);
}

static inline void bed_until(struct bed *bed, const unsigned *count, unsigned wanted)
{
    while (*count < wanted) {
        bed_turn(bed);
    }
    check_int(*count, wanted);
}

static inline void bed_count_turn(struct tevent_context *ev, struct tevent_fd *fde,
                                  uint16_t flags, void *pvt)
{
    unsigned *turns = (unsigned *)pvt;

    (void)ev;
    (void)fde;
    (void)flags;
    (*turns)++;
}

/*
 * Turns until everything that is due has come: a descriptor that is always
 * readable has its turn after each other one, signals and immediates come first.
 */
static inline void bed_settle(struct bed *bed)
{
    struct tevent_fd *fde = NULL;
    unsigned turns = 0;
    int fd = eventfd(1, EFD_CLOEXEC);

    check(fd != -1);
    while (fde == NULL) {
        fde = tevent_add_fd(bed->ev, bed->ev, fd, TEVENT_FD_READ, bed_count_turn, &turns);
        check(fde != NULL || bed_failing);
    }
    while (turns < 16) {
        bed_turn(bed);
    }
    talloc_free(fde);
    check_ok(close(fd));
}

static inline void bed_until_reaped(struct bed *bed, pid_t pid)
{
    while (is_child(pid)) {
        bed_turn(bed);
    }
    bed_settle(bed);
}

/* Returns when some child is a zombie: one whose pid only popen(3) knows. */
static inline void bed_await_any_zombie(void)
{
    siginfo_t info;
    int code;

    alarm(DEADLINE_MS / 1000);
    do {
        code = waitid(P_ALL, 0, &info, WEXITED | WNOWAIT);
    } while (code == -1 && errno == EINTR);
    alarm(0);
    check_ok(code);
}

static inline bool bed_sigchld_is(void (*handler)(int))
{
    struct sigaction act;

    check_ok(sigaction(SIGCHLD, NULL, &act));
    return act.sa_handler == handler;
}

/* What tevent makes once and keeps: per process, and per loop. */
static inline void bed_warm(struct tevent_context *ev)
{
    struct tevent_signal *se = tevent_add_signal(ev, ev, SIGUSR2, SA_SIGINFO, NULL, NULL);

    check(se != NULL);
    talloc_free(se);
}

static inline void bed_setup(struct bed *bed, const struct sss_host *host)
{
    struct tevent_context *ev = tevent_context_init(NULL);

    bed_failing = false;
    memory_end();
    check(ev != NULL);
    bed_warm(ev);
    talloc_free(ev);

    memset(bed, 0, sizeof(*bed));
    bed->host = host;
    bed->blocks = talloc_total_blocks(NULL);
    bed->fds = count_fds();
    bed->mem = talloc_named_const(NULL, 1, "bed");
    check(bed->mem != NULL);
    bed->ev = tevent_context_init(bed->mem);
    check(bed->ev != NULL);
    bed_warm(bed->ev);
}

static inline void bed_teardown(struct bed *bed)
{
    sigset_t set;

    check_ok(talloc_free(bed->mem));
    if (talloc_total_blocks(NULL) != bed->blocks) {
        talloc_report_full(NULL, stderr);
    }
    check_int(talloc_total_blocks(NULL), bed->blocks);
    check_int(count_fds(), bed->fds);
    check(bed_sigchld_is(SIG_DFL));
    check_no_children();

    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    check_ok(sigprocmask(SIG_UNBLOCK, &set, NULL)); /* the signalfd host's */
}

static inline void bed_run_row(const struct row *row, const struct sss_host *host)
{
    struct bed bed;

    bed_setup(&bed, host);
    row->fn(&bed);
    bed_teardown(&bed);
}

static inline void bed_test_tevent(void **state)
{
    bed_run_row((const struct row *)*state, sss_tevent_host());
}

static inline void bed_test_signalfd(void **state)
{
    bed_run_row((const struct row *)*state, sss_tevent_signalfd_host());
}

/* The row again and again, the n-th allocation failing, until there are fewer. */
static inline void bed_fail_each(const struct row *row, const struct sss_host *host)
{
    struct memory seen = { .failed = 1 };
    struct bed bed;
    unsigned n;

    for (n = 0; seen.failed != 0; n++) {
        bed_setup(&bed, host);
        bed_failing = true;
        memory_begin(n + 1);
        row->fn(&bed);
        seen = memory_end();
        bed_failing = false;
        bed_teardown(&bed);
    }
    printf("%s: each of %u allocations failed once\n", row->name, n - 1);
    check(n > 1);
}

/* Whether talloc's own calls come to support/memory.c. */
static inline void bed_memory_needed(void)
{
    void *memory;

    memory_begin(0);
    memory = talloc_named_const(NULL, 1, "test");
    talloc_free(memory);
    if (memory_end().calls == 0) {
        test_skip("asan tsan valgrind", "malloc is the sanitizer's or valgrind's");
    }
}

struct bed_rows {
    const struct row *rows;
    size_t count;
};

static inline void bed_test_failing(void **state)
{
    const struct bed_rows *all = (const struct bed_rows *)*state;
    size_t i;

    bed_memory_needed();
    for (i = 0; i < all->count; i++) {
        bed_fail_each(&all->rows[i], sss_tevent_host());
        bed_fail_each(&all->rows[i], sss_tevent_signalfd_host());
    }
}

enum { BED_TEVENT = 1, BED_SIGNALFD = 2, BED_HOSTS = 3, BED_FAILING = 4 };

static inline void bed_add(struct CMUnitTest *test, const char *name, const char *suffix,
                           CMUnitTestFunction fn, const void *state)
{
    char *whole;

    check(asprintf(&whole, "%s%s", name, suffix) != -1);
    test->name = whole;
    test->test_func = fn;
    test->initial_state = (void *)(uintptr_t)state;
}

/* Each row with each host, and all of them with each allocation failing. */
static inline int bed_run(const struct row *rows, size_t count, int how)
{
    struct CMUnitTest *tests = (struct CMUnitTest *)calloc(count * 2 + 1, sizeof(*tests));
    const struct bed_rows all = { rows, count };
    size_t made = 0;
    size_t i;
    int failed;

    check(tests != NULL);
    check_ok(setenv("TALLOC_FREE_FILL", "0xdb", 1)); /* freed memory is of no use */
    talloc_enable_null_tracking();
    for (i = 0; i < count; i++) {
        if (how & BED_TEVENT) {
            bed_add(&tests[made++], rows[i].name, "", bed_test_tevent, &rows[i]);
        }
        if (how & BED_SIGNALFD) {
            bed_add(&tests[made++], rows[i].name, "_signalfd", bed_test_signalfd, &rows[i]);
        }
    }
    if (how & BED_FAILING) {
        bed_add(&tests[made++], "each_allocation_failing", "", bed_test_failing, &all);
    }
    failed = _cmocka_run_group_tests("tests", tests, made, NULL, NULL);
    while (made-- > 0) {
        free((void *)(uintptr_t)tests[made].name);
    }
    free(tests);
    return failed;
}

#define BED_RUN(rows, how) bed_run(rows, ARRAY_SIZE(rows), how)

#endif
