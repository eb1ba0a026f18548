"""The map leads somewhere: pages and headings that its routes name exist."""

import ast
import json
import re
from pathlib import Path

import pytest

NBS = Path(__file__).resolve().parent.parent / "nbs"
CELLS = json.loads((NBS / "map.ipynb").read_text(encoding="utf-8"))["cells"]
ROUTES = [ast.literal_eval(source.split("way", 1)[1]) for source in ("".join(cell["source"]) for cell in CELLS)
          if re.match(r"#\| echo: false\nway\(\(", source)]
STOPS = [stop for route in ROUTES for stop in route]


def test_there_are_routes():
    assert len(ROUTES) >= 4 and all(len(route) >= 3 for route in ROUTES)


@pytest.mark.parametrize("stop", STOPS, ids=[stop[0] for stop in STOPS])
def test_stop(stop):
    page, _, *headings = stop
    notebook = json.loads((NBS / f"{page}.ipynb").read_text(encoding="utf-8"))
    text = "\n".join("".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "markdown")
    for heading in filter(None, headings):
        assert re.search(rf"(?m)^#+ {re.escape(heading)}", text), f"{page} has no heading {heading!r}"


def test_links_lead_somewhere():
    prose = "\n".join("".join(cell["source"]) for cell in CELLS if cell["cell_type"] == "markdown")
    for page in re.findall(r"\]\(([\w/]+\.ipynb)", prose):
        assert (NBS / page).exists(), f"the map links to {page}"
