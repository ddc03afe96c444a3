// SPDX-License-Identifier: Apache-2.0
/*
 * hg-tls ends TLS for a server that listens on a Unix socket.  One process with one poll loop
 * holds the key and talks to the network; it has no files, no other sockets and no user, and asks
 * a second process for each connection to the server.
 */
#include "tls.h"

#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <unistd.h>

#include <mbedtls/platform.h>

static const char usage[] =
	"usage: hg-tls --listen [ADDR:]PORT --connect SOCKET --certificate FILE --key FILE\n"
	"Ends TLS 1.2 and passes each connection on to a Unix stream socket.\n\n"
	"  --listen [ADDR:]PORT  an IPv4 address or an IPv6 one in brackets; default: every "
	"address.\n"
	"                        Port 0 takes any that is free\n"
	"  --connect SOCKET      the server's socket\n"
	"  --certificate FILE    PEM: the certificate, for an ECDSA key, and those that vouch for "
	"it\n"
	"  --key FILE            PEM: its key\n"
	"  --make NAME[,NAME…]   make both files if they are not there: self-signed, for ten "
	"years,\n"
	"                        for these host names and addresses\n"
	"  --handshake SECONDS   end a connection that is not ready after so long (1-3600; 10)\n"
	"  --idle SECONDS        … over which nothing went for so long (1-86400; 600)\n"
	"  --no-sandbox          stay able to do what the user may do: for debuggers\n"
	"  --help                this text\n\n"
	"When it listens it prints a line: listening on ADDR:PORT, certificate SHA-256 "
	"FINGERPRINT.\n"
	"At most 64 connections are open at once, more wait. Exit status: 2 for wrong options, "
	"else 1.\n";

void complain(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fputs("hg-tls: ", stderr);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
	va_end(args);
}

int random_bytes(void *unused, unsigned char *to, size_t n)
{
	ssize_t got;

	(void)unused;
	for (; n; to += got, n -= (size_t)got) {
		got = getrandom(to, n, 0);
		if (got < 0 && errno != EINTR)
			abort(); /* a key must not be made of anything else */
		if (got < 0)
			got = 0;
	}
	return 0;
}

/* What absent.ld puts in the place of mbedTLS' parts that are left out. */
int absent(void)
{
	return MBEDTLS_ERR_PLATFORM_FEATURE_UNSUPPORTED;
}

static bool number(const char *text, unsigned long min, unsigned long max, unsigned int *to)
{
	unsigned long value;
	char *end;

	if (text[0] < '0' || text[0] > '9')
		return false;
	errno = 0;
	value = strtoul(text, &end, 10);
	*to = (unsigned int)value;
	return !errno && !*end && value >= min && value <= max;
}

static bool take_listen(struct options *opt, char *text)
{
	char *colon = strrchr(text, ':');
	unsigned char address[16];
	unsigned int port;
	size_t len;

	opt->port = colon ? colon + 1 : text;
	if (!number(opt->port, 0, 65535, &port))
		return false;
	if (!colon)
		return true;
	*colon = '\0';
	len = strlen(text);
	opt->address = text;
	if (text[0] != '[')
		return inet_pton(AF_INET, text, address) == 1;
	if (text[len - 1] != ']')
		return false;
	text[len - 1] = '\0';
	opt->address = text + 1;
	return inet_pton(AF_INET6, opt->address, address) == 1;
}

/* No character that means something in a distinguished name (RFC 4514). */
static bool take_names(struct options *opt, char *text)
{
	static const char allowed[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._:*";
	char *name;

	while ((name = strsep(&text, ","))) {
		if (!*name || strlen(name) > NAME_MAX_LEN || name[strspn(name, allowed)])
			return false;
		if (opt->nnames == MAX_NAMES)
			return false;
		opt->names[opt->nnames++] = name;
	}
	return true;
}

enum { LISTEN = 1, CONNECT, CERTIFICATE, KEY, MAKE, HANDSHAKE, IDLE, NO_SANDBOX, HELP };

static const struct option table[] = {
	{"listen", required_argument, NULL, LISTEN},
	{"connect", required_argument, NULL, CONNECT},
	{"certificate", required_argument, NULL, CERTIFICATE},
	{"key", required_argument, NULL, KEY},
	{"make", required_argument, NULL, MAKE},
	{"handshake", required_argument, NULL, HANDSHAKE},
	{"idle", required_argument, NULL, IDLE},
	{"no-sandbox", no_argument, NULL, NO_SANDBOX},
	{"help", no_argument, NULL, HELP},
	{0},
};

static bool take(struct options *opt, int what, char *value)
{
	switch (what) {
	case LISTEN:
		return take_listen(opt, value);
	case CONNECT:
		opt->socket = value;
		return true;
	case CERTIFICATE:
		opt->certificate = value;
		return true;
	case KEY:
		opt->key = value;
		return true;
	case MAKE:
		return take_names(opt, value);
	case HANDSHAKE:
		return number(value, 1, 3600, &opt->handshake_s);
	case IDLE:
		return number(value, 1, 86400, &opt->idle_s);
	default:
		opt->sandbox = false;
		return true;
	}
}

static void wrong(const char *what, const char *value)
{
	complain("%s%s: see hg-tls --help", what, value);
	exit(2);
}

static void parse(struct options *opt, int argc, char **argv)
{
	static char words[32];
	int what, index = 0;

	opterr = 0;
	while ((what = getopt_long(argc, argv, "", table, &index)) != -1) {
		if (what == '?')
			wrong("wrong option, or one without its value: ", argv[optind - 1]);
		if (what == HELP) {
			fputs(usage, stdout);
			exit(0);
		}
		snprintf(words, sizeof(words), "wrong value of --%s: ", table[index].name);
		if (!take(opt, what, optarg))
			wrong(words, optarg);
	}
	if (optind < argc)
		wrong("not an option: ", argv[optind]);
	if (!opt->port || !opt->socket || !opt->certificate || !opt->key)
		wrong("needed: --listen, --connect, --certificate and ", "--key");
}

/* Not by printf(), which looks what stdout is: the sandbox has no fstat(). */
static int say(const char *name, const char *fingerprint)
{
	char line[256];
	int len = snprintf(line, sizeof(line), "listening on %s, certificate SHA-256 %s\n", name,
			   fingerprint);

	return write(STDOUT_FILENO, line, (size_t)len) == len ? 0 : -1;
}

int main(int argc, char **argv)
{
	/* Both ends of each connection, and a few of ours. */
	const struct rlimit files = {2 * MAX_CONNECTIONS + 16, 2 * MAX_CONNECTIONS + 16};
	const struct rlimit no_core = {0, 0}; /* the key does not belong on a disk */
	struct options opt = {.handshake_s = 10, .idle_s = 600, .sandbox = true};
	static struct identity id;
	int connector, listener;
	char name[80];

	parse(&opt, argc, argv);
	setrlimit(RLIMIT_NOFILE, &files);
	setrlimit(RLIMIT_CORE, &no_core);
	signal(SIGPIPE, SIG_IGN);
	connector = connector_start(opt.socket, opt.sandbox); /* before there is a key to inherit */
	if (connector < 0)
		return 1;
	if (opt.nnames && certificate_make(&opt))
		return 1;
	if (certificate_load(&id, &opt))
		return 1;
	listener = listen_on(&opt);
	if (listener < 0)
		return 1;
	listen_name(listener, name, sizeof(name));
	if (opt.sandbox && sandbox_relay())
		return 1;
	return say(name, id.fingerprint) || relay(listener, connector, &id, &opt) ? 1 : 0;
}
