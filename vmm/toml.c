// SPDX-License-Identifier: Apache-2.0
#include "toml.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct parser {
	char *at;
	unsigned int line;
	const char *table;
	struct {
		const char *table, *key;
	} seen[TOML_MAX_KEYS];
	unsigned int nseen;
	struct toml_value value;
};

static int bad(struct error *e, const char *what)
{
	return error_set(e, ERROR_USER, "%s", what);
}

static bool is_bare(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       c == '_' || c == '-';
}

static void skip_blanks(struct parser *p)
{
	while (*p->at == ' ' || *p->at == '\t')
		p->at++;
}

/* A comment and the line's end.  True: there was nothing else. */
static bool skip_end(struct parser *p)
{
	skip_blanks(p);
	if (*p->at == '#')
		p->at += strcspn(p->at, "\r\n");
	if (p->at[0] == '\r' && p->at[1] == '\n')
		p->at++;
	if (*p->at == '\n') {
		p->at++;
		p->line++;
		return true;
	}
	return !*p->at;
}

/* Lines with nothing in them. */
static void skip_lines(struct parser *p)
{
	while (*p->at && skip_end(p))
		;
}

static int put_utf8(char **to, uint32_t c, struct error *e)
{
	if (!c || c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
		return bad(e, "an escape that is no character of text");
	if (c < 0x80) {
		*(*to)++ = (char)c;
		return 0;
	}
	if (c >= 0x10000) {
		*(*to)++ = (char)(0xf0 | c >> 18);
		*(*to)++ = (char)(0x80 | (c >> 12 & 63));
	} else if (c >= 0x800) {
		*(*to)++ = (char)(0xe0 | c >> 12);
	}
	if (c >= 0x800)
		*(*to)++ = (char)(0x80 | (c >> 6 & 63));
	else
		*(*to)++ = (char)(0xc0 | c >> 6);
	*(*to)++ = (char)(0x80 | (c & 63));
	return 0;
}

/* What follows a backslash; its result is never longer than itself. */
static int unescape(struct parser *p, char **to, struct error *e)
{
	static const char names[] = "btnfr\"\\", values[] = "\b\t\n\f\r\"\\";
	const char *found = *p->at ? strchr(names, *p->at) : NULL;
	unsigned int digits = *p->at == 'u' ? 4 : *p->at == 'U' ? 8 : 0, i;
	uint32_t c = 0;

	if (found) {
		p->at++;
		*(*to)++ = values[found - names];
		return 0;
	}
	if (!digits)
		return bad(e, "an unknown escape in a string");
	p->at++;
	for (i = 0; i < digits; i++, p->at++) {
		if (!*p->at || !strchr("0123456789abcdefABCDEF", *p->at))
			return bad(e, "an escape with too few hexadecimal digits");
		c = c << 4 | (uint32_t)(*p->at <= '9' ? *p->at - '0' : (*p->at & 15) + 9);
	}
	return put_utf8(to, c, e);
}

/* In "" or ''; unescaped in place. */
static int take_string(struct parser *p, char **text, struct error *e)
{
	char quote = *p->at++, *to = p->at;

	*text = to;
	if (p->at[0] == quote && p->at[1] == quote)
		return bad(e, "strings of several lines are not supported");
	while (*p->at != quote) {
		if ((unsigned char)*p->at < ' ' && *p->at != '\t')
			return bad(e, "a string without its end");
		if (*p->at == '\\' && quote == '"') {
			p->at++;
			if (unescape(p, &to, e))
				return -1;
		} else {
			*to++ = *p->at++;
		}
	}
	p->at++;
	*to = '\0';
	return 0;
}

static int take_number(struct parser *p, int64_t *number, struct error *e)
{
	bool negative = *p->at == '-', zero;
	int64_t n = 0;
	char last = '_';

	if (*p->at == '-' || *p->at == '+')
		p->at++;
	zero = *p->at == '0';
	for (; (*p->at >= '0' && *p->at <= '9') || (*p->at == '_' && last != '_'); p->at++) {
		last = *p->at;
		if (last == '_')
			continue;
		if (__builtin_mul_overflow(n, 10, &n) ||
		    __builtin_sub_overflow(n, last - '0', &n)) /* downwards: INT64_MIN fits */
			return bad(e, "a number that is too large");
	}
	if (last == '_' || is_bare(*p->at) || *p->at == '.' || *p->at == ':' || (zero && n))
		return bad(e, "neither a string, a decimal integer, true, false nor an array");
	if (!negative && n == INT64_MIN)
		return bad(e, "a number that is too large");
	*number = negative ? n : -n;
	return 0;
}

static bool take_word(struct parser *p, const char *word)
{
	size_t n = strlen(word);

	if (strncmp(p->at, word, n) || is_bare(p->at[n]))
		return false;
	p->at += n;
	return true;
}

static int take_item(struct parser *p, struct error *e)
{
	struct toml_item *item;

	if (p->value.count == TOML_MAX_ITEMS)
		return bad(e, "an array with more than 128 items");
	item = &p->value.items[p->value.count++];
	*item = (struct toml_item){.kind = TOML_BOOLEAN};
	if (take_word(p, "true")) {
		item->number = 1;
		return 0;
	}
	if (take_word(p, "false"))
		return 0;
	if (*p->at == '"' || *p->at == '\'') {
		item->kind = TOML_STRING;
		return take_string(p, &item->text, e);
	}
	if (*p->at == '{' || *p->at == '[')
		return bad(e, "inline tables and arrays in arrays are not supported");
	item->kind = TOML_INTEGER;
	return take_number(p, &item->number, e);
}

static int take_array(struct parser *p, struct error *e)
{
	p->at++;
	p->value.is_array = 1;
	for (;;) {
		skip_lines(p);
		if (*p->at == ']')
			break;
		if (!*p->at)
			return bad(e, "an array without its ]");
		if (take_item(p, e))
			return -1;
		skip_lines(p);
		if (*p->at == ',')
			p->at++;
		else if (*p->at && *p->at != ']')
			return bad(e, "an array needs a , between its items and a ] at its end");
	}
	p->at++;
	return 0;
}

/* A name, bare or quoted, and what has to follow it, which is passed over. */
static int take_name(struct parser *p, const char **name, char follows, struct error *e)
{
	char *end, *text;

	skip_blanks(p);
	if (*p->at == '"' || *p->at == '\'') {
		if (take_string(p, &text, e))
			return -1;
		end = NULL;
	} else {
		for (text = p->at; is_bare(*p->at); p->at++)
			;
		end = p->at;
		if (text == end)
			return bad(e, "expected [TABLE] or KEY = VALUE");
	}
	*name = text;
	skip_blanks(p);
	if (*p->at == '.')
		return bad(e, "dotted names are not supported");
	if (*p->at != follows)
		return error_set(e, ERROR_USER, "expected a %c after the name", follows);
	p->at++;
	if (end)
		*end = '\0';
	return 0;
}

static int note_key(struct parser *p, const char *key, struct error *e)
{
	unsigned int i;

	for (i = 0; i < p->nseen; i++)
		if (!strcmp(p->seen[i].key, key) && !strcmp(p->seen[i].table, p->table))
			return error_set(e, ERROR_USER, "'%.64s' is there twice", key);
	if (p->nseen == TOML_MAX_KEYS)
		return bad(e, "more than 64 keys");
	p->seen[p->nseen].table = p->table;
	p->seen[p->nseen++].key = key;
	return 0;
}

/* 1: p->value holds one; 0: it was a table's name; -1. */
static int take_line(struct parser *p, struct error *e)
{
	if (*p->at == '[') {
		if (*++p->at == '[')
			return bad(e, "arrays of tables are not supported");
		if (take_name(p, &p->table, ']', e))
			return -1;
		return skip_end(p) ? 0 : bad(e, "something behind a table's ]");
	}
	p->value.table = p->table;
	p->value.line = p->line;
	p->value.count = 0;
	p->value.is_array = 0;
	if (take_name(p, &p->value.key, '=', e) || note_key(p, p->value.key, e))
		return -1;
	skip_blanks(p);
	if (*p->at == '[' ? take_array(p, e) : take_item(p, e))
		return -1;
	return skip_end(p) ? 1 : bad(e, "something behind the value");
}

int toml_parse(const char *name, char *text, toml_fn fn, void *arg, struct error *e)
{
	struct parser *p = calloc(1, sizeof(*p));
	struct error inner;
	unsigned int line;
	int r = 0;

	if (!p)
		return error_set(e, ERROR_MACHINE, "out of memory");
	p->at = text;
	p->line = 1;
	p->table = "";
	do {
		skip_lines(p);
		skip_blanks(p);
		r = *p->at ? take_line(p, &inner) : 0;
		line = p->line;
		if (r == 1 && fn(arg, &p->value, &inner)) {
			r = -1;
			line = p->value.line;
		}
	} while (r >= 0 && *p->at);
	free(p);
	return r < 0 ? error_set(e, inner.code, "%.150s: line %u: %.300s", name, line, inner.text)
		     : 0;
}
