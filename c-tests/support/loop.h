/* A daemon's poll loop around one context, in each way of waking it. */
#ifndef SUPPORT_LOOP_H
#define SUPPORT_LOOP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include <sss_sigchld.h>

enum waking {
    WAKE_SIGNAL = 1,     /* a signalfd of ours calls sss_child_handler() */
    WAKE_DESCRIPTOR = 2, /* the context's descriptor */
    WAKE_BOTH = 3,
};

struct loop {
    struct sss_sigchild_ctx *ctx;
    int sigfd; /* or -1 */
    int ctxfd; /* or -1 */
};

/* All zero except its size. */
struct sss_ctx_params params_zero(void);
struct sss_sigchild_ctx *ctx_make(uint32_t scope, int options);
/* One with SSS_CTX_UNTRUSTED: each child gets a pidfd at once. */
struct sss_sigchild_ctx *ctx_untrusted(uint32_t scope);

void loop_start(struct loop *loop, struct sss_sigchild_ctx *ctx, enum waking waking);
/* Frees the context, if it is not NULL. */
void loop_end(struct loop *loop);

/* Waits until something is readable, at most so long; 0 if nothing was. */
int loop_turn(struct loop *loop, int timeout_ms);
/* Turns until the count is reached, or fails. */
void loop_until(struct loop *loop, const unsigned *count, unsigned wanted);
/* Turns until the child has been waited for, and everything due told. */
void loop_until_reaped(struct loop *loop, pid_t pid);
/* Turns while there is something to do. */
void loop_settle(struct loop *loop);

/* Whether a SIGCHLD, which is blocked, is pending. */
bool sigchld_is_pending(void);
void await_sigchld_pending(void);

/* What a callback with this as its pvt was called with. */
struct seen {
    unsigned calls;
    int pid;
    int status;      /* the latest */
    int statuses[4]; /* the first few */
};
void see(int pid, int wait_status, void *pvt);
/* Checks that the callback came once, for pid, with the status of this end. */
void check_seen(const struct seen *seen, pid_t pid, int end);

struct sss_ctx_stats stats_of(struct sss_sigchild_ctx *ctx);

/*
 * EACH_WAY(test) runs a test once for each scope and way of waking; *state is a
 * struct loop *. Afterwards no child and no descriptor may be left.
 */
struct way {
    uint32_t scope;
    enum waking waking;
};
extern const struct way ways[6];
int way_setup(void **state);
int way_teardown(void **state);

#define ONE_WAY(test, name, way) { #test name, test, way_setup, way_teardown, (void *)&ways[way] }
#define ALL_WAYS(test) \
    ONE_WAY(test, "_all_signal", 0), ONE_WAY(test, "_all_descriptor", 1), \
    ONE_WAY(test, "_all_both", 2)
#define REGISTERED_WAYS(test) \
    ONE_WAY(test, "_registered_signal", 3), ONE_WAY(test, "_registered_descriptor", 4), \
    ONE_WAY(test, "_registered_both", 5)
#define EACH_WAY(test) ALL_WAYS(test), REGISTERED_WAYS(test)

#endif
