/*
 * The measuring client: REGION_READs or REGION_WRITEs, timed one by one, or posted writes, timed in batches.
 *
 *   client [options] SOCKET          measure
 *   client --hold SOCKET...          connect and negotiate all, then sit idle until stdin closes
 *
 *   --write          REGION_WRITE, with reply, instead of REGION_READ
 *   --post           REGION_WRITE without a reply; after each --batch N (1000) of them a read waits until all are taken
 *   --poll           wait for replies by polling, as a vCPU thread might, instead of sleeping in recv
 *   --region N       which region (0); --offset N, where in it, bytes (0); --size N, bytes of each access (4)
 *   --count N        accesses to time (10000); --max-ms N, stop earlier after so long (2000)
 *   --warm-up N      accesses before that, untimed (500)
 *   --gap US         think this long between accesses, busy (0)
 *   --verify         check that the device kept what was written
 *
 * It prints {"ready":true} when negotiated, waits for a line on stdin, measures, and prints
 *   {"n":…,"messages":…,"min":…,"mean":…,"p50":…,"p90":…,"p99":…}
 * in ns per access, n being what was timed (accesses, or batches), messages all that were sent, those of the warm-up included.
 * Then it keeps the connection until stdin closes, so that its end is not counted among what was measured.
 */
#include "wire.h"
#include <getopt.h>
#include <sys/resource.h>

#define SETTLE_NS 5000000 /* between "go" and the first message, while the harness goes to sleep */
#define GRACE_S 20        /* beyond --max-ms, before a server that does not answer is given up */

enum kind { READ, WRITE, POST };

struct options {
    int kind, poll, hold, verify;
    uint32_t region, size;
    uint64_t offset;
    long count, max_ms, warm_up, gap_us, batch;
};

static struct message request, reply; /* large */

static void prepare_access(struct message *message, const struct options *options, enum kind kind)
{
    prepare(message, kind == READ ? VFIO_USER_REGION_READ : VFIO_USER_REGION_WRITE, NULL,
            sizeof message->access + (kind == READ ? 0 : options->size));
    message->access = (struct region_access){options->offset, options->region, options->size};
    if (kind == POST)
        message->header.flags = VFIO_USER_F_NO_REPLY;
}

/* Waits until the server has taken what was posted, by a read that is answered after it. */
static void drain(int fd, const struct options *options)
{
    static struct message read;
    const struct options word = {.region = options->region, .offset = options->offset, .size = 4};
    prepare_access(&read, &word, READ);
    round_trip(fd, &read, &reply, options->poll ? MSG_DONTWAIT : 0, 36);
}

/* One access, or one batch of posted ones. Returns how many messages that took. */
static uint32_t access_once(int fd, const struct options *options, uint32_t serial)
{
    const long count = options->kind == POST ? options->batch : 1;
    for (long i = 0; i < count; i++) {
        const uint32_t value = serial + (uint32_t)i;
        request.header.id = (uint16_t)value;
        if (options->kind != READ)
            memcpy(request.payload + sizeof request.access, &value, sizeof value);
        if (options->kind == POST)
            send_all(fd, &request);
        else
            round_trip(fd, &request, &reply, options->poll ? MSG_DONTWAIT : 0,
                       options->kind == READ ? 32 + options->size : 32);
    }
    if (options->kind == POST)
        drain(fd, options);
    return (uint32_t)count;
}

static void check_last(int fd, const struct options *options, uint32_t expected)
{
    drain(fd, options);
    if (memcmp(reply.payload + sizeof reply.access, &expected, sizeof expected) != 0)
        fail("the device did not keep what was written");
}

static void measure(int fd, const struct options *options)
{
    const long each = options->kind == POST ? options->batch : 1;
    const long count = (options->count + each - 1) / each, warm_up = (options->warm_up + each - 1) / each;
    uint32_t *latencies = values_for(count);
    prepare_access(&request, options, (enum kind)options->kind);

    const uint64_t deadline = now() + (uint64_t)options->max_ms * 1000000u;
    uint32_t messages = 0;
    long n = 0;
    uint64_t sum = 0;
    for (long i = -warm_up; i < count; i++) {
        const uint64_t start = now();
        messages += access_once(fd, options, messages);
        const uint64_t end = now();
        if (i >= 0) {
            const uint64_t latency = (end - start) / (uint64_t)each;
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
    if (options->verify && options->kind != READ)
        check_last(fd, options, messages - 1);

    qsort(latencies, (size_t)n, sizeof *latencies, ascending);
    printf("{\"n\":%ld,\"messages\":%u,\"min\":%u,\"mean\":%.0f,\"p50\":%u,\"p90\":%u,\"p99\":%u}\n", n, messages,
           latencies[0], (double)sum / (double)n, percentile(latencies, n, 500), percentile(latencies, n, 900),
           percentile(latencies, n, 990));
    fflush(stdout);
    free(latencies);
}

/* Connects to all of them, more than the soft limit allows if need be. */
static void hold(char **paths, int count)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    for (int i = 0; i < count; i++)
        negotiate(connect_to(paths[i]), &request, &reply);
    alarm(0);
    printf("{\"held\":%d}\n", count);
    fflush(stdout);
    await_end();
}

int main(int argc, char **argv)
{
    program = "client";
    enum { REGION = 1, OFFSET, SIZE, COUNT, MAX_MS, WARM_UP, GAP, BATCH };
    struct options options = {.count = 10000, .max_ms = 2000, .warm_up = 500, .size = 4, .batch = 1000};
    const struct option table[] = {
        {"write", no_argument, &options.kind, WRITE}, {"post", no_argument, &options.kind, POST},
        {"poll", no_argument, &options.poll, 1},      {"hold", no_argument, &options.hold, 1},
        {"verify", no_argument, &options.verify, 1},  {"region", required_argument, NULL, REGION},
        {"offset", required_argument, NULL, OFFSET},  {"size", required_argument, NULL, SIZE},
        {"count", required_argument, NULL, COUNT},    {"max-ms", required_argument, NULL, MAX_MS},
        {"warm-up", required_argument, NULL, WARM_UP}, {"gap", required_argument, NULL, GAP},
        {"batch", required_argument, NULL, BATCH},    {NULL, 0, NULL, 0},
    };
    int option;
    while ((option = getopt_long(argc, argv, "", table, NULL)) != -1) {
        switch (option) {
        case REGION: options.region = (uint32_t)number(optarg, 0); break;
        case OFFSET: options.offset = (uint64_t)number(optarg, 0); break;
        case SIZE: options.size = (uint32_t)number(optarg, 4); break;
        case COUNT: options.count = number(optarg, 1); break;
        case MAX_MS: options.max_ms = number(optarg, 1); break;
        case WARM_UP: options.warm_up = number(optarg, 0); break;
        case GAP: options.gap_us = number(optarg, 0); break;
        case BATCH: options.batch = number(optarg, 1); break;
        case '?': return 2;
        }
    }
    if (optind == argc)
        fail("which socket?");
    if (options.size > MAX_DATA)
        fail("--size %u: %d bytes are the most", options.size, MAX_DATA);

    alarm((unsigned)(options.max_ms / 1000) + GRACE_S); /* no cost per message, unlike SO_RCVTIMEO */
    if (options.hold) {
        hold(argv + optind, argc - optind);
        return 0;
    }
    const int fd = connect_to(argv[optind]);
    negotiate(fd, &request, &reply);
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
