/*
 * What the measuring programs share: messages of vfio-user, sent and received by blocking or polling, and the clock.
 * Failures end the program with a sentence; `program` says whose.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define VFIO_USER_VERSION 1
#define VFIO_USER_DMA_MAP 2
#define VFIO_USER_DEVICE_GET_INFO 4
#define VFIO_USER_DEVICE_GET_REGION_INFO 5
#define VFIO_USER_DEVICE_GET_REGION_IO_FDS 6
#define VFIO_USER_DEVICE_GET_IRQ_INFO 7
#define VFIO_USER_DEVICE_SET_IRQS 8
#define VFIO_USER_REGION_READ 9
#define VFIO_USER_REGION_WRITE 10
#define VFIO_USER_F_TYPE_MASK 0xf
#define VFIO_USER_F_TYPE_REPLY 1
#define VFIO_USER_F_NO_REPLY 0x10
#define VFIO_USER_F_ERROR 0x20

#define MAX_DATA (1024 * 1024) /* max_data_xfer_size, where nobody says otherwise */

struct header {
    uint16_t id, command;
    uint32_t size, flags, error;
};

struct region_access {
    uint64_t offset;
    uint32_t region, count;
};

struct message {
    struct header header;
    union {
        struct region_access access;
        unsigned char payload[sizeof(struct region_access) + MAX_DATA];
    };
};

static const char *program = "bench";

__attribute__((noreturn, format(printf, 1, 2))) static inline void fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "%s: ", program);
    vfprintf(stderr, format, arguments);
    fprintf(stderr, "\n");
    exit(1);
}

static inline uint64_t now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static inline long number(const char *text, long least)
{
    char *end;
    const long value = strtol(text, &end, 0);
    if (*text == '\0' || *end != '\0' || value < least)
        fail("%s: not a number from %ld up", text, least);
    return value;
}

/* Waits for the harness: a line, or the end of its interest. */
static inline void await_line(void)
{
    int byte;
    do
        byte = getchar();
    while (byte != '\n' && byte != EOF);
}

static inline void await_end(void)
{
    while (getchar() != EOF)
        ;
}

static inline struct sockaddr_un address_of(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path)
        fail("%s: path too long", path);
    strcpy(address.sun_path, path);
    return address;
}

static inline int connect_to(const char *path)
{
    const struct sockaddr_un address = address_of(path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (const struct sockaddr *)&address, sizeof address) < 0)
        fail("%s: %s", path, strerror(errno));
    return fd;
}

static inline void send_all(int fd, const struct message *message)
{
    for (size_t done = 0; done < message->header.size;) {
        ssize_t sent = send(fd, (const char *)message + done, message->header.size - done, MSG_NOSIGNAL);
        if (sent < 0 && errno != EINTR)
            fail("send: %s", strerror(errno));
        if (sent > 0)
            done += (size_t)sent;
    }
}

/* Sends `message` with one fd. */
static inline void send_with_fd(int fd, const struct message *message, int attached)
{
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct iovec data = {(void *)message, message->header.size};
    struct msghdr all = {.msg_iov = &data,
                         .msg_iovlen = 1,
                         .msg_control = control.bytes,
                         .msg_controllen = sizeof control.bytes};
    control.header.cmsg_len = CMSG_LEN(sizeof(int));
    control.header.cmsg_level = SOL_SOCKET;
    control.header.cmsg_type = SCM_RIGHTS;
    memcpy(CMSG_DATA(&control.header), &attached, sizeof attached);
    if (sendmsg(fd, &all, MSG_NOSIGNAL) != (ssize_t)message->header.size)
        fail("sendmsg: %s", strerror(errno));
}

/* Receives one message: nearly always the first recv has all of it. */
static inline void receive(int fd, struct message *message, int flags)
{
    size_t have = 0;
    do {
        ssize_t got = recv(fd, (char *)message + have, sizeof *message - have, flags);
        if (got > 0)
            have += (size_t)got;
        else if (got == 0)
            fail("the server closed the connection");
        else if (errno != EAGAIN && errno != EINTR)
            fail("recv: %s", strerror(errno));
    } while (have < sizeof message->header || have < message->header.size);
    if (have != message->header.size)
        fail("received %zu bytes, the header says %u", have, message->header.size);
}

/* Checks that `reply` is the answer to `request`, `size` bytes long (0: any). */
static inline void check_reply(const struct message *request, const struct message *reply, uint32_t size)
{
    if (reply->header.id != request->header.id || reply->header.command != request->header.command ||
        (reply->header.flags & VFIO_USER_F_TYPE_MASK) != VFIO_USER_F_TYPE_REPLY)
        fail("command %u: not its reply", request->header.command);
    if (reply->header.flags & VFIO_USER_F_ERROR)
        fail("command %u: refused: %s", request->header.command, strerror((int)reply->header.error));
    if (size != 0 && reply->header.size != size)
        fail("command %u: reply has %u bytes, not %u", request->header.command, reply->header.size, size);
}

static inline void round_trip(int fd, const struct message *request, struct message *reply, int flags,
                              uint32_t size)
{
    send_all(fd, request);
    receive(fd, reply, flags);
    check_reply(request, reply, size);
}

/* Makes `message` a request of `size` bytes of payload, which is copied unless NULL. */
static inline void prepare(struct message *message, uint16_t command, const void *payload, size_t size)
{
    message->header = (struct header){.command = command, .size = (uint32_t)(sizeof message->header + size)};
    if (payload != NULL)
        memcpy(message->payload, payload, size);
}

static inline void prepare_version(struct message *message)
{
    static const char payload[] = "\0\0\0\0{\"capabilities\":{\"max_msg_fds\":8}}"; /* 0.0; the NUL is sent */
    prepare(message, VFIO_USER_VERSION, payload, sizeof payload);
}

static inline void prepare_info(struct message *message)
{
    const uint32_t payload[4] = {sizeof payload}; /* argsz */
    prepare(message, VFIO_USER_DEVICE_GET_INFO, payload, sizeof payload);
}

/* VERSION and DEVICE_GET_INFO, in two buffers of the caller's. */
static inline void negotiate(int fd, struct message *request, struct message *reply)
{
    prepare_version(request);
    round_trip(fd, request, reply, 0, 0);
    prepare_info(request);
    round_trip(fd, request, reply, 0, 32);
}

static inline int ascending(const void *a, const void *b)
{
    const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

/* The value below which `per_mille` of `n` sorted values lie. */
static inline uint32_t percentile(const uint32_t *sorted, long n, long per_mille)
{
    return sorted[(n - 1) * per_mille / 1000];
}

/* Room for `count` values, its pages faulted in. */
static inline uint32_t *values_for(long count)
{
    uint32_t *values = malloc((size_t)count * sizeof *values);
    if (values == NULL)
        fail("no memory for %ld values", count);
    memset(values, 0xff, (size_t)count * sizeof *values);
    return values;
}
