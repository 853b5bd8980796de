"""The five modules that the learner writes in notebook 02, put together: the lab's own model."""

import torch
from exercises import answer, refused

from labutils.checks import EXERCISES
from labutils.config import LabConfig
from labutils.model import ConditionalVAE


def test_the_model_of_the_solutions_is_that_of_the_lab():
    """Same names and shapes of the weights; with the same weights the same latents and frames."""
    cfg = LabConfig(frame_H=16, frame_W=24, width=4, N_dim=3)
    model = ConditionalVAE(cfg).eval()
    encoder, c, N = answer("2.5"), cfg.width, cfg.N_dim
    own = answer("2.9")(
        encoder(c), encoder(c, pose=True), answer("2.6")(c, N), answer("2.7")(c, N), answer("2.8")(c, 16, 24)
    ).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.normal_(std=0.3)  # the background, too
    own.load_state_dict(model.state_dict())
    previous, x, P = torch.rand(3, 2, 3, 16, 24)
    eps = torch.randn(2, *model.latent_shape)
    feature = model.label_transformation(P)
    z, mu, logvar = model.posterior(x, feature, eps)
    torch.testing.assert_close(own.posterior(x, P, eps), (z, mu, logvar))
    torch.testing.assert_close(own.step(previous, P, z), model.step(previous, feature, z))


def test_modules_under_other_names_are_refused():
    right = answer("2.9")

    class Other(right):
        def __init__(self, *modules):
            super().__init__(*modules)
            self.decoder = self.Decoder_Fusion
            del self.Decoder_Fusion

        def step(self, previous, P, z):
            features = self.frame_transformation(previous), self.label_transformation(P)
            return self.Generator(self.decoder(*features, z))

    failure = refused(EXERCISES["2.9"].judge, Other, 0)
    assert "Decoder_Fusion" in failure.expected and "by name" in failure.hint
