/* Units whose program is helpers/unit, and their events. */
#ifndef SUPPORT_UNIT_H
#define SUPPORT_UNIT_H

#include <sss_sigchld.h>

#include "support/loop.h"

#define MS ((int64_t)1000000)

enum { MOST_TOLD = 256 };

struct bed {
    struct loop loop;
    /* The states that units entered: the unit's name, then the state's letter. */
    char states[2048];
    struct sss_unit_event last; /* of any type but this */
    struct sss_unit_event adopted;
    unsigned events, unkillable;
    struct sss_shutdown_event shutdown;
    unsigned shutdowns;
    unsigned decisions;
    uint32_t decision;
    /* Called by the callback that tells of this state, once. */
    void (*then)(struct bed *bed, struct sss_unit_ctx *ctx);
    uint32_t then_state;
};

/* A context in this scope, woken by its descriptor. */
void bed_start(struct bed *bed, uint32_t scope);
/* Frees the context; no child, no descriptor may be left. */
void bed_end(struct bed *bed);

/* A unit with a name of one letter, whose program is helpers/unit. All else is zero, except
 * that its times are short. */
struct sss_unit unit_zero(const char *name);
/* The same, ready when it sends READY=1. */
struct sss_unit unit_notifying(const char *name);
/* It starts after the unit `a`, and stops before it. */
void unit_after_a(struct sss_unit *unit);
/* Adds it with these actions. */
struct sss_unit_ctx *unit_add(struct bed *bed, struct sss_unit *unit, const char *const *actions);
errno_t unit_try_add(struct bed *bed, struct sss_unit *unit, const char *const *actions,
                     struct sss_unit_ctx **ctx);
/* The actions of a helper. */
#define ACTIONS(...) ((const char *const[]){ __VA_ARGS__, NULL })

/* Stops it, waits until all of it is dead, and removes it. */
void unit_stop(struct bed *bed, struct sss_unit_ctx *ctx);
struct sss_unit_status unit_status(struct sss_unit_ctx *ctx);

/* Turns the loop until these states were told: "aG aR" means that `a` was starting, then
 * running. The letters are S stopped, G starting, R running, L reloading, P stopping, B
 * backoff, F failed. */
void until_states(struct bed *bed, const char *states);
/* Turns the loop until the unit is in a state, or fails. */
void until_state(struct bed *bed, struct sss_unit_ctx *ctx, uint32_t state);
/* Turns the loop until the unit has said this as its STATUS. */
void until_text(struct bed *bed, struct sss_unit_ctx *ctx, const char *text);
void until_processes(struct bed *bed, struct sss_unit_ctx *ctx, unsigned count);
/* Turns the loop until this process has no child. */
void until_no_children(struct bed *bed);
/* A shutdown gives up two seconds after SIGKILL, and no earlier, on what a busy machine has
 * not ended yet. These two go on until all are dead. The first turns the loop until the
 * shutdown is told, whose patience ended after `begun`. */
void until_killed(struct bed *bed, struct sss_unit_ctx *ctx, int64_t begun);
/* sss_supervisor_shutdown_wait() without patience. */
void bed_kill_all(struct bed *bed);
/* Our children: how many, the first of them in pids. */
unsigned children_of_ours(pid_t *pids, unsigned most);

/* A FIFO for the action `gate`, in a directory of its own. Processes that wait there go on
 * when it is opened. */
struct fifo {
    char dir[32], path[64];
};
void fifo_make(struct fifo *fifo);
void fifo_open(struct fifo *fifo);
/* The same, but turns the loop until a process waits at the gate. */
void fifo_open_turning(struct bed *bed, struct fifo *fifo);
void fifo_remove(struct fifo *fifo);

/* Two running units of a new bed: `a`, which is always restarted, and `b`, which comes after
 * it. On SIGTERM `b` waits for the gate, which is made, and ends with this code; its stop
 * waits an hour for it. */
struct two {
    struct sss_unit_ctx *a, *b;
};
struct two two_start(struct bed *bed, struct fifo *gate, const char *code);

#endif
