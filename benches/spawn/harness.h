/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A subject is one way of starting a child and of learning that it has ended.
 * It implements `struct spawn_subject`; the harness is the daemon around it,
 * measures, and verifies each child.
 */
#ifndef BENCH_SPAWN_HARNESS_H
#define BENCH_SPAWN_HARNESS_H

#include <stdbool.h>
#include <sys/types.h>

struct spawn_subject {
    const char *name;

    /* Version of the library measured, for the results. */
    const char *(*version)(void);

    /* Its children inherit each descriptor that is not close-on-exec. */
    bool leaks;

    /* A server process of its own makes the children. */
    bool has_server;

    /* The loop of one thread, in which one child runs at a time; NULL after
     * spawn_error(). */
    void *(*open)(void);

    /* The child has `sources` as its descriptors 0, 1 and 2, or the daemon's own
     * where that is NULL; no others. 0, or -1 after spawn_error(). */
    int (*start)(void *loop, unsigned slot, char *argv[], const int sources[3]);

    /* One turn of the loop, blocking until something happens: as start. */
    int (*turn)(void *loop);

    void (*close)(void *loop);
};

extern const struct spawn_subject spawn_subject;

/* Each subject calls this once for each end of a child. */
void spawn_reaped(unsigned slot, pid_t pid, int wait_status);

void spawn_error(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#endif
