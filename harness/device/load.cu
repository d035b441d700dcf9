/* load.cu: keeps multiprocessors busy while another kernel runs: whole ones, by the shared memory it asks for.
 */
#include "intrinsics.h"
#include "helpers.h"

KERNEL(load, load_params, MG_HELPER_THREADS, 1) {
    for (u32 look = 0; look < p.looks && *(const volatile u32 *)p.stop == 0; look++) {}
}
