/*
 * dma-engine without an IOMMU: the device is given physical addresses, of a huge page, which stays where it is. Waits by polling.
 *
 * usage: physical-dma DEVICE ROUNDS, where DEVICE is its directory in sysfs
 */
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>
#include "dma-engine.h"

enum { HUGE_PAGE = 2 << 20, WINDOWS = 15, WINDOW_SIZE = HUGE_PAGE / 16, JOBS = 32 };
static const uint64_t NOWHERE = 1ull << 46; /* there is no memory */

static int open_file(const char *directory, const char *name, int flags)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	int fd = open(path, flags);
	if (fd < 0)
		err(1, "%s", path);
	return fd;
}

static void write_file(const char *directory, const char *name, const char *text)
{
	int fd = open_file(directory, name, O_WRONLY);

	if (write(fd, text, strlen(text)) < 0)
		err(1, "%s/%s", directory, name);
	close(fd);
}

/* Memory that is contiguous for the device. */
static uint8_t *huge_page(void)
{
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | MAP_POPULATE;

	write_file("/proc/sys/vm", "nr_hugepages", "1");
	void *page = mmap(NULL, HUGE_PAGE, PROT_READ | PROT_WRITE, flags, -1, 0);
	if (page == MAP_FAILED)
		err(1, "huge page");
	return page;
}

/* Linux, admin-guide/mm/pagemap.rst: bits 0 to 54 are the page frame number. */
static uint64_t physical_address(const void *page)
{
	uint64_t entry;
	int fd = open_file("/proc/self", "pagemap", O_RDONLY);

	if (pread(fd, &entry, sizeof(entry), (uintptr_t)page / 4096 * sizeof(entry)) != sizeof(entry))
		err(1, "pagemap");
	close(fd);
	return (entry & ((1ull << 55) - 1)) * 4096;
}

/* Sets Memory Space Enable, and Bus Master Enable or not. */
static void enable(const char *device, int master)
{
	uint16_t command = master ? 6 : 2;
	int fd = open_file(device, "config", O_RDWR);

	if (pwrite(fd, &command, sizeof(command), 4) != sizeof(command))
		err(1, "config");
	close(fd);
}

static void poll_status(struct engine *engine, volatile struct descriptor *last)
{
	while (last->status == PENDING)
		if (engine->registers[STATUS] != RUNNING)
			errx(1, "engine: status %u", engine->registers[STATUS]);
}

static void run_rounds(struct engine *engine, struct window *windows, int rounds)
{
	start(engine);
	while (rounds-- > 0) {
		for (int i = 0; i < JOBS; i++)
			add_random_job(engine, windows, WINDOWS);
		finish(engine, windows, WINDOWS);
	}
}

static void add_bad_jobs(struct engine *engine, struct window *windows)
{
	struct descriptor bad = copy(windows[0].iova, windows[1].iova, 64);

	add(engine, copy(NOWHERE, windows[0].iova, 64), 0, FAULT);
	add(engine, checksum(NOWHERE, 64), 0, FAULT);
	add(engine, fill(windows[0].iova, 0, 7), 7, BAD_LENGTH);
	bad.opcode = 9;
	add(engine, bad, 0, BAD_OPCODE);
}

/* Function level reset while the engine works; what it has filled until then stays, and nothing is filled afterwards. */
static void reset(struct engine *engine, const char *device, struct window *windows)
{
	for (int i = 1; i < RING_SIZE; i++)
		engine->ring[(engine->tail + i - 1) % RING_SIZE] = fill(windows[0].iova, WINDOW_SIZE, i);
	engine->tail = (engine->tail + RING_SIZE - 1) % RING_SIZE;
	ring(engine);
	write_file(device, "reset", "1");
	enable(device, 1);
	if (engine->registers[STATUS] != STOPPED)
		errx(1, "engine: status %u after a reset", engine->registers[STATUS]);
	memcpy(windows[0].expected, windows[0].bytes, WINDOW_SIZE);
}

int main(int argc, char **argv)
{
	if (argc != 3)
		errx(2, "usage: physical-dma DEVICE ROUNDS");
	const char *device = argv[1];
	int rounds = atoi(argv[2]);
	uint8_t *page = huge_page(), *expected = calloc(1, HUGE_PAGE);
	struct window windows[WINDOWS];
	struct engine engine = {
		.registers = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, open_file(device, "resource0", O_RDWR), 0),
		.ring = (struct descriptor *)page,
		.ring_iova = physical_address(page),
		.wait = poll_status,
	};

	if (engine.registers == MAP_FAILED)
		err(1, "resource0");
	for (int i = 0; i < WINDOWS; i++) {
		size_t offset = (i + 1) * WINDOW_SIZE; /* the ring comes first */
		windows[i] = (struct window){ engine.ring_iova + offset, WINDOW_SIZE, page + offset, expected + offset };
	}

	enable(device, 1);
	run_rounds(&engine, windows, rounds / 2);
	add_bad_jobs(&engine, windows);
	finish(&engine, windows, WINDOWS);
	reset(&engine, device, windows);
	run_rounds(&engine, windows, rounds - rounds / 2);

	enable(device, 0);
	add(&engine, fill(windows[0].iova, 64, 7), 7, FAULT);
	ring(&engine);
	while (engine.registers[STATUS] == RUNNING)
		;
	if (engine.registers[STATUS] != RING_FAULT)
		errx(1, "engine: status %u without bus mastering", engine.registers[STATUS]);
	printf("%lu jobs, %lu faults\n", engine.jobs, engine.faults);
	return 0;
}
