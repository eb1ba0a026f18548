"""Measure gmm_lit beside scikit-learn, in one process and from the same starts; `make bench` runs it.

What is compared is run in turn (this package, scikit-learn, this package, ...). A ratio is that of the medians, and its
spread the lowest and highest ratio of a pair. One iteration is the difference of two fits, of one and of many iterations.
The results file has one key for each kind of measurement, and chapter 20 of the book draws it:

    date, sizes, minutes    when; "all", or "tiny" (--quick), or "at most N rows" (--rows); how long it took
    versions, machine       of what was measured, and where: processor, cores, caches, load before the run
    iteration               one EM iteration: RACE, LIKELIHOOD, iterations (of the longer fit, by package)
    fit                     whole default fits, repeat i with random_state=i: RACE, LIKELIHOOD, data, scores and
                            iterations (of each repeat, by package)
    predict                 what is asked of a fitted mixture: RACE, method
    float32                 one iteration of this package on float32 and float64 rows: RACE, LIKELIHOOD
    memory                  a default fit of two iterations in a process of its own: SHAPE, extra (MiB by package)
    matmul                  rates (GFLOP/s) of a large float64 product in NumPy, its best, and the rate and share of
                            it that an iteration reaches
    cost                    one iteration of both against rows, features and components: against, slope (by package), points
    profile                 parts of an iteration in one thread: SHAPE, parts (seconds of each, by name)
    quality                 default fits of eight data sets with 20 seeds each: SHAPE, data, scores (by package), gain,
                            error (the standard error of the gain)
    threads                 one iteration of this package: SHAPE, seconds with one thread, with all cores' threads, and in
                            as many processes at once, each on rows of its own
    small                   where the time goes on few rows: SHAPE, parts (seconds), call (seconds of one product of two
                            arrays of components x rows); exp (seconds a number, by dtype) and product (GFLOP/s of one
                            thread in float32 and float64)
    summary                 geometric means of ratios, and the worst or mean of the rest

    SHAPE        structure, rows, features, components
    RACE         SHAPE, seconds (by contestant, every repeat), ratio, low, high: above one, the first is faster
    LIKELIHOOD   gain: mean log-likelihood of a row, the first contestant's minus the other's
"""

import argparse
import json
import os
import platform
import statistics
import sys
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from functools import partial
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_info
from tqdm import tqdm

import gmm_lit
from gmm_lit.covariances import get_structure
from gmm_lit.datasets import load_diabetes, load_faithful, load_iris
from gmm_lit.densities import FullForm, natural_parameters
from gmm_lit.em import Parameters
from gmm_lit.engine import Rows, Workspace, block_size, choose_kernel, cores, e_step, em_step, exponentials, m_step, one_blas_thread

try:
    from sklearn.datasets import load_breast_cancer, load_digits, load_wine
    from sklearn.mixture import GaussianMixture as SklearnMixture
except ImportError:
    SklearnMixture = None

RESULTS = Path(__file__).resolve().parent.parent / "nbs" / "benchmarks.json"
OURS, THEIRS = "gmm_lit", "scikit-learn"
PACKAGES = {OURS: gmm_lit.GaussianMixture, THEIRS: SklearnMixture}
SPREAD = 4  # means are drawn about 5.7 standard deviations apart, whatever the number of features

# structure, rows, features, components: how many times faster than scikit-learn an iteration should be
ITERATIONS = {
    ("full", 1_000_000, 2, 8): 30,
    ("full", 500_000, 8, 8): 10,
    ("full", 200_000, 16, 16): 14,
    ("full", 200_000, 32, 64): 20,
    ("full", 50_000, 64, 32): 7,
    ("tied", 1_000_000, 4, 8): 15,
    ("tied", 200_000, 16, 16): 25,
    ("diag", 1_000_000, 4, 8): 6,
    ("diag", 200_000, 16, 64): 8,
    ("diag", 100_000, 64, 32): 3,
    ("spherical", 1_000_000, 4, 8): 6,
    ("spherical", 200_000, 16, 64): 8,
    ("full", 300, 2, 3): 3,
}
PREDICTIONS = [(method, ("full", 1_000_000, d, K)) for d, K in ((8, 8), (16, 16))
               for method in ("predict", "predict_proba", "score_samples")]
LARGE = 100_000  # rows, from which float32 is measured
MEMORY = [(structure, 1_000_000, 16, 16) for structure in ("full", "tied", "diag", "spherical")]
PRODUCT = ("full", 200_000, 32, 64)  # its rate is compared with the machine's matrix product
COST = {
    "rows": [("full", n, 8, 8) for n in (1_000, 10_000, 100_000, 1_000_000)],
    "features": [("full", 50_000, d, 8) for d in (2, 4, 8, 16, 32, 64)],
    "components": [("full", 50_000, 8, K) for K in (2, 4, 8, 16, 32, 64)],
}
PROFILES = [("full", 1_000_000, 2, 8), ("full", 200_000, 16, 16), ("full", 200_000, 32, 64), ("full", 50_000, 64, 32)]
THREADS = [PROFILES[0], ("full", 500_000, 8, 8), PRODUCT]
SMALL = ("full", 300, 2, 3)
TARGETS = {"iteration": 12, "fit": 6, "predict": 8, "float32": 1.6, "share": 0.45, "memory": 64, "gain": -1e-4, "quality": 0}


@dataclass(frozen=True)
class Effort:
    """How large and how often: at most so many rows, features and components; repeats, and when they are enough."""

    sizes: tuple = (10**9, 10**9, 10**9)
    seconds: float = 8.0  # after so long no further pair is begun
    patience: float = 6.0  # after so many times longer, even fewer than `least` pairs will do
    least: int = 3
    most: int = 7
    run: float = 0.3  # the longer of the two fits that measure an iteration takes about so long
    matrix: int = 3000

    def cut(self, shape):
        """The shape, made no larger than `sizes`."""
        return (shape[0], *map(min, shape[1:], self.sizes))


QUICK = Effort(sizes=(3000, 4, 4), seconds=0.1, least=2, most=2, run=0.005, matrix=300)


# -- data and starts --------------------------------------------------------------------------------------------------


def made_rows(rows, features, components):
    """Rows of spherical components of deviation one, and their means."""
    rng = np.random.default_rng(0)
    means = rng.normal(size=(components, features)) * SPREAD / np.sqrt(features)
    X = rng.standard_normal((rows, features))
    for i in range(0, rows, 10_000):  # in blocks, so that the peak of the memory is the rows themselves
        X[i : i + 10_000] += means[rng.integers(components, size=len(X[i : i + 10_000]))]
    return X, means


def same_start(structure, means):
    """Options for either package: equal weights, the given means, unit covariances, and no early end."""
    K, d = means.shape
    shape = get_structure(structure).shape(K, d)
    matrices = structure in ("full", "tied")
    precisions = np.broadcast_to(np.eye(d), shape).copy() if matrices else np.ones(shape)
    return dict(n_components=K, covariance_type=structure, tol=0, weights_init=np.full(K, 1 / K), means_init=means,
                precisions_init=precisions)


def real_data():
    """Data sets by name: rows, and the number of components to fit."""
    digits = load_digits().data
    centered = digits - digits.mean(0)
    directions = np.linalg.svd(centered, full_matrices=False)[2][:8]
    return {"Old Faithful": (load_faithful().data, 2), "iris": (load_iris().data, 3),
            "digits, 8 principal components": (centered @ directions.T, 10)}


def quality_data():
    """Eight data sets whose tops are not all easy to find: rows, and the number of components to fit."""
    standardized = [(X - X.mean(0)) / X.std(0) for X in (load_wine().data, load_breast_cancer().data)]
    directions = np.linalg.svd(standardized[1], full_matrices=False)[2][:5]
    rng = np.random.default_rng(5)
    ovals = [((0, 0), [[1, 0.5], [0.5, 1]]), ((2, 2), [[1, -0.5], [-0.5, 1]]), ((0, 3), [[0.3, 0], [0, 2]]), ((4, 0), [[2, 0], [0, 0.2]])]
    overlapping = np.concatenate([rng.multivariate_normal(mean, covariance, 500) for mean, covariance in ovals])
    twelve = np.concatenate([rng.normal(size=(300, 10)) + 1.2 * rng.normal(size=10) for _ in range(12)])
    return real_data() | {
        "diabetes, in its own units": (load_diabetes().data, 3), "wine, standardised": (standardized[0], 3),
        "breast cancer, 5 principal components": (standardized[1] @ directions.T, 4),
        "four clumps that overlap": (overlapping, 4), "twelve clumps in 10 features": (twelve, 12)}


# -- timing -----------------------------------------------------------------------------------------------------------


def timed(function, *arguments):
    """Seconds, and what the function returned."""
    start = time.perf_counter()
    result = function(*arguments)
    return time.perf_counter() - start, result


def in_turn(jobs, effort):
    """Run the jobs in turn, again and again.

    `job(i)` of repeat i returns seconds and something to keep; the two lists of each come back under the job's name.
    """
    kept, start = {name: [] for name in jobs}, time.perf_counter()
    for repeat in range(effort.most):
        limit = effort.seconds if repeat >= effort.least else effort.seconds * effort.patience
        if repeat and time.perf_counter() - start > limit:
            break
        for name, job in jobs.items():
            kept[name].append(job(repeat))
    return {name: tuple(map(list, zip(*pairs))) for name, pairs in kept.items()}


def race(jobs, effort):
    """How many times faster the first of two jobs is, with the spread of the pairs; and what the jobs returned."""
    done = in_turn(jobs, effort)
    first, other = (seconds for seconds, _ in done.values())
    pairs = [b / a for a, b in zip(first, other)]
    record = dict(seconds={name: seconds for name, (seconds, _) in done.items()},
                  ratio=statistics.median(other) / statistics.median(first), low=min(pairs), high=max(pairs))
    return record, [kept for _, kept in done.values()]


def described(shape):
    return dict(zip(("structure", "rows", "features", "components"), shape))


# -- what is measured -------------------------------------------------------------------------------------------------


def one_iteration(mixture, X, start, many, repeat):
    """Seconds of an iteration, as a difference of two fits, and the model of the longer one."""
    short, _ = timed(mixture(max_iter=1, **start).fit, X)
    long, model = timed(mixture(max_iter=many, **start).fit, X)
    return (long - short) / (many - 1) if long > short else long / many, model


def iterations_needed(mixture, X, start, effort):
    """How many iterations the longer fit shall have, to take about `effort.run` seconds more; also a warm-up."""
    seconds = min(timed(mixture(max_iter=1, **start).fit, X)[0] for _ in range(2 if len(X) < LARGE else 1))
    return 1 + int(np.clip(effort.run / seconds, 1, 400))


def measure_iteration(shape, effort):
    X, means = made_rows(*shape[1:])
    start = same_start(shape[0], means)
    many = {name: iterations_needed(mixture, X, start, effort) for name, mixture in PACKAGES.items()}
    many[OURS] = max(many.values())  # both pass through the same log-likelihoods, and are compared at scikit-learn's last
    jobs = {name: partial(one_iteration, mixture, X, start, many[name]) for name, mixture in PACKAGES.items()}
    record, (ours, theirs) = race(jobs, effort)
    gain = float(ours[0].lower_bounds_[many[THEIRS] - 1] - theirs[0].lower_bound_)
    return dict(described(shape), **record, gain=gain, iterations=many)


def measure_float32(shape, effort):
    X, means = made_rows(*shape[1:])
    start, mixture = same_start(shape[0], means), gmm_lit.GaussianMixture
    many = iterations_needed(mixture, X, start, effort)
    jobs = {str(rows.dtype): partial(one_iteration, mixture, rows, start, many) for rows in (X.astype("f4"), X)}
    record, (single, double) = race(jobs, effort)
    gain = float(single[0].lower_bound_ - double[0].lower_bound_)
    return dict(described(shape), **record, gain=gain, iterations=dict.fromkeys(jobs, many))


def default_fit(mixture, X, structure, components, repeat):
    """Seconds of a fit with default options, and the score of its rows and the iterations it took."""
    model = mixture(components, covariance_type=structure, random_state=repeat)
    seconds, _ = timed(model.fit, X)
    return seconds, (model.score(X), model.n_iter_)


def measure_fit(shape, effort, name="made", X=None):
    X = made_rows(*shape[1:])[0] if X is None else X
    jobs = {package: partial(default_fit, mixture, X, shape[0], shape[3]) for package, mixture in PACKAGES.items()}
    record, kept = race(jobs, effort)
    scores, iterations = zip(*(zip(*pairs) for pairs in kept))
    return dict(described(shape), data=name, **record, gain=float(np.mean(scores[0]) - np.mean(scores[1])),
                scores=dict(zip(PACKAGES, scores)), iterations=dict(zip(PACKAGES, iterations)))


def measure_real(effort, name, X, components):
    return measure_fit(("full", *X.shape, components), effort, name, X)


def measure_quality(seeds, name, X, components):
    """Where default fits end, from the same seeds; the packages draw different numbers from them."""
    scores = {package: [default_fit(mixture, X, "full", components, seed)[1][0] for seed in range(seeds)]
              for package, mixture in PACKAGES.items()}
    gain = float(np.mean(scores[OURS]) - np.mean(scores[THEIRS]))
    error = float(np.sqrt(sum(np.var(values) for values in scores.values()) / seeds))
    return dict(described(("full", *X.shape, components)), data=name, scores=scores, gain=gain, error=error)


def measure_predict(method, shape, effort):
    X, means = made_rows(*shape[1:])
    start = same_start(shape[0], means)
    models = {name: mixture(max_iter=1, **start).fit(X[:10_000]) for name, mixture in PACKAGES.items()}
    jobs = {name: lambda repeat, model=model: (timed(getattr(model, method), X)[0], None) for name, model in models.items()}
    return dict(described(shape), method=method, **race(jobs, effort)[0])


def measure_cost(against, effort):
    """One iteration at several sizes, and the slope: cost grows as this power of what is changed."""
    shapes = dict.fromkeys(map(effort.cut, COST[against]))
    points = [measure_iteration(shape, effort) for shape in shapes]
    sizes = [point[against] for point in points]
    slope = {name: float(np.polyfit(np.log(sizes), [np.log(statistics.median(p["seconds"][name])) for p in points], 1)[0])
             for name in PACKAGES}
    return dict(against=against, slope=slope, points=points)


def measure_parts(shape, effort):
    """Seconds of each part of an iteration of full covariances, summed over blocks of rows, in one thread."""
    X, means = made_rows(*shape[1:])
    (n, d), (K, _) = X.shape, means.shape
    space, center = Workspace(K, d, block_size(FullForm.size(d), K), FullForm), X[:1000].mean(0)
    theta = natural_parameters(np.full(K, 1 / K), means - center, np.tile(np.eye(d), (K, 1, 1)), FullForm)
    with one_blas_thread():
        visits = [visit_in_parts(X, center[:, None], theta, space) for _ in range(1 + effort.least)]
    parts = {name: [visit[name] for visit in visits[1:]] for name in visits[0]}
    return dict(described(shape), parts=parts)


def normalize(space):
    """What `ProductKernel.respond` does between the products."""
    total = exponentials(space.joint, out=space.scratch[0])
    np.log(total, out=space.scratch[1])
    np.multiply(space.joint, np.reciprocal(total, out=total), out=space.resp)


def visit_in_parts(X, center, theta, space):
    """One iteration's visit to the whole blocks of rows: seconds by part."""
    seconds, size = dict.fromkeys(("statistics T", "product: log-joint", "softmax", "product: sums"), 0.0), space.T.shape[1]
    for i in range(0, len(X) - size + 1, size):
        work = (lambda: space.load(X[i : i + size], center), lambda: space.judge(theta),
                lambda: normalize(space), lambda: space.sums(space.resp))
        for part, job in zip(seconds, work):
            seconds[part] += timed(job)[0]
    return seconds


def iteration_alone(shape, n_jobs, seconds):
    """The least seconds of an iteration from the true means, in repeats that fill so many seconds; any process may call it."""
    X, means = made_rows(*shape[1:])
    rows, structure, (K, d) = Rows(X), get_structure(shape[0]), means.shape
    params = Parameters(np.full(K, 1 / K), means, *[np.tile(np.eye(d), (K, 1, 1))] * 2)
    with one_blas_thread():
        times, begin = [], time.perf_counter()
        while len(times) < 3 or time.perf_counter() - begin < seconds:
            times.append(timed(em_step, rows, params, structure, 1e-6, n_jobs)[0])
    return min(times)


def measure_threads(shape, effort):
    """One iteration in one thread, in a thread for each core, and in a process for each core, each on rows of its own."""
    few, many = (iteration_alone(shape, jobs, effort.seconds / 4) for jobs in (1, None))
    with ProcessPoolExecutor(cores(), mp_context=get_context("spawn")) as pool:
        together = max(pool.map(iteration_alone, *zip(*[(shape, 1, effort.seconds / 2)] * cores())))
    return dict(described(shape), seconds={"one thread": few, "threads": many, "processes": together})


def measure_small(shape, effort):
    """The parts of an iteration where rows are few, what one call of NumPy costs there, and what single precision can gain."""
    X, means = made_rows(*shape[1:])
    rows, structure, (K, d) = Rows(X), get_structure(shape[0]), means.shape
    params = Parameters(np.full(K, 1 / K), means, *[np.tile(np.eye(d), (K, 1, 1))] * 2)
    kernel = choose_kernel(params, rows.center, structure.form, structure.shared, X.dtype)
    stats, small = e_step(rows, kernel), np.ones((K, len(X)))
    work = {"choose the kernel": lambda: choose_kernel(params, rows.center, structure.form, structure.shared, X.dtype),
            "E step": lambda: e_step(rows, kernel), "M step": lambda: m_step(stats, structure, 1e-6, None, X.dtype, params)}
    parts = {name: least_of(job) for name, job in work.items()}
    block, size = -np.random.default_rng(0).random((8, 4096)), min(effort.matrix, 1000)
    floats = {name: block.astype(name) for name in ("float32", "float64")}
    exp = {name: least_of(lambda: np.exp(x, out=np.empty_like(x))) / block.size for name, x in floats.items()}
    with one_blas_thread():
        squares = {name: np.ones((size, size), name) for name in floats}
        product = {name: 2e-9 * size**3 / least_of(lambda: square @ square, 5) for name, square in squares.items()}
    return dict(described(shape), parts=parts, call=least_of(lambda: np.multiply(small, small, out=small)), exp=exp, product=product)


def least_of(job, repeats=200):
    """The least seconds of a short job."""
    return min(timed(job)[0] for _ in range(repeats))


def matmul_rates(size, repeats=5):
    """GFLOP/s of a product of two square float64 matrices, by all cores."""
    A, B = np.random.default_rng(0).random((2, size, size))
    out = np.empty_like(A)
    return [2e-9 * size**3 / timed(np.matmul, A, B, out)[0] for _ in range(repeats)]


# -- memory, in a process of its own ----------------------------------------------------------------------------------


def peak_memory():
    """The most memory that this process ever held, in bytes.

    Linux hands ru_maxrss down from the parent process, so the kernel's own mark is read where there is one.
    """
    status = Path("/proc/self/status")
    marks = [line.split()[1] for line in status.read_text().splitlines() if line.startswith("VmHWM")] if status.exists() else []
    if marks:
        return 1024 * int(marks[0])
    import resource
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def extra_memory(package, shape):
    """MiB that a fit takes above its rows; to be called in a fresh process."""
    warnings.simplefilter("ignore")
    mixture = partial(PACKAGES[package], shape[3], covariance_type=shape[0], random_state=0, max_iter=2)
    X, _ = made_rows(*shape[1:])
    mixture().fit(X[:1000])
    before = peak_memory()
    mixture().fit(X)
    return (peak_memory() - before) / 2**20


def measure_memory(shape):
    extra = {}
    for package in PACKAGES:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            extra[package] = pool.submit(extra_memory, package, shape).result()
    return dict(described(shape), extra=extra)


# -- versions and machine ---------------------------------------------------------------------------------------------


def versions():
    blas = {f"{lib['internal_api']} {lib['version']} ({lib.get('architecture')})" for lib in threadpool_info()
            if lib["user_api"] == "blas"}
    return dict(python=platform.python_version(), **{name: version(name) for name in ("numpy", "scipy", "scikit-learn")},
                gmm_lit=gmm_lit.__version__, blas=sorted(blas))


def machine():
    return dict(cpu=cpu_name(), cores=cores(), caches=caches(), system=platform.system(), load=os.getloadavg()[0])


def cpu_name():
    info = Path("/proc/cpuinfo")
    names = [line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")] \
        if info.exists() else []
    return names[0] if names else platform.processor() or platform.machine()


def caches():
    """Sizes of the first core's caches, as the system writes them; empty where it does not tell."""
    found = {}
    for folder in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        level, kind, size = ((folder / name).read_text().strip() for name in ("level", "type", "size"))
        found[f"L{level}" + {"Data": "d", "Instruction": "i"}.get(kind, "")] = size
    return found


# -- all of it --------------------------------------------------------------------------------------------------------


def plan(effort, quick):
    """Everything to measure: pairs of a section of the results and a function that returns a record for it."""
    def unique(shapes):
        return list(dict.fromkeys(map(effort.cut, shapes)))

    fits = replace(effort, least=2, most=5)
    points = replace(effort, least=2, most=3, seconds=effort.seconds / 8, run=effort.run / 2)
    shapes = unique(ITERATIONS)
    # float32 is for many rows; with tiny sizes one shape does
    large = unique(PROFILES[:1]) if quick else unique(shape for shape in ITERATIONS if shape[1] >= LARGE)
    jobs = [("memory", partial(measure_memory, shape)) for shape in unique(MEMORY)[: 1 if quick else None]]
    jobs += [("iteration", partial(measure_iteration, shape, effort)) for shape in shapes]
    jobs += [("fit", partial(measure_fit, shape, fits)) for shape in shapes]
    jobs += [("fit", partial(measure_real, replace(fits, most=20 if not quick else 2), name, *data))
             for name, data in real_data().items()]
    jobs += [("predict", partial(measure_predict, method, effort.cut(shape), points)) for method, shape in PREDICTIONS]
    jobs += [("float32", partial(measure_float32, shape, points)) for shape in large]
    jobs += [("cost", partial(measure_cost, against, points)) for against in COST]
    jobs += [("profile", partial(measure_parts, shape, effort)) for shape in unique(PROFILES)]
    jobs += [("quality", partial(measure_quality, 2 if quick else 20, name, *data)) for name, data in list(quality_data().items())[: 2 if quick else None]]
    jobs += [("threads", partial(measure_threads, shape, effort)) for shape in unique(THREADS)[: 1 if quick else None]]
    return jobs + [("small", partial(measure_small, SMALL, effort))]


def measure(effort, sizes):
    """Measure everything; the whole results file as a dictionary."""
    start = time.perf_counter()
    results = dict(date=datetime.now(timezone.utc).date().isoformat(), sizes=sizes, minutes=None, versions=versions(),
                   machine=machine())
    rates = matmul_rates(effort.matrix)
    with tqdm(plan(effort, sizes == "tiny"), disable=None, unit="") as bar:
        for section, job in bar:
            bar.set_description(section)
            results.setdefault(section, []).append(job())
    rates += matmul_rates(effort.matrix)
    results["matmul"] = share_of_product(results["iteration"], effort.cut(PRODUCT), rates)
    results["summary"] = summary(results)
    results["minutes"] = (time.perf_counter() - start) / 60
    return rounded(results)


def share_of_product(records, shape, rates):
    """The rate of an iteration, 4 n K P operations, against the best rate of the machine's matrix product."""
    record = next(record for record in records if tuple(described(shape).values()) == tuple(record[k] for k in described(shape)))
    _, n, d, K = shape
    rate = 4e-9 * n * K * FullForm.size(d) / statistics.median(record["seconds"][OURS])
    return dict(described(shape), rates=rates, best=max(rates), iteration=rate, share=rate / max(rates))


def summary(results):
    means = {section: statistics.geometric_mean(record["ratio"] for record in results[section])
             for section in ("iteration", "fit", "predict", "float32")}
    gains = {key: statistics.fmean(record["gain"] for record in results[section]) for key, section in (("gain", "fit"), ("quality", "quality"))}
    return dict(means, **gains,
                share=results["matmul"]["share"], memory=max(record["extra"][OURS] for record in results["memory"]))


def rounded(value, digits=4):
    """The same with floats of four digits, which is more than timing can give; scores keep eight."""
    if isinstance(value, dict):
        return {key: rounded(item, 8 if key == "scores" else digits) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [rounded(item, digits) for item in value]
    return float(f"{value:.{digits}g}") if isinstance(value, float) else value


# -- telling ----------------------------------------------------------------------------------------------------------


def name_of(record):
    size = f"{record['rows']:,} / {record['features']} / {record['components']}"
    extra = record.get("method") or record.get("data", "made")
    return f"{record['structure']:9s} {size:22s}" + (f" {extra}" if extra != "made" else "")


def verdict(value, target, smaller=False):
    """What to say beside a number: nothing, or that it is a loss or short of its target."""
    if target is None:
        return "  LOSES" if value < 1 else ""
    missed = value > target if smaller else value < target
    loses = not smaller and value < 1 < target
    return f"  target {target:g}" + (", LOSES" if loses else ", missed" if missed else "")


def ratio_lines(title, records, targets=()):
    lines = [f"\n{title}"]
    for record in records:
        target = dict(targets).get(tuple(record[key] for key in ("structure", "rows", "features", "components")))
        spread = f"({record['low']:.1f} to {record['high']:.1f})"
        gain = f"  log-likelihood {record['gain']:+.0e}" if "gain" in record else ""
        lines.append(f"  {name_of(record):62s} {record['ratio']:6.1f} {spread:18s}{gain}{verdict(record['ratio'], target)}")
    return lines


def report(results):
    """The results as text: ratios with their spread, targets, and where this package loses."""
    total, product = results["summary"], results["matmul"]
    lines = ratio_lines("One iteration, times scikit-learn", results["iteration"], ITERATIONS)
    lines += ratio_lines("A default fit, times scikit-learn", results["fit"])
    lines += ratio_lines("Asking a fitted mixture, times scikit-learn", results["predict"])
    lines += ratio_lines("One iteration, float32 against float64", results["float32"])
    lines += ["\nPeak memory above the rows, MiB"]
    lines += [f"  {name_of(record):62s} {record['extra'][OURS]:6.0f} (scikit-learn {record['extra'][THEIRS]:.0f})"
              f"{verdict(record['extra'][OURS], TARGETS['memory'], True)}" for record in results["memory"]]
    lines += ["\nDefault fits from 20 seeds, gain in log-likelihood"]
    lines += [f"  {name_of(record):62s} {record['gain']:+8.5f} (standard error {record['error']:.5f})" for record in results["quality"]]
    lines += ["\nThreads and processes, times one thread"]
    lines += [f"  {name_of(record):62s} {s['one thread'] / s['threads']:.2f} and {cores() * s['one thread'] / s['processes']:.2f}"
              for record in results["threads"] for s in [record["seconds"]]]
    lines += ["\nCost of an iteration grows as a power of"]
    lines += [f"  {row['against']:12s} {row['slope'][OURS]:.2f} (scikit-learn {row['slope'][THEIRS]:.2f})" for row in results["cost"]]
    lines += ["\nAll together"] + [f"  {text:62s} {total[key]:6.2g}{verdict(total[key], TARGETS[key], key == 'memory')}"
                                   for key, text in SUMMARIES.items()]
    lines += [f"  (the product reaches {product['best']:.0f} GFLOP/s, an iteration {product['iteration']:.0f})"]
    return "\n".join(lines)


SUMMARIES = {
    "iteration": "one iteration, geometric mean",
    "fit": "a default fit, geometric mean",
    "gain": "a default fit, mean gain in log-likelihood",
    "quality": "20 default fits of each of 8 data sets, mean gain",
    "predict": "asking a fitted mixture, geometric mean",
    "float32": "float32 against float64, geometric mean",
    "share": "share of the machine's matrix product",
    "memory": "most memory above the rows, MiB",
}


def write(results, path):
    """JSON with a line for each record, so that two runs can be compared line by line."""
    def text(value):
        if isinstance(value, list):
            return "[\n  " + ",\n  ".join(map(json.dumps, value)) + "\n ]"
        return json.dumps(value)

    lines = [f" {json.dumps(key)}: {text(value)}" for key, value in results.items()]
    Path(path).write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="tiny sizes: does it run? The numbers mean nothing")
    parser.add_argument("--rows", type=int, help="no more rows than this")
    parser.add_argument("--out", default=RESULTS, help="the results file (nbs/benchmarks.json)")
    return parser.parse_args()


def main():
    asked = arguments()
    if SklearnMixture is None:
        print("The benchmark compares with scikit-learn, which is not installed: pip install scikit-learn")
        return 1
    warnings.simplefilter("ignore")
    effort, sizes = (QUICK, "tiny") if asked.quick else (Effort(), "all")
    if asked.rows and not asked.quick:
        effort, sizes = replace(effort, sizes=(asked.rows, *effort.sizes[1:])), f"at most {asked.rows:,} rows"
    if os.getloadavg()[0] > 0.5:
        print(f"The machine is busy (load {os.getloadavg()[0]:.1f}): ratios will suffer.")
    results = measure(effort, sizes)
    write(results, asked.out)
    print(report(results))
    print(f"\nWritten after {results['minutes']:.1f} minutes: {Path(asked.out).name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
