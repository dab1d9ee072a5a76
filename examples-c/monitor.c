/*
 * monitor: keeps three services running, in the manner of SSSD's monitor: a data
 * provider, and two responders that come after it. Each pings (sd_notify's WATCHDOG)
 * and is restarted when it does not; SIGTERM and SIGINT stop them in reverse order.
 *
 *   monitor SECONDS    ends by itself after that time; 0: when it is told to
 *
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

static const int64_t SECOND = 1000000000;

enum { SERVICES = 3, STOP_SECONDS = 10 };

struct service {
    const char *name;
    const char *after[2];
    struct sss_unit_ctx *unit;
};

struct monitor {
    struct sss_sigchild_ctx *sigchld;
    struct service services[SERVICES];
    bool stopping, down;
    int status;
};

/* ---- A service ---- */

/* What sd_notify(3) of libsystemd does, for a message of one line. */
static void notify(const char *message)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    size_t length;
    int fd;

    if (path == NULL || (length = strlen(path)) >= sizeof(address.sun_path)) {
        return;
    }
    memcpy(address.sun_path, path, length);
    if (path[0] == '@') {
        address.sun_path[0] = '\0'; /* an abstract address */
    }
    fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return;
    }
    if (sendto(fd, message, strlen(message), MSG_NOSIGNAL, (struct sockaddr *)&address,
               (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length)) < 0) {
        perror("notify");
    }
    close(fd);
}

/* Works, and says so; never returns. */
static void service(const char *name)
{
    const char *often = getenv("WATCHDOG_USEC");
    useconds_t pause = often == NULL ? 500000 : (useconds_t)(strtoul(often, NULL, 10) / 2);

    notify("READY=1");
    printf("  %s: works, pid %d\n", name, (int)getpid());
    fflush(stdout);
    while (true) {
        usleep(pause);
        notify("WATCHDOG=1");
    }
}

/* ---- The monitor ---- */

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

static void stop(struct monitor *monitor, int status)
{
    if (monitor->stopping) {
        return;
    }
    monitor->stopping = true;
    monitor->status = status;
    printf("stopping\n");
    if (sss_supervisor_shutdown(monitor->sigchld, STOP_SECONDS * SECOND, stopped, monitor) != 0) {
        monitor->down = true;
    }
}

static void service_event(struct sss_unit_ctx *unit, const struct sss_unit_event *event, void *pvt)
{
    static const char *const names[] = { "stopped",  "starting", "running", "reloading",
                                         "stopping", "waits",    "failed" };
    struct sss_unit_status status = { .size = sizeof(status) };
    struct monitor *monitor = pvt;

    if (sss_supervisor_status(unit, &status) != 0) {
        return;
    }
    if (event->type == SSS_UNIT_EVENT_ESSENTIAL) {
        printf("%s is lost: so are we\n", status.name);
        stop(monitor, event->exit_code);
    } else if (event->type == SSS_UNIT_EVENT_STATE) {
        printf("%s: %s, start %llu, pid %d\n", status.name, names[event->state],
               (unsigned long long)event->start, event->main_pid);
    }
}

static errno_t add(struct monitor *monitor, struct service *service, char *self)
{
    const char *argv[] = { self, "--service", service->name, NULL };
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
        .name = service->name,
        .spawn = &spawn,
        .start_mode = SSS_UNIT_NOTIFY,
        .restart = SSS_UNIT_RESTART_ALWAYS,
        .delay = SECOND / 5,
        .delay_max = 4 * SECOND,
        .watchdog = 2 * SECOND,
        .ready_timeout = 5 * SECOND,
        .after = service->after,
        .after_count = service->after[0] != NULL ? 1 : 0,
    };

    return sss_supervisor_add(NULL, monitor->sigchld, &unit, service_event, monitor,
                              &service->unit);
}

static errno_t begin(struct monitor *monitor, char *self)
{
    struct sss_ctx_params params = { .size = sizeof(params) };
    errno_t ret = sss_sigchld_ctx_create(&params, &monitor->sigchld);
    int unused;

    if (ret == 0) {
        ret = sss_sigchld_ctx_fd(monitor->sigchld, &unused);
    }
    for (int at = 0; ret == 0 && at < SERVICES; at++) {
        ret = add(monitor, &monitor->services[at], self);
    }
    /* Each starts those that it comes after, first. */
    for (int at = 0; ret == 0 && at < SERVICES; at++) {
        ret = sss_supervisor_start(monitor->services[at].unit);
    }
    return ret;
}

int main(int argc, char **argv)
{
    struct monitor monitor = {
        .services = { { "provider", { NULL }, NULL },
                      { "nss", { "provider", NULL }, NULL },
                      { "pam", { "provider", NULL }, NULL } },
    };
    int wake, signals;
    sigset_t mask;
    errno_t ret;

    if (argc == 3 && strcmp(argv[1], "--service") == 0) {
        service(argv[2]);
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    sigemptyset(&mask);
    sigaddset(&mask, SIGTERM);
    sigaddset(&mask, SIGINT);
    sigaddset(&mask, SIGALRM);
    sigprocmask(SIG_BLOCK, &mask, NULL);
    signals = signalfd(-1, &mask, SFD_CLOEXEC);
    alarm(argc > 1 ? (unsigned)atoi(argv[1]) : 0);
    ret = signals < 0 ? errno : begin(&monitor, argv[0]);
    if (ret == 0) {
        ret = sss_sigchld_ctx_fd(monitor.sigchld, &wake);
    }
    if (ret != 0) {
        fprintf(stderr, "monitor: %s\n", strerror(ret));
        return 1;
    }
    while (!monitor.down) {
        struct pollfd fds[] = { { .fd = wake, .events = POLLIN },
                                { .fd = signals, .events = POLLIN } };
        struct signalfd_siginfo info;

        if (poll(fds, 2, -1) < 0 && errno != EINTR) {
            break;
        }
        if (fds[1].revents != 0 && read(signals, &info, sizeof(info)) > 0) {
            stop(&monitor, 0);
        }
        if (fds[0].revents != 0) {
            sss_sigchld_ctx_dispatch(monitor.sigchld, 0);
        }
    }
    for (int at = 0; at < SERVICES; at++) {
        sss_supervisor_remove(monitor.services[at].unit);
    }
    sss_sigchld_ctx_free(monitor.sigchld);
    return monitor.status;
}
