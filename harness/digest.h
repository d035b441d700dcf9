/* digest.h: SHA-256 as the manifest writes it. */
#ifndef MG_DIGEST_H
#define MG_DIGEST_H

#include <stddef.h>

enum { MG_SHA256_SIZE = 65 }; /* 64 hex digits and a NUL */

/* SHA-256 of `size` bytes in lower-case hex. */
void mg_sha256(const void *bytes, size_t size, char hex[MG_SHA256_SIZE]);

#endif
