/*
 * The guest whose memory is measured: a client that gives a device all its memory, and then sleeps.
 *
 *   dma-guest [--no-file] SIZE SOCKET     SIZE bytes, at IOVA 0x100000000
 *
 * The memory is a sealed memfd, all of it faulted in; each page begins with its number, of 32 bits. Of --no-file the device
 * gets no fd, and so has to ask: DMA_READ and DMA_WRITE are answered. It prints {"memory":"/proc/PID/fd/N"} when the device may use
 * the memory, and runs until it is killed or the server goes.
 */
#include "wire.h"
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>

#define VFIO_USER_DMA_READ 11
#define VFIO_USER_DMA_WRITE 12
#define IOVA 0x100000000u
#define PAGE 4096
#define CONFIG_REGION 7
#define PCI_COMMAND 4

struct dma_access {
    uint64_t iova, count;
};

static struct message request, reply;

static void set_bus_master(int fd)
{
    const uint16_t command = 6; /* memory, bus master */
    prepare(&request, VFIO_USER_REGION_WRITE, NULL, sizeof request.access + sizeof command);
    request.access = (struct region_access){PCI_COMMAND, CONFIG_REGION, sizeof command};
    memcpy(request.payload + sizeof request.access, &command, sizeof command);
    round_trip(fd, &request, &reply, 0, 0);
}

static int create_memory(size_t size, unsigned char **here)
{
    const int memory = memfd_create("guest", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (memory < 0 || ftruncate(memory, (off_t)size) < 0 ||
        fcntl(memory, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
        fail("memfd: %s", strerror(errno));
    *here = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
    if (*here == MAP_FAILED)
        fail("mmap: %s", strerror(errno));
    for (uint32_t page = 0; page < size / PAGE; page++)
        memcpy(*here + (size_t)page * PAGE, &page, sizeof page);
    return memory;
}

static void give_memory(int fd, int memory, size_t size, int with_file)
{
    const struct {
        uint32_t argsz, flags;
        uint64_t offset, iova, size;
    } map = {sizeof map, 3 /* read, write */, 0, IOVA, size};
    prepare(&request, VFIO_USER_DMA_MAP, &map, sizeof map);
    if (with_file)
        send_with_fd(fd, &request, memory);
    else
        send_all(fd, &request);
    receive(fd, &reply, 0);
    check_reply(&request, &reply, 0);
}

/* Answers one DMA_READ or DMA_WRITE. */
static void answer(int fd, const struct message *asked, unsigned char *memory, size_t size)
{
    struct dma_access access;
    memcpy(&access, asked->payload, sizeof access);
    if (access.count > MAX_DATA || access.iova < IOVA || access.iova - IOVA > size - access.count)
        fail("asked for %lu bytes at %lx", access.count, access.iova);
    unsigned char *there = memory + (access.iova - IOVA);
    prepare(&reply, asked->header.command, &access, sizeof access);
    if (asked->header.command == VFIO_USER_DMA_READ) {
        memcpy(reply.payload + sizeof access, there, access.count);
        reply.header.size += (uint32_t)access.count;
    } else if (asked->header.command == VFIO_USER_DMA_WRITE) {
        memcpy(there, asked->payload + sizeof access, access.count);
    } else {
        fail("asked for command %u", asked->header.command);
    }
    reply.header.id = asked->header.id;
    reply.header.flags = VFIO_USER_F_TYPE_REPLY;
    send_all(fd, &reply);
}

/* Answers until the server goes. Many requests may have come at once. */
static void serve(int fd, unsigned char *memory, size_t size)
{
    static unsigned char inbox[2 * sizeof(struct message)];
    size_t have = 0;
    for (;;) {
        const ssize_t got = recv(fd, inbox + have, sizeof inbox - have, 0);
        if (got <= 0)
            return;
        have += (size_t)got;
        size_t at = 0;
        for (;;) {
            const struct message *asked = (const struct message *)(inbox + at);
            if (have - at < sizeof asked->header || have - at < asked->header.size)
                break;
            if (asked->header.size < sizeof asked->header + sizeof(struct dma_access))
                fail("asked in %u bytes", asked->header.size);
            answer(fd, asked, memory, size);
            at += asked->header.size;
        }
        have -= at;
        memmove(inbox, inbox + at, have);
    }
}

int main(int argc, char **argv)
{
    program = "dma-guest";
    const int with_file = argc < 2 || strcmp(argv[1], "--no-file") != 0;
    if (argc != (with_file ? 3 : 4))
        fail("usage: dma-guest [--no-file] SIZE SOCKET");
    const size_t size = (size_t)number(argv[argc - 2], PAGE);
    prctl(PR_SET_PDEATHSIG, SIGTERM); /* do not outlive the benchmark */

    unsigned char *here;
    const int memory = create_memory(size, &here);
    const int fd = connect_to(argv[argc - 1]);
    negotiate(fd, &request, &reply);
    set_bus_master(fd);
    give_memory(fd, memory, size, with_file);
    printf("{\"memory\":\"/proc/%d/fd/%d\"}\n", getpid(), memory);
    fflush(stdout);
    serve(fd, here, size);
    return 0;
}
