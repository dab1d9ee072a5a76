#define _GNU_SOURCE
#include "support/filter.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>

#include "support/check.h"

void filter_deny(int nr, int error)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)nr, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = { .len = 4, .filter = filter };

    check_ok(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    check_ok(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program));
}
