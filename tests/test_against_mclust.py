"""mclust's published fits (R 4.2.2, mclust 6.0.0) are early stops: ours are at or above them, never below.

Written over `STRUCTURES`: what is there is compared.
"""

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from gmm_lit import GaussianMixture, GaussianMixtureSearch
from gmm_lit.covariances import STRUCTURES
from gmm_lit.datasets import load_diabetes, load_faithful, load_iris

REFERENCE = json.loads((Path(__file__).parent / "reference" / "mclust_bic.json").read_text(encoding="utf-8"))
DATA = {"iris": load_iris().data, "faithful": load_faithful().data, "diabetes": load_diabetes().data}
FAITHFUL = DATA["faithful"]


def mclust_name(covariance_type):
    """What mclust calls it, or None if it has no numbers for it."""
    return next((name for name in STRUCTURES[covariance_type].names if name in REFERENCE["iris"]["bic"]), None)


@cache
def search(name):
    types = [covariance_type for covariance_type in STRUCTURES if mclust_name(covariance_type)]
    return GaussianMixtureSearch(covariance_types=types, random_state=0).fit(DATA[name])


def compare(name):
    """(structure, size) -> our log-likelihood less mclust's, where neither is degenerate."""
    n, found = len(DATA[name]), {}
    for row in search(name).results_:
        theirs = REFERENCE[name]["bic"][mclust_name(row["covariance_type"])][row["n_components"] - 1]
        if theirs is None or row["degenerate"] or row["error"]: continue
        # mclust's BIC is 2 log-likelihood - parameters * log(rows)
        found[row["covariance_type"], row["n_components"]] = row["log_likelihood"] - (theirs + row["n_parameters"] * np.log(n)) / 2
    return found


@pytest.mark.slow
@pytest.mark.parametrize("names", [[name] for name in DATA], ids=str)
def test_log_likelihood_at_or_above_in_95_of_100_cells(names):
    gaps = {(name, *cell): gap for name in names for cell, gap in compare(name).items()}
    below = {cell: round(float(gap), 3) for cell, gap in gaps.items() if gap < -1e-3}
    assert len(gaps) >= 0.9 * sum(len(search(name).results_) for name in names)
    assert len(below) <= 0.05 * len(gaps), below
    assert all(gap >= -1e-3 for (_, _, K), gap in gaps.items() if K == 1)


@pytest.mark.slow
@pytest.mark.parametrize("name", DATA)
def test_the_same_winner_or_a_better_bic(name):
    ours = search(name)
    theirs = {(covariance_type, K + 1): -bic for covariance_type in STRUCTURES if mclust_name(covariance_type)
              for K, bic in enumerate(REFERENCE[name]["bic"][mclust_name(covariance_type)]) if bic is not None}
    winner = min(theirs, key=theirs.get)
    same = (ours.best_params_["covariance_type"], ours.best_params_["n_components"]) == winner
    assert same or ours.best_estimator_.bic(DATA[name]) < theirs[winner]
    assert ours.best_estimator_.bic(DATA[name]) <= theirs[winner] + 2e-3


@pytest.mark.parametrize("covariance_type, K, least", [("full", 2, -1130.263960), ("tied", 3, -1126.326)])
@pytest.mark.thorough
def test_old_faithful(covariance_type, K, least):
    gm = GaussianMixture(K, covariance_type=covariance_type, reg_covar=0, tol=1e-10, max_iter=5000, n_init=20, random_state=0).fit(FAITHFUL)
    assert len(FAITHFUL) * gm.score(FAITHFUL) >= least - 1e-5
    if covariance_type == "full":
        assert abs(len(FAITHFUL) * gm.score(FAITHFUL) - least) < 1e-5


def test_icl_is_theirs_on_a_fit_that_is_the_same():
    gm = GaussianMixture(2, reg_covar=0, tol=1e-10, max_iter=1000, random_state=0).fit(FAITHFUL)
    assert abs(gm.bic(FAITHFUL) + REFERENCE["faithful"]["bic"]["VVV"][1]) < 1e-2
    assert abs(gm.icl(FAITHFUL) + REFERENCE["faithful"]["icl"]["VVV"][1]) < 1e-2
