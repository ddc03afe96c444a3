// SPDX-License-Identifier: Apache-2.0
/*
 * hg-tls: TLS on one side, a Unix stream socket on the other.  The parts, in the order in which
 * main() calls them.  Each that returns int returns -1 after it has said on stderr what is wrong.
 */
#ifndef HG_TLS_H
#define HG_TLS_H

#define _GNU_SOURCE /* accept4(), strsep(): this header is the first in each file */

#include <stdbool.h>
#include <stddef.h>

#include <mbedtls/pk.h>
#include <mbedtls/x509_crt.h>

#define MAX_CONNECTIONS 64
#define MAX_NAMES	16 /* of --make */
#define NAME_MAX_LEN	64 /* bytes of one; ub-common-name: RFC 5280, appendix A.1 */

struct options {
	const char *address; /* NULL: every address */
	const char *port;    /* 0 to 65535; 0: any that is free */
	const char *socket;
	const char *certificate, *key;
	const char *names[MAX_NAMES]; /* the first is the certificate's common name */
	unsigned int nnames;	      /* 0: nothing is made */
	unsigned int handshake_s, idle_s;
	bool sandbox;
};

void complain(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* For mbedTLS: n random bytes of the kernel's (getrandom(2)); 0. */
int random_bytes(void *unused, unsigned char *to, size_t n);

int absent(void);

/* connector.c: a process of its own that opens connections to the socket, and can nothing else. */
int connector_start(const char *path, bool sandbox);

/* A new non-blocking connection, or -1 with errno; EPIPE: there is no connector any more. */
int connector_ask(int connector);

/* certificate.c */
struct identity {
	mbedtls_x509_crt certificate;
	mbedtls_pk_context key;
	char fingerprint[3 * 32]; /* SHA-256 of the certificate's DER, "AB:CD:…" */
};

/* Make what is missing of the two files, for opt->names. */
int certificate_make(const struct options *opt);
int certificate_load(struct identity *id, const struct options *opt);

/* listen.c: a non-blocking listening socket. */
int listen_on(const struct options *opt);

/* Its address, as "ADDRESS:PORT" or "[ADDRESS]:PORT". */
void listen_name(int fd, char *to, size_t size);

/* sandbox.c: nothing but what a table lists is possible afterwards. */
int sandbox_relay(void);
int sandbox_connector(void);

/* relay.c: serve for ever; returns only when that cannot go on. */
int relay(int listener, int connector, struct identity *id, const struct options *opt);

#endif
