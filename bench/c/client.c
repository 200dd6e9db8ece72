/*
 * The measuring client: round trips of REGION_READ or REGION_WRITE, timed one by one.
 *
 *   client [options] SOCKET          measure
 *   client --hold SOCKET...          connect and negotiate all, then sit idle until stdin closes
 *
 *   --write          REGION_WRITE, with reply, instead of REGION_READ
 *   --poll           wait for replies by polling, as a vCPU thread might, instead of sleeping in recv
 *   --region N       which region (0); --offset N, where in it, bytes (0); accesses are 4 bytes wide
 *   --count N        round trips to time (10000); --max-ms N, stop earlier after so long (2000)
 *   --warm-up N      round trips before that, untimed (500)
 *   --gap US         think this long between accesses, busy (0)
 *   --verify         check that the device kept what was written
 *
 * It prints {"ready":true} when negotiated, waits for a line on stdin, measures, and prints
 *   {"n":…,"messages":…,"min":…,"mean":…,"p50":…,"p90":…,"p99":…}     latencies in ns; messages include the warm-up
 * and keeps the connection until stdin closes, so that its end is not counted among what was measured.
 */
#define _GNU_SOURCE /* getopt_long */
#include <errno.h>
#include <getopt.h>
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
#define VFIO_USER_DEVICE_GET_INFO 4
#define VFIO_USER_REGION_READ 9
#define VFIO_USER_REGION_WRITE 10
#define VFIO_USER_F_TYPE_MASK 0xf
#define VFIO_USER_F_TYPE_REPLY 1
#define VFIO_USER_F_ERROR 0x20

#define SETTLE_NS 5000000 /* between "go" and the first message, while the harness goes to sleep */
#define GRACE_S 20        /* beyond --max-ms, before a server that does not answer is given up */

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
        unsigned char payload[4080];
    };
};

struct options {
    int write, poll, hold, verify;
    uint32_t region;
    uint64_t offset;
    long count, max_ms, warm_up, gap_us;
};

static void fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "client: ");
    vfprintf(stderr, format, arguments);
    fprintf(stderr, "\n");
    exit(1);
}

static uint64_t now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static int connect_to(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path)
        fail("%s: path too long", path);
    strcpy(address.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) < 0)
        fail("%s: %s", path, strerror(errno));
    return fd;
}

static void send_all(int fd, const struct message *message)
{
    ssize_t sent = send(fd, message, message->header.size, MSG_NOSIGNAL);
    if (sent != (ssize_t)message->header.size)
        fail("send: %s", sent < 0 ? strerror(errno) : "short");
}

/* Receives one message: nearly always the first recv has all of it. */
static void receive(int fd, struct message *message, int flags)
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

/* Sends `request` and checks that `reply` is the answer to it, `size` bytes long (0: any). */
static void round_trip(int fd, const struct message *request, struct message *reply, int flags,
                       uint32_t size)
{
    send_all(fd, request);
    receive(fd, reply, flags);
    if (reply->header.id != request->header.id ||
        reply->header.command != request->header.command ||
        (reply->header.flags & VFIO_USER_F_TYPE_MASK) != VFIO_USER_F_TYPE_REPLY)
        fail("command %u: not its reply", request->header.command);
    if (reply->header.flags & VFIO_USER_F_ERROR)
        fail("command %u: refused: %s", request->header.command, strerror((int)reply->header.error));
    if (size != 0 && reply->header.size != size)
        fail("command %u: reply has %u bytes, not %u", request->header.command, reply->header.size,
             size);
}

static void negotiate(int fd)
{
    static const char capabilities[] = "{\"capabilities\":{\"max_msg_fds\":8}}"; /* its NUL is sent */
    struct message request = {.header = {.id = 0, .command = VFIO_USER_VERSION}}, reply;
    memset(request.payload, 0, 4); /* version 0.0 */
    memcpy(request.payload + 4, capabilities, sizeof capabilities);
    request.header.size = (uint32_t)(sizeof request.header + 4 + sizeof capabilities);
    round_trip(fd, &request, &reply, 0, 0);

    uint32_t argsz = 16;
    request.header = (struct header){.id = 1, .command = VFIO_USER_DEVICE_GET_INFO, .size = 32};
    memset(request.payload, 0, 16);
    memcpy(request.payload, &argsz, sizeof argsz);
    round_trip(fd, &request, &reply, 0, 32);
}

static struct message access_request(const struct options *options, int write)
{
    struct message request = {.header = {.command = write ? VFIO_USER_REGION_WRITE
                                                          : VFIO_USER_REGION_READ,
                                         .size = write ? 36 : 32}};
    request.access = (struct region_access){options->offset, options->region, 4};
    return request;
}

static void await_line(void)
{
    int byte;
    do
        byte = getchar();
    while (byte != '\n' && byte != EOF);
}

static void await_end(void)
{
    while (getchar() != EOF)
        ;
}

static int ascending(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static void measure(int fd, const struct options *options)
{
    struct message request = access_request(options, options->write), reply;
    const uint32_t reply_size = options->write ? 32 : 36;
    const int flags = options->poll ? MSG_DONTWAIT : 0;
    uint32_t *latencies = calloc((size_t)options->count, sizeof *latencies);
    if (latencies == NULL)
        fail("no memory for %ld latencies", options->count);
    memset(latencies, 0xff, (size_t)options->count * sizeof *latencies); /* fault the pages in */

    const uint64_t deadline = now() + (uint64_t)options->max_ms * 1000000u;
    uint32_t messages = 0;
    long n = 0;
    uint64_t sum = 0;
    for (long i = -options->warm_up; i < options->count; i++) {
        request.header.id = (uint16_t)messages;
        memcpy(request.payload + sizeof request.access, &messages, sizeof messages);
        const uint64_t start = now();
        round_trip(fd, &request, &reply, flags, reply_size);
        const uint64_t end = now();
        messages++;
        if (i >= 0) {
            const uint64_t latency = end - start;
            latencies[n++] = latency < UINT32_MAX ? (uint32_t)latency : UINT32_MAX;
            sum += latency;
        }
        if (end > deadline) {
            if (n > 0)
                break;
            i = -1; /* the warm-up took all the time: one timed access, so that there is a number */
        }
        if (options->gap_us > 0)
            while (now() < end + (uint64_t)options->gap_us * 1000u)
                ;
    }
    if (options->verify && options->write) {
        const uint32_t expected = messages - 1;
        struct message read = access_request(options, 0);
        round_trip(fd, &read, &reply, 0, 36);
        if (memcmp(reply.payload + sizeof reply.access, &expected, sizeof expected) != 0)
            fail("the device did not keep what was written");
    }

    qsort(latencies, (size_t)n, sizeof *latencies, ascending);
#define PERCENTILE(p) latencies[(n - 1) * (p) / 100]
    printf("{\"n\":%ld,\"messages\":%u,\"min\":%u,\"mean\":%.0f,\"p50\":%u,\"p90\":%u,\"p99\":%u}\n", n,
           messages, latencies[0], (double)sum / (double)n, PERCENTILE(50), PERCENTILE(90),
           PERCENTILE(99));
    fflush(stdout);
    free(latencies);
}

static long number(const char *text, long least)
{
    char *end;
    const long value = strtol(text, &end, 0);
    if (*text == '\0' || *end != '\0' || value < least)
        fail("%s: not a number from %ld up", text, least);
    return value;
}

int main(int argc, char **argv)
{
    enum { REGION = 1, OFFSET, COUNT, MAX_MS, WARM_UP, GAP };
    struct options options = {.count = 10000, .max_ms = 2000, .warm_up = 500};
    const struct option table[] = {
        {"write", no_argument, &options.write, 1},   {"poll", no_argument, &options.poll, 1},
        {"hold", no_argument, &options.hold, 1},     {"verify", no_argument, &options.verify, 1},
        {"region", required_argument, NULL, REGION}, {"offset", required_argument, NULL, OFFSET},
        {"count", required_argument, NULL, COUNT},   {"max-ms", required_argument, NULL, MAX_MS},
        {"warm-up", required_argument, NULL, WARM_UP}, {"gap", required_argument, NULL, GAP},
        {NULL, 0, NULL, 0},
    };
    int option;
    while ((option = getopt_long(argc, argv, "", table, NULL)) != -1) {
        switch (option) {
        case REGION: options.region = (uint32_t)number(optarg, 0); break;
        case OFFSET: options.offset = (uint64_t)number(optarg, 0); break;
        case COUNT: options.count = number(optarg, 1); break;
        case MAX_MS: options.max_ms = number(optarg, 1); break;
        case WARM_UP: options.warm_up = number(optarg, 0); break;
        case GAP: options.gap_us = number(optarg, 0); break;
        case '?': return 2;
        }
    }
    if (optind == argc)
        fail("which socket?");

    alarm((unsigned)(options.max_ms / 1000) + GRACE_S); /* no cost per message, unlike SO_RCVTIMEO */
    if (options.hold) {
        for (int i = optind; i < argc; i++)
            negotiate(connect_to(argv[i]));
        alarm(0);
        printf("{\"held\":%d}\n", argc - optind);
        fflush(stdout);
        await_end();
        return 0;
    }

    const int fd = connect_to(argv[optind]);
    negotiate(fd);
    alarm(0);
    printf("{\"ready\":true}\n");
    fflush(stdout);
    await_line();
    alarm((unsigned)(options.max_ms / 1000) + GRACE_S);
    nanosleep(&(struct timespec){.tv_nsec = SETTLE_NS}, NULL);
    measure(fd, &options);
    alarm(0);
    await_end();
    return 0;
}
