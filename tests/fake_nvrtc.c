/* fake_nvrtc.c: a made-up libnvrtc.so.13 whose cubin is the word that fake_cuda.c takes for one. */
#include <stddef.h>
#include <string.h>

/* No real one's, so that no real one's kernels are taken for its own in a cache. */
int nvrtcVersion(int *major, int *minor) { return *major = 99, *minor = 0; }
const char *nvrtcGetErrorString(int result) { return result ? "made-up error" : "no error"; }
int nvrtcCreateProgram(void **program, const char *text, const char *name, int headers,
                       const char *const *texts, const char *const *names) {
    (void)text, (void)name, (void)headers, (void)texts, (void)names;
    static int made;
    return *program = &made, 0;
}
int nvrtcDestroyProgram(void **program) { return *program = NULL, 0; }
int nvrtcCompileProgram(void *program, int count, const char *const *options) {
    (void)program, (void)count, (void)options;
    return 0;
}
int nvrtcGetProgramLogSize(void *program, size_t *size) { return *size = 0, (void)program, 0; }
int nvrtcGetProgramLog(void *program, char *log) { return *log = 0, (void)program, 0; }
int nvrtcGetCUBINSize(void *program, size_t *size) { return *size = strlen("cubin"), (void)program, 0; }
int nvrtcGetCUBIN(void *program, char *cubin) {
    return memcpy(cubin, "cubin", strlen("cubin")), (void)program, 0;
}
