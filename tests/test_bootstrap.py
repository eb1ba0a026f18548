"""The bootstrap likelihood-ratio test: its arithmetic, its reproducibility, its troubles, and its level."""

import warnings

import numpy as np
import pytest

from gmm_lit import GaussianMixture, bootstrap
from gmm_lit.bootstrap import RatioTest, count_components, replicate, statistic
from gmm_lit.datasets import load_faithful, load_iris

RNG = np.random.default_rng(0)
ONE = RNG.normal(size=(60, 2))
TWO = np.concatenate([RNG.normal(size=(40, 2)), RNG.normal(6, 1, size=(40, 2))])
QUICK = dict(covariance_type="tied", n_bootstrap=19, n_init=1, random_state=0)


def same(a, b):
    return len(a.tests) == len(b.tests) and all(
        (s.n_components, s.statistic, s.planned) == (t.n_components, t.statistic, t.planned)
        and np.array_equal(s.replicates, t.replicates, equal_nan=True) for s, t in zip(a.tests, b.tests))


def test_p_values_by_hand():
    assert RatioTest(1, 5.0, np.arange(9.0), 9).p_value == (1 + 4) / 10          # 5, 6, 7 and 8 are as large
    assert RatioTest(1, 9.0, np.arange(9.0), 9).p_value == 0.1
    assert RatioTest(1, -1.0, np.arange(9.0), 9).p_value == 1.0
    failed = RatioTest(1, 5.0, np.array([np.nan, 1.0, np.nan, 6.0]), 6)
    assert failed.p_value == (1 + 1) / 3 and failed.n_failed == 2
    assert failed.remarks == "2 failed and left out; interrupted after 4 of 6"


def test_the_statistic_is_twice_the_rise():
    T, small, large = statistic(TWO, GaussianMixture(1), GaussianMixture(2), 1, ["kmeans"], 0)
    assert T == pytest.approx(2 * len(TWO) * (large.score(TWO) - small.score(TWO)), rel=1e-12)
    again, kept, _ = statistic(TWO, small, GaussianMixture(2), 1, ["kmeans"], 0)
    assert kept is small and again == T


@pytest.mark.thorough
def test_counts():
    one, two = count_components(ONE, **QUICK), count_components(TWO, **QUICK)
    assert one.n_components == 1 and len(one.tests) == 1 and one.model.n_components == 1
    assert two.n_components == 2 and [t.n_components for t in two.tests] == [1, 2] and two.model.n_components == 2
    assert two.tests[0].p_value == 0.05 < two.tests[1].p_value
    assert two.model.predict(TWO).shape == (80,)
    first = count_components(TWO, 2, **QUICK)                      # nothing above 2 may be asked
    assert first.n_components == 2 and len(first.tests) == 1 and "more were not tested" in first.table()


@pytest.mark.slow
@pytest.mark.parametrize("load, K, statistics", [(load_iris, 3, [331.12, 68.34]), (load_faithful, None, [319.066])])
def test_real_data(load, K, statistics):
    found = count_components(load().data, 5, n_bootstrap=99, random_state=0)
    assert K is None or found.n_components == K
    for test, T in zip(found.tests, statistics): assert test.statistic >= T - 0.01


@pytest.mark.thorough
def test_the_same_for_any_number_of_processes():
    state = np.random.get_state()[1].copy()
    alone = count_components(TWO, 2, **QUICK, n_jobs=1)
    assert same(alone, count_components(TWO.tolist(), 2, **QUICK, n_jobs=2))
    assert not same(alone, count_components(TWO, 2, **QUICK | {"random_state": 1, "n_bootstrap": 3}))
    few = count_components(TWO, 2, **QUICK | {"n_bootstrap": 5})
    np.testing.assert_array_equal(few.tests[0].replicates, alone.tests[0].replicates[:5])   # seeds belong to replicates
    assert np.array_equal(state, np.random.get_state()[1])


@pytest.mark.thorough
def test_the_same_with_helpers(monkeypatch):
    alone, hired, hire = count_components(TWO, 2, **QUICK, n_jobs=1), [], bootstrap.work_through.__globals__["_hire"]
    monkeypatch.setitem(bootstrap.work_through.__globals__, "_hire", lambda *job: hired.extend(hire(*job)) or hired[-1:])
    monkeypatch.setattr("gmm_lit.selection.time.perf_counter", lambda clock=iter(range(10 ** 9)): float(next(clock)) * 100)
    assert same(alone, count_components(TWO, 2, **QUICK, n_jobs=2)) and hired


@pytest.mark.thorough
def test_replicates_that_fail_are_counted(monkeypatch):
    calls, real = [], statistic

    def fragile(*args):
        calls.append(1)
        if len(calls) % 3 == 0: raise ValueError("every fit of 2 components has a collapsed one.")
        return real(*args)

    monkeypatch.setattr(bootstrap, "statistic", fragile)
    found = count_components(ONE, 2, **QUICK, n_jobs=1)
    test = found.tests[0]
    assert test.n_failed == 6 and len(test.replicates) == 19 and 0 < test.p_value <= 1
    assert "6 failed and left out" in found.table()
    assert np.isnan(replicate((GaussianMixture(1).fit(np.zeros((9, 1))), GaussianMixture(1), GaussianMixture(2), 1, ["kmeans"], 9),
                              np.random.SeedSequence(0)))


@pytest.mark.thorough
def test_fits_to_the_rows_that_collapse(monkeypatch):
    with pytest.raises(ValueError, match="collapsed"):
        count_components(np.ones((9, 2)), **QUICK)
    real = statistic

    def fragile(X, small, large, *rest):
        if large.n_components == 3: raise ValueError("every fit of 3 components has a collapsed one.")
        return real(X, small, large, *rest)

    monkeypatch.setattr(bootstrap, "statistic", fragile)
    with pytest.warns(UserWarning, match="Of the rows, every fit of 3"):
        found = count_components(TWO, **QUICK, n_jobs=1)
    assert found.n_components == 2 and found.model.n_components == 2 and "every fit of 3" in found.table()


@pytest.mark.thorough
def test_an_interrupt_keeps_what_was_learned(monkeypatch):
    calls, real = [], replicate

    def tired(*args):
        calls.append(1)
        if len(calls) == stop: raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(bootstrap, "replicate", tired)
    stop = 25
    with pytest.warns(UserWarning, match="Interrupted"):
        found = count_components(TWO, **QUICK, n_jobs=1)
    assert len(found.tests[0].replicates) == 19 and len(found.tests[1].replicates) == 5 and "interrupted after 5 of 19" in found.table()
    stop = len(calls) + 1
    with pytest.raises(KeyboardInterrupt):
        count_components(TWO, **QUICK, n_jobs=1)


@pytest.mark.parametrize("options, error", [
    ({"max_components": 1}, ValueError), ({"max_components": 2.5}, TypeError), ({"n_bootstrap": 0}, ValueError),
    ({"n_bootstrap": True}, TypeError), ({"alpha": 0}, ValueError), ({"alpha": 1.0}, ValueError), ({"alpha": "5%"}, TypeError),
    ({"alpha": np.nan}, ValueError), ({"covariance_type": "round"}, ValueError), ({"n_init": 0}, ValueError), ({"tol": -1}, ValueError),
    ({"init_params": ("kmeans", "luck")}, ValueError), ({"n_jobs": 0}, ValueError), ({"random_state": "seed"}, TypeError),
])
def test_bad_options(options, error):
    with pytest.raises(error, match=next(iter(options))):
        count_components(TWO, **QUICK | options)


@pytest.mark.thorough
def test_reports(capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = count_components(TWO, **QUICK)
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""
    assert str(found) == found.table() and found._repr_html_().startswith("<pre>") and "&lt;" not in found._repr_html_()
    assert found.table().splitlines()[-1] == "2 components are not rejected at level 0.05."
    pyplot = pytest.importorskip("matplotlib.pyplot")
    assert len(found.plot().axes) == 2 and found.tests[0].plot().get_xlabel()
    pyplot.close("all")


@pytest.mark.slow
def test_level():
    """One Gaussian is taken for two about as often as promised: 5%, of 200 within 95% limits and a little."""
    wrong = sum(count_components(np.random.default_rng(i).normal(size=(60, 2)), 2, **QUICK | {"random_state": i}, tol=1e-4).n_components == 2
                for i in range(200))
    assert 3 <= wrong <= 18
