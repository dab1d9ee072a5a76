/* The kernel's own account of processes: the proc connector's records of each fork and
 * exit, with pids of the first pid namespace. A thread reads them, so that none is lost
 * while the loop is busy. */
#ifndef SUPPORT_RECORDS_H
#define SUPPORT_RECORDS_H

#include <linux/cn_proc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

struct records {
    pthread_t thread;
    int fd;
    atomic_bool over;
    bool complete;
    void (*take)(const struct proc_event *event, void *pvt); /* in the thread */
    void *pvt;
};

/* Gives a socket room for records that come while their reader waits for a processor. */
void records_room(int fd);
/* The same for the library's own socket, which gets the records of all processes: a record for
 * which there is no room, as the loop does not run, is lost. */
void give_room_to_connector(void);
/* Asks for records; false where nobody may have them. */
bool records_open(struct records *records);
/* Begins to take those that have come since. */
void records_begin(struct records *records,
                   void (*take)(const struct proc_event *event, void *pvt), void *pvt);
/* Ends it; whether none was lost. */
bool records_end(struct records *records);

#endif
