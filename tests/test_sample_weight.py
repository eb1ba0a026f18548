"""A row of weight three is three rows, one of weight zero is none, and nonsense is refused by name."""

import warnings

import numpy as np
import pytest

from gmm_lit import ConvergenceWarning, GaussianMixture, GaussianMixtureSearch
from gmm_lit.covariances import STRUCTURES
from gmm_lit.criteria import CRITERIA
from gmm_lit.datasets import load_faithful, load_iris
from gmm_lit.hierarchical import HierarchicalTree
from gmm_lit.initializers import INITIALIZERS

IRIS, SPECIES = load_iris().data, load_iris().target
COPIES = np.random.default_rng(0).integers(0, 4, len(IRIS))
COPIES[[0, 60, 120]] = 2
REPEATED = np.repeat(IRIS, COPIES, axis=0)
START = dict(means_init=np.array([IRIS[SPECIES == k].mean(0) for k in range(3)]), weights_init=[0.3, 0.3, 0.4])
FITTED = ("weights_", "means_", "covariances_", "precisions_", "precisions_cholesky_", "lower_bounds_")


def fit(X, sample_weight=None, K=3, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return GaussianMixture(K, **{"random_state": 0, "max_iter": 15, "tol": 0, **options}).fit(X, sample_weight=sample_weight)


def assert_same(a, b, rtol=1e-10, atol=1e-10):
    for name in FITTED:
        x, y = np.asarray(getattr(a, name)), np.asarray(getattr(b, name))
        np.testing.assert_allclose(x, y, rtol=rtol, atol=atol * np.abs(y).max(), err_msg=name)


@pytest.mark.parametrize("accelerate", [None, pytest.param("squarem", marks=pytest.mark.slow)])
@pytest.mark.parametrize("covariance_type", STRUCTURES)
def test_integers_are_copies(covariance_type, accelerate):
    options = dict(covariance_type=covariance_type, accelerate=accelerate, **START)
    weighted, repeated = fit(IRIS, COPIES, **options), fit(REPEATED, **options)
    loose = 1e-5 if covariance_type in ("EVE", "VVE") else 1e-10      # their M step is a search that stops at 1e-12 of a height
    if accelerate: loose = max(loose, 1e-7)                   # a leap multiplies rounding
    assert_same(weighted, repeated, loose, loose)
    np.testing.assert_allclose(weighted.lower_bounds_, repeated.lower_bounds_, rtol=1e-10)
    np.testing.assert_allclose(weighted.score(IRIS, sample_weight=COPIES), weighted.score(REPEATED), rtol=1e-12)
    for name in CRITERIA:
        ours = getattr(weighted, name)(IRIS, sample_weight=COPIES)
        np.testing.assert_allclose(ours, getattr(weighted, name)(REPEATED), rtol=1e-9, err_msg=name)
    assert weighted.summarize(IRIS, COPIES).n_rows == COPIES.sum()


@pytest.mark.parametrize("prior", ["default", None])
@pytest.mark.parametrize("covariance_type", ["full", "tied", "diag", "spherical", "EII", "VEE"])
def test_copies_with_a_prior_and_without_regularisation(covariance_type, prior):
    options = dict(covariance_type=covariance_type, prior=prior, reg_covar=0, **START)
    assert_same(fit(IRIS, COPIES, **options), fit(REPEATED, **options))


@pytest.mark.parametrize("init_params", [*INITIALIZERS, "labels", "responsibilities", "function", "tree"])
@pytest.mark.parametrize("covariance_type", [pytest.param("full", marks=pytest.mark.slow), "tied"])
@pytest.mark.thorough
def test_zero_is_left_out_to_the_last_bit(covariance_type, init_params):
    """Whatever the start: chance sees only the rows that count."""
    kept, weight = COPIES > 0, COPIES * 0.7
    resp = np.random.default_rng(1).dirichlet(np.ones(3), len(IRIS))
    both = {"labels": (SPECIES, SPECIES[kept]), "responsibilities": (resp.tolist(), resp[kept]),
            "function": [lambda X, K, seed: np.arange(len(X)) % K] * 2,
            "tree": (HierarchicalTree(IRIS[kept]),) * 2}.get(init_params, (init_params,) * 2)
    options = dict(covariance_type=covariance_type, n_init=2)
    spoiled = np.where(kept[:, None], IRIS, 1e90)             # what stands in a row that does not count is no matter
    with_zeros, without = fit(spoiled, weight, init_params=both[0], **options), fit(IRIS[kept], weight[kept], init_params=both[1], **options)
    for name in FITTED:
        assert np.array_equal(getattr(with_zeros, name), getattr(without, name)), name
    assert len(fit(IRIS, weight).predict(IRIS)) == len(IRIS)


@pytest.mark.parametrize("init_params", [*INITIALIZERS])
@pytest.mark.thorough
def test_starts_see_the_weights(init_params):
    """Two clumps; nearly all the weight is in one of them: a start that sees it puts most of the weight there."""
    rng = np.random.default_rng(0)
    X = np.concatenate([rng.normal(0, 1, (300, 2)), rng.normal(9, 1, (300, 2))])
    weight = np.repeat([1.0, 1e-6], 300)
    start = GaussianMixture(1, max_iter=0, init_params=init_params, random_state=0).fit(X, sample_weight=weight)
    assert np.abs(start.means_).max() < 0.2
    if init_params == "random_from_data":                     # drawn by weight: no row of the light clump
        starts = [GaussianMixture(2, max_iter=0, init_params=init_params, random_state=s).fit(X, sample_weight=weight) for s in range(20)]
        assert all(np.abs(gm.means_[gm.weights_ > 1e-3]).max() < 4 for gm in starts)


@pytest.mark.parametrize("factor", [1e-300, 5e-324, 1e-20, 0.5, 3, 1e20, 1e99])
@pytest.mark.parametrize("covariance_type", ["full", *(pytest.param(name, marks=pytest.mark.slow) for name in ("tied", "diag", "spherical", "EVV", "VEI"))])
@pytest.mark.thorough
def test_only_ratios_count_without_a_prior(factor, covariance_type):
    plain = fit(IRIS, **START, covariance_type=covariance_type)
    for name in FITTED:                                       # the same weight for all is no weight
        assert np.array_equal(getattr(fit(IRIS, np.full(len(IRIS), factor), **START, covariance_type=covariance_type), name), getattr(plain, name))
    if factor == 5e-324: return                               # a subnormal has no thirds
    weight = np.random.default_rng(0).uniform(1, 2, len(IRIS))
    assert_same(fit(IRIS, weight * factor, **START, covariance_type=covariance_type),
                fit(IRIS, weight, **START, covariance_type=covariance_type), rtol=1e-9)


@pytest.mark.slow
def test_wild_ratios():
    for weight in (np.logspace(-320, 90, len(IRIS)), np.where(np.arange(len(IRIS)) == 7, 1e90, 1e-90)):
        for covariance_type in STRUCTURES:
            gm = fit(IRIS, weight, K=2, covariance_type=covariance_type)
            assert all(np.isfinite(getattr(gm, name)).all() for name in FITTED)
            assert np.isfinite(gm.score(IRIS, sample_weight=weight)) and np.isfinite(gm.score_samples(IRIS)).all()


NONSENSE = [(np.ones(3), ValueError, "shape"), (np.ones((150, 1)), ValueError, "shape"), (1.0, ValueError, "shape"),
            (np.zeros(150), ValueError, "all weights are zero"), (np.r_[np.ones(149), -1e-9], ValueError, "row 149"),
            (np.r_[np.nan, np.ones(149)], ValueError, "nan.*row 0"), (np.r_[np.inf, np.ones(149)], ValueError, "inf.*row 0"),
            (np.full(150, 1e101), ValueError, "below 1e100"), (["a"] * 150, TypeError, "real numbers"),
            (np.ones(150, complex), ValueError, "real numbers"), ("balanced", TypeError, "real numbers"),
            ({0: 1.0}, (TypeError, ValueError), "real numbers|shape"), ([[1.0], [1.0, 2.0]], ValueError, "real numbers"),
            (np.ma.masked_equal(np.arange(150), 3), ValueError, "masked")]


@pytest.mark.parametrize("weight, error, message", NONSENSE, ids=[message for *_, message in NONSENSE])
def test_nonsense_is_refused(weight, error, message):
    gm = fit(IRIS)
    for call in (GaussianMixture(2).fit, GaussianMixture(2).fit_predict, gm.score, gm.bic, gm.summarize,
                 GaussianMixtureSearch([1]).fit):
        with pytest.raises(error, match=f"sample_weight.*({message})"):
            call(IRIS, sample_weight=weight)


def test_too_few_rows_that_count():
    weight = np.zeros(150)
    weight[:2] = 1
    with pytest.raises(ValueError, match="n_components = 3, n_samples = 2 with a positive sample_weight"):
        GaussianMixture(3).fit(IRIS, sample_weight=weight)
    with pytest.raises(ValueError, match="n_samples = 1 with a positive sample_weight"):
        GaussianMixture(1).fit(IRIS, sample_weight=np.eye(150)[3])
    with pytest.raises(ValueError, match="init_params must have an entry for each of the 150 rows"):
        GaussianMixture(2, init_params=[0, 1]).fit(IRIS, sample_weight=weight)


@pytest.mark.parametrize("convert", [list, tuple, np.float32, np.int8, lambda w: w > 1, lambda w: w.astype(object),
                                     lambda w: np.repeat(w, 2)[::2], np.longdouble])
def test_kinds_of_arrays_and_nothing_is_changed(convert):
    weight = convert(COPIES)
    before = np.array(weight)
    gm = fit(IRIS, weight, **START)
    assert_same(gm, fit(IRIS, np.array(weight, float), **START))
    assert np.array_equal(before, weight)
    labels = GaussianMixture(3, random_state=0, **START).fit_predict(IRIS, sample_weight=weight)
    assert np.array_equal(labels, GaussianMixture(3, random_state=0, **START).fit(IRIS, sample_weight=weight).predict(IRIS))


def test_a_data_frame_of_counts_and_a_warm_start():
    import pandas as pd
    table = pd.DataFrame(load_faithful().data).value_counts().reset_index()
    X, counts = table[[0, 1]].to_numpy(), table["count"]
    options = dict(means_init=[[2, 55], [4.3, 80]])
    assert_same(fit(X, counts, K=2, **options), fit(load_faithful().data, K=2, **options))
    pieces = GaussianMixture(2, warm_start=True, max_iter=5, tol=0, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        for _ in range(3): pieces.fit(X, sample_weight=counts)
    assert np.array_equal(pieces.means_, fit(X, counts, K=2, **options).means_)


def test_search_counts_copies():
    search, repeated = (GaussianMixtureSearch([1, 2, 3], covariance_types=["tied", "diag"], init_params="ward", random_state=0, n_jobs=1)
                        for _ in range(2))
    search.fit(IRIS, sample_weight=COPIES), repeated.fit(REPEATED)
    for ours, theirs in zip(search.results_, repeated.results_):
        if ours["n_components"] == 1:
            np.testing.assert_allclose([ours["bic"], ours["log_likelihood"]], [theirs["bic"], theirs["log_likelihood"]], rtol=1e-9)
    np.testing.assert_allclose(search.score(IRIS, sample_weight=COPIES), search.score(REPEATED), rtol=1e-12)
    best = search.best_estimator_
    np.testing.assert_allclose(min(row["bic"] for row in search.results_), best.bic(IRIS, sample_weight=COPIES), rtol=1e-12)
