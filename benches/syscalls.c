/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#define _GNU_SOURCE
#include "syscalls.h"

#include <dirent.h>
#include <linux/perf_event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define THREADS_MAX 16
#define RING_PAGES 1024
#define PAGE 4096u

/* What PERF_SAMPLE_RAW of raw_syscalls:sys_enter looks like. */
struct sample {
    struct perf_event_header header;
    uint32_t raw_size;
    uint16_t common_type;
    uint8_t common_flags;
    uint8_t common_preempt;
    int32_t common_pid;
    int64_t nr;
} __attribute__((packed));

static struct {
    struct perf_event_mmap_page *page[THREADS_MAX];
    unsigned threads;
    uint64_t windows;
    uint64_t counts[SYSCALLS_MAX];
} trace;

static int tracepoint_id(void)
{
    static const char *const paths[] = {
        "/sys/kernel/tracing/events/raw_syscalls/sys_enter/id",
        "/sys/kernel/debug/tracing/events/raw_syscalls/sys_enter/id",
    };
    unsigned i;

    for (i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        FILE *f = fopen(paths[i], "re");
        int id, got;

        if (f == NULL)
            continue;
        got = fscanf(f, "%d", &id);
        fclose(f);
        if (got == 1)
            return id;
    }
    return -1;
}

static int open_thread(int id, pid_t tid)
{
    struct perf_event_attr attr;
    void *page;
    int fd;

    memset(&attr, 0, sizeof(attr));
    attr.size = sizeof(attr);
    attr.type = PERF_TYPE_TRACEPOINT;
    attr.config = (uint64_t)id;
    attr.sample_period = 1;
    attr.sample_type = PERF_SAMPLE_RAW;
    attr.disabled = 1;
    fd = (int)syscall(SYS_perf_event_open, &attr, tid, -1, -1, PERF_FLAG_FD_CLOEXEC);
    if (fd < 0)
        return -1;
    page = mmap(NULL, (RING_PAGES + 1) * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (page == MAP_FAILED) {
        close(fd);
        return -1;
    }
    trace.page[trace.threads++] = page;
    return 0;
}

int syscalls_open(const char **why)
{
    int id = tracepoint_id();
    struct dirent *e;
    DIR *dir;

    if (id < 0) {
        *why = "no raw_syscalls:sys_enter: tracefs is not mounted or not readable";
        return -1;
    }
    dir = opendir("/proc/self/task");
    if (dir == NULL) {
        *why = "no /proc/self/task";
        return -1;
    }
    while ((e = readdir(dir)) != NULL && trace.threads < THREADS_MAX) {
        pid_t tid = (pid_t)atoi(e->d_name);

        if (tid > 0 && open_thread(id, tid) < 0) {
            *why = "perf_event_open refused";
            closedir(dir);
            return -1;
        }
    }
    closedir(dir);
    return 0;
}

static uint64_t ring_read(const struct perf_event_mmap_page *page, uint64_t pos, void *out,
                          size_t len)
{
    const uint8_t *data = (const uint8_t *)page + page->data_offset;
    size_t i;

    for (i = 0; i < len; i++)
        ((uint8_t *)out)[i] = data[(pos + i) % page->data_size];
    return pos + len;
}

static int drain(struct perf_event_mmap_page *page)
{
    uint64_t head = __atomic_load_n(&page->data_head, __ATOMIC_ACQUIRE);
    uint64_t pos = page->data_tail;
    int lost = 0;

    while (pos < head) {
        struct sample s;

        memset(&s, 0, sizeof(s));
        ring_read(page, pos, &s.header, sizeof(s.header));
        if (s.header.type == PERF_RECORD_LOST)
            lost = -1;
        if (s.header.type == PERF_RECORD_SAMPLE) {
            ring_read(page, pos, &s, sizeof(s));
            if (s.nr >= 0 && s.nr < SYSCALLS_MAX)
                trace.counts[s.nr]++;
        }
        pos += s.header.size;
    }
    __atomic_store_n(&page->data_tail, pos, __ATOMIC_RELEASE);
    return lost;
}

void syscalls_begin(void)
{
    prctl(PR_TASK_PERF_EVENTS_ENABLE);
}

int syscalls_end(void)
{
    unsigned i;
    int lost = 0;

    prctl(PR_TASK_PERF_EVENTS_DISABLE);
    trace.windows++;
    for (i = 0; i < trace.threads; i++)
        lost |= drain(trace.page[i]);
    return lost;
}

const uint64_t *syscalls_counts(void)
{
    /* Each window ends with the prctl that closes it. */
    trace.counts[SYS_prctl] -= trace.windows;
    trace.windows = 0;
    return trace.counts;
}

const char *syscalls_name(unsigned nr, char buf[16])
{
    static const struct {
        unsigned nr;
        const char *name;
    } names[] = {
#define N(x) { SYS_##x, #x }
        N(read), N(write), N(close), N(poll), N(ppoll), N(epoll_wait), N(epoll_pwait),
        N(epoll_ctl), N(wait4), N(waitid), N(pidfd_open), N(rt_sigaction), N(rt_sigprocmask),
        N(rt_sigreturn), N(futex), N(ioctl), N(fcntl), N(timerfd_settime), N(signalfd4),
        N(gettid), N(getpid), N(clock_gettime), N(mmap), N(munmap), N(madvise), N(brk), N(kill),
        N(prctl), N(recvmsg), N(sendto), N(sched_yield), N(restart_syscall), N(pidfd_send_signal),
        N(setitimer), N(epoll_pwait2), N(fstat), N(newfstatat), N(getrusage),
#undef N
    };
    unsigned i;

    for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (names[i].nr == nr)
            return names[i].name;
    }
    snprintf(buf, 16, "nr_%u", nr);
    return buf;
}
