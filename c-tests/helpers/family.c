/*
 * family NAME: a process that does what it is told by datagrams, as do all that come
 * of it. Each binds the abstract address NAME.PID, says to NAME "PID PARENT", and then
 * obeys:
 *
 *   f       forks; the child says so
 *   s       setsid()
 *   u UID   setresuid()
 *   c       executes itself again with an empty environment
 *   e CODE  exits
 *   t       ignores SIGTERM and SIGHUP
 *   b       forks and exits, and so does each child, for ever
 */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
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

static int begin(const char *name)
{
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct sockaddr_un sa;
    char text[64];
    socklen_t length = address(&sa, name, getpid());

    if (fd == -1 || bind(fd, (struct sockaddr *)&sa, length) != 0) {
        _exit(125);
    }
    length = address(&sa, name, 0);
    snprintf(text, sizeof(text), "%d %d", getpid(), getppid());
    if (sendto(fd, text, strlen(text), 0, (struct sockaddr *)&sa, length) == -1) {
        _exit(124);
    }
    return fd;
}

static void fork_for_ever(void)
{
    for (;;) {
        pid_t pid = fork();

        if (pid > 0) {
            _exit(0);
        }
        if (pid == -1) {
            usleep(1000);
        }
    }
}

int main(int argc, char **argv)
{
    char text[64];
    ssize_t got;
    int fd;

    if (argc != 2) {
        return 126;
    }
    fd = begin(argv[1]);
    for (;;) {
        got = recv(fd, text, sizeof(text) - 1, 0);
        if (got == -1 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            return 123;
        }
        text[got] = '\0';
        switch (text[0]) {
        case 'f':
            if (fork() == 0) {
                close(fd);
                fd = begin(argv[1]);
            }
            break;
        case 's':
            setsid();
            break;
        case 'u':
            if (setresuid(atoi(text + 1), atoi(text + 1), atoi(text + 1)) != 0) {
                return 122;
            }
            break;
        case 'c': {
            char *env[] = { NULL };

            close(fd);
            execve("/proc/self/exe", argv, env);
            return 121;
        }
        case 't':
            signal(SIGTERM, SIG_IGN);
            signal(SIGHUP, SIG_IGN);
            break;
        case 'b':
            fork_for_ever();
            break;
        case 'e':
            _exit(atoi(text + 1));
        }
    }
}
