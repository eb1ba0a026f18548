"""`update` holds weights, means or covariances where the start has them, to the bit, and EM still climbs."""

import pickle
import warnings

import numpy as np
import pytest

from gmm_lit import ConvergenceWarning, GaussianMixture
from gmm_lit.covariances import STRUCTURES, get_structure
from gmm_lit.datasets import load_iris
from gmm_lit.densities import FullForm
from gmm_lit.em import Statistics
from gmm_lit.engine import CenteredKernel, Rows, em_step, sum_under
from gmm_lit.mixture import Holding

X, SPECIES = load_iris().data, load_iris().target
MEANS = np.array([X[SPECIES == k].mean(0) for k in range(3)]) + [0.3, -0.2, 0.1, 0.05]
WEIGHTS = np.array([0.2, 0.45, 0.35])
SUBSETS = ["w", "m", "c", "wm", "wc", "mc", "cmw"]
LETTERS = {"w": ("weights_",), "m": ("means_",), "c": ("covariances_", "precisions_", "precisions_cholesky_")}


def precisions(covariance_type):
    structure = STRUCTURES[covariance_type]
    return np.array(structure.form.precision(structure.form.factor(
        np.broadcast_to(np.diag([0.3, 0.2, 0.7, 0.1]) if structure.form.shape(4) == (4, 4) else
                        np.array([0.3, 0.2, 0.7, 0.1]) if structure.form.shape(4) == (4,) else np.array(0.4),
                        structure.shape(3, 4)).copy())))


def fit(covariance_type, **options):
    start = dict(weights_init=WEIGHTS, means_init=MEANS, precisions_init=precisions(covariance_type))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return GaussianMixture(3, covariance_type=covariance_type, **{"max_iter": 8, "tol": 0, "reg_covar": 0, **start, **options}).fit(X)


@pytest.mark.parametrize("covariance_type", STRUCTURES)
@pytest.mark.thorough
def test_held_to_the_bit_and_never_down(covariance_type):
    given = dict(zip("wmc", (WEIGHTS, MEANS, precisions(covariance_type))))
    for update in SUBSETS:
        for accelerate in (None, "squarem"):
            gm = fit(covariance_type, update=update, accelerate=accelerate)
            held = dict(w=gm.weights_, m=gm.means_, c=gm.precisions_)
            for letter in "wmc":
                assert np.array_equal(held[letter], given[letter]) == (letter not in update), (update, accelerate, letter)
            np.testing.assert_allclose(gm.full_covariances() @ np.linalg.inv(gm.full_covariances()), np.broadcast_to(np.eye(4), (3, 4, 4)), atol=1e-8)
            assert np.all(np.diff(gm.lower_bounds_) > -1e-11), (update, accelerate)
            assert gm.lower_bounds_[-1] > gm.lower_bounds_[0] and gm.score(X) >= gm.lower_bound_ - 1e-11


@pytest.mark.parametrize("covariance_type", STRUCTURES)
def test_covariances_are_about_the_held_means(covariance_type):
    """Rows reflected in the held mean have that mean and that scatter: the structure's own M step knows the answer."""
    structure = get_structure(covariance_type)
    resp, rows = np.random.default_rng(0).dirichlet(np.ones(3), len(X)).T, Rows(X)
    plain = fit(covariance_type, max_iter=0)._parameters
    about = sum_under(rows, CenteredKernel(MEANS, structure.form), lambda block: resp[:, block])
    sums = about.sums.copy()
    sums[:, 1:5] = 0                                          # what the reflection does
    expected = structure.m_step(Statistics(sums, MEANS, structure.form), 0.01, plain)
    held = Holding(structure, "wc", plain)
    for stats in (about, sum_under(rows, CenteredKernel(np.tile(rows.center, (3, 1)), structure.form), lambda block: resp[:, block])):
        new = held.m_step(stats, 0.01, plain)
        assert new.means is plain.means
        loose = 1e-5 if covariance_type in ("EVE", "VVE") else 1e-9
        np.testing.assert_allclose(new.covariances, expected.covariances, rtol=loose, atol=loose * np.abs(expected.covariances).max())
        np.testing.assert_allclose(new.weights, expected.weights, rtol=1e-12)


@pytest.mark.parametrize("covariance_type", ["full", "tied", "diag", "spherical", "EII", "EEI", "VEE", "EVI"])
@pytest.mark.parametrize("update", ["c", "wc", "m", "mc", "w"])
@pytest.mark.thorough
def test_with_a_prior_the_posterior_never_falls(covariance_type, update):
    gm = fit(covariance_type, update=update, prior="default", max_iter=15)
    assert np.all(np.diff(gm.lower_bounds_) > -1e-11)
    if "c" in update and "m" not in update:                   # and its top is one: any other covariances are lower
        from gmm_lit.priors import default_prior, posterior_step, WithPrior
        rows, structure = Rows(X), STRUCTURES[covariance_type]
        with_prior = WithPrior(structure, default_prior(rows, 3, structure))
        top = fit(covariance_type, update=update, prior="default", max_iter=2000, tol=1e-13)._parameters
        height = posterior_step(lambda p: em_step(rows, p, structure), with_prior, len(X))
        rng, best = np.random.default_rng(0), height(top)[1]
        for _ in range(10):
            squeeze = np.exp(1e-3 * rng.normal(size=np.shape(structure.form.diagonal(top.precisions_cholesky))))
            U = top.precisions_cholesky * (squeeze[..., None, :] if structure.form is FullForm else squeeze.reshape(np.shape(top.precisions_cholesky)))
            moved = structure.constrain(top._replace(precisions_cholesky=U, covariances=np.asarray(structure.form.covariance(U))))
            assert height(moved)[1] <= best + 1e-12


def test_all_letters_are_plain_em_and_order_is_no_matter():
    plain, other, default = (fit("full", **options) for options in ({"update": "wmc"}, {"update": "cwm"}, {}))
    assert np.array_equal(plain.covariances_, default.covariances_) and np.array_equal(other.covariances_, default.covariances_)


def test_held_parts_of_a_random_start_and_weights_of_zero():
    rough = dict(random_state=0, tol=1e-3, max_iter=50)
    start = GaussianMixture(3, random_state=0, max_iter=0).fit(X)
    gm = GaussianMixture(3, update="wc", **rough).fit(X)
    assert np.array_equal(gm.means_, start.means_) and not np.array_equal(gm.weights_, start.weights_)
    none = fit("full", weights_init=[0.0, 0.6, 0.4], update="mc", means_init=None, precisions_init=None, reg_covar=1e-6)
    assert none.weights_[0] == 0 and np.isfinite(none.score(X)) and np.isfinite(none.covariances_).all()
    thirds = np.full(3, 1 / 3)
    assert np.array_equal(fit("full", weights_init=thirds, update="mc").weights_, thirds)
    tenths = np.array([0.1, 0.2, 0.7])                        # sums to 0.9999999999999999
    assert np.array_equal(fit("full", weights_init=tenths, update="mc").weights_, tenths)


def test_warm_start_and_copies_hold_too():
    gm = fit("full", update="wm", warm_start=True, max_iter=3)
    again = pickle.loads(pickle.dumps(gm))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        again.fit(X)
    assert np.array_equal(again.precisions_, precisions("full")) and np.array_equal(again.means_, fit("full", update="wm", max_iter=6).means_)
    again.set_params(update="c", tol=1e-3).fit(X)         # the rest as it is now
    assert np.array_equal(again.means_, fit("full", update="wm", max_iter=6).means_)


def test_with_weights_of_rows():
    copies = np.random.default_rng(0).integers(1, 4, len(X))
    a = GaussianMixture(3, means_init=MEANS, update="wc", tol=0, max_iter=5)
    b = GaussianMixture(3, means_init=MEANS, update="wc", tol=0, max_iter=5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        a.fit(X, sample_weight=copies), b.fit(np.repeat(X, copies, axis=0))
    np.testing.assert_allclose(a.covariances_, b.covariances_, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("covariance_type", STRUCTURES)
def test_criteria_charge_for_what_was_fitted(covariance_type):
    structure = STRUCTURES[covariance_type]
    whole = structure.n_parameters(3, 4)
    counts = {update: fit(covariance_type, update=update, max_iter=2).summarize(X).n_parameters for update in SUBSETS}
    assert counts["cmw"] == whole and counts["w"] == 2 and counts["m"] == 12 and counts["c"] == whole - 14
    assert counts["wc"] == whole - 12


@pytest.mark.parametrize("bad, error", [("", ValueError), ("x", ValueError), ("wx", ValueError), ("ww", ValueError), ("W", ValueError),
                                        (None, TypeError), (("w",), TypeError), (True, TypeError), ("weights", ValueError)])
def test_refused(bad, error):
    with pytest.raises(error, match="update must be letters of 'wmc'.*but it is"):
        GaussianMixture(2, update=bad).fit(X)
