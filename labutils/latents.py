"""What is in a latent: the directions in which posterior means vary, and how well they tell a known factor."""

import math

import numpy as np


def principal_directions(mu: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Principal component analysis: the orthonormal directions along which the rows of ``mu`` vary most.

    Args:
        mu: (T, D).
        count: directions wanted; fewer where ``mu`` does not vary in so many.

    Returns:
        directions (K, D), the standard deviation along each (K,), and each one's share of the variance (K,).
    """
    centred = mu.astype(np.float64) - mu.mean(0, dtype=np.float64)  # (T, D)
    if mu.shape[1] <= len(mu):
        _, singular, rows = np.linalg.svd(centred, full_matrices=False)
    else:  # the smaller of the two products has the same singular values
        values, columns = np.linalg.eigh(centred @ centred.T)  # (T,), (T, T), rising
        singular = np.sqrt(np.maximum(values[::-1], 0))
        rows = (columns[:, ::-1].T @ centred) / np.maximum(singular, 1e-300)[:, None]
    total = float((singular**2).sum())
    rank = int((singular > 1e-6 * max(singular[0], 1e-30)).sum()) if total > 0 else 1
    keep = min(count, rank)
    directions = rows[:keep]
    # A direction's sign is arbitrary: let its largest entry be positive.
    signs = np.sign(directions[np.arange(keep), np.abs(directions).argmax(1)])
    directions = directions * np.where(signs == 0, 1, signs)[:, None]
    return directions, singular[:keep] / math.sqrt(len(mu)), singular[:keep] ** 2 / (total or 1.0)


def correlation(x: np.ndarray, y: np.ndarray) -> float:
    """Pearson's correlation of two series (T,); 0 where one of them does not vary."""
    x, y = x - x.mean(), y - y.mean()
    norm = math.sqrt(float((x**2).sum() * (y**2).sum()))
    return float((x * y).sum() / norm) if norm > 0 else 0.0


def held_out_fit(scores: np.ndarray, target: np.ndarray, folds: int = 5) -> tuple[np.ndarray, float]:
    """The best linear combination of ``scores``, judged on frames it was not fitted to.

    The video is cut into ``folds`` pieces; each is predicted by least squares from all the others.  (Neighbouring
    frames resemble each other, so pieces are held out, not single frames.)

    Args:
        scores: (T, K).
        target: (T,).

    Returns:
        the held-out predictions (T,), and R^2 = 1 - sum (target - prediction)^2 / sum (target - mean of the rest)^2,
        which is at most 1 and below 0 where the mean would have been better.
    """
    design = np.column_stack([np.ones(len(target)), scores])  # (T, 1 + K)
    prediction, mean = np.empty(len(target)), np.empty(len(target))
    for piece in np.array_split(np.arange(len(target)), folds):
        rest = np.setdiff1d(np.arange(len(target)), piece)
        weights = np.linalg.lstsq(design[rest], target[rest], rcond=None)[0]
        prediction[piece], mean[piece] = design[piece] @ weights, target[rest].mean()
    spread = float(((target - mean) ** 2).sum())
    return prediction, 1 - float(((target - prediction) ** 2).sum()) / spread if spread > 0 else 0.0
