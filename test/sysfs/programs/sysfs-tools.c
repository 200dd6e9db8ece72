/*
 * sw, sr and tree: what the kernel's transcript was recorded with. mm maps a file, many reads files by many threads at once.
 * Called by the name of a link, or as the first argument.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* Length of DATA after its escapes (\n \0 \xHH) are replaced in place. */
static size_t unescape(char *text)
{
	char *out = text;
	for (char *in = text; *in; in++) {
		if (*in != '\\') { *out++ = *in; continue; }
		in++;
		if (*in == 'n') *out++ = '\n';
		else if (*in == '0') *out++ = '\0';
		else if (*in == 'x') {
			char hex[3] = { in[1], in[2], 0 };
			*out++ = (char)strtol(hex, NULL, 16);
			in += 2;
		}
	}
	return out - text;
}

static void escaped(const char *bytes, ssize_t length)
{
	putchar('"');
	for (ssize_t i = 0; i < length; i++) {
		if (bytes[i] == '\n') printf("\\n");
		else if (bytes[i] == '\0') printf("\\0");
		else putchar(bytes[i]);
	}
	putchar('"');
}

static int sw(int argc, char **argv)
{
	int status = 0;
	int fd = open(argv[1], O_WRONLY);
	if (fd < 0) { status = errno; printf("open = -%s\n", strerrorname_np(status)); return status; }
	for (int i = 2; i < argc; i++) {
		size_t length = unescape(argv[i]);
		ssize_t written = write(fd, argv[i], length);
		if (written < 0) { status = errno; printf("write(%zu) = -%s\n", length, strerrorname_np(status)); }
		else printf("write(%zu) = %zd\n", length, written);
	}
	close(fd);
	return status;
}

static int sr(int argc, char **argv)
{
	int status = 0;
	for (int i = 1; i < argc; i++) {
		char bytes[4096];
		if (argc > 2) printf("%s: ", argv[i]);
		int fd = open(argv[i], O_RDONLY);
		if (fd < 0) { status = errno; printf("open = -%s\n", strerrorname_np(status)); continue; }
		ssize_t got = read(fd, bytes, sizeof bytes);
		if (got < 0) { status = errno; printf("read = -%s\n", strerrorname_np(status)); }
		else { printf("read = %zd ", got); escaped(bytes, got); putchar('\n'); }
		close(fd);
	}
	return status;
}

static void mapped(const char *name, int fd, int protection, int flags)
{
	char *page = mmap(NULL, 4096, protection, flags, fd, 0);
	if (page == MAP_FAILED) { printf("%s = -%s\n", name, strerrorname_np(errno)); return; }
	printf("%s = ", name);
	escaped(page, strnlen(page, 4096));
	putchar('\n');
	munmap(page, 4096);
}

static int mm(char **argv)
{
	int fd = open(argv[1], O_RDONLY);
	if (fd < 0) { printf("open = -%s\n", strerrorname_np(errno)); return errno; }
	mapped("MAP_SHARED", fd, PROT_READ, MAP_SHARED);
	mapped("MAP_PRIVATE", fd, PROT_READ, MAP_PRIVATE);
	close(fd);
	return 0;
}

static char **many_paths;
static int many_rounds;
static pthread_barrier_t many_start;
static atomic_int many_whole, many_gone, many_bad;

/* A file that is there says one line, and one that is not there any more says so. */
static void *many_reader(void *unused)
{
	pthread_barrier_wait(&many_start);
	for (int round = 0; round < many_rounds; round++) {
		for (char **path = many_paths; *path; path++) {
			char bytes[4096];
			int fd = open(*path, O_RDONLY);
			ssize_t got = fd < 0 ? -1 : read(fd, bytes, sizeof bytes);
			if (got > 1 && bytes[got - 1] == '\n') many_whole++;
			else if (got < 0 && (errno == ENOENT || errno == ENODEV)) many_gone++;
			else { many_bad++; fprintf(stderr, "%s: %zd %m\n", *path, got); }
			if (fd >= 0) close(fd);
		}
	}
	return unused;
}

/* many READERS ROUNDS FILE... */
static int many(int argc, char **argv)
{
	int readers = argc > 3 ? atoi(argv[1]) : 0;
	many_rounds = argc > 3 ? atoi(argv[2]) : 0;
	many_paths = argv + 3;
	pthread_t *threads = calloc(readers, sizeof *threads);
	pthread_attr_t small;
	pthread_attr_init(&small);
	pthread_attr_setstacksize(&small, 64 << 10);
	if (!threads || pthread_barrier_init(&many_start, NULL, readers)) return 1;
	for (int i = 0; i < readers; i++)
		if (pthread_create(&threads[i], &small, many_reader, NULL)) { perror("thread"); exit(1); }
	for (int i = 0; i < readers; i++) pthread_join(threads[i], NULL);
	printf("%d %d %d\n", many_whole, many_gone, many_bad);
	return many_bad > 0;
}

static void mode_of(mode_t mode, char *text)
{
	const char *letters = "rwxrwxrwx";
	text[0] = S_ISDIR(mode) ? 'd' : S_ISLNK(mode) ? 'l' : '-';
	for (int i = 0; i < 9; i++) text[1 + i] = mode & (0400 >> i) ? letters[i] : '-';
	text[10] = 0;
}

static void tree(const char *top, const char *prefix, int with_power)
{
	char path[4096];
	snprintf(path, sizeof path, "%s/%s", top, prefix);
	struct dirent **entries;
	int count = scandir(path, &entries, NULL, alphasort);
	for (int i = 0; i < count; i++) {
		const char *name = entries[i]->d_name;
		if (!strcmp(name, ".") || !strcmp(name, "..")) continue;
		char shown[2048], at[4096], mode[11];
		struct stat about;
		snprintf(shown, sizeof shown, "%s%s", prefix, name);
		snprintf(at, sizeof at, "%s/%s", top, shown);
		if (lstat(at, &about) < 0) { printf("%s: %s\n", shown, strerrorname_np(errno)); continue; }
		mode_of(about.st_mode, mode);
		if (S_ISLNK(about.st_mode)) {
			char target[4096];
			ssize_t length = readlink(at, target, sizeof target);
			printf("%s %s -> %.*s\n", mode, shown, (int)length, target);
		} else if (S_ISDIR(about.st_mode)) {
			int omitted = !with_power && !strcmp(name, "power");
			printf("%s %s/%s\n", mode, shown, omitted ? " (contents omitted)" : "");
			strcat(shown, "/");
			if (!omitted) tree(top, shown, with_power);
		} else if (!(about.st_mode & 0444)) {
			printf("%s %s  (write-only, size %lld)\n", mode, shown, (long long)about.st_size);
		} else {
			char bytes[4096];
			int fd = open(at, O_RDONLY);
			ssize_t got = fd < 0 ? -1 : read(fd, bytes, sizeof bytes);
			if (got < 0) printf("%s %s  read=%s\n", mode, shown, strerrorname_np(errno));
			else { printf("%s %s  = ", mode, shown); escaped(bytes, got); putchar('\n'); }
			if (fd >= 0) close(fd);
		}
	}
}

int main(int argc, char **argv)
{
	setenv("LC_ALL", "C", 1);
	if (!strcmp(argv[1], "sw")) return sw(argc - 1, argv + 1);
	if (!strcmp(argv[1], "sr")) return sr(argc - 1, argv + 1);
	if (!strcmp(argv[1], "mm")) return mm(argv + 1);
	if (!strcmp(argv[1], "many")) return many(argc - 1, argv + 1);
	int with_power = !strcmp(argv[2], "-p");
	tree(argv[with_power ? 3 : 2], "", with_power);
	return 0;
}
