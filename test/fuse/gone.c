/*
 * gone CREATE DIRECTORY ROUNDS: creates and removes entries while four threads list the directory as `ls -l` does, and prints how
 * often one was found after its removal. Without rounds it only lists, until that fails.
 */
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define READERS 4

static const char *directory;
static volatile int over;

static void *list(void *unused)
{
	while (!over) {
		DIR *stream = opendir(directory);
		if (stream == NULL)
			exit(1);
		for (struct dirent *entry; (entry = readdir(stream)) != NULL;) {
			struct stat found;
			fstatat(dirfd(stream), entry->d_name, &found, AT_SYMLINK_NOFOLLOW);
		}
		closedir(stream);
	}
	return unused;
}

static int put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);
	if (fd < 0)
		return -1;
	ssize_t count = write(fd, text, strlen(text));
	close(fd);
	return count < 0 ? -1 : 0;
}

int main(int argc, char **argv)
{
	if (argc != 4)
		return 2;
	directory = argv[2];
	int rounds = atoi(argv[3]);
	pthread_t readers[READERS];
	for (int i = 0; i < READERS; i++)
		if (pthread_create(&readers[i], NULL, list, NULL) != 0)
			return 3;
	int stale = 0;
	for (int i = 0; i < rounds; i++) {
		char name[32], path[4096], removal[5000];
		snprintf(name, sizeof name, "goes-%d", i % 7);
		snprintf(path, sizeof path, "%s/%s", directory, name);
		snprintf(removal, sizeof removal, "%s/remove", path);
		struct stat found;
		if (put(argv[1], name) < 0 || stat(path, &found) < 0 || put(removal, "1") < 0)
			return 1;
		stale += stat(path, &found) == 0;
	}
	over = rounds > 0;
	for (int i = 0; i < READERS; i++)
		pthread_join(readers[i], NULL);
	printf("%d stale\n", stale);
	return 0;
}
