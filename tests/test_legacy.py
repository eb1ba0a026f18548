"""The class of 2011: its document's example, every option, attribute, method and error, and where it equals today's class."""

import doctest
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.base import clone
from sklearn.mixture import GaussianMixture as Sklearns
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from gmm_lit import GaussianMixture, NotFittedError
from gmm_lit import legacy as mixture
from gmm_lit.covariances import get_structure
from gmm_lit.datasets import load_iris
from gmm_lit.legacy import (GMM, distribute_covar_matrix_to_match_covariance_type, log_multivariate_normal_density,
                            sample_gaussian)

IRIS, SPECIES = load_iris().data, load_iris().target
MEANS = np.array([IRIS[SPECIES == k].mean(0) for k in range(3)])
FULL = np.array([np.cov(IRIS[SPECIES == k].T) for k in range(3)])
COVARS = {"full": FULL, "tied": FULL.mean(0), "diag": np.array([np.diag(C) for C in FULL]),
          "spherical": np.repeat([[0.1], [0.2], [0.4]], 4, axis=1)}
KINDS = sorted(COVARS)
DEFAULTS = dict(n_components=1, covariance_type="diag", random_state=None, thresh=1e-2, min_covar=1e-3, n_iter=100,
                n_init=1, params="wmc", init_params="wmc")

EXAMPLE = """
>>> import numpy as np
>>> np.random.seed(1)
>>> g = mixture.GMM(n_components=2)
>>> # Generate random observations with two modes centered on 0
>>> # and 10 to use for training.
>>> obs = np.concatenate((np.random.randn(100, 1),
...                       10 + np.random.randn(300, 1)))
>>> g.fit(obs)
GMM(covariance_type='diag', init_params='wmc', min_covar=0.001,
    n_components=2, n_init=1, n_iter=100, params='wmc',
    random_state=None, thresh=0.01)
>>> np.round(g.weights_, 2)
array([ 0.75, 0.25])
>>> np.round(g.means_, 2)
array([[ 10.05],
       [ 0.06]])
>>> np.round(g.covars_, 2) #doctest: +SKIP
array([[[ 1.02]],
       [[ 0.96]]])
>>> g.predict([[0], [2], [9], [10]]) #doctest: +ELLIPSIS
array([1, 1, 0, 0]...)
>>> np.round(g.score([[0], [2], [9], [10]]), 2)
array([-2.19, -4.58, -1.75, -1.21])
>>> # Refit the model on new data (initial parameters remain the
>>> # same), this time with an even split between the two modes.
>>> g.fit(20 * [[0]] + 20 * [[10]])
GMM(covariance_type='diag', init_params='wmc', min_covar=0.001,
    n_components=2, n_init=1, n_iter=100, params='wmc',
    random_state=None, thresh=0.01)
>>> np.round(g.weights_, 2)
array([ 0.5, 0.5])
"""


def with_parameters(kind, **options):
    g = GMM(3, kind, **options)
    g.means_, g.covars = MEANS, COVARS[kind]
    return g


def twin(g, **options):
    """Today's class, about to start where `g` stands."""
    structure = get_structure(g.covariance_type)
    covars = g.covars_[:, 0] if g.covariance_type == "spherical" else np.asarray(g.covars_)
    return GaussianMixture(len(g.means_), covariance_type=g.covariance_type, weights_init=g.weights_, means_init=g.means_,
                           precisions_init=structure.form.precision(structure.form.factor(covars)), **options)


# The document's example


def test_the_example_of_2011():
    state = np.random.get_state()
    try:
        test = doctest.DocTestParser().get_doctest(EXAMPLE, {"mixture": mixture}, "2011", None, None)
        with np.printoptions(legacy="1.13"):
            result = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(test)
    finally: np.random.set_state(state)
    assert result.failed == 0 and result.attempted >= 11


@pytest.mark.parametrize("seed", range(20))
def test_the_example_with_every_seed(seed):
    rng = np.random.RandomState(1)
    obs = np.concatenate((rng.randn(100, 1), 10 + rng.randn(300, 1)))
    g = GMM(2, random_state=seed).fit(obs)
    np.testing.assert_array_equal(g.weights_.round(2), [0.75, 0.25])
    np.testing.assert_array_equal(g.means_.round(2), [[10.05], [0.06]])
    np.testing.assert_array_equal(g.covars_.round(2), [[1.01], [0.78]])
    np.testing.assert_array_equal(g.predict([[0], [2], [9], [10]]), [1, 1, 0, 0])
    np.testing.assert_array_equal(g.score([[0], [2], [9], [10]]).round(2), [-2.19, -4.58, -1.75, -1.21])
    np.testing.assert_allclose(g.fit(20 * [[0]] + 20 * [[10]]).weights_, [0.5, 0.5])


# Options


def test_options_and_their_defaults():
    assert GMM().get_params() == DEFAULTS
    by_position = GMM(2, "full", 7, 0.1, 0.2, 30, 4, "w", "mc")
    assert list(by_position.get_params().values()) == [2, "full", 7, 0.1, 0.2, 30, 4, "w", "mc"]
    copied = clone(by_position).set_params(thresh=0.5)
    assert copied.thresh == 0.5 and copied.n_iter == 30
    assert repr(GMM()).replace("\n ", "") == (
        "GMM(covariance_type='diag', init_params='wmc', min_covar=0.001, n_components=1, n_init=1, n_iter=100, "
        "params='wmc', random_state=None, thresh=0.01)")


@pytest.mark.parametrize("options, message", [
    (dict(covariance_type="round"), "Invalid value for covariance_type: round"),
    (dict(covariance_type=None), "Invalid value for covariance_type: None"),
    (dict(n_init=0), "GMM estimation requires at least one run"),
    (dict(n_components=0), "n_components must be an integer of at least 1"),
    (dict(n_components=2.5), "n_components must be an integer"),
    (dict(n_components=True), "n_components must be an integer"),
    (dict(n_iter=-1), "n_iter must be an integer of at least 0"),
    (dict(thresh=-1), "thresh must be a finite number of at least 0"),
    (dict(thresh=np.nan), "thresh must be a finite number"),
    (dict(thresh="small"), "thresh must be a number"),
    (dict(min_covar=-1e-3), "min_covar must be a finite number of at least 0"),
    (dict(min_covar=np.inf), "min_covar must be a finite number"),
    (dict(params="means"), "params must be made of the letters"),
    (dict(init_params=None), "init_params must be made of the letters")])
def test_options_that_are_none(options, message):
    with pytest.raises((TypeError, ValueError), match=message): GMM(**options)
    if "n_init" in options: message = "n_init must be an integer of at least 1"
    with pytest.raises((TypeError, ValueError), match=message.removeprefix("Invalid value for ").split(":")[0]):
        GMM().set_params(**options).fit(IRIS)


def test_before_a_fit():
    g = GMM(4)
    np.testing.assert_array_equal(g.weights_, [0.25] * 4)
    assert g.converged_ is False
    for ask in (g.eval, g.score, g.predict, g.predict_proba, g.aic, g.bic, lambda X: g.sample(), lambda X: g.covars):
        with pytest.raises(NotFittedError): ask(IRIS)


def test_random_state():
    state = np.random.get_state()[1].copy()
    for random_state in (None, 3, np.random.RandomState(3), np.int64(3)):
        g = GMM(3, random_state=random_state).fit(IRIS)
        g.sample(10), sample_gaussian([0], [1], random_state=random_state)
    assert np.array_equal(state, np.random.get_state()[1])
    assert np.array_equal(GMM(3, random_state=3).fit(IRIS).means_, GMM(3, random_state=3).fit(IRIS).means_)
    assert np.array_equal(g.sample(5), g.sample(5)) and not np.array_equal(g.sample(5), g.sample(5, random_state=4))
    shared = np.random.RandomState(0)
    assert not np.array_equal(g.sample(5, shared), g.sample(5, shared))
    fresh = GMM(3).fit(IRIS)
    assert not np.array_equal(fresh.sample(5), fresh.sample(5))
    for bad in (-1, 2 ** 32, 1.5, True, "0", np.random.default_rng(0), np.random):
        with pytest.raises((TypeError, ValueError), match="random_state must be"): GMM(2, random_state=bad).fit(IRIS)
        with pytest.raises((TypeError, ValueError), match="random_state must be"): g.sample(2, random_state=bad)


@pytest.mark.parametrize("n", [100, 1000])
@pytest.mark.thorough
def test_thresh_is_of_all_rows_together(n):
    rng = np.random.default_rng(0)
    X = np.concatenate([rng.normal(size=n), rng.normal(size=n) + 2.5])[:, None]
    total = [GMM(2, n_iter=i, thresh=0, random_state=0).fit(X).score(X).sum() for i in range(40)]
    for thresh in (1.0, 0.1, 0.01):
        stops = 2 + int(np.argmax(np.abs(np.diff(total)) < thresh))          # that many likelihoods were looked at
        assert GMM(2, n_iter=stops, thresh=thresh, random_state=0).fit(X).converged_
        assert not GMM(2, n_iter=stops - 1, thresh=thresh, random_state=0).fit(X).converged_


@pytest.mark.parametrize("kind", KINDS)
def test_min_covar_is_added(kind):
    means = [GMM(1, kind, n_iter=1, min_covar=m).fit(IRIS) for m in (0.0, 0.5)]
    difference = np.array(means[1].covars) - means[0].covars
    np.testing.assert_allclose(difference, [0.5 * np.eye(4)], atol=1e-12)


def test_n_init_keeps_the_best():
    rng = np.random.default_rng(1)
    X = rng.normal(size=(300, 2)) + 6 * rng.integers(4, size=(300, 1)) * [1, 0.5] + 3 * rng.integers(2, size=(300, 1))
    singles = [GMM(6, n_init=1, random_state=seed).fit(X).score(X).sum() for seed in range(4)]
    assert np.ptp(singles) > 0.1
    draws = np.random.RandomState(0)
    assert GMM(6, n_init=10, random_state=draws).fit(X).score(X).sum() >= np.median(singles)


# Starts, and what EM changes


@pytest.mark.parametrize("kind", KINDS)
def test_n_iter_0_keeps_the_start(kind):
    g = GMM(3, kind, n_iter=0, random_state=0).fit(IRIS)
    C = np.cov(IRIS.T) + 1e-3 * np.eye(4)
    np.testing.assert_allclose(g.covars_, distribute_covar_matrix_to_match_covariance_type(C, kind, 3))
    np.testing.assert_array_equal(g.weights_, [1 / 3] * 3)
    nearest = ((IRIS[:, None] - g.means_) ** 2).sum(2).argmin(1)
    np.testing.assert_allclose(g.means_, [IRIS[nearest == k].mean(0) for k in range(3)], atol=0.05)
    assert np.all(np.diff(np.bincount(nearest)) <= 0) and not g.converged_


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("init_params", ["", "w", "m", "c", "wc", "mc", "wm", "wmc"])
def test_init_params(kind, init_params):
    g = with_parameters(kind, init_params=init_params, n_iter=0, random_state=0)
    g.weights_ = np.array([0.2, 0.3, 0.5])
    g.fit(IRIS)
    assert np.array_equal(g.weights_, [0.2, 0.3, 0.5]) == ("w" not in init_params)
    assert np.array_equal(g.means_, MEANS) == ("m" not in init_params)
    assert np.array_equal(g.covars_, COVARS[kind]) == ("c" not in init_params)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("params", ["", "w", "m", "c", "wc", "mc", "wm"])
def test_params(kind, params):
    g = with_parameters(kind, init_params="", params=params, thresh=1e-6, n_iter=300)
    g.means_ = g.means_ + 0.2
    before, means = g.score(IRIS).sum(), g.means_.copy()
    g.fit(IRIS)
    assert np.array_equal(g.weights_, [1 / 3] * 3) == ("w" not in params)
    assert np.array_equal(g.means_, means) == ("m" not in params)
    assert np.array_equal(g.covars_, COVARS[kind]) == ("c" not in params)
    assert g.score(IRIS).sum() >= before - 1e-9 and g.converged_
    if params != "": assert g.score(IRIS).sum() > before


@pytest.mark.parametrize("kind", KINDS)
def test_covariances_about_means_that_stay(kind):
    g = with_parameters(kind, init_params="", params="c", n_iter=1, min_covar=0)
    g.means_ = g.means_ + [0.5, -0.3, 0.2, 0.1]
    resp, Z = g.predict_proba(IRIS), IRIS[:, None] - g.means_
    scatters = np.einsum("nk,nki,nkj->kij", resp, Z, Z)
    own = scatters / resp.sum(0)[:, None, None]
    expected = {"full": own, "tied": scatters.sum(0) / len(IRIS), "diag": np.einsum("kii->ki", own),
                "spherical": np.einsum("kii->k", own)[:, None] / 4 + np.zeros((3, 4))}[kind]
    np.testing.assert_allclose(g.fit(IRIS).covars_, expected, rtol=1e-9)


@pytest.mark.parametrize("labels", [SPECIES, np.array(["c", "a", "b"])[SPECIES], SPECIES.tolist(), SPECIES + 0.5])
def test_fit_with_labels(labels):
    g = GMM(n_components=7, covariance_type="full", n_iter=0).fit(IRIS, labels)
    values = np.unique(labels)
    assert g.n_components == 3
    np.testing.assert_allclose(g.means_, [IRIS[np.array(labels) == v].mean(0) for v in values])
    fitted = GMM(covariance_type="tied").fit(IRIS, labels)
    agree = values[fitted.predict(IRIS)] == np.array(labels)
    assert agree.mean() > 0.95
    kept = GMM(init_params="wc", n_iter=0)
    kept.means_ = MEANS[:1]
    assert len(kept.fit(IRIS, labels).means_) == 3            # labels decide, whatever init_params says


@pytest.mark.parametrize("y, message", [(SPECIES[1:], "y must have one label"), (SPECIES[:, None], "y must have one label"),
                                        (np.where(SPECIES, SPECIES, np.nan), "y must have no missing labels"),
                                        (np.array([None, "a", 3] * 50, object), "y must hold labels that can be sorted")])
def test_labels_that_are_none(y, message):
    with pytest.raises((TypeError, ValueError), match=message): GMM().fit(IRIS, y)


# What can be asked


@pytest.mark.parametrize("kind", KINDS)
def test_methods_fit_together(kind):
    g = GMM(3, kind, random_state=0).fit(IRIS)
    log_prob, resp = g.eval(IRIS)
    by_hand = np.array([w * np.exp(-0.5 * np.einsum("ni,ij,nj->n", IRIS - m, np.linalg.inv(C), IRIS - m))
                        / np.sqrt(np.linalg.det(2 * np.pi * C)) for w, m, C in zip(g.weights_, g.means_, g.covars)]).T
    np.testing.assert_allclose(log_prob, np.log(by_hand.sum(1)), rtol=1e-9)
    np.testing.assert_allclose(resp, by_hand / by_hand.sum(1, keepdims=True), rtol=1e-7, atol=1e-12)
    assert g.score(IRIS).shape == (150,)
    np.testing.assert_allclose(g.score(IRIS), log_prob, rtol=1e-13)
    np.testing.assert_array_equal(g.predict_proba(IRIS), resp)
    np.testing.assert_array_equal(g.predict(IRIS), resp.argmax(1))
    p = {"full": 44, "tied": 24, "diag": 26, "spherical": 17}[kind]
    np.testing.assert_allclose([g.aic(IRIS), g.bic(IRIS)], [-2 * log_prob.sum() + 2 * p, -2 * log_prob.sum() + p * np.log(150)])
    assert g._n_parameters() == p
    assert g.covars_.shape == COVARS[kind].shape and g.weights_.shape == (3,) and g.means_.shape == (3, 4)
    joint = log_multivariate_normal_density(IRIS, g.means_, g.covars_, kind) + np.log(g.weights_)
    np.testing.assert_allclose(np.logaddexp.reduce(joint, axis=1), log_prob, rtol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_shapes_that_come_in(kind):
    g = GMM(2, kind, random_state=0).fit(IRIS)
    for nothing in ([], IRIS[:0], np.empty((0, 0)), np.empty((0, 9))):
        log_prob, resp = g.eval(nothing)
        assert log_prob.shape == (0,) and resp.shape == (0, 2) and g.predict(nothing).shape == (0,)
    line = GMM(2, kind, random_state=0).fit(IRIS[:, 2])
    assert line.means_.shape == (2, 1)
    np.testing.assert_array_equal(line.predict(IRIS[:, 2]), line.predict(IRIS[:, [2]].tolist()))
    for wrong in (IRIS[:, :3], IRIS[:, 0]):
        with pytest.raises(ValueError, match="the shape of X is not compatible with self"): g.eval(wrong)


@pytest.mark.parametrize("kind", KINDS)
def test_samples_are_those_of_the_old_stream(kind):
    g = with_parameters(kind, random_state=5)
    g.weights_ = np.array([0.2, 0.3, 0.5])
    rng, rows = np.random.RandomState(5), np.empty((60, 4))
    labels = np.cumsum(g.weights_).searchsorted(rng.rand(60))
    for k in range(3):
        P, s, Q = np.linalg.svd(g.covars[k])
        rows[labels == k] = (g.means_[k][:, None] + (P * np.sqrt(s)) @ Q @ rng.randn(4, (labels == k).sum())).T
    np.testing.assert_allclose(g.sample(60), rows, rtol=1e-9)
    many = g.sample(100_000, random_state=1)
    np.testing.assert_allclose(many.mean(0), g.weights_ @ g.means_, atol=0.03)
    between = g.means_ - g.weights_ @ g.means_
    np.testing.assert_allclose(np.cov(many.T), np.einsum("k,kij->ij", g.weights_, np.array(g.covars))
                               + (g.weights_ * between.T) @ between, atol=0.06)
    assert g.sample().shape == (1, 4) and g.sample(0).shape == (0, 4)
    for bad in (-1, 1.5, True, "3"):
        with pytest.raises((TypeError, ValueError), match="n_samples must be"): g.sample(bad)


def test_unequal_columns_are_judged_and_sampled_alike():
    g = GMM(1, "spherical")
    g.means_, g.covars = np.zeros((1, 2)), [[1.0, 9.0]]
    np.testing.assert_allclose(g.sample(50_000, 0).std(0), [1, 3], rtol=0.02)
    np.testing.assert_allclose(g.score([[0.0, 3.0]]), log_multivariate_normal_density([[0.0, 3.0]], [[0, 0]], [[1, 9]])[:, 0])


# Covariances


@pytest.mark.parametrize("kind", KINDS)
def test_covars(kind):
    g = with_parameters(kind)
    np.testing.assert_array_equal(g.covars_, COVARS[kind])
    expected = {"full": FULL, "tied": [COVARS["tied"]] * 3, "diag": [np.diag(v) for v in COVARS["diag"]],
                "spherical": [np.diag(v) for v in COVARS["spherical"]]}[kind]
    np.testing.assert_array_equal(g.covars, expected)
    np.testing.assert_array_equal(g._get_covars(), expected)
    given = COVARS[kind].copy()
    g._set_covars(given)
    given[...] = 0                                            # what was given is not kept, and so cannot change
    np.testing.assert_array_equal(g.covars_, COVARS[kind])
    one = GMM(3, "spherical")
    one.means_, one.covars = MEANS, [0.1, 0.2, 0.4]
    np.testing.assert_array_equal(one.covars, [np.diag(v) for v in COVARS["spherical"]])
    np.testing.assert_array_equal(one.score(IRIS), with_parameters("spherical").score(IRIS))


@pytest.mark.parametrize("kind, covars, message", [
    ("spherical", [1.0, 1.0], "'spherical' covars have length n_components, but they have shape"),
    ("spherical", [1.0, 0.0, 1.0], "'spherical' covars must be non-negative"),
    ("spherical", [1.0, np.nan, 1.0], "'spherical' covars must be finite"),
    ("tied", np.ones((2, 3)), r"'tied' covars must have shape \(n_dim, n_dim\)"),
    ("tied", np.ones(3), r"'tied' covars must have shape \(n_dim, n_dim\)"),
    ("tied", [[1.0, 2.0], [0.0, 1.0]], "'tied' covars must be symmetric, positive-definite"),
    ("tied", [[1.0, 2.0], [2.0, 1.0]], "'tied' covars must be symmetric, positive-definite"),
    ("diag", np.ones(3), r"'diag' covars must have shape \(n_components, n_dim\)"),
    ("diag", np.ones((2, 4)), r"'diag' covars must have shape \(n_components, n_dim\)"),
    ("diag", -np.ones((3, 4)), "'diag' covars must be non-negative"),
    ("full", np.ones((3, 4)), r"'full' covars must have shape \(n_components, n_dim, n_dim\)"),
    ("full", np.ones((3, 4, 3)), r"'full' covars must have shape \(n_components, n_dim, n_dim\)"),
    ("full", np.tile(np.eye(4), (2, 1, 1)), r"'full' covars must have shape \(n_components, n_dim, n_dim\)"),
    ("full", [np.eye(2), np.eye(2), -np.eye(2)], "component 2 of 'full' covars must be symmetric, positive-definite"),
    ("full", [np.eye(2), [[1.0, 0.5], [0.0, 1.0]], np.eye(2)], "component 1 of 'full' covars must be symmetric"),
    ("full", "nonsense", "'full' covars must hold real numbers"),
    ("diag", [[1.0], [1.0, 2.0], [3.0]], "'diag' covars must hold real numbers"),
    ("diag", np.ones((3, 2)) * 1j, "'diag' covars must hold real numbers")])
def test_covars_that_are_none(kind, covars, message):
    g = GMM(3, kind)
    with pytest.raises((TypeError, ValueError), match=message): g.covars = covars
    assert not hasattr(g, "covars_")


def test_units_do_not_matter_to_covars():
    small = np.diag([1.0, 1e-15]) @ [[1.0, 0.5], [0.5, 1.0]] @ np.diag([1.0, 1e-15])
    g = GMM(1, "tied")
    g.means_, g.covars = np.zeros((1, 2)), small
    np.testing.assert_allclose(g.score([[1.0, 1e-15]]), -np.log(2 * np.pi) - 0.5 * np.log(0.75) + 15 * np.log(10) - 2 / 3)
    np.testing.assert_allclose(np.cov(g.sample(50_000, 0).T * [[1], [1e15]]), [[1, 0.5], [0.5, 1]], atol=0.02)


@pytest.mark.parametrize("attribute, value, message", [
    ("weights_", [0.5, 0.5], "weights_ must be 3 numbers"), ("weights_", [0.5, 0.5, 0.5], "weights_ must be 3 numbers"),
    ("weights_", [1.5, -0.5, 0.0], "weights_ must be 3 numbers"), ("weights_", [np.nan, 0.5, 0.5], "weights_ must be 3 numbers"),
    ("weights_", "abc", "weights_ must hold real numbers"), ("means_", MEANS[0], "means_"), ("means_", MEANS[:2], "weights_ must be 2 numbers"),
    ("means_", np.where(MEANS > 5, np.nan, MEANS), "means_ must be finite"), ("covars_", FULL[:, :3, :3], "covars_ must be for the 4 features"),
    ("covars_", -FULL, "component 0 of 'full' covars")])
def test_attributes_set_by_hand(attribute, value, message):
    g = with_parameters("full")
    setattr(g, attribute, value)
    for ask in (g.eval, g.predict, lambda X: g.sample(3), g.bic):
        with pytest.raises((TypeError, ValueError), match=message): ask(IRIS)
    with pytest.raises((TypeError, ValueError)): g.set_params(init_params="").fit(IRIS)


# The three functions


@pytest.mark.parametrize("kind", KINDS)
def test_log_multivariate_normal_density(kind):
    found = log_multivariate_normal_density(IRIS, MEANS, COVARS[kind], kind)
    assert found.shape == (150, 3)
    for k, C in enumerate(with_parameters(kind).covars):
        Z = IRIS - MEANS[k]
        expected = -0.5 * (np.einsum("ni,ij,nj->n", Z, np.linalg.inv(C), Z) + np.linalg.slogdet(2 * np.pi * C)[1])
        np.testing.assert_allclose(found[:, k], expected, rtol=1e-9)
    assert log_multivariate_normal_density(IRIS[:0], MEANS, COVARS[kind], kind).shape == (0, 3)
    if kind == "diag": np.testing.assert_array_equal(log_multivariate_normal_density(IRIS, MEANS, COVARS[kind]), found)
    with pytest.raises(ValueError, match="features"): log_multivariate_normal_density(IRIS[:, 1:], MEANS, COVARS[kind], kind)
    with pytest.raises(ValueError): log_multivariate_normal_density(IRIS, MEANS, -COVARS[kind], kind)


def test_no_tenth_in_the_determinant():
    x = np.linspace(-8, 8, 20_001)
    density = np.exp(log_multivariate_normal_density(x[:, None], [[0.0]], [[0.04]], "tied"))
    np.testing.assert_allclose(density.sum() * (x[1] - x[0]), 1, rtol=1e-9)


@pytest.mark.parametrize("kind, covar", [("spherical", 4.0), ("diag", [1.0, 4.0]), ("tied", [[2.0, 1.0], [1.0, 3.0]]), ("full", [[2.0, 1.0], [1.0, 3.0]])])
def test_sample_gaussian(kind, covar):
    columns = sample_gaussian([5.0, -5.0], covar, kind, 100_000, random_state=0)
    matrix = np.asarray(covar) if np.ndim(covar) == 2 else np.diag(np.broadcast_to(covar, 2))
    assert columns.shape == (2, 100_000) and sample_gaussian([5.0, -5.0], covar, kind).shape == (2,)
    np.testing.assert_allclose(columns.mean(1), [5, -5], atol=0.03)
    np.testing.assert_allclose(np.cov(columns), matrix, atol=0.06)
    P, s, Q = np.linalg.svd(matrix)
    np.testing.assert_allclose(sample_gaussian([5.0, -5.0], covar, kind, 9, 3),
                               np.array([[5.0], [-5.0]]) + (P * np.sqrt(s)) @ Q @ np.random.RandomState(3).randn(2, 9), rtol=1e-12)
    for bad in (dict(n_samples=-1), dict(covariance_type="round"), dict(mean=[[0, 0]]), dict(covar=-np.ones(2)), dict(mean=[np.nan, 0])):
        with pytest.raises((TypeError, ValueError)): sample_gaussian(**{**dict(mean=[0, 0], covar=covar, covariance_type=kind), **bad})


def test_distribute():
    C = np.array([[4.0, 1.0, 0.0], [1.0, 2.0, 0.0], [0.0, 0.0, 6.0]])
    hand_out = distribute_covar_matrix_to_match_covariance_type
    np.testing.assert_array_equal(hand_out(C, "full", 2), [C, C])
    np.testing.assert_array_equal(hand_out(C, "tied", 2), C)
    np.testing.assert_array_equal(hand_out(C, "diag", 2), [[4, 2, 6]] * 2)
    np.testing.assert_array_equal(hand_out(C, "spherical", 2), [[4, 4, 4]] * 2)
    with pytest.raises(ValueError, match="covariance_type must be one of 'spherical', 'tied', 'diag', 'full'"): hand_out(C, "round", 2)
    with pytest.raises(ValueError, match="tied_cv must have shape"): hand_out(C[:2], "full", 2)
    for bad in (0, -1, 1.5, True, "2", 2 ** 60):
        with pytest.raises((TypeError, ValueError), match="n_components must be an integer"): hand_out(C, "full", bad)


# Today's classes


@pytest.mark.parametrize("kind", KINDS)
def test_equal_to_todays_class(kind):
    start = with_parameters(kind, init_params="", n_iter=20, thresh=0, min_covar=1e-3)
    now = twin(start, max_iter=20, tol=0, reg_covar=1e-3)
    with pytest.warns(UserWarning): now.fit(IRIS)
    theirs = Sklearns(3, covariance_type=kind, weights_init=start.weights_, means_init=start.means_,
                      precisions_init=now.precisions_init, max_iter=20, tol=0, reg_covar=1e-3)
    with pytest.warns(UserWarning): theirs.fit(IRIS)
    start.fit(IRIS)
    covars = start.covars_[:, 0] if kind == "spherical" else start.covars_
    for other in (now, theirs):
        np.testing.assert_allclose(start.weights_, other.weights_, rtol=1e-9)
        np.testing.assert_allclose(start.means_, other.means_, rtol=1e-9)
        np.testing.assert_allclose(covars, other.covariances_, rtol=1e-8)
        np.testing.assert_allclose(start.score(IRIS), other.score_samples(IRIS), rtol=1e-9)
        np.testing.assert_allclose(start.predict_proba(IRIS), other.predict_proba(IRIS), atol=1e-9)
        np.testing.assert_array_equal(start.predict(IRIS), other.predict(IRIS))
        np.testing.assert_allclose([start.aic(IRIS), start.bic(IRIS)], [other.aic(IRIS), other.bic(IRIS)])


def test_in_a_pipeline_and_pickled():
    pipe = make_pipeline(StandardScaler(), GMM(3, "full", random_state=0)).fit(IRIS)
    again = pickle.loads(pickle.dumps(pipe))
    np.testing.assert_array_equal(again.predict(IRIS), pipe.predict(IRIS))
    assert pipe.score(IRIS).shape == (150,)


# Trouble


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("X, error, message", [
    (np.where(IRIS > 7, np.nan, IRIS), ValueError, "X must be finite"), (np.where(IRIS > 7, np.inf, IRIS), ValueError, "X must be finite"),
    (IRIS[:1], ValueError, "minimum of 2 is required"), (IRIS[:2], ValueError, "GMM estimation with 3 components, but got only 2 samples"),
    ([["a", "b"]] * 5, TypeError, "X must hold real numbers"), ([[1, 2], [3]], ValueError, "X must hold real numbers"),
    (IRIS + 1j, ValueError, "X must hold real numbers"), (np.float64(3), ValueError, "X"), ([], ValueError, "X"),
    (IRIS.reshape(150, 2, 2), ValueError, "X"), (np.ma.masked_greater(IRIS, 7), ValueError, "X must have no missing values")])
def test_rows_that_are_none(kind, X, error, message):
    g = GMM(3, kind)
    with pytest.raises(error, match=message): g.fit(X)
    assert not hasattr(g, "means_")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("X", [np.ones((10, 2)), np.repeat([[0.0, 1.0], [5.0, 5.0]], 5, axis=0), IRIS[:, :2] @ [[1, 2], [1, 2]],
                               np.arange(20, dtype=np.int8), IRIS.astype(np.float32), np.asfortranarray(IRIS)[::-2], IRIS > 2,
                               1e90 * IRIS, 1e-160 * IRIS, 1e12 + IRIS], ids=range(10))
def test_odd_rows_end_well(kind, X):
    before = X.copy()
    g = GMM(3, kind, random_state=0).fit(X)
    assert np.array_equal(before, X)
    assert np.isfinite(g.weights_).all() and np.isfinite(g.means_).all() and np.isfinite(g.covars_).all()
    assert np.isfinite(g.score(X)).all() and np.isclose(g.weights_.sum(), 1)
    np.testing.assert_allclose(g.predict_proba(X).sum(1), 1)


@pytest.mark.parametrize("kind", KINDS)
def test_when_no_start_leads_anywhere(kind):
    g = GMM(2, kind, min_covar=0)
    for error in (RuntimeError, ValueError):
        with pytest.raises(error, match="EM algorithm was never able to compute a valid likelihood"):
            g.fit(np.ones((9, 2)), [1, 2, 3] * 3)
    assert g.n_components == 2 and not hasattr(g, "means_")


def test_times_in_seconds_since_1970():
    rng = np.random.default_rng(0)
    times = 1.7e9 + 60 * (np.arange(400) % 2) + 3 * rng.normal(size=400)
    g = GMM(2, random_state=0).fit(times)
    assert abs(g.covars_ - 9).max() < 2 and abs(np.diff(g.means_[:, 0])) - 60 < 1
    assert len(set(g.predict(times[::2]))) == len(set(g.predict(times[1::2]))) == 1


@pytest.mark.slow
@settings(max_examples=400, deadline=None)
@given(X=arrays(float, st.tuples(st.integers(1, 12), st.integers(1, 3)), elements=st.sampled_from([0.0, 1.0, -1.0, 2.5, 1e8, -1e-8, 1e90, 1e-300])),
       kind=st.sampled_from(KINDS), K=st.integers(1, 4), min_covar=st.sampled_from([0.0, 1e-3, 1e3]),
       params=st.sampled_from(["wmc", "wc", "m", "c", ""]), labels=st.booleans(), n_iter=st.integers(0, 5))
def test_generated_rows_end_well(X, kind, K, min_covar, params, labels, n_iter):
    before, g = X.copy(), GMM(K, kind, min_covar=min_covar, params=params, n_iter=n_iter, random_state=0)
    try: g.fit(X, np.arange(len(X)) % K if labels else None)
    except ValueError: assert not hasattr(g, "means_")
    else:
        log_prob, resp = g.eval(X)
        assert np.isfinite(log_prob).all() and np.isfinite(g.covars_).all() and np.isfinite(g.means_).all()
        np.testing.assert_allclose(resp.sum(1), 1)
        np.testing.assert_allclose(g.weights_.sum(), 1)
        assert g.sample(3, 0).shape == (3, X.shape[1])
    assert np.array_equal(X, before)
