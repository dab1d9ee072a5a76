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

struct sss_glib_source {
    GSource source;
    void (*readable)(void *arg);
    void *arg;
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

static inline errno_t sss_glib_watch_fd(void *owner, void *loop, int fd,
                                        void (*readable)(void *arg), void *arg,
                                        void **watch)
{
    static GSourceFuncs funcs = { NULL, NULL, sss_glib_dispatch, NULL,
                                  NULL, NULL };
    struct sss_glib_source *own;

    (void)owner;
    own = (struct sss_glib_source *)g_source_new(&funcs, sizeof(*own));
    own->readable = readable;
    own->arg = arg;
    (void)g_source_add_unix_fd(&own->source, fd, G_IO_IN);
    (void)g_source_attach(&own->source, (GMainContext *)loop);
    *watch = own;
    return 0;
}

static inline void sss_glib_unwatch(void *watch)
{
    struct sss_glib_source *own = (struct sss_glib_source *)watch;

    g_source_destroy(&own->source);
    g_source_unref(&own->source);
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

/* Ends with the GMainContext, and the shared context with it. */
struct sss_glib_shared {
    GSource source;
    struct sss_sigchild_ctx *ctx;
    GMainContext *main;
};

static inline void sss_glib_shared_end(GSource *source)
{
    struct sss_glib_shared *shared = (struct sss_glib_shared *)source;

    if (shared->main != NULL) {
        g_dataset_remove_data(shared->main, "sss-sigchld");
    }
    (void)sss_sigchld_ctx_free(shared->ctx);
}

/**
 * The context that sss_glib_child_watch_add() uses in the calling thread: one for
 * its thread-default GMainContext, made with the first call, of scope
 * REGISTERED. It ends with the GMainContext.
 */
static inline errno_t sss_glib_ctx_shared(struct sss_sigchild_ctx **ctx)
{
    static GSourceFuncs funcs = { NULL, NULL, NULL, sss_glib_shared_end,
                                  NULL, NULL };
    GMainContext *main = g_main_context_get_thread_default();
    struct sss_glib_shared *shared;
    errno_t ret;

    if (main == NULL) {
        main = g_main_context_default();
    }
    shared = (struct sss_glib_shared *)g_dataset_get_data(main, "sss-sigchld");
    if (shared != NULL) {
        *ctx = shared->ctx;
        return 0;
    }
    shared = (struct sss_glib_shared *)g_source_new(&funcs, sizeof(*shared));
    ret = sss_glib_ctx_create(main, SSS_SCOPE_REGISTERED, &shared->ctx);
    if (ret == 0) {
        shared->main = main;
        g_dataset_set_data(main, "sss-sigchld", shared);
        (void)g_source_attach(&shared->source, main);
        *ctx = shared->ctx;
    }
    g_source_unref(&shared->source);
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
