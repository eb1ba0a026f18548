"""Conjugate priors: the posterior never falls, the M step is its maximum, nothing collapses, and bad input is named."""

import copy
import pickle

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.base import clone

from gmm_lit import GaussianMixture, GaussianMixtureSearch
from gmm_lit.covariances import STRUCTURES, get_structure
from gmm_lit.convergence import squarem
from gmm_lit.datasets import load_iris
from gmm_lit.em import em
from gmm_lit.engine import Rows, em_step, start_from
from gmm_lit.priors import Prior, WithPrior, default_prior, posterior_step, with_prior

IRIS = load_iris().data
quick = settings(max_examples=15, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
names, seeds = st.sampled_from(list(STRUCTURES)), st.integers(0, 10_000)


def soft(n, K, seed):
    return np.random.default_rng(seed).dirichlet(np.full(K, 0.3), size=n).T


def start(rows, resp, structure, reg_covar=0.0):
    return start_from(rows, lambda block: resp[:, block], structure, len(resp), reg_covar, 1)


@quick
@given(seeds, names, st.integers(1, 4), st.integers(1, 4), st.sampled_from([0.0, 0.01, 3.0]))
def test_the_posterior_never_falls(seed, name, K, d, shrinkage):
    rng, structure = np.random.default_rng(seed), STRUCTURES[name]
    rows = Rows(rng.normal(size=(60, d)) @ rng.normal(size=(d, d)) + rng.normal(size=d), rng.uniform(0.5, 2, 60))
    wrapped = WithPrior(structure, default_prior(rows, K, structure)._replace(shrinkage=shrinkage))
    params, posterior = start(rows, soft(60, K, seed), wrapped), []
    for _ in range(12):
        new, log_likelihood = em_step(rows, params, wrapped, 0.0, 1)
        posterior.append(rows.weight_sum * log_likelihood + wrapped.log_density(params))
        params = new
    assert np.diff(posterior).min() > -1e-8
    np.testing.assert_allclose(structure.constrain(params).covariances, params.covariances, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("name", STRUCTURES)
@pytest.mark.parametrize("shrinkage", [0.0, 0.01, 5.0])
@pytest.mark.thorough
def test_the_m_step_is_the_maximum(name, shrinkage):
    structure, (n, d), K = STRUCTURES[name], IRIS.shape, 3
    rows, resp, rng = Rows(IRIS), soft(len(IRIS), 3, 0), np.random.default_rng(0)
    wrapped = WithPrior(structure, default_prior(rows, K, structure)._replace(shrinkage=shrinkage))
    params = start(rows, resp, wrapped)

    def objective(params):
        U = params.precisions_cholesky[None] if structure.shared else params.precisions_cholesky
        return (resp * structure.form.log_density(IRIS, params.means, U)).sum() + wrapped.log_density(params)
    best = objective(params)
    for _ in range(50):
        U = params.precisions_cholesky * (1 + 0.01 * rng.normal(size=np.shape(params.precisions_cholesky)))
        other = params._replace(covariances=structure.form.covariance(U), precisions_cholesky=U)
        assert objective(structure.constrain(other)) < best
        assert objective(params._replace(means=params.means + 0.01 * rng.normal(size=(K, d)))) < best


@pytest.mark.parametrize("name", STRUCTURES)
def test_nothing_collapses(name):
    rng = np.random.default_rng(0)
    X = np.vstack([rng.normal(size=(40, 3)), np.tile([5.0, 5, 5], (4, 1)), [[9, 9, 9]]])     # ties, and a lonely row
    rows, resp = Rows(X), np.eye(3)[np.repeat([0, 1, 2], [40, 4, 1])].T
    structure = STRUCTURES[name]
    wrapped = with_prior(structure, "default", rows, 3)
    params = start(rows, resp, wrapped)
    for _ in range(30):
        params, log_likelihood = em_step(rows, params, wrapped, 0.0, 1)
    smallest = np.linalg.eigvalsh(structure.full_covariances(params.covariances, 3, 3)).min()
    assert np.isfinite(log_likelihood) and smallest > 1e-3


def test_regularisation_and_prior_together():
    rows, resp, structure = Rows(IRIS), soft(150, 3, 1), get_structure("full")
    wrapped = with_prior(structure, "default", rows, 3)
    plain, both = start(rows, resp, wrapped), start(rows, resp, wrapped, 0.5)
    N = resp.sum(1)
    expected = (0.5 * N / (N + wrapped.exponent + 1))[:, None, None] * np.eye(4)
    np.testing.assert_allclose(both.covariances - plain.covariances, expected, atol=1e-9)


@pytest.mark.parametrize("name", STRUCTURES)
def test_the_default_prior(name):
    structure, K = STRUCTURES[name], 4
    prior = default_prior(Rows(IRIS), K, structure)
    assert (prior.dof, prior.shrinkage) == (6, 0.01)
    np.testing.assert_allclose(prior.mean, IRIS.mean(0))
    scale = np.cov(IRIS.T) / np.sqrt(K)
    tilts = structure.form.shape(4) == (4, 4)
    np.testing.assert_allclose(prior.scale, scale if tilts else np.full(4, np.diag(scale).mean()), rtol=1e-10)
    weighted = default_prior(Rows(IRIS, np.repeat([1.0, 2.0], 75)), K, structure)
    copied = default_prior(Rows(np.vstack([IRIS, IRIS[75:]])), K, structure)
    np.testing.assert_allclose(weighted.scale, copied.scale, rtol=1e-10)
    few = default_prior(Rows(IRIS[:3]), K, structure)               # fewer rows than features
    assert np.shape(few.scale) == (4,)


def test_scales_of_every_shape():
    rows = Rows(IRIS)
    for scale in (2.0, np.full(4, 2.0), 2 * np.eye(4)):
        for name, structure in STRUCTURES.items():
            wrapped = with_prior(structure, Prior(IRIS.mean(0), scale, 6), rows, 2)
            assert np.shape(wrapped.scale) == structure.form.shape(4)
            np.testing.assert_allclose(structure.form.expand(np.asarray(wrapped.scale), 4), 2 * np.eye(4))


def test_it_delegates_and_travels():
    wrapped = with_prior(get_structure("VEE"), "default", Rows(IRIS), 3)
    assert wrapped.names == ("VEE",) and wrapped.shape(3, 4) == (3, 4, 4) and wrapped.n_parameters(3, 4) == get_structure("VEE").n_parameters(3, 4)
    for other in (copy.deepcopy(wrapped), pickle.loads(pickle.dumps(wrapped))):
        assert other.names == ("VEE",) and np.array_equal(other.scale, wrapped.scale)
    assert with_prior(get_structure("VEE"), None, Rows(IRIS), 3) is get_structure("VEE")


@pytest.mark.parametrize("prior, error, text", [
    ("weak", ValueError, "prior must be None, 'default' or a gmm_lit.priors.Prior, but it is 'weak'"),
    (3, TypeError, "prior must be None, 'default' or"),
    (Prior(np.zeros(3), 1.0, 6), ValueError, r"prior.mean must be finite and of shape \(4,\)"),
    (Prior(np.zeros(4), np.eye(3), 6), ValueError, "prior.scale must be finite and of shape"),
    (Prior(np.zeros(4), -1.0, 6), ValueError, "prior.scale must be positive"),
    (Prior(np.zeros(4), np.nan, 6), ValueError, "prior.scale must be finite"),
    (Prior(np.zeros(4), 1.0, 3), ValueError, "prior.dof must be more than 3 for 4 features, but it is 3"),
    (Prior(np.zeros(4), 1.0, 6, -1), ValueError, "prior.shrinkage must be at least 0, but it is -1"),
    (Prior("abcd", 1.0, 6), TypeError, "prior must hold real numbers")])
def test_bad_priors(prior, error, text):
    with pytest.raises(error, match=text):
        with_prior(get_structure("full"), prior, Rows(IRIS), 2)


@pytest.mark.parametrize("name", ["full", "VVE", "EII"])
def test_accelerated(name):
    rows, structure = Rows(IRIS), STRUCTURES[name]
    wrapped = with_prior(structure, "default", rows, 3)
    step = posterior_step(lambda params: em_step(rows, params, wrapped, 0.0, 1), wrapped, rows.weight_sum)
    first = start(rows, soft(150, 3, 3), wrapped)
    plain, fast = em(step, first, tol=1e-12, max_iter=3000), squarem(step, first, wrapped, tol=1e-12, max_iter=3000)
    assert fast.converged and np.diff(fast.log_likelihoods).min() > -1e-12
    assert fast.log_likelihoods[-1] > plain.log_likelihoods[-1] - 1e-7
    assert posterior_step(step, structure, 150) is step


@pytest.mark.parametrize("accelerate", [None, "squarem"])
@pytest.mark.thorough
def test_prior_is_an_option_of_the_estimator(accelerate):
    X = load_iris().data
    for name in STRUCTURES:
        gm = GaussianMixture(4, covariance_type=name, prior="default", reg_covar=0, tol=1e-6, max_iter=500,
                             accelerate=accelerate, random_state=0).fit(X)
        assert gm.converged_ and np.diff(gm.lower_bounds_).min() > -1e-10 and not gm.collapsed_components(), name
        rows = Rows(X)
        wrapped = with_prior(get_structure(name), "default", rows, 4)
        posterior = gm.score(X) + wrapped.log_density(gm._parameters) / len(X)
        assert abs(posterior - gm.lower_bound_) < 1e-5, name


def test_prior_of_the_user_is_obeyed_and_checked():
    X = load_iris().data
    strong = Prior(mean=np.zeros(4), scale=np.eye(4), dof=1e9, shrinkage=1e9)
    gm = GaussianMixture(2, prior=strong, random_state=0).fit(X)
    np.testing.assert_allclose(gm.means_, 0, atol=1e-5)
    np.testing.assert_allclose(gm.full_covariances(), 0, atol=1e-4)
    assert clone(gm).get_params()["prior"].dof == 1e9
    for bad, error, text in [("weak", ValueError, "prior must be None, 'default'"), (3, TypeError, "prior must be None"),
                             (Prior(np.zeros(3), 1.0, 9), ValueError, r"prior.mean must be finite and of shape \(4,\)")]:
        with pytest.raises(error, match=text): GaussianMixture(2, prior=bad).fit(X)


def test_search_with_a_prior_has_no_collapsed_models():
    X = load_iris().data[:60]
    search = GaussianMixtureSearch([2, 5], covariance_types=["full", "VEV"], prior="default", random_state=0).fit(X)
    assert not any(row["collapsed"] or row["error"] for row in search.results_) and search.best_estimator_.prior == "default"
    with pytest.raises(ValueError, match="prior must be"): GaussianMixtureSearch([2], prior="none").fit(X)


def test_one_feature_has_two_structures():
    X = load_iris().data[:, :1]
    search = GaussianMixtureSearch([1, 2], random_state=0).fit(X)
    assert [row["covariance_type"] for row in search.results_] == ["E", "V"] * 2
