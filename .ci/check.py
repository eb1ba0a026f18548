"""Prove the book: run every notebook and every test, and compare notebooks, modules and README.md.

The last line is `N passed, N failed` (and `, N skipped` where tests were); the exit code is 1 when anything failed.
Needs nothing but the standard library; the tools it calls come from the environment it is run with.
"""

import argparse
import ast
import atexit
import difflib
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
import traceback
import xml.etree.ElementTree as ElementTree
from concurrent.futures import ThreadPoolExecutor
from configparser import ConfigParser
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NBS, LIB, TUTORIALS = ROOT / "nbs", ROOT / "gmm_lit", ROOT / "nbs" / "tutorials"
SCRIPTS = Path(sysconfig.get_path("scripts"))
HAND_WRITTEN = {"__init__.py", "__main__.py"}
TROUBLE = re.compile(r"Traceback|Failed to|without `#\| default_exp`")  # nbdev says so, and exits 0
TIME_LIMIT, SLOW_TIME_LIMIT = 600, 6 * 3600


@dataclass
class Report:
    """What one part of the check found: how many things passed, and what is wrong with the others."""

    stage: str
    part: str = ""  # of the stage, where it has several
    passed: int = 0
    skipped: int = 0
    failures: list = field(default_factory=list)  # (what, why)
    seconds: float = 0.0

    def add(self, what, why=""):
        """Count `what` as passed when there is no reason `why` it is not."""
        if why:
            self.failures.append((what, why))
        else:
            self.passed += 1


# -- files and processes ----------------------------------------------------------------------------------------------


def notebooks(root=NBS):
    """All notebooks below `root` that nbdev looks at: no part of the path starts with `_` or `.`."""
    found = sorted(root.rglob("*.ipynb"))
    return [nb for nb in found if not any(part[0] in "_." for part in nb.relative_to(root).parts)]


def modules(lib=LIB):
    return sorted(path for path in lib.rglob("*.py") if "__pycache__" not in path.parts)


def set_environment():
    """For every process that is started here: this Python's programs first, no window for pictures, nothing on the path by hand."""
    for name in ("PYTHONPATH", "PYTHONHOME", "IN_TEST"):
        os.environ.pop(name, None)
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")  # a process runs on each core already
    os.environ.update(MPLBACKEND="Agg", PYTHONUTF8="1", PATH=f"{SCRIPTS}{os.pathsep}{os.environ.get('PATH', os.defpath)}")


def run(command, cwd=ROOT, limit=TIME_LIMIT):
    """Exit code and whole output of a command; what takes longer than `limit` seconds is ended and counts as failed."""
    try:
        done = subprocess.run([str(word) for word in command], cwd=cwd, timeout=limit, text=True,
                              encoding="utf-8", errors="replace", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT)
    except subprocess.TimeoutExpired as late:
        output = late.output or b""
        return 124, output.decode("utf-8", "replace") + f"\nended after {limit} seconds"
    return done.returncode, re.sub(r"\x1b\[[0-9;]*m", "", done.stdout)


def tail(text, lines=60):
    kept = text.strip().splitlines()
    return "\n".join(kept[-lines:]) or "it printed nothing"


def difference(old, new, lines=12):
    """The first lines in which two texts differ."""
    changes = difflib.unified_diff(old.splitlines(), new.splitlines(), "in the checkout", "made again", lineterm="", n=1)
    shown = [line[:160] for _, line in zip(range(lines + 1), changes)]
    return "\n".join(shown[:lines] + ["..."] * (len(shown) > lines))


# -- the notebooks run ------------------------------------------------------------------------------------------------


# Each notebook runs in a process of its own, since notebooks in one process see each other's state. On Linux they are forked
# from one that has everything imported; elsewhere a fork of a process with BLAS in it is not safe.
PROCESSES = get_context("forkserver" if sys.platform == "linux" else "spawn")
PROCESSES.set_forkserver_preload(["nbdev.test", "scipy.special", "matplotlib.pyplot", "gmm_lit"])


def notebook_runs(nb, slow=False):
    name = nb.relative_to(ROOT).as_posix()
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        process = PROCESSES.Process(target=run_notebook, args=(nb, slow, log))
        process.start()
        process.join(SLOW_TIME_LIMIT if slow else TIME_LIMIT)
        late = process.is_alive()
        if late:
            process.kill()
            process.join()
        output = re.sub(r"\x1b\[[0-9;]*m", "", log.read_text(encoding="utf-8", errors="replace")) if log.exists() else ""
    report = Report("notebooks", name)
    report.add(name, why_not_run(nb, process.exitcode, output + ("\nit took too long and was ended" if late else "")))
    return report


def run_notebook(nb, slow, log):
    """What that process does: what nbdev_test does for one notebook, with everything that is printed in `log`."""
    with open(log, "w", encoding="utf-8") as file:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(file.fileno(), stream.fileno())
    os.chdir(ROOT)
    from nbdev.config import get_config
    from nbdev.test import test_nb
    passed, _ = test_nb(nb, skip_flags=get_config().tst_flags.split(), force_flags=["slow"] if slow else [], do_print=True, basepath=ROOT)
    atexit._run_exitfuncs()  # a process of this kind has no other end
    sys.stdout.flush()
    sys.exit(not passed)


def why_not_run(nb, code, output):
    """Nothing, or the reason; it is not enough that nothing failed, for nbdev passes over some notebooks without a word."""
    if code:
        return tail(output)
    if f"- Completed {nb}" in (line.strip() for line in output.splitlines()):
        return ""
    return "it was not run: nbdev said\n" + tail(output)


# -- the outputs that are stored --------------------------------------------------------------------------------------


def outputs_are_stored():
    report = Report("stored outputs")
    for nb in notebooks():
        report.add(f"outputs of {nb.relative_to(ROOT).as_posix()}", "\n".join(output_faults(nb)))
    return report


def output_faults(nb):
    """What is wrong with the stored outputs of a notebook, a line for each cell."""
    cells = json.loads(nb.read_text(encoding="utf-8"))["cells"]
    faults = [(number, cell_fault(cell)) for number, cell in enumerate(cells) if cell["cell_type"] == "code"]
    return [f"cell {number}: {fault} (make book NB={nb.relative_to(ROOT).as_posix()})" for number, fault in faults if fault]


def directives(source):
    """The `#| name: value` lines at the head of a cell."""
    lines = re.findall(r"^#[ \t]*\|[ \t]*([\w-]+)[ \t]*:?[ \t]*(.*?)[ \t]*$", source, flags=re.MULTILINE)
    return dict(lines)


def cell_fault(cell):
    source = "".join(cell["source"])
    said, outputs = directives(source), cell["outputs"]
    kinds = {out["output_type"] for out in outputs}
    pictures = any(mime.startswith("image/") for out in outputs for mime in out.get("data", {}))
    if "error" in kinds:
        return "an error is stored"
    if any(out.get("name") == "stderr" for out in outputs):
        return "a warning or other text on stderr is stored"
    if pictures and not said.get("fig-alt"):
        return "a picture without a `#| fig-alt: ...` line"
    if said.get("eval") == "false" or "hide" in said:
        return ""
    if "fig-alt" in said and not pictures:
        return "no picture is stored, though there is a `#| fig-alt` line"
    return "" if outputs or not shows_something(source) else "it shows something, but no output is stored"


def shows_something(source):
    """Does the cell surely have an output: a print at its top level, or a value (not a call) as its last line?"""
    if re.search(r"^\s*[%!]", source, flags=re.MULTILINE) or source.rstrip().endswith(";"):
        return False
    try:
        body = ast.parse(source).body
    except SyntaxError:  # running the notebook tells
        return False
    if any(isinstance(line, ast.Expr) and is_print(line.value) for line in body):
        return True
    return bool(body) and isinstance(body[-1], ast.Expr) and not isinstance(body[-1].value, (ast.Call, ast.Await))


def is_print(node):
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"


# -- the tests pass ---------------------------------------------------------------------------------------------------


def tests_pass(slow=False):
    """pytest on tests/; -P keeps the checkout itself off sys.path, so that the installed package is what is tested."""
    report = Report("pytest")
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder) / "results.xml"
        command = [sys.executable, "-P", "-m", "pytest", "tests", "-q", "--color=no", f"--junitxml={results}"]
        code, output = run(command + (["-m", "slow or not slow"] if slow else []),
                           limit=SLOW_TIME_LIMIT if slow else TIME_LIMIT)
        cases = list(ElementTree.parse(results).iter("testcase")) if results.exists() else []
    for case in cases:
        count_case(report, case)
    if code or report.passed == 0:
        explain_exit(report, code, output)
    return report


def count_case(report, case):
    if case.find("failure") is not None or case.find("error") is not None:
        report.failures.append((f"{case.get('classname')}::{case.get('name')}", "see pytest's output"))
    elif case.find("skipped") is not None:
        report.skipped += 1
    else:
        report.passed += 1


def explain_exit(report, code, output):
    """Show pytest's output once; an exit that no failed test explains is a failure of its own (5: it found no tests)."""
    if report.failures:
        what, _ = report.failures[0]
        report.failures[0] = (what, tail(output, 400))
    if code not in (0, 1) or not report.failures:
        report.failures.append((f"pytest (exit code {code}, {report.passed} passed)", tail(output)))


# -- notebooks, modules and README.md say the same --------------------------------------------------------------------


def all_agree():
    report = Report("agreement")
    report.add("the installed gmm_lit is this one", why_not_installed())
    with tempfile.TemporaryDirectory() as folder:
        copy = copy_project(Path(folder) / "project")
        for tool in ("nbdev_export", "nbdev_clean"):
            code, output = run([SCRIPTS / tool], cwd=copy)
            report.add(tool, tail(output) if code or TROUBLE.search(output) else "")
        compare(report, modules(), copy, "make export")
        compare(report, notebooks(), copy, "make export")
        for extra in sorted(set(relative(modules(copy / "gmm_lit"), copy)) - set(relative(modules(), ROOT))):
            report.add(extra, "it is missing: a notebook exports it (make export)")
    code, output = run([sys.executable, ROOT / ".ci" / "readme.py", "--check"])
    report.add("README.md", tail(output) if code else "")
    code, output = run([sys.executable, ROOT / ".ci" / "website.py", "--check"])
    report.add("nbs/llms.txt and nbs/open-in.html", tail(output) if code else "")
    return report


def relative(paths, root):
    return [path.relative_to(root).as_posix() for path in paths]


def copy_project(copy):
    """The sources alone: modules are left out, so that one without a notebook shows itself by not coming back."""
    ignore = shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints")
    shutil.copytree(NBS, copy / "nbs", symlinks=True, ignore=ignore)
    shutil.copytree(LIB, copy / "gmm_lit", ignore=ignore)
    for path in modules(copy / "gmm_lit"):
        if path.name not in HAND_WRITTEN:
            path.unlink()
    for name in ("settings.ini", "pyproject.toml"):
        shutil.copy(ROOT / name, copy)
    return copy


def compare(report, paths, copy, remedy):
    """Byte for byte: what is in the checkout, and what was made again in the copy."""
    for path in paths:
        name = path.relative_to(ROOT).as_posix()
        again = copy / name
        if not again.exists():
            report.add(name, "no notebook exports it")
        elif again.read_bytes() == path.read_bytes():
            report.add(name)
        else:
            texts = (side.read_text(encoding="utf-8", errors="replace") for side in (path, again))
            report.add(name, f"it is not what its notebook makes ({remedy})\n{difference(*texts)}")


def why_not_installed():
    """-I: neither the current folder nor PYTHONPATH may stand in for an installed package."""
    program = "import gmm_lit, importlib.metadata as m; print(gmm_lit.__file__, gmm_lit.__version__, m.version('gmm_lit'), sep='\\n')"
    with tempfile.TemporaryDirectory() as elsewhere:
        code, output = run([sys.executable, "-I", "-c", program], cwd=elsewhere)
    if code:
        return tail(output)
    path, *versions = output.split("\n")[:3]
    if Path(path).resolve().parent != LIB:
        return f"import gmm_lit finds {path}"
    wanted = settings_version()
    return "" if versions == [wanted, wanted] else f"settings.ini says version {wanted}, the package says {versions}"


def settings_version():
    settings = ConfigParser(delimiters=["="])
    settings.read(ROOT / "settings.ini", encoding="utf-8")
    return settings["DEFAULT"]["version"]


# -- all of it --------------------------------------------------------------------------------------------------------


def show(report):
    """A line for what was done, and the reasons of its failures."""
    print(f"{report.seconds:7.1f} s  {'FAILED' if report.failures else 'passed'}  {report.part or report.stage}", flush=True)
    for what, why in report.failures:
        print(f"\nFAILED {what}\n" + "\n".join("    " + line for line in why.splitlines()) + "\n", flush=True)


def timed(job, *arguments):
    start = time.perf_counter()
    try:
        report = job(*arguments)
    except Exception:  # a notebook that is no JSON, a missing folder: the sum must come all the same
        report = Report(job.__name__, failures=[(job.__name__, traceback.format_exc())])
    report.seconds = time.perf_counter() - start
    show(report)
    return report


def jobs_to_do(slow, tutorials):
    """The longest job (pytest) first. The tutorials are left to `--slow`, and to `--tutorials`, which runs nothing else."""
    if tutorials:
        return [(notebook_runs, nb, slow) for nb in notebooks(TUTORIALS)]
    book = [nb for nb in notebooks() if slow or nb.parent != TUTORIALS]
    return [(tests_pass, slow)] + [(notebook_runs, nb, slow) for nb in book] + [(all_agree,), (outputs_are_stored,)]


def run_jobs(slow, tutorials):
    """One process a core; each report is shown as soon as it is there."""
    with ThreadPoolExecutor(max(1, os.cpu_count() or 1)) as pool:
        return list(pool.map(lambda job: timed(*job), jobs_to_do(slow, tutorials)))


def merge(reports):
    """One report a stage: those of the single notebooks are added up."""
    stages = {}
    for report in reports:
        stage = stages.setdefault(report.stage, Report(report.stage))
        stage.passed, stage.skipped = stage.passed + report.passed, stage.skipped + report.skipped
        stage.failures, stage.seconds = stage.failures + report.failures, stage.seconds + report.seconds
    if "notebooks" not in stages:
        stages["notebooks"] = Report("notebooks", failures=[("nbs", "there are no notebooks")])
    return list(stages.values())


def counts(passed, failed, skipped):
    return f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else "")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slow", action="store_true", help="also run cells and tests marked slow")
    parser.add_argument("--tutorials", action="store_true", help="run the tutorials, and nothing else")
    said = parser.parse_args()
    start = time.perf_counter()
    set_environment()
    stages = merge(run_jobs(said.slow, said.tutorials))
    print("\nstage             seconds  result")
    for stage in stages:
        print(f"{stage.stage:16s} {stage.seconds:8.1f}  {counts(stage.passed, len(stage.failures), stage.skipped)}")
    print(f"{'all':16s} {time.perf_counter() - start:8.1f}  (stages share the cores)")
    failed = [what for stage in stages for what, _ in stage.failures]
    if failed:
        print("failed: " + ", ".join(failed))
    print(counts(sum(s.passed for s in stages), len(failed), sum(s.skipped for s in stages)), flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
