/* Which system calls a function makes, seen by a seccomp listener. */
#ifndef SUPPORT_TRACE_H
#define SUPPORT_TRACE_H

#include <stdint.h>

#define TRACE_MAX 8192

struct traced {
    int nr;
    uint64_t args[6];
};

struct trace {
    unsigned count;
    struct traced calls[TRACE_MAX];
};

/* Skips the test where system calls cannot be listened to. */
void trace_needed(void);

/* Runs fn in a thread of its own; trace holds what it called between
 * trace_on() and trace_off(). */
void trace_run(void (*fn)(void *arg), void *arg, struct trace *trace);
void trace_on(void);
void trace_off(void);

unsigned trace_count(const struct trace *trace, int nr);
void trace_print(const struct trace *trace);

#endif
