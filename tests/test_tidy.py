"""The house style, as far as a machine can hold it."""

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILE_LINES_MAX = 450
FUNCTION_LINES_MAX = 70
# Words that name nothing, wherever they stand in a name.
HOLLOW = frozenset({"util", "utils", "helper", "helpers", "manager", "managers", "impl", "misc", "common"})
# Words that say nothing as a whole name.
BARE = frozenset({"data", "info", "process", "handle", "stuff", "thing", "things"})
# Put together here so that this file does not hold them itself.
HOSTS = ("pypi" + ".org", "python" + "hosted.org", "npm" + "js.org", "docker" + ".io", "gh" + "cr.io", "crates" + ".io")
LEFT_OVER = re.compile("TO" + "DO|FIX" + "ME|X" + "XX")
MACHINE_PATH = re.compile(r"(?<![\w.~$}-])/(?:work|root|home/\w+|Users/\w+|tmp/\w+)/")


def tracked() -> list[Path]:
    """What git keeps or would keep, texts only."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    paths = [ROOT / name for name in listed.stdout.split("\0") if name]
    return sorted(path for path in paths if path.is_file() and path.suffix not in {".png", ".gif", ".svg", ".lock"})


def sources() -> list[Path]:
    return [path for path in tracked() if path.suffix == ".py"]


def shown(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def words(name: str) -> list[str]:
    """The words of a name, in either spelling."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower().strip("_").split("_")


def named(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """What a module gives names to: modules' own functions, classes, parameters and variables."""
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                yield node.name, node.lineno
            case ast.arg():
                yield node.arg, node.lineno
            case ast.Name(ctx=ast.Store()):
                yield node.id, node.lineno


def test_files_hold_one_idea() -> None:
    lengths = {shown(path): len(path.read_text("utf-8").splitlines()) for path in sources()}
    assert not {path: length for path, length in lengths.items() if length > FILE_LINES_MAX}


def test_functions_stay_short() -> None:
    long = [
        f"{shown(path)}:{node.lineno} {node.name}"
        for path in sources()
        for node in ast.walk(ast.parse(path.read_bytes()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or node.lineno) - node.lineno >= FUNCTION_LINES_MAX
    ]
    assert not long


def test_names_say_something() -> None:
    hollow = [
        f"{shown(path)}:{line} {name}"
        for path in sources()
        for name, line in [(path.stem, 1), (path.parent.name, 1), *named(ast.parse(path.read_bytes()))]
        if HOLLOW & set(words(name))
    ]
    assert not hollow


def test_modules_functions_and_classes_are_not_called_by_bare_words() -> None:
    bare = [
        f"{shown(path)}:{node.lineno} {node.name}"
        for path in sources()
        for node in ast.walk(ast.parse(path.read_bytes()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and node.name.lower() in BARE
    ]
    assert not bare + [shown(path) for path in sources() if path.stem in BARE]


def test_nothing_is_left_for_later() -> None:
    assert not [hit for path in tracked() for hit in lines_with(path, LEFT_OVER)]


def test_no_file_names_a_registry_or_a_place_on_somebodys_machine() -> None:
    places = re.compile("|".join([*map(re.escape, HOSTS), MACHINE_PATH.pattern]))
    assert not [hit for path in tracked() for hit in lines_with(path, places)]


def lines_with(path: Path, pattern: re.Pattern[str]) -> Iterator[str]:
    for number, line in enumerate(path.read_text("utf-8", "replace").splitlines(), 1):
        if pattern.search(line):
            yield f"{shown(path)}:{number} {line.strip()[:80]}"


def test_every_path_that_the_architecture_names_exists() -> None:
    page = ROOT / "ARCHITECTURE.md"
    if not page.exists():
        pytest.skip("there is no ARCHITECTURE.md yet")
    names = re.findall(r"`([\w./-]+(?:/|\.(?:py|md|toml|txt|sql|yaml)))`", page.read_text("utf-8"))
    roots = (ROOT, ROOT / "src" / "understudy")
    assert not [name for name in names if not any((root / name).exists() for root in roots)]
