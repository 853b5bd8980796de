"""The house: which room of labutils may import which, through which door, and that each room is small and explained."""

import ast
import importlib
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LABUTILS = ROOT / "labutils"
# The core, in the order in which it is read: a file imports only what stands before it.
CORE = ("errors config images metrics dataset modules model checkpoint schedules optim distributed batches evaluation "
        "training").split()  # fmt: skip
# Single files beside the core, and what they import.
BESIDE = {
    "rules": {"errors"},
    "contents": {"errors", "rules", "files"},
    "history": {"errors", "files"},
    "machine": set(),
    "files": {"errors", "machine"},
    "pictures": {"errors", "files"},
    "signals": set(),
    "foreign": {"errors"},
    "alone": {"errors"},
    "memory": {"errors", "machine", "config", "model", "batches", "training"},
    "profiles": {"errors", "config"},
    "baselines": {"errors", "images", "metrics"},
    "report": {"errors", "files", "images", "metrics", "baselines"},
    "analysis": {"errors", "images", "metrics", "modules", "model", "evaluation"},
    "flop": set(),
    "submission": {"errors", "files"},
    "equations": {"errors"},
    "places": set(),
}
LOW = {*CORE, *BESIDE}
# What each room may import.  Nobody imports teach and bench: __main__ finds them by name, where they are there.
MAY = {name: set(CORE[:k]) for k, name in enumerate(CORE)} | BESIDE
MAY["evaluation"] |= {"baselines", "report"}
MAY["config"] |= {"rules"}
MAY["dataset"] |= {"files", "pictures"}
MAY["checkpoint"] |= {"contents", "history"}
MAY["training"] |= {"alone", "contents", "files", "signals"}
MAY |= {
    "__init__": {"errors", "config"},
    "show": {"errors", "config", "files", "images", "metrics", "schedules", "baselines"},
    "dance": {"errors", "rules", "machine", "alone", "files", "images", "pictures", "metrics", "dataset", "baselines"},
    "checks": LOW,
    "widgets": LOW | {"show", "dance"},
    "lab": LOW | {"show", "dance", "checks"},
    "commands": LOW | {"show", "dance", "widgets"},
    "handin": LOW | {"show", "widgets", "lab"},
    "doctor": LOW,
    "__main__": {"errors", "signals", "foreign"},
    "teach": LOW | {"show", "dance", "checks", "widgets", "lab", "commands"},
    "bench": LOW | {"show", "dance", "checks", "widgets", "lab", "commands", "__main__"},
}
MOST_LINES = 2200  # of the core

FILES = {path.relative_to(LABUTILS).as_posix(): ast.parse(path.read_text()) for path in sorted(LABUTILS.rglob("*.py"))}
PACKAGES = {name.split("/")[0] for name in FILES if "/" in name}


def room(file: str) -> str:
    return file.split("/")[0].removesuffix(".py")


def walk(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those under `if TYPE_CHECKING:`."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        yield node
        yield from walk(node)


def imports(tree: ast.AST) -> Iterator[tuple[str, str, str]]:
    """(module, name, what it is called here) for each import from labutils; a room as a whole has no module:
    `from labutils import show` and `import labutils.show` give ("", "show", …)."""
    for node in walk(tree):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: write imports in full"
            if (node.module or "").split(".")[0] == "labutils":
                for alias in node.names:
                    yield node.module.partition(".")[2], alias.name, alias.asname or alias.name
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.startswith("labutils."):
                    package, _, name = alias.name.removeprefix("labutils.").rpartition(".")
                    yield package, name, alias.asname or ""


def rooms_of(file: str) -> set[str]:
    """The other rooms that a file imports."""
    found = {(module or name).split(".")[0] for module, name, _ in imports(FILES[file])}
    return (found & MAY.keys()) - {room(file)}


def test_each_file_has_a_room_and_rooms_import_only_what_they_may():
    assert {room(file) for file in FILES} <= MAY.keys()
    wrong = {file: sorted(rooms_of(file) - MAY[room(file)]) for file in FILES}
    assert not {file: names for file, names in wrong.items() if names}
    list(TopologicalSorter(MAY).static_order())  # the table itself holds no circle


@pytest.mark.parametrize("package", sorted(PACKAGES))
def test_files_of_a_package_form_no_circle(package):
    graph = {}
    for file, tree in FILES.items():
        if room(file) == package:
            inside = [f"{module}.{name}" for module, name, _ in imports(tree) if module.startswith(package)]
            names = {path.split(".")[1] for path in inside}
            graph[file] = {f"{package}/{name}.py" for name in names} & FILES.keys()
            if any(module == package and f"{package}/{name}.py" not in FILES for module, name, _ in imports(tree)):
                graph[file].add(f"{package}/__init__.py")
    list(TopologicalSorter(graph).static_order())


def test_a_package_is_entered_by_its_door():
    """Others name only what stands in `__all__` of its `__init__.py`."""
    wrong = []
    for file, tree in FILES.items():
        for module, name, here in imports(tree):
            package = (module or name).split(".")[0]
            if package not in PACKAGES or package == room(file):
                continue
            door = getattr(importlib.import_module(f"labutils.{package}"), "__all__", [])
            if not module:
                used = [n for n in walk(tree) if isinstance(n, ast.Attribute) and ast.unparse(n.value) == here]
                wrong += [f"{file}: {here}.{n.attr}" for n in used if n.attr not in door]
            elif module != package or name not in door:
                wrong.append(f"{file}: from labutils.{module} import {name}")
    assert not wrong, "\n".join(wrong)


ANYWIDGET = {"_esm", "_css"}  # what a widget calls its script and its styles, by anywidget's convention


def private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def defined(tree: ast.AST) -> set[str]:
    """The names with an underscore that a file makes: functions, classes, variables, attributes."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            found.add(node.name)
        elif isinstance(node, (ast.Name, ast.Attribute)) and isinstance(node.ctx, ast.Store):
            found.add(node.id if isinstance(node, ast.Name) else node.attr)
    return set(filter(private, found))


def test_names_with_an_underscore_stay_in_their_file():
    own = {file: defined(tree) for file, tree in FILES.items()}
    wrong = []
    for file, tree in FILES.items():
        wrong += [f"{file}: import {name}" for _, name, _ in imports(tree) if private(name)]
        elsewhere = set().union(*(names for other, names in own.items() if other != file)) - own[file]
        used = (node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute))
        wrong += [f"{file}: .{attr}" for attr in used if attr in elsewhere and attr not in ANYWIDGET]
    assert not wrong, "\n".join(wrong)


def test_the_core_is_small():
    lines = {file: len((LABUTILS / file).read_text().splitlines()) for file in FILES if room(file) in CORE}
    assert sum(lines.values()) <= MOST_LINES, lines


def test_each_file_and_each_public_name_of_the_core_is_explained():
    missing = []
    for file, tree in FILES.items():
        if not ast.get_docstring(tree):
            missing.append(file)
        if room(file) not in CORE:
            continue
        classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
        for owner in [tree, *classes]:
            for node in owner.body:
                if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
                    explained = ast.get_docstring(node) or node.name == "forward"  # told by the class
                    missing += [] if explained else [f"{file}: {node.name}"]
    assert not missing, "\n".join(missing)


def test_readme_links_each_room():
    linked = set(re.findall(r"\(labutils/(\w+)", (ROOT / "README.md").read_text()))
    assert {room(file) for file in FILES} - {"__init__", "__main__"} <= linked


def test_what_starts_at_once_does_without_torch_and_pyplot():
    code = (
        "import sys, labutils.dance; assert 'matplotlib' not in sys.modules\n"  # as in processes that render
        "import labutils.dataset, labutils.metrics, labutils.widgets, labutils.__main__\n"
        "from labutils import commands, show\nshow.beta_over_iterations({'a': [0, 1]})._repr_png_()\n"
        "assert not {'torch', 'matplotlib.pyplot'} & sys.modules.keys()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, cwd=ROOT)
    assert done.returncode == 0, done.stderr
