/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * deadlines COUNT: sets so many deadlines, each in a watch of its own, and takes them
 * away. Prints the CPU time of setting one and of taking one away, in ns, and the heap of
 * one watch.
 */
#define _GNU_SOURCE
#include <malloc.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <sss_sigchld.h>

static int64_t cpu_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

int main(int argc, char **argv)
{
    int count = argc == 2 ? atoi(argv[1]) : 10000;
    struct sss_child_ctx **children = calloc((size_t)count, sizeof(*children));
    struct sss_ctx_params params = { .size = sizeof(params) };
    struct sss_sigchild_ctx *ctx;
    int64_t watch_ns, set_ns, cancel_ns, heap;
    pid_t *pids = calloc((size_t)count, sizeof(*pids));
    int i, fd;

    if (children == NULL || pids == NULL || sss_sigchld_ctx_create(&params, &ctx) != 0
        || sss_sigchld_ctx_fd(ctx, &fd) != 0) {
        return 1;
    }
    /* Woken by a signal, so that no watch has a descriptor. */
    sss_child_handler(NULL, NULL, SIGCHLD, 1, NULL, ctx);
    for (i = 0; i < count; i++) {
        pids[i] = fork();
        if (pids[i] == 0) {
            for (;;) {
                pause();
            }
        }
        if (pids[i] < 0) {
            return 1;
        }
    }
    heap = (int64_t)mallinfo2().uordblks;
    watch_ns = cpu_ns();
    for (i = 0; i < count; i++) {
        struct sss_watch watch = {
            .size = sizeof(watch), .mask = SSS_WATCH_PID, .pid = pids[i],
        };

        if (sss_child_watch(NULL, ctx, &watch, &children[i]) != 0) {
            return 1;
        }
    }
    watch_ns = cpu_ns() - watch_ns;
    heap = (int64_t)mallinfo2().uordblks - heap;
    set_ns = cpu_ns();
    for (i = 0; i < count; i++) {
        struct sss_deadline_step step = {
            .after_ns = 3600 * 1000000000LL + (i * 7919LL % count) * 1000,
            .signum = SIGTERM,
        };
        struct sss_deadline deadline = {
            .size = sizeof(deadline), .steps = &step, .steps_count = 1,
        };

        if (sss_child_set_deadline(children[i], &deadline) != 0) {
            return 1;
        }
    }
    set_ns = cpu_ns() - set_ns;
    cancel_ns = cpu_ns();
    for (i = 0; i < count; i++) {
        if (sss_child_set_deadline(children[i], NULL) != 0) {
            return 1;
        }
    }
    cancel_ns = cpu_ns() - cancel_ns;
    for (i = 0; i < count; i++) {
        kill(pids[i], SIGKILL);
        if (sss_child_wait(children[i], -1, NULL, NULL) != 0 || sss_child_free(children[i]) != 0) {
            return 1;
        }
    }
    sss_sigchld_ctx_free(ctx);
    printf("{\"watch_ns\": %lld, \"set_ns\": %lld, \"cancel_ns\": %lld, \"heap_bytes\": %.1f}\n",
           (long long)watch_ns / count, (long long)set_ns / count, (long long)cancel_ns / count,
           (double)heap / count);
    free(children);
    free(pids);
    return 0;
}
