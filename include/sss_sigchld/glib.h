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

#include <errno.h>
#include <string.h>

#include <glib.h>
#include <sss_sigchld.h>

#ifdef __cplusplus
extern "C" {
#endif

struct sss_glib_watch;

struct sss_glib_source {
    GSource source;
    void (*readable)(void *arg);
    void *arg;
    struct sss_glib_watch *watch;
    struct sss_sigchild_ctx *shared; /* ends with the GMainContext */
    GMainContext *main;
};

/* What the library holds; the GMainContext, and nobody else, owns the source. */
struct sss_glib_watch {
    struct sss_glib_source *source; /* NULL: gone with the GMainContext */
};

static inline gboolean sss_glib_dispatch(GSource *source, GSourceFunc callback,
                                         gpointer data)
{
    struct sss_glib_source *own = (struct sss_glib_source *)source;

    (void)callback;
    (void)data;
    own->readable(own->arg);
    return G_SOURCE_CONTINUE;
}

static inline void sss_glib_finalize(GSource *source)
{
    struct sss_glib_source *own = (struct sss_glib_source *)source;

    if (own->watch != NULL) {
        own->watch->source = NULL;
    }
    if (own->shared != NULL) {
        g_dataset_remove_data(own->main, "sss-sigchld");
        (void)sss_sigchld_ctx_free(own->shared);
    }
}

static inline errno_t sss_glib_watch_fd(void *owner, void *loop, int fd,
                                        void (*readable)(void *arg), void *arg,
                                        void **out)
{
    static GSourceFuncs funcs = { NULL, NULL, sss_glib_dispatch,
                                  sss_glib_finalize, NULL, NULL };
    struct sss_glib_source *own;

    (void)owner;
    own = (struct sss_glib_source *)g_source_new(&funcs, sizeof(*own));
    own->readable = readable;
    own->arg = arg;
    own->watch = g_new(struct sss_glib_watch, 1);
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

    if (watch->source != NULL) {
        if (watch->source->shared != NULL) {
            g_dataset_remove_data(watch->source->main, "sss-sigchld");
            watch->source->shared = NULL;
        }
        watch->source->watch = NULL;
        g_source_destroy(&watch->source->source);
    }
    g_free(watch);
}

/** The host for GLib, by the context's descriptor: GLib takes no SIGCHLD. */
static inline const struct sss_host *sss_glib_host(void)
{
    static const struct sss_host host = {
        sizeof(struct sss_host), NULL, NULL, NULL, NULL, NULL,
        sss_glib_watch_fd, NULL, sss_glib_unwatch,
    };

    return &host;
}

/**
 * Make a context on a GMainContext.
 *
 * @param main   borrowed; NULL: the default one.
 * @param scope  SSS_SCOPE_REGISTERED or SSS_SCOPE_ALL.
 * @param ctx    written on success; free it with sss_sigchld_ctx_free().
 *
 * @return as sss_sigchld_ctx_create().
 */
static inline errno_t sss_glib_ctx_create(GMainContext *main, uint32_t scope,
                                          struct sss_sigchild_ctx **ctx)
{
    struct sss_ctx_params params;

    memset(&params, 0, sizeof(params));
    params.size = sizeof(params);
    params.mask = SSS_CTX_PARAM_SCOPE;
    params.scope = scope;
    params.host = sss_glib_host();
    params.loop = main;
    return sss_sigchld_ctx_create(&params, ctx);
}

static inline errno_t sss_glib_watch_shared(void *owner, void *loop, int fd,
                                            void (*readable)(void *arg),
                                            void *arg, void **out)
{
    errno_t ret = sss_glib_watch_fd(owner, loop, fd, readable, arg, out);

    if (ret == 0) {
        g_dataset_set_data(loop, "sss-sigchld",
                           ((struct sss_glib_watch *)*out)->source);
    }
    return ret;
}

/**
 * The context that sss_glib_child_watch_add() uses in the calling thread: one for
 * its thread-default GMainContext, made with the first call, of scope
 * REGISTERED. It ends with the GMainContext.
 */
static inline errno_t sss_glib_ctx_shared(struct sss_sigchild_ctx **ctx)
{
    static const struct sss_host host = {
        sizeof(struct sss_host), NULL, NULL, NULL, NULL, NULL,
        sss_glib_watch_shared, NULL, sss_glib_unwatch,
    };
    GMainContext *main = g_main_context_get_thread_default();
    struct sss_glib_source *own;
    struct sss_ctx_params params;
    errno_t ret;

    if (main == NULL) {
        main = g_main_context_default();
    }
    own = (struct sss_glib_source *)g_dataset_get_data(main, "sss-sigchld");
    if (own != NULL) {
        *ctx = own->shared;
        return 0;
    }
    memset(&params, 0, sizeof(params));
    params.size = sizeof(params);
    params.host = &host;
    params.loop = main;
    ret = sss_sigchld_ctx_create(&params, ctx);
    own = (struct sss_glib_source *)g_dataset_get_data(main, "sss-sigchld");
    if (ret == 0) {
        own->shared = *ctx;
        own->main = main;
    } else if (own != NULL) {
        g_dataset_remove_data(main, "sss-sigchld"); /* undone since */
    }
    return ret;
}

/**
 * As g_child_watch_add(), in the thread-default GMainContext: fn is called once
 * when the child ends. GLib's and the library's watches may be mixed.
 *
 * @return 0, or as sss_child_register(). To end a watch early use that, on the
 *         context of sss_glib_ctx_shared().
 */
static inline errno_t sss_glib_child_watch_add(GPid pid, GChildWatchFunc fn,
                                               gpointer data)
{
    struct sss_sigchild_ctx *ctx = NULL;
    errno_t ret = sss_glib_ctx_shared(&ctx);

    return ret != 0 ? ret : sss_child_register(NULL, ctx, pid, fn, data, NULL);
}

#ifdef __cplusplus
}
#endif

#endif /* SSS_SIGCHLD_GLIB_H */
