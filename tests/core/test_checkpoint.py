"""Checkpoints and histories: what is read is what was written; everything else is named, and nothing is executed."""

from pathlib import Path

import torch
from refusals import refuses
from tiny import config
from tiny import model as make

import labutils
from labutils.checkpoint import COLUMNS, checkpoint_config, load_model, read_checkpoint, read_history, write_history


def test_a_checkpoint_of_the_lab_gives_settings_and_weights_back(tmp_path):
    model = make(config(width=16))
    torch.save({"state_dict": model.state_dict(), "config": model.cfg.to_dict()}, tmp_path / "a.ckpt")
    found = labutils.load_model(tmp_path / "a.ckpt")
    assert found.cfg == model.cfg and not found.training and isinstance(found, labutils.ConditionalVAE)
    assert all(torch.equal(a, b) for a, b in zip(found.parameters(), model.parameters(), strict=True))


def test_what_is_no_checkpoint_is_named(tmp_path):
    path = tmp_path / "a.ckpt"
    refuses(r"a\.ckpt is missing", read_checkpoint, path)
    torch.save({"state_dict": make(config()).state_dict()}, path)
    for content in (b"no checkpoint", path.read_bytes()[:5000]):
        path.write_bytes(content)
        refuses(r"a\.ckpt cannot be read", read_checkpoint, path)
    torch.save({"weights": 1}, path)
    refuses("holds no state_dict", read_checkpoint, path)
    refuses("neither the lab's nor the course's", checkpoint_config, {"state_dict": {"a": torch.zeros(1)}})


def test_weights_that_do_not_fit_are_named(tmp_path):
    model = make(config())
    weights = model.state_dict()
    name = "frame_transformation.conv.weight"
    for wrong, message in (
        ({**weights, name: weights[name][:4]}, rf"{name} is \(4, .* expected \(8, "),
        ({k: v for k, v in weights.items() if k != name}, f"{name} is missing, expected"),
        ({**weights, "more": weights[name]}, "more is .* expected not part of this model"),
    ):
        torch.save({"state_dict": wrong, "config": model.cfg.to_dict()}, tmp_path / "a.ckpt")
        refuses(rf"a\.ckpt does not fit the model: {message}", load_model, tmp_path / "a.ckpt")


def test_a_checkpoint_cannot_run_code(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (Path.write_text, (tmp_path / "ran", "x"))

    torch.save({"state_dict": Bomb()}, tmp_path / "bomb.ckpt")
    refuses("cannot be read", read_checkpoint, tmp_path / "bomb.ckpt")
    assert not (tmp_path / "ran").exists()


def test_a_history_is_read_as_written_and_another_file_is_named(tmp_path):
    path = tmp_path / "history.csv"
    rows = [dict(zip(COLUMNS, (k, 0, 0.5, 0.1 / 3, 1e-9, 2.0, 1.0, 0.0, 3e-3, [None, 20.25][k]))) for k in range(2)]
    write_history(path, rows)
    assert read_history(path) == rows and path.read_text().splitlines()[1].endswith(",0.003,")
    for text, message in (("step,loss\n1,2\n", "is no history"), (f"{','.join(COLUMNS)}\nx,1,1\n", "cannot be read")):
        path.write_text(text)
        refuses(message, read_history, path)
