"""Reads golden/problems.tsv: the routed problems of the corpus and which of their outputs are committed."""

import dataclasses
import os

CLASSES = ("exact", "unit", "real")
DTYPES = ("bf16", "fp16")


@dataclasses.dataclass(frozen=True)
class Problem:
    gemm: str  # "W1": N = 2I, K = H, x in token order; "W2": N = H, K = I, x in expert order
    E: int
    topk: int
    T: int
    H: int
    I: int
    dist: str
    classes: tuple
    dtypes: tuple
    groups: tuple
    committed: tuple  # see is_committed
    hashed: bool  # full-size: goldens are hashes

    @property
    def N(self):
        return 2 * self.I if self.gemm == "W1" else self.H

    @property
    def K(self):
        return self.H if self.gemm == "W1" else self.I

    @property
    def M(self):
        return self.T * self.topk

    @property
    def key(self):
        return f"{self.gemm}-topk{self.topk}-E{self.E}-T{self.T}-H{self.H}-I{self.I}-{self.dist}"

    @property
    def routing(self):
        return f"topk{self.topk}-E{self.E}-T{self.T}-{self.dist}"

    def is_committed(self, data_class, dtype, output):
        """The column `committed` lists outputs (of class exact in bf16), and what else of y: its unit, real."""
        if data_class == "exact" and dtype == "bf16":
            return output in self.committed
        return output == "y" and dtype == "bf16" and data_class in self.committed

    def is_derived(self, data_class, dtype, output):
        """No file: C computes it, cheaply, and must get NumPy's digest."""
        return (data_class, dtype, output) == ("exact", "fp16", "y") and "fp16" in self.committed


def read(golden_dir):
    problems = []
    with open(os.path.join(golden_dir, "problems.tsv"), encoding="ascii") as table:
        names = table.readline().rstrip("\n").split("\t")
        for line in table:
            row = dict(zip(names, line.rstrip("\n").split("\t"), strict=True))
            sizes = {name: int(row[name]) for name in ("E", "topk", "T", "H", "I")}
            lists = {name: tuple(row[name].split(",")) for name in ("classes", "dtypes", "groups")}
            hashed = row["committed"] == "hash"
            committed = () if row["committed"] in ("hash", "-") else tuple(row["committed"].split(","))
            problems.append(
                Problem(row["gemm"], dist=row["dist"], committed=committed, hashed=hashed, **sizes, **lists)
            )
    assert len({p.key for p in problems}) == len(problems), "problems.tsv has a row twice"
    return problems
