/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* libev: an ev_child for each child, in the default loop. */
#include "../harness.h"

#include <ev.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

static struct ev_loop *loop;

static void on_end(struct ev_loop *l, ev_child *watch, int events)
{
    (void)events;
    ev_child_stop(l, watch);
    bench_exit((unsigned)(uintptr_t)watch->data, watch->rpid, watch->rstatus);
    free(watch);
}

static int libev_init(void)
{
    loop = ev_default_loop(0);
    return loop != NULL ? 0 : -1;
}

static int libev_add(pid_t pid, unsigned slot)
{
    ev_child *watch = malloc(sizeof(*watch));

    if (watch == NULL)
        return -1;
    ev_child_init(watch, on_end, pid, 0);
    watch->data = (void *)(uintptr_t)slot;
    ev_child_start(loop, watch);
    return 0;
}

static int libev_turn(void)
{
    ev_run(loop, EVRUN_ONCE);
    return 0;
}

/* The default loop's handler stays, as it would in a daemon. */
static void libev_fini(void)
{
}

static const char *libev_version_text(void)
{
    static char text[32];

    snprintf(text, sizeof(text), "libev %d.%d", ev_version_major(), ev_version_minor());
    return text;
}

const struct bench_subject bench_subject = {
    .name = "libev",
    .version = libev_version_text,
    .init = libev_init,
    .add = libev_add,
    .turn = libev_turn,
    .fini = libev_fini,
};
