"""Imports only point down, the public names are there, and the command line does not wait for torch."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import struthio as st

SOURCE = Path(st.__file__).parent
LEVELS = [  # each may import from its own and from those above it
    {"_version", "types", "rows", "describe", "checks", "failed", "listed", "put_back", "rays", "rooms", "shares"},
    {"threats", "losses", "gradients", "goals", "result", "meter", "models", "data", "zoo"},
    {"defenses", "detectors", "certify"},
    {"attacks"},
    {"train", "physical", "text", "rl"},
    {"audit"},
    {"report", "explain", "gauntlet"},
    {"cli", "studio", "papers", "testing", "__main__"},
]
APART = {"train", "physical", "text", "rl"}  # the domains, which do not import each other
LEVEL = {room: number for number, rooms in enumerate(LEVELS) for room in rooms}
FILES = sorted(path for path in SOURCE.rglob("*.py") if path != SOURCE / "__init__.py")


def room_of(path):
    return path.relative_to(SOURCE).with_suffix("").parts[0]


def imported(path):
    """The rooms of this package that a file imports anywhere, except for type checkers alone."""
    tree = ast.parse(path.read_text())
    blocks = [block for block in ast.walk(tree) if isinstance(block, ast.If)]
    quiet = {id(node) for block in blocks if "TYPE_CHECKING" in ast.dump(block.test) for node in ast.walk(block)}
    for node in ast.walk(tree):
        if id(node) in quiet:
            continue
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("struthio."):
            yield node.module.split(".")[1]
        elif isinstance(node, ast.ImportFrom) and node.module == "struthio":
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name.split(".")[1] for alias in node.names if alias.name.startswith("struthio."))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_point_down(path):
    here = room_of(path)
    for there in imported(path):
        beside = LEVEL[there] == LEVEL[here] and here not in APART
        assert there == here or LEVEL[there] < LEVEL[here] or beside, f"{here} imports {there}"


def test_public_names():
    assert sorted(st.__all__, key=str) == sorted(set(st.__all__), key=str)
    for name in st.__all__:
        assert getattr(st, name) is not None, name
    assert set(dir(st)) == set(st.__all__)
    assert set(st._HOME) | {"__version__"} == set(st.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        st.nonsense  # noqa: B018


def test_every_public_name_has_a_docstring():
    for name in set(st.__all__) - {"__version__"}:
        assert getattr(st, name).__doc__, name


def test_importing_the_package_does_not_import_torch():
    check = "import sys, struthio; assert 'torch' not in sys.modules; struthio.PGD; assert 'torch' in sys.modules"
    subprocess.run([sys.executable, "-c", check], check=True)


def test_the_public_suite_is_public():
    import struthio.testing

    assert all(getattr(struthio.testing, name).__doc__ for name in struthio.testing.__all__)
