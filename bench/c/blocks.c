/*
 * The floor of what a disk can do: blocks of 4 KiB at random places of a file, one after the other.
 *
 *   blocks PATH
 *
 * For each line `read|write MS` on stdin it does so for MS ms, and answers {"count":…,"ms":…}. Places are those of
 * bench/dma-places.ts.
 */
#include "wire.h"
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#define BLOCK 4096
#define PLACES 65536

static off_t places[PLACES];

static void choose_places(off_t blocks)
{
    uint32_t random = 1;
    for (int i = 0; i < PLACES; i++) {
        random = random * 1664525u + 1013904223u;
        places[i] = (off_t)(((uint64_t)random * (uint64_t)blocks) >> 32) * BLOCK;
    }
}

int main(int argc, char **argv)
{
    program = "blocks";
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (argc != 2)
        fail("usage: blocks PATH");
    const int fd = open(argv[1], O_RDWR | O_CLOEXEC);
    struct stat about;
    if (fd < 0 || fstat(fd, &about) < 0)
        fail("%s: %s", argv[1], strerror(errno));
    if (about.st_size < BLOCK)
        fail("%s: no block of %d bytes", argv[1], BLOCK);
    choose_places(about.st_size / BLOCK);
    static unsigned char block[BLOCK] __attribute__((aligned(BLOCK)));
    memset(block, 0xa5, sizeof block);
    char access[8];
    unsigned place = 0;
    for (long ms; scanf("%7s %ld", access, &ms) == 2;) {
        const int writes = strcmp(access, "write") == 0;
        const uint64_t start = now(), end = start + (uint64_t)ms * 1000000u;
        long count = 0;
        for (; count == 0 || now() < end; count++) {
            const off_t at = places[place++ % PLACES];
            if ((writes ? pwrite(fd, block, BLOCK, at) : pread(fd, block, BLOCK, at)) != BLOCK)
                fail("%s: %s", argv[1], strerror(errno));
        }
        printf("{\"count\":%ld,\"ms\":%.3f}\n", count, (double)(now() - start) / 1e6);
        fflush(stdout);
    }
    return 0;
}
