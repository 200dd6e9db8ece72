/*
 * The floor: a bare echo over the kind of socket that vfio-user uses, one client and one message at a time. One recv, one
 * send, and replies as long as a vfio-user server's would be, so the measuring client needs to know no difference.
 *
 *   echo PATH [--spin]     prints {"sockets":["PATH"]} and serves one client after the other until it is killed
 *
 * --spin polls for the next message instead of sleeping in recv, while a client is connected.
 * Not a server: it trusts that one recv returns one whole message, which holds for a client that awaits each reply.
 */
#define _GNU_SOURCE /* accept4 */
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define HEADER_SIZE 16
#define REGION_ACCESS_SIZE 16 /* offset, region, count: follows the header */
#define VFIO_USER_REGION_READ 9
#define VFIO_USER_REGION_WRITE 10
#define VFIO_USER_F_TYPE_REPLY 1
#define MAX_MESSAGE 4096

struct header {
    uint16_t id, command;
    uint32_t size, flags, error;
};

static void fail(const char *what)
{
    fprintf(stderr, "echo: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void serve(int fd, int recv_flags)
{
    /* zeroed once: what a READ answers beyond its request are these zeros */
    static union {
        struct header header;
        unsigned char bytes[MAX_MESSAGE];
    } message;

    for (;;) {
        ssize_t got = recv(fd, message.bytes, sizeof message.bytes, recv_flags);
        if (got < 0 && (errno == EAGAIN || errno == EINTR))
            continue;
        if (got < HEADER_SIZE)
            return; /* the client went, or sent what this is not made for */

        size_t size = (size_t)got;
        if (message.header.command == VFIO_USER_REGION_READ)
            size = HEADER_SIZE + REGION_ACCESS_SIZE + 4;
        else if (message.header.command == VFIO_USER_REGION_WRITE)
            size = HEADER_SIZE + REGION_ACCESS_SIZE;
        message.header.size = (uint32_t)size;
        message.header.flags = VFIO_USER_F_TYPE_REPLY;
        if (send(fd, message.bytes, size, MSG_NOSIGNAL) != (ssize_t)size)
            return;
    }
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: echo PATH [--spin]\n");
        return 2;
    }
    int recv_flags = argc > 2 && strcmp(argv[2], "--spin") == 0 ? MSG_DONTWAIT : 0;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(argv[1]) >= sizeof address.sun_path) {
        errno = ENAMETOOLONG;
        fail(argv[1]);
    }
    strcpy(address.sun_path, argv[1]);
    prctl(PR_SET_PDEATHSIG, SIGTERM); /* do not outlive the benchmark */

    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, sizeof address) < 0 ||
        listen(listener, 1) < 0)
        fail(argv[1]);
    printf("{\"sockets\":[\"%s\"]}\n", argv[1]);
    fflush(stdout);

    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (fd < 0)
            fail("accept");
        serve(fd, recv_flags);
        close(fd);
    }
}
