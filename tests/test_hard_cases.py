"""Cases that once gave a wrong answer, and must not again."""

import threading

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from gmm_lit import GaussianMixture, GaussianMixtureSearch
from gmm_lit.covariances import STRUCTURES
from gmm_lit.engine import Rows
from gmm_lit.initializers import kmeans_step, nearest

rng = np.random.default_rng(0)
CLUMPS = np.vstack([rng.normal(size=(200, 2)) * 0.1, [1, 0] + rng.normal(size=(200, 2)) * 0.1])
SIDE = np.repeat([0, 1], 200)


@pytest.mark.parametrize("far", [1e4, 1e9, 1e12, 1e15])
@pytest.mark.parametrize("scale", [1e-8, 1.0, 1e8])
def test_one_wild_row_does_not_blur_the_others(far, scale):
    X = np.vstack([CLUMPS, [[far, far]]]) * scale
    centers = np.array([[0, 0], [1, 0], [far, far]]) * scale
    labels = nearest(Rows(X), centers)
    np.testing.assert_array_equal(labels, [*SIDE, 2])
    means, inertia = kmeans_step(Rows(X), centers)
    np.testing.assert_allclose(means[:2] / scale, [CLUMPS[SIDE == k].mean(0) for k in (0, 1)], atol=1e-9)
    np.testing.assert_allclose(inertia / scale ** 2, ((CLUMPS - [[0, 0], [1, 0]][0] - np.outer(SIDE, [1, 0])) ** 2).sum(), rtol=1e-6)
    gm = GaussianMixture(3, random_state=0, reg_covar=1e-6 * scale ** 2).fit(X)
    np.testing.assert_allclose(np.sort(gm.means_[:, 0] / scale)[:2], [0, 1], atol=0.05)


@pytest.mark.thorough
def test_concurrent_fits_give_blas_its_threads_back():
    X = np.random.default_rng(1).normal(size=(60_000, 6))
    GaussianMixture(2, max_iter=1, tol=np.finfo(float).max, random_state=0).fit(X[:100])
    threads = lambda: [lib["num_threads"] for lib in threadpool_info() if lib["user_api"] == "blas"]
    before, results = threads(), []
    fit = lambda: results.append(GaussianMixture(3, tol=1e3, random_state=0).fit(X).means_)
    workers = [threading.Thread(target=fit) for _ in range(4)]
    for worker in workers: worker.start()
    for worker in workers: worker.join()
    assert threads() == before
    assert len(results) == 4 and all(np.array_equal(results[0], means) for means in results)


def test_options_changed_after_a_fit():
    gm = GaussianMixture(2, covariance_type="diag", random_state=0).fit(CLUMPS)
    expected = gm.score_samples(CLUMPS)
    gm.set_params(covariance_type="tied", n_components=7)
    np.testing.assert_array_equal(gm.score_samples(CLUMPS), expected)      # what was fitted is what judges
    assert gm.sample(3)[0].shape == (3, 2) and gm.full_covariances().shape == (2, 2, 2)
    with pytest.raises(ValueError, match="n_jobs"):
        gm.set_params(n_jobs=0).predict(CLUMPS)


@pytest.mark.parametrize("change, X", [({"n_components": 5}, CLUMPS), ({"covariance_type": "tied"}, CLUMPS), ({}, CLUMPS[:, :1])])
def test_warm_start_refuses_another_shape(change, X):
    gm = GaussianMixture(2, covariance_type="diag", warm_start=True, random_state=0).fit(CLUMPS)
    with pytest.raises(ValueError, match="warm_start goes on from the last fit"):
        gm.set_params(**change).fit(X)


@pytest.mark.parametrize("distance", [1, 100, 1e3, 1e4])
def test_rows_far_out_along_a_flat_component(distance):
    e = 1e-3
    precision = np.linalg.inv(np.array([[1, 1], [1, 1 + e * e]]))
    precision = (precision + precision.T) / 2
    X = np.random.default_rng(0).multivariate_normal([0, 0], [[1, 1], [1, 1 + e * e]], size=100)
    gm = GaussianMixture(2, weights_init=[0.5, 0.5], means_init=[[0, 0], [0, 2 * e]], precisions_init=[precision] * 2, max_iter=0).fit(X)
    row = np.array([[distance, distance + 1.3 * e]])
    np.testing.assert_allclose(gm.predict_proba(row)[0, 0], 0.35434369, atol=2e-7 if distance > 1e3 else 1e-8)


@pytest.mark.parametrize("X, message", [
    (CLUMPS * 1e155, "X must be finite and within 1e100"),
    (CLUMPS * 1e101, "X must be finite and within 1e100"),
    (CLUMPS * 1e-160, "ill-defined"),
])
@pytest.mark.filterwarnings("error")
def test_extreme_scales_are_refused(X, message):
    with pytest.raises(ValueError, match=message):
        GaussianMixture(2, reg_covar=0, random_state=0).fit(X)


@pytest.mark.parametrize("scale", [1e-90, 1e-30, 1e30, 1e90])
@pytest.mark.parametrize("covariance_type", STRUCTURES)
@pytest.mark.filterwarnings("error")
def test_large_and_small_scales_are_fitted(scale, covariance_type):
    plain = GaussianMixture(2, covariance_type=covariance_type, reg_covar=0, random_state=0).fit(CLUMPS)
    scaled = GaussianMixture(2, covariance_type=covariance_type, reg_covar=0, random_state=0).fit(CLUMPS * scale)
    np.testing.assert_allclose(scaled.means_ / scale, plain.means_, atol=1e-8)
    np.testing.assert_allclose(scaled.score(CLUMPS * scale), plain.score(CLUMPS) - 2 * np.log(scale), rtol=1e-9)


@pytest.mark.parametrize("options, message", [
    ({"precisions_init": [[[1e-320]]]}, "precisions_init"), ({"tol": 10 ** 400}, "tol"), ({"reg_covar": 10 ** 400}, "reg_covar"),
    ({"means_init": [[10 ** 400]]}, "means_init"), ({"n_jobs": True}, "n_jobs"),
])
def test_numbers_that_do_not_fit(options, message):
    with pytest.raises(ValueError, match=message):
        GaussianMixture(1, **options).fit(CLUMPS[:, :1])
    with pytest.raises(ValueError, match="X"):
        GaussianMixture(1).fit([[10 ** 400], [1]])
    with pytest.raises(ValueError, match="n_samples"):
        GaussianMixture(1).fit(CLUMPS).sample(10 ** 30)


@pytest.mark.parametrize("covariance_type", ["full", "diag", "spherical"])
def test_a_component_of_one_row_is_refused_without_regularisation(covariance_type):
    with pytest.raises(ValueError, match="ill-defined"):
        GaussianMixture(2, covariance_type=covariance_type, reg_covar=0, random_state=0).fit([[0.0], [1.0]])
    outlier = np.vstack([np.random.default_rng(0).normal(size=(80, 2)), [[1e3, 1e3]]])
    with pytest.raises(ValueError, match="ill-defined"):
        GaussianMixture(2, covariance_type=covariance_type, reg_covar=0, random_state=0).fit(outlier)


@pytest.mark.thorough
def test_wide_data_stay_in_bounded_memory():
    import tracemalloc
    X = np.random.default_rng(0).normal(size=(60, 700))
    tracemalloc.start()
    GaussianMixture(2, reg_covar=1.0, max_iter=2, tol=np.finfo(float).max, random_state=0).fit(X)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 120e6  # a covariance has 3.9 MB; T of one block would have 126 MB


def test_search_tables_of_an_unknown_criterion():
    search = GaussianMixtureSearch([1], covariance_types="tied", random_state=0).fit(CLUMPS)
    for ask in (search.table, search.plot):
        with pytest.raises(ValueError, match="criterion"):
            ask("error")
    for options in ({"n_components": [[1]]}, {"covariance_types": [["full"]]}):
        with pytest.raises(TypeError, match=next(iter(options))):
            GaussianMixtureSearch(**options).fit(CLUMPS)
