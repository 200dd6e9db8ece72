/*
 * Drives examples/dma-engine.ts: random jobs on windows of memory, each done a second time by the processor on a copy, so that
 * afterwards every byte of every window can be compared, those that no job was to touch included.
 *
 * Numbers are restated from the header of the example.
 */
#include <err.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { CONTROL, STATUS, RING, RING_HIGH, SIZE, HEAD, TAIL, INTERRUPT }; /* registers, by number */
enum { STOPPED, RUNNING, BAD_RING, BAD_SIZE, BAD_TAIL, RING_FAULT };    /* what STATUS says */
enum { COPY = 1, FILL, CHECKSUM };
enum { PENDING, DONE, BAD_OPCODE, BAD_LENGTH, FAULT }; /* what a descriptor's status says */
enum { INTERRUPT_WHEN_DONE = 1 };
enum { RING_SIZE = 64 };

struct descriptor {
	uint16_t opcode, flags;
	uint32_t length;
	uint64_t source, destination;
	uint32_t value, status;
};

static struct descriptor copy(uint64_t source, uint64_t destination, uint32_t length)
{
	return (struct descriptor){ .opcode = COPY, .source = source, .destination = destination, .length = length };
}

static struct descriptor fill(uint64_t destination, uint32_t length, uint32_t value)
{
	return (struct descriptor){ .opcode = FILL, .destination = destination, .length = length, .value = value };
}

static struct descriptor checksum(uint64_t source, uint32_t length)
{
	return (struct descriptor){ .opcode = CHECKSUM, .source = source, .length = length };
}

/* Memory that the engine may use. */
struct window {
	uint64_t iova;
	size_t size;
	uint8_t *bytes;
	uint8_t *expected; /* what `bytes` should be */
};

struct engine {
	volatile uint32_t *registers;
	volatile struct descriptor *ring;
	uint64_t ring_iova;
	/* Waits until the engine has done the last descriptor. */
	void (*wait)(struct engine *, volatile struct descriptor *last);
	uint32_t tail, unchecked; /* the next descriptor to fill in; the first whose result was not looked at */
	struct descriptor expected[RING_SIZE];
	unsigned long jobs, faults;
};

static void start(struct engine *engine)
{
	volatile uint32_t *registers = engine->registers;

	registers[RING] = (uint32_t)engine->ring_iova;
	registers[RING_HIGH] = engine->ring_iova >> 32;
	registers[SIZE] = RING_SIZE;
	registers[CONTROL] = 1;
	if (registers[STATUS] != RUNNING)
		errx(1, "engine: status %u after its start", registers[STATUS]);
	engine->tail = engine->unchecked = 0;
}

/* Puts a job into the ring that is to end with this value and status. */
static void add(struct engine *engine, struct descriptor job, uint32_t value, uint32_t status)
{
	struct descriptor *expected = &engine->expected[engine->tail];

	*expected = job;
	expected->value = value;
	expected->status = status;
	memcpy((void *)&engine->ring[engine->tail], &job, sizeof(job));
	engine->tail = (engine->tail + 1) % RING_SIZE;
	if (status == DONE)
		engine->jobs++;
	else
		engine->faults++;
}

/* The same numbers in every run: xorshift64. */
static uint32_t below(uint32_t limit)
{
	static uint64_t state = 1;

	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (uint32_t)(state >> 32) % limit;
}

/* Adds a job that is to succeed, and does it on the copies. Three in four are short, and few are aligned. */
static void add_random_job(struct engine *engine, struct window *windows, uint32_t count)
{
	uint32_t first = below(count), second = (first + 1 + below(count - 1)) % count;
	struct window *from = &windows[first], *to = &windows[second];
	size_t least = from->size < to->size ? from->size : to->size;
	uint32_t length = 1 + below(below(4) ? 64 : least), value = below(256);
	size_t source = below(from->size - length + 1), destination = below(to->size - length + 1);

	switch (below(3)) {
	case 0:
		memcpy(to->expected + destination, from->expected + source, length);
		add(engine, copy(from->iova + source, to->iova + destination, length), 0, DONE);
		break;
	case 1:
		memset(to->expected + destination, value, length);
		add(engine, fill(to->iova + destination, length, value), value, DONE);
		break;
	default:
		value = 0;
		for (uint32_t i = 0; i < length; i++)
			value += from->expected[source + i];
		add(engine, checksum(from->iova + source, length), value, DONE);
	}
}

static void ring(struct engine *engine)
{
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	engine->registers[TAIL] = engine->tail;
}

/* Lets the engine do all that was added, and compares what came of it: descriptors and windows. */
static void finish(struct engine *engine, struct window *windows, uint32_t count)
{
	uint32_t last = (engine->tail + RING_SIZE - 1) % RING_SIZE;

	engine->ring[last].flags = engine->expected[last].flags = INTERRUPT_WHEN_DONE;
	ring(engine);
	engine->wait(engine, &engine->ring[last]);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	for (; engine->unchecked != engine->tail; engine->unchecked = (engine->unchecked + 1) % RING_SIZE) {
		struct descriptor is, *expected = &engine->expected[engine->unchecked];

		memcpy(&is, (void *)&engine->ring[engine->unchecked], sizeof(is));
		if (memcmp(&is, expected, sizeof(is)))
			errx(1, "descriptor %u, opcode %u of %u bytes: status %u and value %#x, not %u and %#x",
			     engine->unchecked, is.opcode, is.length, is.status, is.value, expected->status,
			     expected->value);
	}
	for (uint32_t i = 0; i < count; i++)
		if (memcmp(windows[i].bytes, windows[i].expected, windows[i].size))
			errx(1, "window %u at %#lx: not what it should be", i, windows[i].iova);
}
