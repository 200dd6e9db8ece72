/*
 * What guest memory costs in C: the least that a device could do instead of what mdevkit does.
 *
 *   dma MEMORY SIZE     a file of guest memory, and how much of it there is, bytes
 *
 * It maps the memory, prints {"ready":true}, and does a job for each line on stdin: how many batches to time, and of what.
 *
 *   copy read|write LENGTH COUNT     COUNT memcpys out of or into random pages
 *   look-up MAPS COUNT               finds a random one of MAPS maps by binary search, and loads 32 bits there
 *   map THERE COUNT                  maps COUNT pages and unmaps them, THERE others being mapped
 *   map-file COUNT                   maps as many files as large as the memory, which nobody else maps, and unmaps them
 *   pin PAGES COUNT                  mlock and munlock of PAGES neighbours at a random page; each page is timed as one
 *   file LENGTH COUNT PATH           preads from random pages of a file to random pages
 *
 * The answer is what one took, {"ns":…}, the median of the batches. Places are those of bench/dma-places.ts.
 */
#include "wire.h"
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#define PAGE 4096
#define PLACES 65536 /* a power of two */
#define MAX_LENGTH (1024 * 1024)

static unsigned char *memory;
static size_t memory_size;
static int memory_fd;
static unsigned char local[MAX_LENGTH];
static uint32_t places[PLACES];
static unsigned next_place;

#define MAX_FDS 1024

/* A job's numbers, as they are in its line, and what it has prepared. `size` is its LENGTH, MAPS, THERE or PAGES. */
struct job {
    long batches, size, count;
    char way[8], path[256];
    int fds[MAX_FDS];
};

/* Fills `places` with numbers below `limit`. */
static void choose_places(uint32_t limit)
{
    uint32_t random = 1;
    for (int i = 0; i < PLACES; i++) {
        random = random * 1664525u + 1013904223u;
        places[i] = (uint32_t)(((uint64_t)random * limit) >> 32);
    }
    next_place = 0;
}

static uint32_t place(void)
{
    return places[next_place++ % PLACES];
}

/* How many pages of `size` bytes something of `length` bytes may start at. */
static uint32_t starts_for(size_t size, size_t length)
{
    return (uint32_t)((size - (length + PAGE - 1) / PAGE * PAGE) / PAGE + 1);
}

static void *map_file(int fd, size_t size, off_t offset)
{
    void *here = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, offset);
    if (here == MAP_FAILED)
        fail("mmap: %s", strerror(errno));
    return here;
}

static int compare_doubles(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Times the batches of `work`, each after an untimed `prepare`, and prints the median of one of its `parts` of a batch. */
static void measure(struct job *job, void (*prepare)(struct job *), void (*work)(struct job *), double parts)
{
    double *times = malloc((size_t)job->batches * sizeof *times);
    for (long i = 0; i < job->batches; i++) {
        if (prepare != NULL)
            prepare(job);
        const uint64_t start = now();
        work(job);
        times[i] = (double)(now() - start) / parts;
    }
    qsort(times, (size_t)job->batches, sizeof *times, compare_doubles);
    printf("{\"ns\":%f}\n", times[job->batches / 2]);
    fflush(stdout);
    free(times);
}

static void copy_out(struct job *job)
{
    for (long i = 0; i < job->count; i++) {
        memcpy(local, memory + (size_t)place() * PAGE, (size_t)job->size);
        __asm__ volatile("" ::: "memory");
    }
}

static void copy_in(struct job *job)
{
    for (long i = 0; i < job->count; i++) {
        memcpy(memory + (size_t)place() * PAGE, local, (size_t)job->size);
        __asm__ volatile("" ::: "memory");
    }
}

/* Maps of one page each, with a page between them. */
static struct {
    uint64_t iova;
    unsigned char *here;
} *maps;

static unsigned char *find(uint64_t iova, long count)
{
    long low = 0, high = count;
    while (low < high) {
        const long middle = (low + high) / 2;
        if (maps[middle].iova <= iova)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == 0 || iova - maps[low - 1].iova >= PAGE)
        fail("%lx: not mapped", iova);
    return maps[low - 1].here + (iova - maps[low - 1].iova);
}

static void look_up(struct job *job)
{
    uint32_t sum = 0;
    for (long i = 0; i < job->count; i++)
        sum += *(volatile uint32_t *)find((uint64_t)place() * 2 * PAGE, job->size);
    __asm__ volatile("" ::"r"(sum));
}

static void prepare_maps(long count)
{
    maps = realloc(maps, (size_t)count * sizeof *maps);
    for (long i = 0; i < count; i++) {
        maps[i].iova = (uint64_t)i * 2 * PAGE;
        maps[i].here = memory + (size_t)(i % 16) * PAGE;
    }
}

/* Each map comes with an fd of its own. */
static void prepare_fds(struct job *job)
{
    for (long i = 0; i < job->count; i++)
        if ((job->fds[i] = fcntl(memory_fd, F_DUPFD_CLOEXEC, 0)) < 0)
            fail("dup: %s", strerror(errno));
}

static void map_pages(struct job *job)
{
    void *here[MAX_FDS];
    for (long i = 0; i < job->count; i++)
        here[i] = map_file(job->fds[i], PAGE, (off_t)place() * PAGE);
    for (long i = 0; i < job->count; i++) {
        munmap(here[i], PAGE);
        close(job->fds[i]);
    }
}

/* Each file is one that nobody has mapped. */
static void prepare_files(struct job *job)
{
    for (long i = 0; i < job->count; i++) {
        job->fds[i] = memfd_create("other", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        if (job->fds[i] < 0 || ftruncate(job->fds[i], (off_t)memory_size) < 0)
            fail("memfd: %s", strerror(errno));
    }
}

static void map_files(struct job *job)
{
    for (long i = 0; i < job->count; i++) {
        munmap(map_file(job->fds[i], memory_size, 0), memory_size);
        close(job->fds[i]);
    }
}

static void pin_pages(struct job *job)
{
    const size_t length = (size_t)job->size * PAGE;
    for (long i = 0; i < job->count; i++) {
        void *here = memory + (size_t)place() * PAGE;
        if (mlock(here, length) < 0 || munlock(here, length) < 0)
            fail("mlock: %s", strerror(errno));
    }
}

static void read_file(struct job *job)
{
    for (long i = 0; i < job->count; i++) {
        unsigned char *here = memory + (size_t)place() * PAGE;
        if (pread(job->fds[0], here, (size_t)job->size, (off_t)place() * PAGE) != job->size)
            fail("pread: %s", strerror(errno));
    }
}

static void measure_map(struct job *job)
{
    void **there = malloc(((size_t)job->size + 1) * sizeof *there);
    choose_places(starts_for(memory_size, PAGE));
    for (long i = 0; i < job->size; i++)
        there[i] = map_file(memory_fd, PAGE, (off_t)place() * PAGE);
    measure(job, prepare_fds, map_pages, (double)job->count);
    for (long i = 0; i < job->size; i++)
        munmap(there[i], PAGE);
    free(there);
}

static void measure_file(struct job *job)
{
    struct stat stat;
    job->fds[0] = open(job->path, O_RDONLY | O_CLOEXEC);
    if (job->fds[0] < 0 || fstat(job->fds[0], &stat) < 0)
        fail("%s: %s", job->path, strerror(errno));
    choose_places(starts_for((size_t)stat.st_size, (size_t)job->size)); /* the memory is no smaller */
    measure(job, NULL, read_file, (double)job->count);
    close(job->fds[0]);
}

static void do_job(const char *line)
{
    static struct job job;
    int at = 0;
    if (sscanf(line, "%ld %n", &job.batches, &at) != 1 || job.batches < 1)
        fail("how many batches? %s", line);
    const char *what = line + at;
    if (sscanf(what, "copy %7s %ld %ld", job.way, &job.size, &job.count) == 3) {
        choose_places(starts_for(memory_size, (size_t)job.size));
        measure(&job, NULL, strcmp(job.way, "read") == 0 ? copy_out : copy_in, (double)job.count);
    } else if (sscanf(what, "look-up %ld %ld", &job.size, &job.count) == 2) {
        prepare_maps(job.size);
        choose_places((uint32_t)job.size);
        measure(&job, NULL, look_up, (double)job.count);
    } else if (sscanf(what, "map %ld %ld", &job.size, &job.count) == 2) {
        measure_map(&job);
    } else if (sscanf(what, "map-file %ld", &job.count) == 1) {
        measure(&job, prepare_files, map_files, (double)job.count);
    } else if (sscanf(what, "pin %ld %ld", &job.size, &job.count) == 2) {
        choose_places(starts_for(memory_size, (size_t)job.size * PAGE));
        measure(&job, NULL, pin_pages, (double)(job.count * job.size));
    } else if (sscanf(what, "file %ld %ld %255s", &job.size, &job.count, job.path) == 3) {
        measure_file(&job);
    } else {
        fail("no such job: %s", what);
    }
}

int main(int argc, char **argv)
{
    program = "dma";
    if (argc != 3)
        fail("usage: dma MEMORY SIZE");
    prctl(PR_SET_PDEATHSIG, SIGTERM); /* do not outlive the benchmark */
    memory_fd = open(argv[1], O_RDWR | O_CLOEXEC);
    if (memory_fd < 0)
        fail("%s: %s", argv[1], strerror(errno));
    memory_size = (size_t)number(argv[2], MAX_LENGTH);
    memory = map_file(memory_fd, memory_size, 0);
    for (size_t at = 0; at < memory_size; at += PAGE)
        ((volatile unsigned char *)memory)[at] |= 0; /* the page table is filled before anything is timed */
    printf("{\"ready\":true}\n");
    fflush(stdout);
    char line[512];
    while (fgets(line, sizeof line, stdin) != NULL)
        do_job(line);
    return 0;
}
