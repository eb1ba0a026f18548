"""Hostile input: a right answer, or a ValueError or TypeError that names the parameter. Nothing else."""

import re
import time
import warnings
from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gmm_lit import ConvergenceWarning, GaussianMixture, GaussianMixtureSearch
from gmm_lit.covariances import STRUCTURES
from gmm_lit.initializers import INITIALIZERS

FITTED = ("weights_", "means_", "covariances_", "precisions_", "precisions_cholesky_", "lower_bounds_")
NAMED = re.compile(r"\b(X|sample_weight|n_components|n_samples|covariance_type|reg_covar|init_params|prior|update|weights_init|means_init|"
                   r"precisions_init|random_state|n_init|max_iter|tol)\b")

# --- what is done with a case


@contextmanager
def nothing_else_happens():
    """No warning but that of no convergence, NumPy's global random numbers left alone, and an end within seconds."""
    before, begin = np.random.get_state(), time.monotonic()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield
    after = np.random.get_state()
    assert before[0] == after[0] and np.array_equal(before[1], after[1]) and before[2:] == after[2:]
    assert time.monotonic() - begin < 60


def answer(call, *args, **options):
    """What a call returns, or None if it refuses in words that name a parameter."""
    try: return call(*args, **options)
    except (ValueError, TypeError) as error:
        assert not isinstance(error, np.linalg.LinAlgError), f"a bare {error!r}"
        assert NAMED.search(str(error)), f"names no parameter: {error!r}"
        return None


def log_joint(gm, X):
    """`log(weight * density)` (n, K) by the book, in long double."""
    K, d = gm.means_.shape
    U = np.broadcast_to(gm._structure.form.expand(gm._parameters.precisions_cholesky, d), (K, d, d)).astype(np.longdouble)
    means, weights = gm.means_.astype(np.longdouble), gm.weights_.astype(np.longdouble)
    white = np.einsum("nki,kij->nkj", np.asarray(X, np.longdouble)[:, None] - means, U)
    with np.errstate(divide="ignore"):
        return np.log(weights) + np.log(np.einsum("kii->ki", U)).sum(1) - (white ** 2).sum(2) / 2 - d * np.log(2 * np.longdouble(np.pi)) / 2


def check_fitted(gm, X):
    """Nothing is NaN, and the labels are those of the densities."""
    for name in FITTED:
        value = np.asarray(getattr(gm, name))
        assert np.isfinite(value).all(), f"{name} is {value}"
    assert (gm.weights_ >= 0).all() and abs(gm.weights_.sum(dtype=float) - 1) < 1e-6
    assert (gm._structure.form.diagonal(gm._parameters.precisions_cholesky) > 0).all()
    labels, resp, score = gm.predict(X), gm.predict_proba(X), gm.score_samples(X).astype(float)
    n, K = len(labels), len(gm.weights_)
    assert labels.shape == score.shape == (n,) and resp.shape == (n, K) and labels.min() >= 0 and labels.max() < K
    assert not np.isnan(score).any() and (score < np.inf).all() and np.isfinite(resp).all() and (resp >= 0).all()
    np.testing.assert_allclose(resp.sum(1), 1, atol=1e-6)
    truth = log_joint(gm, X)
    size = 1 + np.abs(truth).max(1)                           # a number that is rounded, as everything is
    loose = (1e-3 if gm.means_.dtype == np.float32 else 1e-7) * size
    assert np.all(truth[np.arange(n), labels] >= truth.max(1) - loose), "a wrong label"
    total = truth.max(1) + np.log(np.exp(truth - truth.max(1, keepdims=True)).sum(1))
    least = -1e38 if gm.means_.dtype == np.float32 else -1e299           # what is less has no number, but is not more
    told = total > least
    assert np.all(np.abs(score - total)[told] <= loose[told]) and (score[~told] <= least * 0.99).all(), "a wrong density"
    rows, drawn = gm.sample(3)
    assert np.isfinite(rows).all() and drawn.max() < K
    assert not any(np.isnan(value) for value in (gm.score(X), gm.aic(X), gm.bic(X), gm.icl(X), gm.nec(X)))
    assert isinstance(gm.collapsed_components(), list)


def try_case(X, options, sample_weight=None):
    """Fit, and judge the rows of the fit; returns the model if there is one."""
    rows = np.array(X, copy=True) if isinstance(X, np.ndarray) else None
    weight = np.array(sample_weight, copy=True) if isinstance(sample_weight, np.ndarray) else None
    with nothing_else_happens():
        gm = answer(GaussianMixture(**options).fit, X, sample_weight=sample_weight)
        if gm is not None:
            check_fitted(gm, X)
            if isinstance(X, np.ndarray) and X.dtype in (float, np.float32):     # and rows that it has not seen
                strange = np.clip(np.array(X[:5], float) * -1e6, -9e99, 9e99)
                check_fitted(gm, np.clip(strange, -1e37, 1e37).astype(X.dtype) if X.dtype == np.float32 else strange)
    if rows is not None: np.testing.assert_array_equal(rows, X)
    if weight is not None: np.testing.assert_array_equal(weight, sample_weight)
    return gm


# --- cases

def clumps(rng, n, d): return rng.normal(size=(n, d)) + 6 * rng.integers(0, 3, (n, 1))


SHAPES = {
    "clumps": clumps,
    "constant": lambda rng, n, d: np.full((n, d), rng.normal()),
    "zeros": lambda rng, n, d: np.zeros((n, d)),
    "two distinct": lambda rng, n, d: rng.normal(size=(2, d))[rng.integers(0, 2, n)],
    "duplicates": lambda rng, n, d: clumps(rng, max(n // 4, 1), d)[rng.integers(0, max(n // 4, 1), n)],
    "one differs": lambda rng, n, d: np.where(np.arange(n)[:, None] == 0, 1.0, np.zeros((n, d))),
    "collinear": lambda rng, n, d: clumps(rng, n, 1) @ rng.normal(size=(1, d)),
    "nearly collinear": lambda rng, n, d: clumps(rng, n, 1) @ rng.normal(size=(1, d)) + 1e-9 * rng.normal(size=(n, d)),
    "constant column": lambda rng, n, d: np.where(np.arange(d) == 0, 7.0, clumps(rng, n, d)),
    "grid": lambda rng, n, d: rng.integers(0, 3, (n, d)).astype(float),
    "outlier": lambda rng, n, d: np.where(np.arange(n)[:, None] == n // 2, 1e8, clumps(rng, n, d)),
    "uneven scales": lambda rng, n, d: clumps(rng, n, d) * 10.0 ** rng.integers(-8, 9, d),
    "far away": lambda rng, n, d: clumps(rng, n, d) + 1e9,
    "heavy tails": lambda rng, n, d: rng.standard_cauchy((n, d)) ** 3,
    "binary": lambda rng, n, d: (rng.random((n, d)) < 0.3).astype(float),
}
SCALES = [1.0, 1.0, 1.0, 1e-3, 1e6, 1e-20, 1e20, 1e-100, 1e90, 1e-150, 1e-160, 1e-310, 1e99, 1e150]


def masked(X): return np.ma.masked_array(X, mask=np.zeros(X.shape, bool))


KINDS = {
    "plain": lambda X: X, "list": lambda X: X.tolist(), "Fortran": np.asfortranarray, "reversed": lambda X: X[::-1],
    "mirrored": lambda X: X[:, ::-1], "strided": lambda X: np.repeat(np.repeat(X, 2, 0), 3, 1)[::2, ::3],
    "float32": lambda X: X.astype(np.float32), "float16": lambda X: X.astype(np.float16), "longdouble": lambda X: X.astype(np.longdouble),
    "int8": lambda X: X.astype(np.int8), "uint8": lambda X: X.astype(np.uint8), "int64": lambda X: X.astype(np.int64),
    "bool": lambda X: X > 0, "object": lambda X: X.astype(object), "big endian": lambda X: X.astype(">f8"), "masked": masked,
    "matrix": lambda X: X.view(np.matrix), "tuple": lambda X: tuple(map(tuple, X)),
}
WEIGHTS = {
    "none": lambda rng, n: None, "ones": lambda rng, n: np.ones(n), "counts": lambda rng, n: rng.integers(0, 4, n),
    "uniform": lambda rng, n: rng.random(n), "wild": lambda rng, n: 10.0 ** rng.uniform(-300, 90, n),
    "subnormal": lambda rng, n: np.full(n, 5e-324) * rng.integers(1, 9, n), "one row": lambda rng, n: (np.arange(n) == 0) * 1.0,
    "zeros": lambda rng, n: np.zeros(n), "negative": lambda rng, n: -rng.random(n), "infinite": lambda rng, n: np.where(np.arange(n) == n // 2, np.inf, 1.0),
    "NaN": lambda rng, n: np.where(np.arange(n) == n // 2, np.nan, 1.0), "list": lambda rng, n: [1] * n, "too long": lambda rng, n: np.ones(n + 1),
}


@st.composite
def cases(draw):
    """Rows, options and weights."""
    pick = lambda table: draw(st.sampled_from(list(table)))
    rng, n, d = np.random.default_rng(draw(st.integers(0, 10 ** 6))), draw(st.integers(1, 40)), draw(st.integers(1, 4))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")                       # conversions of rows that do not fit the type
        X = KINDS[pick(KINDS)](SHAPES[pick(SHAPES)](rng, n, d) * draw(st.sampled_from(SCALES)))
    options = dict(n_components=draw(st.integers(1, 6)), covariance_type=pick(STRUCTURES), init_params=pick(INITIALIZERS),
                   reg_covar=draw(st.sampled_from([1e-6, 1e-6, 0, 1e-3, 1e-12, 1e-200, 1e10, 1e200])),
                   accelerate=draw(st.sampled_from([None, None, "squarem"])), prior=draw(st.sampled_from([None, None, "default"])),
                   update=draw(st.sampled_from(["wmc", "wmc", "wmc", "wc", "mc", "wm", "c", "m"])), tol=draw(st.sampled_from([1e-3, 0, 1e-9])),
                   max_iter=draw(st.sampled_from([100, 20, 3, 1, 0])), n_init=draw(st.sampled_from([1, 1, 2])), random_state=draw(st.integers(0, 9)))
    return X, options, WEIGHTS[draw(st.sampled_from([*WEIGHTS, *["none"] * 10, *["counts"] * 3]))](rng, n)


quiet = dict(deadline=None, suppress_health_check=list(HealthCheck))


@settings(max_examples=250, derandomize=True, **quiet)
@given(cases())
def test_generated_cases(case):
    X, options, weight = case
    try_case(X, options, weight)


@pytest.mark.slow
@settings(max_examples=10_000, database=None, **quiet)
@given(cases())
def test_ten_thousand_generated_cases(case):
    X, options, weight = case
    try_case(X, options, weight)
