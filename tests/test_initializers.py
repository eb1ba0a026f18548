"""Starts: hierarchical trees against their definition, short runs, and what users give as init_params."""

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gmm_lit import GaussianMixture, GaussianMixtureSearch
from gmm_lit.covariances import STRUCTURES, get_structure
from gmm_lit.datasets import load_diabetes, load_faithful, load_iris
from gmm_lit.em import em
from gmm_lit.engine import Rows, em_step, start_from
from gmm_lit.hierarchical import Ellipsoids, HierarchicalTree, Traces, Ward, agglomerate, cut
from gmm_lit.initializers import INITIALIZERS, InitializationError, check_assignment, initialize

REFERENCE = json.loads((Path(__file__).parent / "reference" / "mclust_bic.json").read_text(encoding="utf-8"))
IRIS, FAITHFUL, DIABETES = load_iris().data, load_faithful().data, load_diabetes().data
CRITERIA = [Ward, Ellipsoids, Traces]
TREES = ["hierarchical", "ward", "mclust"]
quick = settings(max_examples=15, deadline=None, database=None)


def same_clusters(a, b):
    return len(set(zip(a, b))) == len(set(a)) == len(set(b))


def exhaustive(Z, weight, criterion):
    """Each step computes the criterion of every possible merge from the rows."""
    def cost(members):
        mean = np.average(Z[members], axis=0, weights=weight[members])
        scatter = (criterion.form.outer(Z[members] - mean).T * weight[members]).T.sum(0)
        return criterion.cost(scatter[None], weight[members].sum()[None])[0]

    clusters, rises = [[i] for i in range(len(Z))], []
    while len(clusters) > 1:
        rise, a, b = min((cost(a + b) - cost(a) - cost(b), a, b) for i, a in enumerate(clusters) for b in clusters[i + 1:])
        rises.append(rise)
        clusters = sorted([c for c in clusters if c not in (a, b)] + [sorted(a + b)])
    return np.array(rises)


@quick
@given(st.sampled_from(CRITERIA), st.integers(0, 10_000), st.integers(2, 14), st.integers(1, 3), st.booleans())
@pytest.mark.thorough
def test_the_cheapest_merge_is_made_each_time(criterion, seed, n, d, weighted):
    rng = np.random.default_rng(seed)
    Z = rng.normal(size=(n, d))
    weight = rng.uniform(0.5, 2, n) if weighted else np.ones(n)
    made = criterion(Z, weight)
    np.testing.assert_allclose(agglomerate(Z, weight, made)[1], exhaustive(Z, weight, made), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("X", [IRIS, FAITHFUL, DIABETES], ids=["iris", "faithful", "diabetes"])
def test_ward_is_scipys(X):
    from scipy.cluster.hierarchy import linkage

    tree = HierarchicalTree(X, Ward)
    np.testing.assert_allclose(np.sort(tree.rises_), np.sort(linkage(tree.Z, "ward")[:, 2] ** 2 / 2), rtol=1e-6, atol=1e-12)


@quick
@given(st.sampled_from(CRITERIA), st.integers(0, 10_000), st.integers(1, 40), st.integers(1, 4))
def test_a_tree_whatever_the_rows(criterion, seed, n, d):
    rng = np.random.default_rng(seed)
    X = rng.integers(0, 3, (n, d)) * rng.choice([1e-6, 1.0, 1e6], d) + rng.choice([0, 1e8])   # many ties and copies
    tree = HierarchicalTree(X, criterion)
    for K in range(1, n + 1):
        labels = tree.labels(K)
        assert sorted(set(labels)) == list(range(K)) and np.array_equal(labels, HierarchicalTree(X.copy(), criterion).labels(K) if K == n // 2 else labels)
        if K > 1:
            assert len(set(zip(labels, tree.labels(K - 1)))) == K
    assert np.isfinite(tree.rises_).all()
    assert tree(X, n + 3).max() == n - 1                       # more clusters than rows: as many as there are
    assert np.isfinite(tree.gaussians(min(n, 3)).precisions_cholesky).all()


@quick
@given(st.sampled_from(CRITERIA), st.integers(0, 10_000), st.integers(1, 4))
@pytest.mark.thorough
def test_units_do_not_matter(criterion, seed, d):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(60, d)) + 4 * rng.integers(0, 2, (60, 1))
    here, there = HierarchicalTree(X, criterion), HierarchicalTree(X * 10.0 ** rng.integers(-6, 6, d) + rng.normal(size=d), criterion)
    for K in (2, 3, 5):
        assert same_clusters(here.labels(K), there.labels(K))


@pytest.mark.parametrize("criterion", CRITERIA)
def test_the_order_of_rows_does_not_matter(criterion):
    X, order = np.random.default_rng(0).normal(size=(80, 3)), np.random.default_rng(1).permutation(80)
    here, there = HierarchicalTree(X, criterion), HierarchicalTree(X[order], criterion)
    assert all(same_clusters(here.labels(K)[order], there.labels(K)) for K in range(2, 20))


@pytest.mark.parametrize("criterion", CRITERIA)
def test_weights(criterion):
    rng = np.random.default_rng(3)
    X, weight = rng.normal(size=(60, 2)), rng.uniform(0.5, 2, 60)
    weight[[0, 10, 59]] = 0
    some, used = HierarchicalTree(X, criterion, weight), weight > 0
    np.testing.assert_array_equal(some.labels(4), HierarchicalTree(X[used], criterion, 7 * weight[used]).labels(4))
    assert some(X, 4).shape == (60,)
    np.testing.assert_array_equal(some(X, 4)[used], some.labels(4))
    assert HierarchicalTree(X, criterion, np.zeros(60))(X, 3).shape == (60,)


def test_copies_are_weights_for_ward():
    rng = np.random.default_rng(0)
    X, copies = rng.normal(size=(40, 2)), rng.integers(1, 4, 40)
    Z = np.repeat(X, copies, axis=0)
    by_weight = agglomerate(X, copies.astype(float), Ward(X, copies))[0]
    by_copies = agglomerate(Z, np.ones(len(Z)), Ward(Z, None))[0]
    for K in range(2, 10):
        assert same_clusters(np.repeat(cut(by_weight, K), copies), cut(by_copies, K))


@pytest.mark.parametrize("dtype", [np.float32, np.int64])
@pytest.mark.thorough
def test_a_sample_of_many_rows(dtype, monkeypatch):
    monkeypatch.setattr("gmm_lit.hierarchical.TREE_ROWS", 500)
    rng, truth = np.random.default_rng(0), np.arange(30_000) % 3
    X = (100 * (rng.normal(size=(30_000, 7)) + 9 * truth[:, None])).astype(dtype)
    tree = HierarchicalTree(X)
    assert len(tree.sample_) == 500 * 5 // 7 and same_clusters(tree(X, 3), truth)
    assert np.array_equal(tree(X, 3), HierarchicalTree(X.copy())(X, 3))
    gm = GaussianMixture(3, init_params="hierarchical").fit(X)
    assert same_clusters(gm.predict(X), truth)
    np.testing.assert_array_equal(tree(X[:50], 3), tree(X, 3)[:50])      # a tree of other rows judges these


@pytest.mark.parametrize("wrong", [[1.0, 2.0], np.empty((0, 2)), [[np.nan, 1.0]]])
def test_a_tree_needs_rows(wrong):
    with pytest.raises(ValueError, match="X must be"):
        HierarchicalTree(wrong)


@pytest.mark.parametrize("covariance_type", STRUCTURES)
@pytest.mark.parametrize("name", INITIALIZERS)
@pytest.mark.thorough
def test_every_start_with_every_structure(name, covariance_type):
    gm = GaussianMixture(3, covariance_type=covariance_type, init_params=name, random_state=0, max_iter=500).fit(IRIS)
    assert np.all(np.diff(gm.lower_bounds_) > -1e-9)
    again = GaussianMixture(3, covariance_type=covariance_type, init_params=name, random_state=1 if name in TREES else 0, max_iter=500).fit(IRIS)
    assert np.array_equal(gm.means_, again.means_)


@pytest.mark.parametrize("name", INITIALIZERS)
@pytest.mark.thorough
def test_starts_take_weights_and_few_rows(name):
    rng = np.random.default_rng(0)
    weight = np.array([0, 1, 2, 0.5, 0, 3, 1, 1.0])
    for X in (rng.normal(size=(8, 2)), np.ones((8, 2)), np.repeat(rng.normal(size=(2, 2)), 4, axis=0)):
        for K in (1, 3, 8):
            resp = initialize(name, Rows(X, weight), K, np.random.default_rng(0), 1, reg_covar=1e-3)(slice(0, 8))
            assert resp.shape == (K, 8) and np.isfinite(resp).all()
            np.testing.assert_allclose(resp.sum(0), 1)


@pytest.mark.thorough
def test_short_runs_prefer_sound_runs():
    with_copies = np.vstack([np.random.default_rng(0).normal(size=(100, 2)), np.full((4, 2), 0.5)])     # a spike waits here
    sound = 0
    for seed in range(10):
        start = initialize("short_runs", Rows(with_copies), 4, np.random.default_rng(seed), 1, reg_covar=1e-6)
        params = start_from(Rows(with_copies), start, get_structure("full"), 4, 1e-6, 1)
        sound += np.linalg.eigvalsh(params.covariances).min() > 1e-4
    assert sound >= 9


@pytest.mark.thorough
def test_short_runs_use_a_sample_of_many_rows_and_the_structure():
    X = np.random.default_rng(0).normal(size=(30_000, 2)) + 6 * (np.arange(30_000) % 2)[:, None]
    for covariance_type in ("full", "tied", "EII"):
        gm = GaussianMixture(2, covariance_type=covariance_type, init_params="short_runs", random_state=0).fit(X)
        assert gm.n_iter_ <= 3 and same_clusters(gm.predict(X), X.sum(1) > 6)


# -- what users give ---------------------------------------------------------------------------------------------------

SPECIES = np.repeat(["setosa", "versicolor", "virginica"], 50)
SHARES = np.full((150, 3), 0.1) + 0.7 * (SPECIES[:, None] == np.unique(SPECIES))


@pytest.mark.parametrize("labels", [np.repeat([0, 1, 2], 50), np.repeat([1, 2, 3], 50).tolist(), SPECIES, SPECIES.astype(object),
                                    np.repeat([-1.5, 0.0, 7.0], 50), (SPECIES[:, None] == np.unique(SPECIES)).astype(np.float32),
                                    lambda X, n_components, random_state: SPECIES], ids=lambda _: "")
def test_labels_of_any_kind(labels):
    gm = GaussianMixture(3, init_params=labels, max_iter=0, reg_covar=0).fit(IRIS)
    np.testing.assert_allclose(gm.means_, [IRIS[:50].mean(0), IRIS[50:100].mean(0), IRIS[100:].mean(0)])
    np.testing.assert_allclose(gm.covariances_[1], np.cov(IRIS[50:100].T, bias=True))


def test_responsibilities_are_one_m_step():
    gm = GaussianMixture(3, init_params=SHARES, max_iter=0, reg_covar=0).fit(IRIS)
    np.testing.assert_allclose(gm.weights_, SHARES.mean(0))
    np.testing.assert_allclose(gm.means_, SHARES.T @ IRIS / SHARES.sum(0)[:, None])
    loose = SHARES.astype(np.float32)
    np.testing.assert_allclose(GaussianMixture(3, init_params=loose, max_iter=0).fit(IRIS).means_, gm.means_, rtol=1e-6)


@pytest.mark.parametrize("covariance_type", STRUCTURES)
def test_labels_are_mclusts_deterministic_start(covariance_type):
    reference = json.loads((Path(__file__).parent / "reference" / "iris_label_start.json").read_text(encoding="utf-8"))
    theirs = next(reference[name] for name in get_structure(covariance_type).names if name in reference)
    options = dict(covariance_type=covariance_type, init_params=load_iris().target, reg_covar=0)
    # mclust ends its inner search early; for EVE the true top of the bound is 7e-6 lower in likelihood than where it stops
    assert 150 * GaussianMixture(3, max_iter=0, **options).fit(IRIS).score(IRIS) >= theirs["loglik_mstep1"] * (1 + 1e-5)
    assert 150 * GaussianMixture(3, tol=1e-10, max_iter=5000, **options).fit(IRIS).score(IRIS) >= theirs["loglik_me"] - 1e-5


def test_a_function_gets_rows_number_and_seed():
    calls = []

    def start(X, n_components, random_state):
        calls.append((X, n_components, random_state))
        return np.random.default_rng(random_state).dirichlet(np.ones(n_components), len(X))

    GaussianMixture(2, init_params=start, n_init=3, random_state=0, max_iter=5, tol=1).fit(IRIS)
    assert len(calls) == 3 and len({seed for *_, seed in calls}) == 3
    assert all(X is IRIS and K == 2 and type(seed) is int for X, K, seed in calls)
    seeds = [seed for *_, seed in calls]
    GaussianMixture(2, init_params=start, n_init=3, random_state=0, max_iter=5, tol=1).fit(IRIS)
    assert [seed for *_, seed in calls[3:]] == seeds


def test_a_scikit_learn_clusterer_is_a_start():
    from sklearn.cluster import KMeans

    start = lambda X, n_components, random_state: KMeans(n_components, n_init=1, random_state=random_state).fit_predict(X)
    assert GaussianMixture(3, init_params=start, random_state=0, max_iter=500).fit(IRIS).converged_


BAD = SHARES.copy()
BAD[7] = [0.9, 0.3, -0.2]
NANS = SHARES.copy()
NANS[3, 1] = np.nan


@pytest.mark.parametrize("wrong, says", [
    (np.zeros(150), "1 distinct labels for 3"), (np.arange(150), "150 distinct labels for 3"), (np.repeat([0, 1, 2], 40), r"shape is \(120,\)"),
    (SHARES.T, r"shape is \(3, 150\)"), (SHARES[:, :2], r"shape is \(150, 2\)"), (BAD, "row 7 .*not negative"), (NANS, "row 3 .*finite"),
    (2 * SHARES, "row 0 .*sum to one"), (np.where(np.arange(150) == 9, np.nan, SPECIES == "setosa"), "row 9 .*NaN"),
    (np.eye(3)[np.repeat([0, 1], 75)], "component 2 has no part"), (SHARES * 1j, "one kind"), ([[1, 0, 0]] * 149 + [[1]], "one kind"),
    (["a"] * 75 + [3] * 74 + [None], "sorted"), (np.where(SHARES > 0.5, "much", "little"), "row 0"), ({"a": 1}, "shape is"), (b"abc", "shape is"),
    (np.zeros((150, 3, 1)), "shape is"), ([], "shape is"),
], ids=lambda _: "")
@pytest.mark.parametrize("as_function", [False, True])
def test_wrong_starts_are_refused_by_name(wrong, says, as_function):
    given = (lambda X, n_components, random_state: wrong) if as_function else wrong
    with pytest.raises(InitializationError, match="init_params must give labels.*" + says) as caught:
        GaussianMixture(3, init_params=given, n_init=2).fit(IRIS)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("wrong", ["kmean", "", 3, None, 1.5, True])
def test_wrong_names_list_the_right_ones(wrong):
    with pytest.raises(ValueError, match="init_params must be one of 'kmeans'.*'short_runs'.*'hierarchical'.*responsibilities.*function"):
        GaussianMixture(2, init_params=wrong).fit(IRIS)


def test_means_are_kept_with_labels_of_ones_own():
    means = IRIS[[0, 60, 120]]
    gm = GaussianMixture(3, init_params=SPECIES, means_init=means, max_iter=0, reg_covar=0).fit(IRIS)
    np.testing.assert_array_equal(gm.means_, means)
    np.testing.assert_allclose(gm.covariances_[0], np.cov(IRIS[:50].T, bias=True))


@pytest.mark.parametrize("start", [np.arange(10_000) % 2, (np.arange(10_000) % 2).tolist(), np.full((10_000, 2), 0.5), np.full((300, 2), 0.123456789), SPECIES])
def test_representation_and_copies(start):
    from sklearn.base import clone

    gm = GaussianMixture(2, init_params=start)
    assert "init_params=" in repr(gm) and len(repr(gm)) < 200 and "\n" not in repr(gm)
    assert gm.get_params()["init_params"] is start
    np.testing.assert_array_equal(clone(gm).init_params, start)
    assert GaussianMixture().set_params(init_params=start).init_params is start
    assert repr(GaussianMixture(3, init_params="ward")) == "GaussianMixture(n_components=3, init_params='ward')"


@pytest.mark.thorough
def test_one_tree_serves_a_whole_search():
    tree = HierarchicalTree(FAITHFUL, Traces)
    by_tree, by_name = (GaussianMixtureSearch(range(1, 6), covariance_types=["tied", "diag"], n_init=1, init_params=start, random_state=0).fit(FAITHFUL)
                        for start in (tree, "mclust"))
    assert by_tree.best_params_ == by_name.best_params_ == {"n_components": 3, "covariance_type": "tied"}
    assert [row["bic"] for row in by_tree.results_] == [row["bic"] for row in by_name.results_]


# -- against mclust ----------------------------------------------------------------------------------------------------


def below_mclust(starts):
    """Cells in which the best fit without a flat component is below mclust's, and the number of cells."""
    below, cells = [], 0
    for name, X in (("faithful", FAITHFUL), ("iris", IRIS), ("diabetes", DIABETES)):
        rows = Rows(X)
        for kind in STRUCTURES:
            structure = get_structure(kind)
            theirs = next(REFERENCE[name]["bic"][n] for n in structure.names if n in REFERENCE[name]["bic"])
            for K in range(1, 10):
                if theirs[K - 1] is None:
                    continue
                cells, best = cells + 1, -np.inf
                for start, seed in starts:
                    resp = initialize(start, rows, K, np.random.default_rng(seed), 1, structure=structure, reg_covar=1e-6)
                    step = lambda params: em_step(rows, params, structure, 1e-6, 1)
                    run = em(step, start_from(rows, resp, structure, K, 1e-6, 1), 1e-6, 1000)
                    if np.linalg.eigvalsh(structure.full_covariances(run.params.covariances, K, X.shape[1])).min() > 2e-6:
                        best = max(best, len(X) * run.log_likelihoods[-1])
                if best < (theirs[K - 1] + structure.n_parameters(K, X.shape[1]) * np.log(len(X))) / 2 - 1e-3:
                    below.append((name, kind, K))
    return below, cells


@pytest.mark.slow
@pytest.mark.parametrize("starts, least", [([("mclust", 0)], 0.94), ([("mclust", 0), ("kmeans", 0)], 0.97)], ids=["mclust", "and kmeans"])
def test_mclusts_start_reaches_mclusts_likelihood(starts, least):
    below, cells = below_mclust(starts)
    assert 1 - len(below) / cells >= least, below


def test_check_assignment_leaves_what_it_was_given():
    shares = SHARES.copy()
    assert check_assignment(shares, 150, 3) is not shares
    np.testing.assert_array_equal(shares, SHARES)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_assignment(NANS[:3], 3, 3)


@pytest.mark.parametrize("name, criterion", [("hierarchical", Ellipsoids), ("ward", Ward), ("mclust", Traces)])
def test_trees_are_grown_once_and_never_stale(name, criterion, monkeypatch):
    rng, grown = np.random.default_rng(0), []
    X = rng.normal(size=(60, 2))
    monkeypatch.setattr("gmm_lit.hierarchical.agglomerate", lambda *arguments: grown.append(1) or agglomerate(*arguments))
    first = GaussianMixture(3, init_params=name, n_init=5).fit(X)
    for K in (2, 4): GaussianMixture(K, init_params=name).fit(X)
    assert len(grown) == 1
    again = GaussianMixture(3, init_params=name).fit(X.copy())
    np.testing.assert_array_equal(again.means_, first.means_)
    X[:30] += 10                                              # the same array, other rows
    moved = GaussianMixture(3, init_params=name).fit(X)
    np.testing.assert_array_equal(moved.means_, GaussianMixture(3, init_params=HierarchicalTree(X, criterion)).fit(X).means_)
