/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Reaps with the least work: a blocking waitpid(2) for the one child. No daemon can do
 * that; it is here to show what a loop costs. */
#ifndef BENCH_SPAWN_WAITPID_H
#define BENCH_SPAWN_WAITPID_H

#include "harness.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

struct waitpid_loop {
    unsigned slot;
    pid_t pid;
};

static void *waitpid_open(void)
{
    void *loop = calloc(1, sizeof(struct waitpid_loop));

    if (loop == NULL)
        spawn_error("out of memory");
    return loop;
}

static int waitpid_turn(void *pvt)
{
    struct waitpid_loop *loop = pvt;
    int status;

    if (waitpid(loop->pid, &status, 0) != loop->pid) {
        spawn_error("waitpid: %s", strerror(errno));
        return -1;
    }
    spawn_reaped(loop->slot, loop->pid, status);
    return 0;
}

#endif
