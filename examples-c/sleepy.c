/*
 * sleepy [-d] [SECONDS]: says each second that it is still asleep, then ends. With -d
 * it puts itself into the background first, as daemons do: it forks twice, and its
 * parents end.
 *
 *   cc sleepy.c -o sleepy
 */
#define _GNU_SOURCE
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* Forks twice, and goes on in the grandchild, which has a session of its own. */
static void into_background(void)
{
    for (int fork_number = 1; fork_number <= 2; fork_number++) {
        pid_t pid = fork();

        if (pid < 0) {
            perror("fork");
            exit(1);
        }
        if (pid > 0) {
            /* The first process ends last: then only the daemon is left. */
            if (fork_number == 1) {
                waitpid(pid, NULL, 0);
            }
            _exit(0);
        }
        setsid(); /* fails the second time, and need not work then */
    }
}

int main(int argc, char **argv)
{
    bool daemonize = argc > 1 && strcmp(argv[1], "-d") == 0;
    int seconds = argc > 1 + daemonize ? atoi(argv[1 + daemonize]) : 1000;

    /*
     * Where stdout is a pipe or a file, stdio keeps 4096 bytes before it writes any:
     * at one line a second a reader would wait for minutes, and whoever is killed
     * would take what it has with it. Line by line they are in the log at once.
     */
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (daemonize) {
        into_background();
    }
    for (int second = 1; second <= seconds; second++) {
        printf("[%d] asleep for %d s\n", (int)getpid(), second);
        sleep(1);
    }
    return 0;
}
