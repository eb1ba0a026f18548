"""Nasty numbers, against 60-digit arithmetic: where products of raw moments would cancel."""

import mpmath
import numpy as np
import pytest

from gmm_lit import GaussianMixture, engine
from gmm_lit.covariances import STRUCTURES
from gmm_lit.densities import DiagForm, FullForm
from gmm_lit.engine import CenteredKernel, ProductKernel, Rows, choose_kernel, e_step

mpmath.mp.dps = 60


def exact_em(X, weights, means, covariances):
    """Log-densities and one full M step in 60 digits; arrays of mpf go in as floats and come out rounded."""
    n, d = X.shape
    exact = lambda a: mpmath.matrix(np.asarray(a).tolist())
    bells = []
    for w, m, C in zip(weights, means, covariances):
        C = exact(C)
        bells.append((mpmath.log(mpmath.mpf(float(w))) - (d * mpmath.log(2 * mpmath.pi) + mpmath.log(mpmath.det(C))) / 2, exact(m), C ** -1))
    rows = [exact(x) for x in X]
    joint = [[c - ((x - m).T * A * (x - m))[0] / 2 for c, m, A in bells] for x in rows]
    top = [max(j) for j in joint]
    log_prob = [t + mpmath.log(sum(mpmath.exp(a - t) for a in j)) for t, j in zip(top, joint)]
    new = []
    for k in range(len(bells)):
        r = [mpmath.exp(j[k] - p) for j, p in zip(joint, log_prob)]
        N = sum(r)
        mean = sum((x * w for x, w in zip(rows, r)), mpmath.matrix(d, 1)) / N
        cov = sum(((x - mean) * (x - mean).T * w for x, w in zip(rows, r)), mpmath.matrix(d, d)) / N
        new.append((N / n, mean, cov))
    floats = lambda matrix, *shape: np.array([float(v) for v in matrix]).reshape(shape)
    return (np.array([float(p) for p in log_prob]), np.array([float(w) for w, _, _ in new]),
            np.array([floats(m, d) for _, m, _ in new]), np.array([floats(C, d, d) for _, _, C in new]))


rng = np.random.default_rng(0)
ROUND = rng.normal(size=(40, 2))
TURNING = ("EEV", "VEV", "EVE", "VVE")  # these compare lengths along axes that lie across features
SIDE = np.repeat([0, 1], 20)
CASES = {
    "means near 1e8, unit deviation": (1e8 + np.array([[0, 0], [3, 3]])[SIDE] + ROUND, np.array([[1e8, 1e8], [1e8 + 3, 1e8 + 3]]), np.ones((2, 2))),
    "deviations of 1e-6, one unit apart": (np.array([[0.0, 0], [1, 0]])[SIDE] + 1e-6 * ROUND, np.array([[0.0, 0], [1, 0]]), np.full((2, 2), 1e-12)),
    "features in 1e6 and 1e-6 units": (np.array([[0.0, 0], [2e6, 3e-6]])[SIDE] + ROUND * [1e6, 1e-6], np.array([[0, 0], [2e6, 3e-6]]), np.array([[1e12, 1e-12]] * 2)),
}


def parts(covariance_type, variances):
    """Covariances of each structure near the case's own, in its shape and as full matrices."""
    structure = STRUCTURES[covariance_type]
    stored = {(2, 2, 2): np.array([np.diag(v) for v in variances]), (2, 2): variances, (2,): np.exp(np.log(variances).mean(1)),
              (): np.exp(np.log(variances).mean())}[structure.shape(2, 2)]
    stored = {"tied": np.diag(variances[0]), "EEI": variances[0]}.get(covariance_type, stored)
    return structure, stored, structure.full_covariances(stored, 2, 2)


def constrain(covariance_type, weights, covariances):
    pooled, diagonals = np.average(covariances, axis=0, weights=weights), np.array([np.diag(C) for C in covariances])
    expected = {"full": covariances, "tied": pooled, "diag": diagonals, "spherical": diagonals.mean(1),
                "EII": np.diag(pooled).mean(), "EEI": np.diag(pooled)}
    if covariance_type in expected:
        return expected[covariance_type]
    structure = STRUCTURES[covariance_type]               # from exact statistics: here they are what is tested
    W = {FullForm: covariances, DiagForm: diagonals}[structure.form]
    return structure.covariances((W.T * weights).T, weights)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("covariance_type", STRUCTURES)
@pytest.mark.thorough
def test_one_iteration(case, covariance_type):
    if covariance_type in TURNING and "units" in case:
        pytest.skip("eigenvalues 1e24 apart")
    X, means, variances = CASES[case]
    structure, stored, full = parts(covariance_type, variances)
    weights = np.array([0.4, 0.6])
    log_prob, new_weights, new_means, new_covariances = exact_em(X, weights, means, full)
    start = dict(n_components=2, covariance_type=covariance_type, reg_covar=0, tol=0, weights_init=weights,
                 means_init=means, precisions_init=structure.form.precision(structure.form.factor(stored)))
    zero = GaussianMixture(max_iter=0, **start).fit(X)
    np.testing.assert_allclose(zero.score_samples(X), log_prob, rtol=1e-9, atol=1e-9)
    with pytest.warns(UserWarning, match="did not converge"):
        one = GaussianMixture(max_iter=1, **start).fit(X)
    np.testing.assert_allclose(one.lower_bound_, log_prob.mean(), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(one.weights_, new_weights, rtol=1e-9)
    np.testing.assert_allclose(one.means_, new_means, rtol=1e-12, atol=1e-9 * np.sqrt(variances.min()))
    expected = constrain(covariance_type, new_weights, new_covariances)
    scale = np.abs(expected).max() if covariance_type in ("diag", "spherical", "EII", "EEI", "EVI", "VEI") else np.sqrt(np.outer(variances[0], variances[0]))
    loose = 1e3 if covariance_type in ("EVE", "VVE") else 1  # a search that stops at 1e-12 of a height knows places to 1e-6
    np.testing.assert_allclose(one.covariances_ / scale, expected / scale, rtol=1e-7 * loose, atol=1e-9 * loose)


@pytest.mark.parametrize("case", CASES)
def test_whole_fits_find_the_two_clumps(case):
    X, means, _ = CASES[case]
    for covariance_type in STRUCTURES:
        if covariance_type in ("spherical", "EII") and "units" in case:
            continue  # one width cannot serve features in such different units
        if covariance_type in TURNING and "units" in case:
            continue  # nor are there digits for eigenvalues 1e24 apart
        labels = GaussianMixture(2, covariance_type=covariance_type, reg_covar=0, means_init=means).fit_predict(X)
        assert np.mean(labels == SIDE) > 0.9


def test_the_two_kernels_agree_where_both_apply():
    rng = np.random.default_rng(1)
    X = rng.normal(size=(500, 3)) @ rng.normal(size=(3, 3)) + rng.normal(size=3)
    for covariance_type, structure in STRUCTURES.items():
        fit = GaussianMixture(3, covariance_type=covariance_type, random_state=0).fit(X)
        rows, params, form = Rows(X), fit._parameters, structure.form
        fast = choose_kernel(params, rows.center, form, structure.shared)
        safe = CenteredKernel(params.means, form, params, structure.shared)
        assert isinstance(fast, ProductKernel)
        a, b = (structure.m_step(e_step(rows, kernel)) for kernel in (fast, safe))
        tol = 1e-6 if covariance_type in ("EVE", "VVE") else 1e-10
        for x, y in zip(a, b):
            np.testing.assert_allclose(x, y, rtol=tol, atol=tol * np.abs(y).max())
        np.testing.assert_allclose(e_step(rows, fast).log_likelihood, e_step(rows, safe).log_likelihood, rtol=1e-12)


def test_hundreds_of_features_use_the_centred_kernel():
    X = np.random.default_rng(2).normal(size=(60, 220)) + np.repeat([[0.0], [9.0]], 30, axis=0)
    fit = GaussianMixture(2, random_state=0, reg_covar=1.0).fit(X)
    assert isinstance(choose_kernel(fit._parameters, X.mean(0), STRUCTURES["full"].form), CenteredKernel)
    assert fit.weights_.tolist() == [0.5, 0.5]


@pytest.mark.parametrize("covariance_type", ["full", "tied", "diag"])
@pytest.mark.parametrize("n_rows", [60, 20_000])
def test_small_products_need_no_limit_of_threads_and_change_nothing(monkeypatch, covariance_type, n_rows):
    X = np.random.default_rng(0).normal(size=(n_rows, 2)) + np.arange(n_rows)[:, None] % 2 * 4
    fit = lambda: GaussianMixture(2 if n_rows < 100 else 1, covariance_type=covariance_type, random_state=0).fit(X)
    short = fit()
    monkeypatch.setattr(engine, "ONE_THREAD", 0)
    long = fit()
    for name in ("weights_", "means_", "covariances_", "lower_bounds_"): np.testing.assert_array_equal(getattr(short, name), getattr(long, name))
