/*
 * Keeps libev's default loop from waiting for every child of the process. For
 * libev.h, not for daemons.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#ifndef SSS_SIGCHLD_LIBEV_REAPER_H
#define SSS_SIGCHLD_LIBEV_REAPER_H

#include <errno.h>
#include <signal.h>
#include <stdlib.h>

#include <ev.h>
#include <sss_sigchld.h>

#ifdef __cplusplus
extern "C" {
#endif

/* While libev's own ev_signal is kept from waiting, its data pointer points to this. libev
 * does not use that pointer, so every unit of the program finds the same structure there. */
struct sss_ev_reaper {
    unsigned held;
    void (*cb)(struct ev_loop *loop, ev_signal *sig, int events);
};

static inline void sss_ev_no_reap(struct ev_loop *loop, ev_signal *sig, int events)
{
    (void)loop;
    (void)sig;
    (void)events;
}

/*
 * Finds libev's own ev_signal, if this libev has one, and keeps it from waiting. It was the
 * first one for SIGCHLD on the default loop. libev puts new ones at the head of their list, so
 * it is the last.
 */
static inline errno_t sss_ev_hold_reaper(struct ev_loop *loop, ev_signal **reaper)
{
    ev_signal probe, *last = &probe;
    struct sss_ev_reaper *own;

    ev_signal_init(&probe, sss_ev_no_reap, SIGCHLD);
    ev_signal_start(loop, &probe);
    while (last->next != NULL) {
        last = (ev_signal *)(void *)last->next;
    }
    ev_signal_stop(loop, &probe);
    if (last->priority != EV_MAXPRI) {
        return 0; /* a libev without ev_child */
    }
    own = (struct sss_ev_reaper *)last->data;
    if (own == NULL) {
        own = (struct sss_ev_reaper *)calloc(1, sizeof(*own));
        if (own == NULL) {
            return ENOMEM;
        }
        own->cb = ev_cb(last);
        last->data = own;
        ev_set_cb(last, sss_ev_no_reap);
    }
    own->held++;
    *reaper = last;
    return 0;
}

static inline void sss_ev_let_reap(ev_signal *reaper)
{
    struct sss_ev_reaper *own = (struct sss_ev_reaper *)reaper->data;

    if (--own->held == 0) {
        ev_set_cb(reaper, own->cb);
        reaper->data = NULL;
        free(own);
    }
}

/* Has libev wait for the children that ended meanwhile, unless another context still keeps it
 * from waiting. */
static inline void sss_ev_reap_again(struct ev_loop *loop, ev_signal *reaper)
{
    if (reaper->data == NULL) {
        ev_feed_event(loop, reaper, EV_SIGNAL);
    }
}

#ifdef __cplusplus
}
#endif

#endif /* SSS_SIGCHLD_LIBEV_REAPER_H */
