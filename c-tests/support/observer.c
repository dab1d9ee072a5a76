#define _GNU_SOURCE
#include "support/observer.h"

#include <errno.h>
#include <linux/cn_proc.h>
#include <linux/connector.h>
#include <linux/netlink.h>
#include <poll.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/check.h"

#define MOST_PIDS (1 << 22)

static int listen_to_kernel(void)
{
    struct sockaddr_nl address = { .nl_family = AF_NETLINK, .nl_groups = CN_IDX_PROC };
    struct {
        struct nlmsghdr header;
        struct cn_msg message;
        enum proc_cn_mcast_op operation;
    } __attribute__((packed)) request;
    int size = 64 << 20;
    int fd = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_CONNECTOR);

    if (fd == -1 || bind(fd, (struct sockaddr *)&address, sizeof(address)) != 0) {
        test_lacks("no proc connector");
    }
    check_ok(setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)));
    memset(&request, 0, sizeof(request));
    request.header.nlmsg_len = sizeof(request);
    request.header.nlmsg_type = NLMSG_DONE;
    request.message.id.idx = CN_IDX_PROC;
    request.message.id.val = CN_VAL_PROC;
    request.message.len = sizeof(request.operation);
    request.operation = PROC_CN_MCAST_LISTEN;
    check_int(send(fd, &request, sizeof(request), 0), sizeof(request));
    return fd;
}

static void take(struct observer *observer, const struct proc_event *event)
{
    const struct fork_proc_event *fork = &event->event_data.fork;
    const struct exit_proc_event *exit = &event->event_data.exit;

    if (event->what == PROC_EVENT_FORK && fork->child_pid == fork->child_tgid) {
        bool ours = observer->ours[fork->parent_tgid]
                    || fork->parent_tgid == atomic_load(observer->root);

        observer->ours[fork->child_pid] = ours;
        observer->forks += ours;
    } else if (event->what == PROC_EVENT_EXIT && exit->process_pid == exit->process_tgid
               && observer->ours[exit->process_pid]) {
        int status = (int)exit->exit_code;

        observer->ours[exit->process_pid] = 0;
        observer->exits++;
        observer->exits_by_code[WEXITSTATUS(status)] += WIFEXITED(status);
    }
}

/* False where records were lost. */
static bool read_records(struct observer *observer)
{
    const size_t before = sizeof(struct nlmsghdr) + sizeof(struct cn_msg);
    struct proc_event event;
    char record[256];

    while (recv(observer->fd, record, sizeof(record), 0) > 0) {
        memcpy(&event, record + before, sizeof(event));
        take(observer, &event);
    }
    return errno == EAGAIN;
}

static void *observe(void *arg)
{
    struct observer *observer = arg;
    struct pollfd readable = { .fd = observer->fd, .events = POLLIN };

    while (!atomic_load(&observer->over)) {
        if (atomic_load(observer->root) != 0) {
            atomic_store(observer->ready, 1);
        }
        poll(&readable, 1, 10);
        observer->complete = read_records(observer) && observer->complete;
    }
    observer->complete = read_records(observer) && observer->complete;
    return NULL;
}

void observer_begin(struct observer *observer, const atomic_int *root, atomic_int *ready)
{
    memset(observer, 0, sizeof(*observer));
    observer->fd = listen_to_kernel();
    observer->root = root;
    observer->ready = ready;
    observer->complete = true;
    observer->ours = calloc(MOST_PIDS, 1);
    check(observer->ours != NULL);
    check_int(pthread_create(&observer->thread, NULL, observe, observer), 0);
}

void observer_end(struct observer *observer)
{
    atomic_store(&observer->over, true);
    check_int(pthread_join(observer->thread, NULL), 0);
    check_ok(close(observer->fd));
    free(observer->ours);
}

void observer_watches_me(atomic_int *root, const atomic_int *ready)
{
    char text[32] = "";

    /* getpid() is of this namespace. */
    check(readlink("/proc/self", text, sizeof(text) - 1) > 0);
    atomic_store(root, atoi(text));
    while (atomic_load(ready) == 0) {
        poll(NULL, 0, 1);
    }
}
