/*
 * libsss_sigchld on a GLib main loop.
 *
 * A context belongs to the thread that makes it, which must run the
 * GMainContext. It may be freed in any callback, and before the GMainContext or
 * after it. See sss_sigchld_adapters(7).
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#ifndef SSS_SIGCHLD_GLIB_H
#define SSS_SIGCHLD_GLIB_H

#include <glib.h>
#include <sss_sigchld/adapter.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What the library holds; the GMainContext, and nobody else, owns the source. */
struct sss_glib_watch {
    struct sss_adapter_call call;
    struct sss_glib_source *source;  /* NULL: gone with the GMainContext */
    struct sss_sigchild_ctx *shared; /* sss_glib_ctx_shared()'s, which ends with main */
    GMainContext *main;
};

struct sss_glib_source {
    GSource source;
    struct sss_glib_watch *watch;
};

/* Where main's last reference is another thread's, the shared contexts of a thread end
 * with the thread. Weak: see sss_adapter_mask. */
static inline void sss_glib_thread_ends(gpointer contexts)
{
    GSList *at;

    for (at = (GSList *)contexts; at != NULL; at = at->next) {
        (void)sss_sigchld_ctx_free((struct sss_sigchild_ctx *)at->data);
    }
    g_slist_free((GSList *)contexts);
}

__attribute__((weak)) GPrivate sss_glib_shared = G_PRIVATE_INIT(sss_glib_thread_ends);

static inline gboolean sss_glib_dispatch(GSource *source, GSourceFunc callback, gpointer data)
{
    (void)callback;
    (void)data;
    sss_adapter_ready(((struct sss_glib_source *)source)->watch);
    return G_SOURCE_CONTINUE;
}

static inline void sss_glib_finalize(GSource *source)
{
    struct sss_glib_watch *watch = ((struct sss_glib_source *)source)->watch;

    if (watch == NULL) {
        return;
    }
    watch->source = NULL;
    if (watch->shared != NULL) {
        g_dataset_remove_data(watch->main, "sss-sigchld");
        (void)sss_sigchld_ctx_free(watch->shared);
    }
}

static inline errno_t sss_glib_watch_fd(void *owner, void *loop, int fd,
                                        void (*readable)(void *arg), void *arg, void **out)
{
    static GSourceFuncs funcs = { NULL, NULL, sss_glib_dispatch, sss_glib_finalize, NULL, NULL };
    struct sss_glib_source *own;

    (void)owner;
    if (!g_main_context_acquire((GMainContext *)loop)) {
        return EPERM; /* another thread runs it */
    }
    g_main_context_release((GMainContext *)loop);
    own = (struct sss_glib_source *)g_source_new(&funcs, sizeof(*own));
    own->watch = g_new0(struct sss_glib_watch, 1);
    own->watch->call.readable = readable;
    own->watch->call.arg = arg;
    own->watch->source = own;
    (void)g_source_add_unix_fd(&own->source, fd, G_IO_IN);
    /* GLib blocks a source that may not, and wakes itself up to unblock it. */
    g_source_set_can_recurse(&own->source, TRUE);
    (void)g_source_attach(&own->source, (GMainContext *)loop);
    *out = own->watch;
    g_source_unref(&own->source);
    return 0;
}

static inline void sss_glib_unwatch(void *ptr)
{
    struct sss_glib_watch *watch = (struct sss_glib_watch *)ptr;
    struct sss_glib_source *own = watch->source;
    GSList *contexts = (GSList *)g_private_get(&sss_glib_shared);

    g_private_set(&sss_glib_shared, g_slist_remove(contexts, watch->shared));
    if (own != NULL) {
        own->watch = NULL;
        if (watch->shared != NULL) {
            g_dataset_remove_data(watch->main, "sss-sigchld");
        }
        g_source_destroy(&own->source);
    }
    g_free(watch);
}

/**
 * sss_glib_host() needs no signal. sss_glib_signalfd_host() takes SIGCHLD by a
 * signalfd, which is cheaper: for daemons that block SIGCHLD before they start
 * threads. See the page.
 */
SSS_ADAPTER_HOST(sss_glib_host, sss_glib_watch_fd, NULL, sss_glib_unwatch)
SSS_ADAPTER_SIGNALFD_HOST(sss_glib, sss_glib_watch_fd, sss_glib_unwatch)

/**
 * Make a context on a GMainContext.
 *
 * @param main   borrowed; NULL: the default one.
 * @param scope  SSS_SCOPE_REGISTERED or SSS_SCOPE_ALL.
 * @param ctx    written on success; free it with sss_sigchld_ctx_free().
 *
 * @return as sss_sigchld_ctx_create(); EPERM where another thread runs main.
 */
static inline errno_t sss_glib_ctx_create(GMainContext *main, uint32_t scope,
                                          struct sss_sigchild_ctx **ctx)
{
    return sss_adapter_ctx_create(sss_glib_host(), main, scope, ctx);
}

static inline errno_t sss_glib_watch_shared(void *owner, void *loop, int fd,
                                            void (*readable)(void *arg), void *arg, void **out)
{
    errno_t ret = sss_glib_watch_fd(owner, loop, fd, readable, arg, out);
    GSList *contexts = (GSList *)g_private_get(&sss_glib_shared);
    struct sss_glib_watch *watch;

    if (ret != 0) {
        return ret;
    }
    watch = (struct sss_glib_watch *)*out;
    watch->main = (GMainContext *)loop;
    /* Set with each source: sss_sigchld_ctx_after_fork() makes a new one. */
    watch->shared = (struct sss_sigchild_ctx *)owner;
    g_private_set(&sss_glib_shared, g_slist_prepend(contexts, owner));
    g_dataset_set_data(loop, "sss-sigchld", watch);
    return 0;
}

SSS_ADAPTER_HOST(sss_glib_shared_host, sss_glib_watch_shared, NULL, sss_glib_unwatch)

/**
 * The context that sss_glib_child_watch_add() uses in the calling thread: one for
 * its thread-default GMainContext, made with the first call, of scope
 * REGISTERED. It ends with the GMainContext, or with the thread before.
 */
static inline errno_t sss_glib_ctx_shared(struct sss_sigchild_ctx **ctx)
{
    GMainContext *main = g_main_context_get_thread_default();
    struct sss_glib_watch *watch;

    if (main == NULL) {
        main = g_main_context_default();
    }
    watch = (struct sss_glib_watch *)g_dataset_get_data(main, "sss-sigchld");
    if (watch != NULL) {
        *ctx = watch->shared;
        return 0;
    }
    return sss_adapter_ctx_create(sss_glib_shared_host(), main, SSS_SCOPE_REGISTERED, ctx);
}

/**
 * As g_child_watch_add(), in the thread-default GMainContext: fn is called once
 * when the child ends. GLib's and the library's watches may be mixed.
 *
 * @return 0, or as sss_child_register(); EPERM where another thread runs the
 *         GMainContext. To end a watch early use that, on the
 *         context of sss_glib_ctx_shared().
 */
static inline errno_t sss_glib_child_watch_add(GPid pid, GChildWatchFunc fn, gpointer data)
{
    struct sss_sigchild_ctx *ctx = NULL;
    errno_t ret = sss_glib_ctx_shared(&ctx);

    return ret != 0 ? ret : sss_child_register(NULL, ctx, pid, fn, data, NULL);
}

#ifdef __cplusplus
}
#endif

#endif /* SSS_SIGCHLD_GLIB_H */
