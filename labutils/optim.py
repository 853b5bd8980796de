"""Muon for the convolutions, AdamW for everything else."""

from collections import defaultdict

import torch
from torch import Tensor, nn

from labutils.config import LabConfig


def orthogonalize(matrices: Tensor, steps: int = 5) -> Tensor:
    """Push the singular values of each matrix towards 1 by a quintic Newton-Schulz iteration: (k, m, n) -> (k, m, n).

    Coefficients: Jordan et al., "Muon: an optimizer for hidden layers in neural networks" (2024).  Computed in the
    matrices' own precision: bfloat16, which torch.optim.Muon uses, is slow on most CPUs.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    x = matrices / (matrices.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    for _ in range(steps):
        gram = x @ x.mT  # (k, m, m)
        x = a * x + torch.baddbmm(b * (gram @ x), c * (gram @ gram), x)
    return x.mT if tall else x


class Muon(torch.optim.Optimizer):
    """Momentum whose update is orthogonalised; convolution weights (o, i, kh, kw) count as matrices (o, i*kh*kw).

    torch.optim.Muon takes 2-D parameters only and works one by one in bfloat16; this one stacks matrices of equal
    shape.  The step is scaled by sqrt(max(1, o / (i*kh*kw))), so one learning rate serves all shapes.
    """

    def __init__(self, params: list[nn.Parameter], lr: float, momentum: float = 0.95, weight_decay: float = 0.0):
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        """Update all parameters that have a gradient."""
        for group in self.param_groups:
            shapes = defaultdict(list)
            for p in group["params"]:
                if p.grad is not None:
                    shapes[(p.shape[0], p.numel() // p.shape[0])].append(p)
            for (rows, columns), params in shapes.items():
                for p in params:
                    self.state[p].setdefault("momentum", torch.zeros_like(p))
                buffers, grads = [self.state[p]["momentum"] for p in params], [p.grad for p in params]
                torch._foreach_lerp_(buffers, grads, 1 - group["momentum"])
                nesterov = torch._foreach_lerp(grads, buffers, group["momentum"])
                stacked = torch.stack([g.reshape(rows, columns) for g in nesterov])  # (k, rows, columns)
                updates = orthogonalize(stacked) * max(1, rows / columns) ** 0.5
                torch._foreach_mul_(params, 1 - group["lr"] * group["weight_decay"])
                for p, update in zip(params, updates, strict=True):
                    p.sub_(update.view(p.shape), alpha=group["lr"])


def build_optimizers(model: nn.Module, cfg: LabConfig) -> list[torch.optim.Optimizer]:
    """The optimizers of ``cfg.optim``.  Muon takes dense convolution weights; AdamW takes the other parameters."""
    params = [p for p in model.parameters() if p.requires_grad]
    fused = params[0].is_cuda
    if cfg.optim == "Adam":
        return [torch.optim.Adam(params, lr=cfg.lr, fused=fused)]
    if cfg.optim == "AdamW":
        return [torch.optim.AdamW(params, lr=cfg.lr, weight_decay=cfg.weight_decay, fused=fused)]
    matrices = [p for p in params if p.dim() == 4 and p.shape[1] > 1]
    chosen = {id(p) for p in matrices}
    rest = [p for p in params if id(p) not in chosen]
    return [
        Muon(matrices, lr=10 * cfg.lr, weight_decay=cfg.weight_decay),
        torch.optim.AdamW(rest, lr=cfg.lr, weight_decay=0.0, fused=fused),
    ]
