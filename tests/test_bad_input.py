"""Nonsense is refused by name: which parameter, what it got, what it may be."""

import re

import numpy as np
import pytest
from scipy import sparse

from gmm_lit import GaussianMixture, GaussianMixtureSearch, NotFittedError
from gmm_lit.datasets import load_faithful

X = load_faithful().data
FITTED = GaussianMixture(2, random_state=0).fit(X)


def spoiled(value, row=41, column=1):
    bad = X.copy()
    bad[row, column] = value
    return bad


ROWS = [
    (spoiled(np.nan), ValueError, "NaN.*row 41, column 1"),
    (spoiled(np.inf), ValueError, "infinity.*row 41"),
    (spoiled(-np.inf, 0, 0), ValueError, "infinity.*row 0"),
    (X[:, 0], ValueError, "2D array.*1D.*reshape"),
    (X[None], ValueError, "2D array.*3D"),
    (np.float64(3), ValueError, "2D array.*0D"),
    (X[:0], ValueError, r"array X with 0 sample\(s\) .*minimum of 2"),
    (X[:1], ValueError, r"array X with 1 sample\(s\) .*minimum of 2"),
    (X[:, :0], ValueError, r"array X with 0 feature\(s\) .*minimum of 1"),
    (X + 0j, ValueError, "real numbers.*Complex data not supported"),
    (np.array([["a", "b"]] * 5), (TypeError, ValueError), "real numbers"),
    ([["a", 1.0]] * 5, (TypeError, ValueError), "real numbers"),
    ([[1.0, None]] * 5, (TypeError, ValueError), "NaN|real numbers"),
    ([[1.0, 2.0], [3.0]], ValueError, "rows of equal length"),
    ([], ValueError, "2D array"),
    (None, (TypeError, ValueError), "2D array|real numbers"),
    ("text", (TypeError, ValueError), "real numbers"),
    (sparse.csr_matrix(X), TypeError, "dense.*sparse.*toarray"),
    (sparse.coo_array(X), TypeError, "dense.*sparse"),
    (np.ma.masked_greater(X, 90), ValueError, "missing values.*masked"),
    (np.array(["2020-01-01"] * 4, "M8[D]").reshape(2, 2), TypeError, "real numbers"),
]


@pytest.mark.parametrize("bad, error, message", ROWS, ids=[m for _, _, m in ROWS])
def test_rows_that_cannot_be_fitted(bad, error, message):
    with pytest.raises(error, match=f"(?s){message}"):
        GaussianMixture(2).fit(bad)


@pytest.mark.parametrize("method", ["predict", "predict_proba", "score_samples", "score", "aic", "bic", "icl"])
def test_rows_that_cannot_be_judged(method):
    judge = getattr(FITTED, method)
    with pytest.raises(ValueError, match="NaN.*row 41"):
        judge(spoiled(np.nan))
    with pytest.raises(ValueError, match="3 features.*expecting 2"):
        judge(np.ones((4, 3)))
    with pytest.raises(ValueError, match="2D array"):
        judge(X[0])
    with pytest.raises(NotFittedError, match="not fitted yet.*'fit'"):
        getattr(GaussianMixture(2), method)(X)


def test_sampling_and_matrices_before_fit():
    for call in (GaussianMixture(2).sample, GaussianMixture(2).full_covariances):
        with pytest.raises(NotFittedError, match="not fitted yet"):
            call()
    for wrong in (0, -1, 1.5, "3", True):
        with pytest.raises((ValueError, TypeError), match="n_samples"):
            FITTED.sample(wrong)


OPTIONS = [
    ("n_components", 0, ValueError), ("n_components", -2, ValueError), ("n_components", 2.0, TypeError),
    ("n_components", "2", TypeError), ("n_components", True, TypeError), ("n_components", None, TypeError),
    ("tol", -1e-3, ValueError), ("tol", np.nan, ValueError), ("tol", np.inf, ValueError), ("tol", "small", TypeError),
    ("reg_covar", -1e-6, ValueError), ("reg_covar", None, TypeError), ("reg_covar", np.nan, ValueError),
    ("max_iter", -1, ValueError), ("max_iter", 10.5, TypeError), ("n_init", 0, ValueError), ("n_init", "1", TypeError),
    ("covariance_type", "round", ValueError), ("covariance_type", None, ValueError), ("covariance_type", ["full"], ValueError),
    ("init_params", "kmean", ValueError), ("init_params", 3, ValueError),
    ("warm_start", "yes", TypeError), ("verbose", -1, ValueError), ("verbose_interval", 0, ValueError),
    ("random_state", "seed", TypeError), ("random_state", -1, ValueError), ("random_state", 1.5, TypeError),
    ("n_jobs", 0, ValueError), ("n_jobs", -3, ValueError), ("n_jobs", "two", ValueError),
    ("weights_init", [0.5, 0.6], ValueError), ("weights_init", [1.5, -0.5], ValueError), ("weights_init", [1.0], ValueError),
    ("weights_init", [np.nan, 1.0], ValueError), ("weights_init", "half", (TypeError, ValueError)), ("weights_init", 0.5, ValueError),
    ("means_init", [[1, 2]], ValueError), ("means_init", [[1, 2, 3]] * 2, ValueError), ("means_init", [[np.nan, 1]] * 2, ValueError),
    ("means_init", "middle", (TypeError, ValueError)), ("precisions_init", np.eye(2), ValueError),
    ("precisions_init", -np.ones((2, 2, 2)), ValueError), ("precisions_init", [[[1, 2], [0, 1]]] * 2, ValueError),
    ("precisions_init", np.full((2, 2, 2), np.nan), ValueError), ("precisions_init", "sharp", (TypeError, ValueError)),
]


@pytest.mark.parametrize("name, value, error", OPTIONS, ids=[f"{n}={v!r}"[:40] for n, v, _ in OPTIONS])
def test_options(name, value, error):
    with pytest.raises(error, match=name) as caught:
        GaussianMixture(**({"n_components": 2} | {name: value})).fit(X)
    assert not isinstance(caught.value, np.linalg.LinAlgError)
    assert re.search("must|between|shape", str(caught.value))


@pytest.mark.parametrize("covariance_type, bad", [
    ("tied", np.ones((2, 2, 2))), ("tied", [[1, 2], [2, 1]]), ("diag", [[1, -1], [1, 1]]), ("diag", [1, 1]),
    ("spherical", [1, 0]), ("spherical", [[1], [1]]), ("full", [[[1, 0.5], [0.4, 1]]] * 2),
])
def test_precisions_of_each_structure(covariance_type, bad):
    with pytest.raises(ValueError, match="precisions_init.*" + covariance_type):
        GaussianMixture(2, covariance_type=covariance_type, precisions_init=bad).fit(X)


def test_too_few_rows_and_unknown_parameters():
    with pytest.raises(ValueError, match="n_components = 5, n_samples = 4"):
        GaussianMixture(5).fit(X[:4])
    with pytest.raises(ValueError, match="'components'.*Valid parameters.*n_components"):
        GaussianMixture().set_params(components=2)
    with pytest.raises(TypeError):
        GaussianMixture(2, "full")


@pytest.mark.parametrize("covariance_type", ["full", "tied", "diag", "spherical"])
def test_collapsed_components_say_what_to_do(covariance_type):
    with pytest.raises(ValueError, match="ill-defined.*increase reg_covar") as caught:
        GaussianMixture(2, covariance_type=covariance_type, reg_covar=0, random_state=0).fit(np.ones((10, 3)))
    assert not isinstance(caught.value, np.linalg.LinAlgError)
    constant = GaussianMixture(2, covariance_type=covariance_type, random_state=0).fit(np.ones((10, 3)))
    assert np.isfinite(constant.score_samples(np.ones((10, 3)))).all()


def test_a_failed_fit_keeps_the_last_good_one():
    gm = GaussianMixture(2, random_state=0).fit(X)
    means = gm.means_.copy()
    with pytest.raises(ValueError):
        gm.fit(spoiled(np.nan))
    assert np.array_equal(gm.means_, means)


def test_search_options():
    for options, message in [({"criterion": "cic"}, "criterion.*'cic'"), ({"covariance_types": ["full", "round"]}, "'round'"),
                             ({"covariance_types": []}, "covariance_types"), ({"n_components": []}, "n_components"),
                             ({"n_components": [0]}, "n_components"), ({"n_init": 0}, "n_init")]:
        with pytest.raises(ValueError, match=message):
            GaussianMixtureSearch(**{"n_components": [1], **options}).fit(X)
    with pytest.raises(NotFittedError, match="not fitted yet"):
        GaussianMixtureSearch().table()
    with pytest.raises(TypeError, match="n_components"):
        GaussianMixtureSearch(n_components=3.5).fit(X)
