/*
 * The client that attaches: what a VMM does before its guest runs, again and again, each reply timed.
 *
 *   attach --cycles N SOCKET              attaches and detaches N times, one after the other
 *   attach --bursts N SOCKET SOCKET...    attaches to all at once, and detaches, N times
 *
 * It prints {"ready":true}, waits for a line on stdin, and prints, in ns,
 *   {"seconds":…,"attach":{"n":…,"p50":…,"p99":…,"p999":…,"max":…},"replies":{"VERSION":{…},…,"all":{…}}}
 * where `attach` is from the connect to the last reply.
 */
#include "wire.h"
#include <getopt.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>

#define MEMORY_SIZE (16 << 20)
#define MAX_CLIENTS 1024
#define PATIENCE_S 300

enum step { VERSION, GET_INFO, GET_REGION_INFO, GET_IRQ_INFO, DMA_MAP, SET_IRQS, REGION_READ, STEPS };

static const char *const NAMES[STEPS] = {"VERSION",  "GET_INFO", "GET_REGION_INFO", "GET_IRQ_INFO",
                                         "DMA_MAP", "SET_IRQS", "REGION_READ"};

static struct message request, reply;
static int memory, interrupt; /* what is given to the device */

/* Latencies, one array for each step and one for attaching as a whole. */
static uint32_t *times[STEPS + 1];
static long counts[STEPS + 1];

static void note(int what, uint64_t latency)
{
    times[what][counts[what]++] = latency < UINT32_MAX ? (uint32_t)latency : UINT32_MAX;
}

static void prepare_step(enum step step)
{
    const uint32_t region_info[8] = {sizeof region_info}, irq_info[4] = {sizeof irq_info};
    const uint32_t set_irqs[5] = {sizeof set_irqs, 4 | 32 /* eventfd, trigger */, 3 /* ERR */, 0, 1};
    const struct {
        uint32_t argsz, flags;
        uint64_t offset, iova, size;
    } map = {sizeof map, 3 /* read, write */, 0, 0, MEMORY_SIZE};
    switch (step) {
    case VERSION: prepare_version(&request); break;
    case GET_INFO: prepare_info(&request); break;
    case GET_REGION_INFO:
        prepare(&request, VFIO_USER_DEVICE_GET_REGION_INFO, region_info, sizeof region_info);
        break;
    case GET_IRQ_INFO: prepare(&request, VFIO_USER_DEVICE_GET_IRQ_INFO, irq_info, sizeof irq_info); break;
    case DMA_MAP: prepare(&request, VFIO_USER_DMA_MAP, &map, sizeof map); break;
    case SET_IRQS: prepare(&request, VFIO_USER_DEVICE_SET_IRQS, set_irqs, sizeof set_irqs); break;
    default:
        prepare(&request, VFIO_USER_REGION_READ, NULL, sizeof request.access);
        request.access = (struct region_access){.count = 4};
    }
    request.header.id = (uint16_t)step;
}

static void send_step(int fd, enum step step)
{
    prepare_step(step);
    if (step == DMA_MAP || step == SET_IRQS)
        send_with_fd(fd, &request, step == DMA_MAP ? memory : interrupt);
    else
        send_all(fd, &request);
}

static void take_reply(int fd, enum step step)
{
    receive(fd, &reply, 0);
    prepare_step(step);
    check_reply(&request, &reply, 0);
}

static void cycle(const char *path)
{
    const uint64_t began = now();
    const int fd = connect_to(path);
    for (int step = VERSION; step < STEPS; step++) {
        const uint64_t start = now();
        send_step(fd, (enum step)step);
        take_reply(fd, (enum step)step);
        note(step, now() - start);
    }
    note(STEPS, now() - began);
    close(fd);
}

/* Each client sends its next request when its reply is there; nobody waits for another. */
static void burst(char **paths, int count)
{
    static struct client {
        int fd, step;
        uint64_t began, sent;
    } clients[MAX_CLIENTS];
    const int epoll = epoll_create1(EPOLL_CLOEXEC);
    for (int i = 0; i < count; i++) {
        struct client *client = &clients[i];
        *client = (struct client){.began = now(), .fd = connect_to(paths[i])};
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = client};
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, client->fd, &event) < 0)
            fail("epoll_ctl: %s", strerror(errno));
        client->sent = now();
        send_step(client->fd, VERSION);
    }
    for (int left = count; left > 0;) {
        struct epoll_event events[64];
        const int ready = epoll_wait(epoll, events, 64, -1);
        for (int i = 0; i < ready; i++) {
            struct client *client = events[i].data.ptr;
            take_reply(client->fd, (enum step)client->step);
            const uint64_t end = now();
            note(client->step, end - client->sent);
            if (++client->step < STEPS) {
                client->sent = now();
                send_step(client->fd, (enum step)client->step);
            } else {
                note(STEPS, end - client->began);
                left--;
            }
        }
    }
    for (int i = 0; i < count; i++)
        close(clients[i].fd);
    close(epoll);
}

static void print_times(const char *name, uint32_t *values, long n, const char *end)
{
    qsort(values, (size_t)n, sizeof *values, ascending);
    printf("\"%s\":{\"n\":%ld,\"p50\":%u,\"p99\":%u,\"p999\":%u,\"max\":%u}%s", name, n, percentile(values, n, 500),
           percentile(values, n, 990), percentile(values, n, 999), values[n - 1], end);
}

static void print_all(uint64_t elapsed)
{
    printf("{\"seconds\":%.3f,", (double)elapsed / 1e9);
    print_times("attach", times[STEPS], counts[STEPS], ",\"replies\":{");
    uint32_t *all = values_for(STEPS * counts[VERSION]);
    long n = 0;
    for (int step = VERSION; step < STEPS; step++) {
        memcpy(all + n, times[step], (size_t)counts[step] * sizeof *all);
        n += counts[step];
        print_times(NAMES[step], times[step], counts[step], ",");
    }
    print_times("all", all, n, "}}\n");
    fflush(stdout);
}

int main(int argc, char **argv)
{
    program = "attach";
    long cycles = 0, bursts = 0;
    int option;
    const struct option table[] = {
        {"cycles", required_argument, NULL, 'c'}, {"bursts", required_argument, NULL, 'b'}, {NULL, 0, NULL, 0}};
    while ((option = getopt_long(argc, argv, "", table, NULL)) != -1) {
        if (option == '?')
            return 2;
        *(option == 'c' ? &cycles : &bursts) = number(optarg, 1);
    }
    const int sockets = argc - optind;
    if (sockets == 0 || sockets > MAX_CLIENTS || (cycles == 0) == (bursts == 0))
        fail("usage: attach --cycles N SOCKET | --bursts N SOCKET... (%d at most)", MAX_CLIENTS);

    memory = memfd_create("attach", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    interrupt = eventfd(0, EFD_CLOEXEC);
    if (memory < 0 || interrupt < 0 || ftruncate(memory, MEMORY_SIZE) < 0)
        fail("memfd, eventfd: %s", strerror(errno));
    for (int i = 0; i <= STEPS; i++)
        times[i] = values_for(cycles + bursts * sockets);
    printf("{\"ready\":true}\n");
    fflush(stdout);
    await_line();
    alarm(PATIENCE_S);
    const uint64_t began = now();
    for (long i = 0; i < cycles; i++)
        cycle(argv[optind]);
    for (long i = 0; i < bursts; i++)
        burst(argv + optind, sockets);
    print_all(now() - began);
    await_end();
    return 0;
}
