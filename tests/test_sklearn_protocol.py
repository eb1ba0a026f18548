"""At home among scikit-learn's tools, without importing scikit-learn."""

import inspect
import io
import pickle
import re
import subprocess
import sys
import warnings
from contextlib import redirect_stdout

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn.exceptions
from sklearn.base import clone, is_classifier
from sklearn.mixture import GaussianMixture as Theirs
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import estimator_checks
from sklearn.utils.estimator_checks import check_estimator
from sklearn.utils.validation import check_is_fitted

import gmm_lit
from gmm_lit import ConvergenceWarning, GaussianMixture, GaussianMixtureSearch, NotFittedError
from gmm_lit.datasets import load_faithful, load_iris

X, NAMES = load_faithful().data, ["eruption", "wait"]
IRIS = load_iris().data
FRAMES = {"pandas": lambda X, names=NAMES: pd.DataFrame(X, columns=names), "polars": lambda X, names=NAMES: pl.DataFrame(X, schema=names),
          "pyarrow": lambda X, names=NAMES: pytest.importorskip("pyarrow").table(dict(zip(names, np.asarray(X).T)))}


def quiet(call, *args, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return call(*args, **options)


# --- scikit-learn's own checks


def failures(model, **options):
    found = check_estimator(model, on_skip=None, on_fail=None, **options)
    return {result["check_name"]: str(result["exception"])[:200] for result in found if result["status"] == "failed"}, len(found)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("model", [GaussianMixture(), *(pytest.param(model, marks=pytest.mark.slow) for model in (
    GaussianMixture(covariance_type="tied", warm_start=True, accelerate="squarem"), GaussianMixture(prior="default", covariance_type="VVI", init_params="random")))], ids=str)
def test_check_estimator(model):
    failed, n_checks = failures(model)
    assert not failed and n_checks > 40


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_check_estimator_on_the_search():
    search = GaussianMixtureSearch([1, 2], covariance_types=["tied", "diag"], random_state=0, n_jobs=1)
    reasons = {"check_sample_weight_equivalence_on_dense_data": "starts are random, and a tree of copies is another tree",
               "check_parameters_default_constructible": "the default of n_components is a range"}
    assert failures(search, expected_failed_checks=reasons)[0] == {}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["check_dataframe_column_names_consistency", "check_all_zero_sample_weights_error",
                                  "check_inplace_ensure_writeable", "check_readonly_memmap_input", "check_n_features_in_after_fitting",
                                  "check_estimators_overwrite_params"])
def test_checks_of_their_own_classes(name):
    getattr(estimator_checks, name)("GaussianMixture", GaussianMixture(2, random_state=0))


# --- copies, pipelines, searches


def test_clone_and_get_params():
    options = dict(n_components=3, covariance_type="VEE", means_init=[[2, 55], [4, 75], [4, 85]], random_state=3,
                   update="wc", prior="default", callback=print)
    model = GaussianMixture(**options)
    copy = clone(model)
    assert repr(copy) == repr(model) and copy is not model and not hasattr(copy, "weights_")
    assert {name: copy.get_params()[name] for name in options} == options
    fitted = GaussianMixture(2, random_state=0).fit(X)
    assert not hasattr(clone(fitted), "means_") and clone(fitted).get_params() == fitted.get_params()
    assert fitted.set_params(n_components=3) is fitted
    assert not is_classifier(model) and list(model.get_params()) == [n for n in inspect.signature(GaussianMixture).parameters]


@pytest.mark.thorough
def test_pipelines_and_searches():
    pipe = make_pipeline(StandardScaler(), GaussianMixture(2, random_state=0))
    labels = pipe.fit_predict(X)
    assert np.array_equal(labels, pipe.predict(X)) and pipe.score(X) > clone(pipe).set_params(gaussianmixture__n_components=1).fit(X).score(X)
    weight = np.random.default_rng(0).integers(0, 3, len(X))
    weighted = clone(pipe).fit(X, gaussianmixture__sample_weight=weight)
    assert not np.allclose(weighted[-1].means_, pipe[-1].means_)
    grid = {"gaussianmixture__n_components": [1, 2, 3], "gaussianmixture__covariance_type": ["full", "VEE"]}
    shuffled = KFold(3, shuffle=True, random_state=0)
    search = quiet(GridSearchCV(pipe, grid, cv=shuffled, error_score="raise").fit, X)
    assert search.best_params_["gaussianmixture__n_components"] in (2, 3) and len(search.cv_results_["params"]) == 6
    by_hand = [GaussianMixture(2, random_state=0).fit(X[a]).score(X[b]) for a, b in shuffled.split(X)]
    np.testing.assert_allclose(cross_val_score(GaussianMixture(2, random_state=0), X, cv=shuffled), by_hand, rtol=1e-12)
    judged = GridSearchCV(GaussianMixture(random_state=0), {"n_components": [1, 2, 3]}, cv=3, scoring=lambda model, X: -model.bic(X))
    assert quiet(judged.fit, X).best_params_["n_components"] in (2, 3)
    chosen = Pipeline([("scale", StandardScaler()), ("mixture", GaussianMixtureSearch([1, 2], covariance_types=["tied"], random_state=0, n_jobs=1))])
    assert chosen.fit(X).predict(X).shape == (272,) and clone(chosen)


@pytest.mark.slow
def test_in_other_processes():
    both = quiet(GridSearchCV(GaussianMixture(random_state=0), {"n_components": [1, 2]}, cv=3, n_jobs=2, error_score="raise").fit, X)
    assert both.best_params_ == {"n_components": 2}
    gm = GaussianMixture(2, random_state=0).fit(X)
    assert joblib.Parallel(2)(joblib.delayed(gm.score)(X) for _ in range(2)) == [gm.score(X)] * 2
    with pytest.raises(sklearn.exceptions.NotFittedError):
        joblib.Parallel(2)(joblib.delayed(GaussianMixture().score)(X) for _ in range(2))


def test_diagrams():
    from sklearn import config_context
    pipe = make_pipeline(StandardScaler(), GaussianMixture(3, covariance_type="VEE"))
    with config_context(display="diagram"):
        for drawn in (pipe, clone(pipe).fit(X), GridSearchCV(pipe, {"gaussianmixture__n_components": [1, 2]})):
            html = drawn._repr_html_()
            assert "GaussianMixture" in html and "VEE" in html and "StandardScaler" in html
    with config_context(display="text"):
        assert "VEE" in repr(pipe)


# --- names of features


@pytest.mark.parametrize("kind", FRAMES)
def test_frames_are_arrays_with_names(kind):
    frame = FRAMES[kind]
    plain, named = GaussianMixture(2, random_state=0).fit(X), GaussianMixture(2, random_state=0).fit(frame(X))
    assert named.feature_names_in_.tolist() == NAMES and named.feature_names_in_.dtype == object
    assert not hasattr(plain, "feature_names_in_") and np.array_equal(plain.covariances_, named.covariances_)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for method in ("predict", "predict_proba", "score_samples", "score", "bic"):
            assert np.array_equal(getattr(named, method)(frame(X)), getattr(plain, method)(X))
    assert np.array_equal(named.fit_predict(frame(X)), plain.predict(X))
    with pytest.raises(ValueError, match="must be in the same order as they were in fit"):
        named.predict(frame(X[:, ::-1], NAMES[::-1]))
    with pytest.raises(ValueError, match="(?s)unseen at fit time:\n- weight\n.*yet now missing:\n- wait\n"):
        named.score(frame(X, ["eruption", "weight"]))
    with pytest.warns(UserWarning, match="X does not have valid feature names, but GaussianMixture was fitted with feature names"):
        named.predict(X)
    with pytest.warns(UserWarning, match="X has feature names, but GaussianMixture was fitted without feature names"):
        plain.predict(frame(X))
    assert not hasattr(named.fit(X), "feature_names_in_")
    search = GaussianMixtureSearch([1, 2], covariance_types=["tied"], random_state=0, n_jobs=1).fit(frame(X))
    assert search.feature_names_in_.tolist() == NAMES
    with pytest.raises(ValueError, match="in the same order"):
        search.predict(frame(X[:, ::-1], NAMES[::-1]))


@pytest.mark.parametrize("other", [["eruption", "weight"], ["wait", "eruption"], ["a", "b"], ["eruption"], list("abcdefgh")])
def test_the_messages_are_theirs(other):
    values = np.resize(X, (len(X), len(other)))
    ours, theirs = (cls(1).fit(pd.DataFrame(X, columns=NAMES)) for cls in (GaussianMixture, Theirs))
    said = []
    for model in (ours, theirs):
        with pytest.raises(ValueError) as caught:
            model.predict(pd.DataFrame(values, columns=other))
        said.append(str(caught.value))
    assert said[0] == said[1]


def test_names_that_are_no_names():
    for columns in ([0, 1], [("a", 1), ("b", 2)], [1.5, 2.5]):
        assert not hasattr(GaussianMixture(1).fit(pd.DataFrame(X, columns=columns)), "feature_names_in_")
    with pytest.raises(TypeError, match="Feature names are only supported if all input features have string names"):
        GaussianMixture(1).fit(pd.DataFrame(X, columns=["eruption", 1]))
    frame = pd.DataFrame(X, columns=NAMES)
    gm = GaussianMixture(2, random_state=0).fit(frame)
    nullable = GaussianMixture(2, random_state=0).fit(frame.convert_dtypes())
    assert np.array_equal(gm.means_, nullable.means_)
    with pytest.raises((TypeError, ValueError), match="X must"):
        GaussianMixture(1).fit(frame.convert_dtypes().mask(frame > 90))
    with pytest.raises((TypeError, ValueError), match="X must"):
        GaussianMixture(1).fit(pl.DataFrame({"a": ["x", "y"], "b": [1.0, 2.0]}))
    with pytest.raises(ValueError, match="NaN"):
        GaussianMixture(1).fit(pl.DataFrame({"a": [1.0, None, 2.0], "b": [1.0, 2.0, 3.0]}))


# --- errors, pickles, tags


def test_errors_are_theirs_too():
    with pytest.raises(sklearn.exceptions.NotFittedError):
        GaussianMixture().predict(X)
    with pytest.raises(NotFittedError) as caught:
        GaussianMixtureSearch().predict(X)
    assert isinstance(caught.value, sklearn.exceptions.NotFittedError) and isinstance(pickle.loads(pickle.dumps(caught.value)), NotFittedError)
    with pytest.raises(sklearn.exceptions.NotFittedError):
        check_is_fitted(GaussianMixture())
    check_is_fitted(GaussianMixture().fit(X))
    for category in (sklearn.exceptions.ConvergenceWarning, ConvergenceWarning, UserWarning):
        with pytest.warns(category, match="Best performing initialization did not converge"):
            GaussianMixture(3, max_iter=1, random_state=0).fit(X)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            warnings.simplefilter("ignore", category)
            GaussianMixture(3, max_iter=1, random_state=0).fit(X)


def test_nothing_of_theirs_is_loaded():
    program = ("import sys, pickle, warnings, numpy as np\n"
               "from gmm_lit import *\n"
               "X = np.random.default_rng(0).normal(size=(50, 2))\n"
               "with warnings.catch_warnings(record=True) as caught:\n"
               "    warnings.simplefilter('always'); gm = GaussianMixture(2, max_iter=1, tol=0).fit(X, sample_weight=np.ones(50))\n"
               "assert caught[0].category is ConvergenceWarning, caught\n"
               "try: GaussianMixture().predict(X)\n"
               "except NotFittedError as error: assert type(error) is NotFittedError\n"
               "repr(gm), gm.get_params(), gm.predict(X), gm.sample(3), gm.bic(X), pickle.loads(pickle.dumps(gm))\n"
               "print([m for m in sys.modules if m.startswith(('sklearn', 'pandas', 'joblib', 'scipy.stats'))])")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


def test_pickles_and_joblib(tmp_path):
    gm = GaussianMixture(2, random_state=0).fit(pd.DataFrame(X, columns=NAMES))
    joblib.dump(gm, tmp_path / "gm.joblib")
    for again in (pickle.loads(pickle.dumps(gm)), joblib.load(tmp_path / "gm.joblib"), joblib.load(tmp_path / "gm.joblib", mmap_mode="r")):
        assert vars(again).keys() == vars(gm).keys() and np.array_equal(again.score_samples(pd.DataFrame(X, columns=NAMES)),
                                                                        gm.score_samples(pd.DataFrame(X, columns=NAMES)))


def test_tags():
    tags = GaussianMixture().__sklearn_tags__()
    assert tags.estimator_type == "density_estimator" and not tags.target_tags.required and tags.requires_fit
    assert tags == Theirs().__sklearn_tags__()


# --- behaviour


@pytest.mark.parametrize("covariance_type", ["full", "tied", "diag", "spherical", "VEE", "EII"])
def test_float32_is_kept_where_they_keep_it(covariance_type):
    single, kind = IRIS.astype(np.float32), covariance_type if covariance_type in ("full", "tied", "diag", "spherical") else "full"
    ours = quiet(GaussianMixture(3, covariance_type=covariance_type, random_state=0).fit, single)
    theirs = quiet(Theirs(3, covariance_type=kind, random_state=0).fit, single)
    for name in ("weights_", "means_", "covariances_", "precisions_", "precisions_cholesky_"):
        assert getattr(ours, name).dtype == getattr(theirs, name).dtype == np.float32, name
    for method in ("predict", "predict_proba", "score_samples"):
        for rows in (single, IRIS):
            assert getattr(ours, method)(rows).dtype == getattr(theirs, method)(rows).dtype, method
    double = quiet(GaussianMixture(3, covariance_type=covariance_type, random_state=0).fit, IRIS)
    np.testing.assert_allclose(ours.score(single), double.score(IRIS), atol=1e-4)
    assert not ours.collapsed_components() and double.means_.dtype == float
    for given in (IRIS.astype(np.float16), np.round(IRIS).astype(int), IRIS.astype(np.longdouble)):
        assert quiet(GaussianMixture(2, random_state=0).fit, given).means_.dtype == float


def test_collapse_is_told_apart_from_the_rounding_of_float32():
    rng = np.random.default_rng(0)
    wide = (rng.normal(size=(500, 2)) @ [[1000.0, 1000.0], [0.0, 0.1]]).astype(np.float32)     # variances 1e6 and 5e-3
    gm = GaussianMixture(1, reg_covar=1e-6).fit(wide)
    assert gm.covariances_.dtype == np.float32 and not gm.collapsed_components()
    np.testing.assert_allclose(gm.score(wide), GaussianMixture(1, reg_covar=1e-6).fit(wide.astype(float)).score(wide.astype(float)), atol=1e-3)
    assert GaussianMixture(1).fit(np.repeat(np.float32([[1, 2]]), 9, axis=0)).collapsed_components()


@pytest.mark.parametrize("verbose, interval", [(1, 1), (1, 3), (2, 1), (2, 2)])
def test_verbose_lines_are_theirs(verbose, interval):
    means = X[[3, 50, 150]]
    start = dict(weights_init=np.ones(3) / 3, means_init=means, precisions_init=[np.diag([5, 0.02])] * 3)
    said = []
    for cls in (GaussianMixture, Theirs):
        buffer = io.StringIO()
        with redirect_stdout(buffer):
            quiet(cls(3, verbose=verbose, verbose_interval=interval, tol=1e-4, **start).fit, X)
        said.append(re.sub(r"lapse \d+\.\d+s", "lapse", buffer.getvalue()))
    assert said[0] == said[1]


def test_warm_start_n_init_and_no_iterations():
    start = dict(weights_init=[0.4, 0.6], means_init=[[2, 55], [4, 80]])
    ours, theirs = (cls(2, max_iter=0, **start).fit(X) for cls in (GaussianMixture, Theirs))
    for name in ("weights_", "means_"):
        np.testing.assert_allclose(getattr(ours, name), getattr(theirs, name), rtol=1e-12)
    assert (ours.n_iter_, ours.converged_, ours.lower_bound_) == (theirs.n_iter_, theirs.converged_, theirs.lower_bound_)
    assert list(ours.lower_bounds_) == list(theirs.lower_bounds_) == []
    public = {name for name in vars(Theirs(2, random_state=0).fit(X)) if not name.startswith("_")}
    assert public <= set(vars(GaussianMixture(2, random_state=0).fit(X)))
    shared = [name for name, value in inspect.getmembers(Theirs, inspect.isfunction) if not name.startswith(("_", "set_fit", "set_score", "get_metadata"))]
    assert all(hasattr(GaussianMixture, name) for name in shared)
    ours, theirs = (cls(2, n_init=3, warm_start=True, max_iter=2, random_state=0, tol=0) for cls in (GaussianMixture, Theirs))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", sklearn.exceptions.ConvergenceWarning)
        for _ in range(3): ours.fit(X), theirs.fit(X)
    assert ours.n_iter_ == theirs.n_iter_ and ours.converged_ == theirs.converged_


def test_signatures_begin_as_theirs():
    ours, theirs = (list(inspect.signature(cls).parameters) for cls in (GaussianMixture, Theirs))
    assert ours[:len(theirs)] == theirs and gmm_lit.GaussianMixture().get_params() == GaussianMixture().get_params()
    for name in ("fit", "fit_predict", "score", "predict", "sample", "aic", "bic"):
        mine, other = (list(inspect.signature(getattr(cls, name)).parameters) for cls in (GaussianMixture, Theirs))
        assert mine[:len(other)] == other, name
