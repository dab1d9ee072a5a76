/* What the kernel, or a seccomp filter, lets us do: by trying, not by version. */
#ifndef SUPPORT_KERNEL_H
#define SUPPORT_KERNEL_H

#include <stdbool.h>

bool kernel_has_pidfds(void);
/* Whether a pidfd still tells a status after other code has taken it. */
bool kernel_keeps_status(void);
/* From now on no pidfd of this process tells a status, as on kernels before Linux 6.15. */
void kernel_forgets_statuses(void);

#endif
