/*
 * Holds system calls, or has them fail: in the calling thread from now on, and in the
 * threads and processes that it makes.
 */
#ifndef SUPPORT_HOLD_H
#define SUPPORT_HOLD_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Any value of the argument. */
#define ANY_ARG UINT32_MAX

/* The call fails with this errno where its argument, one of 0 to 5, has this value. */
void refuse_value(int nr, unsigned arg, uint32_t value, int error);
/* The same where its argument has any of these bits. */
void refuse_bits(int nr, unsigned arg, uint32_t bits, int error);

/* A call that is held where its first argument has this value, or ANY_ARG. */
struct hold {
    int nr;
    uint32_t arg;
};

/* Skips the test where no calls can be held. */
void hold_needed(void);
/* Begins to hold two calls, which may be the same. Returns a descriptor, which has to be
 * sent to another process: that is told of the calls by it. */
int hold_begin(const struct hold holds[2]);
/* The same in a new thread, which then calls the function. The calling thread's own calls
 * are not held: it may be the one that is told. */
int hold_thread(pthread_t *thread, const struct hold holds[2], void *(*function)(void *),
                void *arg);

/* A call that is held. */
struct held {
    uint64_t id;
    pid_t pid; /* of the thread that called */
    int nr;
    uint64_t args[6];
};

/* Waits for the next. */
struct held hold_await(int listener);
/* Lets it go on. */
void hold_release(int listener, const struct held *held);

/* The same if the caller may have been killed or stopped meanwhile: false if it was. */
bool hold_take(int listener, struct held *held);
bool hold_give_back(int listener, const struct held *held);

/* Has the call fail with this errno; false if the caller is gone. */
bool hold_fail(int listener, const struct held *held, int error);

/* A descriptor on its way to another process, by a socket. */
void send_fd(int to, int fd);
int receive_fd(int from);

#endif
