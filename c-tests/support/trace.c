#define _GNU_SOURCE
#include "support/trace.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <malloc.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "support/check.h"

/* Calls of getpriority() that nobody makes; the listener answers them. */
#define MARK SYS_getpriority
#define MARK_ON 0x5550
#define MARK_OFF 0x5551

struct traced_thread {
    void (*fn)(void *arg);
    void *arg;
    atomic_int listener;
};

static int listen_here(void)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
    };
    struct sock_fprog program = { .len = 1, .filter = filter };

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
        return -1;
    }
    return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER,
                        &program);
}

void trace_on(void)
{
    syscall(MARK, MARK_ON, 0);
}

void trace_off(void)
{
    syscall(MARK, MARK_OFF, 0);
}

static void *traced_main(void *pvt)
{
    struct traced_thread *self = pvt;
    int listener = listen_here();

    atomic_store(&self->listener, listener == -1 ? -errno : listener);
    if (listener != -1) {
        self->fn(self->arg);
    }
    return NULL;
}

/* Answers one call; false when the thread is gone. */
static bool answer(int listener, struct trace *trace, bool *on)
{
    struct seccomp_notif call;
    struct seccomp_notif_resp reply;
    struct traced *seen;

    memset(&call, 0, sizeof(call));
    if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &call) == -1) {
        return errno == EINTR;
    }
    memset(&reply, 0, sizeof(reply));
    reply.id = call.id;
    reply.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
    if (call.data.nr == MARK && call.data.args[0] - MARK_ON <= MARK_OFF - MARK_ON) {
        *on = call.data.args[0] == MARK_ON;
        reply.flags = 0;
    } else if (*on && trace != NULL && trace->count < TRACE_MAX) {
        seen = &trace->calls[trace->count++];
        seen->nr = call.data.nr;
        memcpy(seen->args, call.data.args, sizeof(seen->args));
    }
    return ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &reply) == 0 || errno == ENOENT;
}

static int trace_try(void (*fn)(void *arg), void *arg, struct trace *trace)
{
    struct traced_thread thread = { fn, arg, 0 };
    struct pollfd fd = { .events = POLLIN };
    pthread_t id;
    bool on = false;

    mallopt(M_ARENA_MAX, 1); /* an arena of its own is the thread's cost, not the call's */
    check_ok(pthread_create(&id, NULL, traced_main, &thread));
    while ((fd.fd = atomic_load(&thread.listener)) == 0) {
        sched_yield();
    }
    while (fd.fd > 0 && poll(&fd, 1, DEADLINE_MS) == 1 && (fd.revents & POLLIN) != 0) {
        if (!answer(fd.fd, trace, &on)) {
            break;
        }
    }
    check_ok(pthread_join(id, NULL));
    if (fd.fd < 0) {
        return -fd.fd;
    }
    return close(fd.fd) == 0 ? 0 : errno;
}

static void nothing(void *unused)
{
    (void)unused;
}

void trace_needed(void)
{
    if (test_profile_is("valgrind")) {
        test_skip("valgrind", "valgrind's own system calls are made by the same thread");
    }
    if (trace_try(nothing, NULL, NULL) != 0) {
        test_lacks("no seccomp listener to be had");
    }
}

void trace_run(void (*fn)(void *arg), void *arg, struct trace *trace)
{
    trace->count = 0;
    check_ok(trace_try(fn, arg, trace));
    check(trace->count < TRACE_MAX);
}

unsigned trace_count(const struct trace *trace, int nr)
{
    unsigned count = 0;
    unsigned i;

    for (i = 0; i < trace->count; i++) {
        count += trace->calls[i].nr == nr;
    }
    return count;
}

void trace_print(const struct trace *trace)
{
    unsigned i;

    for (i = 0; i < trace->count; i++) {
        const struct traced *call = &trace->calls[i];

        fprintf(stderr, "  %d(%#jx, %#jx, %#jx, %#jx)\n", call->nr, (uintmax_t)call->args[0],
                (uintmax_t)call->args[1], (uintmax_t)call->args[2], (uintmax_t)call->args[3]);
    }
}
