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
    single = np.float32 in (gm.means_.dtype, getattr(X, "dtype", None))
    loose = (1e-3 if single else 1e-7) * size                 # float32 rows are computed with in float32
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


@settings(max_examples=25, derandomize=True, **quiet)
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


SPOILED = {"NaN": np.nan, "infinity": np.inf, "minus infinity": -np.inf, "1e150": 1e150, "-1e101": -1e101}


@st.composite
def starts(draw):
    """Starts that a user gives: right, or wrong in some way."""
    rng, K, d = np.random.default_rng(draw(st.integers(0, 10 ** 6))), draw(st.integers(1, 4)), draw(st.integers(1, 3))
    name = draw(st.sampled_from(list(STRUCTURES)))
    structure, given = STRUCTURES[name], {}
    shape = structure.shape(K, d)
    square = np.broadcast_to(np.eye(d), shape) if shape[-2:] == (d, d) and len(shape) > 1 else np.ones(shape)
    values = {"weights_init": rng.dirichlet(np.ones(K)), "means_init": rng.normal(size=(K, d)), "precisions_init": square * rng.uniform(0.1, 5)}
    for key, value in values.items():
        if not draw(st.booleans()): continue
        value = np.array(value)
        match draw(st.sampled_from(["right"] * 6 + ["spoiled", "negative", "tiny", "huge", "shape", "text", "list", "object"])):
            case "spoiled": value.flat[rng.integers(value.size)] = SPOILED[draw(st.sampled_from(list(SPOILED)))]
            case "negative": value = -value
            case "tiny": value = value * 1e-300
            case "huge": value = value * 1e200
            case "shape": value = value[None]
            case "text": value = "text"
            case "list": value = value.tolist()
            case "object": value = value.astype(object)
        given[key] = value
    return rng.normal(size=(30, d)), dict(n_components=K, covariance_type=name, max_iter=draw(st.sampled_from([0, 1, 10])), **given,
                                          update=draw(st.sampled_from(["wmc", "w", "m", "c", "mc"])), random_state=0)


@settings(max_examples=25, derandomize=True, **quiet)
@given(starts())
def test_given_starts(case): try_case(*case)


@pytest.mark.slow
@settings(max_examples=3000, database=None, **quiet)
@given(starts())
def test_three_thousand_given_starts(case): try_case(*case)


# --- a table of cases

WHOLE = np.random.default_rng(0).integers(0, 2, (40, 3)) * [[1, 50, 100]] + np.random.default_rng(1).integers(0, 9, (40, 3))


def memory_mapped(X):
    import tempfile
    with tempfile.NamedTemporaryFile(suffix=".npy", delete=False) as file: np.save(file, X)
    return np.load(file.name, mmap_mode="r")


def read_only(X):
    X = X.copy()
    X.flags.writeable = False
    return X


@pytest.mark.parametrize("kind", [*(name for name in KINDS if name != "bool"), "memory-mapped", "read-only", "0 in front", "deep list"])
@pytest.mark.thorough
def test_any_kind_of_array_gives_the_answer_of_a_plain_one(kind):
    more = {"memory-mapped": memory_mapped, "read-only": read_only, "0 in front": lambda X: np.concatenate([X[:1] * 0, X])[1:],
            "deep list": lambda X: [[np.float64(x) for x in row] for row in X]}
    X = (KINDS | more)[kind](WHOLE.astype(float))
    plain = np.array(X, float)
    options = dict(n_components=3, means_init=plain[[0, 9, 30]], max_iter=20)
    gm, expected = try_case(X, options), try_case(plain, options)
    np.testing.assert_allclose(gm.means_, expected.means_, rtol=1e-4)
    np.testing.assert_array_equal(gm.predict(X), expected.predict(plain))


@pytest.mark.parametrize("bad", [np.float64(3), np.zeros(()), [], [[]], np.zeros((0, 2)), np.zeros((5, 0)), np.zeros((0, 0)), np.zeros((2, 2, 2)), None,
                                 "text", {"a": 1}, {1, 2}, object(), [[1, "a"]], [[1, 2], [3]], [[1, None], [2, 3]], np.zeros((4, 2), "V8"),
                                 np.zeros((4, 2), "M8[s]"), np.zeros((4, 2), complex), np.array([["1", "x"]] * 3), lambda: 1, 1, True, b"xy", range(5)],
                         ids=lambda bad: repr(bad)[:30].replace("\n", " "))
def test_what_are_no_rows(bad):
    fitted = GaussianMixture(2, random_state=0).fit(WHOLE[:, :2])
    with nothing_else_happens():
        for call in (GaussianMixture(1).fit, GaussianMixture(1).fit_predict, fitted.predict, fitted.predict_proba, fitted.score_samples,
                     fitted.score, fitted.bic, GaussianMixtureSearch([1], covariance_types=["tied"]).fit):
            assert answer(call, bad) is None, call


@pytest.mark.parametrize("name", SPOILED)
def test_a_bad_number_is_found(name):
    fitted = GaussianMixture(2, random_state=0).fit(WHOLE)
    for dtype in (float, np.longdouble, object):
        bad = WHOLE.astype(dtype)
        bad[17, 1] = SPOILED[name]
        for call in (GaussianMixture(1).fit, fitted.predict, fitted.predict_proba, fitted.score_samples, fitted.score, fitted.aic):
            with pytest.raises(ValueError, match="X must be finite and within 1e100.*row 17, column 1"): call(bad)


@pytest.mark.parametrize("covariance_type, init_params", [pytest.param(name, init, marks=[] if (i + j) % 7 == 0 and init != "short_runs" else pytest.mark.slow)
                                                          for i, name in enumerate(STRUCTURES) for j, init in enumerate(INITIALIZERS)])
@pytest.mark.thorough
def test_more_components_than_distinct_rows(covariance_type, init_params):
    for X in (np.ones((8, 2)), np.repeat([[0.0, 0.0], [1.0, 5.0]], 4, axis=0)):
        gm = try_case(X, dict(n_components=5, covariance_type=covariance_type, init_params=init_params, random_state=0, max_iter=20))
        assert gm is not None and (len(np.unique(X)) == 1 or gm.predict(X)[0] != gm.predict(X)[7])
        assert gm.collapsed_components()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.thorough
def test_searches(shape):
    X = SHAPES[shape](np.random.default_rng(0), 30, 2)
    with nothing_else_happens():
        search = GaussianMixtureSearch([1, 2], covariance_types=["full", "EII"], random_state=0, n_jobs=1)
        try: search.fit(X)
        except ValueError as error: assert re.search("No model could be chosen|reg_covar", str(error))
        else: check_fitted(search.best_estimator_, X)
        assert len(search.results_) == 4 and all(row["error"] or np.isfinite(row["log_likelihood"]) for row in search.results_)


def test_rows_too_far_for_any_number():
    """Their densities are less than float64 can say, and the nearest component is still the nearest."""
    for covariance_type in STRUCTURES:
        gm = GaussianMixture(2, covariance_type=covariance_type, weights_init=[0.5, 0.5], means_init=[[-1e-160] * 2, [1e-160] * 2], max_iter=0,
                             precisions_init=np.broadcast_to(np.eye(2) if STRUCTURES[covariance_type].form.shape(2) == (2, 2) else 1.0,
                                                             STRUCTURES[covariance_type].shape(2, 2)) * 1e300).fit(WHOLE[:, :2])
        with nothing_else_happens():
            far = np.array([[9e99, 9e99], [-9e99, -9e99], [0, 0]])
            assert (gm.score_samples(far)[:2] <= -1e299).all() and gm.score_samples(far)[2] > 0
            assert np.isfinite(gm.predict_proba(far)).all() and not np.isnan(gm.score(far))
        apart = gm.set_params(means_init=[[-1e90, 0], [1e90, 0]]).fit(WHOLE[:, :2])
        assert apart.predict([[-9e99, 0], [9e99, 0], [1e90, 5.0], [-1e91, 5.0]]).tolist() == [0, 1, 1, 0]
