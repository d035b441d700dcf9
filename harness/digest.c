/* digest.c: SHA-256 through OpenSSL, which uses the processor's instructions for it. */
#include "digest.h"

#include <stdio.h>
#include <stdlib.h>

#include <openssl/evp.h>

void mg_sha256(const void *bytes, size_t size, char hex[MG_SHA256_SIZE]) {
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned length = 0;
    if (!EVP_Digest(bytes, size, digest, &length, EVP_sha256(), NULL) || length != 32) {
        fprintf(stderr,
                "moegemm: error: libcrypto cannot compute SHA-256\n"); /* broken installation or no memory */
        abort();
    }
    for (unsigned i = 0; i < length; i++) snprintf(hex + 2 * i, 3, "%02x", digest[i]);
}
