#define _GNU_SOURCE
#include "support/hold.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <semaphore.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/check.h"

#define LOAD(offset) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (offset))
/* The low half of an argument, on a little-endian machine. */
#define LOAD_ARG(n) LOAD(offsetof(struct seccomp_data, args[0]) + 8 * (n))
#define LOAD_NR LOAD(offsetof(struct seccomp_data, nr))
#define ANSWER(answer) BPF_STMT(BPF_RET | BPF_K, (answer))


static void refuse(int nr, unsigned arg, unsigned test, uint32_t operand, int error)
{
    struct sock_filter filter[] = {
        LOAD_NR,
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)nr, 0, 3),
        LOAD_ARG(arg),
        BPF_JUMP(BPF_JMP | test | BPF_K, operand, 0, 1),
        ANSWER(SECCOMP_RET_ERRNO | (unsigned)error),
        ANSWER(SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = { .len = sizeof(filter) / sizeof(filter[0]), .filter = filter };

    check_ok(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    check_ok(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program));
}

void refuse_value(int nr, unsigned arg, uint32_t value, int error)
{
    refuse(nr, arg, BPF_JEQ, value, error);
}

void refuse_bits(int nr, unsigned arg, uint32_t bits, int error)
{
    refuse(nr, arg, BPF_JSET, bits, error);
}

/* Jumps past the answer unless the call is this one. */
#define UNLESS_HELD(h) \
    LOAD_NR, BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)(h).nr, 0, 3), LOAD_ARG(0), \
    BPF_JUMP(BPF_JMP | ((h).arg == ANY_ARG ? BPF_JGE : BPF_JEQ) | BPF_K, \
             (h).arg == ANY_ARG ? 0 : (h).arg, 0, 1), \
    ANSWER(SECCOMP_RET_USER_NOTIF)

int hold_begin(const struct hold holds[2])
{
    struct sock_filter filter[] = {
        UNLESS_HELD(holds[0]),
        UNLESS_HELD(holds[1]),
        ANSWER(SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = { .len = sizeof(filter) / sizeof(filter[0]), .filter = filter };

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
        return -1;
    }
    return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER,
                        &program);
}

struct beginner {
    const struct hold *holds;
    void *(*function)(void *);
    void *arg;
    int listener;
    sem_t holding;
};

static void *begin(void *arg)
{
    struct beginner *beginner = arg;
    void *(*function)(void *) = beginner->function;
    void *its_arg = beginner->arg;

    beginner->listener = hold_begin(beginner->holds);
    check_ok(sem_post(&beginner->holding));
    return function(its_arg);
}

int hold_thread(pthread_t *thread, const struct hold holds[2], void *(*function)(void *),
                void *arg)
{
    struct beginner beginner = { .holds = holds, .function = function, .arg = arg };

    check_ok(sem_init(&beginner.holding, 0, 0));
    check_ok(pthread_create(thread, NULL, begin, &beginner));
    while (sem_wait(&beginner.holding) != 0) {
        check_int(errno, EINTR);
    }
    check_ok(sem_destroy(&beginner.holding));
    check(beginner.listener != -1);
    return beginner.listener;
}

static bool can_hold(void)
{
    static const struct hold none[2] = { { -1, 0 }, { -1, 0 } };
    pid_t pid = fork();
    int status;

    check(pid != -1);
    if (pid == 0) {
        _exit(hold_begin(none) != -1 ? EXIT_SUCCESS : EXIT_FAILURE);
    }
    check_int(waitpid(pid, &status, 0), pid);
    return status == 0;
}

void hold_needed(void)
{
    if (test_profile_is("valgrind")) {
        test_skip("valgrind", "valgrind makes system calls of its own");
    }
    if (!can_hold()) {
        test_lacks("no seccomp listener to be had");
    }
}

bool hold_take(int listener, struct held *held)
{
    struct seccomp_notif call;

    memset(&call, 0, sizeof(call));
    if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &call) != 0) {
        check(errno == ENOENT || errno == EINTR);
        return false;
    }
    held->id = call.id;
    held->pid = (pid_t)call.pid;
    held->nr = call.data.nr;
    memcpy(held->args, call.data.args, sizeof(held->args));
    return true;
}

static bool answer(int listener, const struct held *held, uint32_t flags, int error)
{
    struct seccomp_notif_resp reply;

    memset(&reply, 0, sizeof(reply));
    reply.id = held->id;
    reply.flags = flags;
    reply.error = -error;
    if (ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &reply) != 0) {
        check_int(errno, ENOENT);
        return false;
    }
    return true;
}

bool hold_give_back(int listener, const struct held *held)
{
    return answer(listener, held, SECCOMP_USER_NOTIF_FLAG_CONTINUE, 0);
}

bool hold_fail(int listener, const struct held *held, int error)
{
    return answer(listener, held, 0, error);
}

struct held hold_await(int listener)
{
    struct pollfd fd = { .fd = listener, .events = POLLIN };
    struct held held;

    check_int(poll(&fd, 1, DEADLINE_MS), 1);
    check_int(fd.revents, POLLIN);
    check(hold_take(listener, &held));
    return held;
}

void hold_release(int listener, const struct held *held)
{
    check(hold_give_back(listener, held));
}

struct fd_message {
    struct msghdr header;
    struct iovec data;
    char byte;
    _Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int))];
};

static void message_make(struct fd_message *message)
{
    memset(message, 0, sizeof(*message));
    message->data.iov_base = &message->byte;
    message->data.iov_len = 1;
    message->header.msg_iov = &message->data;
    message->header.msg_iovlen = 1;
    message->header.msg_control = message->control;
    message->header.msg_controllen = sizeof(message->control);
}

void send_fd(int to, int fd)
{
    struct fd_message message;
    struct cmsghdr *control;

    message_make(&message);
    control = CMSG_FIRSTHDR(&message.header);
    control->cmsg_level = SOL_SOCKET;
    control->cmsg_type = SCM_RIGHTS;
    control->cmsg_len = CMSG_LEN(sizeof(fd));
    memcpy(CMSG_DATA(control), &fd, sizeof(fd));
    check_int(sendmsg(to, &message.header, MSG_NOSIGNAL), 1);
}

int receive_fd(int from)
{
    struct fd_message message;
    struct cmsghdr *control;
    int fd;

    message_make(&message);
    check_int(recvmsg(from, &message.header, MSG_CMSG_CLOEXEC), 1);
    control = CMSG_FIRSTHDR(&message.header);
    check(control != NULL);
    memcpy(&fd, CMSG_DATA(control), sizeof(fd));
    return fd;
}
