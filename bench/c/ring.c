/*
 * The client of a doorbell: rings, and waits for the interrupt that answers, asleep in read.
 *
 *   ring [--post] [--count N] SOCKET      --post: by posted writes instead of the eventfd; N rings (10000)
 *
 * The device stores when it was rung (CLOCK_MONOTONIC, ns, a double) at IOVA 0x10000 before it interrupts. This prints
 * {"ready":true}, waits for a line on stdin, and prints for the ways there, back, and both
 *   {"messages":…,"doorbell":{"p50":…,"p99":…},"interrupt":{…},"both":{…}}     ns
 */
#include "wire.h"
#include <getopt.h>
#include <sys/eventfd.h>
#include <sys/mman.h>

#define WARM_UP 500
#define PATIENCE_S 60
#define STAMP_IOVA 0x10000
#define PAGE 4096
#define DOORBELL 0x800
#define CONFIG_REGION 7
#define PCI_COMMAND 4
#define MSI_INDEX 1
#define MAX_FDS 8

static struct message request, reply;

static void write_config(int fd, uint64_t offset, uint16_t value)
{
    prepare(&request, VFIO_USER_REGION_WRITE, NULL, sizeof request.access + sizeof value);
    request.access = (struct region_access){offset, CONFIG_REGION, sizeof value};
    memcpy(request.payload + sizeof request.access, &value, sizeof value);
    round_trip(fd, &request, &reply, 0, 32);
}

/* Gives the device a page of memory. Returns where it is here. */
static volatile double *map_page(int fd)
{
    const int memory = memfd_create("ring", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (memory < 0 || ftruncate(memory, PAGE) < 0)
        fail("memfd: %s", strerror(errno));
    void *here = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
    if (here == MAP_FAILED)
        fail("mmap: %s", strerror(errno));
    const struct {
        uint32_t argsz, flags;
        uint64_t offset, iova, size;
    } map = {sizeof map, 3 /* read, write */, 0, STAMP_IOVA, PAGE};
    prepare(&request, VFIO_USER_DMA_MAP, &map, sizeof map);
    send_with_fd(fd, &request, memory);
    receive(fd, &reply, 0);
    check_reply(&request, &reply, 0);
    close(memory);
    return here;
}

/* Asks for the eventfd of the doorbell: the first fd of the reply. */
static int doorbell_of(int fd)
{
    const uint32_t ask[4] = {sizeof ask + 48}; /* argsz: one entry; region 0 */
    prepare(&request, VFIO_USER_DEVICE_GET_REGION_IO_FDS, ask, sizeof ask);
    send_all(fd, &request);
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(MAX_FDS * sizeof(int))];
    } control;
    struct iovec data = {&reply, sizeof reply};
    struct msghdr all = {
        .msg_iov = &data, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    if (recvmsg(fd, &all, MSG_CMSG_CLOEXEC) < (ssize_t)sizeof reply.header)
        fail("recvmsg: %s", strerror(errno));
    check_reply(&request, &reply, 0);
    const struct cmsghdr *rights = CMSG_FIRSTHDR(&all);
    if (rights == NULL || rights->cmsg_type != SCM_RIGHTS)
        fail("the device has no doorbell");
    int doorbell;
    memcpy(&doorbell, CMSG_DATA(rights), sizeof doorbell);
    return doorbell;
}

static int connect_interrupt(int fd)
{
    const int interrupt = eventfd(0, EFD_CLOEXEC);
    if (interrupt < 0)
        fail("eventfd: %s", strerror(errno));
    /* VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER */
    const uint32_t set[5] = {sizeof set, 4 | 32, MSI_INDEX, 0, 1};
    prepare(&request, VFIO_USER_DEVICE_SET_IRQS, set, sizeof set);
    send_with_fd(fd, &request, interrupt);
    receive(fd, &reply, 0);
    check_reply(&request, &reply, 0);
    return interrupt;
}

static void prepare_post(void)
{
    prepare(&request, VFIO_USER_REGION_WRITE, NULL, sizeof request.access + 4);
    request.access = (struct region_access){DOORBELL, 0, 4};
    request.header.flags = VFIO_USER_F_NO_REPLY;
}

static void print_times(const char *name, uint32_t *times, long count, const char *end)
{
    qsort(times, (size_t)count, sizeof *times, ascending);
    printf("\"%s\":{\"p50\":%u,\"p99\":%u}%s", name, percentile(times, count, 500), percentile(times, count, 990),
           end);
}

static void measure(int fd, int doorbell, int interrupt, volatile const double *stamp, long count)
{
    uint32_t *there = values_for(count), *back = values_for(count), *both = values_for(count);
    const uint64_t one = 1;
    uint64_t events;
    prepare_post();
    for (long i = -WARM_UP; i < count; i++) {
        const uint64_t start = now();
        if (doorbell < 0)
            send_all(fd, &request);
        else if (write(doorbell, &one, sizeof one) < 0)
            fail("doorbell: %s", strerror(errno));
        if (read(interrupt, &events, sizeof events) < 0)
            fail("interrupt: %s", strerror(errno));
        const uint64_t end = now(), rung = (uint64_t)*stamp;
        if (rung < start || rung > end)
            fail("the device was rung at %lu, not between %lu and %lu", rung, start, end);
        if (i < 0)
            continue;
        there[i] = (uint32_t)(rung - start);
        back[i] = (uint32_t)(end - rung);
        both[i] = (uint32_t)(end - start);
    }
    printf("{\"messages\":%ld,", count + WARM_UP);
    print_times("doorbell", there, count, ",");
    print_times("interrupt", back, count, ",");
    print_times("both", both, count, "}\n");
    fflush(stdout);
}

int main(int argc, char **argv)
{
    program = "ring";
    int posts = 0, option;
    long count = 10000;
    const struct option table[] = {
        {"post", no_argument, &posts, 1}, {"count", required_argument, NULL, 'c'}, {NULL, 0, NULL, 0}};
    while ((option = getopt_long(argc, argv, "", table, NULL)) != -1) {
        if (option == '?')
            return 2;
        if (option == 'c')
            count = number(optarg, 1);
    }
    if (optind == argc)
        fail("which socket?");

    alarm(PATIENCE_S);
    const int fd = connect_to(argv[optind]);
    negotiate(fd, &request, &reply);
    write_config(fd, PCI_COMMAND, 6 /* memory, bus master */);
    volatile const double *stamp = map_page(fd);
    const int doorbell = posts ? -1 : doorbell_of(fd);
    const int interrupt = connect_interrupt(fd);
    printf("{\"ready\":true}\n");
    fflush(stdout);
    await_line();
    measure(fd, doorbell, interrupt, stamp, count);
    await_end();
    return 0;
}
