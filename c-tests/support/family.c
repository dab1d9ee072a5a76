#define _GNU_SOURCE
#include "support/family.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "support/check.h"
#include "support/child.h"
#include "support/spawn.h"

static socklen_t address(struct sockaddr_un *sa, const char *name, pid_t pid)
{
    int length;

    memset(sa, 0, sizeof(*sa));
    sa->sun_family = AF_UNIX;
    length = pid == 0 ? snprintf(sa->sun_path + 1, sizeof(sa->sun_path) - 1, "%s", name)
                      : snprintf(sa->sun_path + 1, sizeof(sa->sun_path) - 1, "%s.%d", name, pid);
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)length);
}

void family_begin(struct family *family)
{
    uint64_t number;
    struct sockaddr_un sa;
    socklen_t length;

    /* Not the pid: pid namespaces that share a network have the same ones. */
    check_int(getrandom(&number, sizeof(number), 0), sizeof(number));
    snprintf(family->name, sizeof(family->name), "sss-family-%016" PRIx64, number);
    family->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    check(family->fd != -1);
    length = address(&sa, family->name, 0);
    check_ok(bind(family->fd, (struct sockaddr *)&sa, length));
    family->exits = 0;
}

void family_end(struct family *family)
{
    check_ok(close(family->fd));
}

void tell_service(struct sss_service *service, const struct sss_service_event *event, void *pvt)
{
    struct told *told = pvt;

    check(service != NULL);
    check_int(event->size, sizeof(*event));
    check_int(told->dead, 0); /* DEAD is the last */
    check(told->count < MOST_EVENTS);
    told->events[told->count++] = *event;
    told->dead += event->event == SSS_SERVICE_DEAD;
}

struct sss_service_params service_params(uint32_t evidence, uint32_t flags)
{
    struct sss_service_params params;

    memset(&params, 0, sizeof(params));
    params.size = sizeof(params);
    params.mask = SSS_SERVICE_PARAM_EVIDENCE | SSS_SERVICE_PARAM_FLAGS;
    params.evidence = evidence;
    params.flags = flags;
    return params;
}

struct sss_service *family_start_telling(struct family *family, struct loop *loop,
                                         struct sss_spawn *spawn,
                                         const struct sss_service_params *params,
                                         sss_service_fn_t fn, void *pvt, pid_t *pid)
{
    char *path = helper_path("family");
    const char *argv[] = { "family", family->name, NULL };
    struct sss_service *service = NULL;

    spawn->path = path;
    spawn->argv = argv;
    check_ok(sss_service_spawn(NULL, loop->ctx, spawn, params, fn, pvt, &service));
    free(path);
    *pid = family_report(family);
    return service;
}

struct sss_service *family_start_so(struct family *family, struct loop *loop,
                                    struct sss_spawn *spawn,
                                    const struct sss_service_params *params, struct told *told,
                                    pid_t *pid)
{
    memset(told, 0, sizeof(*told));
    return family_start_telling(family, loop, spawn, params, tell_service, told, pid);
}

struct sss_service *family_start(struct family *family, struct loop *loop,
                                 const struct sss_service_params *params, struct told *told,
                                 pid_t *pid)
{
    struct sss_spawn spawn = spawn_zero();

    return family_start_so(family, loop, &spawn, params, told, pid);
}

void family_order(struct family *family, pid_t pid, const char *order)
{
    struct sockaddr_un sa;
    socklen_t length = address(&sa, family->name, pid);

    check_int(sendto(family->fd, order, strlen(order), 0, (struct sockaddr *)&sa, length),
              strlen(order));
}

pid_t family_report(struct family *family)
{
    struct pollfd reported = { .fd = family->fd, .events = POLLIN };
    char text[64];
    ssize_t got;

    check_int(poll(&reported, 1, DEADLINE_MS), 1);
    got = recv(family->fd, text, sizeof(text) - 1, 0);
    check(got > 0);
    text[got] = '\0';
    return atoi(text);
}

pid_t family_fork(struct family *family, pid_t pid)
{
    family_order(family, pid, "f");
    return family_report(family);
}

char process_state(pid_t pid)
{
    char path[64], text[512], *end;
    ssize_t got;
    int fd;

    snprintf(path, sizeof(path), "/proc/%d/stat", pid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd == -1) {
        return 0;
    }
    got = read(fd, text, sizeof(text) - 1);
    close(fd);
    if (got <= 0) {
        return 0;
    }
    text[got] = '\0';
    end = strrchr(text, ')');
    return end != NULL && end[1] == ' ' ? end[2] : 0;
}

pid_t await_child_of(pid_t pid)
{
    struct timespec moment = { .tv_nsec = 1000000 };
    int64_t deadline = now_ms() + DEADLINE_MS;
    char path[64];
    int child = 0;

    snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)pid, (int)pid);
    for (;;) {
        FILE *file = fopen(path, "re");
        bool found = file != NULL && fscanf(file, "%d", &child) == 1;

        if (file != NULL) {
            fclose(file);
        }
        if (found) {
            return child;
        }
        check(now_ms() < deadline);
        nanosleep(&moment, NULL);
    }
}

void await_gone_or_zombie(pid_t pid)
{
    struct timespec moment = { .tv_nsec = 1000000 };
    int64_t deadline = now_ms() + DEADLINE_MS;
    char state;

    while ((state = process_state(pid)) != 0 && state != 'Z') {
        check(now_ms() < deadline);
        nanosleep(&moment, NULL);
    }
}

void family_exit(struct family *family, pid_t pid, int code)
{
    char order[16];

    snprintf(order, sizeof(order), "e %d", code);
    family_order(family, pid, order);
    await_gone_or_zombie(pid);
    family->exited[family->exits++ % MOST_EXITS] = pid;
}

void family_settle(struct family *family, struct loop *loop)
{
    int64_t deadline = now_ms() + DEADLINE_MS;

    for (unsigned i = 0; i < family->exits && i < MOST_EXITS; i++) {
        while (is_child(family->exited[i])) {
            check(now_ms() < deadline);
            loop_turn(loop, 100);
        }
    }
    loop_settle(loop);
}

void kill_whole(struct sss_service *service, const struct sss_service_kill *how,
                struct sss_service_killed *killed)
{
    int64_t deadline = now_ms() + DEADLINE_MS;
    uint32_t signalled = 0;

    do {
        check(now_ms() < deadline);
        check_ok(sss_service_kill(service, how, killed));
        signalled = killed->signalled > signalled ? killed->signalled : signalled;
    } while (killed->left > 0);
    killed->signalled = signalled; /* later calls find fewer */
}

unsigned told_times(const struct told *told, uint32_t event, pid_t pid)
{
    unsigned times = 0;

    for (unsigned i = 0; i < told->count; i++) {
        times += told->events[i].event == event && told->events[i].pid == pid;
    }
    return times;
}

int told_at(const struct told *told, uint32_t event, pid_t pid)
{
    for (unsigned i = 0; i < told->count; i++) {
        if (told->events[i].event == event && told->events[i].pid == pid) {
            return (int)i;
        }
    }
    return -1;
}

void loop_until_dead(struct loop *loop, const struct told *told)
{
    loop_until(loop, &told->dead, 1);
}

void told_print(const struct told *told)
{
    static const char *const names[] = { "?", "ADOPTED", "EXITED", "MAIN_CHANGED", "DEAD" };

    for (unsigned i = 0; i < told->count; i++) {
        const struct sss_service_event *event = &told->events[i];

        fprintf(stderr, "%s pid %d, former parent %d, evidence %u, status %#x\n",
                names[event->event % 5], event->pid, event->former_parent, event->evidence,
                (unsigned)event->wait_status);
    }
}

void read_variable(pid_t pid, const char *name, char *value, size_t size)
{
    char path[64], *line = NULL;
    size_t length = strlen(name), room = 0;
    bool found = false;
    FILE *file;

    snprintf(path, sizeof(path), "/proc/%d/environ", (int)pid);
    file = fopen(path, "re");
    check(file != NULL);
    while (!found && getdelim(&line, &room, '\0', file) > 0) {
        found = strncmp(line, name, length) == 0 && line[length] == '=';
    }
    fclose(file);
    check(found);
    check((size_t)snprintf(value, size, "%s", line + length + 1) < size);
    free(line);
}
