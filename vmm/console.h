/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The console stream, joined from all of the machine's consoles: output goes to a ring of
 * the last 64 KiB, and from there to the log file and to every attached reader; input
 * comes from one writer.  Everything is called with the VM's lock held.
 *
 * With a socket: any number (CONSOLE_MAX_CLIENTS) of readers, each gets the backlog first.
 * The one that attached first is the writer; when it leaves, the next one is.  A reader that
 * falls more than the ring behind is dropped.  Without: the process's terminal, in raw mode.
 */
#ifndef HG_CONSOLE_H
#define HG_CONSOLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"
#include "loop.h"

#define CONSOLE_BACKLOG	    65536u /* bytes; a power of two */
#define CONSOLE_INPUT	    4096u
#define CONSOLE_MAX_CLIENTS 16

struct console;

struct console_hooks {
	void (*input)(void *arg); /* console_pending() has become true */
	void (*quit)(void *arg);  /* CTRL+] x was typed at the terminal */
	void (*size)(void *arg, uint16_t cols, uint16_t rows);
	void (*flushed)(void *arg); /* the output collected so far was written out */
	void *arg;
};

/* socket NULL: the terminal.  log NULL: no log file.  NULL and *e on failure. */
struct console *console_create(struct loop *loop, const char *socket, const char *log,
			       struct error *e);
void console_set_hooks(struct console *con, const struct console_hooks *hooks);

/* Writes out what is left, gives the terminal back, closes. */
void console_destroy(struct console *con);

void console_output(struct console *con, const void *data, size_t len);
size_t console_pending(const struct console *con);		/* bytes of input waiting */
size_t console_take(struct console *con, void *to, size_t len); /* moves input; returns bytes */

/*
 * The reader that attached last becomes the writer; or never is: what it types is discarded.
 * False when there is none, or it only looks already.
 */
bool console_steal(struct console *con);
bool console_view(struct console *con);

/* The terminal's size may have changed (SIGWINCH), or is wanted for the first time. */
void console_check_size(struct console *con);

/* A listening Unix stream socket at path, mode 0600; -1 and *e on failure.  Also for QMP. */
int listen_unix(const char *path, struct error *e);

#endif
