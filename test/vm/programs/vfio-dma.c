/*
 * dma-engine behind an IOMMU: the device is given addresses that VFIO maps to pages of this process. Windows come and go between
 * jobs, and a second thread maps and unmaps pages beside them all the time. Waits for interrupts.
 *
 * usage: vfio-dma DEVICE ROUNDS [leave|stay], where DEVICE is its directory in sysfs, and bound to vfio-pci. At the end nothing is
 * mapped, unless the program is told to leave, or to stay, while everything is mapped and the engine at work.
 */
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>
#include "dma-engine.h"

enum { PAGE = 4096, WINDOWS = 4, MAX_PAGES = 4, JOBS = 16, OTHERS = 8, LEAST_OTHERS = 1000, PATIENCE_MS = 20000 };
enum { READABLE = VFIO_DMA_MAP_FLAG_READ, WRITABLE = VFIO_DMA_MAP_FLAG_WRITE };
static const uint64_t RING_IOVA = 1ull << 32;
static const uint64_t WINDOW_IOVA = 2ull << 32;
static const uint64_t OTHER_IOVA = 3ull << 32;

static int container, interrupt;
static unsigned long pages_mapped, pages_unmapped; /* a map of n pages counts n times */
static volatile int finished;

static void map(void *bytes, uint64_t iova, size_t size, uint32_t flags)
{
	struct vfio_iommu_type1_dma_map request = {
		.argsz = sizeof(request), .flags = flags, .vaddr = (uintptr_t)bytes, .iova = iova, .size = size,
	};

	if (ioctl(container, VFIO_IOMMU_MAP_DMA, &request))
		err(1, "map %#lx+%#zx", iova, size);
	__atomic_add_fetch(&pages_mapped, size / PAGE, __ATOMIC_RELAXED);
}

static void unmap(uint64_t iova, size_t size)
{
	struct vfio_iommu_type1_dma_unmap request = { .argsz = sizeof(request), .iova = iova, .size = size };

	if (ioctl(container, VFIO_IOMMU_UNMAP_DMA, &request) || request.size != size)
		err(1, "unmap %#lx+%#zx", iova, size);
	__atomic_add_fetch(&pages_unmapped, size / PAGE, __ATOMIC_RELAXED);
}

static void *allocate(size_t size)
{
	void *bytes = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (bytes == MAP_FAILED)
		err(1, "mmap");
	return bytes;
}

/* Opens the device, in a container of its own. */
static int open_device(char *directory)
{
	char path[PATH_MAX], target[PATH_MAX];

	snprintf(path, sizeof(path), "%s/iommu_group", directory);
	if (!realpath(path, target))
		err(1, "%s", path);
	snprintf(path, sizeof(path), "/dev/vfio/%s", basename(target));
	int group = open(path, O_RDWR);
	if (group < 0)
		err(1, "%s", path);
	container = open("/dev/vfio/vfio", O_RDWR);
	if (container < 0 || ioctl(group, VFIO_GROUP_SET_CONTAINER, &container))
		err(1, "container");
	if (ioctl(container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU))
		err(1, "IOMMU");
	int device = ioctl(group, VFIO_GROUP_GET_DEVICE_FD, basename(directory));
	if (device < 0)
		err(1, "device");
	return device;
}

static struct vfio_region_info region(int device, uint32_t index)
{
	struct vfio_region_info info = { .argsz = sizeof(info), .index = index };

	if (ioctl(device, VFIO_DEVICE_GET_REGION_INFO, &info))
		err(1, "region %u", index);
	return info;
}

static void enable(int device)
{
	uint16_t command = PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER;
	off_t offset = region(device, VFIO_PCI_CONFIG_REGION_INDEX).offset + PCI_COMMAND;

	if (pwrite(device, &command, sizeof(command), offset) != sizeof(command))
		err(1, "config space");
}

static void connect_interrupt(int device)
{
	char request[sizeof(struct vfio_irq_set) + sizeof(int)];
	struct vfio_irq_set header = {
		.argsz = sizeof(request), .index = VFIO_PCI_MSIX_IRQ_INDEX, .count = 1,
		.flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER,
	};

	interrupt = eventfd(0, 0);
	memcpy(request, &header, sizeof(header));
	memcpy(request + sizeof(header), &interrupt, sizeof(int));
	if (interrupt < 0 || ioctl(device, VFIO_DEVICE_SET_IRQS, request))
		err(1, "interrupt");
}

static volatile uint32_t *map_registers(int device)
{
	struct vfio_region_info bar = region(device, VFIO_PCI_BAR0_REGION_INDEX);
	void *registers = mmap(NULL, bar.size, PROT_READ | PROT_WRITE, MAP_SHARED, device, bar.offset);

	if (registers == MAP_FAILED)
		err(1, "BAR 0");
	return registers;
}

static void wait_for_interrupt(struct engine *engine, volatile struct descriptor *last)
{
	struct pollfd ready = { .fd = interrupt, .events = POLLIN };
	uint64_t count;

	if (poll(&ready, 1, PATIENCE_MS) != 1 || read(interrupt, &count, sizeof(count)) != sizeof(count))
		errx(1, "no interrupt: engine at %u, status %u", engine->registers[HEAD], engine->registers[STATUS]);
	if (count != 1 || last->status == PENDING)
		errx(1, "%lu interrupts, the last descriptor's status %u", count, last->status);
}

/* Maps and unmaps one page after the other that no job uses, some of them at a time. */
static void *map_others(void *page)
{
	for (uint64_t i = 0; !finished || i < LEAST_OTHERS; i++) {
		if (i >= OTHERS)
			unmap(OTHER_IOVA + (i - OTHERS) * PAGE, PAGE);
		map(page, OTHER_IOVA + i * PAGE, PAGE, READABLE | WRITABLE);
	}
	struct vfio_iommu_type1_dma_unmap rest = {
		.argsz = sizeof(rest), .iova = OTHER_IOVA, .size = WINDOW_IOVA,
	};
	if (ioctl(container, VFIO_IOMMU_UNMAP_DMA, &rest))
		err(1, "unmap the rest");
	__atomic_add_fetch(&pages_unmapped, rest.size / PAGE, __ATOMIC_RELAXED);
	return NULL;
}

static void map_windows(struct window *windows)
{
	for (int i = 0; i < WINDOWS; i++) {
		struct window *window = &windows[i];

		window->iova = WINDOW_IOVA + (i * 4096ull + below(4096 - MAX_PAGES)) * PAGE;
		window->size = (1 + below(MAX_PAGES)) * PAGE;
		map(window->bytes, window->iova, window->size, READABLE | WRITABLE);
	}
}

/* Unmaps one window, leaves another readable only, and has the engine try both. */
static void try_unmapped(struct engine *engine, struct window *windows)
{
	struct window *gone = &windows[0], *readable = &windows[1], *other = &windows[2];

	unmap(gone->iova, gone->size);
	unmap(readable->iova, readable->size);
	map(readable->bytes, readable->iova, readable->size, READABLE);
	add(engine, fill(gone->iova, 64, 0xa5), 0xa5, FAULT);
	add(engine, checksum(gone->iova + gone->size - 1, 1), 0, FAULT);
	add(engine, fill(readable->iova, 64, 0xa5), 0xa5, FAULT);
	add(engine, copy(readable->iova, other->iova, 64), 0, DONE);
	memcpy(other->expected, readable->expected, 64);
	finish(engine, windows, WINDOWS);
}

int main(int argc, char **argv)
{
	if (argc != 3 && argc != 4)
		errx(2, "usage: vfio-dma DEVICE ROUNDS [leave|stay]");
	int device = open_device(argv[1]);
	struct window windows[WINDOWS];
	struct engine engine = {
		.registers = map_registers(device),
		.ring = allocate(PAGE),
		.ring_iova = RING_IOVA,
		.wait = wait_for_interrupt,
	};
	pthread_t thread;

	enable(device);
	connect_interrupt(device);
	for (int i = 0; i < WINDOWS; i++)
		windows[i] = (struct window){
			.bytes = allocate(MAX_PAGES * PAGE), .expected = allocate(MAX_PAGES * PAGE)
		};
	map((void *)engine.ring, RING_IOVA, PAGE, READABLE | WRITABLE);
	start(&engine);
	if (pthread_create(&thread, NULL, map_others, allocate(PAGE)))
		errx(1, "no thread");

	for (int rounds = atoi(argv[2]); rounds > 0; rounds--) {
		map_windows(windows);
		for (int i = 0; i < JOBS; i++)
			add_random_job(&engine, windows, WINDOWS);
		finish(&engine, windows, WINDOWS);
		try_unmapped(&engine, windows);
		for (int i = 1; i < WINDOWS; i++)
			unmap(windows[i].iova, windows[i].size);
	}

	if (argc == 4) {
		map_windows(windows);
		while ((engine.tail + 1) % RING_SIZE != engine.unchecked)
			add_random_job(&engine, windows, WINDOWS);
		ring(&engine);
		printf("%s\n", argv[3]);
		fflush(stdout);
		if (!strcmp(argv[3], "stay"))
			pause();
		_exit(0);
	}
	finished = 1;
	pthread_join(thread, NULL);
	unmap(RING_IOVA, PAGE);
	printf("%lu jobs, %lu faults, %lu pages mapped, %lu unmapped\n", engine.jobs, engine.faults, pages_mapped,
	       pages_unmapped);
	return 0;
}
