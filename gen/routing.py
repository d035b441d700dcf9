"""Token distributions: which experts each token chooses, drawn from the counter hash with integers only.

Every distribution gives choices (T, topk); m_sizes is their histogram and gather_indices the stable argsort of the
flattened choices. golden/README.md lists what each is for.
"""

import bisect
import itertools

import numpy as np

from counter_hash import fnv1a64, hashes

EDGE_SIZES = (31, 32, 33, 63, 64, 65, 127, 128, 129, 0, 1)  # around the tiles' edges
WIDE_EDGE_SIZES = (256, 0, 0, 255, 1, 257, 2)  # around the widest tile's, empty experts between


def _uniform(seed, T, topk, experts):
    """topk distinct experts a token: those with the smallest of E hashes."""
    order = hashes(seed, 0, T * len(experts)).reshape(T, len(experts)).argsort(axis=1, kind="stable")
    return experts[order[:, :topk]]


def _shuffled(seed, values):
    return values[hashes(seed, 0, len(values)).argsort(kind="stable")]


def _balanced(seed, T, topk, E):
    """Slots take the experts in turn, then the tokens are shuffled: sizes differ by one at most."""
    return _shuffled(seed, (np.arange(T * topk) % E).reshape(T, topk))


def _zipf_weight(rank):
    """floor(2^20 / rank^1.2), by an integer fifth root: no libm, hence the same everywhere."""
    target = (1 << 100) // rank**6
    low, high = 0, 1 << 20
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if middle**5 <= target else (low, middle - 1)
    return low


def _skewed(seed, T, topk, E):
    """Zipf with s = 1.2; a token's further choices leave out the experts that it has."""
    weights = [_zipf_weight(rank) for rank in range(1, E + 1)]
    draws = iter(hashes(seed, 0, T * topk).tolist())
    choices = np.empty((T, topk), np.int64)
    for token in range(T):
        left = list(range(E))
        for choice in range(topk):
            sums = list(itertools.accumulate(weights[e] for e in left))
            choices[token, choice] = left.pop(bisect.bisect_right(sums, next(draws) % sums[-1]))
    return choices


def _one(seed, T, topk, E):
    return np.full((T, topk), E // 2)


def _without(place):
    def draw(seed, T, topk, E):
        """Uniform over three quarters of the experts; the empty ones stand together at `place`."""
        empty = max(1, E // 4)
        first = {"first": 0, "mid": (E - empty) // 2, "last": E - empty}[place]
        return _uniform(seed, T, topk, np.delete(np.arange(E), np.s_[first : first + empty]))

    return draw


def _edge(edge_sizes):
    def draw(seed, T, topk, E):
        """These sizes in turn while slots are left; the last expert takes the rest. A token may meet an expert twice."""
        sizes, left = [], T * topk
        for expert in range(E):
            sizes.append(left if expert == E - 1 else min(left, edge_sizes[expert % len(edge_sizes)]))
            left -= sizes[-1]
        return _shuffled(seed, np.repeat(np.arange(E), sizes)).reshape(T, topk)

    return draw


def _sorted(seed, T, topk, E):
    """Slots in the order of the experts already: gathering changes nothing."""
    return (np.arange(T * topk) * E // max(T * topk, 1)).reshape(T, topk)


def _reversed(seed, T, topk, E):
    return E - 1 - _sorted(seed, T, topk, E)


DISTRIBUTIONS = {
    "mult": lambda seed, T, topk, E: _uniform(seed, T, topk, np.arange(E)),
    "balanced": _balanced,
    "skewed": _skewed,
    "one": _one,
    "emptyfirst": _without("first"),
    "emptylast": _without("last"),
    "emptymid": _without("mid"),
    "edge": _edge(EDGE_SIZES),
    "wide": _edge(WIDE_EDGE_SIZES),
    "sorted": _sorted,
    "reversed": _reversed,
}


def make(problem):
    """m_sizes (E) and gather_indices (M), int32."""
    seed = fnv1a64(f"routing/{problem.routing}")
    choices = DISTRIBUTIONS[problem.dist](seed, problem.T, problem.topk, problem.E).reshape(-1)
    m_sizes = np.bincount(choices, minlength=problem.E).astype("<i4")
    gather_indices = choices.argsort(kind="stable").astype("<i4")
    assert m_sizes.sum() == problem.M and len(m_sizes) == problem.E
    return m_sizes, gather_indices
