"""The rules of the house that neither ruff nor the import contracts of pyproject.toml can say."""

import ast
import inspect
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.checkout import ROOT

PACKAGES = ("data_pipeline", "bert_lightning")
FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
FOLDERS = sorted({path.parent for path in (*FILES, *(ROOT / "tests").rglob("*.py"))})
PAGES = sorted((ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")))
LINES = sorted((*FILES, *(ROOT / "tests").rglob("*.py"), *(ROOT / "conf").rglob("*.yaml"), *PAGES))
MOST_ENTRIES = {"bert_lightning": 31, "data_pipeline": 14, "tests": 25}
LEFTOVERS = {"utils", "util", "helpers", "common", "misc"}

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def called(path: Path) -> Iterator[tuple[str, dict[str | None, str]]]:
    """Name and keyword arguments of every call in a file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), {word.arg: ast.unparse(word.value) for word in node.keywords}


@pytest.mark.parametrize("path", [path for path in FILES if "data_pipeline" in path.parts], ids=name_of)
def test_nothing_the_pipeline_reads_can_run(path: Path) -> None:
    """No evaluation, no pickled arrays, no shell, and nothing of webdataset but its writer."""
    assert set(re.findall(r"(?:from|import) (webdataset[\w.]*)", path.read_text())) <= {"webdataset.writer"}
    for name, keywords in called(path):
        assert name not in {"eval", "exec", "compile", "__import__"}, name
        assert not name.startswith(("os.system", "os.popen", "os.exec", "os.spawn", "torch.load")), name
        assert not name.endswith(("read_pickle", "to_pickle")), name
        assert keywords.get("shell", "False") == "False", name
        assert name not in {"np.load", "np.save"} or keywords["allow_pickle"] == "False", name


def test_module_names_are_unique() -> None:
    names = Counter(path.stem for path in FILES if path.stem != "__init__")
    assert [name for name, count in names.items() if count > 1] == []
    assert not set(names) & LEFTOVERS


def test_tests_share_code_in_support_or_in_their_room() -> None:
    """A test file imports no other test file and nothing of another room; one module knows where the checkout lies."""
    for path in (ROOT / "tests").rglob("*.py"):
        shared = re.findall(r"^ *from tests\.([\w.]+) import", path.read_text(), re.MULTILINE)
        room = ".".join(path.parent.relative_to(ROOT / "tests").parts)
        allowed = re.compile(rf"support\.\w+|{room}\.(?!test_)\w+|[\w.]*\b{path.stem}")
        assert not [name for name in shared if not allowed.fullmatch(name)], path
    holders = [path for path in (ROOT / "tests").rglob("*.py") if re.search(r"= Path\(__file__\)", path.read_text())]
    assert list(map(name_of, holders)) == ["tests/support/checkout.py"]


@pytest.mark.parametrize("folder", FOLDERS, ids=name_of)
def test_a_folder_is_seen_at_a_glance(folder: Path) -> None:
    entries = [entry.name for entry in folder.iterdir() if entry.name not in {"__init__.py", "__pycache__"}]
    assert len(entries) <= MOST_ENTRIES.get(name_of(folder), 25), sorted(entries)


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_files_and_functions_stay_small(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= 300
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno - node.lineno < 60, f"{node.name} has {node.end_lineno - node.lineno + 1} lines"
            assert node.returns is not None, f"{node.name} does not say what it returns"


@pytest.mark.parametrize("path", LINES, ids=name_of)
def test_lines_have_at_most_120_characters(path: Path) -> None:
    """A row of a table in a page of the documentation cannot be broken."""
    lines = path.read_text().splitlines()
    assert [line for line in lines if len(line) > 120 and not (path in PAGES and line.startswith("|"))] == []


def public(tree: ast.Module | ast.ClassDef, prefix: str = "") -> Iterator[tuple[str, Definition]]:
    """Public classes, functions and methods with their dotted names."""
    for node in tree.body:
        if isinstance(node, Definition) and not node.name.startswith("_"):
            yield prefix + node.name, node
            if isinstance(node, ast.ClassDef):
                yield from public(node, f"{prefix}{node.name}.")


def documented_arguments(docstring: str) -> list[str]:
    """Names in the Args section of a Google-style docstring; [] if it has none."""
    section = re.search(r"^Args:\n((?:[ ]{4}.*\n?|\n)*)", inspect.cleandoc(docstring), re.MULTILINE)
    return re.findall(r"^ {4}\*{0,2}(\w+):", section[1], re.MULTILINE) if section else []


def parameters(node: Definition, classes: dict[str, ast.ClassDef]) -> list[str]:
    """Parameters a caller fills in: of a class those of its constructor, or its fields if it is a dataclass."""
    if isinstance(node, ast.ClassDef):
        constructors = [item for item in node.body if isinstance(item, ast.FunctionDef) and item.name == "__init__"]
        if constructors:
            return parameters(constructors[0], classes)
        bases = [classes[name] for name in map(ast.unparse, node.bases) if name in classes]
        fields = [item for item in node.body if isinstance(item, ast.AnnAssign)]
        own = [item.target.id for item in fields if not ast.unparse(item.annotation).startswith("ClassVar")]
        return [name for base in bases for name in parameters(base, classes)] + own
    arguments = node.args
    named = [*arguments.posonlyargs, *arguments.args, arguments.vararg, *arguments.kwonlyargs, arguments.kwarg]
    return [argument.arg for argument in named if argument and argument.arg not in {"self", "cls"}]


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_public_names_are_documented(path: Path) -> None:
    """Every module, class, function and method has a docstring, and its Args are the parameters, in their order."""
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree), "the module has no docstring"
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    for name, node in public(tree):
        docstring = ast.get_docstring(node)
        assert docstring, f"{name} has no docstring"
        described = documented_arguments(docstring)
        assert described in ([], parameters(node, classes)), f"{name}: Args are {described}"
