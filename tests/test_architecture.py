"""The architecture document: what may import what, and what no file may contain.

``LAYERS`` is read from top to bottom. A module imports, at module level or inside a function, only
modules that stand above it; modules that share an entry are one package and may import each other.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "raytune_suite"

LAYERS = (
    # words: what everything else speaks in
    "errors",
    "states",
    "nearest",  # "did you mean"
    "seeds",
    "durable",
    # a study, declared and checked
    "expression",
    "resolve",  # module:attribute
    "remote",
    "space",
    "study",
    # what is remembered, and what follows from it
    "jsonline",
    "folderlock",
    "journal",
    "metrics",
    "usage",  # where the time of slots and GPUs went
    "record",
    "checksums",
    "lineage",  # where weights come from
    "checkpoints",
    "mirror",
    "lease",
    "copies",
    "pace",  # how quickly trials went by the clock
    "trend",  # of curves over the space
    "likeness",  # a curve against the recorded one
    # who decides
    "search",
    "warmstart",  # what other experiments give to a searcher
    "schedulers",
    "stoppers",
    # what the decisions run on
    "hardware",
    "nvml",  # what the driver tells of a GPU
    "sharing",  # before a trial computes on its part of one
    "nodes",
    "nvml",  # what the driver tells of a GPU
    "sharing",  # before a trial computes on its part of one
    "shares",  # of a GPU, by memory
    "resources",
    "packing",  # trials of different sizes
    "environment",
    "plan",
    "slots",
    # the user's code and what hosts it: knows nothing of the driver
    "trainable",
    "tune_trainable",  # ours as a ray.tune.Trainable
    "watchdog",
    "judging",  # where decisions about a trial may fall
    "hosts",
    "repeats",  # several in one
    "trialerror",
    "worker",
    "standalone",  # in a child process, without a cluster
    "preflight",
    "memory",  # of a GPU: forecast, calibrated
    "retraining",
    # what is shown of a study, while it runs and after: reads events, never live objects
    "hparams",
    "eventfiles",
    "occupation",  # slots and GPUs over time
    "board",
    "tensorboard",
    "formats",
    "tally",
    "liveview",
    "foreseen",  # of a study, before it ran
    "closing",
    "progress",
    "analysis",
    "certainty",  # which of several is the best
    "verdict",
    "proposal",  # why a trial, in words
    "tables",
    "viewer",
    "importance",
    "plots",
    "report",
    # the only part that starts Ray
    "authentication",
    "ray_runtime",
    "failures",
    "hostmemory",  # kills by the kernel
    "silence",
    "live",
    "firstfailures",
    "density",  # how many trials a GPU takes best
    "ladder",  # what a trial is given that ran out of memory
    "driver",
    "retention",
    "tape",
    "recall",
    "restore",
    "replay",
    "controller",
    "engine",  # what runs below Tune's controller
    "adapters",
    "asking",  # what each trial asks Ray for
    "callbacks",  # what Tune calls
    "logfile",
    "recorded",  # trials played after earlier ones
    "simulate",  # a study in virtual time
    "final",
    "opening",
    "signals",
    "reproduction",
    "runner",
    "longer",
    "resuming",
    "probing",  # the first trials, before the rest is foreseen
    "confirmation",
    # clusters
    "dashboard",
    "upload",
    "jobs",
    # the doors
    "testing",
    "cli",
    "__main__",
    "__init__",
)

NEEDS_RAY = {
    *("schedulers.fifo", "schedulers.foreign", "schedulers.onray", "search.foreign"),  # what Ray ships
    *("nodes", "tune_trainable", "hosts", "worker", "standalone"),  # what runs on it
    *("ray_runtime", "failures", "adapters", "callbacks", "final", "runner", "probing", "resuming"),  # what starts it
    *("engine.workers", "engine.pool", "engine.seam", "engine.residence", "engine.lean", "engine.running"),
    *("dashboard", "jobs"),
}

HEAVY = {"ray", "torch", "bayes_opt", "pandas", "plotly", "optuna", "sklearn", "scipy"}
LIGHT = {
    "errors",
    "states",
    "expression",
    "resolve",
    "space",
    "study",
    "journal",
    "record",
    "stoppers",
    "cli",
    "__init__",
}
PICKLES = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}
VAGUE = {"utils", "util", "helpers", "helper", "common", "misc", "manager"}


def name_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


def layer_of(module: str) -> str | None:
    """The most specific entry that covers ``module``: itself, or the package it lies in."""
    while module:
        if module in LAYERS:
            return module
        module = module.rpartition(".")[0]
    return None


FILES = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py")) if "templates" not in path.parts}
TREES = {name: ast.parse(path.read_text()) for name, path in FILES.items()}


def imports(tree: ast.AST, inside: str) -> Iterator[str]:
    """Every module a tree imports, as absolute dotted names; ``from a import b`` also yields ``a.b``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            assert node.level == 0, f"{inside}: relative import"
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def top_level(tree: ast.Module) -> ast.Module:
    """The statements that run at import: no function bodies, no ``if TYPE_CHECKING``."""

    class Prune(ast.NodeTransformer):
        def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
            return None

        visit_AsyncFunctionDef = visit_Lambda = visit_FunctionDef  # type: ignore[assignment]

        def visit_If(self, node: ast.If) -> ast.AST | None:
            typing_only = isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
            return None if typing_only else self.generic_visit(node)

    return Prune().visit(ast.parse(ast.unparse(tree)))


def ours(name: str) -> str | None:
    """``raytune_suite.space.Float`` -> the module ``space``; None for a package that is not ours."""
    if name.split(".")[0] != "raytune_suite":
        return None
    module = name.removeprefix("raytune_suite").lstrip(".")
    while module and module not in FILES:
        module = module.rpartition(".")[0]
    return module or None


def test_every_module_has_its_place_in_the_list() -> None:
    homeless = [name for name in FILES if layer_of(name) is None]
    assert not homeless, f"put these into LAYERS: {homeless}"


@pytest.mark.parametrize("module", sorted(FILES))
def test_a_module_imports_only_what_stands_above_it(module: str) -> None:
    place = layer_of(module)
    assert place is not None
    allowed = set(LAYERS[: LAYERS.index(place)]) | {place}
    wrong = {
        target for name in imports(TREES[module], module) if (target := ours(name)) and layer_of(target) not in allowed
    }
    assert not wrong, f"{module} (layer {place!r}) imports {sorted(wrong)}, which stand below it"


@pytest.mark.parametrize("module", sorted(FILES))
def test_only_the_layers_that_need_ray_name_it(module: str) -> None:
    if not any(f"{module}.".startswith(f"{name}.") for name in NEEDS_RAY):
        assert "ray" not in {name.split(".")[0] for name in imports(TREES[module], module)}


@pytest.mark.parametrize("module", sorted(FILES))
def test_light_modules_import_nothing_heavy_when_they_are_imported(module: str) -> None:
    if layer_of(module) in LIGHT:
        heavy = {name.split(".")[0] for name in imports(top_level(TREES[module]), module)} & HEAVY
        assert not heavy, f"{module} imports {sorted(heavy)} at module level"


@pytest.mark.parametrize("module", sorted(FILES))
def test_a_file_fits_in_400_lines_and_has_a_telling_name(module: str) -> None:
    assert len(FILES[module].read_text().splitlines()) <= 400
    assert not VAGUE & set(module.split("."))


@pytest.mark.parametrize("module", sorted(FILES))
def test_a_function_fits_on_a_screen(module: str) -> None:
    functions = [node for node in ast.walk(TREES[module]) if isinstance(node, ast.FunctionDef)]
    assert not [f.name for f in functions if (f.end_lineno or 0) - f.lineno >= 50]


def dotted(node: ast.AST) -> str:
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def keyword(call: ast.Call, name: str) -> ast.expr | None:
    return next((k.value for k in call.keywords if k.arg == name), None)


def safe_loaders(tree: ast.AST) -> set[str]:
    """Names of the YAML loaders a file may use: the safe ones and its own subclasses of them."""
    safe = {"yaml.SafeLoader", "yaml.CSafeLoader", "SafeLoader", "CSafeLoader"}
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and any(dotted(base) in safe for base in node.bases):
            safe.add(node.name)
    return safe


def dangers(tree: ast.AST) -> Iterator[str]:
    """One line for everything in ``tree`` that may not be there, with its line number."""
    loaders = safe_loaders(tree)
    for node in ast.walk(tree):
        line = getattr(node, "lineno", 0)
        if isinstance(node, ast.Assert):
            yield f"{line}: assert"
        elif isinstance(node, ast.Call):
            yield from (f"{line}: {what}" for what in dangers_of_call(node, loaders))
        elif isinstance(node, ast.Name) and node.id == "NotImplementedError":
            yield f"{line}: NotImplementedError"
    if found := {name for name in imports(tree, "") if name.split(".")[0] in PICKLES}:
        yield f"imports {sorted(found)}"


def dangers_of_call(call: ast.Call, loaders: set[str]) -> Iterator[str]:
    name = dotted(call.func)
    if name in ("eval", "exec", "compile", "__import__"):
        yield f"{name}()"
    if name == "torch.load":
        weights_only = keyword(call, "weights_only")
        if not (isinstance(weights_only, ast.Constant) and weights_only.value is True):
            yield "torch.load without weights_only=True"
    if name in ("yaml.load", "yaml.load_all"):
        loader = keyword(call, "Loader") or (call.args[1] if len(call.args) > 1 else None)
        if loader is None or dotted(loader) not in loaders:
            yield f"{name} without a safe loader"
    if name in ("yaml.unsafe_load", "yaml.full_load", "yaml.unsafe_load_all", "yaml.full_load_all"):
        yield name
    shell = keyword(call, "shell")
    if name.startswith("subprocess.") and isinstance(shell, ast.Constant) and shell.value:
        yield "subprocess with shell=True"


@pytest.mark.parametrize("path", [*FILES.values(), *sorted((ROOT / "trainables").glob("*.py"))], ids=str)
def test_a_file_holds_nothing_dangerous(path: Path) -> None:
    assert not list(dangers(ast.parse(path.read_text())))


@pytest.mark.parametrize(
    "source",
    [
        "assert x",
        "import pickle",
        "from joblib import load",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "yaml.load(text)",
        "yaml.load(text, Loader=yaml.Loader)",
        "class L(yaml.Loader): pass\nyaml.load(text, L)",
        "eval('1')",
        "raise NotImplementedError",
        "subprocess.run(x, shell=True)",
    ],
)
def test_the_search_for_dangers_finds(source: str) -> None:
    assert list(dangers(ast.parse(source)))


@pytest.mark.parametrize(
    "source",
    [
        "model.eval()",
        "re.compile('x')",
        "torch.load(path, weights_only=True)",
        "class L(yaml.SafeLoader): pass\nyaml.load(text, Loader=L)",
    ],
)
def test_the_search_for_dangers_lets_pass(source: str) -> None:
    assert not list(dangers(ast.parse(source)))


@pytest.mark.parametrize("path", sorted((ROOT / "trainables").glob("*.py")), ids=lambda path: path.name)
def test_a_model_to_copy_never_mentions_ray_and_is_short(path: Path) -> None:
    names = {name.split(".")[0] for name in imports(ast.parse(path.read_text()), path.name)}
    assert "ray" not in names
    assert len(path.read_text().splitlines()) < 150


def test_no_file_is_left_unfinished() -> None:
    words = ("TO" + "DO", "FIX" + "ME", "XX" + "X:")
    left = {
        f"{path.relative_to(ROOT)}: {word}"
        for folder in ("raytune_suite", "trainables", "benchmarks", "tools", "docs", "studies")
        for path in (ROOT / folder).rglob("*")
        if path.suffix in {".py", ".md", ".yaml"}
        for word in words
        if word in path.read_text()
    }
    assert not left


@pytest.mark.parametrize(
    "module", ["raytune_suite", "raytune_suite.trainable", "raytune_suite.study", "raytune_suite.cli"]
)
def test_importing_it_brings_in_neither_ray_nor_more_than_it_needs(module: str) -> None:
    allowed = {"torch"} if module.endswith("trainable") else set()
    probe = f"import sys, {module}; print(*sorted({HEAVY!r} & set(sys.modules)))"
    shown = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True).stdout
    assert set(shown.split()) <= allowed


def test_a_public_name_is_never_hidden_by_a_module_of_the_same_name() -> None:
    import raytune_suite

    assert not set(raytune_suite.__all__) & set(FILES)
