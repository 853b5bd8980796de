"""What a training step sees: windows, true and replayed frames, scenes moved with their room and moved back."""

import copy
import dataclasses

import numpy as np
import pytest
import torch
from refusals import refuses
from tiny import H, W, config, model, noise

from labutils.batches import Clips, Replay, moved, moved_weights
from labutils.distributed import Ranks
from labutils.images import to_float
from labutils.training import Objective

VIDEO = noise()


def clips(ranks: Ranks | None = None, **changes) -> Clips:
    return Clips(VIDEO, config(**changes), (4, 1, 1), ranks or Ranks())


def replay(ranks: Ranks | None = None, **changes) -> Replay:
    return Replay(VIDEO, config(**changes), (4, 1, 1), ranks or Ranks())


def shifted(image: np.ndarray, down: int, right: int) -> np.ndarray:
    """(H, W, C) moved by whole pixels, pixel by pixel; edges are repeated."""
    result = np.empty_like(image)
    for y in range(len(image)):
        for x in range(len(image[0])):
            result[y, x] = image[min(max(y - down, 0), len(image) - 1), min(max(x - right, 0), len(image[0]) - 1)]
    return result


def test_clips_are_all_windows_of_the_frames_in_use():
    batches, starts = clips(), set()
    x, P = to_float(VIDEO.frames), to_float(VIDEO.labels)
    for step in range(60):
        batch = batches.draw(step, 15, 0.3)
        assert batch.teacher.shape == (2, 3) and batch.eps.shape == (2, 3, 4, 1, 1) and batch.shift is None
        for clip, poses in zip(batch.frames, batch.labels, strict=True):
            start = next(k for k in range(17) if torch.equal(clip, x[k : k + 4]))
            assert torch.equal(poses, P[start : start + 4])
            starts.add(start)
    assert starts == set(range(12))  # the first and the last one too
    for tfr in (0.0, 1.0):
        assert (clips(batch_size=50).draw(0, 20, tfr).teacher == bool(tfr)).all()
    assert 0.2 < clips(batch_size=50).draw(0, 20, 0.3).teacher.float().mean() < 0.4


def test_replay_feeds_true_frames_at_ratio_1_and_predictions_at_0():
    batches = replay(shift=0, batch_size=50)
    batches.predicted.copy_(torch.from_numpy(255 - VIDEO.frames))
    x, P = to_float(VIDEO.frames), to_float(VIDEO.labels)
    for tfr in (0.0, 0.5, 1.0):
        batch = batches.draw(3, 15, tfr)
        t = batch.places
        assert batch.shift is None and batch.teacher.all() and batch.eps.shape == (150, 1, 4, 1, 1)
        assert sorted(set(t.tolist())) == list(range(1, 15))
        assert torch.equal(batch.frames[:, 1], x[t]) and torch.equal(batch.labels[:, 1], P[t])
        true = (batch.frames[:, 0] == x[t - 1]).flatten(1).all(1)
        assert torch.equal(batch.frames[~true, 0], to_float(255 - VIDEO.frames)[t[~true] - 1])
        assert abs(true.float().mean() - tfr) < 0.15
        assert tfr == 0.5 or true.all() == bool(tfr)


@pytest.mark.parametrize("make", [clips, replay])
def test_the_step_alone_seeds_a_batch_of_which_each_process_takes_its_share(make):
    def flat(batch):
        return [value for value in vars(batch).values() if value is not None]

    one, again, other = (flat(make(batch_size=4).draw(step, 20, 0.5)) for step in (5, 5, 6))
    shares = [flat(make(Ranks(rank, 2), batch_size=4).draw(5, 20, 0.5)) for rank in range(2)]
    for whole, same, unlike, *parts in zip(one, again, other, *shares, strict=True):
        assert torch.equal(whole, same) and torch.equal(whole, torch.cat(parts))
        assert whole.all() or not torch.equal(whole, unlike)
    refuses(r"a batch of \d+ cannot be divided among 5 processes", make(Ranks(0, 5), batch_size=4).draw, 0, 20, 1.0)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_moving_equals_a_slow_loop(dtype):
    pictures = np.random.default_rng(0).integers(0, 256, (2, 5, 6, 9, 3)).astype(dtype)
    shift = torch.tensor([[0, 0], [1, -2], [-5, 8], [0, 3], [9, -20]])  # farther than the picture is wide, too
    found = moved(torch.from_numpy(pictures), shift)
    for k in range(2):
        for b, (down, right) in enumerate(shift.tolist()):
            np.testing.assert_array_equal(found[k, b], shifted(pictures[k, b], down, right))


def test_every_second_scene_is_moved_and_its_prediction_moved_back():
    batches = replay(shift=4, batch_size=20)
    batch = batches.draw(0, 20, 1.0)
    assert (batch.shift[::2] == 0).all()
    down, right = (set(batch.shift[1::2, k].tolist()) for k in range(2))
    assert down == {-1, 0, 1} and right == set(range(-4, 5))
    for b, (t, shift) in enumerate(zip(batch.places.tolist(), batch.shift.tolist(), strict=True)):
        if b < 20:
            for k in range(2):
                torch.testing.assert_close(batch.frames[b, k], to_float(shifted(VIDEO.frames[t - 1 + k], *shift)))
                torch.testing.assert_close(batch.labels[b, k], to_float(shifted(VIDEO.labels[t - 1 + k], *shift)))
    predictions, before = torch.rand(60, 1, 3, H, W), batches.predicted.clone()
    batches.remember(batch, predictions)
    for t in range(20):
        drawn = (batch.places == t).nonzero().flatten().tolist()  # a frame drawn twice: either may be kept
        scenes = ((predictions[b, 0].permute(1, 2, 0).numpy(), (-batch.shift[b]).tolist()) for b in drawn)
        kept = batches.predicted[t].numpy() / 255
        assert any(np.abs(shifted(scene, *back) - kept).max() < 0.51 / 255 for scene, back in scenes) or not drawn
        assert drawn or torch.equal(batches.predicted[t], before[t])


@pytest.fixture
def objective():
    found = Objective(model(config(shift=4)), config(shift=4))
    with torch.no_grad():
        found.model.Generator.background.normal_()
    return found


def test_a_network_that_paints_nothing_shows_the_moved_room(objective):
    batch = replay(shift=4).draw(0, 20, 1.0)
    generator = objective.model.Generator
    with torch.no_grad():
        generator.out.weight.zero_()
        generator.out.bias.fill_(-40.0)
        room = torch.sigmoid(generator.background).permute(1, 2, 0).numpy()
    predictions = objective(batch, 1.0)[2][:, 0].permute(0, 2, 3, 1)
    assert batch.shift.any()
    for picture, (down, right) in zip(predictions.numpy(), batch.shift.tolist(), strict=True):
        np.testing.assert_allclose(picture, shifted(room, down, right), atol=1e-6)


@pytest.mark.parametrize("shift", [(0, 0), (1, -3)])
def test_a_moved_batch_equals_a_model_whose_background_was_moved(objective, shift):
    """In its loss, and in the gradient of each weight, the background's too, which is moved back."""
    batch = dataclasses.replace(replay(shift=4).draw(0, 20, 1.0), shift=torch.tensor(shift).expand(6, 2))
    plain = copy.deepcopy(objective)
    room = plain.model.Generator.background
    index = torch.from_numpy(shifted(np.arange(H * W).reshape(H, W, 1), *shift)).flatten()  # where each pixel is from
    with torch.no_grad():
        room.copy_(room.flatten(1)[:, index].view_as(room))
    loss, *rest = objective(batch, 1.0)
    expected, *others = plain(dataclasses.replace(batch, shift=None), 1.0)
    for a, b in zip([loss, *rest], [expected, *others], strict=True):
        torch.testing.assert_close(a, b)
    loss.backward()
    expected.backward()
    back = torch.zeros(3, H * W).index_add_(1, index, room.grad.flatten(1)).view_as(room)
    torch.testing.assert_close(objective.model.Generator.background.grad, back, rtol=1e-4, atol=1e-8)
    assert back.abs().sum() > 0
    room.grad = objective.model.Generator.background.grad
    for (name, a), (_, b) in zip(objective.named_parameters(), plain.named_parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-3, atol=1e-7, msg=name)


def test_only_weights_that_are_a_picture_are_moved():
    batch = replay(shift=4).draw(0, 20, 1.0)
    assert list(moved_weights(model(config()), batch)) == ["Generator.background"]
    assert moved_weights(model(config(variant="course")), batch) == {}
    assert moved_weights(model(config()), dataclasses.replace(batch, shift=None)) == {}
