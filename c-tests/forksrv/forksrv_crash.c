/* A fork server that dies or stops, at any point of a launch: nothing is lost. */
#include "support/test.h"

#include <poll.h>
#include <pthread.h>
#include <sys/prctl.h>
#include <time.h>

#include "support/family.h"
#include "support/kernel.h"
#include "support/server.h"

static const uint32_t manners[] = { SSS_FORKSRV_CLONE_PARENT, SSS_FORKSRV_SERVERS_CHILDREN };

static struct sss_forksrv *start(struct server_bed *bed, uint32_t flags, int64_t timeout)
{
    struct sss_forksrv_params params = server_zero(flags, &bed->events);
    struct sss_forksrv *srv = NULL;

    params.timeout = timeout;
    params.restart_burst = 1000;
    params.restart_interval = 1;
    check_ok(sss_forksrv_start(NULL, bed->loop.ctx, &params, &srv));
    return srv;
}

/* Children outlive the server: those that run, and those that have ended and are not yet
 * reaped. */
static void children_live_on(void **state)
{
    static const int kills[] = { SIGKILL, SIGSEGV };
    struct server_bed *bed = *state;
    struct sss_child_ctx *child, *zombie;
    struct gate gate, second;
    size_t way, i;
    pid_t pid, dead;

    for (way = 0; way < ARRAY_SIZE(manners); way++) {
        for (i = 0; i < ARRAY_SIZE(kills); i++) {
            struct seen seen = { 0 }, early = { 0 };

            server_start(bed, manners[way]);
            gate_make(&gate);
            gate_make(&second);
            child = launch_at(bed->srv, &gate, 5, see, &seen);
            zombie = launch_at(bed->srv, &second, 6, see, &early);
            pid = pid_of(child);
            dead = pid_of(zombie);
            check_ok(kill(server_pid(bed->srv), SIGSTOP));
            gate_open(&second);
            check_ok(kill(server_pid(bed->srv), kills[i]));
            check_ok(kill(server_pid(bed->srv), SIGCONT));
            loop_until(&bed->loop, &bed->events.crashed, 1);
            check(WIFSIGNALED(bed->events.last.wait_status));
            check_int(WTERMSIG(bed->events.last.wait_status), kills[i]);
            loop_until(&bed->loop, &early.calls, 1);
            check_seen(&early, dead, 6);
            check(is_child(pid));
            gate_open(&gate);
            loop_until(&bed->loop, &seen.calls, 1);
            check_seen(&seen, pid, 5);
            check_ok(sss_child_free(child));
            check_ok(sss_child_free(zombie));
            check_ok(sss_forksrv_free(bed->srv));
        }
    }
}

static void await_state(pid_t pid, char wanted)
{
    int64_t late = now_ms() + DEADLINE_MS;

    while (process_state(pid) != wanted) {
        check(now_ms() < late);
        sched_yield();
    }
}

/* Waits until the server has reaped the child, while nobody reads what the server says of it:
 * the daemon's loop turns only while the server is stopped. */
static void reaped_unheard(struct server_bed *bed, pid_t server, pid_t pid)
{
    struct pollfd fd = { .fd = bed->loop.ctxfd, .events = POLLIN };
    int64_t late = now_ms() + DEADLINE_MS;
    int window;

    /* The pause gets longer each time, as the server must be scheduled in it. */
    for (window = 10;; window *= 2) {
        check(now_ms() < late);
        check(poll(&fd, 1, window) != -1);
        check_ok(kill(server, SIGSTOP));
        await_state(server, 'T');
        if (process_state(pid) == 0) {
            break;
        }
        loop_turn(&bed->loop, 0);
        check_ok(kill(server, SIGCONT));
    }
    check_ok(kill(server, SIGCONT));
}

/* The server reaps a child, and so frees its pid, only when the daemon has asked for the
 * status. What the server said before its end is read all the same. */
static void what_it_said(struct server_bed *bed, bool freed)
{
    struct sss_child_ctx *child, *others[3];
    struct seen seen = { 0 }, other[3] = { { 0 }, { 0 }, { 0 } };
    struct gate gate;
    pid_t pid, server;
    int i;

    server_start(bed, SSS_FORKSRV_SERVERS_CHILDREN);
    server = server_pid(bed->srv);
    gate_make(&gate);
    child = launch_at(bed->srv, &gate, 5, see, &seen);
    pid = pid_of(child);
    gate_open(&gate);
    await_state(pid, 'Z');
    /* The server has work, and time to hear of the end. The daemon's loop has not turned. */
    for (i = 0; i < 2; i++) {
        others[i] = launch_at(bed->srv, NULL, 6, see, &other[i]);
    }
    check_int(process_state(pid), 'Z');
    check_int(seen.calls, 0);
    reaped_unheard(bed, server, pid);
    /* When the server has answered this, it has answered all earlier requests. */
    others[2] = launch_at(bed->srv, NULL, 6, see, &other[2]);
    if (freed) {
        check_ok(sss_forksrv_free(bed->srv));
    } else {
        check_ok(kill(server, SIGKILL));
        await_gone_or_zombie(server);
    }
    loop_until(&bed->loop, &seen.calls, 1);
    check_seen(&seen, pid, 5);
    check_ok(sss_child_free(child));
    for (i = 0; i < 3; i++) {
        pid = pid_of(others[i]);
        loop_until(&bed->loop, &other[i].calls, 1);
        check_seen(&other[i], pid, 6);
        check_ok(sss_child_free(others[i]));
    }
    if (freed) {
        loop_until_reaped(&bed->loop, server);
        check_int(bed->events.crashed + bed->events.stopped, 0);
        return;
    }
    loop_until(&bed->loop, &bed->events.crashed, 1);
    check_ok(sss_forksrv_free(bed->srv));
}

static void what_a_dead_server_said(void **state)
{
    what_it_said(*state, false);
}

static void what_a_freed_server_said(void **state)
{
    what_it_said(*state, true);
}

/* The context is freed, and its server at once before or after it. One child lives on, and one
 * is a zombie that the server has not reaped. The process has another context, which reaps both
 * and the server; nothing is told. */
static void its_context_is_freed(struct server_bed *bed, uint32_t manner, bool server_first)
{
    struct loop other;
    struct sss_child_ctx *child, *zombie;
    struct seen seen = { 0 };
    struct gate gate, second;
    pid_t pid, dead, server;

    server_bed_start(bed);
    loop_start(&other, ctx_make(SSS_SCOPE_REGISTERED, 0), WAKE_DESCRIPTOR);
    server_start(bed, manner);
    server = server_pid(bed->srv);
    gate_make(&gate);
    gate_make(&second);
    child = launch_at(bed->srv, &gate, 5, see, &seen);
    zombie = launch_at(bed->srv, &second, 6, see, &seen);
    pid = pid_of(child);
    dead = pid_of(zombie);
    /* A stopped server cannot end, and until it has ended its children are not ours. */
    check_ok(kill(server, SIGSTOP));
    await_state(server, 'T');
    gate_open(&second);
    await_state(dead, 'Z');
    if (server_first) {
        check_ok(sss_forksrv_free(bed->srv));
    }
    loop_end(&bed->loop);
    if (!server_first) {
        check_ok(sss_forksrv_free(bed->srv));
    }
    loop_turn(&other, 0);
    check_ok(kill(server, SIGCONT));
    loop_until_reaped(&other, server);
    loop_until_reaped(&other, dead);
    check(is_child(pid));
    gate_open(&gate);
    loop_until_reaped(&other, pid);
    check_int(seen.calls, 0);
    check_int(bed->events.count, 1); /* that it was ready */
    check_ok(sss_child_free(child));
    check_ok(sss_child_free(zombie));
    loop_end(&other);
    check_ok(sss_subreaper_enable(0));
    check_no_children();
}

static void a_freed_context_leaves_its_children_to_another(void **state)
{
    struct server_bed bed;
    size_t way;

    (void)state;
    for (way = 0; way < ARRAY_SIZE(manners); way++) {
        its_context_is_freed(&bed, manners[way], true);
        its_context_is_freed(&bed, manners[way], false);
    }
}

static void a_dead_server_takes_no_launch(void **state)
{
    struct server_bed *bed = *state;
    struct sss_child_ctx *child = NULL;
    struct order order;
    errno_t ret;
    size_t way;

    for (way = 0; way < ARRAY_SIZE(manners); way++) {
        server_start(bed, manners[way]);
        check_ok(kill(server_pid(bed->srv), SIGKILL));
        ret = sss_forksrv_launch(NULL, bed->srv, order_ends(&order, NULL, 0), see, NULL, &child);
        check_int(ret, ECONNRESET);
        loop_until(&bed->loop, &bed->events.crashed, 1);
        ret = sss_forksrv_launch(NULL, bed->srv, order_ends(&order, NULL, 0), see, NULL, &child);
        check_int(ret, ENOTCONN);
        check_ok(sss_forksrv_free(bed->srv));
    }
}

/* Nothing comes of a launch that timed out, and its process is reaped. */
static void a_stopped_server_times_out(void **state)
{
    struct server_bed *bed = *state;
    struct sss_child_ctx *child = NULL;
    struct order order;
    struct seen seen = { 0 };
    size_t way, i;

    for (way = 0; way < ARRAY_SIZE(manners); way++) {
        memset(&bed->events, 0, sizeof(bed->events));
        bed->srv = start(bed, manners[way], 50 * 1000 * 1000);
        loop_until(&bed->loop, &bed->events.ready, 1);
        check_ok(kill(server_pid(bed->srv), SIGSTOP));
        for (i = 0; i < 3; i++) {
            check_int(sss_forksrv_launch(NULL, bed->srv, order_ends(&order, NULL, 0), see, &seen,
                                         &child),
                      ETIMEDOUT);
        }
        check_ok(kill(server_pid(bed->srv), SIGCONT));
        loop_settle(&bed->loop);
        check_ok(sss_forksrv_stop(bed->srv));
        loop_until(&bed->loop, &bed->events.stopped, 1);
        loop_settle(&bed->loop);
        check_int(seen.calls, 0);
        check(child == NULL);
        check_ok(sss_forksrv_free(bed->srv));
    }
}

/* Kills the server after a while, again and again. */
struct killer {
    struct sss_forksrv *srv;
    int signum;
    unsigned delay_us;
};

static void *kill_server(void *arg)
{
    struct killer *killer = arg;
    struct timespec delay = { .tv_nsec = (long)killer->delay_us * 1000 };
    pid_t pid = 0;

    clock_nanosleep(CLOCK_MONOTONIC, 0, &delay, NULL);
    if (sss_forksrv_pid(killer->srv, &pid) == 0) {
        kill(pid, killer->signum);
    }
    return NULL;
}

/*
 * Each launch is accounted for: a process whose end is told once, with the right status, or an
 * error and no process. The delays cover the whole of a launch.
 */
static void killed_at_any_time(void **state)
{
    static const int kills[] = { SIGKILL, SIGSEGV };
    struct server_bed *bed = *state;
    unsigned delay, launched = 0, refused = 0;
    struct seen seen;
    struct order order;
    size_t way;

    for (way = 0; way < ARRAY_SIZE(manners); way++) {
        bed->srv = start(bed, manners[way] | SSS_FORKSRV_RESTART, 0);
        for (delay = 0; delay < 400; delay += 2) {
            struct sss_child_ctx *child = NULL;
            struct killer killer = { bed->srv, kills[delay / 2 % 2], delay };
            unsigned crashed = bed->events.crashed;
            pthread_t thread;
            errno_t ret;
            pid_t pid;

            loop_until(&bed->loop, &bed->events.ready, bed->events.crashed + way + 1);
            memset(&seen, 0, sizeof(seen));
            check_ok(pthread_create(&thread, NULL, kill_server, &killer));
            ret = sss_forksrv_launch(NULL, bed->srv, order_ends(&order, NULL, 9), see, &seen,
                                     &child);
            check_ok(pthread_join(thread, NULL));
            if (ret == 0) {
                pid = pid_of(child);
                loop_until(&bed->loop, &seen.calls, 1);
                check_seen(&seen, pid, 9);
                check_ok(sss_child_free(child));
                launched++;
            } else {
                check_int(ret, ECONNRESET);
                check(child == NULL);
                refused++;
            }
                loop_until(&bed->loop, &bed->events.crashed, crashed + 1);
        }
        loop_until(&bed->loop, &bed->events.ready, bed->events.crashed + way + 1);
        check_ok(sss_forksrv_stop(bed->srv));
        loop_until(&bed->loop, &bed->events.stopped, way + 1);
        check_ok(sss_forksrv_free(bed->srv));
    }
    printf("%u launched, %u refused\n", launched, refused);
    check(launched > 0 && refused > 0);
}

/* Every 50th launch finds its server killed. Each status is right, or lost where the kernel
 * keeps none for a pidfd and the server had reaped the child. */
static void launch_and_kill(struct server_bed *bed, uint32_t manner, unsigned total)
{
    static struct seen seen[50];
    struct sss_child_ctx *children[50];
    unsigned n, launched = 0, refused = 0, told = 0, lost = 0, ready = 1;
    struct order order;

    memset(&bed->events, 0, sizeof(bed->events));
    bed->srv = start(bed, manner | SSS_FORKSRV_RESTART, 0);
    loop_until(&bed->loop, &bed->events.ready, ready);
    for (n = 0; n < total; n++) {
        unsigned at = n % 50, i;
        errno_t ret;

        if (at == 0) {
            memset(seen, 0, sizeof(seen));
            memset(children, 0, sizeof(children));
        }
        if (at == n / 50 % 50) {
            check_ok(kill(server_pid(bed->srv), SIGKILL));
        }
        ret = sss_forksrv_launch(NULL, bed->srv, order_ends(&order, NULL, (int)at), see,
                                 &seen[at], &children[at]);
        if (ret == 0) {
            launched++;
        } else {
            check_int(ret, ECONNRESET);
            refused++;
            loop_until(&bed->loop, &bed->events.ready, ++ready);
        }
        if (at != 49) {
            continue;
        }
        for (i = 0; i < 50; i++) {
            if (children[i] == NULL) {
                check_int(seen[i].calls, 0);
                continue;
            }
            loop_until(&bed->loop, &seen[i].calls, 1);
            told++;
            if (seen[i].status == SSS_WAIT_STATUS_LOST) {
                lost++;
            } else {
                check_seen(&seen[i], pid_of(children[i]), (int)i);
            }
            check_ok(sss_child_free(children[i]));
        }
    }
    printf("%u launches: %u run, %u refused, %u told, %u lost\n", total, launched, refused, told,
           lost);
    check_int(told, launched);
    check_int(launched + refused, total);
    check(lost == 0 || (manner == SSS_FORKSRV_SERVERS_CHILDREN && !kernel_keeps_status()));
    check_int(refused, total / 50);
    check_ok(sss_forksrv_stop(bed->srv));
    loop_until(&bed->loop, &bed->events.stopped, 1);
    check_ok(sss_forksrv_free(bed->srv));
}

static void ten_thousand_launches(void **state)
{
    launch_and_kill(*state, SSS_FORKSRV_CLONE_PARENT, test_profile_is("plain") ? 10000 : 500);
    launch_and_kill(*state, SSS_FORKSRV_SERVERS_CHILDREN, test_profile_is("plain") ? 2000 : 200);
}

static int64_t time_now(void)
{
    struct timespec now;

    check_ok(clock_gettime(CLOCK_MONOTONIC, &now));
    return now.tv_sec * (int64_t)1000000000 + now.tv_nsec;
}

/* The second restart within the interval comes at once, the third when the interval is over. */
static void no_more_than_its_burst(void **state)
{
    struct server_bed *bed = *state;
    struct sss_forksrv_params params = server_zero(SSS_FORKSRV_RESTART, &bed->events);
    int64_t begun = time_now();
    unsigned i;

    params.restart_burst = 2;
    params.restart_interval = 200 * 1000 * 1000;
    memset(&bed->events, 0, sizeof(bed->events));
    check_ok(sss_forksrv_start(NULL, bed->loop.ctx, &params, &bed->srv));
    for (i = 1; i <= 3; i++) {
        loop_until(&bed->loop, &bed->events.ready, i);
        check_int(bed->events.crashed, i - 1);
        check_int(bed->events.restarted, i - 1);
        if (i < 3) {
            check_ok(kill(server_pid(bed->srv), SIGKILL));
        }
    }
    check(time_now() >= begun + params.restart_interval);
    server_finish(bed);
}

/* The server has died, and another is to be started when the interval is over: it is not. */
static void a_stopped_server_is_not_begun_anew(void **state)
{
    struct server_bed *bed = *state;
    struct sss_forksrv_params params = server_zero(SSS_FORKSRV_RESTART, &bed->events);
    int64_t past;
    errno_t ret;
    pid_t pid;

    params.restart_burst = 1;
    params.restart_interval = 1000000000;
    memset(&bed->events, 0, sizeof(bed->events));
    check_ok(sss_forksrv_start(NULL, bed->loop.ctx, &params, &bed->srv));
    loop_until(&bed->loop, &bed->events.ready, 1);
    check_ok(kill(server_pid(bed->srv), SIGKILL));
    loop_until(&bed->loop, &bed->events.crashed, 1);
    ret = sss_forksrv_stop(bed->srv);
    if (ret == 0) {
        /* This machine is so slow that the next server was there first. */
        loop_until(&bed->loop, &bed->events.stopped, 1);
    } else {
        check(ret == ENOTCONN || ret == ECONNRESET);
    }
    bed->events.restarted = 0;
    past = time_now() + params.restart_interval;
    while (time_now() <= past) {
        loop_turn(&bed->loop, 10);
    }
    loop_settle(&bed->loop);
    check_int(bed->events.restarted, 0);
    check_int(sss_forksrv_pid(bed->srv, &pid), ENOTCONN);
    check_ok(sss_forksrv_free(bed->srv));
}

/* A client that is killed leaves neither a server nor a child that waits. */
static void client_dies(void *arg)
{
    int report = *(int *)arg;
    struct server_bed bed = { 0 };
    struct order order;
    struct sss_child_ctx *child = NULL;
    pid_t pid;

    loop_start(&bed.loop, ctx_make(SSS_SCOPE_REGISTERED, 0), WAKE_DESCRIPTOR);
    bed.srv = start(&bed, 0, 0);
    loop_until(&bed.loop, &bed.events.ready, 1);
    pid = server_pid(bed.srv);
    check_int(write(report, &pid, sizeof(pid)), sizeof(pid));
    for (;;) {
        (void)sss_forksrv_launch(NULL, bed.srv, order_ends(&order, NULL, 0), NULL, NULL, &child);
        (void)sss_sigchld_ctx_dispatch(bed.loop.ctx, 0);
        (void)sss_child_free(child);
    }
}

static void a_dead_client_ends_the_server(void **state)
{
    unsigned delay;
    int pipe_fds[2];
    pid_t pid, server;

    (void)state;
    check_ok(prctl(PR_SET_CHILD_SUBREAPER, 1));
    for (delay = 0; delay < 40; delay++) {
        struct timespec wait = { .tv_nsec = (long)delay * 100000 };
        int status;
        pid_t got;

        check_ok(pipe(pipe_fds));
        pid = fork();
        check(pid != -1);
        if (pid == 0) {
            close(pipe_fds[0]);
            client_dies(&pipe_fds[1]);
            _exit(1);
        }
        close(pipe_fds[1]);
        check_int(read(pipe_fds[0], &server, sizeof(server)), sizeof(server));
        close(pipe_fds[0]);
        clock_nanosleep(CLOCK_MONOTONIC, 0, &wait, NULL);
        check_ok(kill(pid, SIGKILL));
        /* All its processes become our children, and end by themselves. */
        do {
            got = waitpid(-1, &status, 0);
        } while (got > 0 || (got == -1 && errno == EINTR));
        check_int(errno, ECHILD);
    }
    check_ok(prctl(PR_SET_CHILD_SUBREAPER, 0));
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(children_live_on, server_bed_begin, server_bed_end),
        cmocka_unit_test_setup_teardown(what_a_dead_server_said, server_bed_begin, server_bed_end),
        cmocka_unit_test_setup_teardown(what_a_freed_server_said, server_bed_begin, server_bed_end),
        cmocka_unit_test(a_freed_context_leaves_its_children_to_another),
        cmocka_unit_test_setup_teardown(a_dead_server_takes_no_launch, server_bed_begin, server_bed_end),
        cmocka_unit_test_setup_teardown(a_stopped_server_times_out, server_bed_begin, server_bed_end),
        cmocka_unit_test_setup_teardown(killed_at_any_time, server_bed_begin, server_bed_end),
        cmocka_unit_test_setup_teardown(ten_thousand_launches, server_bed_begin, server_bed_end),
        cmocka_unit_test_setup_teardown(no_more_than_its_burst, server_bed_begin, server_bed_end),
        cmocka_unit_test_setup_teardown(a_stopped_server_is_not_begun_anew, server_bed_begin, server_bed_end),
        cmocka_unit_test(a_dead_client_ends_the_server),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
