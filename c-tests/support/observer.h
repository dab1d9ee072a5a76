/* Somebody else who counts processes: the proc connector tells of each fork and exit,
 * wherever it is, with pids of the first pid namespace. */
#ifndef SUPPORT_OBSERVER_H
#define SUPPORT_OBSERVER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/types.h>

struct observer {
    pthread_t thread;
    int fd;
    const atomic_int *root; /* the process below which is counted */
    atomic_int *ready;
    atomic_bool over;
    char *ours; /* by pid: alive, and below the root */
    bool complete;
    unsigned long forks, exits;
    unsigned long exits_by_code[256];
};

/* Begins to count, in a thread. *root and *ready are 0, and shared with the process that
 * is to be the root, which calls observer_watches_me(). Skips the test where nobody can
 * observe. */
void observer_begin(struct observer *observer, const atomic_int *root, atomic_int *ready);
/* Ends it; nothing is missing if it is complete. */
void observer_end(struct observer *observer);

/* In the root, before it mounts a /proc of its own: returns when it is observed. */
void observer_watches_me(atomic_int *root, const atomic_int *ready);

#endif
