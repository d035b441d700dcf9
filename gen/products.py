"""A problem's tensors, its exact products, and their roundings.

exact, unit: float32 BLAS, exact because every partial sum in any order is an integer below 2^24 on the products' grid.
real: float64 BLAS, exact because products lie on a grid on which K <= 16384 of them sum to less than 2^53.
"""

import numpy as np

import counter_hash

SCALES_REAL = {"x": -18, "w": -18, "dy": -15}
SCALE_EXACT = -4
ROUNDED_BLOCK = 1 << 16  # values at a time, which stay in a core's cache
REDUCED_TOKENS = 64


def round_bits(values, dtype):
    """float32 values to the patterns of bf16 or fp16, to nearest even, by integer arithmetic; NaN is not expected."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    if dtype == "bf16":
        return ((bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)).astype("<u2")
    sign = (bits >> np.uint32(16)) & np.uint32(0x8000)
    magnitude = bits & np.uint32(0x7FFFFFFF)
    # normal: rebias the exponent by 112 and round 13 bits away; a carry moves into the exponent, up to infinity
    normal = (magnitude - np.uint32(112 << 23) + np.uint32(0xFFF) + ((magnitude >> np.uint32(13)) & np.uint32(1))) >> 13
    normal = np.minimum(normal, np.uint32(0x7C00))
    # subnormal (below 2^-14): the significand shifted to the grid 2^-24; beyond 26 bits nothing of it is left
    shift = np.minimum(np.uint32(126) - np.minimum(magnitude >> np.uint32(23), np.uint32(113)), np.uint32(26))
    significand = (magnitude & np.uint32(0x7FFFFF)) | np.uint32(0x800000)
    half = (np.uint32(1) << (shift - np.uint32(1))) - np.uint32(1)
    subnormal = (significand + half + ((significand >> shift) & np.uint32(1))) >> shift
    result = (sign | np.where(magnitude < (113 << 23), subnormal, normal)).astype("<u2")
    assert np.array_equal(result, np.ascontiguousarray(values, np.float32).astype("<f2").view("<u2"))
    return result


def to_float(bits, dtype):
    if dtype == "bf16":
        return (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)
    return bits.view("<f2").astype(np.float32)


def significand_bits(problem):
    """The largest t <= 8 with R * (2^t - 1)^2 < 2^24: one draw serves forward, dX and dW."""
    reduction = max(problem.K, problem.N, problem.M, 1)
    return max(t for t in range(1, 9) if reduction * ((1 << t) - 1) ** 2 < 1 << 24)


def tensor_shape(problem, tensor):
    rows = problem.T if problem.gemm == "W1" else problem.M
    return {"x": (rows, problem.K), "w": (problem.E, problem.N, problem.K), "dy": (problem.M, problem.N)}[tensor]


def draw(problem, data_class, dtype, tensor, user_seed=0, start=0, count=None):
    """Flat float32 values, representable in dtype, of elements start .. start+count (all by default)."""
    if count is None:
        count = int(np.prod(tensor_shape(problem, tensor)))
    seed = counter_hash.tensor_seed(problem.key, data_class, tensor, user_seed)
    if data_class == "exact":
        return counter_hash.integers(seed, significand_bits(problem), SCALE_EXACT, start, count)
    if data_class == "unit":
        return counter_hash.integers(seed, 1, 0, start, count)
    values = counter_hash.bell(seed, SCALES_REAL[tensor], start, count)
    return to_float(round_bits(values, dtype), dtype)


def draw_weights(problem, data_class, user_seed=0):
    seed = counter_hash.tensor_seed(problem.key, data_class, "topk_weights", user_seed)
    return counter_hash.routing_weights(seed, 0, problem.M)


def expert_rows(problem, gather_indices, x, dy):
    """x and dy with their rows in expert order."""
    return (x[gather_indices // problem.topk] if problem.gemm == "W1" else x), dy[gather_indices]


def product(a, b):
    """a @ b plus +0, so that no zero is negative."""
    result = a @ b
    result += 0.0
    return result


def grouped(m_sizes, x, w, dy):
    """y (M,N), dx (M,K), dw (E,N,K) of rows in expert order; in the type of the arguments."""
    E, N, K = w.shape
    y = np.empty((len(x), N), x.dtype)
    dx = np.empty((len(x), K), x.dtype)
    dw = np.empty(w.shape, x.dtype)
    stop = 0
    for e in range(E):
        start, stop = stop, stop + int(m_sizes[e])
        y[start:stop] = product(x[start:stop], w[e].T)
        dx[start:stop] = product(dy[start:stop], w[e])
        dw[e] = product(dy[start:stop].T, x[start:stop])
    return y, dx, dw


def assert_exact(problem, data_class, *tensors):
    """Sums of |products| stay below 2^24 units, so float32 is exact in any order."""
    unit = 2.0**SCALE_EXACT if data_class == "exact" else 1.0
    largest = max((float(max(t.max(), -t.min())) / unit for t in tensors if t.size), default=1.0)
    assert max(problem.K, problem.N, problem.M, 1) * largest**2 < 1 << 24, f"{problem.key}: data too wide"


def assert_power(problem, *tensors):
    """Data without power cannot show a fault: most values are not zero."""
    for tensor in tensors:
        assert 2 * np.count_nonzero(tensor) >= tensor.size, f"{problem.key}: data has no power, most of it is zero"


def round_output(values, dtype):
    """An exact golden; in blocks, because whole arrays of a full-size problem would go through memory ten times."""
    infinity = {"bf16": 0x7F80, "fp16": 0x7C00}[dtype]
    flat = values.reshape(-1)
    bits = np.empty(flat.shape, "<u2")
    for start in range(0, len(flat), ROUNDED_BLOCK):
        block = round_bits(flat[start : start + ROUNDED_BLOCK], dtype)
        assert (block & np.uint16(0x7FFF)).max() < infinity, "an exact golden overflows"
        bits[start : start + ROUNDED_BLOCK] = block
    return bits.reshape(values.shape)


def multiplied(y_bits, weights, gather_indices, dtype):
    """fuse_mul_post: round(round(y) * round(weight of the row's slot)), rows in expert order."""
    rounded = to_float(round_bits(weights, dtype), dtype)[gather_indices]
    return round_output(to_float(y_bits, dtype) * rounded[:, None], dtype)


def reduced(problem, dx_bits, gather_indices, dtype):
    """dx summed over topk: (T, K). The order does not matter: sums of |rows| stay below 2^24 units of 2^-8."""
    slots = np.empty((problem.M, problem.K), "<u2")
    slots[gather_indices] = dx_bits
    slots = slots.reshape(problem.T, problem.topk, problem.K)
    result = np.empty((problem.T, problem.K), "<u2")
    for token in range(0, problem.T, REDUCED_TOKENS):
        rows = to_float(slots[token : token + REDUCED_TOKENS], dtype)
        assert np.abs(rows).sum(axis=1).max() * 2**8 < 1 << 24, f"{problem.key}: dx over topk is not exact"
        result[token : token + REDUCED_TOKENS] = round_output(rows.sum(axis=1), dtype)
    return result


def round_up(values):
    """float64 to float32, never below."""
    result = values.astype(np.float32)
    return np.where(result < values, np.nextafter(result, np.float32(np.inf)), result)
