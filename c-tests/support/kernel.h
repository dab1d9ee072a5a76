/* What the kernel below, or the filter around us, can do: probed, not asked by version. */
#ifndef SUPPORT_KERNEL_H
#define SUPPORT_KERNEL_H

#include <stdbool.h>

bool kernel_has_pidfds(void);
/* Whether a pidfd still tells the status that somebody else took. */
bool kernel_keeps_status(void);

#endif
