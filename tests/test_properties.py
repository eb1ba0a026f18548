"""What holds for any data: the likelihood never falls, and nothing that should not matter does."""

import warnings

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gmm_lit import GaussianMixture, GaussianMixtureSearch
from gmm_lit.covariances import STRUCTURES
from gmm_lit.datasets import load_faithful
from gmm_lit.em import em, em_by_loops
from gmm_lit.engine import (CenteredKernel, Rows, add_up, block_size, choose_kernel, e_step,
                            em_step, start_from)
from gmm_lit.initializers import INITIALIZERS, kmeans_plusplus, kmeans_step, lloyd, nearest

quick = settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
types = st.sampled_from(list(STRUCTURES))
seeds = st.integers(0, 10_000)


def rows_of(seed, n=None, d=None):
    rng = np.random.default_rng(seed)
    n, d = n or rng.integers(20, 200), d or rng.integers(1, 6)
    X = rng.normal(size=(n, d)) * rng.uniform(0.1, 10, d) + 5 * rng.normal(size=(3, d))[rng.integers(3, size=n)]
    return X + rng.normal(size=d) * 10


def fit(X, K=3, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return GaussianMixture(K, **{"random_state": 0, "reg_covar": 1e-3, **options}).fit(X)


@quick
@given(seeds, types, st.sampled_from(list(INITIALIZERS)), st.integers(1, 5))
def test_likelihood_never_falls_and_parameters_make_sense(seed, covariance_type, init_params, K):
    X = rows_of(seed)
    structure = STRUCTURES[covariance_type]
    resp = np.random.default_rng(seed).dirichlet(np.ones(K), size=len(X)).T
    rows = Rows(X)
    start = start_from(rows, lambda block: resp[:, block], structure, K)
    run = em(lambda p: em_step(rows, p, structure), start, tol=0, max_iter=10)  # no regularisation: EM's own promise
    assert np.all(np.diff(run.log_likelihoods) > -1e-9)
    gm = fit(X, K, covariance_type=covariance_type, init_params=init_params)
    assert abs(gm.weights_.sum() - 1) < 1e-12 and (gm.weights_ >= 0).all()
    assert all(np.isfinite(a).all() for a in (gm.means_, gm.covariances_, gm.precisions_, gm.score_samples(X)))
    assert (np.linalg.eigvalsh(gm.full_covariances()) > 0).all()
    np.testing.assert_allclose(gm.predict_proba(X).sum(1), 1)


@quick
@given(seeds, types)
def test_order_of_rows_features_and_components(seed, covariance_type):
    X, rng = rows_of(seed), np.random.default_rng(seed)
    means = X[rng.choice(len(X), 3, replace=False)]
    options = dict(covariance_type=covariance_type, max_iter=10, tol=0)
    base = fit(X, means_init=means, **options)
    order, features, components = (rng.permutation(k) for k in (len(X), X.shape[1], 3))
    for other, back in [(fit(X[order], means_init=means, **options), lambda m: m),
                        (fit(X[:, features], means_init=means[:, features], **options), lambda m: m[:, np.argsort(features)]),
                        (fit(X, means_init=means[components], **options), lambda m: m[np.argsort(components)])]:
        np.testing.assert_allclose(other.lower_bound_, base.lower_bound_, rtol=1e-7)
        np.testing.assert_allclose(back(other.means_), base.means_, rtol=1e-5, atol=1e-5)


@quick
@given(seeds, types, st.floats(1e-3, 1e3), st.floats(-1e3, 1e3))
def test_shift_and_scale(seed, covariance_type, scale, shift):
    X = rows_of(seed)
    means = X[np.random.default_rng(seed).choice(len(X), 3, replace=False)]
    options = dict(covariance_type=covariance_type, max_iter=10, tol=0)
    base = fit(X, means_init=means, reg_covar=1e-3, **options)
    moved = fit(X * scale + shift, means_init=means * scale + shift, reg_covar=1e-3 * scale ** 2, **options)
    np.testing.assert_allclose(moved.means_, base.means_ * scale + shift, rtol=1e-5, atol=1e-5 * scale)
    np.testing.assert_allclose(moved.covariances_ / scale ** 2, base.covariances_, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(moved.lower_bound_, base.lower_bound_ - X.shape[1] * np.log(scale), rtol=1e-7, atol=1e-7)


@quick
@given(seeds, types)
def test_weights_of_rows_are_copies(seed, covariance_type):
    X, rng = rows_of(seed), np.random.default_rng(seed)
    copies = rng.integers(0, 4, len(X))
    copies[:4] = 1
    structure, params = STRUCTURES[covariance_type], fit(X, covariance_type=covariance_type)._parameters
    weighted, repeated = Rows(X, copies.astype(float)), Rows(np.repeat(X, copies, axis=0))
    for center in (weighted.center, repeated.center):
        kernel = choose_kernel(params, center, structure.form, structure.shared)
        weighted.center, repeated.center = center, center
        weighted._totals, repeated._totals = {}, {}
        a, b = e_step(weighted, kernel), e_step(repeated, kernel)
        np.testing.assert_allclose(a.log_likelihood, b.log_likelihood, rtol=1e-10)
        loose = 1e3 if covariance_type in ("EVE", "VVE") else 1   # a search that stops at 1e-12 of a height knows places to 1e-6
        for x, y in zip(structure.m_step(a, 1e-3), structure.m_step(b, 1e-3)):
            np.testing.assert_allclose(x, y, rtol=1e-8 * loose, atol=1e-6 if loose > 1 else 1e-10)


@pytest.mark.parametrize("covariance_type", STRUCTURES)
@pytest.mark.parametrize("n", [1, 2, 63, 16384, 16385, 40_000])
@pytest.mark.thorough
def test_any_number_of_threads_and_blocks(covariance_type, n):
    X = rows_of(1, n=n, d=2)
    structure = STRUCTURES[covariance_type]
    params = fit(rows_of(1, n=500, d=2), covariance_type=covariance_type)._parameters
    rows = Rows(X)
    kernel = choose_kernel(params, rows.center, structure.form, structure.shared)
    one, *others = (e_step(Rows(X), kernel, n_jobs) for n_jobs in (1, 2, 5, None))
    for other in others:
        assert np.array_equal(one.sums, other.sums) and one.log_likelihood == other.log_likelihood
    by_hand = np.log(params.weights)[:, None] + structure.form.log_density(X, params.means, params.precisions_cholesky[None] if structure.shared else params.precisions_cholesky)
    np.testing.assert_allclose(one.log_likelihood, np.logaddexp.reduce(by_hand).sum(), rtol=1e-10)


def test_engine_equals_loops():
    X = rows_of(3, n=300, d=4)
    gm = fit(X, 4)
    weights, means, covariances, log_likelihood = em_by_loops(X, gm.weights_, gm.means_, gm.covariances_, 1e-3)
    new, score = em_step(Rows(X), gm._parameters, STRUCTURES["full"], 1e-3)
    np.testing.assert_allclose(score, log_likelihood, rtol=1e-12)
    np.testing.assert_allclose(new.weights, weights, rtol=1e-10)
    np.testing.assert_allclose(new.means, means, rtol=1e-10)
    np.testing.assert_allclose(new.covariances, covariances, rtol=1e-8, atol=1e-10)


@quick
@given(seeds, st.integers(1, 8))
def test_kmeans(seed, K):
    X = rows_of(seed)
    rows = Rows(X)
    rng = np.random.default_rng(seed)
    centers, inertias = lloyd(rows, kmeans_plusplus(rows, K, rng), rng)
    assert np.all(np.diff(inertias) <= 1e-9 * inertias[0])
    squares = ((X[:, None] - centers) ** 2).sum(2)
    labels = nearest(rows, centers)
    np.testing.assert_allclose(squares[np.arange(len(X)), labels], squares.min(1), rtol=1e-7, atol=1e-7)
    np.testing.assert_allclose(kmeans_step(rows, centers)[1], squares.min(1).sum(), rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("convert", [
    lambda X: X.astype(np.float32), lambda X: X.astype(np.int8), lambda X: np.abs(X).astype(np.uint8), lambda X: X.astype(np.int64),
    np.asfortranarray, lambda X: X[::-1], lambda X: X[:, ::-1], lambda X: X.tolist(), lambda X: X.astype(object),
    lambda X: X.astype(np.longdouble), lambda X: X.astype(np.float16), lambda X: X.astype(">f8"), lambda X: np.ma.array(X),
], ids=lambda f: "")
def test_any_kind_of_array_and_it_is_not_changed(convert):
    X = convert(np.round(rows_of(5, n=120, d=3) / 3))
    plain = np.array(X, dtype=float)
    if isinstance(X, np.ndarray):
        X.flags.writeable = False
    gm, expected = fit(X), fit(plain)
    np.testing.assert_allclose(gm.means_, expected.means_, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(gm.predict(X), expected.predict(plain))
    np.testing.assert_array_equal(np.array(X, dtype=float), plain)


def test_global_random_state_is_left_alone():
    before = np.random.get_state()[1].copy()
    X = rows_of(0)
    gm = GaussianMixture(2, n_init=2).fit(X)
    gm.sample(10)
    assert np.array_equal(before, np.random.get_state()[1])


def test_blocks_cover_the_rows_once():
    for n in (1, 31, 32, 33, 1000):
        (total,) = add_up(lambda a, b: (list(range(a, b)),), n, 7)
        assert total == list(range(n))
    assert all(64 <= block_size(P, K) <= 16384 for P in (2, 50, 10 ** 6) for K in (1, 100, 10 ** 5))


@pytest.mark.parametrize("covariance_type", STRUCTURES)
@pytest.mark.thorough
def test_blocks_with_rows_far_from_everything(covariance_type):
    X = rows_of(2, n=40_000, d=3)
    X[[5, 20_000, 39_999]] = [[1e4, 0, 0], [-1e5, 1e5, 3], [50, 2000, -900]]
    structure, params = STRUCTURES[covariance_type], fit(rows_of(2, n=500, d=3), covariance_type=covariance_type)._parameters
    rows = Rows(X)
    kernel = choose_kernel(params, rows.center, structure.form, structure.shared)
    safe = CenteredKernel(params.means, structure.form, params, structure.shared)
    fast, slow = e_step(rows, kernel), e_step(rows, safe)
    np.testing.assert_allclose(fast.log_likelihood, slow.log_likelihood, rtol=1e-10)
    np.testing.assert_allclose(fast.counts, slow.counts, rtol=1e-8)
    np.testing.assert_allclose(fast.means, slow.means, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("covariance_type", STRUCTURES)
@pytest.mark.thorough
def test_float32_rows(covariance_type):
    X = rows_of(4, n=30_000, d=4)
    means = X[[10, 2000, 9000]]
    options = dict(covariance_type=covariance_type, means_init=means, max_iter=15, tol=0)
    double, single = fit(X, **options), fit(X.astype(np.float32), **options)
    np.testing.assert_allclose(single.means_, double.means_, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(single.lower_bound_, double.lower_bound_, rtol=1e-5)
    assert single.means_.dtype == np.float32 and np.isfinite(single.score_samples(X.astype(np.float32))).all()
    far = (X + 1e6).astype(np.float32)                    # float32 rounds these to 1/16: nothing worse may happen
    moved = fit(far, **{**options, "means_init": means + 1e6})
    assert abs(moved.score(far) - double.score(X)) < 0.05


@pytest.mark.filterwarnings("error")
@pytest.mark.thorough
def test_numbers_of_numpy_are_numbers():
    """As they come out of np.arange, or out of a data frame."""
    X, i = load_faithful().data, np.int64
    options = dict(n_components=2, max_iter=50, n_init=2, n_jobs=1, random_state=3, verbose_interval=5)
    reals = dict(tol=1e-4, reg_covar=1e-7)
    gm = GaussianMixture(**{k: i(v) for k, v in options.items()}, **{k: np.float32(v) for k, v in reals.items()}).fit(X)
    same = GaussianMixture(**options, **{k: float(np.float32(v)) for k, v in reals.items()}).fit(X)
    np.testing.assert_array_equal(gm.means_, same.means_)
    np.testing.assert_array_equal(gm.sample(i(5))[0], same.sample(5)[0])
    search = GaussianMixtureSearch(np.arange(1, 4), covariance_types=["full", "VEI"], random_state=i(0), n_jobs=i(1)).fit(X)
    assert search.best_params_ == GaussianMixtureSearch([1, 2, 3], covariance_types=["full", "VEI"], random_state=0, n_jobs=1).fit(X).best_params_
    for many in (i(100_000), np.int32(100_000), np.uint8(200)): assert GaussianMixture(np.uint8(2), max_iter=many, random_state=0).fit(X).converged_
