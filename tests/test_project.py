"""The project as a whole: what it needs, its make targets, what its files must not hold, what its README promises."""

import os
import re
import runpy
import shlex
import shutil
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

from labutils.__main__ import parse

ROOT = Path(__file__).resolve().parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
ENVIRONMENT = yaml.safe_load((ROOT / "environment.yml").read_text())
LOCK = (ROOT / "requirements.lock").read_text().splitlines()
MAKEFILE = (ROOT / "Makefile").read_text()
README = (ROOT / "README.md").read_text()
PYTHONS = ("3.11", "3.12", "3.13")
TARGETS = {m[1]: m[2] for m in re.finditer(r"^([a-z]+):[^#\n]*(?:## (.*))?$", MAKEFILE, re.M)}  # name -> help text


def by_name(lines: list[str]) -> dict[str, SpecifierSet]:
    return {canonicalize_name(r.name): r.specifier for r in map(Requirement, lines)}


CORE, DEV = by_name(PYPROJECT["dependencies"]), by_name(PYPROJECT["optional-dependencies"]["dev"])


def output(*command: str | Path, cwd: Path = ROOT) -> str:
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=True, timeout=300).stdout


# ---------------------------------------------------------------------------------------------------- what it needs


def test_environment_has_the_ranges_of_pyproject_and_takes_only_torch_from_pip():
    conda = by_name([item for item in ENVIRONMENT["dependencies"] if isinstance(item, str)])
    (pip,) = (item["pip"] for item in ENVIRONMENT["dependencies"] if isinstance(item, dict))
    pip.remove("-e .")  # Binder and conda users get labutils itself
    assert set(by_name(pip)) == {"torch", "torchvision"} and ENVIRONMENT["channels"] == ["conda-forge", "nodefaults"]
    python = {"python": SpecifierSet(PYPROJECT["requires-python"]), "pip": SpecifierSet()}
    assert conda | by_name(pip) == CORE | python and not conda.keys() & by_name(pip).keys()


def test_lock_holds_sorted_names_and_exact_versions_only():
    names = [re.fullmatch(r"([a-z0-9][a-z0-9-]*)==[0-9][\w.+!]*( ; .+)?", line)[1] for line in LOCK]
    assert names and names == sorted(names)


@pytest.mark.parametrize("system, machine", [("linux", "x86_64"), ("darwin", "arm64")])
@pytest.mark.parametrize("python", PYTHONS)
def test_lock_satisfies_pyproject(python, system, machine):
    environment = dict(
        python_version=python, python_full_version=f"{python}.9", sys_platform=system, platform_machine=machine,
        os_name="posix", implementation_name="cpython", extra="",
    )  # fmt: skip
    lines = [r for r in map(Requirement, LOCK) if r.marker is None or r.marker.evaluate(environment)]
    chosen = {r.name: next(iter(r.specifier)).version for r in lines}
    assert len(chosen) == len(lines), "a package is there twice"
    for name, wanted in (CORE | DEV).items():
        assert wanted.contains(chosen[name]), f"{name} {chosen[name]} is not in {wanted}"
    assert SpecifierSet(PYPROJECT["requires-python"]).contains(f"{python}.1")


def test_what_is_installed_is_in_range():
    found = {name: metadata.version(name) for name in CORE | DEV}
    if found["ipywidgets"] == "8.1.9":  # is excluded for VS Code only; everything else works with it
        del found["ipywidgets"]
    assert {n: v for n, v in found.items() if not (CORE | DEV)[n].contains(v, prereleases=True)} == {}


# -------------------------------------------------------------------------------------------------- its make targets


def test_each_make_target_is_phony_and_in_the_help():
    assert set(re.search(r"^\.PHONY: (.*)$", MAKEFILE, re.M)[1].split()) == set(TARGETS)
    shown = output("make", "--no-print-directory")
    for target, text in TARGETS.items():
        assert text and re.search(rf"^  make {target} ", shown, re.M), target


def test_make_test_is_one_run_of_pytest_over_all_notebooks():
    """So that its last line is the summary of everything."""
    plan = output("make", "-n", "-o", "requirements.lock", "-o", "pyproject.toml", "test")
    assert plan.count("-m pytest") == 1 and "LAB_PROFILE=smoke" in plan
    assert {"--nbval-lax", "--nbval-cell-timeout=600"} <= set(plan.split())
    assert all(f"notebooks/{path.name}" in plan for path in (ROOT / "notebooks").glob("*.ipynb"))


GOOD = 'case "$*" in *version_info*) echo 3.12;; *venv\\ --clear*) mkdir -p .venv/bin && cp python .venv/bin/python;; '


@pytest.fixture
def setup(tmp_path):
    """`make setup` in a folder of its own, with a stand-in for Python that notes its calls."""

    (tmp_path / "Makefile").write_text(MAKEFILE)
    (tmp_path / "requirements.lock").touch()
    (tmp_path / "pyproject.toml").touch()

    def run(python: str) -> subprocess.CompletedProcess:
        if python:
            (tmp_path / "python").write_text(f'#!/bin/sh\necho "$@" >> calls\n{python}\n')
            (tmp_path / "python").chmod(0o755)
        command = ["make", "setup", "PYTHON=./python"]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)

    return run


@pytest.mark.parametrize(
    "python, message",
    [
        ("echo 3.9", "needs Python 3.11, 3.12 or 3.13; './python' is 3.9"),
        ("", "needs Python 3.11, 3.12 or 3.13; './python' is none"),
        ('case "$2" in *version*) echo 3.12;; *) exit 1;; esac', "apt install python3-venv"),
    ],
    ids=["old", "absent", "without venv"],
)
def test_make_setup_says_what_is_wrong_with_the_python(tmp_path, setup, python, message):
    result = setup(python)
    assert result.returncode != 0 and message in result.stderr and not (tmp_path / ".venv").exists()


def test_make_setup_installs_once_and_again_when_the_lock_is_newer(tmp_path, setup):
    first, calls = setup(GOOD + "esac"), (tmp_path / "calls").read_text()
    assert first.returncode == 0, first.stderr
    assert "-m uv pip install" in calls and "--compile-bytecode -r requirements.lock" in calls
    assert "--no-deps -e ." in calls
    assert setup("").returncode == 0 and (tmp_path / "calls").read_text() == calls
    os.utime(tmp_path / "requirements.lock", (2**31, 2**31))
    assert setup("").returncode == 0
    new = (tmp_path / "calls").read_text()[len(calls) :]
    assert "-r requirements.lock" in new and "--clear" not in new  # into the same .venv


def test_make_setup_goes_on_with_pip_where_uv_does_not_work_and_fails_where_pip_does_not(tmp_path, setup):
    assert setup(GOOD + "*pip\\ install*) exit 1;; esac").returncode != 0
    assert not (tmp_path / ".venv" / ".ready").exists()
    shutil.rmtree(tmp_path / ".venv")
    result = setup(GOOD + "*pip\\ install*\\ uv) exit 1;; esac")
    assert result.returncode == 0 and "with pip" in result.stdout, result.stderr
    assert "-m pip install --quiet -r requirements.lock" in (tmp_path / "calls").read_text()
    assert (tmp_path / ".venv" / ".ready").is_file()


def test_ci_script_calls_make_test():
    script = ROOT / ".ci" / "run"
    lines = script.read_text().splitlines()
    assert script.stat().st_mode & stat.S_IXUSR and "set -euo pipefail" in lines and lines[-1] == "exec make test"
    output("bash", "-n", script)


# --------------------------------------------------------------------------------------------------------- its files


def test_files_hold_no_place_on_somebodys_machine_and_no_credentials():
    place = re.compile(r"(?<![\w.~/}-])/(home|root|work|Users|mnt|tmp)/\w")
    secret = re.compile(r"://[^/\s:@\"']+:[^/\s:@\"']+@|\bgh[ps]_\w{20}|\bsk-\w{20}|PRIVATE KEY-----")
    names = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True)
    if names.returncode:
        pytest.skip("not a git working tree")
    for path in map(ROOT.joinpath, names.stdout.splitlines()):
        if path.suffix not in (".png", ".gif", ".ckpt", ".npz") and path.is_file() and path != Path(__file__).resolve():
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
                wrong = (place.search(line) and not line.startswith("#!")) or secret.search(line)
                assert not wrong, f"{path.relative_to(ROOT)}:{number} {line.strip()[:80]}"


@pytest.mark.parametrize("command", [["check"], ["format", "--check"]], ids=" ".join)
def test_ruff_finds_nothing(command):
    ruff = [sys.executable, "-m", "ruff", *command, "--no-cache", "-q", "."]
    done = subprocess.run(ruff, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_licence_is_mit():
    assert (ROOT / "LICENSE").read_text().startswith("MIT License") and PYPROJECT["license"] == "MIT"


def test_data_and_outputs_stay_out_of_git(tmp_path):
    ignored = ["data/dance/train/train_img/frame000000.png", "outputs/best.ckpt", ".venv/bin/python", "student/a.ipynb"]
    kept = ["data/README.md", "labutils/widgets/scrubber.js", "notebooks/00_start.ipynb", "requirements.lock"]
    (tmp_path / ".gitignore").write_text((ROOT / ".gitignore").read_text())
    output("git", "init", "-q", tmp_path)
    assert output("git", "check-ignore", *ignored, *kept, cwd=tmp_path).split() == ignored


@pytest.mark.parametrize(
    "given, expected", [({}, "10000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, "None")]
)
def test_threads_do_not_wait_in_a_busy_loop_for_long(given, expected):
    env = {k: v for k, v in os.environ.items() if k not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")} | given
    code = "import labutils, os, sys; print(os.environ.get('GOMP_SPINCOUNT'), 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.split() == [expected, "False"]  # set before torch reads it


# -------------------------------------------------------------------------------------------------------- its README


DOCUMENTS = [
    path for path in (ROOT, ROOT / "data", *sorted((ROOT / "labutils").iterdir())) for path in path.glob("*.md")
]


def code_of(markdown: str) -> list[str]:
    """The lines of code blocks, and the code spans, of a Markdown text; lines that go on are joined."""
    blocks = re.findall(r"^```[^\n]*\n(.*?)^```", markdown, re.M | re.S)
    spans = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", markdown, flags=re.M | re.S))
    return [line.strip() for code in [*blocks, *spans] for line in code.replace("\\\n", " ").splitlines()]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_make_targets_and_commands_of_a_document_exist(path):
    """Every `python -m labutils ...` (or torchrun's) parses, capital words standing for a path."""
    text = path.read_text()
    for target in re.findall(r"\]\(([^)#\s]+)", text) + re.findall(r"src=\"([^\"]+)\"", text):
        assert "://" in target or (path.parent / target).exists(), target
    for line in code_of(text):
        assert set(re.findall(r"\bmake ([a-z]+)\b", line)) <= TARGETS.keys(), line
        if re.search(r"-m labutils [a-z]", line) and not re.search(r"[\[…]|\.\.\.|--help", line):
            parse(re.split(r"[|>;&]", " ".join(shlex.split(line.split("-m labutils ")[1], comments=True)))[0].split())


def test_python_of_the_readme_runs(tmp_path, trained, dance, monkeypatch):
    """All ```python blocks in one program, where a data set and a checkpoint lie in their usual places."""
    (tmp_path / "data").mkdir()
    for name in ("dance", "dance-smoke", "dance-quick", "dance-full"):
        (tmp_path / "data" / name).symlink_to(dance)
    (tmp_path / "outputs").symlink_to(trained)
    (tmp_path / "readme.py").write_text("\n".join(re.findall(r"^```python\n(.*?)^```", README, re.M | re.S)))
    monkeypatch.chdir(tmp_path)
    assert runpy.run_path("readme.py")["video"].shape[1] > 1
