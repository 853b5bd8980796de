"""What is in a latent: principal directions, correlation and the held-out fit against numpy."""

import numpy as np
import pytest

from labutils.analysis import correlation, held_out_fit, principal_directions


@pytest.mark.parametrize("shape", [(40, 6), (12, 300)])
def test_directions_are_those_of_the_singular_value_decomposition(shape):
    rng = np.random.default_rng(1)
    mu = rng.normal(size=shape) * np.linspace(3, 0.1, shape[1]) + 5
    directions, std, explained = principal_directions(mu.astype(np.float32), 4)
    _, s, rows = np.linalg.svd(mu - mu.mean(0), full_matrices=False)
    np.testing.assert_allclose(np.abs(directions @ rows[:4].T), np.eye(4), atol=1e-3)
    np.testing.assert_allclose(std, s[:4] / np.sqrt(len(mu)), rtol=1e-4)
    np.testing.assert_allclose(explained, s[:4] ** 2 / (s**2).sum(), rtol=1e-4)
    np.testing.assert_allclose(std, ((mu - mu.mean(0)) @ directions.T).std(0), rtol=1e-3)


def test_a_latent_that_varies_in_one_direction_gives_one():
    mu = np.outer(np.linspace(-1, 1, 30), [3.0, 4.0, 0.0])
    directions, std, explained = principal_directions(mu, 4)
    np.testing.assert_allclose(directions, [[0.6, 0.8, 0]], atol=1e-9)
    assert explained == pytest.approx([1.0]) and std == pytest.approx([5 * np.linspace(-1, 1, 30).std()])
    assert principal_directions(np.ones((30, 3)), 4)[1] == pytest.approx([0.0])  # a latent that says nothing at all


def test_correlation_is_numpys():
    x, y = np.random.default_rng(0).normal(size=(2, 50))
    assert correlation(x, x + y) == pytest.approx(np.corrcoef(x, x + y)[0, 1])
    assert correlation(x, np.ones(50)) == 0


def test_the_combination_is_judged_on_frames_it_has_not_seen():
    rng = np.random.default_rng(2)
    scores = rng.normal(size=(60, 12))
    target = scores @ rng.normal(size=12) + 3
    prediction, r2 = held_out_fit(scores, target)
    assert r2 == pytest.approx(1) and prediction == pytest.approx(target)
    noise = rng.normal(size=60)
    prediction, r2 = held_out_fit(scores, noise)
    assert r2 < 0.1  # 12 numbers would explain a fifth of the noise they were fitted to
    piece = np.array_split(np.arange(60), 5)[1]
    rest = np.delete(np.arange(60), piece)
    one = np.column_stack([np.ones(60), scores])
    weights = np.linalg.solve(one[rest].T @ one[rest], one[rest].T @ noise[rest])
    np.testing.assert_allclose(prediction[piece], one[piece] @ weights, rtol=1e-8)
