// SPDX-License-Identifier: Apache-2.0
/* Unit tests of the TOML reader: what it reads, and that every error names its line. */
#include "units.h"

#include "toml.h"

static char said[4096];

static int note(void *arg, const struct toml_value *v, struct error *e)
{
	size_t n = strlen(said);
	unsigned int i;

	(void)arg;
	if (!strcmp(v->key, "refused"))
		return error_set(e, ERROR_USER, "not this one");
	n += snprintf(said + n, sizeof(said) - n, "%u:%s.%s=%s", v->line, v->table, v->key,
		      v->is_array ? "[" : "");
	for (i = 0; i < v->count; i++) {
		if (v->items[i].kind == TOML_STRING)
			n += snprintf(said + n, sizeof(said) - n, "<%s>", v->items[i].text);
		else
			n += snprintf(said + n, sizeof(said) - n, "%s%lld",
				      v->items[i].kind == TOML_BOOLEAN ? "b" : "",
				      (long long)v->items[i].number);
	}
	snprintf(said + n, sizeof(said) - n, "\n");
	return 0;
}

static int parse(const char *text)
{
	char *copy = strdup(text);
	int r;

	said[0] = '\0';
	CHECK(copy);
	r = toml_parse("f", copy, note, NULL, &err);
	free(copy);
	return r;
}

static void values_of_every_kind(void)
{
	CHECK(parse("# first\n"
		    "version = \"1\"\r\n"
		    "  [a-b]   # a table\n"
		    "'quoted key'='C:\\x'\n"
		    "s = \"\\t\\\"\\\\\\u00e9\\U0001F600\" # end\n"
		    "n=-1_000\n"
		    "min = -9223372036854775808\n"
		    "yes=true\n"
		    "no = false\n"
		    "[ \"c\" ]\n"
		    "list = [ 'one', # first\n\n  \"two\",\n]\n"
		    "none=[]") == 0);
	CHECK(!strcmp(said, "2:.version=<1>\n"
			    "4:a-b.quoted key=<C:\\x>\n"
			    "5:a-b.s=<\t\"\\\303\251\360\237\230\200>\n"
			    "6:a-b.n=-1000\n"
			    "7:a-b.min=-9223372036854775808\n"
			    "8:a-b.yes=b1\n"
			    "9:a-b.no=b0\n"
			    "11:c.list=[<one><two>\n"
			    "15:c.none=[\n"));
	CHECK(parse("") == 0 && parse("\n\n# nothing") == 0 && !said[0]);
}

static void what_is_wrong_is_said_with_its_line(void)
{
	static const struct {
		const char *text, *says;
	} cases[] = {
		{"a", "line 1: expected a = after"},
		{"\na = ", "line 2: neither"},
		{"a = 1\na = 2", "line 2: 'a' is there twice"},
		{"[t]\na = 1\n[u]\na = 1\n[t]\na = 1", "line 6: 'a' is there twice"},
		{"a = 1 b = 2", "line 1: something behind the value"},
		{"a = 01", "neither a string"},
		{"a = 1.5", "neither a string"},
		{"a = 1__0", "neither a string"},
		{"a = 2026-01-01", "neither a string"},
		{"a = 9223372036854775808", "too large"},
		{"a = truely", "neither a string"},
		{"a = 'x\n'", "a string without its end"},
		{"a = \"x", "a string without its end"},
		{"a = \"\\q\"", "an unknown escape"},
		{"a = \"\\u12\"", "too few"},
		{"a = \"\\u0000\"", "no character"},
		{"a = \"\\ud800\"", "no character"},
		{"a = \"\"\"x\"\"\"", "several lines"},
		{"a.b = 1", "dotted"},
		{"a = {b = 1}", "inline tables"},
		{"a = [[1]]", "arrays in arrays"},
		{"[[a]]", "arrays of tables"},
		{"[a", "expected a ]"},
		{"[a] b", "something behind a table"},
		{"a = [1,\n2", "line 2: an array without"},
		{"a = [1 2]", "an array needs"},
		{"[]", "expected [TABLE]"},
		{"= 1", "expected [TABLE]"},
		{"x = 1\nrefused = 1\ny = 1", "f: line 2: not this one"},
	};
	size_t i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		CHECK(parse(cases[i].text) == -1 && err.code == ERROR_USER);
		if (!strstr(err.text, cases[i].says)) {
			fprintf(stderr, "%s -> %s\n", cases[i].text, err.text);
			abort();
		}
	}
}

static void sizes_are_bounded(void)
{
	char text[4096] = "a = [";
	int i;

	for (i = 0; i < 129; i++)
		strcat(text, "1,");
	CHECK(parse(strcat(text, "]")) == -1 && strstr(err.text, "more than 128"));
	text[0] = '\0';
	for (i = 0; i < 65; i++)
		sprintf(text + strlen(text), "k%d=1\n", i);
	CHECK(parse(text) == -1 && strstr(err.text, "line 65: more than 64 keys"));
}

int main(int argc, char **argv)
{
	static const struct unit_test tests[] = {
		TEST(values_of_every_kind),
		TEST(what_is_wrong_is_said_with_its_line),
		TEST(sizes_are_bounded),
		{NULL, NULL},
	};

	return run_units(argc, argv, tests);
}
