/*
 * tevent_monitor COMMAND...: keeps commands running, in the manner of SSSD's
 * monitor. Each argument is a shell command; one that ends is started again, after
 * 0, 2 and 4 seconds, and when it ends a fourth time within 30 seconds the monitor
 * gives up. SIGTERM and SIGINT stop all of them.
 *
 *   cc tevent_monitor.c $(pkg-config --cflags --libs sss_sigchld talloc tevent)
 */
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <sss_sigchld/sssd.h>

enum { MAX_RESTARTS = 3, QUIET_SECONDS = 30, STOP_SECONDS = 10 };

struct monitor {
    struct tevent_context *ev;
    struct sss_sigchild_ctx *sigchld_ctx;
    struct service *services;
    int status; /* the exit status, once stopping */
    bool stopping;
};

struct service {
    struct service *next;
    struct monitor *monitor;
    const char *command;
    struct sss_child_ctx *child; /* NULL while it does not run */
    pid_t pid;
    int restarts;
    time_t started;
};

static void monitor_stop(struct monitor *monitor, int status);

static time_t now(void)
{
    struct timespec ts;

    return clock_gettime(CLOCK_MONOTONIC, &ts) == 0 ? ts.tv_sec : 0;
}

static void say_ended(const struct service *service, int wait_status)
{
    if (WIFEXITED(wait_status)) {
        printf("[%d] %s: exited with %d\n", (int)service->pid, service->command,
               WEXITSTATUS(wait_status));
    } else if (WIFSIGNALED(wait_status)) {
        printf("[%d] %s: killed by %s\n", (int)service->pid, service->command,
               strsignal(WTERMSIG(wait_status)));
    } else {
        printf("[%d] %s: ended, status unknown\n", (int)service->pid, service->command);
    }
}

static void service_ended(int pid, int wait_status, void *pvt);

static void run_command(const char *command)
{
    (void)setpgid(0, 0); /* so that what it starts can be stopped with it */
    execl("/bin/sh", "sh", "-c", command, (char *)NULL);
    _exit(127);
}

static int service_start(struct service *service)
{
    int ret;

    service->pid = fork();
    if (service->pid == -1) {
        return errno;
    }
    if (service->pid == 0) {
        run_command(service->command);
    }
    (void)setpgid(service->pid, service->pid);
    ret = sss_child_register(service, service->monitor->sigchld_ctx, service->pid, service_ended,
                             service, &service->child);
    if (ret != 0) {
        (void)kill(-service->pid, SIGKILL);
        (void)waitpid(service->pid, NULL, 0);
        return ret;
    }
    service->started = now();
    printf("[%d] %s: started\n", (int)service->pid, service->command);
    return 0;
}

static void service_restart(struct tevent_context *ev, struct tevent_timer *te, struct timeval at,
                            void *pvt)
{
    struct service *service = talloc_get_type_abort(pvt, struct service);
    int ret;

    (void)ev;
    (void)te;
    (void)at;
    if (service->monitor->stopping) {
        return;
    }
    ret = service_start(service);
    if (ret != 0) {
        fprintf(stderr, "%s: %s\n", service->command, strerror(ret));
        monitor_stop(service->monitor, EXIT_FAILURE);
    }
}

static void service_ended(int pid, int wait_status, void *pvt)
{
    struct service *service = talloc_get_type_abort(pvt, struct service);
    struct monitor *monitor = service->monitor;
    struct timeval at;

    (void)pid;
    say_ended(service, wait_status);
    TALLOC_FREE(service->child);
    if (monitor->stopping) {
        return;
    }
    if (now() - service->started > QUIET_SECONDS) {
        service->restarts = 0;
    }
    if (service->restarts == MAX_RESTARTS) {
        fprintf(stderr, "%s: ends again and again\n", service->command);
        monitor_stop(monitor, EXIT_FAILURE);
        return;
    }
    at = tevent_timeval_current_ofs((uint32_t)service->restarts * 2, 0);
    service->restarts++;
    if (tevent_add_timer(monitor->ev, service, at, service_restart, service) == NULL) {
        fprintf(stderr, "%s: out of memory\n", service->command);
        monitor_stop(monitor, EXIT_FAILURE);
    }
}

static bool any_running(const struct monitor *monitor)
{
    const struct service *service;

    for (service = monitor->services; service != NULL; service = service->next) {
        if (service->child != NULL) {
            return true;
        }
    }
    return false;
}

static void signal_all(const struct monitor *monitor, int signum)
{
    const struct service *service;

    for (service = monitor->services; service != NULL; service = service->next) {
        if (service->child != NULL) {
            (void)kill(-service->pid, signum); /* not reaped yet: still its own group */
        }
    }
}

static void kill_all(struct tevent_context *ev, struct tevent_timer *te, struct timeval at,
                     void *pvt)
{
    (void)ev;
    (void)te;
    (void)at;
    signal_all((const struct monitor *)pvt, SIGKILL);
}

static void monitor_stop(struct monitor *monitor, int status)
{
    struct timeval at = tevent_timeval_current_ofs(STOP_SECONDS, 0);

    if (monitor->stopping) {
        return;
    }
    monitor->stopping = true;
    monitor->status = status;
    signal_all(monitor, SIGTERM);
    if (tevent_add_timer(monitor->ev, monitor, at, kill_all, monitor) == NULL) {
        signal_all(monitor, SIGKILL);
    }
}

static void stop_signal(struct tevent_context *ev, struct tevent_signal *se, int signum, int count,
                        void *siginfo, void *pvt)
{
    (void)ev;
    (void)se;
    (void)signum;
    (void)count;
    (void)siginfo;
    monitor_stop((struct monitor *)pvt, EXIT_SUCCESS);
}

static struct monitor *monitor_new(TALLOC_CTX *mem_ctx)
{
    struct monitor *monitor = talloc_zero(mem_ctx, struct monitor);

    if (monitor == NULL) {
        return NULL;
    }
    monitor->ev = tevent_context_init(monitor);
    if (monitor->ev == NULL ||
        sss_sigchld_init(monitor, monitor->ev, &monitor->sigchld_ctx) != 0 ||
        tevent_add_signal(monitor->ev, monitor, SIGTERM, 0, stop_signal, monitor) == NULL ||
        tevent_add_signal(monitor->ev, monitor, SIGINT, 0, stop_signal, monitor) == NULL) {
        talloc_free(monitor);
        return NULL;
    }
    return monitor;
}

static int monitor_add(struct monitor *monitor, const char *command)
{
    struct service *service = talloc_zero(monitor, struct service);

    if (service == NULL) {
        return ENOMEM;
    }
    service->monitor = monitor;
    service->command = command;
    service->next = monitor->services;
    monitor->services = service;
    return service_start(service);
}

int main(int argc, char **argv)
{
    struct monitor *monitor;
    int status;
    int i;

    if (argc < 2) {
        fprintf(stderr, "usage: %s COMMAND...\n", argv[0]);
        return EXIT_FAILURE;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    monitor = monitor_new(NULL);
    if (monitor == NULL) {
        fprintf(stderr, "%s: no monitor to be had\n", argv[0]);
        return EXIT_FAILURE;
    }
    for (i = 1; i < argc; i++) {
        int ret = monitor_add(monitor, argv[i]);

        if (ret != 0) {
            fprintf(stderr, "%s: %s\n", argv[i], strerror(ret));
            monitor_stop(monitor, EXIT_FAILURE);
        }
    }
    while (!monitor->stopping || any_running(monitor)) {
        if (tevent_loop_once(monitor->ev) != 0) {
            perror("tevent_loop_once");
            return EXIT_FAILURE;
        }
    }
    status = monitor->status;
    talloc_free(monitor);
    return status;
}
