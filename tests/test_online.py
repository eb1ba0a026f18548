"""Stepwise EM follows batch EM, forgets, merges, and does not grow."""

import gc
import tracemalloc
import warnings

import numpy as np
import pytest

from gmm_lit import GaussianMixture
from gmm_lit.covariances import STRUCTURES, get_structure
from gmm_lit.engine import Rows
from gmm_lit.online import OnlineGaussianMixture, batch_moments, merge, pairing, step_size
from gmm_lit.scale import open_source

MEANS = np.array([[0.0, 0.0], [4.0, 1.0], [-2.0, 5.0]])


def rows(n, seed=0, shift=0.0):
    rng = np.random.default_rng(seed)
    z = rng.choice(3, n, p=[0.5, 0.3, 0.2])
    return MEANS[z] + shift + rng.normal(size=(n, 2)) * np.array([[1, 0.7], [0.6, 1.2], [1, 1]])[z]


X = rows(30_000)


def learned(batches, **options):
    gm = OnlineGaussianMixture(**dict(n_components=3, random_state=0) | options)
    for batch in batches: gm.partial_fit(batch)
    return gm


def gap(gm, data):
    """The missing share of the way from one component to the optimum that batch EM finds from here."""
    best = GaussianMixture(gm.n_components, covariance_type=gm.covariance_type, weights_init=gm.weights_, means_init=gm.means_,
                           precisions_init=gm.precisions_, tol=1e-8, max_iter=500).fit(data).score(data)
    return (best - gm.score(data)) / (best - GaussianMixture(1, covariance_type=gm.covariance_type).fit(data).score(data))


@pytest.mark.parametrize("covariance_type", STRUCTURES)
@pytest.mark.thorough
def test_every_structure_comes_close(covariance_type):
    gm = learned(np.array_split(X, 30), covariance_type=covariance_type)
    assert gap(gm, X) < 0.01 and gm.rows_seen_ == len(X)
    structure = get_structure(covariance_type)
    assert gm.covariances_.shape == structure.shape(3, 2)


@pytest.mark.parametrize("covariance_type", ["full", "tied", "diag", "spherical", "EII"])
def test_the_first_step_with_all_of_the_weight_is_an_em_step(covariance_type):
    gm = OnlineGaussianMixture(3, covariance_type=covariance_type, random_state=0, max_iter=3, tol=0, batch_size=len(X))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        gm.fit(X)
        start = {name: getattr(gm, f"{name}_") for name in ("weights", "means", "precisions")}
        step = GaussianMixture(3, covariance_type=covariance_type, max_iter=1, tol=0, **{f"{k}_init": v for k, v in start.items()}).fit(X)
    gm._become(gm.rows_seen_, 0.0, 1, gm.rows_seen_)          # the M step of what fit remembers
    for name in ("weights_", "means_", "covariances_"): np.testing.assert_allclose(getattr(gm, name), getattr(step, name), rtol=1e-9, atol=1e-12)


def test_moments_add_as_the_rows_do():
    params = GaussianMixture(3, random_state=0).fit(X)._parameters
    structure = get_structure("full")
    of = lambda data, weight=None: batch_moments(Rows(data, weight), params, structure)[0]
    whole, a, b = of(X), of(X[:999]), of(X[999:])
    for name in ("counts", "means", "scatter"):
        np.testing.assert_allclose(getattr(a + b, name), getattr(whole, name), rtol=1e-10)
        np.testing.assert_allclose(getattr(b + a, name), getattr(whole, name), rtol=1e-10)
        np.testing.assert_allclose(getattr(a * 3, name), getattr(of(X[:999], np.full(999, 3.0)), name), rtol=1e-10)


def test_moments_of_far_and_narrow_clumps_keep_their_digits():
    far = MEANS[np.random.default_rng(0).integers(3, size=3000)] * 1e6 + 1e8
    data = far + 1e-3 * np.random.default_rng(1).normal(size=far.shape)
    gm = OnlineGaussianMixture(3, random_state=0, reg_covar=0)
    for piece in np.array_split(data, 6): gm.partial_fit(piece)
    np.testing.assert_allclose(np.sqrt(np.einsum("kii->ki", gm.covariances_)), 1e-3, rtol=0.1)


@pytest.mark.thorough
def test_cuts_do_not_matter_much_and_weights_are_copies():
    coarse, fine = learned([X]), learned(np.array_split(X, 700))
    assert abs(coarse.score(X) - fine.score(X)) < 2e-3
    a, b = learned([X[:5000]]), learned([X[:5000]])
    w = np.random.default_rng(0).integers(0, 4, 600)
    a.partial_fit(X[:600], sample_weight=w)
    b.partial_fit(np.repeat(X[:600], w, axis=0))
    assert a.rows_seen_ == b.rows_seen_ == 5000 + w.sum()
    np.testing.assert_allclose(a.means_, b.means_, rtol=1e-9)


def test_small_beginnings():
    gm = OnlineGaussianMixture(3, random_state=0)
    gm.partial_fit(X[:2])
    with pytest.raises(ValueError, match="not fitted"): gm.predict(X)
    for i in range(2, 500, 7): gm.partial_fit(X[i:i + 7])
    whole = GaussianMixture(3, random_state=0, max_iter=1000).fit(X[:506])
    assert gm.rows_seen_ == 506 and np.allclose(gm.means_, whole.means_, rtol=1e-6)
    weighted = OnlineGaussianMixture(3, random_state=0).partial_fit(X[:300], sample_weight=np.r_[np.zeros(100), np.ones(200)])
    assert np.array_equal(weighted.means_, GaussianMixture(3, random_state=0).fit(X[100:300]).means_)


def test_going_on_from_a_fit():
    gm = OnlineGaussianMixture(3, random_state=0, max_iter=500).fit(X[:10_000])
    plain = GaussianMixture(3, random_state=0, max_iter=500).fit(X[:10_000])
    np.testing.assert_array_equal(gm.means_, plain.means_)
    gm.partial_fit(X[10_000:])
    assert gm.rows_seen_ == 30_000 and gm.score(X) > plain.score(X)


def test_a_source_as_a_stream(tmp_path):
    np.save(tmp_path / "rows.npy", X)
    from_file = OnlineGaussianMixture(3, random_state=0).partial_fit(tmp_path / "rows.npy")
    assert np.array_equal(from_file.means_, learned([X]).means_)
    spoiled = X.copy()
    spoiled[7] = np.nan
    left_out = OnlineGaussianMixture(3, random_state=0).partial_fit(open_source(spoiled, bad="leave_out"))
    assert left_out.rows_seen_ == len(X) - 1


def test_drift_is_followed():
    moving = [rows(1000, seed, shift=seed / 20) for seed in range(100)]
    followed, smeared = learned(moving, half_life=3000), learned(moving)
    now = rows(20_000, 1000, shift=99 / 20)
    assert followed.score(now) > smeared.score(now) + 0.1


def test_merge():
    a, b = (OnlineGaussianMixture(3, random_state=seed, tol=1e-9, max_iter=999).fit(half) for seed, half in enumerate(np.split(X, 2)))
    whole = GaussianMixture(3, random_state=0, tol=1e-9, max_iter=999).fit(X)
    for merged in (merge(a, b), merge(b, a)):
        assert merged.rows_seen_ == len(X) and whole.score(X) - merged.score(X) < 1e-4
        assert merged.partial_fit(X[:100]).rows_seen_ == len(X) + 100
    same = merge(a, a)
    np.testing.assert_allclose(same.means_, a.means_, rtol=1e-3)
    with pytest.raises(ValueError, match="same structure"): merge(a, OnlineGaussianMixture(3))
    with pytest.raises(ValueError, match="same structure"): merge(a, OnlineGaussianMixture(2).fit(X))
    order = np.random.default_rng(0).permutation(3)
    covariances = a.full_covariances()
    assert np.array_equal(pairing(a.means_, covariances, a.means_[order], covariances[order]), order.argsort())


def test_a_prior_keeps_its_worth():
    gm = learned(np.array_split(X, 10), prior="default")
    assert gap(gm, X) < 0.01


def test_what_is_held_stays():
    gm = learned(np.array_split(X, 10), update="wc", means_init=MEANS, random_state=0)
    assert np.array_equal(gm.means_, MEANS) and gap(learned(np.array_split(X, 10)), X) < 0.01
    free = learned(np.array_split(X, 10))
    assert abs(gm.score(X) - free.score(X)) < 0.01


def test_steps():
    assert step_size(0, 5, 10, 0.7) == 1
    for kappa in (0.51, 0.75, 1):
        steps = [step_size(w, w + 100, 100, kappa) for w in range(1000, 50_000, 1000)]
        assert all(a > b > 0 for a, b in zip(steps, steps[1:]))
    assert step_size(1e12, 1e12 + 100, 100, 0.9, half_life=100) == pytest.approx(0.5, abs=1e-6)


@pytest.mark.parametrize("options, words", [
    (dict(batch_size=0), "batch_size must be"), (dict(batch_size=1.5), "batch_size must be"), (dict(step_power=0.5), "step_power must be"),
    (dict(step_power=1.1), "step_power must be"), (dict(step_power="fast"), "step_power must be"), (dict(half_life=0), "half_life must be"),
    (dict(half_life=np.nan), "half_life must be"), (dict(n_components=0), "n_components must be")])
def test_bad_options(options, words):
    with pytest.raises((TypeError, ValueError), match=words): OnlineGaussianMixture(**options).partial_fit(X[:50])


def test_bad_input():
    gm = learned([X[:2000]])
    with pytest.raises(ValueError, match="features"): gm.partial_fit(X[:, :1])
    with pytest.raises(ValueError, match="row 3"): gm.partial_fit(np.where(np.arange(10)[:, None] == 3, np.nan, X[:10]))
    for weight, words in ((np.ones(3), "shape"), (-np.ones(10), "negative"), (np.full(10, np.nan), "sample_weight"), (np.zeros(10), "positive")):
        with pytest.raises(ValueError, match=words): gm.partial_fit(X[:10], sample_weight=weight)
    assert np.isfinite(gm.means_).all()


def test_names_of_features():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(X[:3000], columns=["a", "b"])
    gm = learned([frame[:20], frame[20:2000], frame[2000:]])
    assert gm.feature_names_in_.tolist() == ["a", "b"] and gm.predict(frame).shape == (3000,)
    with pytest.raises(ValueError, match="feature names"): gm.partial_fit(frame.rename(columns={"a": "c"}))


def test_options_by_name():
    gm = OnlineGaussianMixture(2, half_life=500.0, covariance_type="tied")
    assert gm.get_params()["half_life"] == 500 and gm.get_params()["covariance_type"] == "tied"
    assert OnlineGaussianMixture(**gm.get_params()).get_params() == gm.get_params()
    assert repr(gm) == "OnlineGaussianMixture(n_components=2, half_life=500.0, covariance_type='tied')"
    clone = pytest.importorskip("sklearn.base").clone
    assert clone(gm).half_life == 500


@pytest.mark.slow
def test_one_pass_over_a_million_rows():
    for n_features, n_components, seed in ((2, 5, 0), (4, 8, 1), (8, 8, 2)):
        rng = np.random.default_rng(seed)
        means, shapes = 1.5 * rng.normal(size=(n_components, n_features)), 0.5 * rng.normal(size=(n_components, n_features, n_features))
        z = rng.integers(n_components, size=1_000_000)
        data = means[z] + np.einsum("nij,nj->ni", shapes[z], rng.normal(size=(1_000_000, n_features)))
        gm = learned(np.array_split(data, 1000), n_components=n_components)
        assert gap(gm, data) < 0.01


@pytest.mark.slow
def test_memory_does_not_grow_over_ten_thousand_calls():
    gm, sizes = learned([X]), []
    tracemalloc.start()
    for call in range(10_000):
        gm.partial_fit(X[call:call + 64])
        if call % 2500 == 2499:
            gc.collect()
            sizes.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    assert max(sizes) - min(sizes) < 50_000
    assert len(gm.lower_bounds_) == 1
