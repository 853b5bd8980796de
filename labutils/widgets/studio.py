"""PoseStudio: move the joints of the stick figure by hand, and the model paints the dancer.

The figure is dragged in the browser.  Python draws the label with ``dance.draw_pose``, so that the model sees exactly
what it was trained on, and predicts the next frame from the last one::

    studio = PoseStudio(model, video)          # the previous frame at first: frame 1 of the video
    studio                                     # drag, record, or set key poses
    studio.poses                               # the dance, (T, 18, 2) in pixels, NaN where a joint is hidden
    studio.predict()                           # uint8 (T, H, W, 3)
    studio.export_gif("outputs/my_dance.gif")

The colours of the limbs are OpenPose's, as in the course's labels.  A model that was trained on labels with other
colours or thicker lines still runs, but sees a drawing it does not know.
"""

import time
import zlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import traitlets
from matplotlib.figure import Figure
from torch import Tensor

from labutils.dance import CENTRE_Z, JOINT_NAMES, LIMB_COLORS, LIMBS, Dancer, draw_pose, project, rest_pose, solve
from labutils.errors import LabError
from labutils.images import Video, to_float, to_uint8
from labutils.model import ConditionalVAE, evaluating
from labutils.show import frame_strip, write_gif
from labutils.widgets import page

RANGES = {"between": (1, 120), "fps": (1.0, 30.0)}
LONGEST = 600  # poses in a dance
OUTSIDE = 0.5  # joints may leave the picture by half of it; there, as in the data, nobody sees them
PARENT = {child: parent for parent, child in LIMBS}  # of each joint but the neck, which is the root
NECK = JOINT_NAMES.index("neck")
TREE = [child for _, child in LIMBS]  # parents before children


# --------------------------------------------------------------------------------------------------------- poses


@lru_cache
def preset_poses(height: int, width: int) -> dict[str, np.ndarray]:
    """Poses of the dance to start from: name -> joints (18, 2) in pixels of a height x width picture."""

    def pose(yaw: float = 0.0, forward: float = 0.0, **channels: float) -> np.ndarray:
        dancer = Dancer(np.random.default_rng(0))
        for foot in "rl":
            dancer.now |= dancer.foothold(foot, 0.0, CENTRE_Z, yaw)
        if forward:  # one foot in front
            dancer.now |= dancer.foothold("r", *dancer.ahead(forward), yaw)
            dancer.now |= dancer.foothold("l", *dancer.ahead(-0.4 * forward), yaw)
        dancer.now |= channels
        dancer.move(1)
        return project(solve(dancer.frames[0])[0, :18], height, width)[0]

    def both(**channels: float) -> dict[str, float]:
        return {f"{side}_{name}": value for side in "rl" for name, value in channels.items()}

    return {
        "rest": rest_pose(height, width),
        "arms sideways": pose(**both(abd=88.0, elbow=6.0)),
        "arms up": pose(**both(abd=128.0, elbow=8.0, rot=60.0)),
        "hands up": pose(**both(abd=100.0, elbow=80.0, rot=88.0)),
        "wave": pose(l_abd=95.0, l_elbow=75.0, l_rot=85.0, look=10.0),
        "squat": pose(drop=0.38, lean=28.0, shift=-0.07, nod=-12.0, **both(flex=75.0, elbow=15.0)),
        "bow": pose(yaw=70.0, lean=55.0, bend=15.0, shift=-0.1, **both(flex=25.0)),
        "walk": pose(yaw=90.0, forward=0.34, l_pitch=35.0, l_flex=28.0, r_flex=-24.0, **both(elbow=25.0)),
        "lunge": pose(yaw=90.0, forward=0.6, drop=0.28, l_pitch=45.0, l_flex=35.0, l_elbow=60.0, r_flex=-20.0),
    }


def interpolate(keys: np.ndarray, between: int) -> np.ndarray:
    """Key poses (n, 18, 2) -> a dance ((n - 1) * between + 1, 18, 2) that passes through them.

    Neck, limb angles and limb lengths are interpolated, each limb turning the shorter way, so that arms swing and do
    not shrink; every movement starts and ends at rest, by 10 s^3 - 15 s^4 + 6 s^5 (Flash and Hogan, 1985).
    """
    joints = keys @ [1, 1j]  # (n, 18), x + iy
    limbs = joints[:, TREE] - joints[:, [PARENT[j] for j in TREE]]  # (n, 17)
    key, step = np.divmod(np.arange((len(keys) - 1) * between + 1), between)  # (T,)
    s = (step / between)[:, None]
    s = 10 * s**3 - 15 * s**4 + 6 * s**5

    def blend(values: np.ndarray) -> np.ndarray:  # (n, m) -> (T, m)
        return values[key] * (1 - s) + values[np.minimum(key + 1, len(keys) - 1)] * s

    limbs = blend(np.abs(limbs)) * np.exp(1j * blend(np.unwrap(np.angle(limbs), axis=0)))  # (T, 17)
    dance = np.empty((len(s), 18), complex)
    dance[:, NECK] = blend(joints[:, [NECK]])[:, 0]
    for joint, limb in zip(TREE, limbs.T):
        dance[:, joint] = dance[:, PARENT[joint]] + limb
    return np.stack([dance.real, dance.imag], -1)


# -------------------------------------------------------------------------------------------------------- widget


class PoseStudio(page.LabWidget):
    """Condition a model by hand.

    Each change of the pose is one step of the model: the previous frame, the new pose and z give the next frame.

    Traits that go both ways:
        joints: 18 positions [x, y] in pixels of the label, in the order of ``labutils.dance.JOINT_NAMES``.
        hidden: joints that the label lacks, as where a pose estimator finds nothing.
        feed: the previous frame, "previous": the model's own latest prediction; "first": always the given first frame.
        latent: z, "zero": the prior's mean; "prior": drawn from the prior for every frame.
        keep_lengths: dragging turns limbs (and bends elbows and knees) rather than stretching them.
        keyframes: key poses, each {"joints": ..., "hidden": ...}.
        between: frames from one key pose to the next.
        source: what the dance is, "recording" or "keyframes".
        fps: of recording, playing and the GIF.

    Args:
        model: a trained model; left in the mode in which it came.
        first: the first frame, uint8 (H, W, 3), or a video, whose frame 1 it is; default: the background that a model
            of the fast variant has learned.
        seed: of z where it is drawn from the prior.
        gif: where the button "export GIF" writes to.
        **traits: first values of the traits above.

    Raises:
        LabError: the frame is of another size than the model, or none is given and the model knows no background.
    """

    _esm = page.module("studio.js")
    _css = page.styles("studio.css")
    page_title = "Pose studio"

    joints = traitlets.List(traitlets.Any()).tag(sync=True)
    hidden = traitlets.List(traitlets.Any()).tag(sync=True)
    feed = traitlets.Enum(("previous", "first"), default_value="previous").tag(sync=True)
    latent = traitlets.Enum(("zero", "prior"), default_value="zero").tag(sync=True)
    keep_lengths = traitlets.Bool(True).tag(sync=True)
    keyframes = traitlets.List(traitlets.Dict()).tag(sync=True)
    between = traitlets.Int(12).tag(sync=True)
    source = traitlets.Enum(("recording", "keyframes"), default_value="recording").tag(sync=True)
    fps = traitlets.Float(12.0).tag(sync=True)
    _take = traitlets.Bytes().tag(sync=True)
    _about = traitlets.Dict().tag(sync=True)
    _shown = traitlets.Dict().tag(sync=True)

    def __init__(
        self,
        model: ConditionalVAE,
        first: np.ndarray | Video | None = None,
        seed: int = 0,
        gif: str | Path = "my_dance.gif",
        **traits: Any,
    ) -> None:
        self.model, self.seed, self.gif = model, seed, Path(gif)
        self.height, self.width = model.cfg.frame_H, model.cfg.frame_W
        if first is None:
            if model.cfg.variant != "fast":
                raise LabError("PoseStudio: this model has learned no background; give a first frame or a video")
            first = to_uint8(model.Generator.get_parameter("background").sigmoid())
        self.first = frame = np.asarray(first.frames[0] if isinstance(first, Video) else first)
        size = (self.height, self.width, 3)
        if frame.dtype != np.uint8 or frame.shape != size:
            raise LabError(
                f"PoseStudio: the first frame is {frame.dtype} {frame.shape}; the model was built for uint8 {size}"
            )
        presets = preset_poses(self.height, self.width)
        traits.setdefault("joints", presets["rest"].tolist())
        pose = self._seen(self._places(traits["joints"]), _joint_numbers(traits.get("hidden", [])))
        for _ in range(2):  # the first step of all is slower
            self.restart()
            start = time.perf_counter()
            prediction = self.step(pose, traits.get("feed", "previous"), traits.get("latent", "zero"))
            seconds = time.perf_counter() - start
        super().__init__(
            _about={
                "height": self.height, "width": self.width, "limbs": [list(limb) for limb in LIMBS],
                "names": [n.replace("r_", "right ").replace("l_", "left ") for n in JOINT_NAMES],
                "colors": [f"#{r:02x}{g:02x}{b:02x}" for r, g, b in LIMB_COLORS],
                "presets": [{"name": name, "joints": np.round(p, 3).tolist()} for name, p in presets.items()],
                "longest": LONGEST, "outside": OUTSIDE, "patience": max(800, round(8000 * seconds)),
            },
            _shown={
                "prediction": prediction.tobytes(), "label": draw_pose(pose, self.height, self.width).tobytes(),
            },
            **traits,
        )  # fmt: skip
        self.answer_with(self._answer)

    # -- traits

    @traitlets.validate("joints")
    def _valid_joints(self, proposal: Any) -> list[list[float]]:
        return self._places(proposal["value"]).tolist()

    @traitlets.validate("hidden")
    def _valid_hidden(self, proposal: Any) -> list[int]:
        return _joint_numbers(proposal["value"])

    @traitlets.validate("keyframes")
    def _valid_keyframes(self, proposal: Any) -> list[dict[str, Any]]:
        return [
            {"joints": self._places(key["joints"]).tolist(), "hidden": _joint_numbers(key.get("hidden", []))}
            for key in proposal["value"]
        ]

    @traitlets.validate("between", "fps")
    def _valid_number(self, proposal: Any) -> float:
        return page.bounded(proposal["value"], *RANGES[proposal["trait"].name])

    def _places(self, joints: Any) -> np.ndarray:
        """Joints as float64 (18, 2), within the picture and half a picture around it."""
        try:
            places = np.array(joints, dtype=np.float64)
        except (TypeError, ValueError):
            places = np.empty(0)
        if places.shape != (18, 2) or not np.isfinite(places).all():
            raise LabError(
                f"joints have shape {places.shape}; expected 18 finite positions [x, y] in pixels of the {self.height}x"
                f"{self.width} label, in the order of labutils.dance.JOINT_NAMES; hide joints with `hidden`"
            )
        size = np.array([self.width, self.height])
        return np.clip(places, -OUTSIDE * size, (1 + OUTSIDE) * size)

    def _seen(self, joints: Any, hidden: Sequence[Any]) -> np.ndarray:
        """What a pose estimator would report: (18, 2), NaN where a joint is hidden or out of the picture."""
        pose = np.array(joints, dtype=np.float64)
        pose[list(hidden)] = np.nan
        pose[((pose < 0) | (pose >= [self.width, self.height])).any(-1)] = np.nan
        return pose

    @property
    def pose(self) -> np.ndarray:
        """The pose that is shown, (18, 2) in pixels, NaN where a joint is hidden or outside of the picture."""
        return self._seen(self.joints, self.hidden)

    @property
    def label(self) -> np.ndarray:
        """Its label as the model sees it, uint8 (H, W, 3)."""
        return draw_pose(self.pose, self.height, self.width)

    @property
    def poses(self) -> np.ndarray:
        """The dance, (T, 18, 2) in pixels, NaN where a joint is hidden or outside; T is 0 before there is one."""
        if self.source == "recording":
            take = np.frombuffer(self._take, "<f4").reshape(-1, 18, 2)[:LONGEST].astype(np.float64)
            return np.stack([self._seen(pose, []) for pose in take]) if len(take) else take
        if not self.keyframes:
            return np.empty((0, 18, 2))
        places = interpolate(np.array([key["joints"] for key in self.keyframes]), self.between)[:LONGEST]
        hidden = [self.keyframes[t // self.between]["hidden"] for t in range(len(places))]
        return np.stack([self._seen(pose, lost) for pose, lost in zip(places, hidden)])

    @poses.setter
    def poses(self, poses: np.ndarray) -> None:
        poses = np.asarray(poses, dtype=np.float64)
        if poses.ndim != 3 or poses.shape[1:] != (18, 2) or np.isinf(poses).any():
            raise LabError(f"poses are {poses.shape}; expected (T, 18, 2) in pixels, NaN where a joint is not known")
        with self.hold_sync():
            self.source = "recording"
            self._take = poses.astype("<f4").tobytes()

    # -- the model

    def step(self, pose: np.ndarray | None = None, feed: str | None = None, latent: str | None = None) -> np.ndarray:
        """Predict the next frame, uint8 (H, W, 3); it becomes the previous frame.

        Args:
            pose: (18, 2) in pixels with NaN for hidden joints; default: the pose that is shown.
            feed, latent: as the traits; default: these.
        """
        label = draw_pose(self.pose if pose is None else pose, self.height, self.width)
        self._steps += 1
        eps = self._noise(1, latent or self.latent, self.seed + self._steps)
        last = to_float(self.first) if (feed or self.feed) == "first" else self._last
        with evaluating(self.model) as device:
            feature = self.model.label_transformation(to_float(label)[None].to(device))
            previous = last[None].to(device)
            z = self.model.draw(previous, feature, eps.to(device))
            frame = self.model.step(previous, feature, z)[0].clamp(0, 1)  # (3, H, W)
        self._last: Tensor = frame.cpu()
        return to_uint8(self._last)

    def restart(self) -> None:
        """Make the given first frame the last one again."""
        self._last = to_float(self.first)
        self._steps = 0

    def _noise(self, count: int, latent: str, seed: int) -> Tensor:
        """The noise of z for so many frames, (T, N, h, w)."""
        shape = (count, *self.model.latent_shape)
        return (
            torch.zeros(shape)
            if latent == "zero"
            else torch.randn(shape, generator=torch.Generator().manual_seed(seed))
        )

    def predict(self) -> np.ndarray:
        """The whole dance as the model paints it, uint8 (T, H, W, 3): one step for each pose, from the first frame on.

        Raises:
            LabError: there is no dance yet.
        """
        return self._dance()[0]

    def _dance(self) -> tuple[np.ndarray, np.ndarray]:
        """The frames of the dance and its labels, both uint8 (T, H, W, 3)."""
        poses = self.poses
        if not len(poses):
            what = "press record and drag" if self.source == "recording" else "add key poses"
            raise LabError(f"there is no dance yet: {what}, or set studio.poses")
        labels = np.stack([draw_pose(pose, self.height, self.width) for pose in poses])  # (T, H, W, 3)
        P, x1 = to_float(labels), to_float(self.first)
        eps = self._noise(len(P), self.latent, self.seed)  # the same draws every time
        with evaluating(self.model) as device:
            if self.feed == "previous":
                video = torch.cat([P[:1], P])[None]  # the model's frame 1 is the given one; its label is not used
                frames = self.model.generate(x1[None].to(device), video.to(device), eps=eps[None].to(device))[0, 1:]
            else:
                parts = []
                for label, noise in zip(P.to(device).split(32), eps.to(device).split(32)):  # (B, 3, H, W), (B, N, h, w)
                    last = x1.to(device).expand(len(label), -1, -1, -1)
                    feature = self.model.label_transformation(label)
                    z = self.model.draw(last, feature, noise)
                    parts.append(self.model.step(last, feature, z).clamp(0, 1))
                frames = torch.cat(parts)
        return to_uint8(frames), labels

    def export_gif(self, path: str | Path | None = None, scale: int = 4) -> Path:
        """Write the dance as a GIF, prediction beside pose, and return its path.

        Args:
            path: default: the ``gif`` of the studio.
            scale: enlargement.

        Raises:
            LabError: there is no dance yet, or the file cannot be written.
        """
        frames, labels = self._dance()
        path = self.gif if path is None else path
        return write_gif(path, {"prediction": frames, "pose": labels}, fps=self.fps, scale=scale)

    def _answer(self, question: dict[str, Any], buffers: Any) -> tuple[dict[str, Any], list[bytes]]:
        if question["what"] == "step":
            if question.get("restart"):
                self.restart()
            pose = self._seen(self._places(question["joints"]), _joint_numbers(question["hidden"]))
            prediction = self.step(pose, question["feed"], question["latent"])
            return {}, [prediction.tobytes(), draw_pose(pose, self.height, self.width).tobytes()]
        for name in ("feed", "latent", "source", "fps", "between", "keyframes"):
            self.set_trait(name, question[name])  # its own message may still be on the way
        if buffers:
            self._take = bytes(buffers[0])
        if question["what"] == "gif":
            path = self.export_gif()
            return {"path": str(path), "name": path.name, "frames": len(self.poses)}, [path.read_bytes()]
        return {}, [self.predict().tobytes(), self.poses.astype("<f4").tobytes()]

    def __repr__(self) -> str:
        dance = f"{self.source} of {len(self.poses)} poses"
        return f"PoseStudio({self.height}x{self.width}; {dance}, {len(self.keyframes)} key poses)"

    def to_html(self, path: str | Path, title: str | None = None) -> Path:
        """Write one self-contained page that plays the dance; the figure can be moved, but nobody predicts there."""
        shown = self._shown
        with self.hold_sync():  # what goes into the page need not go to a browser
            if len(self.poses):
                frames, poses = self.predict(), self.poses.astype("<f4").tobytes()
                self._shown = {**shown, "frames": zlib.compress(frames.tobytes(), 6), "poses": poses}
            try:
                return super().to_html(path, title)
            finally:
                self._shown = shown

    def figure(self, columns: int = 8) -> Figure:
        """A still: ``columns`` moments of the dance, pose over prediction; before there is one, the pose shown."""
        if len(self.poses):
            frames, labels = self._dance()
        else:
            frames, labels = np.frombuffer(self._shown["prediction"], np.uint8), self.label[None]
        figure = frame_strip({"pose": labels, "prediction": frames.reshape(labels.shape)}, columns)
        if len(labels) == 1:
            figure.set_size_inches(3.4, 3.4)
        return figure


def _joint_numbers(values: Any) -> list[int]:
    """Joints by number or by name, as sorted numbers."""
    try:
        numbers = sorted({JOINT_NAMES.index(v) if isinstance(v, str) else int(v) for v in values})
    except (TypeError, ValueError) as error:
        raise LabError(f"hidden is {values!r}; give joints by number or by name (dance.JOINT_NAMES)") from error
    if any(not 0 <= n < len(JOINT_NAMES) for n in numbers):
        raise LabError(f"hidden is {values!r}; joints are numbered from 0 to {len(JOINT_NAMES) - 1}")
    return numbers
