/*
 * family NAME: a process that does what it is told by datagrams, as do all that come
 * of it. Each binds the abstract address NAME.PID, says to NAME "PID PARENT", and then
 * obeys:
 *
 *   f       forks; the child says so
 *   p PID   forks a child with this pid, or says so itself, where it cannot
 *   w       waits for a child
 *   s       setsid()
 *   u UID   setresuid()
 *   c       executes itself again with an empty environment
 *   e CODE  exits
 *   t       ignores SIGTERM and SIGHUP
 *   b US    forks and exits, and so does each child, for ever, each after so many microseconds
 *   m       its first thread ends, and another one obeys from now on
 *   n       starts a thread that obeys from now on; this one waits
 *   r MS    runs until it has used so much of the processor
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/sched.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static socklen_t address(struct sockaddr_un *sa, const char *name, int pid)
{
    int length;

    memset(sa, 0, sizeof(*sa));
    sa->sun_family = AF_UNIX;
    length = pid == 0 ? snprintf(sa->sun_path + 1, sizeof(sa->sun_path) - 1, "%s", name)
                      : snprintf(sa->sun_path + 1, sizeof(sa->sun_path) - 1, "%s.%d", name, pid);
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)length);
}

static void say_so(int fd, const char *name)
{
    struct sockaddr_un sa;
    char text[64];
    socklen_t length = address(&sa, name, 0);

    snprintf(text, sizeof(text), "%d %d", getpid(), getppid());
    if (sendto(fd, text, strlen(text), 0, (struct sockaddr *)&sa, length) == -1) {
        _exit(124);
    }
}

static int begin(const char *name)
{
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct sockaddr_un sa;
    socklen_t length = address(&sa, name, getpid());

    if (fd == -1 || bind(fd, (struct sockaddr *)&sa, length) != 0) {
        _exit(125);
    }
    say_so(fd, name);
    return fd;
}

/* For ever is five minutes: a test that fails does not leave it behind. */
static void fork_for_ever(unsigned pause)
{
    time_t over = time(NULL) + 300;

    while (time(NULL) < over) {
        pid_t pid = fork();

        if (pid > 0) {
            _exit(0);
        }
        if (pid == -1) {
            usleep(1000);
        } else if (pause > 0) {
            usleep(pause);
        }
    }
    _exit(0);
}

static long fork_with_pid(pid_t pid)
{
    struct clone_args args = { .exit_signal = SIGCHLD, .set_tid_size = 1 };

    args.set_tid = (uintptr_t)&pid;
    return syscall(SYS_clone3, &args, sizeof(args));
}

static const char *name;
static int fd;

static void *obey(void *arg)
{
    pthread_t thread;
    char text[64];
    ssize_t got;

    for (;;) {
        got = recv(fd, text, sizeof(text) - 1, 0);
        if (got == -1 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            _exit(123);
        }
        text[got] = '\0';
        switch (text[0]) {
        case 'f':
            if (fork() == 0) {
                close(fd);
                fd = begin(name);
            }
            break;
        case 'p':
            got = fork_with_pid(atoi(text + 1));
            if (got == 0) {
                close(fd);
                fd = begin(name);
            } else if (got == -1) {
                say_so(fd, name);
            }
            break;
        case 'w':
            wait(NULL);
            break;
        case 's':
            setsid();
            break;
        case 'u':
            if (setresuid(atoi(text + 1), atoi(text + 1), atoi(text + 1)) != 0) {
                _exit(122);
            }
            break;
        case 'c': {
            char *argv[] = { "family", (char *)name, NULL }, *env[] = { NULL };

            close(fd);
            execve("/proc/self/exe", argv, env);
            _exit(121);
        }
        case 't':
            signal(SIGTERM, SIG_IGN);
            signal(SIGHUP, SIG_IGN);
            break;
        case 'b':
            fork_for_ever((unsigned)atoi(text + 1));
            break;
        case 'm':
            if (pthread_create(&thread, NULL, obey, NULL) != 0) {
                _exit(120);
            }
            pthread_exit(arg);
        case 'n':
            if (pthread_create(&thread, NULL, obey, NULL) != 0) {
                _exit(120);
            }
            for (;;) {
                pause();
            }
        case 'r':
            while (clock() < atoi(text + 1) * (CLOCKS_PER_SEC / 1000)) {
            }
            break;
        case 'e':
            _exit(atoi(text + 1));
        }
    }
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        return 126;
    }
    name = argv[1];
    fd = begin(name);
    obey(NULL);
}
