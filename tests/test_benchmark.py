"""The benchmark: the skeleton's mathematics against ours, counted operations, and the whole command."""

import copy
import json
import os
import subprocess
import sys

import pytest
import torch

from labutils.__main__ import main
from labutils.benchmark import count_flop
from labutils.config import LabConfig
from labutils.dataset import load_split
from labutils.errors import LabError
from labutils.model import ConditionalVAE
from labutils.skeleton import FixedClips, FrameByFrame, Skeleton, same_mathematics, training_step
from labutils.training import Trainer

SMALL = dict(F_dim=16, L_dim=8, N_dim=4, D_out_dim=16, train_vi_len=6, batch_size=2)


def both_ways(dance, tfr, beta, steps=4, **changes):
    """Losses (steps, 3) of the skeleton's step and of ``Trainer`` for the same weights, batches and noise."""
    cfg = LabConfig(DR=str(dance), quiet=True, minutes=1e6, **SMALL)
    cfg = cfg.replace(**{**same_mathematics(cfg), **changes})
    torch.manual_seed(0)
    ours = ConditionalVAE(cfg)
    theirs = copy.deepcopy(ours)
    ours.label_transformation = FrameByFrame(ours.label_transformation, cfg.batch_size)
    trainer = Trainer(ours, load_split(dance, "train", cfg), None, cfg)
    optimizer = torch.optim.Adam(theirs.parameters(), lr=1e-3)
    expected, found = [], []
    for _ in range(steps):
        frames, _, labels, eps, teacher, _ = trainer._draw_clips(tfr)  # drawn once more, alike, by _step
        assert teacher.unique().numel() == 1
        losses = training_step(theirs, optimizer, frames, labels, bool(teacher.all()), beta, eps)
        expected.append(losses / (cfg.train_vi_len - 1))
        trainer._set_learning_rate()
        found.append(trainer._step(beta, tfr))
        trainer.budget.step += 1
    return torch.stack(expected), torch.stack(found)


@pytest.mark.parametrize("beta", [0.0, 1e-3, 1.0])
@pytest.mark.parametrize("tfr", [0.0, 1.0])
def test_our_trainer_has_the_losses_of_the_skeleton(dance, tfr, beta):
    expected, found = both_ways(dance, tfr, beta)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
    assert (found[:, 0] != found[0, 0]).any(), "the weights change"
