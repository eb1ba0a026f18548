"""What the web site is made of, beside its pages: the sidebar, the list for programs, the citation, the links of each page."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urljoin

import pytest
import yaml
from bs4 import BeautifulSoup
from nbdev.doclinks import _nbpath2html

ROOT = Path(__file__).resolve().parent.parent
NBS = ROOT / "nbs"
PAGES = sorted(path.relative_to(NBS).as_posix() for path in [*NBS.glob("*.ipynb"), *NBS.glob("tutorials/*.ipynb")])


@pytest.fixture(scope="module")
def website():
    spec = importlib.util.spec_from_file_location("website", ROOT / ".ci" / "website.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def config(): return yaml.safe_load((ROOT / "_quarto.yml").read_text(encoding="utf-8"))


def test_every_page_is_in_the_sidebar_once(website):
    listed = [item for _, item in website.sidebar() if item.endswith(".ipynb")]
    assert sorted(listed) == PAGES


def test_chapters_are_in_reading_order(website):
    order = lambda stem: (int(stem[:2]), stem.split("_")[0])
    chapters = [item for _, item in website.sidebar() if re.match(r"\d\d", item)]
    assert chapters == sorted(chapters, key=order)


def test_the_first_page_lists_every_page():
    text = "".join("".join(cell["source"]) for cell in json.loads((NBS / "index.ipynb").read_text(encoding="utf-8"))["cells"])
    for page in PAGES: assert page == "index.ipynb" or f"({page})" in text, page


def test_what_the_sidebar_and_the_navigation_bar_name_exists(config):
    for entry in config["website"]["navbar"]["left"]: assert (NBS / entry["href"]).exists(), entry
    html = config["format"]["html"]
    for name in (html["css"], html["include-after-body"], config["website"]["image"], *config["project"]["resources"], "404.qmd"):
        assert (NBS / name).exists(), name


def test_the_list_for_programs_has_every_page(website):
    text = website.make_list()
    assert (NBS / "llms.txt").read_text(encoding="utf-8") == text
    for page in PAGES: assert f"/{website.page_name(page)}.html): " in text, page


def test_pages_say_what_they_are(website):
    lines = [website.title_and_line(NBS / page) for page in PAGES]
    assert len({title for title, _ in lines}) == len(lines), "titles are unique"
    assert all(20 <= len(line) <= 200 for _, line in lines), [line for _, line in lines if not 20 <= len(line) <= 200]


def test_the_citation_has_the_version_of_the_package(website):
    citation, said = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8")), website.settings()
    assert citation["version"] == said["version"] and citation["repository-code"] == said["git_url"]
    assert citation["url"] == said["doc_host"] + said["doc_baseurl"]


def test_pages_have_the_names_that_nbdev_gives_them(website):
    names = [website.page_name(page) for page in PAGES]
    assert len(set(names)) == len(names)
    for page, name in zip(PAGES, names): assert _nbpath2html(Path(page)).as_posix() == f"{name}.html"


def test_pages_lead_to_their_own_notebook(website):
    text = (NBS / "open-in.html").read_text(encoding="utf-8")
    assert text == website.make_line()
    said = website.settings()
    assert said["git_url"].endswith(re.search(r'source = "([^"]+)"', text).group(1)) and f'/blob/{said["branch"]}/' in text
    numbered = json.loads(re.search(r"numbered = (\{.*\});", text).group(1))
    for page in PAGES: assert numbered.get(website.page_name(page), website.page_name(page)) + ".ipynb" == page


@pytest.mark.parametrize("path", sorted((ROOT / ".github" / "workflows").glob("*.yml")), ids=lambda p: p.name)
def test_workflows_call_what_the_makefile_has(path):
    steps = [step.get("run", "") for job in yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"].values() for step in job["steps"]]
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
    for target in re.findall(r"make ([\w-]+)", "\n".join(steps)): assert target in targets


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("quarto"), reason="Quarto is not installed")
def test_quarto_makes_every_page_without_a_warning(website, tmp_path):
    """And every link of the site leads to a page and to a place on it, and the state of widgets is whole."""
    root = tmp_path / "site"
    left_out = shutil.ignore_patterns(".venv", ".git", "_docs", "_proc", "__pycache__", ".ipynb_checkpoints", "*.egg-info")
    shutil.copytree(ROOT, root, symlinks=True, ignore=left_out)
    (root / "README.md").touch()                              # newer than nbs/index.ipynb: nbdev leaves it alone
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(["nbdev_docs"], cwd=root, env=os.environ | {"PATH": path}, capture_output=True, text=True, encoding="utf-8")
    said = done.stdout + done.stderr
    assert done.returncode == 0 and not re.search(r"\b(WARN\w*|ERROR)\b", said, flags=re.IGNORECASE), said[-2000:]

    made = {page.relative_to(root / "_docs").as_posix(): BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser")
            for page in (root / "_docs").rglob("*.html")}
    assert {f"{website.page_name(page)}.html" for page in PAGES} <= set(made)
    places = {name: {tag["id"] for tag in page.find_all(id=True)} for name, page in made.items()}
    home = "https://gmm-lit.github.io/gmm_lit/"
    for name, page in made.items():
        for state in page.find_all("script", type=re.compile(r"json$")): json.loads(state.string)      # of widgets
        for link in page.find_all("a", href=True):
            target, _, place = urljoin(home + name, link["href"]).partition("#")
            if target.startswith(home):
                there = unquote(target.removeprefix(home)) or "index.html"
                assert (root / "_docs" / there).is_file() and (not place or unquote(place) in places.get(there, ())), (name, link["href"])
