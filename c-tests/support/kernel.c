#define _GNU_SOURCE
#include "support/kernel.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "support/check.h"
#include "support/child.h"
#include "support/hold.h"

/* linux/pidfd.h of 6.15; older headers do not have it. */
struct pidfd_info_v1 {
    uint64_t mask;
    uint64_t cgroupid;
    uint32_t ids[11];
    int32_t exit_code;
};
#define PIDFD_GET_INFO_V1 _IOWR(0xff, 11, struct pidfd_info_v1)
#define PIDFD_INFO_HAS_EXIT (1u << 3)

bool kernel_has_pidfds(void)
{
    long fd = syscall(SYS_pidfd_open, getpid(), 0);

    if (fd == -1) {
        return false;
    }
    check_ok(close((int)fd));
    return true;
}

bool kernel_keeps_status(void)
{
    struct pidfd_info_v1 info;
    pid_t pid = child_dead(7);
    long fd = syscall(SYS_pidfd_open, pid, 0);
    bool keeps;

    reap(pid, 7);
    if (fd == -1) {
        return false;
    }
    memset(&info, 0, sizeof(info));
    info.mask = PIDFD_INFO_HAS_EXIT;
    keeps = ioctl((int)fd, PIDFD_GET_INFO_V1, &info) == 0
            && (info.mask & PIDFD_INFO_HAS_EXIT) != 0 && info.exit_code == status_of(7);
    check_ok(close((int)fd));
    return keeps;
}

void kernel_forgets_statuses(void)
{
    refuse_value(SYS_ioctl, 1, (uint32_t)PIDFD_GET_INFO_V1, ENOTTY);
}
