"""Run notebooks from top to bottom, each in a fresh kernel, and store their outputs in place.

Without arguments all notebooks of the book are run, as many cells at a time as there are cores; one that looks at the clock
has the machine to itself. Cells marked `#| eval: false` are not run. A notebook that stops with an error is left as it was.
"""

import os
import re
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Condition

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from check import ROOT, directives, notebooks

SKIP = "skip-execution"
TIME_LIMIT = 3600


class Places:
    """As many cells run at one time as there are places; who wants to be alone waits until all are free."""

    def __init__(self, n):
        self.n, self.free, self.changed = n, n, Condition()

    @contextmanager
    def taken(self, alone):
        wanted = self.n if alone else 1
        with self.changed:
            self.changed.wait_for(lambda: self.free >= wanted)
            self.free -= wanted
        try:
            yield
        finally:
            with self.changed:
                self.free += wanted
                self.changed.notify_all()


PLACES = Places(os.cpu_count() or 1)


class Client(NotebookClient):
    """Takes a place for each cell, and for the start of a kernel. (A thread runs one notebook, so it may wait.)"""

    worked = 0.0  # seconds, without those of waiting for a place

    @contextmanager
    def at_work(self, alone=False):
        with PLACES.taken(alone):
            start = time.perf_counter()
            try:
                yield
            finally:
                self.worked += time.perf_counter() - start

    async def async_start_new_kernel_client(self):
        with self.at_work():
            return await super().async_start_new_kernel_client()

    async def async_execute_cell(self, cell, cell_index, **options):
        with self.at_work(alone=looks_at_the_clock(cell.source)):
            return await super().async_execute_cell(cell, cell_index, **options)


def looks_at_the_clock(source):
    return "perf_counter" in source


def mark_skipped(notebook):
    """nbclient leaves out cells with this tag; nbdev_clean takes it away afterwards."""
    for cell in notebook.cells:
        if cell.cell_type == "code" and directives(cell.source).get("eval") == "false":
            cell.metadata["tags"] = [SKIP]


def execute(path):
    """Run one notebook in its own folder; returns what went wrong, or nothing, and the seconds it worked."""
    notebook = nbformat.read(path, as_version=4)
    mark_skipped(notebook)
    client = Client(notebook, timeout=TIME_LIMIT, kernel_name="python3", record_timing=False, coalesce_streams=True,
                    skip_cells_with_tag=SKIP, extra_arguments=["--log-level=40"],  # errors only
                    resources={"metadata": {"path": str(path.parent)}})
    # a cell a core: threads of libraries would stand in each other's way
    one_thread = {} if looks_at_the_clock(path.read_text(encoding="utf-8")) else dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"), "1")
    try:
        client.execute(env=os.environ | one_thread)
    except CellExecutionError as error:
        return re.sub(r"\x1b\[[0-9;]*m", "", str(error)), client.worked
    nbformat.write(notebook, path)
    return "", client.worked


def timed(path):
    error, seconds = execute(path)
    print(f"{path.relative_to(ROOT).as_posix()}: {seconds:.1f} s{' FAILED' if error else ''}", flush=True)
    if error:
        print(error, flush=True)
    return not error


def main(names):
    paths, start = [Path(name).resolve() for name in names] or notebooks()[::-1], time.perf_counter()  # short ones, the first chapters, last
    with ThreadPoolExecutor(PLACES.n + 2) as pool:  # more than places, for some are waiting, or ending
        done = list(pool.map(timed, paths))
    print(f"{len(done)} notebooks in {time.perf_counter() - start:.0f} s, {done.count(False)} failed")
    return 0 if all(done) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
