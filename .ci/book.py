"""Run notebooks from top to bottom, each in a fresh kernel, and store their outputs in place.

Without arguments all notebooks of the book are run: as many at a time as there are cores, and then, one by one, those that
look at the clock. Cells marked `#| eval: false` are not run. A notebook that stops with an error is left as it was.
"""

import os
import re
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from check import ROOT, directives, notebooks

SKIP = "skip-execution"
TIME_LIMIT = 3600


def mark_skipped(notebook):
    """nbclient leaves out cells with this tag; nbdev_clean takes it away afterwards."""
    for cell in notebook.cells:
        if cell.cell_type == "code" and directives(cell.source).get("eval") == "false":
            cell.metadata["tags"] = [SKIP]


def execute(path):
    """Run one notebook in its own folder; returns what went wrong, or nothing."""
    notebook = nbformat.read(path, as_version=4)
    mark_skipped(notebook)
    client = NotebookClient(notebook, timeout=TIME_LIMIT, kernel_name="python3", record_timing=False, coalesce_streams=True,
                            skip_cells_with_tag=SKIP, extra_arguments=["--log-level=40"],  # errors only
                            resources={"metadata": {"path": str(path.parent)}})
    try:
        client.execute()
    except CellExecutionError as error:
        return re.sub(r"\x1b\[[0-9;]*m", "", str(error))
    nbformat.write(notebook, path)
    return ""


def looks_at_the_clock(path):
    return "perf_counter" in path.read_text(encoding="utf-8")


def timed(path):
    start = time.perf_counter()
    error = execute(path)
    print(f"{path.relative_to(ROOT).as_posix()}: {time.perf_counter() - start:.1f} s{' FAILED' if error else ''}", flush=True)
    if error:
        print(error, flush=True)
    return not error


def main(names):
    paths, start = [Path(name).resolve() for name in names] or notebooks(), time.perf_counter()
    alone = [path for path in paths if looks_at_the_clock(path)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        done = list(pool.map(timed, [path for path in paths if path not in alone]))
    done += map(timed, alone)
    print(f"{len(done)} notebooks in {time.perf_counter() - start:.0f} s, {done.count(False)} failed")
    return 0 if all(done) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
