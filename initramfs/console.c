// SPDX-License-Identifier: Apache-2.0
/*
 * Terminals and the kernel's log.
 *
 * The kernel prints to whichever virtual console is in front and to every console= line, over
 * whatever a program draws there. So init lowers the console log level and copies the log to tty1
 * itself, from /dev/kmsg (format: Documentation/ABI/testing/dev-kmsg of Linux).
 */
#include "init.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

enum {
	RECORD_MAX = 8192,  /* /dev/kmsg returns a record whole or fails with EINVAL */
	LEVEL_WARNING = 4,  /* KERN_WARNING */
	LEVEL_INFO = 6,	    /* KERN_INFO; KERN_DEBUG is never copied */
	FACILITY_SHIFT = 3, /* priority = facility << 3 | level; the kernel's own facility is 0 */
};

static int log_fd = -1;
static bool log_quiet;

static void sane_termios(int fd)
{
	struct termios t;

	if (tcgetattr(fd, &t) < 0)
		return;
	t.c_iflag = ICRNL | IXON | IUTF8;
	t.c_oflag = OPOST | ONLCR;
	/* The frame stays as console= set it; CLOCAL: a cable without modem lines is normal. */
	t.c_cflag &= CSIZE | CSTOPB | PARENB | PARODD | CBAUD | CBAUDEX | CRTSCTS;
	t.c_cflag |= CREAD | CLOCAL | HUPCL;
	if ((t.c_cflag & CSIZE) != CS7)
		t.c_cflag = (t.c_cflag & ~(tcflag_t)CSIZE) | CS8;
	t.c_lflag = ISIG | ICANON | ECHO | ECHOE | ECHOK | ECHOCTL | ECHOKE | IEXTEN;
	t.c_cc[VINTR] = 'C' & 037;
	t.c_cc[VQUIT] = '\\' & 037;
	t.c_cc[VERASE] = 0177;
	t.c_cc[VKILL] = 'U' & 037;
	t.c_cc[VEOF] = 'D' & 037;
	t.c_cc[VSTART] = 'Q' & 037;
	t.c_cc[VSTOP] = 'S' & 037;
	t.c_cc[VSUSP] = 'Z' & 037;
	t.c_cc[VWERASE] = 'W' & 037;
	t.c_cc[VLNEXT] = 'V' & 037;
	t.c_cc[VREPRINT] = 'R' & 037;
	t.c_cc[VMIN] = 1;
	t.c_cc[VTIME] = 0;
	tcsetattr(fd, TCSANOW, &t);
}

int take_terminal(const char *path)
{
	int fd, flags;

	setsid();
	/* O_NONBLOCK: a serial line without a carrier would block the open until there is one. */
	fd = open(path, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	sane_termios(fd);
	flags = fcntl(fd, F_GETFL);
	/* Force: a previous session's remains must not keep Ctrl+C from working. */
	if (flags < 0 || fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) < 0 ||
	    ioctl(fd, TIOCSCTTY, 1) < 0) {
		int error = errno;

		close(fd);
		return -error;
	}
	tcflush(fd, TCIFLUSH);
	for (int i = 0; i <= 2; i++)
		dup2(fd, i);
	if (fd > 2)
		close(fd);
	return 0;
}

void open_kernel_log(bool seen, bool quiet)
{
	log_quiet = quiet;
	log_fd = open("/dev/kmsg", O_RDONLY | O_CLOEXEC);
	if (log_fd >= 0 && seen)
		lseek(log_fd, 0, SEEK_END);
}

/* Print one record "priority,sequence,microseconds,flags[,…];text\n KEY=value…" on `out`. */
static void print_record(FILE *out, char *record)
{
	char *text = strchr(record, ';'), *end;
	unsigned long priority;
	unsigned long long stamp;
	unsigned int level;

	if (!text || sscanf(record, "%lu,%*u,%llu", &priority, &stamp) != 2)
		return;
	*text++ = '\0';
	end = strchr(text, '\n');
	if (end)
		*end = '\0';
	level = priority & ((1 << FACILITY_SHIFT) - 1);
	/* What user space logs (facility > 0: rc's words to the user) passes `quiet`. */
	if (level > LEVEL_INFO ||
	    (log_quiet && level > LEVEL_WARNING && !(priority >> FACILITY_SHIFT)))
		return;
	if (priority >> FACILITY_SHIFT)
		fprintf(out, "%s\n", text);
	else
		fprintf(out, "[%5llu.%06llu] %s\n", stamp / 1000000, stamp % 1000000, text);
	fflush(out);
}

void follow_kernel_log(void)
{
	static char record[RECORD_MAX];
	FILE *out = fopen("/dev/tty1", "we");
	struct termios t;

	if (!out || log_fd < 0)
		_exit(1);
	if (tcgetattr(fileno(out), &t) == 0) {
		t.c_lflag &= ~(tcflag_t)(ECHO | ISIG); /* nobody reads what is typed there */
		tcsetattr(fileno(out), TCSANOW, &t);
	}
	for (;;) {
		ssize_t n = read(log_fd, record, sizeof(record) - 1);

		if (n > 0) {
			record[n] = '\0';
			print_record(out, record);
		} else if (n == 0 || (errno != EPIPE && errno != EINTR && errno != EINVAL)) {
			_exit(1); /* EPIPE: records were overwritten before we read them */
		}
	}
}
