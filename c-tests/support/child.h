/* Children that are held at gates, and waiting for their states. */
#ifndef SUPPORT_CHILD_H
#define SUPPORT_CHILD_H

#include <stdbool.h>
#include <sys/types.h>

/* A pipe: processes that wait at the gate read from it, and the end of file opens it. So
 * the end of the test program opens it too. */
struct gate {
    int rd;
    int wr;
};

void gate_make(struct gate *gate);
void gate_open(struct gate *gate);

/* How a child ends: an exit code, or by a signal. */
#define BY_SIGNAL(signum) (-(signum))

/* The wait status of a child that ends in this way. */
int status_of(int end);

/* Forks a child that ends in this way once the gate is open. */
pid_t child_at(struct gate *gate, int end);
/* The same, with this pid. -1 if the kernel cannot do it or the user may not. */
pid_t child_with_pid(pid_t pid, struct gate *gate, int end);
/* The same, with the pid of a child that is gone; skips the test if pids cannot be chosen. */
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
/* Reaps it, as other code of the process might. */
void reap(pid_t pid, int end);
/* Fails if a child is left, after killing and reaping it for the sake of later tests. */
void check_no_children(void);

#endif
