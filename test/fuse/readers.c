/*
 * readers DIRECTORY THREADS ROUNDS: each thread opens entry-N/name of the directory again and again, for N from 0 to 49, reads it
 * and closes it. Prints how often it was whole and how often gone; anything else is an error.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ENTRIES 50

static const char *directory;
static int rounds;
static long whole, gone, wrong;

static void look(int entry)
{
	char path[4096], expected[64], text[64];
	snprintf(path, sizeof path, "%s/entry-%d/name", directory, entry);
	snprintf(expected, sizeof expected, "entry-%d\n", entry);
	int fd = open(path, O_RDONLY);
	ssize_t length = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
	int error = errno;
	if (fd >= 0)
		close(fd);
	if (length < 0 && (error == ENOENT || error == ENODEV)) {
		__atomic_fetch_add(&gone, 1, __ATOMIC_RELAXED);
		return;
	}
	text[length < 0 ? 0 : length] = 0;
	if (length >= 0 && strcmp(text, expected) == 0) {
		__atomic_fetch_add(&whole, 1, __ATOMIC_RELAXED);
		return;
	}
	__atomic_fetch_add(&wrong, 1, __ATOMIC_RELAXED);
	fprintf(stderr, "%s: %s: %s\n", path, text, length < 0 ? strerror(error) : "");
}

static void *reader(void *argument)
{
	for (int i = 0; i < rounds; i++)
		look(((int)(long)argument + i) % ENTRIES);
	return NULL;
}

int main(int argc, char **argv)
{
	if (argc != 4)
		return 2;
	directory = argv[1];
	int threads = atoi(argv[2]);
	rounds = atoi(argv[3]);
	pthread_t *ids = calloc(threads, sizeof *ids);
	pthread_attr_t attributes;
	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, 64 * 1024);
	for (int i = 0; i < threads; i++)
		if (pthread_create(&ids[i], &attributes, reader, (void *)(long)i) != 0)
			return 3;
	for (int i = 0; i < threads; i++)
		pthread_join(ids[i], NULL);
	printf("{\"whole\": %ld, \"gone\": %ld}\n", whole, gone);
	return wrong != 0;
}
