"""Widgets without a browser: the classes that know what happens, and the wiring around them."""

import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from gmm_lit import GaussianMixture, GaussianMixtureSearch
from gmm_lit.covariances import STRUCTURES
from gmm_lit.datasets import load_faithful, load_iris
from gmm_lit.widgets import (STARTS, Bells, Choices, FitJob, Stepper, a_spike, bells, blended, choice_explorer, covariance_explorer, draw_step,
                             ellipse_numbers, em_stepper, fit_panel, nice_ticks, number_columns, svg_rows, svg_trace, tell, view_of)

X = load_faithful().data
EVIL = "<script>alert(1)</script>"


def svgs(html):
    """The SVG pictures in a piece of HTML, as trees: they must be well-formed XML."""
    return [ElementTree.fromstring(part.split("</svg></div>")[0]) for part in pieces(html)]


def pieces(html):
    depth, start = 0, None
    i = 0
    while True:
        begin, end = html.find("<svg", i), html.find("</svg>", i)
        if end < 0: return
        if 0 <= begin < end:
            if depth == 0: start = begin
            depth, i = depth + 1, begin + 4
        else:
            depth, i = depth - 1, end + 6
            if depth == 0: yield html[start:i]


# --- the stepper


@pytest.mark.parametrize("covariance_type", STRUCTURES)
def test_steps_are_those_of_a_fit(covariance_type):
    stepper, seen = Stepper(X, 3, covariance_type, "kmeans", random_state=1), []
    GaussianMixture(3, covariance_type=covariance_type, random_state=1, tol=0, callback=lambda s: seen.append(s) or s.iteration == 5).fit(X)
    assert [stepper.at(i).kind for i in range(5)] == ["start", "E", "M", "E", "M"]
    for state in seen:
        moment = stepper.at(2 * state.iteration)
        np.testing.assert_array_equal(moment.params.means, state.params.means)
        np.testing.assert_array_equal(moment.params.covariances, state.params.covariances)
        assert moment.log_likelihoods[-1] == pytest.approx(state.log_likelihood, abs=1e-12)
    assert np.all(np.diff(stepper.at(21).log_likelihoods) > -1e-9)


def test_back_restores_what_was_seen():
    stepper = Stepper(X, 3)
    pictures = [draw_step(stepper, i) for i in range(8)]
    assert len(set(pictures)) == 8 and [draw_step(stepper, i) for i in reversed(range(8))] == pictures[::-1]
    assert stepper.at(4).before is stepper.at(2).params and stepper.at(3).resp is stepper.at(4).resp


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("n_components", [1, 2, 5])
@pytest.mark.thorough
def test_every_start_can_be_stepped(start, n_components):
    stepper = Stepper(X, n_components, start=start)
    moment = stepper.at(6)
    assert moment.params.means.shape == (n_components, 2) and len(svgs(draw_step(stepper, 6))) == 2


def test_bad_starts_say_why():
    equal = Stepper(X, 3, start="all in one place")
    assert "are the same" in tell(equal, 4)[1][0] and "nothing changes" in tell(equal, 9)[0]
    spiked = Stepper(X, 3, "diag", start="a spike", reg_covar=0)
    last = next(i for i in range(300) if tell(spiked, i)[1])
    assert "nearly flat" in tell(spiked, last)[1][0]
    broken = Stepper(np.repeat(np.arange(20.0), 5).reshape(50, 2), 3, start="a spike", reg_covar=1e-300)
    kinds = [broken.at(i).kind for i in range(200)]
    assert kinds[-1] in ("broken", "M", "E") and all(np.isfinite(broken.at(i).params.means).all() for i in range(0, 200, 7))


def test_a_broken_run_stays_where_it_broke_and_says_so():
    stepper = Stepper(X, 2)
    stepper._m_step = lambda now: (_ for _ in ()).throw(ValueError("covariances[1] must be positive definite"))
    assert stepper.at(50).kind == "broken" and len(stepper.moments) == 3 and "positive definite" in draw_step(stepper, 50)


@pytest.mark.slow
def test_a_step_takes_less_than_a_tenth_of_a_second():
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((2000, 2)) + rng.integers(0, 4, 2000)[:, None] * 3
    for covariance_type in STRUCTURES:
        stepper = Stepper(rows, 6, covariance_type)
        draw_step(stepper, 0)
        times = []
        for i in range(1, 21):
            begin = time.process_time()
            draw_step(stepper, i)
            times.append(time.process_time() - begin)
        assert np.median(times) < 0.1, (covariance_type, np.median(times))


def test_many_features_show_the_first_two():
    assert len(svgs(draw_step(Stepper(load_iris().data, 3, start="kmeans"), 2))) == 2


def test_stepper_widget():
    box = em_stepper()
    c = box.controls
    start = c["picture"].value
    c["step"].click()
    after = c["picture"].value
    c["step"].click()
    c["back"].click()
    assert c["picture"].value == after != start and c["position"].value == 1
    c["position"].value = 0
    c["back"].click()
    assert c["picture"].value == start and c["position"].value == 0
    for name, value in (("data", "iris petals"), ("structure", "VEE"), ("components", 5), ("start", "all in one place"), ("seed", 7), ("reg_covar", 0.0)):
        c["position"].value = 3
        c[name].value = value
        assert c["position"].value == 0 and "gmm-scene" in c["picture"].value
    assert box.stepper.at(0).params.means.shape == (5, 2)


def test_a_mean_moved_by_hand_starts_anew():
    box = em_stepper(X, load_faithful().feature_names)
    c = box.controls
    c["mean"].value = 2
    c["x"].value, c["y"].value = 2.0, 90.0
    assert c["start"].value == "by hand"
    np.testing.assert_allclose(box.stepper.at(0).params.means[2], [2, 90], atol=0.6)
    c["components"].value = 4
    assert box.stepper.at(0).params.means.shape == (4, 2) and c["start"].value == "by hand"
    c["components"].value = 2
    assert list(c["mean"].options) == [0, 1] and box.stepper.at(0).params.means.shape == (2, 2)


def test_a_start_that_cannot_be_made_is_said_and_survived():
    box = em_stepper(np.column_stack([np.arange(30.0), np.zeros(30)]))
    box.controls["reg_covar"].value = 0.0
    assert "cannot be made" in box.controls["picture"].value
    box.controls["reg_covar"].value = 1e-3
    assert "cannot be made" not in box.controls["picture"].value
    for bad in (X[:, :1], X[:, 0]):
        with pytest.raises(ValueError, match="X must have shape"): em_stepper(bad)


# --- bells, choices


@pytest.mark.parametrize("name, structure", STRUCTURES.items())
def test_sliders_of_a_structure(name, structure):
    box = covariance_explorer(name)
    letters = box.bells.letters
    for key, value in (("volume", 2.5), ("shape", 3.5), ("angle", -60)):
        assert box.controls[key].disabled == (letters[key] == "I")
        before = box.bells.covariances()
        box.controls[key].value = value
        moved = np.abs(box.bells.covariances() - before).max(axis=(1, 2)) > 1e-9
        if letters[key] == "I": assert not moved.any()
        elif letters[key] == "E": assert moved.all() or (key == "angle" and letters["shape"] == "I")
        elif not (key == "angle" and letters["shape"] == "I"): assert moved.tolist() == [True, False, False]
    assert len(svgs(box.controls["picture"].value)) == 1


def test_bells_have_the_volume_and_shape_they_say():
    S = bells("full", [1.0, 2.0], [2.0, 3.0], [0.0, 90.0])
    np.testing.assert_allclose(np.linalg.det(S), [1, 4])
    np.testing.assert_allclose(S[0], [[2, 0], [0, 0.5]])
    np.testing.assert_allclose(S[1], [[2 / 3, 0], [0, 6]], atol=1e-12)
    model = Bells("EEE")
    model.set(1, volume=2.0)
    np.testing.assert_allclose(np.linalg.det(model.covariances()), 4)


@pytest.fixture(scope="module")
def search(): return GaussianMixtureSearch(range(1, 4), covariance_types=["tied", "full", "EII"], random_state=0).fit(X)


def test_choices_follow_criterion_and_structures(search):
    choices = Choices(search.results_)
    for criterion in ("bic", "icl", "aic"):
        for structures in (["tied"], ["full", "EII"], ["tied", "full", "EII"]):
            want = min(row[criterion] for row in search.results_ if row["covariance_type"] in structures)
            assert choices.best(criterion, structures)[criterion] == want
            assert f"{want:.2f}" in choices.picture(criterion, structures)
    assert choices.best("bic", []) is None and "No sound model" in choices.picture("bic", [])
    assert "nec" in search.results_[0] and len(svgs(choices.picture("nec", ["tied"]))) == 1
    with pytest.raises(ValueError, match="at least one model"): Choices([])


def test_choice_widget(search):
    box = choice_explorer(search)
    first = box.controls["picture"].value
    box.controls["criterion"].value = "icl"
    assert "ICL" in box.controls["picture"].value != first
    for name in ("tied", "full", "EII"): box.controls[name].value = False
    assert "No sound model" in box.controls["picture"].value
    box.controls["EII"].value = True
    assert "EII" in box.controls["picture"].value


# --- own data


def test_columns_of_numbers_from_many_wrappings():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": [1.0, np.nan, 3], "b": ["x", "y", "z"], "c": [1, 2, 3]})
    for data in (frame, frame.to_csv(index=False).encode(), frame.to_csv(index=False, sep=";").encode(), dict(frame)):
        found = number_columns(data)
        assert list(found) == ["a", "c"]
        np.testing.assert_array_equal(found["a"], [1, np.nan, 3])
    assert list(number_columns(X)) == ["feature 0", "feature 1"]
    for bad in ({"a": ["x"]}, b"", b"only text", {}):
        with pytest.raises(ValueError, match="column of numbers"): number_columns(bad)


def test_a_job_can_be_stopped_and_keeps_what_it_has():
    told = []
    job = FitJob(np.repeat(X, 20, axis=0), watch=lambda job: told.append((job.state, job.iteration)), n_components=5, tol=0, max_iter=10**6, n_init=9)
    job.start()
    deadline = time.time() + 30
    while job.iteration < 2 and time.time() < deadline: time.sleep(0.005)
    job.stop()
    job.join(30)
    assert job.state == "stopped" and len(job.labels) == len(job.X) and told[-1][0] == "stopped" and job.n_start == 0
    again = GaussianMixture(**job.model.get_params() | {"callback": None, "max_iter": job.iteration, "n_init": 1})
    assert job.model.callback is None and again.max_iter == job.model.n_iter_


def test_a_job_that_fails_says_why():
    job = FitJob(np.ones((5, 2)), n_components=2, reg_covar=0)
    job.start()
    job.join(30)
    assert job.state == "failed" and "ill-defined" in job.error and job.labels is None


def test_fit_panel():
    frame = {"long": X[:, 0], EVIL: np.where(np.arange(272) == 5, np.nan, X[:, 1]), "text": ["t"] * 272}
    box = fit_panel(frame)
    c = box.controls
    assert list(c["columns"].options) == ["long", EVIL] and "2 columns of numbers" in c["result"].value
    c["fit"].click()
    box.job.join(60)
    said = c["result"].value
    assert box.job.state == "done" and len(box.job.labels) == 271 and EVIL not in said and "1 incomplete rows" in said
    assert 'download="labels.csv"' in said and "data:image/png" in said and not c["fit"].disabled and c["stop"].disabled
    c["columns"].value = []
    c["fit"].click()
    assert "at least one column" in c["result"].value
    assert "No" not in fit_panel().controls["result"].value
    with_text = fit_panel({"a": ["x", "y"]})
    assert "column of numbers" in with_text.controls["result"].value


# --- the drawing


def test_ellipses_in_pixels():
    view = view_of(X)
    x, y, a, b, angle = ellipse_numbers(view, [3, 70], np.diag([0.01, 25.0]))
    assert (x, y) == tuple(view.place([3, 70]).round(1)) and a > b and abs(abs(angle) - 90) < 0.1
    assert ellipse_numbers(view, [3, 70], np.zeros((2, 2)))[2:4] == (0, 0)


def test_dots_traces_and_ticks():
    assert svg_rows(view_of(X), X).count("<circle") == len(X)
    assert blended(np.eye(2)) == ["#0072b2", "#d55e00"]
    assert "inf" not in svg_trace([-np.inf, -3]) and "nan" not in svg_trace([np.nan]) and svg_trace([-3.0] * 5)
    for low, high in ((0, 1), (-1e-9, 1e-9), (1e6, 1e6 + 3), (-5, 1e5)):
        ticks = [tick for tick, _ in nice_ticks(low, high)]
        assert 2 <= len(ticks) <= 11 and low <= min(ticks) and max(ticks) <= high + 1e-9


def test_names_are_escaped():
    assert EVIL not in draw_step(Stepper(X, 2), 1, [EVIL, EVIL])


def test_a_spike_is_a_share_of_the_rows():
    for K in (1, 2, 4):
        resp = a_spike(X, K)
        np.testing.assert_allclose(resp.sum(axis=1), 1)
        assert resp.shape == (272, K) and resp.min() >= 0


def test_importing_needs_no_ipywidgets():
    code = "import sys; sys.modules['ipywidgets'] = None; import gmm_lit.widgets as w\ntry: w.em_stepper()\nexcept ImportError as e: print(e)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert "gmm_lit[notebook]" in done.stdout, done.stderr
