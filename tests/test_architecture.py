"""The rules of the layout: who imports whom, how large a file or function may grow."""

import ast
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("data_pipeline", "bert_lightning")
FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
ENTRY_POINTS = {"prepare", "inspect_stream", "pretrain", "export", "fill_mask", "benchmark", "demo"}
LIGHTNING_USERS = {"rank_run", "modules", "datamodules", "metrics_log", "pretrain", "strategies"}


def imported(path: Path) -> set[str]:
    """Dotted names of all modules a file imports."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def roots(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imported(path)}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_follow_the_rules(path: Path) -> None:
    used = roots(path)
    if path.is_relative_to(ROOT / "data_pipeline"):
        assert not used & {"bert_lightning", "lightning", "hydra", "omegaconf", "wandb", "transformers"}
    elif "benchmarks" not in path.parts:
        assert "transformers" not in used, (
            "the exports are written without transformers; it is the reference of tests and benchmarks"
        )
    is_callback = "callbacks" in path.parts
    if "lightning" in used:
        assert path.stem in LIGHTNING_USERS or is_callback
    if used & {"hydra", "omegaconf"}:
        assert path.stem in ENTRY_POINTS | {"config", "cli", "run_plan", "setting_types"}


RUNS_CODE = {"pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "runpy", "code", "codeop"}
STARTS_PROGRAMS = {"storage": "what the user wrote after pipe:", "demo_corpus": "pip", "cluster_executors": "SLURM"}


@pytest.mark.parametrize("path", [path for path in FILES if "data_pipeline" in path.parts], ids=lambda path: path.stem)
def test_nothing_the_pipeline_reads_can_run(path: Path) -> None:
    """No unpickling, no evaluation, nothing of webdataset but its writer; programs only where the table says so."""
    assert not roots(path) & RUNS_CODE
    assert "subprocess" not in roots(path) or path.stem in STARTS_PROGRAMS
    assert {name for name in imported(path) if name.startswith("webdataset")} <= {"webdataset.writer.TarWriter"}
    for call in (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)):
        name = ast.unparse(call.func)
        keywords = {word.arg: ast.unparse(word.value) for word in call.keywords}
        assert name not in {"eval", "exec", "compile", "__import__"}, name
        assert not name.startswith(("os.system", "os.popen", "os.exec", "os.spawn", "torch.load")), name
        assert not name.endswith(("read_pickle", "to_pickle")), name
        assert keywords.get("shell", "False") == "False", name
        assert name not in {"np.load", "np.save"} or keywords["allow_pickle"] == "False", name


def test_nothing_imports_in_a_circle() -> None:
    modules = {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in FILES}
    edges = {
        name: {m for used in imported(path) for m in (used, used.rpartition(".")[0]) if m in modules and m != name}
        for name, path in modules.items()
    }
    done: set[str] = set()

    def visit(name: str, above: tuple[str, ...]) -> None:
        assert name not in above, " -> ".join((*above, name))
        if name not in done:
            for used in edges[name]:
                visit(used, (*above, name))
            done.add(name)

    for name in modules:
        visit(name, ())


def test_module_names_are_unique() -> None:
    names = Counter(path.stem for path in FILES if path.stem != "__init__")
    assert [name for name, count in names.items() if count > 1] == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_stay_small_and_public_names_are_documented(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= 300
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno - node.lineno < 60, f"{node.name} has {node.end_lineno - node.lineno + 1} lines"
            assert node.returns is not None, f"{node.name} does not say what it returns"


def test_there_is_no_room_for_leftovers() -> None:
    assert not {path.stem for path in FILES} & {"utils", "util", "helpers", "common", "misc"}
