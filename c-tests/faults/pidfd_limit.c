/* profiles: all but linux-4.19 valgrind: no pidfds */
/* Descriptors belong to the daemon: the number of pidfds is limited, and they have high
 * numbers. */
#include "support/test.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/select.h>

#include "support/spawn.h"

enum { IDLE = 200, SHORT = 120 };

struct idle {
    struct gate gate;
    pid_t pids[IDLE];
    struct sss_child_ctx *children[IDLE];
    struct seen seen;
};

static struct sss_sigchild_ctx *ctx_limited(uint32_t scope, uint32_t most)
{
    struct sss_ctx_params params = params_zero();
    struct sss_sigchild_ctx *ctx;

    params.mask = SSS_CTX_PARAM_SCOPE | SSS_CTX_PARAM_MAX_PIDFDS;
    params.scope = scope;
    params.max_pidfds = most;
    check_ok(sss_sigchld_ctx_create(&params, &ctx));
    return ctx;
}

static void limit_to(rlim_t soft)
{
    struct rlimit limit;

    check_ok(getrlimit(RLIMIT_NOFILE, &limit));
    limit.rlim_cur = soft < limit.rlim_max ? soft : limit.rlim_max;
    check_ok(setrlimit(RLIMIT_NOFILE, &limit));
}

static void make_idle(struct idle *idle, struct loop *loop)
{
    int i;

    memset(idle, 0, sizeof(*idle));
    gate_make(&idle->gate);
    for (i = 0; i < IDLE; i++) {
        idle->pids[i] = child_at(&idle->gate, 0);
        check_ok(sss_child_register(NULL, loop->ctx, idle->pids[i], see, &idle->seen,
                                    &idle->children[i]));
    }
}

/* Short-lived children come and go beside idle ones, which get their pidfds meanwhile. */
static void churn(struct loop *loop)
{
    int i;

    for (i = 0; i < SHORT; i++) {
        struct seen seen = { 0 };
        struct sss_child_ctx *child;
        pid_t pid = child_at(NULL, i);

        check_ok(sss_child_register(NULL, loop->ctx, pid, see, &seen, &child));
        loop_until(loop, &seen.calls, 1);
        check_seen(&seen, pid, i);
        check_ok(sss_child_free(child));
    }
}

static void end_idle(struct idle *idle, struct loop *loop)
{
    int i;

    gate_open(&idle->gate);
    loop_until(loop, &idle->seen.calls, IDLE);
    for (i = 0; i < IDLE; i++) {
        check_ok(sss_child_free(idle->children[i]));
    }
    loop_end(loop);
    check_no_children();
}

static void half_of_the_soft_limit(void *pvt)
{
    const struct way *way = pvt;
    struct idle idle;
    struct loop loop;
    int fds[2];

    limit_to(128);
    loop_start(&loop, ctx_make(way->scope, 0), way->waking);
    make_idle(&idle, &loop);
    churn(&loop);
    check(stats_of(loop.ctx).old <= 64);
    check(stats_of(loop.ctx).old > 0);
    check_ok(pipe(fds));
    check_ok(close(fds[0]) | close(fds[1]));
    limit_to(1024);
    end_idle(&idle, &loop);
}

static void by_default(void **state)
{
    size_t i;

    (void)state;
    for (i = 0; i < ARRAY_SIZE(ways); i++) {
        in_child(half_of_the_soft_limit, (void *)&ways[i]);
    }
}

static void none_or_a_few(void *pvt)
{
    static const uint32_t most[] = { 0, 7 };
    const struct way *way = pvt;
    struct idle idle;
    struct loop loop;
    size_t i;

    for (i = 0; i < ARRAY_SIZE(most); i++) {
        loop_start(&loop, ctx_limited(way->scope, most[i]), way->waking);
        make_idle(&idle, &loop);
        churn(&loop);
        check(stats_of(loop.ctx).old <= most[i]);
        end_idle(&idle, &loop);
    }
}

static void as_many_as_the_daemon_says(void **state)
{
    size_t i;

    (void)state;
    for (i = 0; i < ARRAY_SIZE(ways); i++) {
        in_child(none_or_a_few, (void *)&ways[i]);
    }
}

static unsigned below_fd_setsize(void)
{
    DIR *dir = opendir("/proc/self/fd");
    struct dirent *entry;
    unsigned count = 0;

    check(dir != NULL);
    while ((entry = readdir(dir)) != NULL) {
        count += entry->d_name[0] != '.' && atoi(entry->d_name) < FD_SETSIZE;
    }
    check_ok(closedir(dir));
    return count;
}

static void low_numbers(void *unused)
{
    struct idle idle;
    struct loop loop;
    unsigned before;

    (void)unused;
    limit_to(4096);
    loop_start(&loop, ctx_make(SSS_SCOPE_REGISTERED, 0), WAKE_DESCRIPTOR);
    before = below_fd_setsize();
    make_idle(&idle, &loop);
    check_int(stats_of(loop.ctx).old, IDLE);
    check(below_fd_setsize() - before <= 64 + 2); /* and the gate's */
    end_idle(&idle, &loop);
}

static void most_stand_above_fd_setsize(void **state)
{
    struct rlimit limit;

    (void)state;
    check_ok(getrlimit(RLIMIT_NOFILE, &limit));
    if (limit.rlim_max < 4096) {
        test_lacks("the hard limit of descriptors is too low");
    }
    in_child(low_numbers, NULL);
}

/* What fills the table of descriptors, of at most 512. */
struct filling {
    int fds[512];
    int count;
};

static void fill(struct filling *filling)
{
    int fd;

    while ((fd = open("/dev/null", O_RDONLY | O_CLOEXEC)) != -1) {
        filling->fds[filling->count++] = fd;
    }
    check_int(errno, EMFILE);
}

static void empty(struct filling *filling)
{
    while (filling->count > 0) {
        check_ok(close(filling->fds[--filling->count]));
    }
}

static void a_full_table(void *unused)
{
    struct sss_ctx_audit audit = { .size = sizeof(audit) };
    struct filling filling = { .count = 0 };
    struct idle idle;
    struct loop loop;
    int fds[2];

    (void)unused;
    limit_to(512);
    loop_start(&loop, ctx_make(SSS_SCOPE_REGISTERED, 0), WAKE_BOTH);
    make_idle(&idle, &loop);
    churn(&loop);
    check(stats_of(loop.ctx).old > 0);
    fill(&filling);
    check_ok(sss_sigchld_ctx_audit(loop.ctx, &audit));
    check_ok(pipe(fds));
    check_ok(close(fds[0]) | close(fds[1]));
    empty(&filling);
    end_idle(&idle, &loop);
}

static void an_audit_gives_some_back(void **state)
{
    (void)state;
    in_child(a_full_table, NULL);
}

static void a_shortage_that_ends(void *unused)
{
    struct sss_ctx_audit audit = { .size = sizeof(audit) };
    struct filling filling = { .count = 0 };
    int64_t deadline = now_ms() + DEADLINE_MS;
    struct idle idle;
    struct loop loop;

    (void)unused;
    limit_to(512);
    loop_start(&loop, ctx_make(SSS_SCOPE_REGISTERED, 0), WAKE_DESCRIPTOR);
    make_idle(&idle, &loop);
    check_int(stats_of(loop.ctx).old, IDLE);
    fill(&filling);
    check_ok(sss_sigchld_ctx_audit(loop.ctx, &audit));
    check(stats_of(loop.ctx).old < IDLE);
    empty(&filling);
    while (stats_of(loop.ctx).old < IDLE) {
        check(now_ms() < deadline);
        loop_turn(&loop, 100);
    }
    end_idle(&idle, &loop);
}

static void they_come_back_after_a_shortage(void **state)
{
    (void)state;
    in_child(a_shortage_that_ends, NULL);
}

static void register_one(struct loop *loop, struct gate *gate, struct seen *seen)
{
    struct sss_child_ctx *child;
    uint64_t refused = stats_of(loop->ctx).no_pidfd;

    check_ok(sss_child_register(NULL, loop->ctx, child_at(gate, 0), see, seen, &child));
    check_int(stats_of(loop->ctx).no_pidfd, refused);
}

/* While a child has no pidfd, a status that other code takes is lost, and another child may
 * get the pid. */
static void a_shortage_beside_untrusted_ones(void *unused)
{
    struct sss_ctx_audit audit = { .size = sizeof(audit) };
    struct filling filling = { .count = 0 };
    struct seen seen = { 0 };
    struct gate gate;
    struct idle idle;
    struct loop loop, untrusted;
    uint64_t before;

    (void)unused;
    limit_to(512);
    loop_start(&loop, ctx_make(SSS_SCOPE_REGISTERED, 0), WAKE_DESCRIPTOR);
    loop_start(&untrusted, ctx_untrusted(SSS_SCOPE_REGISTERED), WAKE_DESCRIPTOR);
    make_idle(&idle, &loop);
    gate_make(&gate);
    fill(&filling);
    check_ok(sss_sigchld_ctx_audit(loop.ctx, &audit));
    check(stats_of(loop.ctx).old < IDLE);
    register_one(&untrusted, &gate, &seen); /* what was given back is there for it */
    fill(&filling);
    register_one(&untrusted, &gate, &seen); /* another one gives its own */
    do {
        before = stats_of(loop.ctx).old;
        fill(&filling);
        check_ok(sss_sigchld_ctx_audit(loop.ctx, &audit));
    } while (stats_of(loop.ctx).old < before);
    check_int(before, 2);
    empty(&filling);
    gate_open(&gate);
    loop_until(&untrusted, &seen.calls, 2);
    loop_end(&untrusted);
    end_idle(&idle, &loop);
}

static void those_of_an_untrusted_context_stay(void **state)
{
    (void)state;
    in_child(a_shortage_beside_untrusted_ones, NULL);
}

/* Each call finds the table of descriptors full, and pidfds are closed to make room for what
 * it needs. */
static void calls_of_each_kind(void *unused)
{
    struct filling filling = { .count = 0 };
    struct sss_log_params params = {
        .size = sizeof(params), .target = SSS_LOG_TO_FILE,
    };
    struct sss_spawn spawn = spawn_zero();
    struct seen seen = { 0 };
    struct sss_child_ctx *child;
    struct sss_log *log;
    struct idle idle;
    struct loop loop;
    char dir[] = "/tmp/sss-limit-XXXXXX";
    char path[64];
    int fd;

    (void)unused;
    check(mkdtemp(dir) != NULL);
    snprintf(path, sizeof(path), "%s/log", dir);
    params.path = path;
    limit_to(512);
    loop_start(&loop, ctx_make(SSS_SCOPE_REGISTERED, 0), WAKE_DESCRIPTOR);
    make_idle(&idle, &loop);
    fill(&filling);
    check_ok(sss_log_open(NULL, loop.ctx, &params, &log));
    fill(&filling);
    check_ok(sss_log_pipe(log, "daemon", &fd, NULL));
    fill(&filling);
    spawn.path = "/bin/true";
    spawn.argv = (const char *const[]){ "true", NULL };
    spawn.mask |= SSS_SPAWN_GATE;
    check_ok(sss_child_spawn(NULL, loop.ctx, &spawn, see, &seen, &child));
    check_ok(sss_child_open_gate(child));
    empty(&filling);
    loop_until(&loop, &seen.calls, 1);
    check_seen(&seen, seen.pid, 0);
    check_ok(sss_child_free(child));
    check_ok(close(fd));
    check_ok(sss_log_free(log));
    check_ok(unlink(path) | rmdir(dir));
    end_idle(&idle, &loop);
}

static void calls_get_what_they_need(void **state)
{
    (void)state;
    in_child(calls_of_each_kind, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(by_default),
        cmocka_unit_test(as_many_as_the_daemon_says),
        cmocka_unit_test(most_stand_above_fd_setsize),
        cmocka_unit_test(an_audit_gives_some_back),
        cmocka_unit_test(they_come_back_after_a_shortage),
        cmocka_unit_test(those_of_an_untrusted_context_stay),
        cmocka_unit_test(calls_get_what_they_need),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
