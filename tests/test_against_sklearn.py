"""The same start and the same number of iterations give scikit-learn's parameters, scores and responsibilities."""

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning as TheirWarning
from sklearn.mixture import GaussianMixture as Theirs

from gmm_lit import GaussianMixture
from gmm_lit.datasets import load_faithful, load_iris
from gmm_lit.mixture import ConvergenceWarning

pytestmark = [pytest.mark.filterwarnings("ignore::" + f"{w.__module__}.{w.__name__}") for w in (TheirWarning, ConvergenceWarning)]


def clumps(n, d, K, seed, spread=4.0):
    rng = np.random.default_rng(seed)
    means, mixers = spread * rng.normal(size=(K, d)), rng.normal(size=(K, d, d)) / np.sqrt(d) + np.eye(d)
    labels = rng.integers(K, size=n)
    return means[labels] + np.einsum("nij,nj->ni", mixers[labels], rng.normal(size=(n, d)))


CLASSIC = ["full", "tied", "diag", "spherical"]
DATA = {
    "faithful": (load_faithful().data, 2),
    "iris": (load_iris().data, 3),
    "overlapping": (clumps(2000, 5, 4, seed=0, spread=1.0), 4),
    "many blocks": (clumps(20_000, 3, 5, seed=1), 5),
    "far from zero": (clumps(500, 8, 3, seed=2) + 100, 3),
}


def start(X, K, covariance_type):
    """A start that nothing random enters: the rows cut into K runs along the first feature."""
    labels = np.empty(len(X), int)
    labels[np.argsort(X[:, 0], kind="stable")] = np.arange(len(X)) * K // len(X)
    first = Theirs(K, covariance_type=covariance_type, max_iter=1, random_state=0,
                   means_init=np.array([X[labels == k].mean(0) for k in range(K)])).fit(X)
    return dict(weights_init=first.weights_, means_init=first.means_, precisions_init=first.precisions_)


@pytest.mark.parametrize("name", DATA)
@pytest.mark.parametrize("covariance_type", CLASSIC)
def test_same_start_same_answer(name, covariance_type):
    X, K = DATA[name]
    options = dict(n_components=K, covariance_type=covariance_type, tol=0, max_iter=15, **start(X, K, covariance_type))
    ours, theirs = GaussianMixture(**options).fit(X), Theirs(**options).fit(X)
    assert ours.n_iter_ == theirs.n_iter_
    for attribute in ("weights_", "means_", "covariances_", "lower_bound_", "lower_bounds_"):
        np.testing.assert_allclose(getattr(ours, attribute), getattr(theirs, attribute), rtol=1e-8, atol=1e-9, err_msg=attribute)
    for attribute in ("precisions_", "precisions_cholesky_"):
        mine, other = getattr(ours, attribute), getattr(theirs, attribute)
        np.testing.assert_allclose(mine, other, rtol=1e-8, atol=1e-8 * np.abs(other).max(), err_msg=attribute)
    np.testing.assert_allclose(ours.score_samples(X), theirs.score_samples(X), rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), rtol=1e-8, atol=1e-8)
    np.testing.assert_array_equal(ours.predict(X), theirs.predict(X))
    for method in ("score", "aic", "bic"):
        np.testing.assert_allclose(getattr(ours, method)(X), getattr(theirs, method)(X), rtol=1e-8, err_msg=method)


@pytest.mark.parametrize("covariance_type", CLASSIC)
def test_shapes_and_options_are_theirs(covariance_type):
    X = load_iris().data
    ours, theirs = (cls(3, covariance_type=covariance_type, random_state=0).fit(X) for cls in (GaussianMixture, Theirs))
    for attribute in ("weights_", "means_", "covariances_", "precisions_", "precisions_cholesky_"):
        assert getattr(ours, attribute).shape == getattr(theirs, attribute).shape
    for attribute in ("converged_", "n_iter_", "lower_bound_", "lower_bounds_", "n_features_in_"):
        assert type(getattr(ours, attribute)) is type(getattr(theirs, attribute)) or attribute == "lower_bound_"
    assert {k: v for k, v in ours.get_params().items() if k in theirs.get_params()} == theirs.get_params()
    rows, labels = ours.sample(7)
    assert rows.shape == theirs.sample(7)[0].shape and labels.shape == theirs.sample(7)[1].shape


def test_warm_start_is_theirs():
    X = load_faithful().data
    options = dict(n_components=2, warm_start=True, max_iter=3, **start(X, 2, "full"))
    ours, theirs = GaussianMixture(**options), Theirs(**options)
    for _ in range(6):
        ours.fit(X), theirs.fit(X)
        np.testing.assert_allclose(ours.means_, theirs.means_, rtol=1e-8)
        assert (ours.converged_, ours.n_iter_) == (theirs.converged_, theirs.n_iter_)


def test_sklearn_clones_and_searches_it():
    from sklearn.base import clone
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    X = load_faithful().data
    model = GaussianMixture(3, covariance_type="tied", means_init=[[2, 55], [4, 75], [4, 85]])
    assert repr(clone(model)) == repr(model)
    pipe = make_pipeline(StandardScaler(), GaussianMixture(2, random_state=0)).fit(X)
    assert pipe.score(X) > pipe.set_params(gaussianmixture__n_components=1).fit(X).score(X)
    search = GridSearchCV(GaussianMixture(random_state=0), {"n_components": [1, 2]}, cv=3, error_score="raise").fit(X)
    assert search.best_params_ == {"n_components": 2}


@pytest.mark.parametrize("init_params", ["k-means++", "random_from_data"])
def test_where_tied_begins(init_params):
    """What 07_mixture says of scikit-learn's seeds: with one covariance for all it begins so wide that the means meet."""
    for X in (load_faithful().data, load_iris().data):
        for estimator, meet in ((Theirs, True), (GaussianMixture, False)):
            fit = estimator(3, covariance_type="tied", init_params=init_params, max_iter=1, random_state=0).fit(X)
            assert (np.ptp(fit.means_ / X.std(0), axis=0).max() < 0.2) == meet
