/*
 * monitor: keeps three services running, in the manner of SSSD's monitor: a data
 * provider, and two responders that come after it. Each pings (sd_notify's WATCHDOG)
 * and is restarted when it does not; SIGTERM and SIGINT stop them in reverse order.
 * The services are this program again: "monitor --service NAME".
 *
 *   cc monitor.c $(pkg-config --cflags --libs sss_sigchld) -o monitor
 */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <sss_sigchld.h>

#define SECOND ((int64_t)1000000000)

enum { SERVICES = 3 };

static const char *const names[SERVICES] = { "provider", "nss", "pam" };

struct monitor {
    struct sss_sigchild_ctx *sigchld;
    struct sss_unit_ctx *units[SERVICES];
    bool down;
    int status;
};

/* What sd_notify(3) of libsystemd does. */
static void notify(int fd, const char *message)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    size_t length = path == NULL ? 0 : strlen(path);

    if (length == 0 || length >= sizeof(address.sun_path)) {
        return;
    }
    memcpy(address.sun_path, path, length);
    if (path[0] == '@') {
        address.sun_path[0] = '\0'; /* an abstract address */
    }
    length += offsetof(struct sockaddr_un, sun_path);
    if (sendto(fd, message, strlen(message), MSG_NOSIGNAL, (struct sockaddr *)&address,
               (socklen_t)length) < 0) {
        perror("notify");
    }
}

/* Works, and says so; never returns. */
static void service(const char *name)
{
    const char *often = getenv("WATCHDOG_USEC");
    useconds_t pause = often == NULL ? 500000 : (useconds_t)(strtoul(often, NULL, 10) / 2);
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    printf("  %s works, pid %d\n", name, (int)getpid());
    notify(fd, "READY=1");
    while (true) {
        usleep(pause);
        notify(fd, "WATCHDOG=1");
    }
}

static void stopped(struct sss_sigchild_ctx *sigchld, const struct sss_shutdown_event *event,
                    void *pvt)
{
    struct monitor *monitor = pvt;

    (void)sigchld;
    monitor->down = true;
    if (event->units_left > 0) {
        printf("%u services would not stop\n", event->units_left);
        monitor->status = 1;
    }
}

/* A second call fails with EALREADY, and the shutdown that is under way goes on. */
static void stop(struct monitor *monitor, int status)
{
    if (sss_supervisor_shutdown(monitor->sigchld, 10 * SECOND, stopped, monitor) == 0) {
        printf("stopping\n");
        monitor->status = status;
    }
}

static void service_event(struct sss_unit_ctx *unit, const struct sss_unit_event *event, void *pvt)
{
    static const char *const states[] = { "stopped",  "starting", "running", "reloading",
                                          "stopping", "waiting",  "failed" };
    struct sss_unit_status status = { .size = sizeof(status) };

    if (sss_supervisor_status(unit, &status) != 0) {
        return;
    }
    if (event->type == SSS_UNIT_EVENT_ESSENTIAL) {
        printf("%s is lost: so are we\n", status.name);
        stop(pvt, event->exit_code);
    } else if (event->type == SSS_UNIT_EVENT_STATE) {
        printf("%s: %s, start %llu, pid %d\n", status.name, states[event->state],
               (unsigned long long)event->start, (int)event->main_pid);
    }
}

static errno_t add(struct monitor *monitor, int at)
{
    const char *argv[] = { "monitor", "--service", names[at], NULL };
    struct sss_spawn spawn = {
        .size = sizeof(spawn),
        .mask = SSS_SPAWN_PDEATHSIG,
        .path = "/proc/self/exe",
        .argv = argv,
        .pdeathsig = SIGTERM, /* they end with us, whatever ends us */
    };
    struct sss_unit unit = {
        .size = sizeof(unit),
        .mask = SSS_UNIT_START_MODE | SSS_UNIT_RESTART | SSS_UNIT_DELAY | SSS_UNIT_WATCHDOG |
                SSS_UNIT_READY_TIMEOUT | SSS_UNIT_ESSENTIAL,
        .name = names[at],
        .spawn = &spawn,
        .start_mode = SSS_UNIT_NOTIFY,
        .restart = SSS_UNIT_RESTART_ALWAYS,
        .delay = SECOND / 5,
        .delay_max = 4 * SECOND,
        .watchdog = 2 * SECOND,
        .ready_timeout = 5 * SECOND,
        .after = names, /* the provider, the first of them */
        .after_count = at > 0,
    };

    return sss_supervisor_add(NULL, monitor->sigchld, &unit, service_event, monitor,
                              &monitor->units[at]);
}

static errno_t begin(struct monitor *monitor, int *wake)
{
    struct sss_ctx_params params = { .size = sizeof(params) };
    errno_t ret = sss_sigchld_ctx_create(&params, &monitor->sigchld);

    if (ret == 0) {
        ret = sss_sigchld_ctx_fd(monitor->sigchld, wake);
    }
    for (int at = 0; ret == 0 && at < SERVICES; at++) {
        ret = add(monitor, at);
    }
    for (int at = 0; ret == 0 && at < SERVICES; at++) {
        ret = sss_supervisor_start(monitor->units[at]); /* once the provider runs */
    }
    return ret;
}

int main(int argc, char **argv)
{
    struct monitor monitor = { NULL };
    struct pollfd fds[] = { { .events = POLLIN }, { .events = POLLIN } };
    struct signalfd_siginfo info;
    sigset_t mask;
    errno_t ret;

    setvbuf(stdout, NULL, _IOLBF, 0);
    if (argc == 3 && strcmp(argv[1], "--service") == 0) {
        service(argv[2]);
    }
    signal(SIGCHLD, SIG_DFL); /* our parent may have ignored it */
    sigemptyset(&mask);
    sigaddset(&mask, SIGTERM);
    sigaddset(&mask, SIGINT);
    sigprocmask(SIG_BLOCK, &mask, NULL);
    fds[1].fd = signalfd(-1, &mask, SFD_CLOEXEC);
    ret = fds[1].fd < 0 ? errno : begin(&monitor, &fds[0].fd);
    if (ret != 0) {
        fprintf(stderr, "monitor: %s\n", strerror(ret));
        return 1;
    }
    while (!monitor.down) {
        if (poll(fds, 2, -1) < 0) {
            continue;
        }
        if (fds[1].revents != 0 && read(fds[1].fd, &info, sizeof(info)) > 0) {
            stop(&monitor, 0);
        }
        if (fds[0].revents != 0) {
            sss_sigchld_ctx_dispatch(monitor.sigchld, 0);
        }
    }
    for (int at = 0; at < SERVICES; at++) {
        sss_supervisor_remove(monitor.units[at]);
    }
    sss_sigchld_ctx_free(monitor.sigchld);
    return monitor.status;
}
