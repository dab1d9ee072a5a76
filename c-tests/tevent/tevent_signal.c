/* pkgs: talloc tevent */
/* How SIGCHLD is taken and given back. */
#include "tevent/bed.h"

#include <sys/syscall.h>

#include "support/filter.h"

static void one_child(struct bed *bed)
{
    struct seen seen = { 0 };
    struct sss_child_ctx *child;
    struct gate gate;
    pid_t pid;

    gate_make(&gate);
    pid = child_at(&gate, 1);
    child = bed_watch(bed, bed->mem, pid, see, &seen);
    gate_open(&gate);
    bed_until(bed, &seen.calls, 1);
    check_seen(&seen, pid, 1);
    check_ok(talloc_free(child));
}

static bool sigchld_blocked(void)
{
    sigset_t mask;

    check_ok(pthread_sigmask(SIG_SETMASK, NULL, &mask));
    return sigismember(&mask, SIGCHLD) == 1;
}

static void mask_sigchld(int how)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    check_ok(pthread_sigmask(how, &set, NULL));
}

/* tevent's way unblocks it, a signalfd's blocks it; then it is as it was. */
static void blocked_before(struct bed *bed)
{
    mask_sigchld(SIG_BLOCK);
    bed_start(bed, SSS_SCOPE_ALL, 0);
    check(sigchld_blocked() == (bed->host == sss_tevent_signalfd_host()));
    one_child(bed);
    check_ok(talloc_free(bed->ctx));
    check(sigchld_blocked());
    mask_sigchld(SIG_UNBLOCK);
    bed_start(bed, SSS_SCOPE_ALL, 0);
    check(sigchld_blocked() == (bed->host == sss_tevent_signalfd_host()));
    one_child(bed);
    check_ok(talloc_free(bed->ctx));
    check(!sigchld_blocked());
}

static void set_sigchld(void (*handler)(int), int flags)
{
    struct sigaction act = { .sa_handler = handler, .sa_flags = flags };

    check_ok(sigaction(SIGCHLD, &act, NULL));
}

static void ignored_before(struct bed *bed)
{
    set_sigchld(SIG_IGN, 0);
    bed_start(bed, SSS_SCOPE_ALL, 0);
    one_child(bed);
    check_ok(talloc_free(bed->ctx));
    check(bed_sigchld_is(SIG_IGN));
    set_sigchld(SIG_DFL, 0);
}

static void without_zombies_before(struct bed *bed)
{
    struct sigaction act;

    set_sigchld(SIG_DFL, SA_NOCLDWAIT);
    bed_start(bed, SSS_SCOPE_ALL, 0);
    one_child(bed);
    check_ok(talloc_free(bed->ctx));
    check_ok(sigaction(SIGCHLD, NULL, &act));
    check(act.sa_flags & SA_NOCLDWAIT);
    set_sigchld(SIG_DFL, 0);
}

static void the_daemon_s_own(int signum)
{
    (void)signum;
}

static void handled_before(struct bed *bed)
{
    set_sigchld(the_daemon_s_own, SA_RESTART);
    bed_start(bed, SSS_SCOPE_ALL, 0);
    check(!bed_sigchld_is(the_daemon_s_own));
    one_child(bed);
    check_ok(talloc_free(bed->ctx));
    check(bed_sigchld_is(the_daemon_s_own));
    set_sigchld(SIG_DFL, 0);
}

static void count_signals(struct tevent_context *ev, struct tevent_signal *se, int signum,
                          int count, void *siginfo, void *pvt)
{
    (void)ev;
    (void)se;
    (void)signum;
    (void)count;
    (void)siginfo;
    (*(unsigned *)pvt)++;
}

/* Other tevent handlers of SIGCHLD's, with and without SA_SIGINFO, before and after. */
static void beside_a_handler(struct bed *bed, int flags, bool before)
{
    struct tevent_signal *se = NULL;
    unsigned signals = 0;

    if (before) {
        se = tevent_add_signal(bed->ev, bed->mem, SIGCHLD, flags, count_signals, &signals);
    }
    bed_start(bed, SSS_SCOPE_ALL, 0);
    if (!before) {
        se = tevent_add_signal(bed->ev, bed->mem, SIGCHLD, flags, count_signals, &signals);
    }
    check(se != NULL);
    one_child(bed);
    bed_settle(bed);
    check(signals > 0);
    check_ok(talloc_free(se));
    one_child(bed);
    check_ok(talloc_free(bed->ctx));
}

static void beside_tevent_handlers(struct bed *bed)
{
    beside_a_handler(bed, 0, true);
    beside_a_handler(bed, SA_SIGINFO, true);
    beside_a_handler(bed, 0, false);
    beside_a_handler(bed, SA_SIGINFO, false);
}

/* Somebody takes the signal away: what is registered then is found all the same. */
static void replaced_between_two_registrations(struct bed *bed)
{
    struct seen former = { 0 }, latter = { 0 };
    struct gate gate;
    pid_t pid;

    bed_start(bed, SSS_SCOPE_ALL, 0);
    gate_make(&gate);
    pid = child_at(&gate, 2);
    bed_watch(bed, bed->mem, pid, see, &former);
    set_sigchld(the_daemon_s_own, 0);
    bed_watch(bed, bed->mem, pid, see, &latter);
    gate_open(&gate);
    bed_until(bed, &latter.calls, 1);
    check_seen(&latter, pid, 2);
    check_int(former.calls, 0);
}

static void deny_and_init(void *arg)
{
    struct bed *bed = arg;
    struct sss_sigchild_ctx *ctx = NULL;
    size_t blocks = talloc_total_blocks(bed->mem);
    unsigned fds = count_fds();

    mask_sigchld(SIG_BLOCK);
    filter_deny(SYS_rt_sigaction, EPERM);
    check_int(bed_create(bed, bed->mem, SSS_SCOPE_ALL, 0, &ctx), EIO);
    check(ctx == NULL);
    check_int(talloc_total_blocks(bed->mem), blocks);
    check_int(count_fds(), fds);
    check(sigchld_blocked());
}

static void that_cannot_be_taken_is_eio(struct bed *bed)
{
    if (test_profile_is("valgrind")) {
        test_skip("valgrind", "valgrind answers rt_sigaction itself");
    }
    in_child(deny_and_init, bed);
}

/* More signals than tevent keeps siginfo for. */
static void a_storm(struct bed *bed)
{
    unsigned i;

    bed_start(bed, SSS_SCOPE_ALL, 0);
    for (i = 0; i < 1000; i++) {
        check_ok(kill(getpid(), SIGCHLD));
    }
    one_child(bed);
    bed_settle(bed);
    one_child(bed);
}

static void init_as_sssd_does(struct bed *bed)
{
    check_ok(sss_sigchld_init(bed->mem, bed->ev, &bed->ctx));
    check(talloc_get_type(bed->ctx, struct sss_sigchild_ctx) == bed->ctx);
    one_child(bed);
    bed_until_reaped(bed, child_dead(0)); /* nobody's: scope ALL */
    check_ok(talloc_free(bed->ctx));
    check(bed_sigchld_is(SIG_DFL));
}

static void init_with_the_default_host(struct bed *bed)
{
    check_int(sss_sigchld_ctx_init(bed->mem, bed->ev, 0, &bed->ctx), EINVAL);
    check_ok(sss_host_set_default(bed->host));
    check_ok(sss_sigchld_ctx_init(bed->mem, bed->ev, WUNTRACED, &bed->ctx));
    check_ok(sss_host_set_default(NULL));
    check(talloc_get_type(bed->ctx, struct sss_sigchild_ctx) == bed->ctx);
    one_child(bed);
}

int main(void)
{
    static const struct row rows[] = {
        ROW(blocked_before),
        ROW(ignored_before),
        ROW(without_zombies_before),
        ROW(handled_before),
        ROW(a_storm),
        ROW(replaced_between_two_registrations),
    };
    static const struct row once[] = {
        ROW(that_cannot_be_taken_is_eio),
        ROW(init_as_sssd_does),
        ROW(init_with_the_default_host),
    };
    static const struct row tevent_only[] = { ROW(beside_tevent_handlers) };

    return BED_RUN(rows, BED_HOSTS | BED_FAILING) + BED_RUN(once, BED_HOSTS) +
           BED_RUN(tevent_only, BED_TEVENT);
}
