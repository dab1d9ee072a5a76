/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * adoption SUBJECT SERVICES ROUNDS: what it costs a daemon to learn of an adopted process,
 * and how late it learns of it. There are SERVICES services with one process each. ROUNDS of
 * these processes, one after the other, fork, exit and leave an orphan, which ends two
 * milliseconds later. CPU time is that of the daemon for the two ends, the adoption and what
 * it does to attribute the orphan; starts are not measured.
 *
 *   sss        services by tag, the context's descriptor
 *   descent    services by descent alone, one listing before each round
 *   connector  waitpid(-1) by signalfd, and fork records by hand
 *   cgroup     each service in a cgroup, /proc/PID/cgroup read before each reap
 *   ptrace     each service is traced, and PTRACE_O_TRACEFORK tells of its forks
 *   shim       each service has a subreaper of its own above it, which exits after its last
 *              process; the shim's CPU time counts too, and the daemon sees only its exit
 *   plain      waitpid(-1) by signalfd, which attributes nothing: the control
 *
 * Prints: subject services rounds CPU-us-per-orphan ADOPTED-us DEAD-us (medians; 0: it has
 * no such event).
 *
 * adoption SUBJECT SERVICES memory: what a service holds in the daemon, and in the subject's
 * own processes beside it; then what it holds once its first process has left an orphan
 * that lives. Prints: subject services bytes descriptors KiB-beside bytes descriptors; the
 * last two are 0 where nothing is kept of an orphan.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <dirent.h>
#include <fcntl.h>
#include <linux/cn_proc.h>
#include <linux/connector.h>
#include <linux/netlink.h>
#include <malloc.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <sss_sigchld.h>

struct slot {
    int64_t first_ends; /* CLOCK_MONOTONIC ns, right before each exit */
    int64_t orphan_ends;
    int64_t adopted; /* when the daemon knew */
    int64_t dead;
    pid_t first;
    pid_t orphan;
    uint32_t ready;
    uint32_t hold; /* the first stays until the daemon has listed its children */
    uint32_t stay; /* the orphan lives on */
    uint32_t left; /* of the two, for subjects without DEAD */
    int64_t shim;  /* CPU of the subject's own processes beside the daemon */
};

static struct slot *slots;
static unsigned services, rounds;
static unsigned done, left_by_first;
static unsigned owner[1 << 22]; /* by pid: 1 + slot */

static int64_t now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

static int64_t cpu(void)
{
    struct timespec time;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

static void die(const char *what)
{
    perror(what);
    exit(1);
}

/* The system may refuse this: then the subject is left out of the table (run.py). Any other
 * failure is an error of the program. */
static void die_or_lack(const char *what)
{
    static const int refusals[] = { EPERM, EACCES, ENOENT, EROFS, ENOSYS, EPROTONOSUPPORT,
                                    ECONNREFUSED };
    int error = errno;

    perror(what);
    for (unsigned i = 0; i < sizeof(refusals) / sizeof(*refusals); i++) {
        if (error == refusals[i]) {
            exit(77);
        }
    }
    exit(1);
}

static struct slot *map_slots(const char *path, unsigned count)
{
    int fd = open(path, O_RDWR | O_CLOEXEC);
    void *map;

    if (fd == -1) {
        die(path);
    }
    map = mmap(NULL, count * sizeof(struct slot), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED) {
        die("mmap");
    }
    close(fd);
    return map;
}

/* The service: waits for SIGUSR1, forks, exits; the orphan ends when it is one. */
static int serve(const char *path, unsigned index, unsigned count)
{
    struct slot *slot = &map_slots(path, count)[index];
    pid_t parent = getpid();
    sigset_t set;
    int signum;

    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigprocmask(SIG_BLOCK, &set, NULL);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    __atomic_store_n(&slot->ready, 1, __ATOMIC_RELEASE);
    sigwait(&set, &signum);
    if (fork() == 0) {
        slot->orphan = getpid();
        while (getppid() == parent) {
            usleep(50);
        }
        while (slot->stay != 0) {
            pause(); /* the daemon ends it */
        }
        usleep(2000);
        slot->orphan_ends = now();
        _exit(0);
    }
    while (__atomic_load_n(&slot->orphan, __ATOMIC_ACQUIRE) == 0
           || __atomic_load_n(&slot->hold, __ATOMIC_ACQUIRE) != 0) {
        usleep(50);
    }
    slot->first_ends = now();
    _exit(0);
}

/* The daemon, in its subjects. */
static struct sss_sigchild_ctx *ctx;
static struct sss_service **handles;
static int ctxfd = -1, sigfd = -1, netfd = -1;
static int tracing, shimming;
static char cgroup_parent[256];

static void told(struct sss_service *service, const struct sss_service_event *event, void *pvt)
{
    struct slot *slot = pvt;

    (void)service;
    if (event->event == SSS_SERVICE_ADOPTED) {
        slot->adopted = now();
    } else if (event->event == SSS_SERVICE_EXITED && event->pid == event->root) {
        left_by_first++;
    } else if (event->event == SSS_SERVICE_DEAD) {
        slot->dead = now();
        done++;
    }
}

/* The shim: the one process of a service that the daemon waits for. It lives as long as any
 * process of the service. */
static void shim(struct slot *slot, char **argv)
{
    int64_t begun;
    pid_t pid;

    prctl(PR_SET_CHILD_SUBREAPER, 1);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    pid = fork();
    if (pid == 0) {
        execv("/proc/self/exe", argv);
        _exit(1);
    }
    slot->first = pid;
    begun = cpu();
    while (waitpid(-1, NULL, 0) > 0 || errno == EINTR) {
    }
    slot->shim = cpu() - begun;
    _exit(0);
}

static void start_service(const char *subject, const char *path, unsigned index)
{
    char number[16], count[16];
    const char *argv[] = { "adoption", "--serve", path, number, count, NULL };
    struct sss_spawn spawn = { .size = sizeof(spawn), .path = "/proc/self/exe", .argv = argv };
    struct sss_service_params params = { .size = sizeof(params),
                                         .mask = SSS_SERVICE_PARAM_EVIDENCE };
    pid_t pid;

    snprintf(number, sizeof(number), "%u", index);
    snprintf(count, sizeof(count), "%u", services);
    if (ctx != NULL) {
        struct sss_service_status status = { .size = sizeof(status) };

        params.evidence = strcmp(subject, "descent") == 0 ? SSS_SERVICE_BY_DESCENT
                                                          : SSS_SERVICE_BY_TAG;
        errno = sss_service_spawn(NULL, ctx, &spawn, &params, told, &slots[index],
                                  &handles[index]);
        if (errno != 0 || sss_service_status(handles[index], &status) != 0) {
            die("sss_service_spawn");
        }
        slots[index].first = status.root;
        return;
    }
    slots[index].left = shimming ? 1 : 2;
    pid = fork();
    if (pid == 0) {
        if (shimming) {
            shim(&slots[index], (char **)argv);
        }
        if (cgroup_parent[0] != '\0') {
            char procs[320];
            FILE *file;

            snprintf(procs, sizeof(procs), "%s/%u", cgroup_parent, index);
            mkdir(procs, 0755);
            snprintf(procs, sizeof(procs), "%s/%u/cgroup.procs", cgroup_parent, index);
            file = fopen(procs, "w");
            if (file == NULL || fprintf(file, "0") < 0 || fclose(file) != 0) {
                _exit(1);
            }
        }
        execv("/proc/self/exe", (char **)argv);
        _exit(1);
    }
    owner[pid] = index + 1;
    if (shimming) {
        return; /* it says itself who the first is */
    }
    slots[index].first = pid;
    if (tracing
        && ptrace(PTRACE_SEIZE, pid, NULL,
                  PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE)
               != 0) {
        die_or_lack("ptrace");
    }
}

static void read_records(void)
{
    char record[256];
    struct proc_event event;

    if (netfd == -1) {
        return;
    }
    while (recv(netfd, record, sizeof(record), MSG_DONTWAIT) > 0) {
        const struct fork_proc_event *fork = &event.event_data.fork;

        memcpy(&event, record + sizeof(struct nlmsghdr) + sizeof(struct cn_msg), sizeof(event));
        if (event.what == PROC_EVENT_FORK && fork->child_pid == fork->child_tgid
            && fork->parent_tgid != getpid()) {
            owner[fork->child_pid] = owner[fork->parent_tgid];
        }
    }
}

static unsigned by_cgroup(pid_t pid)
{
    char path[64], text[512], *line;
    ssize_t got;
    int fd;

    snprintf(path, sizeof(path), "/proc/%d/cgroup", pid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    got = fd == -1 ? -1 : read(fd, text, sizeof(text) - 1);
    close(fd);
    if (got <= 0) {
        return 0;
    }
    text[got] = '\0';
    line = strstr(text, "0::");
    line = line != NULL ? strrchr(line, '/') : NULL;
    return line != NULL ? (unsigned)atoi(line + 1) + 1 : 0;
}

/* Handles the stop of a traced process; false if it has ended instead. */
static int traced(pid_t pid, int status)
{
    unsigned long child;

    if (!WIFSTOPPED(status)) {
        return 0;
    }
    switch (status >> 16) {
    case PTRACE_EVENT_FORK:
    case PTRACE_EVENT_VFORK:
    case PTRACE_EVENT_CLONE:
        if (ptrace(PTRACE_GETEVENTMSG, pid, NULL, &child) == 0) {
            owner[child] = owner[pid];
        }
        /* fall through */
    case PTRACE_EVENT_STOP:
        ptrace(PTRACE_CONT, pid, NULL, 0);
        break;
    default:
        ptrace(PTRACE_CONT, pid, NULL, WSTOPSIG(status));
    }
    return 1;
}

static void reap_by_hand(void)
{
    struct signalfd_siginfo info;
    siginfo_t who;

    while (read(sigfd, &info, sizeof(info)) > 0) {
    }
    if (netfd != -1) {
        read_records();
    }
    for (;;) {
        unsigned of;
        pid_t pid;

        if (cgroup_parent[0] != '\0') {
            who.si_pid = 0;
            if (waitid(P_ALL, 0, &who, WEXITED | WNOHANG | WNOWAIT) != 0 || who.si_pid == 0) {
                return;
            }
            of = by_cgroup(who.si_pid);
            pid = waitpid(who.si_pid, NULL, WNOHANG);
        } else {
            int status = 0;

            pid = waitpid(-1, &status, WNOHANG | (tracing ? __WALL : 0));
            if (pid > 0 && tracing && traced(pid, status)) {
                continue;
            }
            of = pid > 0 ? owner[pid] : 0;
        }
        if (pid <= 0) {
            return;
        }
        if (of != 0) {
            if (--slots[of - 1].left == 0) {
                slots[of - 1].dead = now();
                done++;
            }
        } else if (netfd == -1) {
            done++; /* plain: an orphan of anybody's */
        }
    }
}

static int by_value(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

static double median_us(int64_t *values, unsigned count)
{
    if (count == 0) {
        return 0;
    }
    qsort(values, count, sizeof(*values), by_value);
    return (double)values[count / 2] / 1000;
}

static void connector(void)
{
    struct sockaddr_nl address = { .nl_family = AF_NETLINK, .nl_groups = CN_IDX_PROC };
    struct {
        struct nlmsghdr header;
        struct cn_msg message;
        uint32_t operation;
    } __attribute__((packed)) listen;

    netfd = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_CONNECTOR);
    memset(&listen, 0, sizeof(listen));
    listen.header.nlmsg_len = sizeof(listen);
    listen.header.nlmsg_type = NLMSG_DONE;
    listen.message.id.idx = CN_IDX_PROC;
    listen.message.id.val = CN_VAL_PROC;
    listen.message.len = sizeof(listen.operation);
    listen.operation = PROC_CN_MCAST_LISTEN;
    if (netfd == -1 || bind(netfd, (struct sockaddr *)&address, sizeof(address)) != 0
        || send(netfd, &listen, sizeof(listen), 0) != sizeof(listen)) {
        die_or_lack("connector");
    }
}

static void set_up(const char *subject)
{
    struct sss_ctx_params params = { .size = sizeof(params) };
    sigset_t set;

    if (strcmp(subject, "sss") == 0 || strcmp(subject, "descent") == 0) {
        handles = calloc(services, sizeof(*handles));
        if (handles == NULL || sss_sigchld_ctx_create(&params, &ctx) != 0
            || sss_sigchld_ctx_fd(ctx, &ctxfd) != 0) {
            die("context");
        }
        return;
    }
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    tracing = strcmp(subject, "ptrace") == 0;
    shimming = strcmp(subject, "shim") == 0;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigprocmask(SIG_BLOCK, &set, NULL);
    sigfd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (strcmp(subject, "connector") == 0) {
        connector();
    } else if (strcmp(subject, "cgroup") == 0) {
        const char *root = getenv("BENCH_CGROUP");

        snprintf(cgroup_parent, sizeof(cgroup_parent), "%s/sss-bench-%d",
                 root != NULL ? root : "/sys/fs/cgroup", getpid());
        if (mkdir(cgroup_parent, 0755) != 0) {
            die_or_lack(cgroup_parent);
        }
    } else if (!tracing && !shimming && strcmp(subject, "plain") != 0) {
        fprintf(stderr, "no such subject: %s\n", subject);
        exit(2);
    }
}

static void turn(void)
{
    struct pollfd fds[] = {
        { .fd = ctxfd, .events = POLLIN },
        { .fd = sigfd, .events = POLLIN },
        { .fd = netfd, .events = POLLIN },
    };

    poll(fds, 3, 1000);
    if (fds[0].revents != 0) {
        sss_sigchld_ctx_dispatch(ctx, 0);
    }
    if (fds[2].revents != 0) {
        read_records();
    }
    if (fds[1].revents != 0) {
        reap_by_hand();
    }
}

static unsigned descriptors(void)
{
    DIR *directory = opendir("/proc/self/fd");
    unsigned count = 0;

    if (directory == NULL) {
        die("/proc/self/fd");
    }
    while (readdir(directory) != NULL) {
        count++;
    }
    closedir(directory);
    return count;
}

/* What a process has for itself, in KiB. */
static unsigned own_memory(pid_t pid)
{
    char path[64], line[128];
    unsigned own = 0, kib;
    FILE *file;

    snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", pid);
    file = fopen(path, "re");
    while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
        if (sscanf(line, "Private_Dirty: %u", &kib) == 1) {
            own += kib;
        }
    }
    if (file != NULL) {
        fclose(file);
    }
    return own;
}

static pid_t parent_of(pid_t pid)
{
    char path[64];
    int parent = 0;
    FILE *file;

    snprintf(path, sizeof(path), "/proc/%d/stat", pid);
    file = fopen(path, "re");
    if (file == NULL || fscanf(file, "%*d %*s %*c %d", &parent) != 1) {
        die(path);
    }
    fclose(file);
    return parent;
}

/* Has a service's first process fork, and then exit. With `listed` it exits only when
 * the service has looked, and knows the child. */
static void leave_an_orphan(unsigned index, int listed)
{
    struct slot *slot = &slots[index];
    size_t none = 0;

    slot->hold = (uint32_t)listed;
    kill(slot->first, SIGUSR1);
    if (!listed) {
        return;
    }
    while (__atomic_load_n(&slot->orphan, __ATOMIC_ACQUIRE) == 0) {
        usleep(50);
    }
    sss_service_pids(handles[index], NULL, &none);
    __atomic_store_n(&slot->hold, 0, __ATOMIC_RELEASE);
}

struct held {
    size_t bytes;
    unsigned fds;
};

static struct held held(void)
{
    return (struct held){ mallinfo2().uordblks, descriptors() };
}

static double each(double after, double before)
{
    return (after - before) / services;
}

static void print_memory(const char *subject, const struct held *before)
{
    struct held started = held(), left = started;
    double beside = 0;

    for (unsigned i = 0; shimming && i < services; i++) {
        beside += own_memory(parent_of(slots[i].first));
    }
    for (unsigned i = 0; ctx != NULL && i < services; i++) {
        slots[i].stay = 1;
        leave_an_orphan(i, strcmp(subject, "descent") == 0);
    }
    while (ctx != NULL && left_by_first < services) {
        turn();
    }
    if (ctx != NULL) {
        left = held();
    }
    printf("%s %u %.0f %.2f %.0f %.0f %.2f\n", subject, services,
           each(started.bytes, before->bytes), each(started.fds, before->fds), beside / services,
           ctx == NULL ? 0 : each(left.bytes, before->bytes),
           ctx == NULL ? 0 : each(left.fds, before->fds));
    for (unsigned i = 0; ctx != NULL && i < services; i++) {
        slots[i].first = slots[i].orphan; /* which is ended in its place */
    }
}

int main(int argc, char **argv)
{
    struct held before;
    struct rlimit files = { 65536, 65536 };
    char path[] = "/dev/shm/sss-adoption-XXXXXX";
    int64_t spent = 0, *adopted, *dead;
    unsigned adoptions = 0, deaths = 0;
    int fd;

    if (argc == 5 && strcmp(argv[1], "--serve") == 0) {
        return serve(argv[2], (unsigned)atoi(argv[3]), (unsigned)atoi(argv[4]));
    }
    if (argc != 4) {
        fprintf(stderr, "usage: adoption SUBJECT SERVICES ROUNDS|memory\n");
        return 2;
    }
    setrlimit(RLIMIT_NOFILE, &files);
    services = (unsigned)atoi(argv[2]);
    rounds = (unsigned)atoi(argv[3]);
    rounds = rounds < services ? rounds : services;
    fd = mkstemp(path);
    if (fd == -1 || ftruncate(fd, (off_t)(services * sizeof(struct slot))) != 0) {
        die(path);
    }
    close(fd);
    slots = map_slots(path, services);
    adopted = calloc(services, sizeof(*adopted));
    dead = calloc(services, sizeof(*dead));
    before = held();
    set_up(argv[1]);
    for (unsigned i = 0; i < services; i++) {
        start_service(argv[1], path, i);
        /* Read while services start: otherwise records are lost before the first round. */
        read_records();
    }
    for (unsigned i = 0; i < services; i++) {
        while (__atomic_load_n(&slots[i].ready, __ATOMIC_ACQUIRE) == 0) {
            if (tracing) {
                reap_by_hand();
            }
            usleep(100);
            read_records();
        }
    }
    if (ctx != NULL) {
        sss_sigchld_ctx_dispatch(ctx, 0);
    }
    if (strcmp(argv[3], "memory") == 0) {
        print_memory(argv[1], &before);
    }
    for (unsigned i = 0; i < rounds; i++) {
        unsigned wanted = done + 1;
        int64_t begun;

        leave_an_orphan(i, strcmp(argv[1], "descent") == 0);
        begun = cpu();
        for (int64_t last = now() + 30 * INT64_C(1000000000); done < wanted; turn()) {
            if (now() > last) {
                fprintf(stderr, "%s: an end was not told within 30 s\n", argv[1]);
                return 1;
            }
        }
        spent += cpu() - begun + slots[i].shim;
        if (ctx != NULL && (slots[i].adopted == 0 || slots[i].orphan_ends == 0)) {
            fprintf(stderr, "%s: an orphan was not attributed\n", argv[1]);
            return 1;
        }
        if (slots[i].adopted != 0 && slots[i].adopted > slots[i].first_ends) {
            adopted[adoptions++] = slots[i].adopted - slots[i].first_ends;
        }
        if (slots[i].dead != 0 && slots[i].dead > slots[i].orphan_ends) {
            dead[deaths++] = slots[i].dead - slots[i].orphan_ends;
        }
    }
    if (rounds > 0) {
        printf("%s %u %u %.1f %.0f %.0f\n", argv[1], services, rounds,
               (double)spent / rounds / 1000, median_us(adopted, adoptions),
               median_us(dead, deaths));
    }
    unlink(path);
    fflush(stdout);
    for (unsigned i = rounds; i < services; i++) {
        kill(slots[i].first, SIGKILL);
    }
    while (waitpid(-1, NULL, 0) > 0) {
    }
    if (cgroup_parent[0] != '\0') {
        for (unsigned i = 0; i < services; i++) {
            char name[320];

            snprintf(name, sizeof(name), "%s/%u", cgroup_parent, i);
            rmdir(name);
        }
        rmdir(cgroup_parent);
    }
    return 0;
}
