/* Children held at gates, and the states they come to. */
#ifndef SUPPORT_CHILD_H
#define SUPPORT_CHILD_H

#include <stdbool.h>
#include <sys/types.h>

/* A pipe: whoever waits at the gate reads, and the end of file opens it; the
 * end of the test program too. */
struct gate {
    int rd;
    int wr;
};

void gate_make(struct gate *gate);
void gate_open(struct gate *gate);

/* How a child ends: an exit code, or by a signal. */
#define BY_SIGNAL(signum) (-(signum))

/* The wait status of one that ends so. */
int status_of(int end);

/* Forks a child that ends so, once the gate is open. */
pid_t child_at(struct gate *gate, int end);
/* The same, with this pid. -1 where the kernel or the user cannot. */
pid_t child_with_pid(pid_t pid, struct gate *gate, int end);
/* The same, with the pid of a child that is gone; skips the test where none can be chosen. */
void child_reusing(pid_t pid, struct gate *gate, int end);
/* A process of the pid namespace of `init`, which it waits for once the gate is open. Until
 * then the namespace's init cannot end, whatever kills it. */
pid_t hold_init(pid_t init, struct gate *gate);
/* Forks a child and returns when it is a zombie. */
pid_t child_dead(int end);

void await_zombie(pid_t pid);
void await_stopped(pid_t pid);
void await_continued(pid_t pid);

/* Alive, or a zombie that nobody has waited for. */
bool is_child(pid_t pid);
/* Waits for it as other code of the process would. */
void reap(pid_t pid, int end);
/* Fails where one is left, having ended and reaped it for the tests to come. */
void check_no_children(void);

#endif
