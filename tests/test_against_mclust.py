"""mclust's published fits (R 4.2.2, mclust 6.0.0) are early stops: ours are at or above them, never below."""

import json
import warnings
from pathlib import Path

import numpy as np
import pytest

from gmm_lit import GaussianMixture, GaussianMixtureSearch
from gmm_lit.covariances import get_structure
from gmm_lit.datasets import load_faithful, load_iris

REFERENCE = json.loads((Path(__file__).parent / "reference" / "mclust_bic.json").read_text(encoding="utf-8"))
IRIS, FAITHFUL = load_iris().data, load_faithful().data


def their_log_likelihood(name, covariance_type, K, X):
    """From mclust's BIC, which is 2 log-likelihood - parameters * log(rows)."""
    bic = REFERENCE[name]["bic"][covariance_type][K - 1]
    n_parameters = get_structure(covariance_type).n_parameters(K, X.shape[1])
    return None if bic is None else (bic + n_parameters * np.log(len(X))) / 2


def sound_fit(X, K, covariance_type, n_init=20):
    """The best of several starts without a collapsed component, or None."""
    best = None
    for seed in range(n_init):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            gm = GaussianMixture(K, covariance_type=covariance_type, tol=1e-8, max_iter=3000, random_state=seed).fit(X)
        if not len(gm.collapsed_components()) and (best is None or gm.score(X) > best.score(X)):
            best = gm
    return best


@pytest.mark.parametrize("covariance_type", ["EII", "VII", "VVI", "EEE", "VVV"])
def test_iris(covariance_type):
    found = 0
    for K in range(1, 10):
        theirs, gm = their_log_likelihood("iris", covariance_type, K, IRIS), sound_fit(IRIS, K, covariance_type)
        if theirs is None or gm is None:
            continue
        found += 1
        assert len(IRIS) * gm.score(IRIS) >= theirs - 1e-3, f"{covariance_type}, {K} components"
    assert found >= 8


@pytest.mark.parametrize("covariance_type, K, least", [("full", 2, -1130.263960), ("tied", 3, -1126.326)])
def test_old_faithful(covariance_type, K, least):
    gm = GaussianMixture(K, covariance_type=covariance_type, reg_covar=0, tol=1e-10, max_iter=5000, n_init=20, random_state=0).fit(FAITHFUL)
    assert len(FAITHFUL) * gm.score(FAITHFUL) >= least - 1e-5
    if covariance_type == "full":
        assert abs(len(FAITHFUL) * gm.score(FAITHFUL) - least) < 1e-5


def test_the_search_agrees_on_old_faithful():
    search = GaussianMixtureSearch(random_state=0).fit(FAITHFUL)
    assert search.best_params_ == {"n_components": 3, "covariance_type": "tied"}  # EEE, 3: mclust's own choice
    assert search.best_estimator_.bic(FAITHFUL) <= -REFERENCE["faithful"]["bic"]["EEE"][2]


def test_icl_is_theirs_on_a_fit_that_is_the_same():
    gm = GaussianMixture(2, reg_covar=0, tol=1e-10, max_iter=1000, random_state=0).fit(FAITHFUL)
    assert abs(gm.bic(FAITHFUL) + REFERENCE["faithful"]["bic"]["VVV"][1]) < 1e-2
    assert abs(gm.icl(FAITHFUL) + REFERENCE["faithful"]["icl"]["VVV"][1]) < 1e-2
