/*
 * poll FILE COMMAND...: opens FILE, does each COMMAND and prints what came of it. `read`: reads it from the start; `look`: polls
 * without waiting; `wait`: polls until something is to be told. All as man 5 sysfs and Documentation/filesystems/sysfs.rst have it.
 */
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	setlinebuf(stdout);
	int fd = open(argv[1], O_RDONLY);
	if (fd < 0)
		return 2;
	for (int i = 2; i < argc; i++) {
		struct pollfd pollfd = {.fd = fd, .events = POLLPRI | POLLERR};
		char text[4096];
		if (strcmp(argv[i], "read") == 0) {
			ssize_t length = pread(fd, text, sizeof text, 0);
			printf("%.*s", length < 0 ? 0 : (int)length, text);
			if (length < 0)
				printf("%m\n");
		} else {
			poll(&pollfd, 1, strcmp(argv[i], "wait") == 0 ? -1 : 0);
			printf("%#x\n", pollfd.revents);
		}
	}
	return 0;
}
