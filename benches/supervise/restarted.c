/* The program that each supervisor runs: writes the time of its start to the FIFO in its
 * directory, if there is one, and waits for signals. */
#include <fcntl.h>
#include <stdint.h>
#include <time.h>
#include <unistd.h>

int main(void)
{
    struct timespec ts;
    int64_t told[2];
    int fifo;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    told[0] = ts.tv_sec * 1000000000LL + ts.tv_nsec;
    told[1] = getpid();
    fifo = open("fifo", O_WRONLY);
    if (fifo >= 0 && write(fifo, told, sizeof(told)) < 0) {
        return 1;
    }
    while (1) {
        pause();
    }
}
