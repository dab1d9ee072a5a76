/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* tokio watches only children that it spawns; the loop is in ../tokio, in Rust. */
#include "../harness.h"

int tokio_init(void);
pid_t tokio_spawn(unsigned slot, char *const argv[], int stdin_fd);
int tokio_turn(void);
void tokio_fini(void);

static const char *tokio_version(void)
{
    return "tokio " BENCH_VERSION;
}

const struct bench_subject bench_subject = {
    .name = "tokio",
    .version = tokio_version,
    .init = tokio_init,
    .spawn = tokio_spawn,
    .turn = tokio_turn,
    .fini = tokio_fini,
};
