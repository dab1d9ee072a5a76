/*
 * Puts the library into a running sssd 2.8: the functions that its daemons import
 * from libsss_child.so, but for sss_child_register(), which is the library's own.
 *
 * To be preloaded together with libsss_sigchld.so. What the library says goes to
 * the file that SSS_SHIM_TRACE names.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* The inline function's name is the one to export. */
#define sss_sigchld_init sss_tevent_sigchld_init
#include <sss_sigchld/sssd.h>
#undef sss_sigchld_init

errno_t sss_sigchld_init(TALLOC_CTX *mem_ctx, struct tevent_context *ev,
                         struct sss_sigchild_ctx **child_ctx);
int child_handler_setup(struct tevent_context *ev, int pid, sss_child_callback_t cb, void *pvt,
                        struct sss_child_ctx_old **child_ctx);
void child_handler_destroy(struct sss_child_ctx_old *child_ctx);

static void trace(const char *what, const char *detail)
{
    const char *path = getenv("SSS_SHIM_TRACE");
    char line[512];
    int length;
    int fd;

    if (path == NULL) {
        return;
    }
    fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    if (fd == -1) {
        return;
    }
    length = snprintf(line, sizeof(line), "%s[%d] %s: %s\n", program_invocation_short_name,
                      (int)getpid(), what, detail);
    if (length > 0 && write(fd, line, (size_t)length) != length) {
        (void)ftruncate(fd, 0); /* half a line would mislead */
    }
    (void)close(fd);
}

static void log_fn(uint32_t level, const char *message, void *pvt)
{
    (void)level;
    (void)pvt;
    trace("log", message);
}

/* Which object the daemon's calls of a function end in. */
static void trace_object(const char *symbol)
{
    void *address = dlsym(RTLD_DEFAULT, symbol);
    char line[400];
    Dl_info info;

    if (address == NULL || dladdr(address, &info) == 0) {
        trace(symbol, "nowhere");
        return;
    }
    (void)snprintf(line, sizeof(line), "%s", info.dli_fname);
    trace(symbol, line);
}

errno_t sss_sigchld_init(TALLOC_CTX *mem_ctx, struct tevent_context *ev,
                         struct sss_sigchild_ctx **child_ctx)
{
    errno_t ret;

    ret = sss_sigchld_set_log_fn(log_fn, NULL);
    if (ret != 0) {
        return ret;
    }
    trace_object("sss_sigchld_init");
    trace_object("sss_child_register");
    return sss_tevent_sigchld_init(mem_ctx, ev, child_ctx);
}

int child_handler_setup(struct tevent_context *ev, int pid, sss_child_callback_t cb, void *pvt,
                        struct sss_child_ctx_old **child_ctx)
{
    trace_object("child_handler_setup");
    return sss_child_handler_setup(ev, pid, cb, pvt, child_ctx);
}

void child_handler_destroy(struct sss_child_ctx_old *child_ctx)
{
    sss_child_handler_destroy(child_ctx);
}
