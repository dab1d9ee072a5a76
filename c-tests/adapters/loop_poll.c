/* The list of behaviours on plain poll(2) and epoll(7), which need no adapter. */
#include "adapters/behaviours.h"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>

enum { ROOM = 8 };

/* Some contexts' descriptors, and a signalfd for one of them. */
struct pollers {
    struct sss_sigchild_ctx *ctx[ROOM];
    int fd[ROOM];
    int epfd;  /* or -1 */
    int sigfd; /* or -1 */
};

static struct pollers *pollers_new(void)
{
    struct pollers *pollers = calloc(1, sizeof(*pollers));

    check(pollers != NULL);
    pollers->epfd = -1;
    pollers->sigfd = -1;
    return pollers;
}

static void *poll_new(void)
{
    return pollers_new();
}

static void *epoll_new(void)
{
    struct pollers *pollers = pollers_new();

    pollers->epfd = epoll_create1(EPOLL_CLOEXEC);
    check(pollers->epfd != -1);
    return pollers;
}

static void *signalfd_new(void)
{
    struct pollers *pollers = pollers_new();
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    pollers->sigfd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    check(pollers->sigfd != -1);
    return pollers;
}

static void loop_free(void *loop)
{
    struct pollers *pollers = loop;

    if (pollers->epfd != -1) {
        check_ok(close(pollers->epfd));
    }
    if (pollers->sigfd != -1) {
        check_ok(close(pollers->sigfd));
    }
    free(pollers);
}

static void ctx_comes(void *loop, struct sss_sigchild_ctx *ctx)
{
    struct pollers *pollers = loop;
    struct epoll_event event = { .events = EPOLLIN };
    int i = 0;

    while (pollers->ctx[i] != NULL) {
        i++;
        check(i < ROOM);
    }
    pollers->ctx[i] = ctx;
    check_ok(sss_sigchld_ctx_fd(ctx, &pollers->fd[i]));
    if (pollers->epfd != -1) {
        event.data.ptr = ctx;
        check_ok(epoll_ctl(pollers->epfd, EPOLL_CTL_ADD, pollers->fd[i], &event));
    }
    if (pollers->sigfd != -1) {
        check_ok(sss_sigchld_ctx_signalled(ctx, NULL));
    }
}

static void ctx_goes(void *loop, struct sss_sigchild_ctx *ctx)
{
    struct pollers *pollers = loop;
    int i;

    for (i = 0; i < ROOM; i++) {
        if (pollers->ctx[i] == ctx) {
            pollers->ctx[i] = NULL;
        }
    }
}

static void epoll_some(struct pollers *pollers, int timeout)
{
    struct epoll_event event;

    if (epoll_wait(pollers->epfd, &event, 1, timeout) == 1) {
        check_ok(sss_sigchld_ctx_dispatch(event.data.ptr, 0));
    }
}

static void poll_some(struct pollers *pollers, int timeout)
{
    struct pollfd fds[ROOM + 1];
    struct sss_sigchild_ctx *ctx[ROOM];
    struct signalfd_siginfo got;
    int i;

    for (i = 0; i < ROOM; i++) {
        ctx[i] = pollers->ctx[i];
        fds[i].fd = ctx[i] != NULL ? pollers->fd[i] : -1;
        fds[i].events = POLLIN;
    }
    fds[ROOM] = (struct pollfd){ .fd = pollers->sigfd, .events = POLLIN };
    if (poll(fds, ROOM + 1, timeout) <= 0) {
        return;
    }
    for (i = 0; i < ROOM; i++) {
        if (fds[i].revents != 0 && pollers->ctx[i] == ctx[i]) {
            check_ok(sss_sigchld_ctx_dispatch(ctx[i], 0));
        }
    }
    if (fds[ROOM].revents == 0 ||
        read(pollers->sigfd, &got, sizeof(got)) != (ssize_t)sizeof(got)) {
        return;
    }
    for (i = 0; i < ROOM; i++) {
        if (pollers->ctx[i] != NULL) {
            check_ok(sss_sigchld_ctx_signalled(pollers->ctx[i], NULL));
            break;
        }
    }
}

static void turn_within(struct pollers *pollers, int timeout)
{
    if (pollers->epfd != -1) {
        epoll_some(pollers, timeout);
    } else {
        poll_some(pollers, timeout);
    }
}

static void turn(void *loop)
{
    turn_within(loop, -1);
}

static void turn_now(void *loop)
{
    turn_within(loop, 0);
}

int main(void)
{
    static const struct waking_on ways[] = {
        { .name = "poll",
          .cannot = CANNOT_STOPS | CANNOT_FORK, /* the descriptor is another one then */
          .loop_new = poll_new,
          .loop_free = loop_free,
          .turn = turn,
          .turn_now = turn_now,
          .ctx_comes = ctx_comes,
          .ctx_goes = ctx_goes },
        { .name = "epoll",
          .cannot = CANNOT_STOPS | CANNOT_FORK, /* the descriptor is another one then */
          .loop_new = epoll_new,
          .loop_free = loop_free,
          .turn = turn,
          .turn_now = turn_now,
          .ctx_comes = ctx_comes,
          .ctx_goes = ctx_goes },
        { .name = "poll_signalfd",
          .cannot = CANNOT_FORK | CANNOT_MASK | CANNOT_IGNORED,
          .blocks = true,
          .loop_new = signalfd_new,
          .loop_free = loop_free,
          .turn = turn,
          .turn_now = turn_now,
          .ctx_comes = ctx_comes,
          .ctx_goes = ctx_goes },
    };
    static const struct CMUnitTest own[] = { { 0 } };

    return bed_run(ways, ARRAY_SIZE(ways), behaviours, ARRAY_SIZE(behaviours), own, 0);
}
