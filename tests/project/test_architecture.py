"""The checks that hold the code together, run as a person would run them."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = sorted((ROOT / "automatch").rglob("*.py"))
BENCHMARKS = sorted((ROOT / "benchmarks").glob("*.py"))

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60


def run(*command: str) -> None:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"


def tool(name: str) -> str:
    return str(Path(sys.executable).parent / name)


def test_imports_keep_their_direction() -> None:
    run(tool("lint-imports"), "--no-logo", "--no-cache")


def test_ruff_has_nothing_to_say() -> None:
    run(tool("ruff"), "check", ".")


def test_types_are_strict() -> None:
    run(tool("mypy"))


def test_files_are_short() -> None:
    lengths = {str(p.relative_to(ROOT)): len(p.read_text(encoding="utf-8").splitlines()) for p in PACKAGE + BENCHMARKS}
    assert not {name: lines for name, lines in lengths.items() if lines > MAX_FILE_LINES}


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node


def code_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines from `def` to the end, the docstring not counted."""
    assert function.end_lineno is not None
    lines = function.end_lineno - function.lineno + 1
    first = function.body[0]
    if ast.get_docstring(function) is not None and first.end_lineno is not None:
        lines -= first.end_lineno - first.lineno + 1
    return lines


def test_functions_are_short() -> None:
    long = {
        f"{path.relative_to(ROOT)}:{function.name}": code_lines(function)
        for path in PACKAGE + BENCHMARKS
        for function in functions(path)
        if code_lines(function) > MAX_FUNCTION_LINES
    }
    assert not long


@pytest.mark.parametrize("folder", sorted({p.parent for p in PACKAGE}), ids=lambda p: str(p.relative_to(ROOT)))
def test_every_folder_says_what_it_is(folder: Path) -> None:
    assert ast.get_docstring(ast.parse((folder / "__init__.py").read_text(encoding="utf-8")))


def plural_folders() -> list[Path]:
    names = {"formats", "causes", "dialects", "ops", "writers"}
    return sorted(p for p in (ROOT / "automatch").rglob("*") if p.is_dir() and p.name in names)


@pytest.mark.parametrize("folder", plural_folders(), ids=lambda p: str(p.relative_to(ROOT)))
def test_siblings_are_listed_and_kept_apart(folder: Path) -> None:
    """Each file of a plural folder is named in its `__init__`, and a contract keeps them strangers."""
    init = (folder / "__init__.py").read_text(encoding="utf-8")
    imported = {
        alias.name
        for node in ast.walk(ast.parse(init))
        if isinstance(node, ast.ImportFrom)
        for alias in [*node.names, ast.alias((node.module or "").rsplit(".", 1)[-1])]
    }
    siblings = {p.stem for p in folder.glob("*.py") if p.stem != "__init__"}
    assert not siblings - imported
    module = ".".join(folder.relative_to(ROOT).parts)
    assert f'"{module}.*"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
