/* soil.cu: leaves NaN in the shared memory that the next kernel finds. */
#include "intrinsics.h"
#include "helpers.h"

KERNEL(soil, soil_params, MG_HELPER_THREADS, 1) {
    SHARED_MEMORY(smem);
    for (u32 i = threadIdx.x; i < p.words; i += MG_HELPER_THREADS) smem_store_4(smem_addr(smem) + i * 4, ~0u);
}
