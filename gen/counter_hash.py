"""The counter hash behind every random number of the corpus, and the draws made from it (golden/README.md defines both).

Element i of a tensor depends on the tensor's seed and on i alone, so any part can be drawn by itself. Work is done in
blocks of 16K values in place, because they stay in a core's cache: whole arrays would be ten times slower.
"""

import numpy as np

MASK64 = (1 << 64) - 1
GOLDEN = 0x9E3779B97F4A7C15
MULTIPLIER_1 = 0xBF58476D1CE4E5B9
MULTIPLIER_2 = 0x94D049BB133111EB
BLOCK = 1 << 14

_STEPS = np.arange(BLOCK, dtype=np.uint64) * np.uint64(GOLDEN)


def splitmix64(x):
    """One value, as a Python integer."""
    z = (x + GOLDEN) & MASK64
    z = ((z ^ (z >> 30)) * MULTIPLIER_1) & MASK64
    z = ((z ^ (z >> 27)) * MULTIPLIER_2) & MASK64
    return z ^ (z >> 31)


def fnv1a64(text):
    value = 0xCBF29CE484222325
    for byte in text.encode("ascii"):
        value = ((value ^ byte) * 0x100000001B3) & MASK64
    return value


def tensor_seed(key, data_class, tensor, user_seed=0):
    seed = fnv1a64(f"{key}/{data_class}/{tensor}")
    return seed ^ splitmix64(user_seed) if user_seed else seed


def mix_in_place(z, scratch):
    """z (uint64) becomes the last step of splitmix64, which has added GOLDEN already; scratch is as long as z."""
    for shift, multiplier in ((30, MULTIPLIER_1), (27, MULTIPLIER_2), (31, None)):
        np.right_shift(z, np.uint64(shift), out=scratch)
        np.bitwise_xor(z, scratch, out=z)
        if multiplier is not None:
            np.multiply(z, np.uint64(multiplier), out=z)


def _blocks(seed, start, count):
    """Yields (offset, hashes) for the counters start .. start+count; the hashes live until the next block."""
    z = np.empty(BLOCK, np.uint64)
    scratch = np.empty(BLOCK, np.uint64)
    for offset in range(0, count, BLOCK):
        n = min(BLOCK, count - offset)
        first = (seed + GOLDEN * (start + offset + 1)) & MASK64
        np.add(_STEPS[:n], np.uint64(first), out=z[:n])
        mix_in_place(z[:n], scratch[:n])
        yield offset, z[:n]


def hashes(seed, start, count):
    """splitmix64(seed + i * GOLDEN) for i = start .. start+count, as uint64."""
    out = np.empty(count, np.uint64)
    for offset, block in _blocks(seed, start, count):
        out[offset : offset + len(block)] = block
    return out


def integers(seed, bits, scale_log2, start, count):
    """Odd integers uniform in -(2^bits - 1) .. 2^bits - 1, times 2^scale_log2, as float32; start a multiple of 8."""
    assert start % 8 == 0 and 1 <= bits <= 8
    largest = (1 << bits) - 1
    table = ((2 * (np.arange(256) & largest) - largest) * 2.0**scale_log2).astype(np.float32)
    out = np.empty(-(-count // 8) * 8, np.float32)
    for offset, block in _blocks(seed, start // 8, len(out) // 8):
        # mode "clip" changes nothing for bytes into 256 entries, but is ten times faster than the checked mode
        bytes_ = block.astype("<u8", copy=False).view(np.uint8)
        table.take(bytes_, out=out[8 * offset : 8 * (offset + len(block))], mode="clip")
    return out[:count]


def bell(seed, scale_log2, start, count):
    """Sums of four 16-bit uniforms less their mean, times 2^scale_log2, as float32 (exact: 18 bits and a sign)."""
    out = np.empty(count, np.float32)
    scale = np.float32(2.0**scale_log2)
    for offset, block in _blocks(seed, start, count):
        fields = block.astype("<u8", copy=False).view("<u2").reshape(-1, 4)
        total = fields.astype(np.int32).sum(axis=1, dtype=np.int32) - 131070
        out[offset : offset + len(block)] = total * scale
    return out


def routing_weights(seed, start, count):
    """float32 in [0.5, 1) with a full significand, so that the place of a rounding shows."""
    out = np.empty(count, np.float32)
    for offset, block in _blocks(seed, start, count):
        fraction = (block & np.uint64((1 << 23) - 1)).astype(np.int64)
        out[offset : offset + len(block)] = (fraction + (1 << 23)).astype(np.float32) * np.float32(2.0**-24)
    return out


def element_hash_sum(key, bits, first_index):
    """Sum mod 2^64 of splitmix64(key + (index << 16 | bits)) over a flat uint16 array whose first index is given."""
    z = np.empty(BLOCK, np.uint64)
    scratch = np.empty(BLOCK, np.uint64)
    indices = np.arange(BLOCK, dtype=np.uint64) << np.uint64(16)
    total = 0
    for offset in range(0, len(bits), BLOCK):
        part = bits[offset : offset + BLOCK]
        n = len(part)
        base = (key + GOLDEN + ((first_index + offset) << 16)) & MASK64
        np.add(indices[:n], part, out=z[:n], casting="unsafe")
        np.add(z[:n], np.uint64(base), out=z[:n])
        mix_in_place(z[:n], scratch[:n])
        total += int(z[:n].sum(dtype=np.uint64))
    return total & MASK64
