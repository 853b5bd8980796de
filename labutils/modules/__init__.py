"""The five modules of the conditional VAE, in two variants, and the two formulas that make it variational.

    RGB_Encoder         frame x                      -> feature
    Label_Encoder       pose image P                 -> feature
    Gaussian_Predictor  features of x_t and P_t      -> z, mu, logvar
    Decoder_Fusion      features of x_{t-1} and P_t, z -> fused feature
    Generator           fused feature                -> predicted frame

``course`` is the course's own architecture, weight for weight; ``fast`` does a hundredth of the arithmetic.
"""

from torch import nn

from labutils.config import LabConfig
from labutils.modules import course, fast
from labutils.modules.latent import kl_divergence, reparameterize

__all__ = ["build", "course", "fast", "kl_divergence", "reparameterize"]


def build(cfg: LabConfig) -> tuple[dict[str, nn.Module], tuple[int, int, int]]:
    """The five modules under the names of the course's checkpoints, and the shape (N, h, w) of one latent z."""
    return {"course": course, "fast": fast}[cfg.variant].build(cfg)
