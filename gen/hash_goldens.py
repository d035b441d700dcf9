"""Hash goldens of the full-size problems: per output and expert, the order-free hash of the one right answer.

Works expert by expert, so that memory is bounded by one expert's weights: a float32 BLAS product is exact here.
"""

import numpy as np

import counter_hash
import products
import routing

HEADER = "problem\tdtype\toutput\thashes\n"


def of_problem(problem, dtype="bf16"):
    """[(output, [hash, ...])]: one hash an expert; dx_reduced has a single one."""
    E, N, K = problem.E, problem.N, problem.K
    m_sizes, gather_indices = routing.make(problem)

    def tensor(name):
        return products.draw(problem, "exact", dtype, name).reshape(products.tensor_shape(problem, name))

    x, dy = products.expert_rows(problem, gather_indices, tensor("x"), tensor("dy"))
    weights = products.draw_weights(problem, "exact")
    products.assert_exact(problem, "exact", x, dy)
    reduces = problem.gemm == "W1" and problem.topk > 1
    names = ["y", "y_mul", "dx", "dw"] if problem.gemm == "W2" else ["y", "dx", "dw"]
    sums = {name: [] for name in names}

    def add(name, bits, first_index):
        key = counter_hash.fnv1a64(name)
        sums[name].append(counter_hash.element_hash_sum(key, bits.reshape(-1), first_index))

    dx_all = np.empty((problem.M, K), "<u2") if reduces else None
    stop = 0
    for e in range(E):
        start, stop = stop, stop + int(m_sizes[e])
        w = products.draw(problem, "exact", dtype, "w", start=e * N * K, count=N * K).reshape(N, K)
        products.assert_exact(problem, "exact", w)
        y = products.round_output(products.product(x[start:stop], w.T), dtype)
        add("y", y, start * N)
        if problem.gemm == "W2":
            add("y_mul", products.multiplied(y, weights, gather_indices[start:stop], dtype), start * N)
        dx = products.round_output(products.product(dy[start:stop], w), dtype)
        add("dx", dx, start * K)
        if reduces:
            dx_all[start:stop] = dx
        add("dw", products.round_output(products.product(dy[start:stop].T, x[start:stop]), dtype), e * N * K)
    if reduces:
        sums["dx_reduced"] = []
        add("dx_reduced", products.reduced(problem, dx_all, gather_indices, dtype), 0)
    return list(sums.items())


def rows(problem):
    """The lines of golden/hashes.tsv that belong to a problem."""
    return [
        f"{problem.key}\t{dtype}\t{output}\t{','.join(f'{value:016x}' for value in values)}\n"
        for dtype in problem.dtypes
        for output, values in of_problem(problem, dtype)
    ]
