"""Rows in the partitions of a Dask array: the same fit, on threads here and on a real cluster of processes."""

import logging
import os
import pickle
import signal
import sys
import threading
import time
import warnings

import numpy as np
import pytest

from gmm_lit import GaussianMixture
from gmm_lit.covariances import STRUCTURES
from gmm_lit.densities import FullForm
from gmm_lit.engine import Rows
from gmm_lit.initializers import InitializationError

da = pytest.importorskip("dask.array")
pytest.importorskip("distributed")
cloudpickle = pytest.importorskip("cloudpickle")

from gmm_lit.cluster import DaskSource, Lowest, far_rows, kmeans_parallel, tree_sum  # noqa: E402

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import a test

MEANS = np.array([[0.0, 0.0, 0.0], [6.0, 0.0, 1.0], [0.0, 5.0, -4.0]])


def rows(n, seed=0):
    rng = np.random.default_rng(seed)
    return MEANS[rng.integers(3, size=n)] + rng.normal(size=(n, 3)) * [1, 0.5, 2]


X = rows(20_000)
START = dict(n_components=3, weights_init=[0.3, 0.3, 0.4], means_init=MEANS + 0.7, max_iter=4, tol=0)


def fit(data, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return GaussianMixture(**(START | options)).fit(data)


def close(a, b, tol=1e-10):
    return all(np.allclose(getattr(a, name), getattr(b, name), rtol=tol, atol=tol) for name in ("weights_", "means_", "covariances_", "lower_bounds_"))


def same_bits(a, b):
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in ("weights_", "means_", "covariances_", "lower_bounds_"))


@pytest.mark.parametrize("covariance_type", ["full", "tied", "EII", "VVE"])
@pytest.mark.thorough
def test_structures(covariance_type):
    check_structure(covariance_type)


@pytest.mark.slow
@pytest.mark.parametrize("covariance_type", STRUCTURES)
def test_every_structure(covariance_type):
    check_structure(covariance_type)


def check_structure(covariance_type):
    structure = STRUCTURES[covariance_type]
    precisions = np.broadcast_to(np.eye(3) if structure.form is FullForm else 1.0, structure.shape(3, 3))
    options = dict(covariance_type=covariance_type, precisions_init=precisions)
    assert close(fit(X, **options), fit(da.from_array(X, chunks=(3001, 2)), **options))


def test_kinds_of_arrays():
    given = dict(precisions_init=np.tile(np.eye(3), (3, 1, 1)))
    some = X[:5000]
    for data in (some.astype(np.float32), some.astype(int)):
        assert close(fit(data, **given), fit(da.from_array(data, chunks=(999, 3)), **given), 1e-5 if data.dtype == np.float32 else 1e-10)
    lazy = da.from_array(some, chunks=(999, 3))
    unknown = lazy[lazy[:, 0] > -1]                            # nobody knows how many
    assert close(fit(some[some[:, 0] > -1], **given), fit(unknown, **given))
    hard = some * 1e-4 + 1e5
    given = dict(precisions_init=np.tile(np.eye(3) * 1e8, (3, 1, 1)), means_init=MEANS * 1e-4 + 1e5, reg_covar=0)
    assert close(fit(hard, **given), fit(da.from_array(hard, chunks=(999, 3)), **given), 1e-9)


@pytest.mark.thorough
def test_data_frames():
    dd, pd = pytest.importorskip("dask.dataframe"), pytest.importorskip("pandas")
    given = dict(precisions_init=np.tile(np.eye(3), (3, 1, 1)))
    local = pd.DataFrame(X[:3000], columns=list("abc"))
    frame = dd.from_pandas(local, npartitions=4)
    gm = fit(frame, **given)
    assert close(fit(X[:3000], **given), gm)
    np.testing.assert_array_equal(gm.predict(frame).compute(), gm.predict(local))
    words = dd.from_pandas(pd.DataFrame({"a": ["x", "y"] * 20}), npartitions=2)
    with pytest.raises((TypeError, ValueError), match="real numbers"): fit(words)


def test_answers(tmp_path):
    gm, lazy = fit(X), da.from_array(X, chunks=(3001, 3))
    np.testing.assert_array_equal(gm.predict(lazy).compute(), gm.predict(X))
    np.testing.assert_allclose(gm.predict_proba(lazy).compute(), gm.predict_proba(X), atol=1e-12)
    np.testing.assert_allclose(gm.score_samples(lazy).compute(), gm.score_samples(X), rtol=1e-11)
    np.testing.assert_allclose(gm.score(lazy), gm.score(X), rtol=1e-12)
    np.testing.assert_array_equal(gm.predict(lazy, out=tmp_path / "labels.npy"), gm.predict(X))
    with pytest.raises(TypeError, match="cluster"): gm.bic(lazy)
    with pytest.raises(ValueError, match="features"): gm.predict(lazy[:, :2])


def test_bad_rows():
    spoiled = X.copy()
    bad = np.array([5, 3000, 3001, 19_999])
    spoiled[bad, 1] = [np.nan, np.inf, 1e200, np.nan]
    lazy = da.from_array(spoiled, chunks=(3001, 3))
    with pytest.raises(ValueError, match="nan: first in row 5, column 1"): fit(lazy)
    with pytest.raises(ValueError, match="inf: first in row 3000, column 1"): fit(da.where(da.arange(20_000, chunks=3001)[:, None] == 5, 0, lazy))
    source = DaskSource(lazy, bad="leave_out")
    gm = fit(source, precisions_init=np.tile(np.eye(3), (3, 1, 1)))
    assert close(gm, fit(np.delete(X, bad, axis=0), precisions_init=np.tile(np.eye(3), (3, 1, 1))))
    np.testing.assert_array_equal(np.flatnonzero(gm.predict(source).compute() == -1), bad)
    whole_partition = X[:600].copy()
    whole_partition[200:400] = np.nan
    assert len(DaskSource(da.from_array(whole_partition, chunks=(200, 3)), bad="leave_out")) == 400
    with pytest.raises(ValueError, match="at least 1 row"): DaskSource(da.full((10, 2), np.nan), bad="leave_out")
    with pytest.raises(ValueError, match="bad must be"): DaskSource(lazy, bad="mend")


def test_partitions_as_a_stream():
    from gmm_lit.online import OnlineGaussianMixture
    some, lazy = X[:6000], da.from_array(X[:6000], chunks=(999, 3))
    streamed, local = (OnlineGaussianMixture(3, random_state=0).partial_fit(data) for data in (lazy, some))
    assert np.array_equal(streamed.means_, local.means_)


def test_weights_of_rows():
    weight = np.random.default_rng(0).integers(0, 3, len(X)).astype(float)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = lambda: GaussianMixture(**START, precisions_init=np.tile(np.eye(3), (3, 1, 1)))
        assert close(model().fit(X, sample_weight=weight), model().fit(da.from_array(X, chunks=(3001, 3)), sample_weight=weight))


@pytest.mark.thorough
def test_starts():
    lazy = da.from_array(X, chunks=(3001, 3))
    best = GaussianMixture(3, random_state=0, tol=1e-8, max_iter=500).fit(X)
    for options in (dict(), dict(means_init=MEANS), dict(prior="default", accelerate="squarem", covariance_type="tied")):
        gm = GaussianMixture(3, **dict(random_state=1, tol=1e-7, max_iter=500) | options).fit(lazy)
        if "covariance_type" not in options and "prior" not in options: assert gm.lower_bound_ > best.lower_bound_ - 1e-6
        again = GaussianMixture(3, **dict(random_state=1, tol=1e-7, max_iter=500) | options).fit(lazy)
        assert same_bits(gm, again)
    for init_params in ("random", "short_runs", np.zeros((len(X), 3))):
        with pytest.raises(InitializationError, match="cluster"): GaussianMixture(3, init_params=init_params).fit(lazy)


def test_the_lowest_add():
    rng = np.random.default_rng(0)
    keys, data = rng.random(1000), rng.normal(size=(1000, 2))
    parts = [(Lowest(keys[i:i + 90], data[i:i + 90], 25),) for i in range(0, 1000, 90)]
    from dask import delayed
    (low,) = tree_sum([delayed(part) for part in parts]).compute()
    np.testing.assert_array_equal(low.keys, np.sort(keys)[:25])
    np.testing.assert_array_equal(low.rows, data[np.argsort(keys)[:25]])


def test_far_rows_are_chosen_in_proportion():
    places = np.repeat([[0.0], [1.0], [3.0]], [1000, 1000, 1000], axis=0)
    counts = np.zeros(3)
    for seed in range(300):
        chosen = far_rows(Rows(places), np.array([[0.0]]), 10, seed)
        counts += [(chosen == value).sum() for value in (0, 1, 3)]
    assert counts[0] == 0 and abs(counts[1] / 3000 - 0.1) < 0.02
    assert len(far_rows(Rows(places), np.array([[0.0], [1.0], [3.0]]), 10, 0)) == 0


@pytest.mark.thorough
def test_kmeans_parallel_is_as_good_as_kmeans():
    from gmm_lit.initializers import kmeans, kmeans_step
    rng = np.random.default_rng(0)
    data = np.repeat(20 * rng.normal(size=(25, 2)), 200, axis=0) + rng.normal(size=(5000, 2))
    inertia = lambda centers: kmeans_step(Rows(data), centers)[1]
    best = min(inertia(kmeans(Rows(data), 25, np.random.default_rng(seed))) for seed in range(3))
    assert min(inertia(kmeans_parallel(Rows(data), 25, np.random.default_rng(seed))) for seed in range(3)) < 1.3 * best


def test_what_goes_to_workers_is_small():
    source = DaskSource(da.from_array(X, chunks=(100, 3)))
    assert len(pickle.dumps(Rows(source))) < 20_000


@pytest.fixture
def cluster():
    from dask.distributed import Client, LocalCluster
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    with LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, memory_limit="400MB") as cluster, \
            Client(cluster) as client:
        yield client


def made_array(parts):
    from dask import delayed

    def made(i):                                              # a local function travels by value
        time.sleep(0.02)
        return rows(2000, seed=i)

    return da.concatenate([da.from_delayed(delayed(made)(i), (2000, 3), float) for i in range(parts)])


@pytest.mark.thorough
def test_a_real_cluster(cluster):
    given = dict(precisions_init=np.tile(np.eye(3), (3, 1, 1)), max_iter=2)
    assert close(fit(made_array(6), **given), fit(np.concatenate([rows(2000, seed=i) for i in range(6)]), **given))


@pytest.mark.slow
def test_a_start_on_a_real_cluster(cluster):
    whole = np.concatenate([rows(2000, seed=i) for i in range(20)])
    seeded = GaussianMixture(3, random_state=0).fit(made_array(20))
    assert abs(seeded.score(whole) - GaussianMixture(3, random_state=0).fit(whole).score(whole)) < 1e-3


@pytest.mark.slow
def test_killed_at_five_moments(cluster):
    given = dict(precisions_init=np.tile(np.eye(3), (3, 1, 1)), max_iter=6)
    cluster.run(fit, X[:100])
    begun = time.perf_counter()
    quiet = fit(made_array(40), **given)
    took = time.perf_counter() - begun
    for share in np.random.default_rng(int.from_bytes(os.urandom(4), "big")).uniform(0.05, 0.95, 5):
        cluster.wait_for_workers(2)
        killer = threading.Timer(share * took, os.kill, (next(iter(cluster.run(os.getpid).values())), signal.SIGKILL))
        killer.start()
        disturbed = fit(made_array(40), **given)
        killer.join()
        assert same_bits(quiet, disturbed), f"killed after {share:.2f} of the fit"


@pytest.mark.slow
def test_more_rows_than_a_workers_memory():
    from dask import delayed
    from dask.distributed import Client, LocalCluster

    def large(i): return np.random.default_rng(i).normal(size=(500_000, 4)) + 8 * (i % 2)

    with LocalCluster(n_workers=2, threads_per_worker=1, memory_limit="300MB", dashboard_address=None) as cluster, Client(cluster) as client:
        lazy = da.concatenate([da.from_delayed(delayed(large)(i), (500_000, 4), float) for i in range(80)])
        assert lazy.nbytes > 4 * 300e6
        gm = fit(lazy, n_components=2, weights_init=[0.5, 0.5], means_init=[[1.0] * 4, [7.0] * 4], precisions_init=np.tile(np.eye(4), (2, 1, 1)))
        np.testing.assert_allclose(np.sort(gm.means_[:, 0]), [0, 8], atol=0.01)
        assert len(client.scheduler_info()["workers"]) == 2
