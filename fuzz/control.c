/* What a client sends to the control socket of sss-supervise, in any pieces. */
#define main supervise_main
#include "../examples-c/supervise.c"
#undef main

#include <stdint.h>

static void check(bool holds)
{
    if (!holds) {
        abort();
    }
}

/* A unit that the library has, with a log, and one that it has refused. Nothing is ever
 * dispatched, so that no verb starts a program. */
static void begin(void)
{
    struct unit *whole = new_unit("web"), *refused = new_unit("db");
    int wake;

    check(set_words(&whole->argv, "true") && set_words(&refused->argv, "true"));
    open_context();
    check(sss_sigchld_ctx_fd(sup.sigchld, &wake) == 0 && add_unit(whole) == 0);
    whole->log_path = copy("/proc/version");
    whole->next = refused;
    refused->refused = true;
    sup.units = whole;
    sup.stopping = true; /* else the first request for a shutdown is the last of all */
}

/* The rest is sent in pieces, whose length is the first byte. */
int fuzz_control(const uint8_t *data, size_t size)
{
    struct client *client;
    size_t piece, length;
    int fds[2];

    if (sup.units == NULL) {
        begin();
    }
    if (size == 0) {
        return 0;
    }
    piece = *data++ + 1u;
    size--;
    check(pipe2(fds, O_CLOEXEC | O_NONBLOCK) == 0);
    client = need(calloc(1, sizeof(*client)));
    client->fd = fds[0];
    while (client != NULL && client->reply_length == 0 && size > 0) {
        length = size < piece ? size : piece;
        check(write(fds[1], data, length) == (ssize_t)length);
        data += length;
        size -= length;
        read_client(&client);
        check(client != NULL && client->length < sizeof(client->request));
    }
    if (client->reply_length > 0) {
        check(memcmp(client->reply, "ok\n", 3) == 0 || memcmp(client->reply, "error ", 6) == 0);
        check(client->reply[client->reply_length - 1] == '\n');
    } else {
        check(memchr(client->request, '\n', client->length) == NULL);
    }
    end_client(&client);
    check(close(fds[1]) == 0);
    return 0;
}
