// SPDX-License-Identifier: Apache-2.0
/*
 * The certificate and its key: read, or made when they are not there.  Each file appears whole
 * under its name or not at all, whenever the power is cut; the key is first, as a certificate can
 * be made for a key but not the other way round.
 */
#include "tls.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <mbedtls/asn1write.h>
#include <mbedtls/ecp.h>
#include <mbedtls/oid.h>
#include <mbedtls/platform_util.h>
#include <mbedtls/sha256.h>

#define FILE_MAX   (64 * 1024)
#define PEM_MAX	   4096
#define SERIAL_LEN 16
#define YEARS	   10
/* A host whose clock was never set must not make a certificate that is over today. */
#define FIRST_YEAR 2025

/* extKeyUsage = { id-kp-serverAuth }: RFC 5280, 4.2.1.12. */
static const unsigned char server_auth[] = {0x30, 0x0a, 0x06, 0x08, 0x2b, 0x06,
					    0x01, 0x05, 0x05, 0x07, 0x03, 0x01};

/* A file with a 0 after it, as mbedTLS wants PEM; NULL after a complaint. */
static unsigned char *read_file(const char *path, size_t *size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	unsigned char *data = calloc(1, FILE_MAX + 1);
	ssize_t got = 0;

	*size = 0;
	while (fd >= 0 && data && *size < FILE_MAX &&
	       (got = read(fd, data + *size, FILE_MAX - *size)) > 0)
		*size += (size_t)got;
	if (fd < 0 || !data || got < 0 || *size == FILE_MAX) {
		complain("%s: %s", path, *size == FILE_MAX ? "too large" : strerror(errno));
		free(data);
		data = NULL;
	}
	if (fd >= 0)
		close(fd);
	++*size; /* the 0 counts */
	return data;
}

static int sync_folder(const char *path)
{
	char folder[4096];
	char *slash;
	int fd, status;

	snprintf(folder, sizeof(folder), "%s", path);
	slash = strrchr(folder, '/');
	if (slash)
		slash[slash == folder] = '\0';
	fd = open(slash ? folder : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	status = fsync(fd);
	close(fd);
	return status;
}

static int write_file(const char *path, const char *text, mode_t mode)
{
	ssize_t len = (ssize_t)strlen(text);
	char beside[4096];
	int fd, failed;

	if (snprintf(beside, sizeof(beside), "%s.new", path) >= (int)sizeof(beside)) {
		complain("%s: the name is too long", path);
		return -1;
	}
	unlink(beside);
	fd = open(beside, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
	failed = fd < 0 || write(fd, text, (size_t)len) != len || fsync(fd);
	if (fd >= 0 && close(fd))
		failed = 1;
	if (failed || rename(beside, path) || sync_folder(path)) {
		complain("%s: %s", path, strerror(errno));
		return -1;
	}
	return 0;
}

static int key_load(mbedtls_pk_context *key, const char *path)
{
	size_t size;
	unsigned char *data = read_file(path, &size);
	int status;

	if (!data)
		return -1;
	status = mbedtls_pk_parse_key(key, data, size, NULL, 0);
	mbedtls_platform_zeroize(data, size);
	free(data);
	if (status || !mbedtls_pk_can_do(key, MBEDTLS_PK_ECDSA)) {
		complain("%s: not an ECDSA key in PEM form, without a password", path);
		return -1;
	}
	return 0;
}

static int key_make(mbedtls_pk_context *key, const char *path)
{
	unsigned char pem[PEM_MAX];
	int status;

	if (mbedtls_pk_setup(key, mbedtls_pk_info_from_type(MBEDTLS_PK_ECKEY)) ||
	    mbedtls_ecp_gen_key(MBEDTLS_ECP_DP_SECP256R1, mbedtls_pk_ec(*key), random_bytes,
				NULL) ||
	    mbedtls_pk_write_key_pem(key, pem, sizeof(pem))) {
		complain("%s: no key can be made", path);
		return -1;
	}
	status = write_file(path, (char *)pem, 0600);
	mbedtls_platform_zeroize(pem, sizeof(pem));
	return status;
}

/* One GeneralName: RFC 5280, 4.2.1.6.  mbedTLS writes backwards; returns the length. */
static int write_name(unsigned char **at, unsigned char *start, const char *name)
{
	unsigned char address[16], tag = MBEDTLS_ASN1_CONTEXT_SPECIFIC | 7; /* iPAddress */
	const unsigned char *value = address;
	size_t len;
	int all;

	if (inet_pton(AF_INET, name, address) == 1) {
		len = 4;
	} else if (inet_pton(AF_INET6, name, address) == 1) {
		len = 16;
	} else {
		tag = MBEDTLS_ASN1_CONTEXT_SPECIFIC | 2; /* dNSName */
		value = (const unsigned char *)name;
		len = strlen(name);
	}
	all = mbedtls_asn1_write_raw_buffer(at, start, value, len);
	all += mbedtls_asn1_write_len(at, start, len);
	return all + mbedtls_asn1_write_tag(at, start, tag);
}

static int set_names(mbedtls_x509write_cert *crt, const struct options *opt)
{
	unsigned char der[(MAX_NAMES + 1) * (NAME_MAX_LEN + 4)]; /* so no write can fail */
	unsigned char *at = der + sizeof(der);
	unsigned int i = opt->nnames;
	int len = 0;

	while (i-- > 0)
		len += write_name(&at, der, opt->names[i]);
	mbedtls_asn1_write_len(&at, der, (size_t)len);
	mbedtls_asn1_write_tag(&at, der, MBEDTLS_ASN1_CONSTRUCTED | MBEDTLS_ASN1_SEQUENCE);
	return mbedtls_x509write_crt_set_extension(crt, MBEDTLS_OID_SUBJECT_ALT_NAME,
						   MBEDTLS_OID_SIZE(MBEDTLS_OID_SUBJECT_ALT_NAME),
						   0, at, (size_t)(der + sizeof(der) - at));
}

static int set_validity(mbedtls_x509write_cert *crt)
{
	time_t yesterday = time(NULL) - 24 * 3600; /* clocks of clients differ */
	struct tm now = {0};
	char from[16], to[16];
	int year;

	gmtime_r(&yesterday, &now);
	year = now.tm_year + 1900;
	if (year < FIRST_YEAR || year > 9999 - YEARS)
		year = FIRST_YEAR;
	/* From a day that each month has, or ten years on may be a 29th of February. */
	snprintf(from, sizeof(from), "%04d%02d01000000", year, now.tm_mon % 12 + 1);
	snprintf(to, sizeof(to), "%04d%02d01000000", year + YEARS, now.tm_mon % 12 + 1);
	return mbedtls_x509write_crt_set_validity(crt, from, to);
}

static int set_serial(mbedtls_x509write_cert *crt)
{
	unsigned char bytes[SERIAL_LEN];
	mbedtls_mpi serial;
	int status;

	mbedtls_mpi_init(&serial);
	random_bytes(NULL, bytes, sizeof(bytes));
	bytes[0] = (bytes[0] & 0x7f) | 0x40; /* positive: RFC 5280, 4.1.2.2 */
	status = mbedtls_mpi_read_binary(&serial, bytes, sizeof(bytes)) ||
		 mbedtls_x509write_crt_set_serial(crt, &serial);
	mbedtls_mpi_free(&serial);
	return status;
}

static int certificate_write(mbedtls_pk_context *key, const struct options *opt)
{
	char subject[sizeof("CN=") + NAME_MAX_LEN];
	unsigned char pem[PEM_MAX];
	mbedtls_x509write_cert crt;
	int status;

	snprintf(subject, sizeof(subject), "CN=%s", opt->names[0]);
	mbedtls_x509write_crt_init(&crt);
	mbedtls_x509write_crt_set_version(&crt, MBEDTLS_X509_CRT_VERSION_3);
	mbedtls_x509write_crt_set_md_alg(&crt, MBEDTLS_MD_SHA256);
	mbedtls_x509write_crt_set_subject_key(&crt, key);
	mbedtls_x509write_crt_set_issuer_key(&crt, key);
	status = mbedtls_x509write_crt_set_subject_name(&crt, subject) ||
		 mbedtls_x509write_crt_set_issuer_name(&crt, subject) || set_serial(&crt) ||
		 set_validity(&crt) || set_names(&crt, opt) ||
		 mbedtls_x509write_crt_set_basic_constraints(&crt, 0, -1) ||
		 mbedtls_x509write_crt_set_key_usage(&crt, MBEDTLS_X509_KU_DIGITAL_SIGNATURE) ||
		 mbedtls_x509write_crt_set_extension(
			 &crt, MBEDTLS_OID_EXTENDED_KEY_USAGE,
			 MBEDTLS_OID_SIZE(MBEDTLS_OID_EXTENDED_KEY_USAGE), 0, server_auth,
			 sizeof(server_auth)) ||
		 mbedtls_x509write_crt_pem(&crt, pem, sizeof(pem), random_bytes, NULL);
	mbedtls_x509write_crt_free(&crt);
	if (status) {
		complain("%s: no certificate can be made", opt->certificate);
		return -1;
	}
	return write_file(opt->certificate, (char *)pem, 0644);
}

int certificate_make(const struct options *opt)
{
	bool has_key = !access(opt->key, F_OK), has_certificate = !access(opt->certificate, F_OK);
	mbedtls_pk_context key;
	int status;

	if (has_key && has_certificate)
		return 0;
	if (has_certificate) {
		complain("%s is there, but not its key %s: remove it, and both are made anew",
			 opt->certificate, opt->key);
		return -1;
	}
	mbedtls_pk_init(&key);
	status = (has_key ? key_load : key_make)(&key, opt->key) || certificate_write(&key, opt);
	mbedtls_pk_free(&key);
	return status ? -1 : 0;
}

int certificate_load(struct identity *id, const struct options *opt)
{
	unsigned char *data, digest[32];
	size_t size, i;
	int status;

	mbedtls_pk_init(&id->key);
	mbedtls_x509_crt_init(&id->certificate);
	data = read_file(opt->certificate, &size);
	if (!data)
		return -1;
	status = mbedtls_x509_crt_parse(&id->certificate, data, size);
	free(data);
	if (status || !mbedtls_pk_can_do(&id->certificate.pk, MBEDTLS_PK_ECDSA)) {
		complain("%s: not a certificate in PEM form, for an ECDSA key", opt->certificate);
		return -1;
	}
	if (key_load(&id->key, opt->key))
		return -1;
	if (mbedtls_pk_check_pair(&id->certificate.pk, &id->key)) {
		complain("%s is not the key of %s", opt->key, opt->certificate);
		return -1;
	}
	mbedtls_sha256_ret(id->certificate.raw.p, id->certificate.raw.len, digest, 0);
	for (i = 0; i < sizeof(digest); i++)
		snprintf(id->fingerprint + 3 * i, 4, i + 1 < sizeof(digest) ? "%02X:" : "%02X",
			 digest[i]);
	return 0;
}
