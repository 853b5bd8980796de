"""The Python side of PoseStudio: labels, steps, dances and GIFs against the model driven by hand."""

import base64
import json
import re
import zlib

import imageio.v3 as iio
import numpy as np
import pytest
import torch
from messages import ask
from refusals import refuses
from tiny import slow_loop

from labutils.checkpoint import load_model
from labutils.config import LabConfig
from labutils.dance import JOINT_NAMES, LIMBS, draw_pose, rest_pose
from labutils.errors import LabError
from labutils.images import to_float, to_uint8
from labutils.model import ConditionalVAE
from labutils.show import bold_poses
from labutils.widgets import PoseStudio, page
from labutils.widgets import studio as module
from labutils.widgets.studio import interpolate, preset_poses


@pytest.fixture(scope="module")
def model(trained):
    """A model that has learned for seconds paints the empty room; half of it made of the pose, it shows one."""
    model = load_model(trained / "last.ckpt")
    model.Generator.out.weight.data[:4], model.Generator.out.bias.data[:4] = 0, 2  # opacity
    background = to_uint8(model.Generator.background.sigmoid())
    for _ in range(16):
        here, there = (slow_loop(model, background, [draw_pose(walk()[t], 32, 64)]).astype(int) for t in (0, -1))
        if np.abs(here - there).max() < 80:
            model.label_transformation.conv.weight.data *= 2
    return model


@pytest.fixture
def studio(model, video):
    return PoseStudio(model, video)


def walk(count=7):
    """Poses that move to the right."""
    return rest_pose() + np.linspace(0, 12, count)[:, None, None] * [1, 0]


def turned(vectors, degrees):
    """Vectors (..., 2), turned from x to y."""
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    return vectors @ [[c, s], [-s, c]]


def lengths(poses):
    return np.stack([np.linalg.norm(poses[..., c, :] - poses[..., p, :], axis=-1) for p, c in LIMBS], -1)


def test_the_label_is_the_one_of_the_training_data(studio):
    np.testing.assert_array_equal(studio.pose, rest_pose())
    np.testing.assert_array_equal(studio.label, draw_pose(rest_pose(), 32, 64))
    studio.hidden = ["l_wrist", 3]
    assert studio.hidden == [3, 7] and np.isnan(studio.pose[[3, 7]]).all() and np.isfinite(studio.pose[4]).all()
    pose = rest_pose()
    pose[[3, 7]] = np.nan
    np.testing.assert_array_equal(studio.label, draw_pose(pose, 32, 64))
    studio.hidden = []
    studio.joints = (rest_pose() + [40, 0]).tolist()
    assert np.isnan(studio.pose[studio.pose[:, 0] >= 64]).all() and np.isnan(studio.pose).any()


def test_steps_are_the_models_own(studio, model, video):
    expected = slow_loop(model, video.frames[0], [studio.label] * 3)
    shown = base64.b64decode(page.state(studio)["_shown"]["prediction"]["$bytes"])
    assert shown == expected[0].tobytes()
    np.testing.assert_array_equal(studio.step(), expected[1])
    np.testing.assert_array_equal(studio.step(), expected[2])
    studio.restart()
    np.testing.assert_array_equal(studio.step(), expected[0])
    studio.feed = "first"
    np.testing.assert_array_equal(studio.step(), expected[0])
    studio.latent = "prior"
    one, two = studio.step(), studio.step()
    assert (one != two).any()


@pytest.mark.parametrize("feed", ["previous", "first"])
@pytest.mark.parametrize("latent", ["zero", "prior"])
def test_the_dance_is_predicted_pose_by_pose(studio, model, video, feed, latent):
    studio.feed, studio.latent, studio.poses = feed, latent, walk()
    labels = [draw_pose(pose, 32, 64) for pose in walk()]
    z = None
    if latent == "prior":
        z = torch.randn(7, *model.latent_shape, generator=torch.Generator().manual_seed(0))
    prediction = studio.predict()
    assert prediction.shape == (7, 32, 64, 3) and prediction.dtype == np.uint8
    expected = slow_loop(model, video.frames[0], labels, z, feed)
    assert np.abs(prediction.astype(int) - expected).max() <= 1
    np.testing.assert_array_equal(studio.predict(), prediction)
    assert (prediction[0] != prediction[-1]).any()


@pytest.mark.parametrize("feed", ["previous", "first"])
@pytest.mark.parametrize("latent", ["zero", "prior"])
def test_z_comes_from_a_learned_prior(video, feed, latent):
    model = ConditionalVAE(LabConfig(width=8, N_dim=2, prior="learned")).eval()
    studio = PoseStudio(model, video, feed=feed, latent=latent)
    studio.poses = walk(3)
    eps = torch.randn(3, *model.latent_shape, generator=torch.Generator().manual_seed(0)) * (latent == "prior")
    x = x1 = to_float(video.frames[0])[None]
    with torch.no_grad():
        for t, pose in enumerate(walk(3)):
            last = x1 if feed == "first" else x
            label = model.label_transformation(to_float(draw_pose(pose, 32, 64))[None])
            mean, logvar = model.prior(last, label)
            x = model.step(last, label, mean + (logvar / 2).exp() * eps[t]).clamp(0, 1)
            assert np.abs(studio.predict()[t].astype(int) - to_uint8(x[0])).max() <= 1
        studio.restart()
        z = model.prior(x1, label)[0]
        np.testing.assert_array_equal(studio.step(walk(3)[2], latent="zero"), to_uint8(model.step(x1, label, z)[0]))


def test_recorded_poses_come_back_with_what_is_missing(studio):
    poses = walk(4)
    poses[2, 7] = np.nan
    poses[3] += [60, 0]
    studio.poses = poses
    np.testing.assert_allclose(studio.poses[:3], poses[:3].astype(np.float32))
    assert np.isnan(studio.poses[2, 7]).all() and np.isnan(studio.poses[3]).all()  # out of the picture
    assert studio.source == "recording"


def test_gif_shows_the_recorded_poses_and_their_predictions(studio, tmp_path, monkeypatch):
    studio.poses, studio.fps = walk(), 10
    path = studio.export_gif(tmp_path / "deep" / "dance.gif", scale=2)
    frames = iio.imread(path, index=None)
    assert frames.shape[0] == 7 and iio.immeta(path)["duration"] == 100
    left = frames[:, -64::2, :128:2].astype(int)  # the first panel, below the captions
    assert np.abs(left - studio.predict()).mean() < 12  # a GIF has 256 colours
    seen = {}
    monkeypatch.setattr(module, "write_gif", lambda path, panels, **more: seen.update(panels, path=path))
    studio.gif = tmp_path / "other.gif"
    studio.export_gif()
    np.testing.assert_array_equal(seen["prediction"], studio.predict())
    np.testing.assert_array_equal(seen["pose"], [draw_pose(pose, 32, 64) for pose in walk()])
    assert seen["path"] == tmp_path / "other.gif"


def test_key_poses_are_passed_through_and_limbs_keep_their_lengths():
    presets = preset_poses(32, 64)
    keys = np.stack([presets["rest"], presets["arms sideways"], presets["rest"] + [9, 0]])
    dance = interpolate(keys, 8)
    assert dance.shape == (17, 18, 2)
    np.testing.assert_allclose(dance[::8], keys, atol=1e-9)
    rest = presets["rest"]
    spin = rest.copy()  # the left arm, turned by 170 degrees about the shoulder: it must not shrink on its way
    spin[6:8] = rest[5] + turned(rest[6:8] - rest[5], 170)
    dance = interpolate(np.stack([rest, spin]), 10)
    np.testing.assert_allclose(lengths(dance), np.broadcast_to(lengths(rest), (11, 17)), atol=1e-9)
    half = turned(rest[7] - rest[5], 85)  # of the way, the shorter one
    np.testing.assert_allclose(dance[5, 7] - dance[5, 5], half, atol=1e-9)
    steps = np.linalg.norm(np.diff(dance[:, 7], axis=0), axis=-1)
    assert steps.argmax() in (4, 5) and steps[0] < 0.2 * steps.max()  # starts and ends at rest
    np.testing.assert_allclose(interpolate(keys[:1], 8), keys[:1])


def test_key_poses_make_a_dance(studio):
    presets = preset_poses(32, 64)
    studio.keyframes = [
        {"joints": presets["rest"].tolist(), "hidden": []},
        {"joints": presets["wave"].tolist(), "hidden": ["r_wrist"]},
        {"joints": presets["rest"].tolist()},
    ]
    studio.between, studio.source = 5, "keyframes"
    assert studio.poses.shape == (11, 18, 2) and studio.predict().shape == (11, 32, 64, 3)
    lost = np.isnan(studio.poses[:, JOINT_NAMES.index("r_wrist")]).any(-1)
    np.testing.assert_array_equal(lost, [False] * 5 + [True] * 5 + [False])
    np.testing.assert_allclose(studio.poses[5, 7], presets["wave"][7])
    studio.between = 0
    assert studio.between == 1


def test_presets_stand_in_the_picture():
    presets = preset_poses(32, 64)
    np.testing.assert_array_equal(presets["rest"], rest_pose())
    assert len(presets) >= 6
    for name, pose in presets.items():
        assert pose.shape == (18, 2) and (pose > 0).all() and (pose < [64, 32]).all(), name
        assert name == "rest" or np.abs(pose - rest_pose()).max() > 3
    double = preset_poses(64, 128)["wave"]
    np.testing.assert_allclose(double, 2 * presets["wave"])


def test_joints_stay_near_the_picture(studio):
    joints = rest_pose()
    joints[4], joints[7] = [-1000, 10], [30, 1000]
    studio.joints = joints.tolist()
    assert studio.joints[4] == [-32, 10] and studio.joints[7] == [30, 48]
    assert np.isnan(studio.pose[[4, 7]]).all()


def test_answers_to_the_browser(studio, model, video, tmp_path):
    wave = preset_poses(32, 64)["wave"]
    settings = {"feed": "previous", "latent": "zero"}
    question = {"what": "step", "joints": wave.tolist(), "hidden": [4], "restart": True, **settings}
    pose = wave.copy()
    pose[4] = np.nan
    label = draw_pose(pose, 32, 64)
    expected = slow_loop(model, video.frames[0], [label, label])
    reply, buffers = ask(studio, **question)
    assert buffers == [expected[0].tobytes(), label.tobytes()]
    reply, buffers = ask(studio, **{**question, "restart": False})
    assert buffers[0] == expected[1].tobytes()
    np.testing.assert_array_equal(studio.pose, rest_pose())  # traits travel on their own

    dance = {**settings, "source": "recording", "fps": 12, "between": 12, "keyframes": []}
    assert "no dance yet: press record" in ask(studio, what="dance", **dance)[0]["error"]
    reply, buffers = ask(studio, [walk().astype("<f4").tobytes()], what="dance", **dance)
    np.testing.assert_allclose(studio.poses, walk().astype("<f4"))
    assert buffers[0] == studio.predict().tobytes() and buffers[1] == walk().astype("<f4").tobytes()
    studio.gif = tmp_path / "mine.gif"
    reply, buffers = ask(studio, what="gif", **dance)
    assert reply["path"] == str(studio.gif) and reply["frames"] == 7 and buffers[0] == studio.gif.read_bytes()
    studio.gif = tmp_path / "mine.gif" / "below a file.gif"
    assert "cannot be written" in ask(studio, what="gif", **dance)[0]["error"]
    assert "expected 18 finite positions" in ask(studio, **{**question, "joints": [[0, 0]]})[0]["error"]


def test_what_does_not_fit_is_named(studio, model):
    with pytest.raises(LabError, match=r"uint8 \(16, 64, 3\); the model was built for uint8 \(32, 64, 3\)"):
        PoseStudio(model, np.zeros((16, 64, 3), np.uint8))
    refuses("float64", PoseStudio, model, np.zeros((32, 64, 3)))
    for wrong in ([[1, 2]], [["a", 0]] * 18, np.full((18, 2), np.nan).tolist()):
        with pytest.raises(LabError, match="expected 18 finite positions"):
            studio.joints = wrong
    for wrong in ([18], [-1], ["tail"]):
        with pytest.raises(LabError, match="hidden is"):
            studio.hidden = wrong
    with pytest.raises(LabError, match=r"poses are \(18, 2\)"):
        studio.poses = rest_pose()
    refuses("press record and drag", studio.predict)
    studio.source = "keyframes"
    refuses("add key poses", studio.export_gif)
    refuses("columns is 0", studio.figure, columns=0)
    assert len(studio.poses) == 0


def test_first_frame_of_either_architecture(model, video):
    background = to_uint8(model.Generator.background.sigmoid())
    np.testing.assert_array_equal(PoseStudio(model).first, background)
    course = ConditionalVAE(LabConfig(variant="course", F_dim=8, L_dim=8, N_dim=4, D_out_dim=8)).train()
    refuses("give a first frame or a video", PoseStudio, course)
    studio = PoseStudio(course, video.frames[3])
    studio.poses = walk(3)
    assert studio.predict().shape == (3, 32, 64, 3) and course.training  # left as it came


def test_page_and_figure(studio, tmp_path):
    empty = studio.to_html(tmp_path / "empty.html").read_text(encoding="utf-8")
    assert '"frames":{"$bytes"' not in empty and studio.figure()._repr_png_()
    studio.poses = walk()
    before = page.state(studio)
    text = studio.to_html(tmp_path / "studio.html", title="A <dance>").read_text(encoding="utf-8")
    values = json.loads(re.search(r'<script type="application/json">(.*?)</script>', text, re.S)[1])
    frames = zlib.decompress(base64.b64decode(values["_shown"]["frames"]["$bytes"]))
    assert frames == studio.predict().tobytes() and page.state(studio) == before and "A &lt;dance&gt;" in text
    picture = np.asarray(studio.figure(columns=3).axes[0].images[0].get_array())
    np.testing.assert_array_equal(picture[-96::3, -192::3], studio.predict()[-1])
    np.testing.assert_array_equal(picture[:96:3, -192::3], bold_poses(draw_pose(walk()[-1], 32, 64)))
    picture = base64.b64decode(studio._repr_mimebundle_()[0]["image/png"])
    assert picture[:4] == b"\x89PNG" and len(picture) <= page.STILL_BYTES
