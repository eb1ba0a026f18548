"""Samples: right moments, right counts, right distribution, the same by seed, and bad input refused."""
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from gmm_lit import sampling
from gmm_lit.covariances import STRUCTURES, get_structure
from gmm_lit.em import Parameters, em
from gmm_lit.engine import Rows, em_step, start_from
from gmm_lit.initializers import initialize
from gmm_lit.densities import FullMatrix
from gmm_lit.sampling import draw_counts, sample

quick = settings(max_examples=30, deadline=None, derandomize=True)
WEIGHTS = np.array([0.2, 0.5, 0.3])


def mixture(name, d, K=3, seed=0, weights=WEIGHTS):
    """Random parameters of a structure, from its own M step on random rows."""
    rng = np.random.default_rng(seed)
    means = 10 * rng.normal(size=(K, d))
    labels = np.repeat(range(K), 8 * d + 20)
    X = means[labels] + np.einsum("nij,nj->ni", rng.normal(size=(K, d, d))[labels], rng.normal(size=(len(labels), d)))
    resp, structure = np.eye(K)[labels].T, get_structure(name)
    params = start_from(Rows(X), lambda block: resp[:, block], structure, K, 1e-2)
    return params._replace(weights=np.asarray(weights)), structure


def full(params, structure):
    return structure.full_covariances(params.covariances, *params.means.shape)


# --- shapes, order, dtype


@quick
@given(st.integers(1, 200), st.integers(1, 5), st.integers(1, 6), st.sampled_from(list(STRUCTURES)), st.integers(0, 999))
def test_shapes_and_order(n, d, K, name, seed):
    params, structure = mixture(name, d, K, seed, np.random.default_rng(seed).dirichlet(np.ones(K)))
    X, labels = sample(n, params, structure, seed)
    assert X.shape == (n, d) and X.dtype == np.float64 and np.all(np.isfinite(X))
    assert labels.shape == (n,) and labels.dtype.kind == "i"
    assert np.all(np.diff(labels) >= 0) and labels[0] >= 0 and labels[-1] < K


def test_a_component_without_weight_makes_no_rows():
    params, structure = mixture("full", 2, weights=[0.0, 0.4, 0.6])
    _, labels = sample(2000, params, structure, 0)
    assert set(labels) == {1, 2}


def test_parameters_are_not_changed():
    params, structure = mixture("tied", 3)
    before = [array.copy() for array in params]
    sample(100, params, structure, 0)
    assert all(np.array_equal(a, b) for a, b in zip(params, before))


# --- seeds


def test_reproducible_by_seed():
    params, structure = mixture("diag", 2)
    X, labels = sample(300, params, structure, 3)
    for same in (3, np.int64(3), np.random.default_rng(3)):
        again, again_labels = sample(300, params, structure, same)
        assert np.array_equal(X, again) and np.array_equal(labels, again_labels)
    assert not np.array_equal(X, sample(300, params, structure, 4)[0])
    legacy = [sample(300, params, structure, np.random.RandomState(3))[0] for _ in range(2)]
    assert np.array_equal(*legacy)


def test_a_generator_goes_on_and_the_global_one_is_left_alone():
    params, structure = mixture("full", 2)
    generator = np.random.default_rng(0)
    assert not np.array_equal(sample(50, params, structure, generator)[0], sample(50, params, structure, generator)[0])
    before = np.random.get_state()[1].copy()
    sample(50, params, structure)
    assert np.array_equal(before, np.random.get_state()[1])
    assert not np.array_equal(sample(50, params, structure)[0], sample(50, params, structure)[0])


# --- the components


def test_counts_are_multinomial():
    counts = np.array([draw_counts(100, WEIGHTS, np.random.default_rng(seed)) for seed in range(4000)])
    assert np.all(counts.sum(1) == 100)
    expected = 100 * (np.diag(WEIGHTS) - np.outer(WEIGHTS, WEIGHTS))
    error = np.sqrt(100 * WEIGHTS * (1 - WEIGHTS) / 4000)
    assert np.all(np.abs(counts.mean(0) - 100 * WEIGHTS) < 4 * error)
    np.testing.assert_allclose(np.cov(counts.T), expected, rtol=0.1)


@pytest.mark.parametrize("name", STRUCTURES)
def test_component_frequencies(name):
    params, structure = mixture(name, 2)
    _, labels = sample(100_000, params, structure, 0)
    assert stats.chisquare(np.bincount(labels, minlength=3), 100_000 * WEIGHTS).pvalue > 1e-4


def test_weights_that_miss_one_by_rounding():
    assert draw_counts(50, np.array([0.3, 0.7]) * (1 + 1e-6), np.random.default_rng(0)).sum() == 50


# --- the rows


@pytest.mark.parametrize("name", STRUCTURES)
@pytest.mark.parametrize("d", [1, 2, 5])
@pytest.mark.thorough
def test_moments_within_four_standard_errors(name, d):
    params, structure = mixture(name, d, seed=d)
    X, labels = sample(200_000, params, structure, d)
    for k, (mean, S) in enumerate(zip(params.means, full(params, structure))):
        rows, v = X[labels == k], np.diag(S)
        assert np.all(np.abs(rows.mean(0) - mean) < 4 * np.sqrt(v / len(rows)))
        error = np.sqrt((np.outer(v, v) + S ** 2) / len(rows))
        assert np.all(np.abs(np.cov(rows.T).reshape(d, d) - S) < 4 * error)
    middle = WEIGHTS @ params.means                                 # and of all rows together
    between = (params.means - middle).T * WEIGHTS @ (params.means - middle)
    overall = np.tensordot(WEIGHTS, full(params, structure), 1) + between
    assert np.all(np.abs(X.mean(0) - middle) < 4 * np.sqrt(np.diag(overall) / len(X)))


@pytest.mark.parametrize("name", STRUCTURES)
@pytest.mark.thorough
def test_rows_are_gaussian(name):
    params, structure = mixture(name, 3, seed=7)
    X, labels = sample(30_000, params, structure, 1)
    U = np.broadcast_to(structure.form.expand(params.precisions_cholesky, 3), (3, 3, 3))
    white = np.einsum("ni,nij->nj", X - params.means[labels], U[labels])
    assert all(stats.kstest(white[:, i], "norm").pvalue > 1e-3 for i in range(3))
    assert stats.kstest((white ** 2).sum(1), "chi2", args=(3,)).pvalue > 1e-3
    assert np.all(np.abs(np.corrcoef(white.T)[np.triu_indices(3, 1)]) < 4 / np.sqrt(len(X)))


def test_one_structure_in_four_disguises():
    """Equal round components are the same model in every structure, and give the same rows."""
    means, width = np.array([[0.0, 1.0], [5.0, -2.0]]), 0.7
    S = width ** 2
    stored = {"full": np.array([S * np.eye(2)] * 2), "tied": S * np.eye(2),
              "diag": np.full((2, 2), S), "spherical": np.full(2, S)}
    drawn = []
    for name, covariances in stored.items():
        form = get_structure(name).form
        U = form.root(form.precision(1 / np.sqrt(covariances))) if name in ("diag", "spherical") else \
            np.where(covariances > 0, 1 / width, 0.0)
        params = Parameters(np.array([0.5, 0.5]), means, covariances, U)
        drawn.append(sample(500, params, get_structure(name), 0)[0])
    for other in drawn[1:]: np.testing.assert_allclose(other, drawn[0], rtol=1e-12)


@pytest.mark.parametrize("name", STRUCTURES)
@pytest.mark.thorough
def test_a_sample_refitted_gives_back_the_model(name):
    params, structure = mixture(name, 2, seed=3)
    X, _ = sample(20_000, params, structure, 0)
    rows = Rows(X)
    start = start_from(rows, initialize("kmeans", rows, 3, np.random.default_rng(0)), structure, 3)
    again = em(lambda p: em_step(rows, p, structure), start, 1e-8, 300).params
    order = ((params.means[:, None] - again.means) ** 2).sum(2).argmin(1)
    np.testing.assert_allclose(again.weights[order], WEIGHTS, atol=0.02)
    widths = np.sqrt(np.einsum("kii->ki", full(params, structure)))
    assert np.all(np.abs(again.means[order] - params.means) < 0.1 * widths)
    scale = np.abs(full(params, structure)).max((1, 2))[:, None, None]
    assert np.all(np.abs(full(again, structure)[order] - full(params, structure)) < 0.1 * scale)


# --- whitening backwards


@quick
@given(st.integers(0, 9999), st.integers(1, 6), st.integers(0, 20))
def test_unwhiten_undoes_whitening(seed, d, n):
    rng = np.random.default_rng(seed)
    U = np.triu(rng.normal(size=(d, d)), 1) + np.diag(rng.uniform(0.5, 2, d))
    Z = rng.normal(size=(n, d))
    Y = FullMatrix.unwhiten(U, Z)
    assert Y.shape == (n, d)
    np.testing.assert_allclose(Y @ U, Z, atol=1e-8)


def test_narrow_and_wide_features_together():
    """One feature in millions and another in millionths: both come out right."""
    S = np.array([[1e12, 0.9], [0.9, 1e-12]])
    U = np.linalg.inv(np.linalg.cholesky(S)).T
    params = Parameters(np.ones(1), np.zeros((1, 2)), S[None], U[None])
    X, _ = sample(100_000, params, get_structure("full"), 0)
    np.testing.assert_allclose(X.std(0), [1e6, 1e-6], rtol=0.01)
    np.testing.assert_allclose(np.corrcoef(X.T)[0, 1], 0.9, atol=0.004)


# --- bad input


@pytest.mark.parametrize("wrong", [2.5, 3.0, "3", None, True, np.bool_(True), [3], np.float64(4)])
def test_not_an_integer(wrong):
    params, structure = mixture("full", 2)
    with pytest.raises(TypeError, match="n_samples must be a positive integer") as error:
        sample(wrong, params, structure, 0)
    assert repr(wrong) in str(error.value)


@pytest.mark.parametrize("wrong", [0, -1, np.int64(-3)])
def test_not_positive(wrong):
    params, structure = mixture("full", 2)
    with pytest.raises(ValueError, match="n_samples must be a positive integer") as error:
        sample(wrong, params, structure, 0)
    assert repr(wrong) in str(error.value)


@pytest.mark.parametrize("right", [1, np.int64(5), np.uint8(7)])
def test_any_integer_will_do(right):
    params, structure = mixture("full", 2)
    assert sample(right, params, structure, 0)[0].shape == (int(right), 2)


@pytest.mark.parametrize("wrong", ["seed", -1, 1.5])
def test_a_wrong_random_state(wrong):
    params, structure = mixture("full", 2)
    with pytest.raises((TypeError, ValueError), match="random_state"):
        sample(5, params, structure, wrong)


def test_every_public_name_is_documented():
    assert all(getattr(sampling, name).__doc__ for name in sampling.__all__)
