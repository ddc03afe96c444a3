/* SPDX-License-Identifier: Apache-2.0 */
/* The pages of the demo: a request of HTTP/1 (RFC 9112) in, a whole response out. */
#ifndef GUEST_HTTP_H
#define GUEST_HTTP_H

#include <stddef.h>
#include <stdint.h>

#define HTTP_RESPONSE_MAX 2048

struct http_facts {
	uint64_t uptime_ms, served; /* pages so far, this one included */
	const char *kind;	    /* of unikernel */
};

/*
 * Answers `len` bytes of a request with up to HTTP_RESPONSE_MAX bytes: how many; 0: there is
 * more to come.  `full`: there is not.  *page becomes 1 when a page was given, not an error.
 */
size_t http_answer(const struct http_facts *facts, const char *request, size_t len, int full,
		   char *response, int *page);

#endif
