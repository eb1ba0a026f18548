"""The criteria: their definitions, their signs, mclust's numbers, and the registry."""
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gmm_lit import GaussianMixture
from gmm_lit.covariances import STRUCTURES, get_structure
from gmm_lit.criteria import (CRITERIA, FitSummary, aic, aicc, assignment_entropy, bic, clc, get_criterion, icl,
                              nec, summarize)
from gmm_lit.datasets import load_faithful, load_iris
from gmm_lit.em import em
from gmm_lit.engine import Rows, em_step, responsibilities, score_rows, start_from
from gmm_lit.initializers import initialize

quick = settings(max_examples=40, deadline=None, derandomize=True)


def walk(X, name, K, seed=0, max_iter=400):
    """Parameters after each iteration from a k-means start."""
    rows, structure = Rows(X), get_structure(name)
    resp = initialize("kmeans", rows, K, np.random.default_rng(seed))
    params = start_from(rows, resp, structure, K)
    for _ in range(max_iter):
        yield params
        params = em_step(rows, params, structure)[0]


def fit(X, name, K, seed=0, reg_covar=1e-6):
    rows, structure = Rows(X), get_structure(name)
    resp = initialize("kmeans", rows, K, np.random.default_rng(seed))
    start = start_from(rows, resp, structure, K, reg_covar)
    return em(lambda params: em_step(rows, params, structure, reg_covar), start, 1e-6, 200).params


def responsibility_tables():
    """Strategy: (n, K) tables of responsibilities, some of them zero or one."""
    def table(seed, n, K, sharpness):
        rng = np.random.default_rng(seed)
        resp = rng.dirichlet(np.full(K, sharpness), size=n)
        resp[::3] = np.eye(K)[rng.integers(K, size=len(resp[::3]))]
        return resp
    return st.builds(table, st.integers(0, 10_000), st.integers(1, 30), st.integers(1, 8),
                     st.sampled_from([0.02, 0.3, 1.0, 50.0]))


# --- the formulas


def test_values_by_hand():
    assert aic(-100.0, 7) == 214
    assert bic(-100.0, 7, 50) == pytest.approx(200 + 7 * np.log(50))
    assert icl(-100.0, 7, 50, -3.5) == pytest.approx(200 + 7 * np.log(50) + 7)
    assert icl(-100.0, 7, 50, 0.0) == bic(-100.0, 7, 50)
    assert aicc(-100.0, 7, 50) == pytest.approx(214 + 2 * 7 * 8 / 42)
    assert clc(-100.0, 2.5) == 205
    assert nec(-100.0, 2.5, -110.0, 3) == 0.25 and nec(-100.0, 0.0, -100.0, 1) == 1


def test_aicc_where_rows_run_out():
    values = [aicc(-100.0, 7, n) for n in (10 ** 9, 100, 20, 10, 9)]
    assert values[0] == pytest.approx(aic(-100.0, 7)) and np.all(np.diff(values) > 0) and np.isfinite(values[-1])
    assert all(aicc(-100.0, 7, n) == np.inf for n in (8, 7, 1))          # n - p - 1 is 0 or less


def test_nec_where_nothing_was_gained():
    assert nec(-100.0, 2.0, -100.0, 2) == nec(-101.0, 2.0, -100.0, 2) == nec(-100.0, 0.0, np.inf, 2) == np.inf


@quick
@given(st.floats(-1e5, 0), st.floats(0, 1e4), st.floats(1e-3, 1e4), st.integers(2, 9))
def test_nec_is_below_one_where_clc_is_below_that_of_one_component(of_one, entropy, gain, K):      # (5.12)
    if abs(gain - entropy) < 1e-6: return
    assert (nec(of_one + gain, entropy, of_one, K) < 1) == (clc(of_one + gain, entropy) < clc(of_one, 0.0))


def test_bic_charges_more_than_aic_from_eight_rows_on():
    assert bic(0.0, 1, 7) < aic(0.0, 1) < bic(0.0, 1, 8)


@quick
@given(st.floats(-1e6, 1e6), st.integers(1, 500), st.integers(8, 10**6), st.floats(-1e4, 0))
def test_smaller_is_better_and_the_charges_are_ordered(L, p, n, certainty):
    assert aic(L, p) <= bic(L, p, n) <= icl(L, p, n, certainty)
    assert aic(L + 1, p) < aic(L, p) < aic(L, p + 1)
    assert bic(L + 1, p, n) < bic(L, p, n) < bic(L, p + 1, n)
    assert icl(L + 1, p, n, certainty) < icl(L, p, n, certainty) < icl(L, p + 1, n, certainty)
    assert icl(L, p, n, certainty) <= icl(L, p, n, certainty - 1)


# --- entropy and certainty


@quick
@given(responsibility_tables())
def test_entropy_lies_between_its_bounds(resp):
    n, K = resp.shape
    entropy = assignment_entropy(resp)
    assert np.isfinite(entropy) and 0 <= entropy <= n * np.log(K) + 1e-9
    by_row = assignment_entropy(resp, axis=1)
    assert by_row.shape == (n,) and np.all(by_row >= 0)
    assert by_row.sum() == pytest.approx(entropy)
    assert assignment_entropy(resp.T) == pytest.approx(entropy)
    np.testing.assert_allclose(assignment_entropy(resp.T, axis=0), by_row)


@quick
@given(responsibility_tables())
def test_hard_charge_is_at_most_the_entropy(resp):                  # equation (5.10), row by row
    charge = -np.log(resp.max(1))
    assert np.all(charge >= 0) and np.all(charge <= assignment_entropy(resp, axis=1) + 1e-12)


def test_entropy_at_its_bounds():
    assert assignment_entropy(np.eye(4)) == 0
    assert assignment_entropy(np.full((5, 4), 0.25)) == pytest.approx(5 * np.log(4))


@pytest.mark.parametrize("name", STRUCTURES)
@pytest.mark.parametrize("K", [1, 2, 4])
@pytest.mark.thorough
def test_certainty_and_entropy_of_a_fit(name, K):
    X, structure = load_iris().data, get_structure(name)
    params = fit(X, name, K)
    resp = responsibilities(X, params, structure)
    summary = summarize(X, params, structure)
    certainty = summary.log_certainty
    assert isinstance(certainty, float) and -len(X) * np.log(K) - 1e-9 <= certainty <= 0
    assert certainty == pytest.approx(np.log(resp.max(1)).sum(), abs=1e-9)
    assert summary.entropy == pytest.approx(assignment_entropy(resp), abs=1e-9)
    assert -summary.log_certainty <= summary.entropy + 1e-9
    assert (certainty == 0) == (K == 1)


def test_icl_is_bic_of_rows_with_labels():                          # equation (5.8)
    X, structure = load_faithful().data, get_structure("full")
    params = fit(X, "full", 3)
    resp = responsibilities(X, params, structure)
    labels = resp.argmax(1)
    complete = 0.0
    for k in range(3):
        rows = X[labels == k] - params.means[k]
        U = params.precisions_cholesky[k]
        complete += len(rows) * (np.log(params.weights[k]) + np.log(np.diag(U)).sum() - np.log(2 * np.pi))
        complete -= 0.5 * ((rows @ U) ** 2).sum()
    ours = CRITERIA["icl"](summarize(X, params, structure))
    assert ours == pytest.approx(bic(complete, structure.n_parameters(3, 2), len(X)), rel=1e-10)


# --- the summary


@pytest.mark.parametrize("name", STRUCTURES)
@pytest.mark.thorough
def test_summary_and_threads(name):
    rng = np.random.default_rng(0)
    X, structure = rng.normal(size=(20_000, 2)) + 4 * rng.integers(2, size=(20_000, 1)), get_structure(name)
    params = fit(X[:500], name, 2)
    one, three = summarize(X, params, structure, n_jobs=1), summarize(X, params, structure, n_jobs=3)
    assert one == three                                             # to the last bit
    assert one.log_likelihood == pytest.approx(score_rows(X, params, structure).sum(), rel=1e-12)
    assert one.n_parameters == structure.n_parameters(2, 2) and one.n_rows == 20_000
    assert all(type(value) in (int, float) for value in one)


def test_far_rows_keep_a_finite_summary():
    X, structure = np.array([[0.0, 0.0], [1e4, -1e4], [1e6, 1e6]]), get_structure("full")
    params = fit(load_faithful().data, "full", 2)
    assert np.all(np.isfinite(summarize(X, params, structure)))


@pytest.mark.parametrize("name", STRUCTURES)
@pytest.mark.thorough
def test_the_likelihood_of_one_component(name):
    X, structure = load_iris().data, get_structure(name)
    of_one = GaussianMixture(1, covariance_type=name, reg_covar=0).fit(X).score(X) * len(X)
    for K in (1, 3):
        summary = summarize(X, fit(X, name, K), structure)
        assert summary.n_components == K and summary.log_likelihood_of_one == pytest.approx(of_one, rel=1e-5)
    flat = np.column_stack([X[:, :2], np.ones(len(X))])
    if np.isinf(summarize(flat, fit(flat, name, 2), structure).log_likelihood_of_one):
        assert GaussianMixture(2, covariance_type=name, random_state=0).fit(flat).nec(flat) == np.inf


@pytest.mark.parametrize("name", CRITERIA)
def test_the_estimator_has_each(name):
    X = load_faithful().data
    gm = GaussianMixture(2, random_state=0).fit(X)
    assert getattr(gm, name)(X) == CRITERIA[name](gm.summarize(X))
    with pytest.raises(ValueError, match="NaN"): getattr(gm, name)(X * np.nan)


# --- against the outside


REFERENCE = json.loads((Path(__file__).parent / "reference" / "mclust_bic.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", STRUCTURES)
@pytest.mark.parametrize("load", [load_faithful, load_iris])
def test_one_component_is_mclusts_with_the_other_sign(name, load):
    theirs = REFERENCE[load.__name__.removeprefix("load_")]
    X, mclust = load().data, next((other for other in STRUCTURES[name].names if other in theirs["bic"]), None)
    if mclust is None: pytest.skip("mclust has it under no name for several features")
    summary = summarize(X, fit(X, name, 1, reg_covar=0), STRUCTURES[name])
    assert CRITERIA["bic"](summary) == pytest.approx(-theirs["bic"][mclust][0], abs=1e-4)
    assert CRITERIA["icl"](summary) == pytest.approx(-theirs["icl"][mclust][0], abs=1e-4)


@pytest.mark.parametrize("load, name, K, bic_published, icl_published", [
    (load_faithful, "full", 2, 2322.19195930296, 2322.69746732717),
    (load_faithful, "tied", 2, 2325.21993718258, 2326.70973199106),
    (load_faithful, "diag", 2, 2346.06492395165, 2346.16080858798),
    (load_iris, "full", 1, 829.978154361886, 829.978154361886),
    (load_iris, "full", 2, 574.017832269817, 574.019098675685),
    (load_iris, "full", 3, 580.839630427708, 584.052205675285),
    (load_iris, "tied", 3, 632.964732322895, 637.84009397177),
    (load_iris, "spherical", 2, 1012.23517977321, 1012.23518052668),
])
def test_icl_is_mclusts(load, name, K, bic_published, icl_published):
    """mclust stops early; where EM passes its BIC on the way up, ICL is mclust's too.

    Signs are changed: mclust's criteria are larger when better.
    """
    X, structure = load().data, get_structure(name)
    for params in walk(X, name, K):
        summary = summarize(X, params, structure)
        if CRITERIA["bic"](summary) <= bic_published + 1e-6: break
    else: raise AssertionError("EM did not come as far as mclust")
    tolerance = 0.005 + 0.01 * (icl_published - bic_published)
    assert CRITERIA["bic"](summary) == pytest.approx(bic_published, abs=tolerance)
    assert CRITERIA["icl"](summary) == pytest.approx(icl_published, abs=tolerance)
    if icl_published - bic_published > 1:                           # and by entropy it would not be
        by_entropy = CRITERIA["bic"](summary) + 2 * summary.entropy
        assert abs(by_entropy - icl_published) > 0.5


@pytest.mark.thorough
def test_old_faithful_takes_three_tied_components():
    X, structure = load_faithful().data, get_structure("tied")
    table = [min(CRITERIA["bic"](summarize(X, fit(X, "tied", K, seed), structure)) for seed in range(3))
             for K in range(1, 6)]
    assert int(np.argmin(table)) == 2 and table[2] < 2314.3163
    two, three = (CRITERIA["icl"](summarize(X, fit(X, "tied", K), structure)) for K in (2, 3))
    assert two < three                                              # but two clumps, by ICL


@pytest.mark.parametrize("name", ["full", "tied", "diag", "spherical"])
def test_aic_and_bic_are_scikit_learns(name):
    mixture = pytest.importorskip("sklearn.mixture")
    X = load_iris().data
    theirs = mixture.GaussianMixture(3, covariance_type=name, random_state=0).fit(X)
    structure = get_structure(name)
    L, p = theirs.score(X) * len(X), structure.n_parameters(3, 4)
    assert aic(L, p) == pytest.approx(theirs.aic(X), rel=1e-12)
    assert bic(L, p, len(X)) == pytest.approx(theirs.bic(X), rel=1e-12)


# --- what each is for


def test_icl_sees_one_clump_where_bic_builds_a_shape():
    X = np.exp(0.4 * np.random.default_rng(0).normal(size=(1000, 2)))
    summaries = [summarize(X, fit(X, "full", K), get_structure("full")) for K in range(1, 5)]
    takes = {name: 1 + int(np.argmin([f(s) for s in summaries])) for name, f in CRITERIA.items()}
    assert takes["icl"] == takes["clc"] == takes["nec"] == 1 < takes["bic"] <= takes["aicc"] <= takes["aic"]


@pytest.mark.parametrize("name", CRITERIA)
def test_separated_clumps_are_counted(name):
    rng = np.random.default_rng(0)
    X = np.array([[0, 0], [10, 0], [0, 10]])[rng.integers(3, size=600)] + rng.normal(size=(600, 2))
    values = [CRITERIA[name](summarize(X, fit(X, "spherical", K), get_structure("spherical")))
              for K in range(1, 4)]
    assert int(np.argmin(values)) == 2


# --- the registry


def test_registry_and_functions_agree():
    summary = FitSummary(-321.5, 9, 77, -4.25, 6.0, 2, -400.0)
    assert get_criterion("aic")(summary) == aic(-321.5, 9)
    assert get_criterion("bic")(summary) == bic(-321.5, 9, 77)
    assert get_criterion("icl")(summary) == icl(-321.5, 9, 77, -4.25)
    assert get_criterion("aicc")(summary) == aicc(-321.5, 9, 77)
    assert get_criterion("clc")(summary) == clc(-321.5, 6.0)
    assert get_criterion("nec")(summary) == nec(-321.5, 6.0, -400.0, 2)
    for name, criterion in CRITERIA.items():
        assert get_criterion(name) is criterion and isinstance(criterion(summary), float)


@pytest.mark.parametrize("wrong", ["BIC", "", "likelihood", None, 3, ["bic"], len])
def test_unknown_criterion_names_parameter_value_and_choices(wrong):
    with pytest.raises(ValueError, match="criterion must be one of 'aic', 'aicc', 'bic', 'icl', 'clc', 'nec'") as error:
        get_criterion(wrong)
    assert repr(wrong) in str(error.value)
