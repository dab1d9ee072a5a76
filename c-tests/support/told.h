/* Rich watches, and what their callbacks were called with. */
#ifndef SUPPORT_TOLD_H
#define SUPPORT_TOLD_H

#include <sss_sigchld.h>
#include <sys/types.h>

#include "support/child.h"

/* What a callback with this as its pvt was called with. */
struct told {
    unsigned calls;
    struct sss_child_ctx *child;
    struct sss_child_event event;     /* the latest */
    struct sss_child_event events[8]; /* the first few */
    bool was_zombie;                  /* in the latest call the child was a zombie */
};
void tell(struct sss_child_ctx *child, const struct sss_child_event *event, void *pvt);

/* All zero except size, pid, callback and pvt. */
struct sss_watch watch_of(pid_t pid, struct told *told);
struct sss_child_ctx *watch_with(struct sss_sigchild_ctx *ctx, const struct sss_watch *watch);
/* The same, of watch_of(). */
struct sss_child_ctx *watch_child(struct sss_sigchild_ctx *ctx, pid_t pid, struct told *told);
/* The same for these events, SSS_CHILD_EVENT_*, alone. */
struct sss_child_ctx *watch_for(struct sss_sigchild_ctx *ctx, pid_t pid, uint32_t events,
                                struct told *told);

/* A child that waits at a gate and ends so, with its watch. */
struct gated {
    struct told told;
    struct gate gate;
    pid_t pid;
    struct sss_child_ctx *child;
};
void gated_start(struct sss_sigchild_ctx *ctx, struct gated *gated, int end);
/* Opens the gate for the processes behind it, and frees the handle. */
void gated_free(struct gated *gated);

/* Checks that the callback came once, for pid, with this end. */
void check_told(const struct told *told, pid_t pid, int end);

#endif
