/*
 * Runs in a guest, statically linked: trapped accesses of 4 bytes to a device's memory BAR, timed one by one.
 *
 *   mmio DEVICE read|write OFFSET COUNT     DEVICE: a directory of /sys/bus/pci/devices; OFFSET: in BAR 0
 *
 * It prints {"n":…,"p50":…,"p99":…} in ns of the guest's clock. After every 16 writes, which QEMU posts where it can, an untimed
 * read waits until they are taken, so that what is timed is a write into a short queue.
 */
#include "wire.h"
#include <fcntl.h>
#include <sys/mman.h>

#define WARM_UP 200
#define WRITES 16

static volatile uint32_t *map_bar(const char *device)
{
    char path[256];
    snprintf(path, sizeof path, "%s/enable", device); /* decodes its memory, which no driver has asked for */
    int fd = open(path, O_WRONLY);
    if (fd < 0 || write(fd, "1", 1) != 1)
        fail("%s: %s", path, strerror(errno));
    close(fd);
    snprintf(path, sizeof path, "%s/resource0", device);
    fd = open(path, O_RDWR | O_SYNC);
    void *bar = fd < 0 ? MAP_FAILED : mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (bar == MAP_FAILED)
        fail("%s: %s", path, strerror(errno));
    return bar;
}

int main(int argc, char **argv)
{
    program = "mmio";
    if (argc != 5)
        fail("usage: mmio DEVICE read|write OFFSET COUNT");
    const int writes = strcmp(argv[2], "write") == 0;
    const long count = number(argv[4], 1);
    volatile uint32_t *bar = map_bar(argv[1]) + number(argv[3], 0) / 4;
    uint32_t *latencies = values_for(count);
    for (long i = -WARM_UP; i < count; i++) {
        const uint64_t start = now();
        if (writes)
            *bar = (uint32_t)i;
        else
            (void)*bar;
        const uint64_t end = now();
        if (i >= 0)
            latencies[i] = (uint32_t)(end - start);
        if (writes && i % WRITES == 0)
            (void)*bar;
    }
    qsort(latencies, (size_t)count, sizeof *latencies, ascending);
    printf("{\"n\":%ld,\"p50\":%u,\"p99\":%u}\n", count, percentile(latencies, count, 500),
           percentile(latencies, count, 990));
    return 0;
}
