"""Pictures: they draw where they are told, hold what they say, and refuse what they cannot draw."""
import subprocess
import sys
from pathlib import Path

import matplotlib
import numpy as np
import pytest

matplotlib.use("Agg")
from matplotlib import pyplot as plt  # noqa: E402
from matplotlib.axes import Axes  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402
from matplotlib.testing.compare import compare_images  # noqa: E402
from matplotlib.ticker import NullFormatter  # noqa: E402

import gmm_lit  # noqa: E402
from gmm_lit import plotting  # noqa: E402

RNG = np.random.default_rng(0)
WEIGHTS = np.array([0.3, 0.5, 0.2])


def mixture(d):
    """Rows (60, d) and parameters of three components."""
    means = np.arange(3)[:, None] * np.full(d, 4.0)
    factors = RNG.standard_normal((3, d, d))
    covariances = factors @ factors.swapaxes(1, 2) + 0.5 * np.eye(d)
    rows = np.concatenate([RNG.multivariate_normal(m, S, 20) for m, S in zip(means, covariances)])
    return rows, WEIGHTS, means, covariances


X, W, M, S = mixture(2)
X1, _, M1, S1 = mixture(1)
X4, _, M4, S4 = mixture(4)
RESP = RNG.dirichlet(np.ones(3), size=60)

ONE_AXES = {
    "rows": lambda ax: plotting.plot_rows(X, ax=ax),
    "rows, labels": lambda ax: plotting.plot_rows(X, labels=np.arange(60) % 3, ax=ax),
    "rows, resp": lambda ax: plotting.plot_rows(X4, resp=RESP, ax=ax),
    "components": lambda ax: plotting.plot_components(M, S, ax=ax),
    "components, weights": lambda ax: plotting.plot_components(M, S, W, levels=0.5, ax=ax),
    "uncertainty": lambda ax: plotting.plot_uncertainty(X, RESP, ax=ax),
    "silhouettes": lambda ax: plotting.plot_silhouettes(RESP, ax=ax),
    "silhouettes of starts": lambda ax: plotting.plot_silhouettes({"a": RESP, "b": RESP[:7, :2] + 1e-9}, ax=ax),
    "mixture without rows, d = 1": lambda ax: plotting.plot_mixture(None, W, M1, S1, ax=ax),
    "mixture without rows, d = 2": lambda ax: plotting.plot_mixture(None, W, M, S, ax=ax),
    "density": lambda ax: plotting.plot_density(W, M, S, ax=ax),
    "decomposition": lambda ax: plotting.plot_decomposition(X1, W, M1, S1, ax=ax),
    "mixture, d = 1": lambda ax: plotting.plot_mixture(X1, W, M1, S1, ax=ax),
    "mixture, d = 2": lambda ax: plotting.plot_mixture(X, W, M, S, ax=ax),
    "criterion": lambda ax: plotting.plot_criterion([1, 2], {"full": [3, 2]}, ax=ax),
    "trace": lambda ax: plotting.plot_trace([-3, -2, -1.9], ax=ax),
    "traces": lambda ax: plotting.plot_trace({"a": [-3, -2], "b": [-3]}, ax=ax),
}


@pytest.fixture(autouse=True)
def close_figures():
    plt.close("all")
    yield
    plt.close("all")


# --- where it draws


@pytest.mark.parametrize("draw", ONE_AXES.values(), ids=ONE_AXES.keys())
@pytest.mark.thorough
def test_draws_on_given_axes_and_returns_them(draw):
    other, given = Figure().subplots(1, 2)
    assert draw(given) is given
    assert given.has_data() and not other.has_data()
    given.figure.canvas.draw()
    assert plt.get_fignums() == []


@pytest.mark.parametrize("draw", ONE_AXES.values(), ids=ONE_AXES.keys())
@pytest.mark.thorough
def test_leaves_pyplot_alone_when_axes_are_given(draw):
    _, current = plt.subplots()
    draw(Figure().subplots())
    assert plt.get_fignums() == [1] and plt.gca() is current and not current.has_data()


@pytest.mark.parametrize("draw", ONE_AXES.values(), ids=ONE_AXES.keys())
@pytest.mark.thorough
def test_makes_a_new_figure_when_none_is_given(draw):
    _, before = plt.subplots()
    ax = draw(None)
    assert isinstance(ax, Axes) and ax is not before and len(plt.get_fignums()) == 2


@pytest.mark.parametrize("draw", [plotting.plot_pairs, plotting.plot_mixture])
@pytest.mark.thorough
def test_pairs(draw):
    given = Figure().subplots(4, 4)
    axes = draw(X4, W, M4, S4, ax=given)
    assert axes.shape == (4, 4) and all(a is b for a, b in zip(axes.flat, given.flat))
    assert plt.get_fignums() == []
    for i in range(4):
        for j in range(4):
            assert axes[i, j].get_visible() == (i >= j)
    axes = draw(X4, W, M4, S4)
    assert axes.shape == (4, 4) and len(plt.get_fignums()) == 1
    assert axes[3, 1].get_xlim() == axes[1, 1].get_xlim() == axes[2, 1].get_xlim()
    assert axes[3, 0].get_ylim() == axes[3, 2].get_ylim()


def test_pairs_labels_only_at_the_edges():
    axes = plotting.plot_pairs(X4, W, M4, S4, feature_names=list("abcd"))
    assert [a.get_xlabel() for a in axes[3]] == list("abcd")
    assert [a.get_ylabel() for a in axes[:, 0]] == ["", "b", "c", "d"]
    assert axes[2, 1].get_xlabel() == axes[2, 1].get_ylabel() == ""


def test_pairs_of_chosen_features():
    axes = plotting.plot_pairs(X4, W, M4, S4, features=[3, 1])
    assert axes.shape == (2, 2)
    assert axes[1, 0].get_xlabel() == "feature 3" and axes[1, 0].get_ylabel() == "feature 1"
    np.testing.assert_array_equal(axes[1, 0].collections[0].get_offsets(), X4[:, [3, 1]])
    assert "2 of 4" in axes[0, 0].get_title(loc="left")


@pytest.mark.thorough
def test_pairs_shows_six_features_at_most_and_says_so():
    X8, w, means, covariances = mixture(8)
    axes = plotting.plot_pairs(X8, w, means, covariances)
    assert axes.shape == (6, 6) and axes[0, 0].get_title(loc="left") == "6 of 8 features"


def test_pairs_colour_rows_by_all_features():
    means = np.array([[0.0, 0, 0], [0, 0, 100]])                # only the third tells them apart
    rows = np.array([[0.0, 0, 0], [0, 0, 100]])
    axes = plotting.plot_pairs(rows, [0.5, 0.5], means, [np.eye(3)] * 2)
    drawn = axes[1, 0].collections[0].get_facecolors()[:, :3]
    np.testing.assert_allclose(drawn, plotting.component_colors(2), atol=1e-12)


def test_matplotlib_is_not_imported_with_the_module():
    code = "import sys, gmm_lit.plotting; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0


# --- what it draws


@pytest.mark.parametrize("level", [0.1, 0.5, 0.9, 0.99])
def test_ellipse_holds_its_level(level):
    rng, n = np.random.default_rng(7), 50_000
    path, A = plotting.ellipse_path(M[1], S[1], level), np.linalg.inv(S[1])
    rows = rng.multivariate_normal(M[1], S[1], n)
    radius2 = [np.einsum("ni,ij,nj->n", x - M[1], A, x - M[1]) for x in (path, rows)]
    np.testing.assert_allclose(radius2[0], -2 * np.log(1 - level), rtol=1e-9)
    inside = np.mean(radius2[1] <= radius2[0].mean())
    assert abs(inside - level) < 3 * np.sqrt(level * (1 - level) / n)


def test_ellipse_is_closed_and_survives_collapse():
    path = plotting.ellipse_path([1, 2], np.zeros((2, 2)))
    np.testing.assert_array_equal(path, np.tile([1.0, 2.0], (100, 1)))
    path = plotting.ellipse_path([0, 0], np.ones((2, 2)))
    np.testing.assert_allclose(path[:, 0], path[:, 1], atol=1e-7)
    np.testing.assert_allclose(path[0], path[-1], atol=1e-12)
    plotting.plot_components([[0, 0]], [np.ones((2, 2))], ax=Figure().subplots())


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e9])
def test_density_levels_are_exact_for_one_gaussian(scale):
    covariance = scale * S[0]
    peak = -np.log(2 * np.pi) - np.linalg.slogdet(covariance)[1] / 2
    p = np.array([0.05, 0.5, 0.95, 0.99])
    heights = plotting.density_levels([1.0], [[3, -3]], [covariance], p)
    np.testing.assert_allclose(heights - peak, np.log(1 - p), atol=5e-5)


def test_density_levels_hold_their_mass():
    rng, n, p = np.random.default_rng(11), 50_000, np.array([0.25, 0.5, 0.75, 0.95])
    component = rng.choice(3, n, p=W)
    rows = M[component] + np.einsum(
        "nij,nj->ni", np.linalg.cholesky(S)[component], rng.standard_normal((n, 2)))
    f = plotting.logsumexp(plotting._log_joint(rows, W, M, S), axis=0)
    held = (f[:, None] > plotting.density_levels(W, M, S, p)).mean(axis=0)
    assert np.all(np.abs(held - p) < 3 * np.sqrt(p * (1 - p) / n))


def test_density_levels_ignore_order_and_empty_components():
    heights = plotting.density_levels(W, M, S, [0.9, 0.1])
    assert heights[0] > heights[1]
    again = plotting.density_levels([0.5, 0.5, 0], M, S, [0.5])
    without = plotting.density_levels([0.5, 0.5], M[:2], S[:2], [0.5])
    np.testing.assert_allclose(again, without, atol=2e-3)


def test_density_keeps_the_view():
    ax = Figure().subplots()
    ax.plot([0, 1], [0, 1])
    view = ax.get_xlim(), ax.get_ylim()
    plotting.plot_density(W, M, S, ax=ax)
    assert (ax.get_xlim(), ax.get_ylim()) == view and ax.get_autoscale_on()
    ax = Figure().subplots()
    ax.set(xlim=(5, -5), ylim=(-3, 3))                          # reversed, and set by hand
    plotting.plot_density(W, M, S, ax=ax)
    assert ax.get_xlim() == (5, -5) and ax.get_ylim() == (-3, 3)


def test_density_of_empty_axes_shows_all_of_it_and_is_labelled():
    ax = plotting.plot_density(W, M, S)
    assert {t.get_text() for t in ax.texts} == {"25%", "50%", "75%", "95%"}
    low, high = plotting._extent(M, S, 0.95)
    assert ax.get_xlim()[0] < low[0] and ax.get_ylim()[1] > high[1]
    assert not plotting.plot_density(W, M, S, label=False).texts


@pytest.mark.filterwarnings("error")
def test_density_out_of_sight_draws_nothing_quietly():
    ax = Figure().subplots()
    ax.set(xlim=(1000, 1001), ylim=(1000, 1001))
    plotting.plot_density(W, M, S, ax=ax)
    assert not ax.collections


def test_mixture_clips_no_ellipse_and_no_contour():
    ax = plotting.plot_mixture(X, W, M, S)
    low, high = plotting._extent(M, S, 0.95)
    assert ax.get_xlim()[0] < low[0] and ax.get_xlim()[1] > high[0]
    assert ax.get_ylim()[0] < low[1] and ax.get_ylim()[1] > high[1]


def test_same_component_same_colour_everywhere():
    colors = plotting.component_colors(3)
    labels = np.arange(60) % 3
    rows = plotting.plot_rows(X, labels=labels).collections[0].get_facecolors()[:, :3]
    np.testing.assert_allclose(rows, colors[labels])
    certain = plotting.plot_rows(X, resp=np.eye(3)[labels]).collections[0].get_facecolors()[:, :3]
    np.testing.assert_allclose(certain, colors[labels])
    for ax in (plotting.plot_components(M, S, W), plotting.plot_decomposition(X1, W, M1, S1)):
        named = [line for line in ax.lines if line.get_label().startswith("component")]
        np.testing.assert_allclose([matplotlib.colors.to_rgb(ln.get_color()) for ln in named], colors)


def test_palette():
    many = plotting.component_colors(40)
    assert many.shape == (40, 3) and many.min() >= 0 and many.max() <= 1
    assert len(np.unique(many, axis=0)) == 40
    np.testing.assert_array_equal(plotting.component_colors(np.int64(5)), many[:5])
    for bad in (0, -1, 2.0, "3", None):
        with pytest.raises(ValueError, match="n_components"):
            plotting.component_colors(bad)


def test_blend_and_grey():
    drawn = plotting.plot_rows(X, resp=RESP).collections[0].get_facecolors()[:, :3]
    np.testing.assert_allclose(drawn, RESP @ plotting.component_colors(3), atol=1e-12)
    grey = plotting.plot_rows(X).collections[0].get_facecolors()[:, :3]
    assert np.ptp(grey) == 0
    noise = plotting.plot_rows(X, labels=np.full(60, -1)).collections[0].get_facecolors()[:, :3]
    assert np.ptp(noise) == 0


def test_heavier_components_have_wider_lines():
    ax = plotting.plot_components(M, S, W, levels=[0.9])
    widths = [line.get_linewidth() for line in ax.lines if line.get_label().startswith("comp")]
    assert widths[1] > widths[0] > widths[2]
    assert [t.get_text() for t in ax.legend().get_texts()][1] == "component 1 (0.50)"


def test_names_of_features():
    class Frame(np.ndarray):
        columns = ["length (cm)", "width (cm)"]
    ax = plotting.plot_rows(X.view(Frame))
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("length (cm)", "width (cm)")
    ax = plotting.plot_mixture(X, W, M, S, feature_names=["a", "b"])
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("a", "b")
    assert plotting.plot_mixture(X1, W, M1, S1, feature_names=["a"]).get_xlabel() == "a"
    assert plotting.plot_rows(X).get_xlabel() == "feature 0"


@pytest.mark.parametrize("shape", [(3,), (3, 1), (3, 1, 1)])
def test_decomposition_adds_up(shape):
    ax = plotting.plot_decomposition(X1[:, 0], W, M1[:, 0], S1.reshape(shape), legend=False)
    *parts, total = ax.lines
    np.testing.assert_allclose(sum(p.get_ydata() for p in parts), total.get_ydata())
    area = [np.trapezoid(p.get_ydata(), p.get_xdata()) for p in parts]
    np.testing.assert_allclose(area, W, atol=5e-3)
    bars = sum(bar.get_width() * bar.get_height() for bar in ax.patches)
    assert abs(bars - 1) < 1e-12 and ax.get_legend() is None


def test_decomposition_keeps_a_narrow_peak():
    ax = plotting.plot_decomposition([0.0, 1000.0], [0.5, 0.5], [0, 1000], [1e4, 1e-6])
    peak = 0.5 / np.sqrt(2 * np.pi * 1e-6)
    np.testing.assert_allclose(ax.lines[1].get_ydata().max(), peak, rtol=1e-6)


def test_criterion_marks_the_smallest():
    nan = float("nan")
    values = {"full": [9, nan, 4.0], "tied": [8, 3.5, None], "diag": [nan, nan, np.inf]}
    ax = plotting.plot_criterion([1, 2, 3], values)
    assert ax.texts[0].get_text() == "tied, 2"
    ring = ax.lines[-1]
    assert (ring.get_xdata()[0], ring.get_ydata()[0]) == (2, 3.5)
    widths = [line.get_linewidth() for line in ax.lines[:3]]
    assert widths[1] > widths[0] == widths[2]
    assert list(ax.get_xticks()) == [1, 2, 3]


def test_criterion_keeps_hopeless_models_from_pressing_the_rest_flat():
    ax = plotting.plot_criterion([1, 2, 3, 4], {"good": [12, 10, 11, 13], "bad": [9e5, 8e5, 12, 14]})
    assert ax.get_ylim()[0] < 10 and 14 < ax.get_ylim()[1] < 40
    ax = plotting.plot_criterion([1, 2, 3], {"one": [9, 5, 4]})
    assert ax.get_ylim()[1] > 9
    ax = plotting.plot_criterion([2], {"one": [7]})
    assert ax.get_ylim()[0] < 7 < ax.get_ylim()[1] and ax.get_legend() is None


def test_trace_counts_from_one():
    ax = plotting.plot_trace(np.linspace(-3, -2, 40))
    assert list(ax.lines[0].get_xdata()[[0, -1]]) == [1, 40] and ax.get_legend() is None
    ax = plotting.plot_trace({"a": [-3, -2], "b": [-3]})
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["a", "b"]


@pytest.mark.filterwarnings("error")
def test_weight_of_zero_and_rounded_weights():
    plotting.plot_mixture(X, [0.5, 0.5, 0], M, S, ax=Figure().subplots())
    plotting.plot_mixture(X, [0.333, 0.333, 0.333], M, S, ax=Figure().subplots())


def test_inputs_are_not_changed():
    before = [a.copy() for a in (X, W, M, S)]
    plotting.plot_mixture(X, W, M, S)
    for a, b in zip((X, W, M, S), before):
        np.testing.assert_array_equal(a, b)


# --- rows in doubt, surfaces, silhouettes, and no rows at all


def test_rows_in_doubt_are_large_and_sure_ones_small():
    resp = np.array([[1, 0, 0], [0.5, 0.5, 0], [1 / 3, 1 / 3, 1 / 3]])
    drawn = plotting.plot_uncertainty(X[:3], resp).collections[0]
    np.testing.assert_allclose(drawn.get_sizes(), [4, 94, 124])
    np.testing.assert_allclose(drawn.get_facecolors()[0, :3], plotting.component_colors(1)[0])
    assert plotting.plot_uncertainty(X[:3], np.ones((3, 1))).collections[0].get_sizes().tolist() == [4.0] * 3


def test_surface_is_the_density_and_takes_only_axes_in_space():
    ax = plotting.plot_surface(W, M, S, feature_names=["a", "b"], n_points=30)
    assert ax.get_xlabel() == "a" and ax.get_zlabel() == "density" and len(ax.collections) == 1
    high = np.exp(plotting.logsumexp(plotting._log_joint(M, W, M, S), axis=0)).max()
    assert 0.5 * high < ax.get_zlim()[1] < 1.2 * high
    with pytest.raises(ValueError, match='ax must have projection="3d"'):
        plotting.plot_surface(W, M, S, ax=Figure().subplots())


def test_silhouettes():
    s = plotting.silhouettes(RESP)
    first, second = np.sort(RESP, axis=1)[:, ::-1][:, :2].T
    np.testing.assert_allclose(s, (first - second) / (first + second))
    assert plotting.silhouettes(np.ones((4, 1))).tolist() == [1.0] * 4
    ax = plotting.plot_silhouettes({"one": RESP, "two": RESP[:, :2] / RESP[:, :2].sum(1, keepdims=True)})
    assert [t.get_text().split("\n")[0] for t in ax.get_yticklabels()] == ["one", "two"] and len(ax.collections) == 5
    assert f"mean {s.mean():.3f}" in ax.get_yticklabels()[0].get_text()


@pytest.mark.filterwarnings("error")
def test_a_mixture_without_rows():
    assert plotting.plot_mixture(None, W, M, S).collections and not plotting.plot_mixture(None, W, M1, S1).patches
    assert plotting.plot_mixture(None, W, M4, S4).shape == (4, 4)


@pytest.mark.parametrize("d", [1, 2, 4])
@pytest.mark.thorough
def test_a_fit_draws_itself(d):
    data = {1: X1, 2: X, 4: X4}[d]
    gm = gmm_lit.GaussianMixture(2, random_state=0).fit(data)
    for rows in (data, None):
        drawn = gm.plot(rows)
        assert np.shape(drawn) == ((4, 4) if d == 4 else ())
    with pytest.raises(gmm_lit.NotFittedError):
        gmm_lit.GaussianMixture(2).plot(data)


# --- pictures as they were: `python tests/test_plotting.py` draws them anew, to be looked at before they are kept

BASELINE = Path(__file__).parent / "baseline"


def picture(name, path):
    rng = np.random.default_rng(5)
    w, m, C = np.array([0.3, 0.5, 0.2]), np.array([[0.0, 0], [3, 3], [6, 0]]), np.array([np.eye(2), [[1, 0.7], [0.7, 1]], [[0.3, 0], [0, 2]]])
    rows = np.concatenate([rng.multivariate_normal(m[k], C[k], count) for k, count in enumerate((60, 100, 40))])
    resp = plotting._responsibilities(rows, w, m, C)
    fig = Figure(figsize=(4, 3), dpi=60)
    {"mixture": lambda ax: plotting.plot_mixture(rows, w, m, C, ax=ax()),
     "decomposition": lambda ax: plotting.plot_decomposition(rows[:, 0], w, m[:, 0], C[:, 0, 0], ax=ax()),
     "pairs": lambda ax: plotting.plot_pairs(rows, w, m, C, ax=fig.subplots(2, 2)),
     "uncertainty": lambda ax: plotting.plot_uncertainty(rows, resp, ax=ax()),
     "surface": lambda ax: plotting.plot_surface(w, m, C, ax=fig.add_subplot(projection="3d"), n_points=40),
     "criterion": lambda ax: plotting.plot_criterion([1, 2, 3], {"full": [9, 5, 6], "tied": [8, 7, 4]}, ax=ax()),
     "trace": lambda ax: plotting.plot_trace({"a": [-5, -4, -3.9], "b": [-6, -4.5, -3.8]}, ax=ax()),
     "silhouettes": lambda ax: plotting.plot_silhouettes({"a": resp, "b": resp[:, ::-1]}, ax=ax())}[name](fig.subplots)
    for ax in fig.axes:                                         # letters change with versions of fonts, curves do not
        ax.set(xlabel="", ylabel="", title="")
        for axis in (ax.xaxis, ax.yaxis, *([ax.zaxis] if hasattr(ax, "zaxis") else [])): axis.set_major_formatter(NullFormatter())
        for text in [*ax.texts, *([ax.get_legend()] if ax.get_legend() else [])]: text.set_visible(False)
    fig.savefig(path, metadata={"Software": None})


PICTURES = ["mixture", "decomposition", "pairs", "uncertainty", "surface", "criterion", "trace", "silhouettes"]


@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.thorough
def test_pictures_are_what_they_were(name, tmp_path):
    picture(name, tmp_path / f"{name}.png")
    assert compare_images(str(BASELINE / f"{name}.png"), str(tmp_path / f"{name}.png"), tol=6) is None


def test_another_picture_would_be_noticed(tmp_path):
    picture("trace", tmp_path / "trace.png")
    assert compare_images(str(BASELINE / "criterion.png"), str(tmp_path / "trace.png"), tol=6) is not None


# --- what it refuses: the parameter, what it got, what it may be

NAN = X.copy()
NAN[3, 1] = np.nan
SKEW = S.copy()
SKEW[1] = [[1, 2], [0, 1]]
NEGATIVE = S.copy()
NEGATIVE[2] = [[1, 2], [2, 1]]

REFUSED = {
    "X rank": (lambda: plotting.plot_rows(X[:, 0]), ["X", "(n, d)", "(60,)"]),
    "X empty": (lambda: plotting.plot_rows(np.empty((0, 2))), ["X", "at least one row", "(0, 2)"]),
    "X one column": (lambda: plotting.plot_rows(X1), ["X", "2 columns", "plot_decomposition"]),
    "X nan": (lambda: plotting.plot_rows(NAN), ["X", "finite", "[3, 1]"]),
    "X columns": (lambda: plotting.plot_mixture(X4, W, M, S), ["X", "2", "got 4"]),
    "names": (lambda: plotting.plot_rows(X, feature_names=["a"]), ["feature_names", "2", "got 1"]),
    "both": (lambda: plotting.plot_rows(X, labels=np.zeros(60, int), resp=RESP), ["labels", "resp"]),
    "labels length": (lambda: plotting.plot_rows(X, labels=[0, 1]), ["labels", "(60,)", "(2,)"]),
    "labels float": (lambda: plotting.plot_rows(X, labels=np.zeros(60)), ["labels", "float64"]),
    "resp turned": (lambda: plotting.plot_rows(X, resp=RESP.T), ["resp", "(60, K)", "(3, 60)"]),
    "resp sums": (lambda: plotting.plot_rows(X, resp=2 * RESP), ["resp", "sum to one"]),
    "means rank": (lambda: plotting.plot_components(M[0], S), ["means", "(K, d)", "(2,)"]),
    "means columns": (lambda: plotting.plot_components(M4, S4),
                      ["means", "2 columns", "got 4", "plot_mixture"]),
    "density columns": (lambda: plotting.plot_density(W, M4, S4), ["means", "2 columns", "got 4"]),
    "means nan": (lambda: plotting.plot_components(M * np.nan, S), ["means", "finite"]),
    "diagonal": (lambda: plotting.plot_components(M, np.ones((3, 2))),
                 ["covariances", "full", "(3, 2, 2)", "(3, 2)"]),
    "skew": (lambda: plotting.plot_components(M, SKEW), ["covariances[1]", "symmetric"]),
    "negative": (lambda: plotting.plot_components(M, NEGATIVE), ["covariances[2]", "definite"]),
    "singular": (lambda: plotting.plot_density([1.0], [[0, 0]], [np.ones((2, 2))]),
                 ["covariances", "positive definite"]),
    "weights shape": (lambda: plotting.plot_density([0.5, 0.5], M, S), ["weights", "(3,)", "(2,)"]),
    "weights sum": (lambda: plotting.plot_density([1, 1, 1], M, S), ["weights", "sum to one"]),
    "weights sign": (lambda: plotting.plot_density([1.5, -0.5, 0], M, S), ["weights", "negative"]),
    "level 1": (lambda: plotting.plot_components(M, S, levels=[0.5, 1]), ["levels", "between 0 and 1"]),
    "level in percent": (lambda: plotting.ellipse_path(M[0], S[0], 90), ["level", "got", "90"]),
    "levels none": (lambda: plotting.plot_density(W, M, S, levels=[]), ["levels"]),
    "x shape": (lambda: plotting.plot_decomposition(X, W, M1, S1), ["x", "(n,)", "(60, 2)"]),
    "means of one": (lambda: plotting.plot_decomposition(X1, W, M, S1), ["means", "(K,)", "(3, 2)"]),
    "variances shape": (lambda: plotting.plot_decomposition(X1, W, M1, S), ["variances", "(3, 2, 2)"]),
    "variances sign": (lambda: plotting.plot_decomposition(X1, W, M1, -S1), ["variances", "positive"]),
    "pairs axes": (lambda: plotting.plot_pairs(X4, W, M4, S4, ax=Figure().subplots()),
                   ["ax", "4 x 4", "()"]),
    "features": (lambda: plotting.plot_pairs(X4, W, M4, S4, features=[0, 4]), ["features", "0 to 3"]),
    "counts": (lambda: plotting.plot_criterion([1.5], {"a": [1]}), ["n_components", "integers"]),
    "values shape": (lambda: plotting.plot_criterion([1, 2], {"a": [1]}),
                     ["values['a']", "(2,)", "(1,)"]),
    "values nan": (lambda: plotting.plot_criterion([1], {"a": [None]}), ["values", "finite"]),
    "values empty": (lambda: plotting.plot_criterion([1], {}), ["values", "finite"]),
    "trace": (lambda: plotting.plot_trace([]), ["log_likelihoods", "at least one"]),
    "uncertainty resp": (lambda: plotting.plot_uncertainty(X, RESP[0]), ["resp", "(n, K)", "(3,)"]),
    "silhouettes rank": (lambda: plotting.silhouettes([1.0]), ["resp", "(n, K)", "(1,)"]),
    "silhouettes none": (lambda: plotting.plot_silhouettes({}), ["resp", "empty"]),
    "trace rank": (lambda: plotting.plot_trace([[1, 2]]), ["log_likelihoods", "(1, 2)"]),
}


@pytest.mark.parametrize("call, words", REFUSED.values(), ids=REFUSED.keys())
def test_refuses(call, words):
    with pytest.raises(ValueError) as error:
        call()
    for word in words:
        assert word in str(error.value)
    assert plt.get_fignums() == []                              # no empty figure is left behind


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("bad", ["rows", [["a", "b"]], [[1, 2], [3]], None, [[1j, 2]],
                                 np.ones((3, 2), complex)])
def test_refuses_what_is_not_numbers(bad):
    with pytest.raises((TypeError, ValueError), match="^X must"):
        plotting.plot_rows(bad)


def test_refuses_values_that_are_no_dict():
    with pytest.raises(TypeError, match="values must be a dict.*list"):
        plotting.plot_criterion([1, 2], [3, 4])


if __name__ == "__main__":
    BASELINE.mkdir(exist_ok=True)
    for name in PICTURES: picture(name, BASELINE / f"{name}.png")


@pytest.mark.parametrize("values, side", [([3, 2, 1], "right"), ([1, 2, 3], "left"), ([2, 1, 3], "center")])
def test_the_name_of_the_best_model_stays_within_the_axes(values, side):
    ax = plotting.plot_criterion([1, 2, 3], {"full": values}, ax=Figure().subplots())
    assert ax.texts[0].get_ha() == side
