/* kernel_mutants.h: words shared by the tables of wrong kernels. */
#ifndef KERNEL_MUTANTS_H
#define KERNEL_MUTANTS_H

#include "mutants.h"
#include "result.h"

/* Every id has these words; "exact" and "real" name the class, see golden/README.md. */
#define FORWARD "forward_manual and mma_sync and not autograd"
#define DX "dX_manual and mma_sync and not autograd"
#define DW "dW_manual and mma_sync and not autograd"
#define EXACT " and exact"
#define REAL " and real"

#define CHECK(name) (1u << (name))
#define WRONG (CHECK(BY_GOLDEN) | CHECK(BY_HASH))
#define WRONG_REAL (CHECK(BY_BOUND) | CHECK(BY_RMS))
#define CRASH (CHECK(BY_LAUNCH) | CHECK(BY_CRASH) | CHECK(BY_TIMEOUT))

#define ANY_REPEAT (CHECK(BY_REPEAT) | CHECK(BY_SMS) | CHECK(BY_BASE) | CHECK(BY_NEGATE))

#define KERNEL(file_) .file = "kernels/device/" file_
#define BOTH .backends = ON_BOTH

/* The same fault in each op. */
#define EACH_OP(row) row(forward, OP_FORWARD, FORWARD), row(dx, OP_DX, DX), row(dw, OP_DW, DW)
#define EMPTY_PROBLEMS " and not T0"

/* output_pair with every value or every rounded result changed first: `x` is a value, `y` the bits of a result. */
#define EACH_VALUE(expression)                                                                               \
    "float v[2] = {low, high};\n"                                                                            \
    "UNROLL for (int i = 0; i < 2; i++) { float x = v[i]; v[i] = " expression "; }\n"                        \
    "return round_pair(v[0], v[1]);"
#define EACH_RESULT(statement)                                                                               \
    "u32 pair = round_pair(low, high), changed = 0;\n"                                                       \
    "UNROLL for (int i = 0; i < 2; i++) { u16 y = (u16)(pair >> i * 16); " statement                         \
    " changed |= (u32)y << i * 16; }\n"                                                                      \
    "return changed;"

#endif
