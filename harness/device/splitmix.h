/* splitmix.h: the counter hash on a device; harness/golden.h defines it. */
#ifndef MG_SPLITMIX_H
#define MG_SPLITMIX_H

#define SPLITMIX_STEP 0x9E3779B97F4A7C15ull

DEVICE u64 splitmix64(u64 x) {
    u64 z = x + SPLITMIX_STEP;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ z >> 27) * 0x94D049BB133111EBull;
    return z ^ z >> 31;
}

#endif
