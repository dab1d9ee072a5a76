/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A subject is one way of learning that a child has ended. It implements
 * `struct bench_subject`; the harness makes the children, lets them end,
 * measures, and verifies each status.
 */
#ifndef BENCH_HARNESS_H
#define BENCH_HARNESS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define BENCH_SLOTS_MAX 65536

struct bench_subject {
    const char *name;

    /* Version of the library measured, for the results. */
    const char *(*version)(void);

    /* Each returns 0, or -1 after bench_error(). */
    int (*init)(void);
    int (*add)(pid_t pid, unsigned slot);
    /* One turn of the loop, blocking until something happens. */
    int (*turn)(void);
    void (*fini)(void);

    /* In place of add, for peers that only watch children that they spawn: runs `argv`
     * with `stdin_fd` as descriptor 0; returns the pid, or -1. */
    pid_t (*spawn)(unsigned slot, char *const argv[], int stdin_fd);
};

extern const struct bench_subject bench_subject;

/* Each subject calls this once for each end of a child. */
void bench_exit(unsigned slot, pid_t pid, int wait_status);

/* The subject's pointer of a child, where a daemon would keep its handle. */
void **bench_kept(unsigned slot);

/* Whether all the exits of the running measurement have been delivered. */
bool bench_done(void);

void bench_error(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* A raw wait status out of si_code and si_status. */
int bench_wait_status(int code, int status);

#endif
