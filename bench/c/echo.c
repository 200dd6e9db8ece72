/*
 * The floor: a bare echo over the kind of socket that vfio-user uses, one client at a time. It receives what is there, looks
 * at nothing but headers, and sends replies as long as a vfio-user server's would be, so the measuring client needs to know
 * no difference; messages that want no reply are only read. Fds that come are closed by the kernel, for want of room.
 *
 *   echo PATH [--spin]     prints {"sockets":["PATH"]} and serves one client after the other until it is killed
 *
 * --spin polls for the next message instead of sleeping in recv, while a client is connected.
 */
#include "wire.h"
#include <signal.h>
#include <sys/prctl.h>

static struct message reply; /* zeros: what a READ answers beyond its request */
static unsigned char inbox[2 * sizeof(struct message)];

/* Answers one whole message. Returns whether the client is still there. */
static int answer(int fd, const struct message *request)
{
    if (request->header.flags & VFIO_USER_F_NO_REPLY)
        return 1;
    size_t size = request->header.size, copied = size;
    if (request->header.command == VFIO_USER_REGION_READ) {
        if (request->access.count > MAX_DATA)
            return 0;
        size = copied = sizeof request->header + sizeof request->access;
        size += request->access.count;
    } else if (request->header.command == VFIO_USER_REGION_WRITE) {
        size = copied = sizeof request->header + sizeof request->access;
    }
    memcpy(&reply, request, copied);
    reply.header.size = (uint32_t)size;
    reply.header.flags = VFIO_USER_F_TYPE_REPLY;
    for (size_t done = 0; done < size;) {
        ssize_t sent = send(fd, (char *)&reply + done, size - done, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0)
            return 0;
        done += (size_t)sent;
    }
    return 1;
}

static void serve(int fd, int flags)
{
    size_t have = 0;
    for (;;) {
        ssize_t got = recv(fd, inbox + have, sizeof inbox - have, flags);
        if (got < 0 && (errno == EAGAIN || errno == EINTR))
            continue;
        if (got <= 0)
            return; /* the client went */
        have += (size_t)got;
        size_t at = 0;
        for (;;) {
            struct message *message = (struct message *)(inbox + at);
            if (have - at < sizeof message->header || have - at < message->header.size)
                break;
            if (message->header.size < sizeof message->header || !answer(fd, message))
                return;
            at += message->header.size;
        }
        have -= at;
        if (have > sizeof inbox / 2)
            return; /* larger than any message that this is made for */
        memmove(inbox, inbox + at, have);
    }
}

int main(int argc, char **argv)
{
    program = "echo";
    if (argc < 2)
        fail("usage: echo PATH [--spin]");
    const int flags = argc > 2 && strcmp(argv[2], "--spin") == 0 ? MSG_DONTWAIT : 0;
    const struct sockaddr_un address = address_of(argv[1]);
    prctl(PR_SET_PDEATHSIG, SIGTERM); /* do not outlive the benchmark */

    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (listener < 0 || bind(listener, (const struct sockaddr *)&address, sizeof address) < 0 ||
        listen(listener, 64) < 0)
        fail("%s: %s", argv[1], strerror(errno));
    printf("{\"sockets\":[\"%s\"]}\n", argv[1]);
    fflush(stdout);

    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (fd < 0)
            fail("accept: %s", strerror(errno));
        serve(fd, flags);
        close(fd);
    }
}
