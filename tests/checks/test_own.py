"""The learner's own module: what is kept of an answer, what the module then says, and who gets the reference."""

import inspect
import linecache
import sys

import pytest
from exercises import answer

from labutils import checks
from labutils.checks import EXERCISES, CheckFailed, Mine, reference
from labutils.checks import own as room
from labutils.errors import LabError

DRAW = """
import math
import torch as t
from torch.distributions import Normal
HALF = 0.5

class Unused:
    pass

def sigma(logvar):
    return t.exp(HALF * logvar)

def reparameterize(mu, logvar, eps):
    # SOLUTION
    Unused_ = math.pi
    return mu + sigma(logvar) * eps  # (B, N)
    # END SOLUTION
"""


@pytest.fixture
def kernel(monkeypatch, tmp_path):
    """Cells are run as in a notebook; returns the function that runs one, and the module's path."""
    place = tmp_path / "notebooks" / "my_cvae.py"
    monkeypatch.setenv("LAB_MODULE", str(place))
    monkeypatch.setattr(room, "_in_notebook", lambda: True)
    main = type(sys)("__main__")
    monkeypatch.setitem(sys.modules, "__main__", main)

    def cell(source: str) -> dict:
        name = f"cell {len(linecache.cache)}"
        linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
        exec(compile(source, name, "exec"), main.__dict__)
        return main.__dict__

    return cell, place


def test_what_passes_is_kept_with_what_it_uses_and_can_be_imported(kernel, capsys):
    cell, place = kernel
    checks.reparameterize(cell(DRAW)["reparameterize"])
    text = place.read_text()
    assert "import torch as t" in text and "import math" in text and "HALF = 0.5" in text and "def sigma" in text
    assert "SOLUTION" not in text and "Unused:" not in text and "Normal" not in text
    names: dict = {}
    exec(text, names)
    EXERCISES["3.1"].judge(names["reparameterize"])
    assert capsys.readouterr() == ("passed 3.1: reparameterize\n", "")


def test_only_what_passes_replaces_what_was_kept(kernel, capsys):
    cell, place = kernel
    checks.reparameterize(cell(DRAW)["reparameterize"])
    before = place.read_text()
    with pytest.raises(CheckFailed):
        checks.reparameterize(cell("def reparameterize(mu, logvar, eps):\n    return mu")["reparameterize"])
    checks.reparameterize(cell("def reparameterize(mu, logvar, eps):\n    raise NotImplementedError")["reparameterize"])
    assert place.read_text() == before
    checks.reparameterize(cell(DRAW.replace("HALF = 0.5", "HALF = 1 / 2"))["reparameterize"])
    assert place.read_text() == before  # the value is the same
    checks.reparameterize(
        cell("def reparameterize(mu, logvar, eps):\n    return mu + (0.5 * logvar).exp() * eps")["reparameterize"]
    )
    assert "(0.5 * logvar).exp()" in place.read_text() and "sigma" not in place.read_text()


def test_a_class_is_kept_and_sections_stand_in_the_order_of_the_exercises(kernel):
    cell, place = kernel
    checks.to_bytes(cell("def to_bytes(x):\n    return x.clamp(0, 1).mul(255).round().byte()")["to_bytes"])
    source = "from torch import nn\n\nclass Thing(nn.Module):\n    def forward(self, x):\n        return x\n"
    imports, section = room._section("Thing", cell(source)["Thing"])
    assert imports == ["import torch.nn as nn"] and section.endswith("        return x")
    checks.reparameterize(cell(DRAW)["reparameterize"])
    assert room.SECTION.findall(place.read_text()) == ["3.1", "7.3"]


def test_another_name_is_kept_beside_that_of_the_part(kernel):
    cell, place = kernel
    checks.reparameterize(cell(DRAW.replace("def reparameterize", "def draw"))["draw"])
    assert "\nreparameterize = draw\n" in place.read_text()
    assert Mine().reparameterize.__name__ == "draw"


def test_the_reference_stands_in_and_is_told(kernel):
    cell, place = kernel
    my = Mine()
    assert my.kl_divergence is EXERCISES["3.2"].reference and "no part of the model has passed" in repr(my)
    checks.reparameterize(cell(DRAW)["reparameterize"])
    assert my.reparameterize.__code__.co_filename == str(place)  # read again
    assert "3.2 kl_divergence" in repr(my) and "3.1 reparameterize" not in repr(my)
    with pytest.raises(AttributeError, match="there is no part 'nothing'"):
        _ = my.nothing


def test_a_part_of_another_exercise_is_used_by_name(kernel):
    """In the module ``my.`` is dropped; what has not passed is the reference until it has."""
    cell, place = kernel
    cell("from labutils.checks import Mine\nmy = Mine()")
    source = "def to_bytes(x):\n    my.kl_divergence\n    return x.clamp(0, 1).mul(255).round().byte()"
    checks.to_bytes(cell(source)["to_bytes"])
    assert 'kl_divergence = reference("kl_divergence")' in place.read_text() and "my." not in place.read_text()
    checks.kl_divergence(
        cell("def kl_divergence(mu, logvar):\n    return (mu**2 + logvar.exp() - 1 - logvar).flatten(1).sum(1) / 2")[
            "kl_divergence"
        ]
    )
    assert "reference" not in place.read_text()
    names: dict = {}
    exec(place.read_text(), names)
    assert names["to_bytes"].__globals__["kl_divergence"] is names["kl_divergence"]


def test_an_answer_may_not_be_its_own_reference(kernel):
    cell, _ = kernel
    source = "from labutils.checks import Mine\nmy = Mine()\ndef kl_divergence(mu, logvar):\n    "
    source += "return my.kl_divergence(mu, logvar)"
    with pytest.raises(CheckFailed, match=r"what exercise 3\.2 asks for"):
        checks.kl_divergence(cell(source)["kl_divergence"])
    assert reference("kl_divergence") is EXERCISES["3.2"].reference


@pytest.mark.parametrize("source, reason", [
    ("import torch\nbig = torch.zeros(3)\ndef to_bytes(x):\n    big\n    return x.clamp(0, 1).mul(255).round().byte()",
     "it uses big, a Tensor of this notebook"),
    ("to_bytes = lambda x: x.clamp(0, 1).mul(255).round().byte()", "define it at the beginning of a line"),
    ("def sigma(x):\n    return x\ndef to_bytes(x):\n    return sigma(x).clamp(0, 1).mul(255).round().byte()",
     "sigma means another thing in exercise 7.3 than in exercise 3.1"),
], ids=["a value of the notebook", "lambda", "two meanings"])  # fmt: skip
def test_what_cannot_be_kept_passes_and_says_why(kernel, capsys, source, reason):
    cell, place = kernel
    checks.reparameterize(cell(DRAW)["reparameterize"])
    before = place.read_text()
    checks.to_bytes(cell(source)["to_bytes"])
    out, err = capsys.readouterr()
    assert out.endswith("passed 7.3: float to uint8 without wrapping\n") and reason in err
    assert place.read_text() == before


def test_a_broken_module_is_named(kernel):
    _, place = kernel
    place.parent.mkdir(parents=True)
    place.write_text("def f(:\n")
    with pytest.raises(LabError, match=r"my_cvae\.py cannot be imported \(SyntaxError"):
        _ = Mine().kl_divergence


def test_nothing_is_kept_outside_a_notebook(kernel, monkeypatch):
    cell, place = kernel
    monkeypatch.setattr(room, "_in_notebook", lambda: False)
    checks.reparameterize(cell(DRAW)["reparameterize"])
    assert not place.exists()


@pytest.mark.parametrize("number", [n for n, e in EXERCISES.items() if callable(e.reference)])
def test_a_reference_can_be_called_as_the_answer_it_stands_in_for(number):
    """Where an argument of the answer has a default, the reference has the same one."""
    own, theirs = (inspect.signature(f).parameters.values() for f in (answer(number), EXERCISES[number].reference))
    for mine, other in zip(own, theirs):
        if other.kind == inspect.Parameter.VAR_POSITIONAL:
            break
        assert mine.default == other.default, f"{mine} is {other} in the reference"
