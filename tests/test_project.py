"""The project as a whole: what it needs, its commands, its files, its README."""

import ast
import os
import re
import shlex
import stat
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
ENVIRONMENT = yaml.safe_load((ROOT / "environment.yml").read_text())
LOCK = (ROOT / "requirements.lock").read_text().splitlines()
MODULES = sorted((ROOT / "labutils").rglob("*.py"))
PYTHONS = ("3.11", "3.12", "3.13")

CORE = {canonicalize_name(r.name): r for r in map(Requirement, PYPROJECT["dependencies"])}
DEV = {canonicalize_name(r.name): r for r in map(Requirement, PYPROJECT["optional-dependencies"]["dev"])}
GIVEN = {"torch", "torchvision", "jupyterlab", "ipywidgets", "matplotlib", "pillow", "imageio", "nbval"}


def readme() -> str:
    path = ROOT / "README.md"
    assert path.is_file(), "README.md is missing"
    return path.read_text()


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


# ---------------------------------------------------------------------------------------------------- what it needs


def conda_requirements() -> tuple[dict[str, SpecifierSet], dict[str, SpecifierSet]]:
    """environment.yml's packages from conda-forge, and those from pip; `-e .` is left out."""
    conda, pip = {}, {}
    for item in ENVIRONMENT["dependencies"]:
        if isinstance(item, str):
            name, specifier = re.fullmatch(r"([a-z0-9_-]+)(.*)", item).groups()
            conda[canonicalize_name(name)] = SpecifierSet(specifier)
        else:
            for line in item["pip"]:
                if line != "-e .":
                    pip[canonicalize_name(Requirement(line).name)] = Requirement(line).specifier
    return conda, pip


def test_environment_has_the_ranges_of_pyproject():
    conda, pip = conda_requirements()
    assert conda.pop("python") == SpecifierSet(PYPROJECT["requires-python"])
    conda.pop("pip")
    assert not conda.keys() & pip.keys()
    assert conda | pip == {name: r.specifier for name, r in CORE.items()}


def test_environment_takes_torch_from_pip_and_the_rest_from_conda_forge():
    conda, pip = conda_requirements()
    assert [c for c in ENVIRONMENT["channels"] if c != "nodefaults"] == ["conda-forge"]
    assert set(pip) == {"torch", "torchvision"}
    pip_section = next(item["pip"] for item in ENVIRONMENT["dependencies"] if isinstance(item, dict))
    assert "-e ." in pip_section  # Binder and conda users get labutils itself
    assert "pip" in conda


def test_given_packages_are_dependencies():
    assert GIVEN <= CORE.keys()


def test_lock_holds_names_and_exact_versions_only():
    assert LOCK
    for line in LOCK:
        assert re.fullmatch(r"[a-z0-9][a-z0-9-]*==[0-9][\w.+!]*( ; .+)?", line), line
        Requirement(line)  # the marker parses
    names = [Requirement(line).name for line in LOCK]
    assert names == sorted(names)


@pytest.mark.parametrize("system", ["linux", "darwin"])
@pytest.mark.parametrize("python", PYTHONS)
def test_lock_satisfies_pyproject(python, system):
    machine = {"linux": "x86_64", "darwin": "arm64"}[system]
    environment = dict(
        python_version=python, python_full_version=f"{python}.9", sys_platform=system, platform_machine=machine,
        os_name="posix", implementation_name="cpython", extra="",
    )  # fmt: skip
    chosen: dict[str, str] = {}
    for requirement in map(Requirement, LOCK):
        if requirement.marker is None or requirement.marker.evaluate(environment):
            assert requirement.name not in chosen, f"{requirement.name} is there twice for Python {python}"
            (specifier,) = requirement.specifier
            chosen[requirement.name] = specifier.version
    for name, wanted in (CORE | DEV).items():
        assert name in chosen, f"{name} is missing from requirements.lock"
        assert wanted.specifier.contains(chosen[name]), f"{name} {chosen[name]} is not in {wanted.specifier}"


@pytest.mark.parametrize("name", [*CORE, *DEV])
def test_what_is_installed_is_in_range(name):
    version = metadata.version(name)
    if name == "ipywidgets" and version == "8.1.9":
        pytest.skip("8.1.9 is excluded for VS Code only; everything else works with it")
    assert (CORE | DEV)[name].specifier.contains(version, prereleases=True)


def test_python_is_in_range():
    assert SpecifierSet(PYPROJECT["requires-python"]).contains(sys.version.split()[0])
    assert all(SpecifierSet(PYPROJECT["requires-python"]).contains(f"{python}.1") for python in PYTHONS)


# ------------------------------------------------------------------------------------------------------ its commands


def makefile_targets() -> dict[str, str]:
    """name -> help text of every target in the Makefile."""
    text = (ROOT / "Makefile").read_text()
    return {m[1]: m[2] for m in re.finditer(r"^([a-z]+):[^#\n]*(?:## (.*))?$", text, re.M)}


def test_each_make_target_is_phony_and_in_the_help():
    text = (ROOT / "Makefile").read_text()
    phony = set(re.search(r"^\.PHONY: (.*)$", text, re.M)[1].split())
    targets = makefile_targets()
    assert phony == set(targets)
    assert all(targets.values()), "each target has a help text after ##"
    shown = subprocess.run(
        ["make", "--no-print-directory"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    for target in targets:
        assert re.search(rf"^  make {target} ", shown, re.M), target


def test_make_targets_asked_for_are_there():
    assert {
        "run",
        "test",
        "lab",
        "setup",
        "bench",
        "clean",
    } <= makefile_targets().keys()


def test_make_test_is_one_run_of_pytest():
    """So that its last line is the summary of everything."""
    plan = subprocess.run(
        ["make", "-n", "-o", "requirements.lock", "test"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert plan.count("-m pytest") == 1
    assert "LAB_PROFILE=smoke" in plan
    notebooks = sorted((ROOT / "notebooks").glob("*.ipynb"))
    assert all(relative(notebook) in plan for notebook in notebooks)
    assert not notebooks or {"--nbval-lax", "--nbval-cell-timeout=600"} <= set(plan.split())


def make_setup(tmp_path: Path, python: str) -> subprocess.CompletedProcess:
    """`make setup` in an empty folder with a Python of the given text; it must stop before it installs anything."""
    (tmp_path / "Makefile").write_text((ROOT / "Makefile").read_text())
    (tmp_path / "requirements.lock").touch()
    (tmp_path / "pyproject.toml").touch()
    if python:
        (tmp_path / "python").write_text(f"#!/bin/sh\n{python}\n")
        (tmp_path / "python").chmod(0o755)
    return subprocess.run(["make", "setup", "PYTHON=./python"], cwd=tmp_path, capture_output=True, text=True)


@pytest.mark.parametrize(
    "python, message",
    [
        ("echo 3.9", "needs Python 3.11, 3.12 or 3.13; './python' is 3.9"),
        ("", "needs Python 3.11, 3.12 or 3.13; './python' is none"),
        ('case "$2" in *version*) echo 3.12;; *) exit 1;; esac', "apt install python3-venv"),
    ],
    ids=["old", "absent", "without venv"],
)
def test_make_setup_says_what_is_wrong_with_the_python(tmp_path, python, message):
    result = make_setup(tmp_path, python)
    assert result.returncode != 0
    assert message in result.stderr
    assert not (tmp_path / ".venv").exists()


def test_make_setup_does_nothing_twice(tmp_path):
    """With a stand-in for Python that notes its calls: one round of installing, none the second time."""
    python = (
        'echo "$@" >> calls; case "$*" in '
        "*version_info*) echo 3.12;; "
        "*venv\\ --clear*) mkdir -p .venv/bin && cp python .venv/bin/python;; esac"
    )
    first = make_setup(tmp_path, python)
    assert first.returncode == 0, first.stderr
    calls = (tmp_path / "calls").read_text()
    assert "-m uv pip install" in calls and "--compile-bytecode -r requirements.lock" in calls
    assert "--no-deps -e ." in calls
    again = make_setup_again(tmp_path)
    assert again.returncode == 0
    assert (tmp_path / "calls").read_text() == calls
    os.utime(tmp_path / "requirements.lock", (2**31, 2**31))  # a newer lock: installed again, into the same .venv
    assert make_setup_again(tmp_path).returncode == 0
    new = (tmp_path / "calls").read_text()[len(calls) :]
    assert "-r requirements.lock" in new and "--clear" not in new


def make_setup_again(folder: Path) -> subprocess.CompletedProcess:
    return subprocess.run(["make", "setup", "PYTHON=./python"], cwd=folder, capture_output=True, text=True)


def test_make_setup_goes_on_with_pip_where_uv_does_not_work(tmp_path):
    python = (
        'echo "$@" >> calls; case "$*" in '
        "*version_info*) echo 3.12;; "
        "*venv\\ --clear*) mkdir -p .venv/bin && cp python .venv/bin/python;; "
        "*pip\\ install*\\ uv) exit 1;; esac"
    )
    result = make_setup(tmp_path, python)
    assert result.returncode == 0, result.stderr
    assert "with pip" in result.stdout
    assert "-m pip install --quiet -r requirements.lock" in (tmp_path / "calls").read_text()
    assert (tmp_path / ".venv" / ".ready").is_file()


def test_make_setup_that_fails_is_not_taken_for_done(tmp_path):
    python = (
        'case "$*" in *version_info*) echo 3.12;; '
        "*venv\\ --clear*) mkdir -p .venv/bin && cp python .venv/bin/python;; "
        "*pip\\ install*) exit 1;; esac"
    )
    assert make_setup(tmp_path, python).returncode != 0
    assert not (tmp_path / ".venv" / ".ready").exists()


def test_ci_script_calls_make_test():
    script = ROOT / ".ci" / "run"
    assert script.stat().st_mode & stat.S_IXUSR
    lines = script.read_text().splitlines()
    assert "set -euo pipefail" in lines
    assert lines[-1] == "exec make test"
    subprocess.run(["bash", "-n", script], check=True)


# --------------------------------------------------------------------------------------------------------- its files


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_each_module_says_what_it_is_about(path):
    text = ast.get_docstring(ast.parse(path.read_text()))
    assert text and len(text.splitlines()[0]) > 20


def imports_at_the_top(path: Path) -> set[str]:
    """Modules of labutils that a module imports when it is imported itself."""
    package = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    names = {".".join(p.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for p in MODULES}
    found = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{relative(path)}: write imports in full"
            members = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= members if members & names else {node.module}
    return (found & names) - {package, "labutils"}


def test_imports_form_no_circle():
    graph = {
        ".".join(p.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): imports_at_the_top(p)
        for p in MODULES
    }
    while graph:
        ready = [name for name, needs in graph.items() if not needs & graph.keys()]
        assert ready, f"these import each other: {', '.join(sorted(graph))}"
        for name in ready:
            del graph[name]


def test_files_name_no_place_on_somebodys_machine():
    pattern = re.compile(r"(?<![\w.~/}-])/(home|root|work|Users|mnt|tmp)/\w")
    names = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True)
    if names.returncode:
        pytest.skip("not a git working tree")
    for name in names.stdout.splitlines():
        path = ROOT / name
        if path.suffix in (".py", ".md", ".toml", ".yml", ".lock", ".ipynb", ".js", ".css", "") and path.is_file():
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
                if path == Path(__file__).resolve() or line.startswith("#!"):
                    continue
                assert not pattern.search(line), f"{name}:{number} {line.strip()[:80]}"


def test_ruff_finds_nothing():
    result = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "--no-cache", "."], cwd=ROOT, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stdout


def test_licence_is_mit():
    text = (ROOT / "LICENSE").read_text()
    assert text.startswith("MIT License") and "2026 The CVAE video-prediction lab authors" in text
    assert PYPROJECT["license"] == "MIT"


def test_data_and_outputs_stay_out_of_git(tmp_path):
    ignored = ["data/dance/train/train_img/frame000000.png", "outputs/best.ckpt", ".venv/bin/python", "student/a.ipynb"]
    kept = ["data/README.md", "labutils/widgets/scrubber.js", "notebooks/00_start.ipynb", "requirements.lock"]
    (tmp_path / ".gitignore").write_text((ROOT / ".gitignore").read_text())
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    result = subprocess.run(
        ["git", "check-ignore", *ignored, *kept], cwd=tmp_path, capture_output=True, text=True
    ).stdout.split()
    assert result == ignored


# -------------------------------------------------------------------------------------------------------- its README


def test_readme_names_the_two_commands_and_only_make_targets_that_exist():
    named = set(re.findall(r"\bmake ([a-z]+)\b", "\n".join(code_of(readme()))))
    assert {"run", "test"} <= named
    assert named <= makefile_targets().keys()


def code_of(markdown: str) -> list[str]:
    """Code blocks and code spans of a Markdown text."""
    blocks = re.findall(r"^```[^\n]*\n(.*?)^```", markdown, re.M | re.S)
    spans = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", markdown, flags=re.M | re.S))
    return blocks + spans


def test_links_and_pictures_of_readme_exist():
    for target in re.findall(r"\]\(([^)#\s]+)", readme()) + re.findall(r"src=\"([^\"]+)\"", readme()):
        if "://" not in target:
            assert (ROOT / target).exists(), target


def test_commands_in_readme_have_these_flags():
    """Every `python -m labutils ...` (or torchrun's) in README parses, capital words standing for a path."""
    from labutils.__main__ import MODULES as LATER
    from labutils.__main__ import _parse

    lines = [line.strip() for code in code_of(readme()) for line in code.replace("\\\n", " ").splitlines()]
    commands = [line for line in lines if re.search(r"-m labutils [a-z]", line)]
    assert commands
    for line in commands:
        words = shlex.split(line.split("-m labutils ")[1], comments=True)
        argv = [word for word in words if word not in ("[", "]", "…", "...")]
        argv = argv[: next((i for i, word in enumerate(argv) if word in ("|", "&&", ">", ";")), None)]
        if argv[0] not in LATER and not any(word.startswith("[") for word in argv):
            _parse(argv)


@pytest.mark.slow
def test_python_in_readme_runs(tmp_path, trained, dance):
    """All ```python blocks in one program, where a data set and a checkpoint lie in their usual places."""
    blocks = re.findall(r"^```python\n(.*?)^```", readme(), re.M | re.S)
    assert blocks, "README shows no Python"
    (tmp_path / "data").mkdir()
    for name in ("dance", "dance-smoke", "dance-quick", "dance-full"):
        (tmp_path / "data" / name).symlink_to(dance)
    (tmp_path / "outputs").symlink_to(trained)
    program = tmp_path / "readme.py"
    program.write_text('if __name__ == "__main__":\n' + re.sub("^", "    ", "\n".join(blocks), flags=re.M))
    result = subprocess.run(
        [sys.executable, program], cwd=tmp_path, capture_output=True, text=True, timeout=300,
        env={**os.environ, "PYTHONPATH": str(ROOT), "LAB_PROFILE": "smoke"},
    )  # fmt: skip
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(
    "given, expected", [({}, "10000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, "None")]
)
def test_threads_do_not_wait_in_a_busy_loop_for_long(given, expected):
    env = {k: v for k, v in os.environ.items() if k not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")} | given
    code = "import labutils, os, sys; print(os.environ.get('GOMP_SPINCOUNT'), 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.split() == [expected, "False"]  # set before torch reads it
