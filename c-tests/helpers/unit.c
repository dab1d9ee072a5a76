/*
 * unit ACTION...: a program for units, which does one action after the other:
 *
 *   say TEXT     sends TEXT to NOTIFY_SOCKET
 *   hand TEXT    sends TEXT with a pipe's end, and waits until it is closed
 *   reloading    says RELOADING=1 with the time
 *   main         says that it is the main process, with MAINPID
 *   heir         the process ends with 0 when its child, which goes on, has said MAINPID
 *   flood N      sends N messages that change nothing
 *   line FD      writes a line to the descriptor
 *   print TEXT   writes TEXT to stdout, without a newline
 *   gate PATH    waits until the FIFO is opened for writing and closed
 *   ignore N     ignores signal N
 *   hold N       blocks signal N
 *   await N      waits for signal N, which is blocked
 *   daemon       the process ends with 0, and its child goes on
 *   leave        leaves a child in a session of its own, which pauses
 *   login        the same as user 4242
 *   user N       becomes user N
 *   tell TEXT    has a child say TEXT, which is waited for
 *   bomb         forks without end, as does each child
 *   child        goes on in a child; its parent waits for it and exits as it did
 *   init         the same, and the child is pid 1 of a pid namespace
 *   both         goes on in a child; its parent waits for a signal of its own
 *   env NAME     prints NAME=VALUE and a newline
 *   fd N         exits with 9 unless N is open
 *   exit N       exits
 *   raise N      ends by signal N
 *   pause        waits for signals; so does the end of the list
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void need(int holds, const char *what)
{
    if (!holds) {
        perror(what);
        _exit(99);
    }
}

static void say(const char *text, int fd)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    struct iovec part = { (void *)text, strlen(text) };
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int))];
    } control = { 0 };
    struct msghdr message = { .msg_name = &address, .msg_iov = &part, .msg_iovlen = 1 };
    int out = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    need(path != NULL && path[0] == '@', "NOTIFY_SOCKET");
    memcpy(address.sun_path + 1, path + 1, strlen(path) - 1);
    message.msg_namelen = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path));
    if (fd >= 0) {
        message.msg_control = &control;
        message.msg_controllen = sizeof(control);
        control.header.cmsg_level = SOL_SOCKET;
        control.header.cmsg_type = SCM_RIGHTS;
        control.header.cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(&control.header), &fd, sizeof(fd));
    }
    need(out >= 0 && sendmsg(out, &message, MSG_NOSIGNAL) >= 0, "sendmsg");
    close(out);
}

static void hand(const char *text)
{
    int ends[2];
    char byte;

    need(pipe(ends) == 0, "pipe");
    say(text, ends[1]);
    close(ends[1]);
    need(read(ends[0], &byte, 1) == 0, "hand");
    close(ends[0]);
}

static void reloading(void)
{
    struct timespec now;
    char text[80];

    clock_gettime(CLOCK_MONOTONIC, &now);
    snprintf(text, sizeof(text), "RELOADING=1\nMONOTONIC_USEC=%lld",
             now.tv_sec * 1000000LL + now.tv_nsec / 1000);
    say(text, -1);
}

static void be_main(void)
{
    char text[32];

    snprintf(text, sizeof(text), "MAINPID=%d", (int)getpid());
    say(text, -1);
}

static const sigset_t *only(int signum)
{
    static sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, signum);
    return &set;
}

static void gate(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    char byte;

    need(fd >= 0 && read(fd, &byte, 1) == 0, path);
    close(fd);
}

static void go_on_in_child(int waits)
{
    pid_t pid = fork();
    int status;

    need(pid >= 0, "fork");
    if (pid == 0) {
        return;
    }
    if (!waits) {
        _exit(0);
    }
    need(waitpid(pid, &status, 0) == pid, "waitpid");
    _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 1);
}

/* The parent waits for a signal of its own, whatever becomes of the child. */
static void go_on_in_both(void)
{
    pid_t pid = fork();

    need(pid >= 0, "fork");
    while (pid != 0) {
        pause();
    }
}

static void go_on_in_heir(void)
{
    int said[2];
    char byte;
    pid_t pid;

    need(pipe(said) == 0, "pipe");
    pid = fork();
    need(pid >= 0, "fork");
    close(said[pid != 0]);
    if (pid == 0) {
        be_main();
        close(said[1]);
        return;
    }
    need(read(said[0], &byte, 1) == 0, "heir");
    _exit(0);
}

static void tell(const char *text)
{
    pid_t pid = fork();
    int status;

    need(pid >= 0, "fork");
    if (pid == 0) {
        say(text, -1);
        _exit(0);
    }
    need(waitpid(pid, &status, 0) == pid && status == 0, "waitpid");
}

static void bomb(void)
{
    signal(SIGCHLD, SIG_IGN);
    while (1) {
        if (fork() < 0) {
            usleep(1000); /* as many as there may be */
        }
    }
}

static void leave(uid_t user)
{
    int ready[2];
    char byte;
    pid_t pid;

    need(pipe(ready) == 0, "pipe");
    pid = fork();
    need(pid >= 0, "fork");
    if (pid == 0) {
        setsid();
        need(user == 0 || setuid(user) == 0, "setuid");
        signal(SIGTERM, SIG_IGN);
        close(ready[0]);
        close(ready[1]);
        while (1) {
            pause();
        }
    }
    close(ready[1]);
    need(read(ready[0], &byte, 1) == 0, "leave");
    close(ready[0]);
}

int main(int argc, char **argv)
{
    for (int at = 1; at < argc; at++) {
        const char *action = argv[at], *value = at + 1 < argc ? argv[at + 1] : "";

        if (strcmp(action, "reloading") == 0) {
            reloading();
        } else if (strcmp(action, "init") == 0) {
            need(unshare(CLONE_NEWPID) == 0, "unshare");
            go_on_in_child(1);
        } else if (strcmp(action, "daemon") == 0 || strcmp(action, "child") == 0) {
            go_on_in_child(action[0] == 'c');
        } else if (strcmp(action, "both") == 0) {
            go_on_in_both();
        } else if (strcmp(action, "leave") == 0) {
            leave(0);
        } else if (strcmp(action, "login") == 0) {
            leave(4242);
        } else if (strcmp(action, "main") == 0) {
            be_main();
        } else if (strcmp(action, "heir") == 0) {
            go_on_in_heir();
        } else if (strcmp(action, "bomb") == 0) {
            bomb();
        } else if (strcmp(action, "pause") == 0) {
            break;
        } else if (++at == argc) {
            _exit(98);
        } else if (strcmp(action, "say") == 0) {
            say(value, -1);
        } else if (strcmp(action, "flood") == 0) {
            for (int count = atoi(value); count > 0; count--) {
                say("ERRNO=0", -1);
            }
        } else if (strcmp(action, "hand") == 0) {
            hand(value);
        } else if (strcmp(action, "hold") == 0) {
            sigprocmask(SIG_BLOCK, only(atoi(value)), NULL);
        } else if (strcmp(action, "await") == 0) {
            int signum;

            need(sigwait(only(atoi(value)), &signum) == 0, "sigwait");
        } else if (strcmp(action, "tell") == 0) {
            tell(value);
        } else if (strcmp(action, "line") == 0) {
            need(write(atoi(value), "ready\n", 6) == 6, "line");
        } else if (strcmp(action, "print") == 0) {
            need(write(1, value, strlen(value)) == (ssize_t)strlen(value), "print");
        } else if (strcmp(action, "gate") == 0) {
            gate(value);
        } else if (strcmp(action, "ignore") == 0) {
            signal(atoi(value), SIG_IGN);
        } else if (strcmp(action, "env") == 0) {
            const char *text = getenv(value);

            printf("%s=%s\n", value, text == NULL ? "(none)" : text);
            fflush(stdout);
        } else if (strcmp(action, "user") == 0) {
            need(setuid((uid_t)atoi(value)) == 0, "setuid");
        } else if (strcmp(action, "fd") == 0) {
            if (fcntl(atoi(value), F_GETFD) < 0) {
                _exit(9);
            }
        } else if (strcmp(action, "exit") == 0) {
            _exit(atoi(value));
        } else if (strcmp(action, "raise") == 0) {
            raise(atoi(value));
        } else {
            _exit(98);
        }
    }
    while (1) {
        pause();
    }
}
