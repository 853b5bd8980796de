"""Muon against a singular value decomposition and torch's own; who steps which parameter."""

import pytest
import torch
from tiny import config, model

from labutils.optim import Muon, build_optimizers, orthogonalize


@pytest.mark.parametrize("shape", [(3, 8, 20), (3, 20, 8)])
def test_orthogonalize_keeps_directions_and_levels_singular_values(shape):
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    U, _, V = torch.linalg.svd(matrices, full_matrices=False)
    inner = U.mT @ orthogonalize(matrices) @ V.mT  # diagonal, with all values near 1
    values = inner.diagonal(dim1=-2, dim2=-1)
    assert (inner - torch.diag_embed(values)).abs().max() < 1e-3
    assert 0.6 < values.min() and values.max() < 1.3


def test_muon_agrees_with_torch_on_matrices():
    """torch.optim.Muon computes in bfloat16, hence the tolerance."""
    torch.manual_seed(0)
    start = torch.randn(24, 16)
    ours, theirs = (torch.nn.Parameter(start.clone()) for _ in range(2))
    pair = Muon([ours], lr=0.1, weight_decay=0.1), torch.optim.Muon([theirs], lr=0.1, weight_decay=0.1)
    for _ in range(4):
        grad = torch.randn(24, 16)
        ours.grad, theirs.grad = grad.clone(), grad.clone()
        for optimizer in pair:
            optimizer.step()
    found, expected = (ours - start).detach().flatten(), (theirs - start).detach().flatten()
    assert torch.nn.functional.cosine_similarity(found, expected, dim=0) > 0.999
    assert (found.norm() / expected.norm()).item() == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("variant", ["fast", "course"])
@pytest.mark.parametrize("optim", ["Muon", "AdamW", "Adam"])
def test_every_parameter_is_stepped_once_and_muon_takes_dense_convolutions(optim, variant):
    cfg = config(optim=optim, variant=variant)
    net = model(cfg)
    optimizers = build_optimizers(net, cfg)
    owned = [[p for g in o.param_groups for p in g["params"]] for o in optimizers]
    assert sorted(id(p) for part in owned for p in part) == sorted(id(p) for p in net.parameters())
    if optim == "Muon":
        dense = [p for p in net.parameters() if p.dim() == 4 and p.shape[1] > 1]
        assert type(optimizers[0]) is Muon and [id(p) for p in owned[0]] == [id(p) for p in dense]
