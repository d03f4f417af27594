"""The house rules that can be counted: sizes of files and functions, maps of rooms, names of tests."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "zocalo_daemon"

LONGEST_FILE = 300
LONGEST_FUNCTION = 40
USUAL_FUNCTION = 25  # lines, for nine in ten
LONGEST_MAP = 20

# Broken only with a reason, and each of these must still be needed.
LONG_FILES = {
    "brokers/memory.py": "the semantics of a broker, to be read in one piece",
}
LONG_FUNCTIONS: dict[str, str] = {}


def modules() -> list[str]:
    return sorted(str(path.relative_to(PACKAGE)) for path in PACKAGE.rglob("*.py"))


def functions(node: ast.AST, within: str = "") -> Iterator[tuple[str, int]]:
    """Names of all functions below a node, and how many lines they have."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield within + child.name, (child.end_lineno or 0) - child.lineno + 1
        name = f"{within}{child.name}." if isinstance(child, ast.ClassDef | ast.FunctionDef) else within
        yield from functions(child, name)


def lengths() -> dict[str, int]:
    return {
        f"{module}:{name}": lines
        for module in modules()
        for name, lines in functions(ast.parse((PACKAGE / module).read_text()))
    }


def rooms() -> list[Path]:
    return sorted(path for path in PACKAGE.iterdir() if (path / "__init__.py").exists())


def test_files_fit_on_a_few_screens():
    long = {name for name in modules() if len((PACKAGE / name).read_text().splitlines()) > LONGEST_FILE}
    assert long == set(LONG_FILES)


def test_functions_fit_on_one_screen():
    assert {name for name, lines in lengths().items() if lines > LONGEST_FUNCTION} == set(LONG_FUNCTIONS)


def test_nine_in_ten_functions_are_short():
    lines = sorted(lengths().values())
    assert lines[len(lines) * 9 // 10] <= USUAL_FUNCTION


@pytest.mark.parametrize("room", rooms(), ids=lambda room: room.name)
def test_the_map_of_a_room_is_short_and_complete(room: Path):
    text = ast.get_docstring(ast.parse((room / "__init__.py").read_text()))
    assert text
    assert len(text.splitlines()) <= LONGEST_MAP
    words = set(text.replace(",", " ").replace("(", " ").replace(")", " ").replace(":", " ").split())
    files = {path.stem for path in room.glob("*.py")} - {"__init__"}
    assert files - words == set()


@pytest.mark.parametrize("name", ["utils", "util", "common", "misc"])
def test_no_module_for_what_has_no_place(name: str):
    assert [module for module in modules() if Path(module).stem == name] == []


def test_public_functions_and_modules_say_what_they_are():
    silent = []
    for module in modules():
        tree = ast.parse((PACKAGE / module).read_text())
        silent += [] if ast.get_docstring(tree) else [module]
        silent += [f"{module}:{name}" for name in undocumented(tree)]
    assert silent == []


def undocumented(node: ast.Module | ast.ClassDef) -> Iterator[str]:
    for child in node.body:
        if isinstance(child, ast.FunctionDef | ast.ClassDef) and not child.name.startswith("_"):
            if not ast.get_docstring(child) and not is_setter(child):
                yield child.name
            if isinstance(child, ast.ClassDef):
                yield from (f"{child.name}.{name}" for name in undocumented(child))


def is_setter(node: ast.FunctionDef | ast.ClassDef) -> bool:
    """Whether its property has the docstring."""
    return any(isinstance(one, ast.Attribute) and one.attr == "setter" for one in node.decorator_list)
