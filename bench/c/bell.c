/*
 * The floor of a doorbell: what ring.c needs of a device, and nothing else. A thread sleeps in read of the doorbell's eventfd,
 * another in recv of the socket, for posted writes; each answers by the interrupt's eventfd.
 *
 *   bell PATH       prints {"sockets":["PATH"]} and serves one client after the other until it is killed
 */
#include "wire.h"
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>

#define PAGE 4096

static struct message request;
static int doorbell, interrupt;
static volatile double *stamp;

static void answer_ring(void)
{
    const uint64_t one = 1;
    *stamp = (double)now();
    if (write(interrupt, &one, sizeof one) < 0)
        fail("interrupt: %s", strerror(errno));
}

static void *await_rings(void *unused)
{
    uint64_t events;
    while (read(doorbell, &events, sizeof events) == sizeof events) /* where it is cancelled */
        answer_ring();
    return unused;
}

/* Receives one message. Returns the fd that came with it, or -1; -2 when the client went. */
static int receive_with_fd(int fd)
{
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec data = {&request, sizeof request};
    struct msghdr all = {
        .msg_iov = &data, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    if (recvmsg(fd, &all, MSG_CMSG_CLOEXEC) < (ssize_t)sizeof request.header)
        return -2;
    int attached = -1;
    const struct cmsghdr *rights = CMSG_FIRSTHDR(&all);
    if (rights != NULL && rights->cmsg_type == SCM_RIGHTS)
        memcpy(&attached, CMSG_DATA(rights), sizeof attached);
    return attached;
}

static void take(int attached)
{
    if (request.header.command == VFIO_USER_DMA_MAP) {
        stamp = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, attached, 0);
        if (stamp == MAP_FAILED)
            fail("mmap: %s", strerror(errno));
        close(attached);
    } else if (request.header.command == VFIO_USER_DEVICE_SET_IRQS) {
        interrupt = attached;
    }
}

static void serve(int fd)
{
    pthread_t thread;
    doorbell = eventfd(0, EFD_CLOEXEC);
    if (doorbell < 0 || pthread_create(&thread, NULL, await_rings, NULL) != 0)
        fail("doorbell: %s", strerror(errno));
    for (int attached; (attached = receive_with_fd(fd)) != -2;) {
        if (request.header.flags & VFIO_USER_F_NO_REPLY) {
            answer_ring();
            continue;
        }
        take(attached);
        if (request.header.command == VFIO_USER_REGION_WRITE)
            request.header.size = sizeof request.header + sizeof request.access;
        request.header.flags = VFIO_USER_F_TYPE_REPLY;
        if (request.header.command == VFIO_USER_DEVICE_GET_REGION_IO_FDS)
            send_with_fd(fd, &request, doorbell);
        else
            send_all(fd, &request);
    }
    pthread_cancel(thread);
    pthread_join(thread, NULL);
    close(doorbell);
    close(interrupt);
    munmap((void *)stamp, PAGE);
}

int main(int argc, char **argv)
{
    program = "bell";
    if (argc != 2)
        fail("usage: bell PATH");
    const struct sockaddr_un address = address_of(argv[1]);
    prctl(PR_SET_PDEATHSIG, SIGTERM); /* do not outlive the benchmark */

    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (listener < 0 || bind(listener, (const struct sockaddr *)&address, sizeof address) < 0 ||
        listen(listener, 1) < 0)
        fail("%s: %s", argv[1], strerror(errno));
    printf("{\"sockets\":[\"%s\"]}\n", argv[1]);
    fflush(stdout);
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (fd < 0)
            fail("accept: %s", strerror(errno));
        serve(fd);
        close(fd);
    }
}
