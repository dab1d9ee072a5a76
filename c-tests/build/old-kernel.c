/*
 * Runs a program as an older kernel would: old-kernel 5.10|4.19 PROGRAM [ARGUMENT...]
 *
 * A seccomp filter answers what that kernel lacks as it would have answered.
 * Where a filter cannot see enough it is stricter: fstatfs() fails, for its
 * answer would tell pidfs, and clone() refuses CLONE_PIDFD, which 4.19 ignores.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#if defined(__x86_64__)
#define ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCH AUDIT_ARCH_AARCH64
#else
#error "the architecture's audit number is missing here"
#endif

#ifndef CLONE_PIDFD
#define CLONE_PIDFD 0x1000
#endif
#define WAITID_P_PIDFD 3
#define SOCKOPT_PASSPIDFD 76
#define PIDFD_IOCTL_TYPE 0xff
#define PIDFD_NONBLOCK_FLAG O_NONBLOCK

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define OFFSET_NR offsetof(struct seccomp_data, nr)
#define OFFSET_ARCH offsetof(struct seccomp_data, arch)
/* The low half of an argument, on a little-endian machine. */
#define OFFSET_ARG(n) offsetof(struct seccomp_data, args[n])

#define LOAD(offset) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (offset))
#define ANSWER(error) BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (error))
#define ALLOW BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)
#define UNLESS_EQUAL(value, skip) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (value), 0, (skip))
#define UNLESS_ANY_BIT(bits, skip) BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, (bits), 0, (skip))
#define UNLESS_AT_LEAST(value, skip) BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, (value), 0, (skip))

/* Each rule begins and ends with the system call's number in the accumulator. */
#define LACKS(nr, error) UNLESS_EQUAL((nr), 1), ANSWER(error)
#define LACKS_VALUE(nr, arg, value, error) \
    UNLESS_EQUAL((nr), 4), LOAD(OFFSET_ARG(arg)), UNLESS_EQUAL((value), 1), ANSWER(error), \
    LOAD(OFFSET_NR)
#define LACKS_BITS(nr, arg, bits, error) \
    UNLESS_EQUAL((nr), 4), LOAD(OFFSET_ARG(arg)), UNLESS_ANY_BIT((bits), 1), ANSWER(error), \
    LOAD(OFFSET_NR)

#define HEAD \
    LOAD(OFFSET_ARCH), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCH, 1, 0), \
    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS), LOAD(OFFSET_NR)

/* All of a system call's ioctls of one type: the second byte of the command. */
#define LACKS_IOCTLS(type, error) \
    UNLESS_EQUAL(SYS_ioctl, 6), LOAD(OFFSET_ARG(1)), \
    BPF_STMT(BPF_ALU | BPF_RSH | BPF_K, 8), BPF_STMT(BPF_ALU | BPF_AND | BPF_K, 0xff), \
    UNLESS_EQUAL((type), 1), ANSWER(error), LOAD(OFFSET_NR)

static struct sock_filter linux_5_10[] = {
    HEAD,
    /* 441 is epoll_pwait2, the first system call of 5.11. */
    UNLESS_AT_LEAST(441, 1), ANSWER(ENOSYS),
    LACKS(SYS_fstatfs, ENOSYS),
    LACKS(SYS_name_to_handle_at, EOPNOTSUPP),
    LACKS_IOCTLS(PIDFD_IOCTL_TYPE, ENOTTY),
    LACKS_BITS(SYS_pidfd_open, 1, ~PIDFD_NONBLOCK_FLAG, EINVAL),
    LACKS_BITS(SYS_pidfd_send_signal, 3, ~0u, EINVAL),
    LACKS_BITS(SYS_close_range, 2, ~2u, EINVAL),
    LACKS_VALUE(SYS_setsockopt, 2, SOCKOPT_PASSPIDFD, ENOPROTOOPT),
    ALLOW,
};

static struct sock_filter linux_4_19[] = {
    HEAD,
    /* 424 is pidfd_send_signal, the first system call of 5.1. */
    UNLESS_AT_LEAST(424, 1), ANSWER(ENOSYS),
    LACKS(SYS_fstatfs, ENOSYS),
    LACKS(SYS_name_to_handle_at, EOPNOTSUPP),
    LACKS_IOCTLS(PIDFD_IOCTL_TYPE, ENOTTY),
    LACKS_VALUE(SYS_waitid, 0, WAITID_P_PIDFD, EINVAL),
    LACKS_BITS(SYS_clone, 0, CLONE_PIDFD, EINVAL),
    LACKS_VALUE(SYS_setsockopt, 2, SOCKOPT_PASSPIDFD, ENOPROTOOPT),
    ALLOW,
};

static int install(struct sock_filter *filter, size_t length)
{
    struct sock_fprog program = { .len = (unsigned short)length, .filter = filter };

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
        return -1;
    }
    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

static int answers(long result, int error)
{
    return result == -1 && errno == error;
}

/* A filter that lets everything through would make every test below it pass. */
static int bites_5_10(void)
{
    struct statfs fs;
    long pidfd = syscall(SYS_pidfd_open, getpid(), 0);
    int bites;

    if (pidfd == -1 && errno != ENOSYS) {
        return 0;
    }
    /* Where the real kernel is older, nothing is left to filter. */
    bites = pidfd == -1
            || (answers(syscall(SYS_pidfd_open, getpid(), O_EXCL), EINVAL)
                && answers(ioctl((int)pidfd, _IOWR(PIDFD_IOCTL_TYPE, 11, char[64]), &fs), ENOTTY)
                && answers(syscall(SYS_pidfd_send_signal, pidfd, 0, NULL, 4), EINVAL));
    if (pidfd != -1) {
        close((int)pidfd);
    }
    return bites && answers(fstatfs(STDERR_FILENO, &fs), ENOSYS)
           && answers(syscall(441, -1, NULL, 0, NULL, NULL, 0), ENOSYS);
}

static int bites_4_19(void)
{
    siginfo_t info;

    return answers(syscall(SYS_pidfd_open, getpid(), 0), ENOSYS)
           && answers(syscall(SYS_clone3, NULL, 0), ENOSYS)
           && answers(syscall(SYS_close_range, ~0u, ~0u, 0), ENOSYS)
           && answers(syscall(SYS_waitid, WAITID_P_PIDFD, 0, &info, WEXITED, NULL), EINVAL)
           && answers(syscall(SYS_clone, CLONE_PIDFD | SIGCHLD, NULL, NULL, NULL, NULL), EINVAL);
}

static const struct {
    const char *version;
    struct sock_filter *filter;
    size_t length;
    int (*bites)(void);
} kernels[] = {
    { "5.10", linux_5_10, ARRAY_SIZE(linux_5_10), bites_5_10 },
    { "4.19", linux_4_19, ARRAY_SIZE(linux_4_19), bites_4_19 },
};

int main(int argc, char **argv)
{
    size_t i;

    for (i = 0; argc >= 3 && i < ARRAY_SIZE(kernels); i++) {
        if (strcmp(argv[1], kernels[i].version) != 0) {
            continue;
        }
        if (install(kernels[i].filter, kernels[i].length) != 0) {
            perror("old-kernel: seccomp");
            return 125;
        }
        if (!kernels[i].bites()) {
            fprintf(stderr, "old-kernel: the filter of %s has no effect\n", argv[1]);
            return 125;
        }
        execvp(argv[2], argv + 2);
        perror("old-kernel: exec");
        return 125;
    }
    fprintf(stderr, "usage: old-kernel 5.10|4.19 PROGRAM [ARGUMENT...]\n");
    return 125;
}
