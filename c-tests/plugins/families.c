/*
 * A plugin with the static library in it: run(LEAVES) has a log, a service and a unit, waits
 * until both are over, and frees all of it; or, as LEAVES says, the context alone, or nothing.
 */
#include <fcntl.h>
#include <poll.h>
#include <sss_sigchld.h>
#include <unistd.h>

enum { LEAVES_NOTHING, LEAVES_HANDLES, LEAVES_ALL };

int run(int leaves);

struct seen {
    int dead, stopped;
};

static void of_service(struct sss_service *service, const struct sss_service_event *event, void *pvt)
{
    (void)service;
    ((struct seen *)pvt)->dead += event->event == SSS_SERVICE_DEAD;
}

static void of_unit(struct sss_unit_ctx *unit, const struct sss_unit_event *event, void *pvt)
{
    (void)unit;
    ((struct seen *)pvt)->stopped +=
        event->type == SSS_UNIT_EVENT_STATE && event->state == SSS_UNIT_STOPPED;
}

struct families {
    struct sss_sigchild_ctx *ctx;
    struct sss_log *log;
    struct sss_service *service;
    struct sss_unit_ctx *unit;
    struct seen seen;
};

static errno_t start(struct families *all)
{
    static const char *const argv[] = { "true", NULL };
    struct sss_spawn spawn = { .size = sizeof(spawn), .path = "/bin/true", .argv = argv };
    struct sss_log_params log = { .size = sizeof(log), .target = SSS_LOG_TO_FD,
                                  .mask = SSS_LOG_FD, .fd = open("/dev/null", O_WRONLY) };
    struct sss_unit unit = { .size = sizeof(unit), .name = "one", .spawn = &spawn };
    errno_t ret = sss_log_open(NULL, all->ctx, &log, &all->log);

    close(log.fd);
    if (ret == 0) {
        ret = sss_service_spawn(NULL, all->ctx, &spawn, NULL, of_service, &all->seen,
                                &all->service);
    }
    unit.mask = SSS_UNIT_KIND;
    unit.kind = SSS_UNIT_ONESHOT;
    unit.log = all->log;
    if (ret == 0) {
        ret = sss_supervisor_add(NULL, all->ctx, &unit, of_unit, &all->seen, &all->unit);
    }
    return ret != 0 ? ret : sss_supervisor_start(all->unit);
}

static errno_t wait_for_ends(struct families *all, int fd)
{
    struct pollfd wake = { .fd = fd, .events = POLLIN };
    errno_t ret = 0;

    while (ret == 0 && (all->seen.dead == 0 || all->seen.stopped == 0)) {
        if (poll(&wake, 1, -1) == 1) {
            ret = sss_sigchld_ctx_dispatch(all->ctx, 0);
        }
    }
    return ret;
}

static errno_t end(struct families *all, int leaves)
{
    errno_t ret = 0;

    if (leaves == LEAVES_NOTHING) {
        ret = sss_supervisor_remove(all->unit);
        ret = ret != 0 ? ret : sss_service_free(all->service);
        ret = ret != 0 ? ret : sss_log_free(all->log);
    }
    if (ret == 0 && leaves != LEAVES_ALL) {
        ret = sss_sigchld_ctx_free(all->ctx);
    }
    return ret;
}

int run(int leaves)
{
    struct sss_ctx_params params = { .size = sizeof(params) };
    static struct families all; /* zero in each plugin that is loaded anew */
    int fd = -1;
    errno_t ret = sss_sigchld_ctx_create(&params, &all.ctx);

    ret = ret != 0 ? ret : sss_sigchld_ctx_fd(all.ctx, &fd);
    ret = ret != 0 ? ret : start(&all);
    ret = ret != 0 ? ret : wait_for_ends(&all, fd);
    return ret != 0 ? ret : end(&all, leaves);
}
