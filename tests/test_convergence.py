"""Accelerated EM: fewer passes, the same top, a likelihood that never falls, and no harm where leaps fail."""

import warnings

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gmm_lit import ConvergenceWarning, GaussianMixture
from gmm_lit.convergence import Leaper, from_vector, quasi_newton, squarem, to_vector, units
from gmm_lit.covariances import STRUCTURES
from gmm_lit.datasets import load_diabetes, load_faithful, load_iris
from gmm_lit.em import RUNNERS, em
from gmm_lit.engine import Rows, em_step, start_from
from gmm_lit.initializers import initialize

quick = settings(max_examples=10, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
types = st.sampled_from(list(STRUCTURES))
seeds = st.integers(0, 10_000)


def problem(X, name, K, seed=0, init="kmeans", reg_covar=1e-6):
    """A step that counts its calls, a start, and the structure."""
    rows, structure = Rows(X), STRUCTURES[name]
    start = start_from(rows, initialize(init, rows, K, np.random.default_rng(seed), 1), structure, K, reg_covar, 1)

    def step(params):
        step.calls += 1
        return em_step(rows, params, structure, reg_covar, 1)
    step.calls = 0
    return step, start, structure


def bells(places, n, seed):
    rng, places = np.random.default_rng(seed), np.array(places, float)
    return places[rng.integers(len(places), size=n)] + rng.normal(size=(n, places.shape[1]))


def passes(trace, top): return int(np.argmax(np.array(trace) >= top - 1e-7)) + 1


FAITHFUL, IRIS, DIABETES = load_faithful().data, load_iris().data, load_diabetes().data
CASES = [(FAITHFUL, "full", 2), (FAITHFUL, "full", 3), (FAITHFUL, "tied", 3), (IRIS, "full", 2), (IRIS, "full", 3),
         (IRIS, "full", 4), (IRIS, "spherical", 4), (DIABETES, "full", 3), (DIABETES, "diag", 4),
         (bells([[0], [2]], 1000, 0), "full", 2), (bells([[0], [2.5], [5]], 2000, 1), "tied", 3),
         (bells([[0, 0], [1.5, 1.5]], 800, 3), "full", 2), (bells([[0, 0], [2, 0], [1, 2]], 1000, 2), "tied", 3),
         (bells(1.2 * np.random.default_rng(7).normal(size=(4, 5)), 1500, 4), "EII", 4)]


@pytest.mark.thorough
def test_passes_to_the_top():
    ratios = []
    for X, name, K in CASES:
        step, start, structure = problem(X, name, K)
        plain = em(step, start, tol=1e-14, max_iter=3000)
        fast = squarem(step, start, structure, tol=1e-12, max_iter=1000)
        top = plain.log_likelihoods[-1]
        assert plain.converged and fast.converged
        assert fast.log_likelihoods[-1] > top - 1e-8, f"{name} {K} ends on a lower hill"
        needed = passes(plain.log_likelihoods, top), passes(fast.log_likelihoods, top)
        assert needed[1] <= 1.1 * needed[0], f"{name} {K}: {needed}"
        ratios.append(needed[0] / needed[1])
    assert np.exp(np.mean(np.log(ratios))) >= 3, ratios


@quick
@given(seeds, types, st.integers(1, 4), st.sampled_from(["kmeans", "random", "random_from_data"]))
def test_likelihood_never_falls_and_covariances_stay_positive(seed, name, K, init):
    rng = np.random.default_rng(seed)
    d = rng.integers(1, 5)
    X = 10 ** rng.uniform(-3, 3, d) * (bells(rng.normal(size=(3, d)) * 1.5, 150, seed) + rng.normal(size=d) * 5)
    step, start, structure = problem(X, name, K, seed, init, reg_covar=0)
    run = squarem(step, start, structure, tol=0, max_iter=40)
    assert np.diff(run.log_likelihoods).min() >= -1e-9 and step.calls == len(run.log_likelihoods) == 40 and not run.converged
    covariances = structure.full_covariances(run.params.covariances, K, d)
    assert (np.linalg.eigvalsh(covariances) > 0).all() and abs(run.params.weights.sum() - 1) < 1e-12
    for k in range(K):                                        # covariances and factors tell the same
        U = structure.form.expand(run.params.precisions_cholesky, d)
        U = U if structure.shared else U[k]
        np.testing.assert_allclose(U.T @ covariances[k] @ U, np.eye(d), atol=1e-6)


@quick
@given(seeds, types, st.sampled_from([0, 1e-6, 1e-2]))
def test_ends_at_a_fixed_point_of_the_plain_step(seed, name, reg_covar):
    step, start, structure = problem(bells([[0, 0], [4, 0], [2, 3]], 300, seed), name, 3, seed, reg_covar=reg_covar)
    run = squarem(step, start, structure, tol=1e-13, max_iter=1000)
    assert run.converged
    new, log_likelihood = step(run.params)
    np.testing.assert_allclose(new.means, run.params.means, atol=1e-4)
    np.testing.assert_allclose(new.covariances, run.params.covariances, atol=1e-4)
    assert abs(log_likelihood - run.log_likelihoods[-1]) < 1e-10


@quick
@given(seeds, types)
def test_vectors_are_mixtures(seed, name):
    step, start, structure = problem(IRIS, name, 3, seed)
    vector = to_vector(start, structure)
    for a, b in zip(from_vector(vector, structure, (3, 4)), start):
        np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-10)
    assert units(start, structure).shape == vector.shape and (units(start, structure) > 0).all()
    upper = vector != 0                                       # nothing below the diagonals
    wild = from_vector(vector + upper * np.random.default_rng(seed).normal(size=vector.size), structure, (3, 4))
    assert np.linalg.eigvalsh(structure.full_covariances(wild.covariances, 3, 4)).min() > 0
    assert np.isfinite(step(wild)[1])


@pytest.mark.parametrize("name", STRUCTURES)
@pytest.mark.thorough
def test_units_of_the_data_do_not_matter(name):
    scale = np.array([60.0, 1e-3]) if name in ("full", "tied", "diag") else np.array([60.0, 60.0])
    rows, moved, structure = Rows(FAITHFUL), Rows(FAITHFUL * scale + 7), STRUCTURES[name]
    resp = initialize("kmeans", rows, 3, np.random.default_rng(0), 1)
    runs = [squarem(lambda params: em_step(r, params, structure, 0, 1), start_from(r, resp, structure, 3, 0, 1), structure,
                    tol=0, max_iter=12) for r in (rows, moved)]
    np.testing.assert_allclose(runs[1].params.means, runs[0].params.means * scale + 7, rtol=1e-4)
    np.testing.assert_allclose(np.array(runs[1].log_likelihoods) + np.log(scale).sum(), runs[0].log_likelihoods, rtol=1e-7)


@pytest.mark.parametrize("max_iter", [0, 1, 2, 3, 4, 7, 20])
def test_max_iter_counts_every_pass(max_iter):
    step, start, structure = problem(FAITHFUL, "diag", 4)
    reports = []
    run = squarem(step, start, structure, tol=0, max_iter=max_iter, report=lambda *args: reports.append(args))
    assert step.calls == len(run.log_likelihoods) == len(reports) == max_iter and not run.converged
    assert [number for number, *_ in reports] == list(range(1, max_iter + 1))
    assert [value for _, value, *_ in reports] == run.log_likelihoods
    if max_iter: np.testing.assert_allclose(sum(change for _, _, change, *_ in reports[1:]), run.log_likelihoods[-1] - run.log_likelihoods[0])
    if max_iter == 0: assert run.params is start


@pytest.mark.parametrize("answer", ["raise", "nan", "lower"])
@pytest.mark.thorough
def test_where_every_leap_fails_it_is_plain_em(answer):
    step, start, structure = problem(bells([[0], [2]], 1000, 0), "full", 2)
    given, failures = [start], []

    def stubborn(params):
        new, log_likelihood = step(params)
        if not any(params is known for known in given):
            failures.append(params)
            if answer == "raise": raise ValueError("collapsed")
            return new, np.nan if answer == "nan" else -1e9
        given.append(new)
        return new, log_likelihood

    expected = em(step, start, tol=1e-7, max_iter=1000)
    run = squarem(stubborn, start, structure, tol=1e-7, max_iter=1000)
    assert failures and run.converged
    np.testing.assert_array_equal(run.params.means, expected.params.means)
    assert len(run.log_likelihoods) <= 1.1 * len(expected.log_likelihoods)
    assert sorted(set(run.log_likelihoods)) == expected.log_likelihoods


def test_an_error_of_a_plain_pass_is_passed_on():
    _, start, structure = problem(FAITHFUL, "full", 2)

    def fails(params): raise ValueError("collapsed")
    with pytest.raises(ValueError, match="collapsed"): squarem(fails, start, structure)


def test_tol_compares_plain_passes_only():
    step, start, structure = problem(FAITHFUL, "full", 3)
    run = squarem(step, start, structure, tol=1e-4)
    assert run.converged
    before, after = run.log_likelihoods[-2:]
    assert 0 <= after - before < 1e-4
    again = squarem(step, run.params, structure, tol=1e-4, previous=after)    # a continuation stops at once
    assert again.converged and len(again.log_likelihoods) == 1


def test_weights_of_zero():
    step, start, structure = problem(FAITHFUL, "full", 3)
    run = squarem(step, start._replace(weights=np.array([0.5, 0.5, 0.0])), structure, tol=1e-8, max_iter=300)
    assert np.isfinite(run.log_likelihoods).all() and run.converged


def test_leaps():
    one = np.array([[1.0, 0.0], [0.6, 0.0]]), np.array([[-0.4, 0.0], [-0.24, 0.0]])
    np.testing.assert_allclose(quasi_newton(*one), [-0.6, 0])
    growing = np.array([[1.0], [1.4]]), np.array([[0.4], [0.8]])             # no top ahead: EM's own step
    np.testing.assert_allclose(quasi_newton(*growing), [0.8])
    leaper = Leaper(STRUCTURES["full"])
    assert leaper.leap(None) is None


def test_the_estimator():
    assert RUNNERS["squarem"] is squarem
    options = dict(random_state=0, tol=1e-10, max_iter=2000)
    for name in ("full", "tied", "diag", "spherical"):
        plain = GaussianMixture(3, covariance_type=name, **options).fit(FAITHFUL)
        fast = GaussianMixture(3, covariance_type=name, accelerate="squarem", **options).fit(FAITHFUL)
        assert fast.converged_ and fast.n_iter_ == len(fast.lower_bounds_) < plain.n_iter_
        assert abs(fast.lower_bound_ - plain.lower_bound_) < 1e-7
        np.testing.assert_allclose(fast.means_, plain.means_, rtol=1e-2)
        assert abs(fast.score(FAITHFUL) - fast.lower_bound_) < 1e-8
    with pytest.raises(ValueError, match="accelerate must be one of None, 'squarem'"):
        GaussianMixture(2, accelerate="anderson").fit(FAITHFUL)


def test_warm_start():
    gm = GaussianMixture(4, covariance_type="diag", accelerate="squarem", warm_start=True, max_iter=10, tol=1e-9, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        bounds = [gm.fit(FAITHFUL).lower_bound_ for _ in range(30)]
    assert np.diff(bounds).min() > -1e-9 and gm.converged_
    converged = gm.lower_bound_
    assert gm.fit(FAITHFUL).n_iter_ == 1 and abs(gm.lower_bound_ - converged) < 1e-8


def test_the_same_for_any_number_of_threads():
    X = np.random.default_rng(0).choice(FAITHFUL, 40_000)
    fits = [GaussianMixture(3, accelerate="squarem", tol=1e-6, random_state=0, n_jobs=n_jobs).fit(X) for n_jobs in (1, 2)]
    assert np.array_equal(fits[0].covariances_, fits[1].covariances_)
