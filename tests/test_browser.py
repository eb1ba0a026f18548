"""The real thing: a JupyterLab server on this machine, and a headless Chromium that opens it.

Needs Playwright for Python and Debian's Chromium (`apt-get install chromium`); without them these tests are skipped, and say so.
Screenshots are left in `tests/screenshots/`, which git ignores.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from gmm_lit import GaussianMixture
from gmm_lit.datasets import load_faithful
from gmm_lit.player import record

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted(path.name for path in (ROOT / "nbs").glob("[0-9][0-9]*_*.ipynb"))
SHOTS = Path(__file__).parent / "screenshots"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]
THEMES = {"light": "JupyterLab Light", "dark": "JupyterLab Dark"}


@pytest.fixture(scope="session")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api", reason="browser tests need Playwright: pip install playwright")
    if CHROMIUM is None: pytest.skip("browser tests need Chromium: apt-get install chromium")
    SHOTS.mkdir(exist_ok=True)
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


def open_page(browser, **options):
    """A page that nothing from outside this machine can reach, and the errors of its scripts."""
    page, errors = browser.new_page(viewport={"width": 1280, "height": 1000}, **options), []
    page.route(lambda url: not url.startswith(("http://127.0.0.1:", "file:", "data:", "blob:")), lambda route: route.abort())
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.set_default_timeout(60_000)
    return page, errors


# --- a page of its own


@pytest.mark.parametrize("theme", THEMES)
def test_the_player_plays_from_a_file(browser, theme, tmp_path):
    recording = record(GaussianMixture(3, means_init=[[2, 90], [3, 50], [5, 60]]), load_faithful().data, load_faithful().feature_names)
    path = tmp_path / "fit.html"
    path.write_text(recording.to_html("Old Faithful"), encoding="utf-8")
    page, errors = open_page(browser, color_scheme=theme)
    page.goto(path.as_uri())
    state = lambda: (page.inner_text(".said"), page.inner_html(".shapes"), page.get_attribute(".rows circle", "fill"))
    start = state()
    assert start[0].startswith("The start")
    page.click(".step")
    assert state()[0].startswith("E step 1") and state()[2].startswith("#")
    page.click(".step")
    moved = state()
    assert moved[0].startswith("M step 1") and moved[1] != start[1]
    page.click(".back")
    page.click(".back")
    assert state() == start                                          # back restores
    page.focus(".gmm-scene")
    for key in ("ArrowRight", "ArrowRight"): page.keyboard.press(key)
    assert state() == moved
    page.keyboard.press("End")
    assert state()[0].startswith("The end")
    page.keyboard.press("Home")
    page.keyboard.press("Space")                                     # plays by itself
    page.wait_for_function("document.querySelector('.said').textContent.startsWith('E step')")
    page.keyboard.press("Space")
    assert page.inner_text(".play") == "Play"
    page.focus("input[type=range]")
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    assert state()[0].startswith("E step 1")
    page.click("summary")
    assert page.locator("tbody tr").count() == len(recording.shown) + 1
    check_contrast(page, ".gmm-scene")
    page.screenshot(path=SHOTS / f"player_{theme}.png")
    assert errors == []


CONTRAST = """selector => [...document.querySelectorAll(selector)].flatMap(root => [root, ...root.querySelectorAll('p, th, td, caption, summary, pre, text, button')].map(e => {
    let look = getComputedStyle(e), paper = e;
    const clear = c => c === 'transparent' || c === 'rgba(0, 0, 0, 0)';
    while (paper.parentElement && clear(getComputedStyle(paper).backgroundColor)) paper = paper.parentElement;
    return [e.tagName, e.tagName === 'text' ? look.fill : look.color, getComputedStyle(paper).backgroundColor];
}))"""


def check_contrast(page, selector):
    """WCAG 2.2, level AA, for the text of what matches a selector, as the browser shows it."""
    found = page.evaluate(CONTRAST, selector)
    assert found, f"nothing matches {selector}"
    for tag, ink, paper in {tuple(row) for row in found}:
        ink, paper = rgba(ink), rgba(paper)
        assert paper[3] == 1, (tag, paper)
        ink = [ink[3] * i + (1 - ink[3]) * p for i, p in zip(ink, paper)]
        darker, lighter = sorted((luminance(ink), luminance(paper)))
        assert (lighter + 0.05) / (darker + 0.05) >= 4.5, (tag, ink, paper)


def rgba(color):
    """Numbers of "rgb(1, 2, 3)" or "rgba(1, 2, 3, 0.5)"."""
    assert color.startswith("rgb"), color
    numbers = [float(part) for part in color[color.index("(") + 1:-1].split(",")]
    return [*numbers[:3], numbers[3] if len(numbers) == 4 else 1.0]


def luminance(color):
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (part / 255 for part in color[:3])]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


# --- JupyterLab


def left_out(cell): return cell["cell_type"] == "code" and any(flag in "".join(cell["source"]) for flag in ("#| eval: false", "#| notest", "#| slow"))


def copy_of_the_book(folder):
    """The notebooks without outputs, and without cells that take long or cannot run without a person."""
    shutil.copytree(ROOT / "nbs", folder, ignore=shutil.ignore_patterns(".ipynb_checkpoints", "_quarto.yml"))
    for path in folder.glob("*.ipynb"):
        notebook = json.loads(path.read_text(encoding="utf-8"))
        notebook["cells"] = [cell | ({"outputs": [], "execution_count": None} if cell["cell_type"] == "code" else {})
                             for cell in notebook["cells"] if not left_out(cell)]
        notebook["metadata"].pop("widgets", None)
        path.write_text(json.dumps(notebook), encoding="utf-8")


def settings(folder, theme):
    """JupyterLab's settings: a theme, no news, and all cells on the page at once."""
    for name, value in {"apputils-extension/themes": {"theme": THEMES[theme]}, "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
                        "notebook-extension/tracker": {"windowingMode": "none"}}.items():
        path = folder / "@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(value), encoding="utf-8")


class Lab:
    """A JupyterLab server on the loopback address, and what is done in it."""

    def __init__(self, browser, folder, theme):
        copy_of_the_book(folder / "nbs")
        settings(folder / "settings", theme)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.address = f"http://127.0.0.1:{probe.getsockname()[1]}"
        variables = {name: str(folder / name) for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")}
        variables |= {"JUPYTERLAB_SETTINGS_DIR": str(folder / "settings"), "JUPYTERLAB_WORKSPACES_DIR": str(folder / "workspaces")}
        self.log = open(folder / "log", "w+")
        self.server = subprocess.Popen(
            [sys.executable, "-m", "jupyter", "lab", "--no-browser", "--allow-root", "--ServerApp.ip=127.0.0.1", f"--ServerApp.port={self.address.rsplit(':')[-1]}",
             "--ServerApp.port_retries=0", "--IdentityProvider.token=", "--ServerApp.password=", f"--ServerApp.root_dir={folder / 'nbs'}", "--LabApp.expose_app_in_browser=True"],
            env=os.environ | variables, stdout=self.log, stderr=subprocess.STDOUT, cwd=folder)
        self.wait()
        self.page, self.errors = open_page(browser)
        self.page.goto(f"{self.address}/lab?reset")
        self.page.wait_for_function("window.jupyterapp && window.jupyterapp.shell.layoutModified !== undefined")
        self.page.evaluate("window.jupyterapp.restored")

    def wait(self):
        for _ in range(240):
            try: return urllib.request.urlopen(f"{self.address}/api", timeout=5).read()
            except OSError: time.sleep(0.25)
            if self.server.poll() is not None: break
        self.log.seek(0)
        pytest.fail(f"JupyterLab does not answer:\n{self.log.read()[-3000:]}")

    def run_all(self, name, minutes=10):
        """Open a notebook and run all its cells; returns the errors among its outputs."""
        self.page.evaluate("""async path => {
            const app = window.jupyterapp;
            await app.commands.execute('application:close-all');
            const widget = await app.commands.execute('docmanager:open', {path, factory: 'Notebook'});
            await widget.context.ready; await widget.sessionContext.ready; await widget.revealed;
            window.book = widget; window.finished = false;
            app.commands.execute('notebook:run-all-cells').finally(() => { window.finished = true; });
        }""", name)
        self.page.wait_for_function("window.finished", timeout=minutes * 60_000)
        return self.page.evaluate("""() => {
            const found = [], cells = window.book.content.model.cells;
            let run = 0;
            for (let i = 0; i < cells.length; i++) {
                const cell = cells.get(i);
                if (cell.type !== 'code') continue;
                if (cell.executionCount) run += 1; else if (cell.sharedModel.source.trim()) found.push('not run: ' + cell.sharedModel.source.slice(0, 80));
                for (let j = 0; j < cell.outputs.length; j++) {
                    const output = cell.outputs.get(j).toJSON();
                    if (output.output_type === 'error') found.push(output.ename + ': ' + output.evalue);
                    if (output.output_type === 'stream' && output.name === 'stderr') found.push('stderr: ' + [].concat(output.text).join('').slice(0, 300));
                }
            }
            return run ? found : ['nothing was run'];
        }""")

    def shut(self):
        """Close the notebook and its kernel."""
        self.page.evaluate("async () => { await window.book.context.save(); await window.book.sessionContext.shutdown(); await window.jupyterapp.commands.execute('application:close-all'); }")

    def close(self):
        self.page.close()
        self.server.terminate()
        try: self.server.wait(20)
        except subprocess.TimeoutExpired: self.server.kill()
        self.log.close()


@pytest.fixture(scope="module", params=THEMES)
def lab(request, browser, tmp_path_factory):
    lab = Lab(browser, tmp_path_factory.mktemp("lab"), request.param)
    lab.theme = request.param
    yield lab
    lab.close()


def test_objects_show_themselves(lab):
    assert lab.run_all("10b_representations.ipynb") == []
    lab.page.wait_for_selector(".gmm-card")
    assert lab.page.locator(".gmm-card").count() >= 6
    check_contrast(lab.page, ".gmm-card")
    for i, card in enumerate(lab.page.locator(".gmm-card").all()[1:3]):
        card.scroll_into_view_if_needed()
        card.screenshot(path=SHOTS / f"card_{i}_{lab.theme}.png")
    assert lab.errors == []
    lab.shut()


def test_widgets_are_drawn_and_move(lab):
    assert lab.run_all("11_widgets.ipynb") == []
    page, panels = lab.page, lab.page.locator(".jp-OutputArea .gmm-panel")
    page.wait_for_function("document.querySelectorAll('.jp-OutputArea .gmm-panel').length === 4")
    stepper, bells, chooser, form = panels.all()

    def moves(panel, act):
        """The picture of a panel after it has changed."""
        before = panel.locator(".gmm-scene").inner_html()
        act()
        deadline = time.time() + 30
        while panel.locator(".gmm-scene").inner_html() == before:
            assert time.time() < deadline, "the picture does not change"
            page.wait_for_timeout(50)
        return panel.locator(".gmm-scene").inner_html()

    picture = lambda panel: panel.locator(".gmm-scene").inner_html()
    stepper.scroll_into_view_if_needed()
    start = picture(stepper)
    after = moves(stepper, lambda: stepper.get_by_role("button", name="Step").click())
    assert "E step 1" in after
    assert "M step 1" in moves(stepper, lambda: stepper.get_by_role("button", name="Step").click())
    assert moves(stepper, lambda: stepper.get_by_role("button", name="Back").click()) == after           # back restores
    handle = stepper.locator(".noUi-handle").last                                                        # the slider of half steps, by keyboard
    handle.focus()
    assert "M step 1" in moves(stepper, lambda: page.keyboard.press("ArrowRight"))
    assert moves(stepper, lambda: page.keyboard.press("ArrowLeft")) == after
    assert moves(stepper, lambda: page.keyboard.press("ArrowLeft")) == start
    stepper.locator(".noUi-handle").nth(1).focus()                                                       # a mean is moved: another start
    moves(stepper, lambda: page.keyboard.press("PageUp"))
    stepper.get_by_role("button", name="Step").click()
    stepper.screenshot(path=SHOTS / f"stepper_{lab.theme}.png")

    bells.locator(".noUi-handle").first.focus()
    moves(bells, lambda: page.keyboard.press("ArrowRight"))
    moves(bells, lambda: bells.locator("select").first.select_option(label="EII"))
    bells.screenshot(path=SHOTS / f"bells_{lab.theme}.png")

    assert "ICL is smallest" in moves(chooser, lambda: chooser.get_by_role("button", name="ICL").click())
    moves(chooser, lambda: chooser.get_by_role("button", name="full", exact=True).click())
    chooser.screenshot(path=SHOTS / f"chooser_{lab.theme}.png")

    form.locator("select").last.select_option(label="stopped")                                           # runs until somebody stops it
    form.get_by_role("button", name="Fit").click()
    form.get_by_text("iteration").first.wait_for()
    form.get_by_role("button", name="Stop").click()
    form.get_by_text("Stopped after").wait_for()
    assert form.get_by_text("Save labels.csv").get_attribute("href").startswith("data:text/csv;base64,")
    form.locator(".gmm-card").wait_for()
    form.screenshot(path=SHOTS / f"form_{lab.theme}.png")
    check_contrast(page, ".gmm-scene")
    assert lab.errors == []
    lab.shut()


def test_the_player_plays_in_a_notebook(lab):
    assert lab.run_all("11b_player.ipynb") == []
    player = lab.page.locator("[data-player]").first
    player.scroll_into_view_if_needed()
    start = player.locator(".said").inner_text()
    player.locator(".step").click()
    assert start.startswith("The start") and player.locator(".said").inner_text().startswith("E step 1")
    player.screenshot(path=SHOTS / f"player_in_lab_{lab.theme}.png")
    check_contrast(lab.page, "[data-player]")
    assert lab.errors == []
    lab.shut()


@pytest.fixture(scope="module")
def one_lab(browser, tmp_path_factory):
    lab = Lab(browser, tmp_path_factory.mktemp("book"), "light")
    yield lab
    lab.close()


@pytest.mark.parametrize("name", [name for name in NOTEBOOKS if not name.startswith(("10b", "11"))])
def test_every_notebook_runs_without_an_error(one_lab, name):
    found = one_lab.run_all(name)
    one_lab.shut()
    assert found == []
