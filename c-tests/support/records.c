#define _GNU_SOURCE
#include "support/records.h"

#include <errno.h>
#include <linux/connector.h>
#include <linux/netlink.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "support/check.h"

void records_room(int fd)
{
    int size = 64 << 20;

    if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)) != 0) {
        /* An ordinary user gets as much as the system allows. */
        check_ok(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size)));
    }
}

bool records_open(struct records *records)
{
    struct sockaddr_nl address = { .nl_family = AF_NETLINK, .nl_groups = CN_IDX_PROC };
    struct {
        struct nlmsghdr header;
        struct cn_msg message;
        enum proc_cn_mcast_op operation;
    } __attribute__((packed)) request;

    memset(records, 0, sizeof(*records));
    records->fd = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK,
                         NETLINK_CONNECTOR);
    if (records->fd == -1) {
        return false;
    }
    records_room(records->fd);
    memset(&request, 0, sizeof(request));
    request.header.nlmsg_len = sizeof(request);
    request.header.nlmsg_type = NLMSG_DONE;
    request.message.id.idx = CN_IDX_PROC;
    request.message.id.val = CN_VAL_PROC;
    request.message.len = sizeof(request.operation);
    request.operation = PROC_CN_MCAST_LISTEN;
    if (bind(records->fd, (struct sockaddr *)&address, sizeof(address)) != 0
        || send(records->fd, &request, sizeof(request), 0) != sizeof(request)) {
        check_ok(close(records->fd));
        return false;
    }
    return true;
}

/* False where records were lost. */
static bool read_all(struct records *records)
{
    const size_t before = sizeof(struct nlmsghdr) + sizeof(struct cn_msg);
    struct proc_event event;
    char record[256];

    while (recv(records->fd, record, sizeof(record), 0) > 0) {
        memcpy(&event, record + before, sizeof(event));
        records->take(&event, records->pvt);
    }
    return errno == EAGAIN;
}

static void *read_on(void *arg)
{
    struct records *records = arg;
    struct pollfd readable = { .fd = records->fd, .events = POLLIN };

    while (!atomic_load(&records->over)) {
        poll(&readable, 1, 10);
        records->complete = read_all(records) && records->complete;
    }
    records->complete = read_all(records) && records->complete;
    return NULL;
}

void records_begin(struct records *records,
                   void (*take)(const struct proc_event *event, void *pvt), void *pvt)
{
    records->complete = true;
    records->take = take;
    records->pvt = pvt;
    check_int(pthread_create(&records->thread, NULL, read_on, records), 0);
}

bool records_end(struct records *records)
{
    atomic_store(&records->over, true);
    check_int(pthread_join(records->thread, NULL), 0);
    check_ok(close(records->fd));
    return records->complete;
}

void give_room_to_connector(void)
{
    for (int fd = 3; fd < 1024; fd++) {
        int domain = 0, protocol = 0;
        socklen_t length = sizeof(int);

        if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &length) == 0 && domain == AF_NETLINK
            && getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &length) == 0
            && protocol == NETLINK_CONNECTOR) {
            records_room(fd);
        }
    }
}
