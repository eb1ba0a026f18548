"""A recorded fit: the fit itself, small, complete in one file, safe, and readable without seeing."""

import json
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pytest

from gmm_lit import GaussianMixture
from gmm_lit.covariances import STRUCTURES
from gmm_lit.datasets import load_faithful, load_iris
from gmm_lit.player import moments_to_show, record
from gmm_lit.representations import THEMES, contrast

X = load_faithful().data
EVIL = '</script><script>alert(1)</script>"><img src=x onerror=alert(1)>'
VOID = {"meta", "input", "img", "br"}


class Page(HTMLParser):
    def __init__(self, html):
        super().__init__()
        self.open, self.seen, self.words = [], [], []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.seen.append((tag, dict(attributes)))
        if tag not in VOID: self.open.append(tag)

    def handle_startendtag(self, tag, attributes): self.seen.append((tag, dict(attributes)))

    def handle_endtag(self, tag): assert self.open.pop() == tag

    def handle_data(self, data):
        if not set(self.open) & {"style", "script", "title"}: self.words.append(data)


def frames_of(page):
    """The data that the script is given: frames, colours, places."""
    return json.loads("[" + re.search(r'\}\)\}\)\("\w+",(.*)\);</script>', page, re.S).group(1) + "]")


@pytest.mark.parametrize("options", [{}, {"covariance_type": "tied"}, {"n_init": 3}, {"accelerate": "squarem"}, {"prior": "default"}, {"random_state": None}],
                         ids=str)
def test_it_is_the_fit_itself(options):
    gm = GaussianMixture(**{"n_components": 3, "random_state": 0} | options)
    recording = record(gm, X)
    heights = np.array(recording.log_likelihoods)
    assert len(recording.params) == len(heights) and not hasattr(gm, "means_") and gm.callback is None
    if gm.random_state is not None:
        fitted = GaussianMixture(**gm.get_params()).fit(X)
        np.testing.assert_array_equal(recording.params[-1].means, fitted.means_)
        assert len(heights) - 1 == fitted.n_iter_ - ("n_init" in options) and heights[-1] == fitted.score(X)
    if "prior" not in options: assert np.all(np.diff(heights) > -1e-9)


@pytest.mark.parametrize("covariance_type", STRUCTURES)
@pytest.mark.thorough
def test_every_structure_makes_a_page(covariance_type):
    page = record(GaussianMixture(2, covariance_type=covariance_type, random_state=0), X).to_html()
    frames, colors, places = frames_of(page)
    assert len(frames) % 2 == 0 and frames[0]["c"] == -1 and frames[-1]["t"].startswith("The end")
    assert all(len(color) == 6 * len(X) for color in colors) and max(frame["c"] for frame in frames) == len(colors) - 1
    assert max(frame["p"] for frame in frames) == len(places) - 1 and "NaN" not in page and "nan" not in page


def test_page_is_complete_safe_and_readable_without_seeing():
    page = record(GaussianMixture(2, random_state=0), X, names=[EVIL, EVIL]).to_html(EVIL)
    parsed = Page(page)
    assert [tag for tag, _ in parsed.seen].count("script") == 1 and "img" not in {tag for tag, _ in parsed.seen}
    for tag, attributes in parsed.seen:
        assert not {"src", "href", "srcset", "data"} & set(attributes) and not any(name.startswith("on") for name in attributes)
    assert not re.search(r"https?://|@import|url\(|fetch\(|XMLHttp|eval\(", page)
    pictures = [attributes for tag, attributes in parsed.seen if tag == "svg" and "role" in attributes]
    assert len(pictures) == 2 and all(attributes["aria-label"] for attributes in pictures)
    assert {"button", "input", "table", "details", "title"} <= {tag for tag, _ in parsed.seen}
    assert "aria-live" in page and page.startswith("<!doctype html><html lang=") and EVIL in parsed.words


def test_without_scripts_the_end_is_shown():
    recording = record(GaussianMixture(2, random_state=0), X)
    static = re.sub(r"<script>.*</script>", "", recording.to_html(), flags=re.S)
    assert static.count("<circle") > len(X) and "The end" in static and 'class="bar" hidden' in static


@pytest.mark.thorough
@pytest.mark.parametrize("n_components", [20, 100])
def test_pages_stay_under_a_megabyte(n_components):
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((20_000, 3)) + rng.integers(0, 20, 20_000)[:, None] * [3, -2, 1]
    gm = GaussianMixture(n_components, tol=0, max_iter=40, random_state=0, callback=lambda state: state.iteration == 40)
    page = record(gm, rows).to_html()
    assert 100_000 < len(page.encode()) < 1_000_000


def test_two_players_on_a_page_have_two_keys():
    keys = {re.search(r'data-player="(\w+)"', record(GaussianMixture(K, random_state=0), X)._repr_html_()).group(1) for K in (2, 3)}
    assert len(keys) == 2


def test_a_callback_of_ones_own_is_called_too_and_may_stop():
    seen = []
    recording = record(GaussianMixture(3, tol=0, max_iter=500, random_state=0, callback=lambda s: seen.append(s) or len(seen) == 4), X)
    assert len(seen) == 4 and len(recording.params) == 5


def test_more_features_show_the_first_two_and_frames_name_themselves():
    pandas = pytest.importorskip("pandas")
    iris = load_iris()
    recording = record(GaussianMixture(3, random_state=0), pandas.DataFrame(iris.data, columns=iris.feature_names))
    assert iris.feature_names[0] in recording.to_html()
    for bad in (X[:, :1], X[:, 0]):
        with pytest.raises(ValueError, match="X must have shape"): record(GaussianMixture(1), bad)


@pytest.mark.parametrize("n", [1, 2, 29, 31, 1000])
def test_moments_to_show(n):
    for most in (5, 30):
        shown = moments_to_show(n, most)
        assert len(shown) == min(n, most) and shown[0] == 0 and shown[-1] == n - 1 and shown == sorted(set(shown))


def test_contrast_of_buttons_and_focus():
    for colors in THEMES.values():
        assert contrast(colors["ink"], colors["paper"]) >= 4.5 and contrast("#1a73e8", colors["paper"]) >= 3


# -- the picture that moves --------------------------------------------------------------------------------------------


def parsed(picture): return ElementTree.fromstring(picture)


@pytest.mark.parametrize("covariance_type", STRUCTURES)
@pytest.mark.thorough
def test_the_moving_picture_ends_where_the_fit_does(covariance_type):
    recording = record(GaussianMixture(3, covariance_type=covariance_type, random_state=0), load_iris().data)
    picture = recording.to_svg("Iris")
    parsed(picture)
    last = re.findall(r"-e\d\{animation-name:[\w-]+;transform:translate\(([-\d.]+)px,([-\d.]+)px\)", picture)
    np.testing.assert_allclose(np.array(last, float), recording.view.place(recording.params[-1].means[:, :2]), atol=0.06)
    assert not re.search(r"<script|href|url\(|@import", picture) and "prefers-reduced-motion" in picture


def test_ellipses_take_the_short_way_round():
    recording = record(GaussianMixture(3, means_init=[[2, 90], [3, 50], [5, 60]], tol=1e-5), X)
    for k in range(3):
        frames = re.search(rf"@keyframes m\w+-e{k}\{{(.*?)\}}\}}", recording.to_svg()).group(1)
        assert np.abs(np.diff(np.array(re.findall(r"rotate\(([-\d.]+)deg", frames), float))).max() <= 90


def test_the_moving_picture_is_safe_and_small():
    rng = np.random.default_rng(0)
    picture = record(GaussianMixture(5, random_state=0), rng.normal(size=(20_000, 2)), [EVIL, EVIL]).to_svg(EVIL)
    assert not any(element.tag.endswith(("script", "img")) for element in parsed(picture).iter())
    assert picture.count("<circle") < 600 and len(picture) < 500_000
    for seconds in (0, -1, np.nan, np.inf, "ten"):
        with pytest.raises((ValueError, TypeError), match="seconds"): record(GaussianMixture(2, random_state=0), X).to_svg(seconds=seconds)
