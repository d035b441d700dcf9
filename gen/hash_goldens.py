"""Hash goldens of the full-size problems: per output and expert, the order-free hash of the one right answer.

Works expert by expert, so that memory is bounded by the inputs and one expert's weights and gradients: a float32 BLAS
product is exact here.
"""

import numpy as np

import counter_hash
import products
import routing

WHOLE = 1 << 30  # values that fit in memory beside the rest; of more only an expert's rows are drawn
HEADER = "problem\tdtype\toutput\thashes\n"


def hash_bits(output, bits, first_index):
    return counter_hash.element_hash_sum(counter_hash.fnv1a64(output), bits.reshape(-1), first_index)


class Source:
    """A problem's routing and inputs, of which an expert's share can be had by itself."""

    def __init__(self, problem, dtype):
        self.problem, self.dtype = problem, dtype
        self.m_sizes, self.gather_indices = routing.make(problem)
        self.starts = np.concatenate(([0], np.cumsum(self.m_sizes, dtype=np.int64)))
        self.weights = products.draw_weights(problem, "exact")
        self.tokens = self.draw("x").reshape(problem.T, problem.K) if problem.gemm == "W1" else None
        self.dy = self.draw("dy").reshape(problem.M, problem.N) if problem.M * problem.N < WHOLE else None

    def draw(self, name, start=0, count=None):
        values = products.draw(self.problem, "exact", self.dtype, name, start=start, count=count)
        products.assert_exact(self.problem, "exact", values)
        products.assert_power(self.problem, values)
        return values

    def expert(self, e):
        """x, w, dy of expert e."""
        p, start, stop = self.problem, int(self.starts[e]), int(self.starts[e + 1])
        slots = self.gather_indices[start:stop]
        w = self.draw("w", e * p.N * p.K, p.N * p.K).reshape(p.N, p.K)
        if p.gemm == "W1":
            x = self.tokens[slots // p.topk]
        else:
            x = self.draw("x", start * p.K, (stop - start) * p.K).reshape(-1, p.K)
        if self.dy is not None:
            return x, w, self.dy[slots]
        return x, w, np.stack([self.draw("dy", int(slot) * p.N, p.N) for slot in slots])


def of_expert(source, e):
    """({output: hash}, bits of dx) of expert e."""
    p, dtype, start = source.problem, source.dtype, int(source.starts[e])
    if not source.m_sizes[e]:  # most experts when T is 1
        zeros = np.zeros((p.N, p.K), "<u2")
        empty = {output: 0 for output in ("y", *(["y_mul"] if p.gemm == "W2" else []), "dx")}
        return {**empty, "dw": hash_bits("dw", zeros, e * p.N * p.K)}, zeros[:0]
    x, w, dy = source.expert(e)
    y = products.round_output(products.product(x, w.T), dtype)
    hashes = {"y": hash_bits("y", y, start * p.N)}
    if p.gemm == "W2":
        slots = source.gather_indices[start : start + len(y)]
        y_mul = products.multiplied(y, source.weights, slots, dtype)
        hashes["y_mul"] = hash_bits("y_mul", y_mul, start * p.N)
    dx = products.round_output(products.product(dy, w), dtype)
    hashes["dx"] = hash_bits("dx", dx, start * p.K)
    dw = products.round_output(products.product(dy.T, x), dtype)
    hashes["dw"] = hash_bits("dw", dw, e * p.N * p.K)
    return hashes, dx


def of_problem(problem, dtype):
    """{output: [hash, ...]}: one hash an expert; dx_reduced has a single one."""
    source = Source(problem, dtype)
    reduces = problem.gemm == "W1" and problem.topk > 1
    dx_all = np.empty((problem.M, problem.K), "<u2") if reduces else None
    sums = {}
    for e in range(problem.E):
        hashes, dx = of_expert(source, e)
        for output, value in hashes.items():
            sums.setdefault(output, []).append(value)
        if reduces:
            dx_all[source.starts[e] : source.starts[e + 1]] = dx
    if reduces:
        sums["dx_reduced"] = [hash_bits("dx_reduced", products.reduced(problem, dx_all, source.gather_indices, dtype), 0)]
    return sums


def rows(task):
    """The lines of golden/hashes.tsv that belong to a problem and type."""
    problem, dtype = task
    return [
        f"{problem.key}\t{dtype}\t{output}\t{','.join(f'{value:016x}' for value in values)}\n"
        for output, values in of_problem(problem, dtype).items()
    ]
