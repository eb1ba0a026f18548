"""Measure fits of rows that are larger than memory, and of rows on a cluster; `make bench-scale` runs it.

The rows are made here, in a file of 3.2 GB (--folder names where), and the file is removed at the end. What is compared
runs in turn, each time in processes of its own, and a ratio is that of the medians,
its spread the lowest and the highest ratio of a pair. The results file has one key for each kind of measurement, and chapter 13 of the book reads it:

    date, sizes, minutes    when; "all" or "tiny" (--quick); how long it took
    versions, machine       of what was measured, and where
    file                    a fit of the file, and of the same rows as an array: SHAPE, bytes, passes, ratio (above one, the
                            file is faster), low, high, difference (largest, of the parameters), array and file: seconds (of
                            each fit), rate (rows a second in a pass), extra (bytes of memory above the interpreter, peak)
    cost                    a pass of one core: points of SHAPE, seconds (of its processor), model (what the fitted model says); constants
                            of the model, in seconds: product (of each K x P), joint (of each K), statistic (of each P), row
    cluster                 one pass of Dask, with one worker process and with two: SHAPE, partitions, passes, one and two
                            (seconds of each fit), ratio, low, high, difference (largest, of the parameters)
    kills                   fits on two workers one of which is killed: SHAPE, seconds (of an undisturbed fit), runs of at
                            (seconds from the beginning to the kill), seconds, difference
    messages                what a pass sends: points of SHAPE, up (bytes of the sums of a partition), down (bytes of what a
                            worker gets); task: seconds of the processor that the
                            scheduler and the client spend on each partition of a pass

    SHAPE                   rows, features, components
"""

import argparse
import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from datetime import datetime, timezone
from pathlib import Path

import numpy as np

from gmm_lit import GaussianMixture
from gmm_lit.densities import FullForm
from gmm_lit.em import Parameters
from gmm_lit.engine import Rows, choose_kernel, e_step

RESULTS = Path(__file__).resolve().parent.parent / "nbs" / "scale.json"
SIZES = {"all": dict(file=(100_000_000, 4, 8), pairs=3, cluster=(20_000_000, 8, 8), partitions=80, kills=5, cost=400_000),
         "tiny": dict(file=(400_000, 4, 8), pairs=1, cluster=(400_000, 8, 8), partitions=40, kills=1, cost=40_000)}
PASSES, WORKER_MEMORY = 5, 300_000_000


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


# -- a cluster --------------------------------------------------------------------------------------------------------


def read_slice(path, start, stop):
    """Rows of a file, read into memory."""
    with open(path, "rb") as file:
        shape, _, dtype = np.lib.format.read_array_header_1_0(file) if np.lib.format.read_magic(file) == (1, 0) else None
        file.seek(start * shape[1] * dtype.itemsize, 1)
        return np.fromfile(file, dtype, (stop - start) * shape[1]).reshape(-1, shape[1])


def file_as_dask(path, rows, features, partitions):
    """A Dask array whose partitions workers read from the file when they need them, and forget."""
    import dask
    import dask.array as da
    edges = np.linspace(0, rows, partitions + 1).astype(int).tolist()
    parts = [da.from_delayed(dask.delayed(read_slice)(str(path), a, b), (b - a, features), float) for a, b in zip(edges, edges[1:])]
    return da.concatenate(parts)


def local_cluster(workers):
    from dask.distributed import LocalCluster
    return LocalCluster(n_workers=workers, threads_per_worker=1, processes=True, memory_limit=WORKER_MEMORY, dashboard_address=None,
                        silence_logs=logging.CRITICAL)  # a lost worker is what we want


def fit_on_cluster(workers, X, features, components, disturb=None):
    """A fit with some worker processes; `disturb(client)` begins when the fit does."""
    from dask.distributed import Client
    with local_cluster(workers) as cluster, Client(cluster) as client:
        client.run(fitted, some_rows(1000, features, components, 0), features, components)  # workers import what they need
        thread = disturb and disturb(client)
        gm, seconds = fitted(X, features, components)
        if thread: thread.join()
    return dict(seconds=seconds, **told(gm))


def measure_cluster(rows, features, components, partitions, pairs, folder):
    path = Path(folder) / "rows.npy"
    write_rows(path, rows, features, components)
    X, runs = file_as_dask(path, rows, features, partitions), {1: [], 2: []}
    try:
        for _ in range(pairs):
            for workers, some in runs.items():
                some.append(fit_on_cluster(workers, X, features, components))
                print(f"  {workers} workers: {some[-1]['seconds']:.1f} s", flush=True)
    finally:
        path.unlink()
    seconds = {workers: [run["seconds"] for run in some] for workers, some in runs.items()}
    apart = max(difference(a, b) for a in runs[1] for b in runs[2])
    return dict(shape_of(rows, features, components), partitions=partitions, passes=PASSES, worker_memory=WORKER_MEMORY,
                bytes=8 * rows * features, one=seconds[1], two=seconds[2],
                **compared(*seconds.values()), difference=apart)


def killing(after, told_when):
    """Kills one of the workers, with a signal that cannot be caught, so many seconds after the fit began."""
    def disturb(client):
        victim = sorted(client.run(os.getpid).values())[0]

        def kill():
            time.sleep(after)
            os.kill(victim, signal.SIGKILL)
            told_when.append(after)

        thread = threading.Thread(target=kill)
        thread.start()
        return thread
    return disturb


def measure_kills(rows, features, components, partitions, kills, folder):
    path = Path(folder) / "rows.npy"
    write_rows(path, rows, features, components)
    X, rng, runs = file_as_dask(path, rows, features, partitions), np.random.default_rng(), []
    try:
        quiet = fit_on_cluster(2, X, features, components)
        expected = quiet["seconds"]
        while len(runs) < kills:
            when, done = float(rng.uniform(0.05, 0.95)) * expected, []
            run = fit_on_cluster(2, X, features, components, killing(when, done))
            expected = min(expected, run["seconds"])
            if when > run["seconds"] - 0.5: continue  # other work on the machine had ended, and the fit before the kill
            runs.append(dict(at=when, seconds=run["seconds"], difference=difference(run, quiet), killed=len(done)))
            print(f"  killed after {when:.1f} s: {run['seconds']:.1f} s instead of {quiet['seconds']:.1f}, "
                  f"difference {runs[-1]['difference']:.0e}", flush=True)
    finally:
        path.unlink()
    return dict(shape_of(rows, features, components), partitions=partitions, seconds=quiet["seconds"], runs=runs)


# -- a model of the cost ----------------------------------------------------------------------------------------------


def kernel_and_rows(rows, features, components):
    start = same_start(features, components)
    params = Parameters(start.weights_init, start.means_init, start.precisions_init, start.precisions_init)  # units
    data = Rows(some_rows(rows, features, components, 0))
    return choose_kernel(params, data.center, FullForm), data


def pass_seconds(rows, features, components, repeats=7):
    """Seconds of the processor, the fewest of some repeats, for an E step in one thread."""
    kernel, data = kernel_and_rows(rows, features, components)
    times = []
    for _ in range(repeats + 1):
        begun = time.process_time()
        e_step(data, kernel, 1)
        times.append(time.process_time() - begun)
    return min(times[1:])


def measure_cost(size):
    """Passes over about as many numbers each, and the model that fits them best (in relative error)."""
    from scipy.optimize import nnls
    points = []
    for features in (2, 4, 8, 16, 32):
        for components in (2, 8, 32, 64):
            rows = max(size * 32 // (FullForm.size(features) + 4) // components // 1024, 4) * 1024
            points.append(dict(shape_of(rows, features, components), seconds=pass_seconds(rows, features, components)))
    K, P, n, seconds = (np.array(column, float) for column in zip(*((p["components"], FullForm.size(p["features"]), p["rows"], p["seconds"])
                                                                  for p in points)))
    terms = np.column_stack([K * P, K, P, np.ones(len(K))]) * (n / seconds)[:, None]
    constants, _ = nnls(terms, np.ones(len(K)))
    for point, share in zip(points, terms @ constants): point["model"] = float(share * point["seconds"])
    return dict(points=points, constants=dict(zip(("product", "joint", "statistic", "row"), constants.tolist())))


def measure_messages(partitions=200):
    """Bytes of what is sent, and the time that sending takes whatever is in it."""
    import dask.array as da
    from dask.distributed import Client
    from distributed.protocol.pickle import dumps
    from gmm_lit.cluster import DaskSource
    points = []
    for features, components in ((4, 8), (8, 8), (32, 8), (32, 64)):
        kernel, data = kernel_and_rows(1000, features, components)
        sums = np.zeros(kernel.shape)
        points.append(dict(shape_of(1000, features, components), up=len(dumps((sums, 0.0))), down=len(dumps(kernel))))
    kernel, data = kernel_and_rows(10 * partitions, 4, 8)
    with local_cluster(2) as cluster, Client(cluster):
        source = DaskSource(da.from_array(data.X, chunks=(10, 4)))
        times = []
        for _ in range(5):
            begun = time.process_time()
            e_step(Rows(source), kernel)
            times.append(time.process_time() - begun)
    return dict(points=points, task=min(times) / partitions)


# -- all of it --------------------------------------------------------------------------------------------------------


def measure(sizes, only, folder):
    """Sections and their results, one after another; those not asked for are left out."""
    jobs = {"file": lambda: measure_file(*sizes["file"], sizes["pairs"], folder),
            "cluster": lambda: measure_cluster(*sizes["cluster"], sizes["partitions"], sizes["pairs"], folder),
            "cost": lambda: measure_cost(sizes["cost"]),
            "messages": lambda: measure_messages(),
            "kills": lambda: measure_kills(*sizes["cluster"], sizes["partitions"], sizes["kills"], folder)}
    for section in only or jobs:
        print(section, flush=True)
        yield section, jobs[section]()


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
    sys.path.insert(0, str(Path(__file__).resolve().parent))
    from bench import machine, rounded, versions  # here, since worker processes import this file, and need none of that

    begun, sizes = time.perf_counter(), "tiny" if args.quick else "all"
    about = dict(date=datetime.now(timezone.utc).date().isoformat(), sizes=sizes, versions=versions(), machine=machine())
    results = json.loads(args.out.read_text(encoding="utf-8")) if args.only and args.out.exists() else {}
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        for section, measured in measure(SIZES[sizes], args.only, folder):
            results = results | about | {"minutes": (time.perf_counter() - begun) / 60, section: measured}
            args.out.write_text(json.dumps(rounded(results), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
