#!/usr/bin/env python3
"""Makes the corpus: the arrays that the harness asks for, or (for maintainers) everything under golden/.

`moegemm golden generate` runs this. Work is split over processes by problem and class; a lock in the cache folder keeps
two runs apart; files appear whole or not at all; what is there and intact is not made again.
"""

import argparse
import errno
import fcntl
import hashlib
import multiprocessing
import os
import re
import signal
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before NumPy: the processes are the parallelism

try:
    import numpy  # noqa: F401
except ImportError:
    sys.exit(
        f"generate: error: no NumPy for '{sys.executable}' (python3 -m pip install -r gen/requirements.txt in a virtual "
        "environment and set MOEGEMM_PYTHON to its python, or apt-get install python3-numpy libopenblas0-pthread)"
    )

import files  # noqa: E402
import hash_goldens  # noqa: E402
import problems as table  # noqa: E402
import products  # noqa: E402
import routing  # noqa: E402

OUTPUTS = ("y", "dx", "dw")
MANIFEST_HEADER = "path\ttype\tshape\tsha256\tkind\n"
HERE = os.path.dirname(os.path.abspath(__file__))


def manifest_row(path, array, kind):
    shape = "x".join(str(n) for n in array.shape)
    return path, array.dtype.str, shape, files.digest(array), kind


def arrays(problem, data_class, dtypes, user_seed):
    """Yields (dtype, name, array, output or None) of one problem and class; output says which golden it belongs to."""
    m_sizes, gather = routing.make(problem)
    weights = products.draw_weights(problem, data_class, user_seed)
    yield None, "topk_weights", weights.astype("<f4", copy=False), None
    if problem.hashed:
        return
    values = None
    for dtype in dtypes:
        if values is None or data_class == "real":  # integers are the same in both types
            shape = {name: products.tensor_shape(problem, name) for name in products.SCALES_REAL}
            values = {name: products.draw(problem, data_class, dtype, name, user_seed).reshape(shape[name]) for name in shape}
            x, dy = products.expert_rows(problem, gather, values["x"], values["dy"])
            w = values["w"]
            products.assert_power(problem, x, w, dy)
            if data_class == "real":
                x, w, dy = (a.astype("f8") for a in (x, w, dy))
                sums = products.grouped(m_sizes, x, w, dy)
                magnitudes = products.grouped(m_sizes, abs(x), abs(w), abs(dy))
            else:
                products.assert_exact(problem, data_class, x, w, dy)
                sums = products.grouped(m_sizes, x, w, dy)
        for name, array in values.items():
            yield dtype, name, products.round_bits(array, dtype), None
        if data_class == "real":
            for output, c, s in zip(OUTPUTS, sums, magnitudes, strict=True):
                yield dtype, f"{output}-c", c.astype("<f4"), output
                yield dtype, f"{output}-s", products.round_up(s).astype("<f4", copy=False), output
            continue
        bits = {output: products.round_output(c, dtype) for output, c in zip(OUTPUTS, sums, strict=True)}
        for output in OUTPUTS:
            yield dtype, output, bits[output], output
        if problem.gemm == "W2":
            yield dtype, "y_mul", products.multiplied(bits["y"], weights, gather, dtype), None
        elif problem.topk > 1:
            yield dtype, "dx_reduced", products.reduced(problem, bits["dx"], gather, dtype), None


class Corpus:
    """The folders and the manifest; what a worker process needs to make one problem and class."""

    def __init__(self, golden_dir, cache_dir, user_seed=0):
        self.golden_dir, self.cache_dir, self.user_seed = golden_dir, cache_dir, user_seed
        self.problems = {problem.key: problem for problem in table.read(golden_dir)}
        self.manifest = {}

    def read_manifest(self):
        with open(os.path.join(self.golden_dir, "manifest.tsv"), encoding="ascii") as manifest:
            next(manifest)
            for line in manifest:
                row = line.rstrip("\n").split("\t")
                self.manifest[row[0]] = tuple(row)

    def folder(self, kind):
        if self.user_seed:
            return os.path.join(self.cache_dir, f"seed-{self.user_seed}")
        return self.golden_dir if kind == "committed" else self.cache_dir

    def make(self, task):
        """Makes a task's arrays, writes those with a file, and returns their manifest rows. With a manifest in hand,
        a difference is an error, and a task whose files are all intact is left out."""
        key, data_class, dtypes = task
        problem = self.problems[key]
        if self.manifest and not self.user_seed and self.is_complete(task):
            return []
        rows = []
        for dtype, name, array, output in arrays(problem, data_class, dtypes, self.user_seed):
            stem = f"{key}/{data_class}-{dtype}-{name}" if dtype else f"{key}/{data_class}-{name}"
            if not output:
                kind = "derived" if name in ("y_mul", "dx_reduced") else "drawn"
            elif problem.is_derived(data_class, dtype, output):
                kind = "derived"
            else:
                kind = "committed" if problem.is_committed(data_class, dtype, output) else "generated"
            has_file = kind in ("committed", "generated")
            path = stem + ".npy" if has_file else stem
            row = manifest_row(path, array, kind)
            if self.manifest and not self.user_seed and self.manifest.get(path) != row:
                raise ValueError(f"made '{path}' differs from golden/manifest.tsv: {row[1:4]}, not {self.manifest.get(path)}")
            if has_file:
                files.write_array(os.path.join(self.folder(kind), path), array)
            rows.append(row)
        return rows

    def is_complete(self, task):
        key, data_class, dtypes = task
        wanted = [
            row
            for row in self.manifest.values()
            if row[4] in ("committed", "generated") and row[0].startswith(tuple(f"{key}/{data_class}-{d}-" for d in dtypes))
        ]
        return bool(wanted) and all(files.is_intact(os.path.join(self.folder(row[4]), row[0]), row[3]) for row in wanted)

    def tasks(self, only):
        """[(key, class, dtypes)], the heaviest first; `only` is a list of (key, class, dtype) or None for all."""
        if only is None:
            only = [(p.key, c, d) for p in self.problems.values() for c in p.classes for d in p.dtypes]
        wanted = {}
        for key, data_class, dtype in only:
            problem = self.problems.get(key)
            if problem is None or data_class not in problem.classes or dtype not in problem.dtypes:
                raise ValueError(f"no data '{key} {data_class} {dtype}' in golden/problems.tsv")
            wanted.setdefault((key, data_class), set()).add(dtype)
        tasks = [(key, data_class, tuple(sorted(dtypes))) for (key, data_class), dtypes in wanted.items()]

        def work(task):
            p = self.problems[task[0]]
            return 0 if p.hashed else (p.M * p.N * p.K + p.E * p.N * p.K) * (4 if task[1] == "real" else 1) * len(task[2])

        return sorted(tasks, key=work, reverse=True)


class Progress:
    """One live line on a terminal; in a log a line every five seconds at most."""

    def __init__(self, what, total):
        self.what, self.total, self.done, self.begun = what, total, 0, time.monotonic()
        self.live, self.shown = sys.stderr.isatty(), time.monotonic()

    def step(self):
        self.done += 1
        now = time.monotonic()
        if self.live or now - self.shown >= 5 or self.done == self.total:
            self.shown = now
            left = (now - self.begun) / self.done * (self.total - self.done)
            text = f"{self.what}: {self.done} of {self.total}, {left:.0f} s left"
            if self.done == self.total:
                text = f"{self.what}: {self.total} in {now - self.begun:.1f} s"
            print(f"\r\033[K{text}" if self.live else text, end="" if self.live and self.done < self.total else "\n",
                  file=sys.stderr, flush=True)


def run(what, function, tasks, jobs, finished=None):
    """function over tasks in processes; results in order of the tasks, finished(results so far) after each. After an
    error or Ctrl-C the tasks that have begun are finished, so that files stay whole, and the others are dropped."""
    progress = Progress(what, len(tasks))
    results = []
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(max(1, min(jobs, len(tasks))), context, signal.signal, (signal.SIGINT, signal.SIG_IGN)) as pool:
        try:
            for result in pool.map(function, tasks):
                results.append(result)
                progress.step()
                if finished:
                    finished(results)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return results


def lock(cache_dir):
    os.makedirs(cache_dir, exist_ok=True)
    handle = open(os.path.join(cache_dir, ".lock"), "w", encoding="ascii")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print("goldens: waiting for another run that is generating", file=sys.stderr, flush=True)
        fcntl.flock(handle, fcntl.LOCK_EX)
    return handle


def write_manifest(golden_dir, rows):
    """rows by path; that of hashes.tsv, whose digest is of the whole file, is made here."""
    with open(os.path.join(golden_dir, "hashes.tsv"), "rb") as hashes:
        text = hashes.read()
    rows["hashes.tsv"] = ("hashes.tsv", "text", str(len(text)), hashlib.sha256(text).hexdigest(), "committed")
    lines = ["\t".join(rows[path]) + "\n" for path in sorted(rows)]
    files.write_lines(os.path.join(golden_dir, "manifest.tsv"), [MANIFEST_HEADER, *lines])
    print(f"manifest: {len(rows)} rows", file=sys.stderr)


def finish_committed(corpus, results):
    """After the tasks have written their arrays: the routing, the manifest, and no file that has lost its problem."""
    rows = {row[0]: row for result in results for row in result}
    for problem in corpus.problems.values():
        for name, array in zip(("m_sizes", "gather_indices"), routing.make(problem), strict=True):
            path = f"routing/{problem.routing}/{name}.npy"
            files.write_array(os.path.join(corpus.golden_dir, path), array)
            rows[path] = manifest_row(path, array, "committed")
    for root, _, names in os.walk(corpus.golden_dir):
        for name in names:
            path = os.path.relpath(os.path.join(root, name), corpus.golden_dir)
            if name.endswith(".npy") and rows.get(path, ("",))[-1] != "committed":
                os.unlink(os.path.join(root, name))
    write_manifest(corpus.golden_dir, rows)


def read_only(path):
    with sys.stdin if path == "-" else open(path, encoding="utf-8") as lines:
        wanted = [re.split(r"[/\s]+", line.strip()) for line in lines if line.strip()]
    for fields in wanted:
        if len(fields) != 3:
            raise ValueError(f"line '{' '.join(fields)}' is not 'KEY CLASS DTYPE'")
    return [tuple(fields) for fields in wanted]


def parse(argv):
    parser = argparse.ArgumentParser(description="Makes the arrays of the corpus.")
    parser.add_argument("--golden-dir", default=os.path.join(os.path.dirname(HERE), "golden"))
    parser.add_argument("--cache-dir", default=os.path.expanduser("~/.cache/moegemm/golden"))
    parser.add_argument("--only", metavar="FILE", help="lines 'KEY CLASS DTYPE' (or KEY/CLASS/DTYPE); '-' is standard input")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)), help="processes (default: the cores)")
    parser.add_argument("--seed", type=int, default=0, help="other data, into a folder of its own, outside the manifest")
    parser.add_argument("--limit", type=float, default=4.0, metavar="GIB", help="bound of the cache, oldest problems go first (default: 4)")
    parser.add_argument("--committed", action="store_true", help="maintainers: rewrite golden/ and its manifest")
    parser.add_argument("--hashes", action="store_true", help="maintainers: add what golden/hashes.tsv lacks")
    return parser.parse_args(argv)


def make_hashes(corpus, jobs):
    """Adds what is missing in hashes.tsv, the quickest first, and drops what has lost its problem. The file is
    written after each problem: all take half an hour of a core."""
    path = os.path.join(corpus.golden_dir, "hashes.tsv")
    hashed = {(p.key, dtype): p for p in corpus.problems.values() if p.hashed for dtype in p.dtypes}
    with open(path, encoding="ascii") as table:
        kept = [line for line in table.readlines()[1:] if tuple(line.split("\t")[:2]) in hashed]
    there = {tuple(line.split("\t")[:2]) for line in kept}
    missing = [(p, dtype) for (key, dtype), p in hashed.items() if (key, dtype) not in there]

    def work(task):
        p = task[0]
        return p.E * p.N * p.K + p.M * p.N * p.K / 1000

    def write(results):
        lines = kept + [line for result in results for line in result]
        files.write_lines(path, [hash_goldens.HEADER, *sorted(lines)])

    write([])
    run("hash goldens", hash_goldens.rows, sorted(missing, key=work), jobs, write)


def make_all(options):
    corpus = Corpus(options.golden_dir, options.cache_dir, options.seed)
    if options.hashes:
        make_hashes(corpus, min(options.jobs, 2))  # some GiB each
        corpus.read_manifest()
        write_manifest(options.golden_dir, corpus.manifest)
        return
    if not options.committed:
        corpus.read_manifest()
    tasks = corpus.tasks(read_only(options.only) if options.only else None)
    results = run("goldens", corpus.make, tasks, options.jobs)
    if options.committed:
        finish_committed(corpus, results)
    kept = {os.path.join(corpus.folder("generated"), key) for key, _, _ in tasks}
    files.trim(options.cache_dir, int(options.limit * (1 << 30)), kept)


def main(argv):
    options = parse(argv)
    if options.committed and (options.only or options.seed):
        print("generate: error: --committed takes neither --only nor --seed", file=sys.stderr)
        return 4
    try:
        with lock(options.cache_dir):
            for folder in (options.cache_dir, options.golden_dir):
                files.remove_leftovers(folder)
            make_all(options)
    except OSError as error:
        advice = " (free some, or set MOEGEMM_CACHE to another disk)" if error.errno == errno.ENOSPC else ""
        print(f"generate: error: {(error.strerror or str(error)).lower()}: '{error.filename}'{advice}", file=sys.stderr)
        return 1
    except (ValueError, AssertionError) as error:
        print(f"generate: error: {error}", file=sys.stderr)
        return 1
    except BrokenProcessPool:
        print("generate: error: a process was killed, perhaps for memory (try fewer --jobs)", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("generate: interrupted; what is finished is kept", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
