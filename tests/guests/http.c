// SPDX-License-Identifier: Apache-2.0
#include "http.h"

/* Text with an end; what does not fit is left out. */
struct text {
	char *at;
	size_t len, room;
};

static void put(struct text *t, const char *s)
{
	while (*s && t->len < t->room)
		t->at[t->len++] = *s++;
}

static void put_number(struct text *t, uint64_t n, unsigned int digits)
{
	char text[21];
	unsigned int i = sizeof(text) - 1;

	text[i] = '\0';
	do {
		text[--i] = (char)('0' + n % 10);
		n /= 10;
		digits -= digits > 0;
	} while (n || digits);
	put(t, text + i);
}

static void put_seconds(struct text *t, uint64_t ms)
{
	put_number(t, ms / 1000, 1);
	put(t, ".");
	put_number(t, ms % 1000, 3);
	put(t, " s");
}

/* Whether the request, [at, end), goes on with `word`; then *at is behind it. */
static int skip(const char **at, const char *end, const char *word)
{
	const char *p = *at;

	for (; *word; word++, p++)
		if (p == end || *p != *word)
			return 0;
	*at = p;
	return 1;
}

static int is_complete(const char *at, const char *end)
{
	for (; end - at >= 4; at++)
		if (at[0] == '\r' && at[1] == '\n' && at[2] == '\r' && at[3] == '\n')
			return 1;
	return 0;
}

static size_t respond(char *response, const char *status, const char *type, const char *body,
		      size_t len, int with_body)
{
	struct text t = {.at = response, .room = HTTP_RESPONSE_MAX};
	size_t i;

	put(&t, "HTTP/1.1 ");
	put(&t, status);
	put(&t, "\r\nServer: hyper-gen\r\nConnection: close\r\nCache-Control: no-store\r\n"
		"Content-Type: ");
	put(&t, type);
	put(&t, "\r\nContent-Length: ");
	put_number(&t, len, 1);
	put(&t, "\r\n\r\n");
	for (i = 0; with_body && i < len && t.len < t.room; i++)
		t.at[t.len++] = body[i];
	return t.len;
}

static size_t fail(char *response, const char *status)
{
	const char *end = status;

	while (*end)
		end++;
	return respond(response, status, "text/plain", status, (size_t)(end - status), 1);
}

static void write_page(struct text *t, const struct http_facts *facts)
{
	put(t, "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
	       "<title>Hello from a unikernel</title>\n<style>body{font-family:sans-serif;"
	       "max-width:34em;margin:4em auto;padding:0 1em}b{font-size:1.4em}</style></head>\n"
	       "<body><h1>Hello from a unikernel</h1>\n<p>This page was made by a program that is "
	       "its own operating system, a ");
	put(t, facts->kind);
	put(t, ", in a VM of <i>hg-vmm</i>: no Linux is in there, and nothing else.</p>\n"
	       "<p>It has been up for <b>");
	put_seconds(t, facts->uptime_ms);
	put(t, "</b> and has served <b>");
	put_number(t, facts->served, 1);
	put(t, "</b> pages.</p>\n</body></html>\n");
}

size_t http_answer(const struct http_facts *facts, const char *request, size_t len, int full,
		   char *response, int *page)
{
	const char *at = request, *end = request + len, *path;
	char body[HTTP_RESPONSE_MAX - 256];
	struct text t = {.at = body, .room = sizeof(body)};
	int head;

	*page = 0;
	if (!is_complete(request, end))
		return full ? fail(response, "400 Bad Request") : 0;
	head = skip(&at, end, "HEAD ");
	if (!head && !skip(&at, end, "GET ")) {
		for (path = at; path < end && *path >= 'A' && *path <= 'Z'; path++)
			;
		if (path == at || path == end || *path != ' ')
			return fail(response, "400 Bad Request");
		return fail(response, "405 Method Not Allowed");
	}
	for (path = at; at < end && *at > ' ' && *at < 127; at++)
		;
	end = at;
	if (path == at || *path != '/' || !skip(&at, request + len, " HTTP/1."))
		return fail(response, "400 Bad Request");
	at = path;
	if (skip(&at, end, "/uptime") && (at == end || *at == '?')) {
		*page = 1;
		put_seconds(&t, facts->uptime_ms);
		put(&t, "\n");
		return respond(response, "200 OK", "text/plain", body, t.len, !head);
	}
	at = path + 1;
	if (at != end && *at != '?')
		return fail(response, "404 Not Found");
	*page = 1;
	write_page(&t, facts);
	return respond(response, "200 OK", "text/html; charset=utf-8", body, t.len, !head);
}
