/* pkgs: talloc tevent */
/* SSSD's second interface: one child and one callback, beside other code that waits. */
#include "tevent/bed.h"

struct told {
    unsigned calls;
    int status;
    struct tevent_signal *sige;
    struct sss_child_ctx_old *own;
};

static void tell(int child_status, struct tevent_signal *sige, void *pvt)
{
    struct told *told = talloc_get_type_abort(pvt, struct told);

    told->calls++;
    told->status = child_status;
    told->sige = sige;
}

static struct told *told_new(struct bed *bed)
{
    struct told *told = NULL;

    while (told == NULL) {
        told = talloc_zero(bed->mem, struct told);
        check(told != NULL || bed_failing);
    }
    return told;
}

static struct sss_child_ctx_old *setup(struct bed *bed, pid_t pid, sss_child_callback_t cb,
                                       void *pvt)
{
    struct sss_child_ctx_old *handler = NULL;
    errno_t ret = sss_child_handler_setup(bed->ev, pid, cb, pvt, &handler);

    if (bed_again(ret)) {
        check(handler == NULL);
        check_int(pvt != NULL ? talloc_total_blocks(pvt) : 1, 1);
        ret = sss_child_handler_setup(bed->ev, pid, cb, pvt, &handler);
    }
    check_ok(ret);
    return handler;
}

static void calls_back_and_frees_itself(struct bed *bed)
{
    struct told *told = told_new(bed);
    struct sss_child_ctx_old *handler;
    size_t blocks;
    pid_t pid;

    pid = child_dead(0);
    setup(bed, pid, NULL, NULL);
    bed_until_reaped(bed, pid);
    blocks = talloc_total_blocks(bed->mem); /* with the loop's context */

    pid = child_dead(3);
    handler = setup(bed, pid, tell, told);
    check(talloc_get_type(handler, struct sss_child_ctx_old) == handler);
    bed_until(bed, &told->calls, 1);
    bed_settle(bed);
    check_int(told->calls, 1);
    check_int(told->status, status_of(3));
    check(told->sige == NULL);
    check_int(talloc_total_blocks(bed->mem), blocks);
}

static void pvt_s_end_cancels(struct bed *bed)
{
    struct told *told = told_new(bed);
    struct gate gate;
    pid_t pid;

    gate_make(&gate);
    pid = child_at(&gate, 0);
    setup(bed, pid, tell, told);
    check_ok(talloc_free(told));
    gate_open(&gate);
    bed_until_reaped(bed, pid);
}

static void destroy_kills_and_reaps(struct bed *bed)
{
    struct told *told = told_new(bed);
    struct gate gate;
    pid_t pid;

    gate_make(&gate);
    pid = child_at(&gate, 0);
    sss_child_handler_destroy(setup(bed, pid, tell, told));
    check_int(talloc_total_blocks(told), 1);
    bed_until_reaped(bed, pid); /* the gate is shut: it was killed */
    gate_open(&gate);
    check_int(told->calls, 0);
    sss_child_handler_destroy(NULL);
}

static void destroy_between_end_and_callback(struct bed *bed)
{
    struct told *told = told_new(bed);
    pid_t pid = child_dead(0);

    sss_child_handler_destroy(setup(bed, pid, tell, told));
    bed_until_reaped(bed, pid);
    check_int(told->calls, 0);
}

static void freeing_it_ends_the_watch(struct bed *bed)
{
    struct told *told = told_new(bed);
    struct gate gate;
    pid_t pid;

    gate_make(&gate);
    pid = child_at(&gate, 0);
    check_ok(talloc_free(setup(bed, pid, tell, told)));
    check_int(talloc_total_blocks(told), 1);
    gate_open(&gate);
    bed_until_reaped(bed, pid);
    check_int(told->calls, 0);
}

static void free_own(int child_status, struct tevent_signal *sige, void *pvt)
{
    struct told *told = pvt;

    tell(child_status, sige, pvt);
    check_ok(talloc_free(told->own));
}

static void destroy_own(int child_status, struct tevent_signal *sige, void *pvt)
{
    struct told *told = pvt;

    tell(child_status, sige, pvt);
    sss_child_handler_destroy(told->own);
}

static unsigned freed_pvt;

static void free_pvt(int child_status, struct tevent_signal *sige, void *pvt)
{
    tell(child_status, sige, pvt);
    check_ok(talloc_free(pvt));
    freed_pvt++;
}

static void a_callback_ends_it(struct bed *bed)
{
    struct told *told = told_new(bed);

    told->own = setup(bed, child_dead(0), free_own, told);
    bed_until(bed, &told->calls, 1);
    told->own = setup(bed, child_dead(0), destroy_own, told);
    bed_until(bed, &told->calls, 2);
    freed_pvt = 0;
    setup(bed, child_dead(0), free_pvt, told);
    bed_until(bed, &freed_pvt, 1);
    bed_settle(bed);
}

static int refuse_once(struct sss_child_ctx_old *handler)
{
    talloc_set_destructor(handler, NULL);
    return -1;
}

static void the_daemon_s_destructor_may_refuse(struct bed *bed)
{
    struct told *told = told_new(bed);
    struct sss_child_ctx_old *handler = setup(bed, child_dead(1), tell, told);

    talloc_set_destructor(handler, refuse_once);
    bed_until(bed, &told->calls, 1);
    bed_settle(bed);
    sss_child_handler_destroy(handler);
    check_ok(talloc_free(handler));
}

/* Both of SSSD's ways, each told of its own children. */
static void beside_a_context_of_scope_all(struct bed *bed)
{
    struct told *told = told_new(bed);
    struct seen seen = { 0 };
    struct gate gate;
    pid_t pids[2];

    bed_start(bed, SSS_SCOPE_ALL, 0);
    gate_make(&gate);
    pids[0] = child_at(&gate, 1);
    pids[1] = child_at(&gate, 2);
    bed_watch(bed, bed->mem, pids[0], see, &seen);
    setup(bed, pids[1], tell, told);
    gate_open(&gate);
    bed_until(bed, &seen.calls, 1);
    bed_until(bed, &told->calls, 1);
    bed_settle(bed);
    check_seen(&seen, pids[0], 1);
    check_int(told->status, status_of(2));
    check_int(told->calls, 1);
}

static void beside_each_other(struct bed *bed)
{
    enum { CHILDREN = 50 };
    struct told *told = told_new(bed);
    struct sigaction one, many;
    struct gate gate;
    unsigned fds;
    int i;

    gate_make(&gate);
    setup(bed, child_at(&gate, 0), tell, told);
    fds = count_fds();
    check_ok(sigaction(SIGCHLD, NULL, &one));
    for (i = 1; i < CHILDREN; i++) {
        setup(bed, child_at(&gate, 0), tell, told);
    }
    check_ok(sigaction(SIGCHLD, NULL, &many));
    check(one.sa_sigaction == many.sa_sigaction);
    check(count_fds() - fds <= CHILDREN); /* one context: at most a pidfd per child */
    gate_open(&gate);
    bed_until(bed, &told->calls, CHILDREN);
    check_int(talloc_total_blocks(told), 1);
}

/* It waits for nobody else: popen's child is popen's. */
static void beside_popen(struct bed *bed)
{
    struct told *told = told_new(bed);
    FILE *pipe;

    setup(bed, child_dead(0), tell, told);
    bed_until(bed, &told->calls, 1);
    pipe = popen("exit 7", "re");
    check(pipe != NULL);
    bed_await_any_zombie();
    bed_settle(bed);
    check_int(pclose(pipe), W_EXITCODE(7, 0));
}

static void the_loop_s_end(struct bed *bed)
{
    struct told *told = told_new(bed);
    struct gate gate;
    pid_t pid;

    gate_make(&gate);
    pid = child_at(&gate, 4);
    setup(bed, pid, tell, told);
    check_ok(talloc_free(bed->ev));
    check_int(talloc_total_blocks(told), 1);
    gate_open(&gate);
    reap(pid, 4);
    check_int(told->calls, 0);
}

static void bad_arguments(struct bed *bed)
{
    struct sss_child_ctx_old *handler = NULL;
    struct told *told = told_new(bed);

    check_int(sss_child_handler_setup(NULL, 1, tell, told, &handler), EINVAL);
    check_int(sss_child_handler_setup(bed->ev, 0, tell, told, &handler), EINVAL);
    check_int(sss_child_handler_setup(bed->ev, -1, tell, told, &handler), EINVAL);
    check_int(sss_child_handler_setup(bed->ev, 1, tell, told, &handler), ESRCH);
    check_int(sss_child_handler_setup(bed->ev, getpid(), tell, NULL, NULL), ESRCH);
    check(handler == NULL);
    check_int(talloc_total_blocks(told), 1);
}

static void without_an_out_pointer(struct bed *bed)
{
    struct told *told = told_new(bed);

    check_ok(sss_child_handler_setup(bed->ev, child_dead(5), tell, told, NULL));
    bed_until(bed, &told->calls, 1);
    check_int(told->status, status_of(5));
}

static void go_on(void *arg)
{
    struct bed *bed = arg;
    struct told *told = told_new(bed);

    check_ok(tevent_re_initialise(bed->ev));
    setup(bed, child_dead(6), tell, told);
    bed_until(bed, &told->calls, 1);
    check_int(told->status, status_of(6));
    check_ok(talloc_free(bed->mem));
}

static void in_a_forked_child(struct bed *bed)
{
    struct told *told = told_new(bed);
    struct gate gate;

    gate_make(&gate);
    setup(bed, child_at(&gate, 7), tell, told);
    in_child(go_on, bed);
    gate_open(&gate);
    bed_until(bed, &told->calls, 1);
    check_int(told->status, status_of(7));
}

int main(void)
{
    static const struct row rows[] = {
        ROW(calls_back_and_frees_itself),
        ROW(pvt_s_end_cancels),
        ROW(destroy_kills_and_reaps),
        ROW(destroy_between_end_and_callback),
        ROW(freeing_it_ends_the_watch),
        ROW(a_callback_ends_it),
        ROW(the_daemon_s_destructor_may_refuse),
        ROW(beside_a_context_of_scope_all),
        ROW(the_loop_s_end),
    };
    static const struct row once[] = {
        ROW(beside_each_other),
        ROW(beside_popen),
        ROW(bad_arguments),
        ROW(without_an_out_pointer),
        ROW(in_a_forked_child),
    };

    return BED_RUN(rows, BED_TEVENT | BED_FAILING) + BED_RUN(once, BED_TEVENT);
}
