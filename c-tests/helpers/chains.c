/*
 * chains LINKS SEED: forks LINKS chains of one to six processes, each of which leaves in
 * its own way (a session, a group, another user, an empty environment) and ends before or
 * after its child; then ends itself. At most so many chains live at a time.
 */
#define _GNU_SOURCE
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static unsigned seed;

static unsigned draw(unsigned below)
{
    seed = seed * 1103515245u + 12345u;
    return (seed >> 16) % below;
}

static void leave(void)
{
    char *env[] = { NULL };
    char *argv[] = { "chains", "0", "0", NULL };

    switch (draw(4)) {
    case 0:
        setsid();
        break;
    case 1:
        setpgid(0, 0);
        break;
    case 2:
        if (getuid() == 0 && draw(4) == 0 && setresuid(65534, 65534, 65534) != 0) {
            _exit(1);
        }
        break;
    case 3:
        if (draw(8) == 0 && fork() == 0) {
            execve("/proc/self/exe", argv, env);
            _exit(1);
        }
        break;
    }
}

/* One process after the other, each the child of the former, which ends meanwhile. */
static void chain(unsigned depth)
{
    for (;; depth--) {
        leave();
        if (depth == 1 || fork() != 0) {
            if (draw(2) == 0) {
                sched_yield(); /* the child may end first */
            }
            _exit(0);
        }
        seed ^= depth * 2654435761u;
    }
}

int main(int argc, char **argv)
{
    unsigned links = argc > 1 ? (unsigned)atoi(argv[1]) : 0;

    seed = argc > 2 ? (unsigned)atoi(argv[2]) : 1;
    for (unsigned i = 0; i < links; i++) {
        unsigned depth = 1 + draw(6);
        pid_t child;

        while ((child = fork()) == -1) {
            usleep(1000); /* no pid is free: our observer has to reap first */
        }
        if (child == 0) {
            chain(depth);
        }
        waitpid(child, NULL, 0);
        seed += i;
    }
    return 0;
}
