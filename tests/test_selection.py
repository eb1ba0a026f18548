"""The search: its protocol, its reports, what it does when models fail, collapse or are interrupted, and who does the work."""

import html.parser
import os
import pickle
import re
import subprocess
import sys
import warnings

import numpy as np
import pytest

from gmm_lit import GaussianMixture, GaussianMixtureSearch, NotFittedError, selection
from gmm_lit.covariances import STRUCTURES, Spherical
from gmm_lit.criteria import CRITERIA
from gmm_lit.datasets import load_faithful, load_iris
from gmm_lit.initializers import INITIALIZERS
from gmm_lit.selection import best_row, climb, format_html, format_table, list_starts, try_model, work_through

X = load_faithful().data
NUMBERS = ["log_likelihood", "n_parameters", *CRITERIA, "n_iter"]
SMALL = dict(covariance_types=["tied", "diag"], n_init=2, random_state=0)


def without_times(search): return [{k: v for k, v in row.items() if k != "seconds"} for row in search.results_]


@pytest.fixture(scope="module")
def small(): return GaussianMixtureSearch([1, 2, 3], **SMALL).fit(X)


# --- the protocol


def test_rows_tell_everything(small):
    assert [(row["n_components"], row["covariance_type"]) for row in small.results_] == [
        (K, name) for K in (1, 2, 3) for name in ("tied", "diag")]
    for row in small.results_:
        assert set(row) == {"covariance_type", "n_components", *NUMBERS, "converged", "degenerate", "collapsed", "init_params",
                            "n_starts", "n_lost", "seconds", "error"}
        assert all(np.isfinite(row[name]) for name in NUMBERS) and row["converged"] is True and row["error"] is None
        assert row["n_starts"] == (1 if row["n_components"] == 1 else 2 + small.n_init) and row["seconds"] > 0
        assert row["init_params"] in small.init_params
    pickle.loads(pickle.dumps(small)).predict(X)


def test_the_best_is_asked(small):
    best = small.best_estimator_
    assert small.best_params_ == {"n_components": best.n_components, "covariance_type": best.covariance_type}
    assert best_row(small.results_, "bic")["bic"] == best.bic(X) and small.n_features_in_ == 2
    for name in ("predict", "predict_proba", "score_samples", "score"):
        np.testing.assert_array_equal(getattr(small, name)(X), getattr(best, name)(X))
    assert small.sample(7)[0].shape == (7, 2)
    again = GaussianMixtureSearch([1, 2, 3], **SMALL)
    np.testing.assert_array_equal(again.fit_predict(X), small.predict(X))
    for name in ("predict", "predict_proba", "score_samples", "score", "table", "plot"):
        with pytest.raises(NotFittedError, match="not fitted yet"):
            getattr(GaussianMixtureSearch(), name)(*[X] * (name not in ("table", "plot")))
    with pytest.raises(NotFittedError):
        GaussianMixtureSearch().sample()


def test_the_best_can_be_fitted_again(small):
    alone = GaussianMixture(**small.best_estimator_.get_params()).fit(X)
    for name in ("weights_", "means_", "covariances_", "n_iter_", "lower_bounds_"):
        np.testing.assert_array_equal(getattr(alone, name), getattr(small.best_estimator_, name))
    assert alone.n_init == 1 and alone.max_iter == 1000 and not alone.warm_start


def test_clone_and_set_params(small):
    base = pytest.importorskip("sklearn.base")
    search = GaussianMixtureSearch([1, 2], **SMALL)
    copy = base.clone(search)
    assert copy is not search and copy.get_params() == search.get_params()
    copy.set_params(criterion="icl", n_components=[1, 2, 3])
    assert copy.fit(X).best_params_["n_components"] == 2 and not hasattr(search, "results_")
    with pytest.raises(ValueError, match="'sizes'.*Valid parameters.*n_components"):
        search.set_params(sizes=[1])
    assert repr(search).startswith("GaussianMixtureSearch(n_components=[1, 2]")


def test_a_size_does_not_depend_on_its_neighbours(small):
    alone = GaussianMixtureSearch([3], **SMALL).fit(X)
    assert without_times(alone) == without_times(small)[-2:]
    other = GaussianMixtureSearch([3], **SMALL | {"random_state": 1}).fit(X)
    assert other.best_estimator_.random_state != alone.best_estimator_.random_state


@pytest.mark.parametrize("options, error, message", [
    ({"criterion": "BIC"}, ValueError, "criterion must be one of.*'BIC'"), ({"n_components": []}, ValueError, "n_components.*empty"),
    ({"n_components": ["2"]}, TypeError, "n_components.*'2'"), ({"n_components": [0]}, ValueError, "n_components.*0"),
    ({"covariance_types": "round"}, ValueError, "covariance_type.*'round'"), ({"covariance_types": []}, ValueError, "covariance_types"),
    ({"n_init": 0}, ValueError, "n_init"), ({"tol": -1}, ValueError, "tol"), ({"max_iter": 1.5}, TypeError, "max_iter"),
    ({"reg_covar": -1}, ValueError, "reg_covar"), ({"init_params": "luck"}, ValueError, "init_params.*'luck'"),
    ({"init_params": ("kmeans", "luck")}, ValueError, "init_params.*'luck'"), ({"init_params": ()}, ValueError, "init_params.*empty"),
    ({"random_state": "seed"}, TypeError, "random_state"), ({"n_jobs": 0}, ValueError, "n_jobs.*0"),
    ({"verbose": "loud"}, TypeError, "verbose.*'loud'"),
])
def test_bad_options(options, error, message):
    with pytest.raises(error, match=message):
        GaussianMixtureSearch(**{"n_components": [1], "covariance_types": "tied"} | options).fit(X)


def test_several_initialisers(small):
    starts = list_starts(["kmeans", "random"], 3, 4, seed=5)
    assert [start["init_params"] for start in starts] == ["kmeans"] * 3 + ["random"] * 3
    assert len({start["random_state"] for start in starts}) == 3 and starts == list_starts(["kmeans", "random"], 3, 4, 5)
    assert len(list_starts(["kmeans", "random"], 3, 1, 5)) == 1
    each = {init: GaussianMixtureSearch([3], **SMALL | {"init_params": init}).fit(X) for init in small.init_params}
    for i, row in enumerate(small.results_[-2:]):
        assert row["log_likelihood"] == max(search.results_[i]["log_likelihood"] for search in each.values())


def test_an_initialiser_without_chance_is_used_once(monkeypatch):
    first = lambda rows, K, rng, n_jobs=None: np.arange(len(rows.X)) % K
    monkeypatch.setitem(INITIALIZERS, "first", first)
    monkeypatch.setattr("gmm_lit.initializers.CERTAIN", {"first"})
    assert len(list_starts(["first", "kmeans"], 3, 2, 0)) == 4


# --- degenerate and failing models


SPIKED = np.concatenate([X, np.tile([4.0, 83.0], (30, 1))])


def spiky(scale=1.0, reg_covar=1e-6):
    return GaussianMixture(3, covariance_type="diag", reg_covar=reg_covar * scale ** 2, means_init=np.array([[2, 55], [4.3, 80], [4, 83]]) * scale,
                           precisions_init=np.array([[9, 0.02], [9, 0.02], [99, 99]]) / scale ** 2)


@pytest.mark.parametrize("scale", [1e-6, 1e-3, 1.0, 1e3, 1e6])
def test_collapse_is_found_in_any_units(scale):
    row, model = try_model(SPIKED * scale, (spiky(scale), [{}]))
    assert row["degenerate"] is True and [c["component"] for c in row["collapsed"]] == [2]
    found = row["collapsed"][0]
    assert found["size"] == pytest.approx(44, abs=1) and found["smallest_eigenvalue"] == pytest.approx(1e-6 * scale ** 2, rel=0.1)
    sound, _ = try_model(SPIKED * scale, (GaussianMixture(2, covariance_type="tied", reg_covar=1e-6 * scale ** 2), [{"random_state": 0}]))
    assert not sound["degenerate"] and sound["collapsed"] == []


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_collapse_without_regularisation(scale):
    row, _ = try_model(SPIKED * scale, (spiky(scale, reg_covar=0), [{}]))
    assert row["degenerate"] or "ill-defined" in row["error"]
    tight = np.concatenate([np.random.default_rng(i).normal(i, 1e-5, size=(50, 2)) for i in range(2)]) * scale
    for name in STRUCTURES:
        model = GaussianMixture(2, covariance_type=name, reg_covar=0, random_state=0).fit(tight)
        assert model.collapsed_components() == [], name


def test_too_few_rows_for_a_matrix():
    rng = np.random.default_rng(0)
    rows = np.concatenate([rng.normal(size=(60, 3)), 50 + rng.normal(size=(2, 3))])   # a pair far away
    found = {name: try_model(rows, (GaussianMixture(2, covariance_type=name, random_state=0), [{}]))[0] for name in STRUCTURES}
    assert found["full"]["degenerate"] and found["full"]["collapsed"][0]["size"] == pytest.approx(2)
    assert not found["tied"]["degenerate"] and not found["EII"]["degenerate"]         # what is shared is held up by the others


def test_a_sound_run_is_not_pushed_out():
    collapses, sound = {}, {"means_init": None, "precisions_init": None, "random_state": 0}
    best, n_lost = climb(spiky(), SPIKED, [collapses, sound])
    assert best.collapsed_components() == [] and n_lost == 1
    assert spiky().fit(SPIKED).score(SPIKED) > best.score(SPIKED)
    best, n_lost = climb(spiky(), SPIKED, [collapses])
    assert len(best.collapsed_components()) == 1 and n_lost == 1


def test_degenerate_models_are_said_and_left_out():
    good = GaussianMixtureSearch([1, 2], **SMALL).fit(X).results_
    row, _ = try_model(SPIKED, (spiky(), [{}]))
    row["bic"] = -1e9
    assert best_row([*good, row], "bic") in good
    text = format_table([*good, row])
    assert text.splitlines()[3].endswith("!") and "! has a collapsed component, so it is left out of the choice" in text
    assert re.search(r"diag, 3: component 2 \(4\d\.\d rows, smallest eigenvalue 1e-06\)", text)
    with pytest.raises(ValueError, match="No model could be chosen: all have a collapsed component; perhaps reg_covar is too large"):
        best_row([row], "bic")


class Broken(Spherical):
    names = ("broken",)

    def covariances(*scatter, **options): raise RuntimeError("no such luck")


def test_one_model_fails_and_the_others_go_on(monkeypatch):
    monkeypatch.setitem(STRUCTURES, "broken", Broken)
    monkeypatch.setattr("gmm_lit.covariances._BY_NAME", {"broken": Broken, "tied": STRUCTURES["tied"]})
    search = GaussianMixtureSearch([1, 2], **SMALL | {"covariance_types": ["broken", "tied"]}).fit(X)
    failed = search.results_[0]
    assert failed["error"] == "RuntimeError: no such luck" and all(np.isnan(failed[name]) for name in NUMBERS)
    assert not failed["degenerate"] and not failed["converged"] and failed["n_lost"] == failed["n_starts"]
    assert search.best_params_ == {"n_components": 2, "covariance_type": "tied"}
    assert search.table().count("   failed") == 2 and "no such luck" in search._repr_html_()
    with pytest.raises(ValueError, match="No model could be chosen: RuntimeError: no such luck"):
        search.set_params(covariance_types=["broken"]).fit(X)
    assert len(search.results_) == 2 and "failed" in search.table() and "failed" in search._repr_html_()
    with pytest.raises(NotFittedError, match="no sound model"):
        search.predict(X)


def test_all_fail():
    with pytest.raises(ValueError, match="No model could be chosen: .*n_components = 9, n_samples = 4"):
        GaussianMixtureSearch([9], **SMALL).fit(X[:4])
    with pytest.raises(ValueError, match="No model could be chosen: .*collapsed.*reg_covar"):
        GaussianMixtureSearch([1, 2], **SMALL).fit(np.ones((10, 2)))


def test_criteria_without_a_finite_value():
    search = GaussianMixtureSearch([1, 2], **SMALL | {"criterion": "aicc"})
    with pytest.raises(ValueError, match="No model could be chosen: no fit has a finite AICC"):
        search.set_params(covariance_types="tied").fit(np.random.default_rng(0).normal(size=(6, 2)))
    assert "inf" in search.table() and "inf" in search._repr_html_()


# --- interrupts


def interrupt_at(monkeypatch, number):
    calls, fit = [], GaussianMixture.fit

    def tired(self, X, y=None, **options):
        calls.append(1)
        if len(calls) == number: raise KeyboardInterrupt
        return fit(self, X, **options)

    monkeypatch.setattr(GaussianMixture, "fit", tired)


def test_what_was_learned_is_kept(monkeypatch, small):
    interrupt_at(monkeypatch, 9)                                 # two models of one start and two fits, then in the second of size two
    search = GaussianMixtureSearch([1, 2, 3], **SMALL)
    with pytest.warns(UserWarning, match=r"Interrupted: \d of 6 models were tried. The best of them is kept."):
        search.fit(X)
    assert search.interrupted_ and 2 <= len(search.results_) < 6
    assert without_times(search) == without_times(small)[:len(search.results_)]
    assert search.best_params_ == {name: best_row(search.results_, "bic")[name] for name in ("n_components", "covariance_type")}
    assert search.predict(X).shape == (272,) and "Interrupted" in search.table() and "Interrupted" in search._repr_html_()
    assert not GaussianMixtureSearch([1], **SMALL).fit(X).interrupted_


def test_nothing_was_learned(monkeypatch):
    search = GaussianMixtureSearch([1], **SMALL).fit(X)
    before = search.results_
    interrupt_at(monkeypatch, 1)
    with pytest.raises(KeyboardInterrupt):
        search.fit(X)
    assert search.results_ is before


# --- who does the work


def always_help(monkeypatch):
    """Helpers from the first task on, however short it is."""
    hired, hire = [], selection._hire
    monkeypatch.setattr(selection.time, "perf_counter", lambda clock=iter(range(10 ** 9)): float(next(clock)) * 100)
    monkeypatch.setattr(selection, "_hire", lambda *job: hired.extend(hire(*job)) or hired)
    return hired


@pytest.mark.thorough
def test_the_same_to_the_last_bit_for_any_number_of_processes(monkeypatch):
    options = dict(random_state=3)
    alone = GaussianMixtureSearch(range(1, 4), n_jobs=1, **options).fit(load_iris().data)
    hired = always_help(monkeypatch)
    shared = GaussianMixtureSearch(range(1, 4), n_jobs=3, **options).fit(load_iris().data)
    assert len(hired) == 2 and all(helper.process.poll() is not None for helper in hired)   # they came, and are gone
    assert without_times(alone) == without_times(shared)
    for name in ("weights_", "means_", "covariances_"):
        np.testing.assert_array_equal(getattr(alone.best_estimator_, name), getattr(shared.best_estimator_, name))
    assert alone.best_estimator_.n_jobs == 1 and shared.best_estimator_.n_jobs == 3


def slowly(common, task, n_jobs):
    import time
    time.sleep(0.05)
    return os.getpid(), task


MEETING = """
import os, pathlib, time

def meet(folder, task, n_jobs):
    (pathlib.Path(folder) / str(os.getpid())).touch()
    for _ in range(600 if task == 2 else 1):                     # the third task waits for somebody else
        time.sleep(0.1)
        if len(list(pathlib.Path(folder).iterdir())) > 1: break
    return os.getpid(), task
"""


@pytest.mark.thorough
def test_helpers_help(tmp_path, monkeypatch):
    (tmp_path / "a_meeting_place.py").write_text(MEETING)
    (tmp_path / "guests").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    from a_meeting_place import meet                             # a module that a helper can import
    found, interrupted = work_through(meet, range(20), str(tmp_path / "guests"), 2)
    assert [task for _, task in found] == list(range(20)) and len({pid for pid, _ in found}) == 2 and not interrupted


@pytest.mark.thorough
def test_helpers_that_cannot_know(monkeypatch):
    monkeypatch.setattr(slowly, "__module__", "__main__")        # as in a script or a notebook
    here = work_through(slowly, range(30), None, 2)
    assert here == ([(os.getpid(), i) for i in range(30)], False)
    monkeypatch.setitem(STRUCTURES, "mine", Broken)              # and a registry that was changed by hand
    assert selection._known()[len(STRUCTURES) - 1][0] == "mine"
    hired = always_help(monkeypatch)
    tasks = [(GaussianMixture(1), [{"random_state": 0}])] * 5
    assert len(work_through(try_model, tasks, X, 2)[0]) == 5 and len(hired) == 1


@pytest.mark.parametrize("trouble", ["frozen", "executable", "start"])
def test_no_processes_to_be_had(monkeypatch, trouble):
    if trouble == "frozen": monkeypatch.setattr(sys, "frozen", True, raising=False)
    if trouble == "executable": monkeypatch.setattr(sys, "executable", None)
    if trouble == "start":
        def refuse(*args, **kwargs): raise PermissionError("not here")
        monkeypatch.setattr(selection.subprocess, "Popen", refuse)
    monkeypatch.setattr(selection.time, "perf_counter", lambda clock=iter(range(10 ** 9)): float(next(clock)) * 100)
    assert len(GaussianMixtureSearch([1, 2, 3], **SMALL, n_jobs=2).fit(X).results_) == 6


def test_a_helper_that_dies_gives_its_task_back(monkeypatch):
    hired = always_help(monkeypatch)
    finish = selection.Helper._next

    def dies(self):
        self.process.kill()
        finish(self)

    monkeypatch.setattr(selection.Helper, "_next", dies)
    search = GaussianMixtureSearch([1, 2, 3], **SMALL, n_jobs=2).fit(X)
    assert len(search.results_) == 6 and hired


SCRIPT = """
print("top of the script")
from gmm_lit import GaussianMixtureSearch
from gmm_lit.datasets import load_iris
search = GaussianMixtureSearch(range(1, 6), n_init=4, random_state=0, n_jobs=2).fit(load_iris().data)
print(search.best_params_["n_components"])
"""


@pytest.mark.slow
def test_a_script_without_a_main_guard_runs_once(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert done.stdout.split("\n")[:2] == ["top of the script", "2"] and done.stderr == ""


# --- progress


def test_progress_when_asked_only(capsys):
    GaussianMixtureSearch([1, 2], **SMALL).fit(X)
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""
    GaussianMixtureSearch([1, 2], **SMALL, verbose=True).fit(X)
    assert "4/4" in capsys.readouterr().err


# --- tables


class Tags(html.parser.HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.seen, self.open = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.seen.append((tag, dict(attributes)))
        self.open.append(tag)

    def handle_endtag(self, tag): assert self.open.pop() == tag


def test_html_is_well_formed_and_escaped(small):
    bad = small.results_[0] | {"covariance_type": "<img src=x onerror=alert(1)>", "error": '"><script>alert(1)</script>'}
    for text in (small._repr_html_(), format_html([*small.results_, bad], caption="<b>")):
        tags = Tags(text)
        assert tags.open == [] and not {tag for tag, _ in tags.seen} & {"script", "img", "a", "iframe"}
        assert not any(name.startswith("on") for _, attributes in tags.seen for name in attributes)
        assert sum(a.get("class") == "best" for _, a in tags.seen) == 1
    assert "&lt;img" in text and GaussianMixtureSearch()._repr_html_() == "<pre>GaussianMixtureSearch()</pre>"


def test_tables_stay_narrow(small):
    many = [row | {"covariance_type": f"{row['covariance_type']}{i}"} for i in range(7) for row in small.results_]
    lines = format_table(many).splitlines()
    assert max(map(len, lines)) <= 102 and sum("BIC" in line for line in lines) == 3
    assert format_table(small.results_, across=1).count("BIC   ") == 2


@pytest.mark.thorough
def test_no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        GaussianMixtureSearch(**SMALL | {"covariance_types": "all"}, n_components=[2, 5]).fit(load_iris().data)
