/* sw, sr and tree: what the kernel's transcript was recorded with. Called by the name of a link, or as the first argument. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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
	int with_power = !strcmp(argv[2], "-p");
	tree(argv[with_power ? 3 : 2], "", with_power);
	return 0;
}
