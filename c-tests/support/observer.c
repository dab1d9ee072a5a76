#define _GNU_SOURCE
#include "support/observer.h"

#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/check.h"

#define MOST_PIDS (1 << 22)

static void take(const struct proc_event *event, void *pvt)
{
    struct observer *observer = pvt;
    const struct fork_proc_event *fork = &event->event_data.fork;
    const struct exit_proc_event *exit = &event->event_data.exit;

    if (event->what == PROC_EVENT_FORK && fork->child_pid == fork->child_tgid) {
        bool ours = observer->ours[fork->parent_tgid]
                    || fork->parent_tgid == atomic_load(observer->root);

        observer->ours[fork->child_pid] = ours;
        observer->forks += ours;
    } else if (event->what == PROC_EVENT_EXIT && exit->process_pid == exit->process_tgid
               && observer->ours[exit->process_pid]) {
        int status = (int)exit->exit_code;

        observer->ours[exit->process_pid] = 0;
        observer->exits++;
        observer->exits_by_code[WEXITSTATUS(status)] += WIFEXITED(status);
    }
}

void observer_begin(struct observer *observer, const atomic_int *root)
{
    memset(observer, 0, sizeof(*observer));
    if (!records_open(&observer->records)) {
        test_lacks("no proc connector");
    }
    observer->root = root;
    observer->ours = calloc(MOST_PIDS, 1);
    check(observer->ours != NULL);
    records_begin(&observer->records, take, observer);
}

void observer_end(struct observer *observer)
{
    observer->complete = records_end(&observer->records);
    free(observer->ours);
}

void observer_watches_me(atomic_int *root)
{
    char text[32] = "";

    /* getpid() is of this namespace. */
    check(readlink("/proc/self", text, sizeof(text) - 1) > 0);
    atomic_store(root, atoi(text));
}
