"""Measure fits of rows that are larger than memory, and of rows on a cluster; `make bench-scale` runs it.

The rows are made here, in a file of 3.2 GB (--folder names where), and the file is removed at the end. What is compared
runs in turn, each time in processes of its own, and a ratio is that of the medians, its spread the lowest and the highest
ratio of a pair. The results file has one key for each kind of measurement, and chapter 13 of the book reads it:

    date, sizes, minutes    when; "all" or "tiny" (--quick); how long it took
    versions, machine       of what was measured, and where
    file                    a fit of the file, and of the same rows as an array: SHAPE, bytes, passes, ratio (above one, the
                            file is faster), low, high, difference (largest, of the parameters), array and file: seconds (of
                            each fit), rate (rows a second in a pass), extra (bytes of memory above the interpreter, peak)
    cost                    seconds of a pass of one core: points of SHAPE, seconds; model: seconds for each multiplication
                            and addition, for each entry of the log-joint, and for each number of T(x), fitted to the points
    cluster                 one pass of Dask, with one worker process and with two: SHAPE, partitions, passes, one and two
                            (seconds of each fit), ratio, low, high, difference (largest, of the parameters)
    kills                   fits on two workers one of which is killed: SHAPE, seconds (of an undisturbed fit), runs of at
                            (seconds from the beginning to the kill), seconds, difference
    message                 bytes of the statistics of a partition and of the parameters, as they are sent, for SHAPEs

    SHAPE                   rows, features, components
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
import warnings
from datetime import datetime, timezone
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))

from bench import machine, rounded, versions  # noqa: E402

from gmm_lit import GaussianMixture  # noqa: E402

RESULTS = Path(__file__).resolve().parent.parent / "nbs" / "scale.json"
SIZES = {"all": dict(file=(100_000_000, 4, 8), pairs=3, cluster=(20_000_000, 8, 8), partitions=80, kills=5, cost=400_000),
         "tiny": dict(file=(400_000, 4, 8), pairs=1, cluster=(200_000, 8, 8), partitions=8, kills=1, cost=40_000)}
PASSES = 5


def true_means(features, components):
    return 4 * np.random.default_rng(0).normal(size=(components, features))


def some_rows(rows, features, components, seed):
    """Rows of round components of deviation 1."""
    rng = np.random.default_rng([1, seed])
    means = true_means(features, components)
    return means[rng.integers(components, size=rows)] + rng.normal(size=(rows, features))


def same_start(features, components):
    """A mixture that begins near the truth and makes a fixed number of passes."""
    means = true_means(features, components) + 0.5 * np.random.default_rng(2).normal(size=(components, features))
    return GaussianMixture(components, weights_init=np.full(components, 1 / components), means_init=means,
                           precisions_init=np.tile(np.eye(features), (components, 1, 1)), tol=0, max_iter=PASSES)


def fitted(X, features, components):
    """A fit and its seconds."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # five passes do not converge
        begun = time.perf_counter()
        gm = same_start(features, components).fit(X)
    return gm, time.perf_counter() - begun


def difference(a, b):
    """The largest, of parameters that were passed on as lists."""
    return max(float(np.abs(np.subtract(a[name], b[name])).max()) for name in ("weights", "means", "covariances"))


def told(gm):
    return {name: getattr(gm, f"{name}_").tolist() for name in ("weights", "means", "covariances")}


def shape_of(rows, features, components):
    return dict(rows=rows, features=features, components=components)


def compared(first, second):
    """The ratio of two lists of seconds, and its lowest and highest value of a pair: above one, the second is faster."""
    pairs = np.divide(first, second)
    return dict(ratio=float(np.median(first) / np.median(second)), low=float(pairs.min()), high=float(pairs.max()))


# -- a file -----------------------------------------------------------------------------------------------------------


def write_rows(path, rows, features, components, size=1_000_000):
    header = {"descr": "<f8", "fortran_order": False, "shape": (rows, features)}
    with open(path, "wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for seed, start in enumerate(range(0, rows, size)):
            file.write(some_rows(min(size, rows - start), features, components, seed).tobytes())


def memory(field):
    """VmRSS (now) or VmHWM (its peak) of this process in bytes; 0 where the system does not tell."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith(field)), 0)


def fit_here(kind, path, features, components):
    """What the worker process does: fit the file or an array of its rows, and print what happened."""
    fitted(some_rows(1000, features, components, 0), features, components)  # what is loaded lazily is loaded
    before = memory("VmRSS")
    gm, seconds = fitted(path if kind == "file" else np.load(path), features, components)
    print(json.dumps(dict(seconds=seconds, extra=memory("VmHWM") - before, **told(gm))))


def measure_file(rows, features, components, pairs, folder):
    path = Path(folder) / "rows.npy"
    write_rows(path, rows, features, components)
    runs = {"array": [], "file": []}
    try:
        for _ in range(pairs):
            for kind in runs:
                command = [sys.executable, __file__, "--worker", kind, str(path), str(features), str(components)]
                runs[kind].append(json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout))
                print(f"  {kind}: {runs[kind][-1]['seconds']:.1f} s, {runs[kind][-1]['extra'] / 2 ** 20:.0f} MiB", flush=True)
    finally:
        size = path.stat().st_size
        path.unlink()
    seconds = {kind: [run["seconds"] for run in some] for kind, some in runs.items()}
    parts = {kind: dict(seconds=seconds[kind], rate=rows * PASSES / float(np.median(seconds[kind])),
                        extra=max(run["extra"] for run in some)) for kind, some in runs.items()}
    return dict(shape_of(rows, features, components), bytes=size, passes=PASSES, **parts, **compared(*seconds.values()),
                difference=max(difference(a, b) for a, b in zip(*runs.values())))


# -- all of it --------------------------------------------------------------------------------------------------------


def measure(sizes, only, folder):
    """The results by section; those not asked for are left out."""
    jobs = {"file": lambda: measure_file(*sizes["file"], sizes["pairs"], folder)}
    results = {}
    for section in only or jobs:
        print(section, flush=True)
        results[section] = jobs[section]()
    return results


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="tiny sizes, some seconds in all; the numbers say little")
    parser.add_argument("--only", nargs="+", metavar="SECTION", help="measure these, and keep what the results file says of others")
    parser.add_argument("--folder", help="where the file of rows is made (a temporary folder)")
    parser.add_argument("--out", type=Path, default=RESULTS, help="the results file")
    parser.add_argument("--worker", nargs=4, help=argparse.SUPPRESS)
    return parser.parse_args()


def main():
    args = arguments()
    if args.worker:
        kind, path, features, components = args.worker
        return fit_here(kind, path, int(features), int(components))
    begun, sizes = time.perf_counter(), "tiny" if args.quick else "all"
    about = dict(date=datetime.now(timezone.utc).date().isoformat(), sizes=sizes, versions=versions(), machine=machine())
    before = json.loads(args.out.read_text(encoding="utf-8")) if args.only and args.out.exists() else {}
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        measured = measure(SIZES[sizes], args.only, folder)
    results = before | about | dict(minutes=(time.perf_counter() - begun) / 60) | measured
    args.out.write_text(json.dumps(rounded(results), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
