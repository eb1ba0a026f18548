"""The book holds together: equations are numbered in order, chapters end with exercises. (tests/test_pages.py follows every link.)"""

import ast
import json
import re
from pathlib import Path

import pytest

NBS = Path(__file__).resolve().parent.parent / "nbs"
CHAPTERS = sorted([*NBS.glob("[0-9][0-9]_*.ipynb"), *NBS.glob("[0-9][0-9][a-z]_*.ipynb")])


def cells(path, kind):
    notebook = json.loads(path.read_text(encoding="utf-8"))
    return ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == kind]


def tags(path):
    return re.findall(r"\\tag\{(\d+\.\d+)\}", "\n".join(cells(path, "markdown")))


@pytest.mark.parametrize("number", sorted({path.stem[:2] for path in CHAPTERS}))
def test_equations_are_numbered(number):
    here = [tag for path in CHAPTERS if path.stem.startswith(number) for tag in tags(path)]   # 02b goes on where 02 ended
    assert here == [f"{int(number)}.{i}" for i in range(1, len(here) + 1)], "equations are numbered in the order they come"


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda p: p.stem)
def test_shape_of_a_chapter(path):
    prose = cells(path, "markdown")
    assert re.match(r"# \w.*\n+> .", prose[0]), "a title and one line about it"
    exercises = next((cell for cell in prose if "## Exercises" in cell), "")
    assert 2 <= "".join(prose[prose.index(exercises):]).count("<details><summary>Answer</summary>") <= 4
    last = path.stem == CHAPTERS[-1].stem
    assert last or re.search(r"\]\(\w+\.ipynb\)", prose[-1].strip().splitlines()[-1]), "the last line leads on"
    assert len(prose) + len(cells(path, "code")) <= 95


def test_one_table_of_symbols():
    assert sum("| symbol | in code |" in cell for path in CHAPTERS for cell in cells(path, "markdown")) == 1


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda p: p.stem)
def test_the_site_shows_the_code(path):
    """It shows that of cells with `#| exports`, each under one heading, and hides those with `#| export`: for imports."""
    for source in cells(path, "code"):
        kind = re.search(r"^#\| (exports?)$", source, flags=re.MULTILINE)
        body = ast.parse(source).body if kind else []
        named = [line.name for line in body if isinstance(line, (ast.FunctionDef, ast.ClassDef)) and line.name[0] != "_"]
        assert len(named) <= 1, named
        if kind and kind[1] == "export": assert all(isinstance(line, (ast.Import, ast.ImportFrom)) for line in body), source[:200]
