/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What the subjects of this library have in common. */
#ifndef BENCH_SSS_H
#define BENCH_SSS_H

#include "../harness.h"

#include <errno.h>
#include <sss_sigchld.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

static struct sss_sigchild_ctx *ctx;

static inline void on_end(int pid, int wait_status, void *pvt)
{
    unsigned slot = (unsigned)(uintptr_t)pvt;
    errno_t ret;

    bench_exit(slot, pid, wait_status);
    ret = sss_child_free(*bench_kept(slot));
    if (ret != 0)
        bench_error("sss_child_free: %s", strerror(ret));
}

#ifdef SSS_RICH
/* The same by a rich watch with its default record. */
static inline void on_event(struct sss_child_ctx *child, const struct sss_child_event *event,
                            void *pvt)
{
    (void)child;
    on_end(event->pid, event->wait_status, pvt);
}

static inline errno_t sss_watch_it(pid_t pid, unsigned slot, struct sss_child_ctx **watch)
{
    const struct sss_watch wanted = {
        .size = sizeof(wanted),
        .mask = SSS_WATCH_PID,
        .pid = pid,
        .cb = on_event,
        .pvt = (void *)(uintptr_t)slot,
    };

    return sss_child_watch(NULL, ctx, &wanted, watch);
}
#else
static inline errno_t sss_watch_it(pid_t pid, unsigned slot, struct sss_child_ctx **watch)
{
    return sss_child_register(NULL, ctx, pid, on_end, (void *)(uintptr_t)slot, watch);
}
#endif

/* A daemon with many children lets them have most of its descriptors. By default it is half,
 * which is too few for 10,000 children where the hard limit is 20,000. */
static inline uint32_t most_pidfds(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        bench_error("getrlimit: %s", strerror(errno));
    return (uint32_t)(limit.rlim_cur / 10 * 9);
}

static inline int sss_create(uint32_t scope, const struct sss_host *host, void *loop)
{
    struct sss_ctx_params params = {
        .size = sizeof(params),
        .mask = SSS_CTX_PARAM_SCOPE | SSS_CTX_PARAM_MAX_PIDFDS,
        .scope = scope,
        .max_pidfds = most_pidfds(),
        .host = host,
        .memctx = host != NULL && host->alloc != NULL ? loop : NULL,
        .loop = loop,
    };
    errno_t ret = sss_sigchld_ctx_create(&params, &ctx);

    if (ret != 0)
        bench_error("sss_sigchld_ctx_create: %s", strerror(ret));
    return ret != 0 ? -1 : 0;
}

static inline int sss_add(pid_t pid, unsigned slot)
{
    struct sss_child_ctx *watch;
    errno_t ret = sss_watch_it(pid, slot, &watch);

    if (ret == 0)
        *bench_kept(slot) = watch;
    else
        bench_error("no watch: %s", strerror(ret));
    return ret != 0 ? -1 : 0;
}

static inline const char *sss_bench_version(void)
{
    static char text[32];

    snprintf(text, sizeof(text), "sss_sigchld %s", sss_version());
    return text;
}

#endif
