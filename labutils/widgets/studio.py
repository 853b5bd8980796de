"""PoseStudio: move the joints of the stick figure by hand, and the model paints the dancer.

The figure is dragged in the browser.  Python draws the label with ``stage.draw_pose``, so that the model sees exactly
what it was trained on, and predicts the next frame from the last one::

    studio = PoseStudio(model, video)          # the last frame at first: frame 1 of the video
    studio                                     # drag, record, or set key poses
    studio.poses                               # the dance, (T, 18, 2) in pixels, NaN where a joint is hidden
    studio.predict()                           # uint8 (T, H, W, 3)
    studio.export_gif("outputs/my_dance.gif")

The colours of the limbs are OpenPose's, as in the course's labels.  A model that was trained on labels with other
colours or thicker lines still runs, but sees a drawing it does not know.
"""

import time
import zlib
from collections import deque
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import traitlets
from matplotlib.figure import Figure

from labutils.dance.stage import CENTRE_Z, JOINT_NAMES, LIMB_COLORS, LIMBS, Dancer, draw_pose, project, rest_pose, solve
from labutils.errors import LabError
from labutils.show.figures import LabFigure
from labutils.show.video import write_gif
from labutils.widgets import page

RATE = 12.0  # poses recorded in a second
LONGEST = 600  # poses in a dance
OUTSIDE = 0.5  # joints may leave the picture by half of it; there, as in the data, nobody sees them
PARENT = {child: parent for parent, child in LIMBS}  # of each joint but the neck, which is the root
NECK = JOINT_NAMES.index("neck")
TREE = tuple(child for _, child in LIMBS)  # parents before children

Pose = Sequence[Sequence[float]]


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
    if len(keys) < 2:
        return keys.astype(np.float64).copy()
    parents = [PARENT[j] for j in TREE]
    limbs = keys[:, list(TREE)] - keys[:, parents]  # (n, 17, 2)
    length, angle = np.linalg.norm(limbs, axis=-1), np.arctan2(limbs[..., 1], limbs[..., 0])  # (n, 17)
    angle = np.unwrap(angle, axis=0)
    s = np.arange(between) / between
    s = 10 * s**3 - 15 * s**4 + 6 * s**5

    def blend(values: np.ndarray) -> np.ndarray:  # (n, ...) -> (T, ...)
        weight = s.reshape(1, -1, *[1] * (values.ndim - 1))  # (1, between, ...)
        parts = values[:-1, None] * (1 - weight) + values[1:, None] * weight  # (n - 1, between, ...)
        return np.concatenate([parts.reshape(-1, *values.shape[1:]), values[-1:]])

    length, angle = blend(length), blend(angle)
    dance = np.empty((len(length), 18, 2))
    dance[:, NECK] = blend(keys[:, NECK])
    for i, joint in enumerate(TREE):
        step = length[:, i, None] * np.stack([np.cos(angle[:, i]), np.sin(angle[:, i])], -1)
        dance[:, joint] = dance[:, parents[i]] + step
    return dance


# -------------------------------------------------------------------------------------------------------- widget


class PoseStudio(page.LabWidget):
    """Condition a model by hand.

    Each change of the pose is one step of the model: the last frame, the new pose and z give the next frame.  Traits
    that go both ways:
        joints: 18 positions [x, y] in pixels of the label, in the order of ``stage.JOINT_NAMES``.
        hidden: joints that the label lacks, as where a pose estimator finds nothing.
        feed: the last frame, "previous": the model's own last prediction; "first": always the given first frame.
        latent: z, "zero": the prior's mean; "prior": drawn from N(0, I) for every frame.
        keep_lengths: dragging turns limbs (and bends elbows and knees) rather than stretching them.
        keyframes: key poses, each {"joints": ..., "hidden": ...};  between: frames from one to the next.
        source: what the dance is, "recording" or "keyframes".  fps: of recording, playing and the GIF.

    Args:
        model: a trained ``ConditionalVAE``; left in the mode in which it came.
        first: the first frame, uint8 (H, W, 3), or a ``dataset.Video``, whose frame 1 it is; default: the background
            that a model of the fast variant has learned.
        seed: of z where it is drawn from the prior.
        gif: where the button "export GIF" writes to.
        **traits: first values of the traits above.

    Raises:
        LabError: the frame is of another size than the model, or none is given and the model knows no background.
    """

    _esm = page.module("studio.js")
    _css = page.styles("studio.css")

    joints = traitlets.List().tag(sync=True)
    hidden = traitlets.List().tag(sync=True)
    feed = traitlets.Enum(("previous", "first"), default_value="previous").tag(sync=True)
    latent = traitlets.Enum(("zero", "prior"), default_value="zero").tag(sync=True)
    keep_lengths = traitlets.Bool(True).tag(sync=True)
    keyframes = traitlets.List().tag(sync=True)
    between = traitlets.Int(12).tag(sync=True)
    source = traitlets.Enum(("recording", "keyframes"), default_value="recording").tag(sync=True)
    fps = traitlets.Float(RATE).tag(sync=True)
    _take = traitlets.Bytes().tag(sync=True)
    _about = traitlets.Dict().tag(sync=True)
    _shown = traitlets.Dict().tag(sync=True)

    def __init__(
        self,
        model: Any,
        first: Any = None,
        seed: int = 0,
        gif: str | Path = "my_dance.gif",
        **traits: Any,
    ) -> None:
        self.model, self.seed, self.gif = model, seed, Path(gif)
        self.height, self.width = model.cfg.frame_H, model.cfg.frame_W
        size = (self.height, self.width, 3)
        if first is None:
            first = self._background()
        frame = np.asarray(first.frames[0] if hasattr(first, "frames") else first)
        if frame.dtype != np.uint8 or frame.shape != size:
            raise LabError(
                f"PoseStudio: the first frame is {frame.dtype} {frame.shape}; the model was built for uint8 {size}"
            )
        self.first = frame
        self._draws = 0
        self._model_ms: deque[float] = deque(maxlen=50)
        presets = preset_poses(self.height, self.width)
        self._last = self._float(frame)
        pose = self._seen(
            self._places(traits.setdefault("joints", presets["rest"].tolist())),
            _joint_numbers(traits.get("hidden", [])),
        )
        feed, latent = traits.get("feed", "previous"), traits.get("latent", "zero")
        self.step(pose, feed, latent)  # the first step of all is slower
        self.restart()
        start = time.perf_counter()
        prediction = self.step(pose, feed, latent)
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
        self.on_msg(self._answer)

    def _background(self) -> np.ndarray:
        if self.model.cfg.variant != "fast":
            raise LabError(
                "PoseStudio: a model of the course's architecture knows no background; give a first frame or a video"
            )
        from labutils.images import to_uint8

        return to_uint8(self.model.Generator.background.sigmoid())

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

    @traitlets.validate("between")
    def _valid_between(self, proposal: Any) -> int:
        return min(max(int(proposal["value"]), 1), 120)

    @traitlets.validate("fps")
    def _valid_fps(self, proposal: Any) -> float:
        return min(max(float(proposal["value"]), 1.0), 30.0)

    @traitlets.validate("_take")
    def _valid_take(self, proposal: Any) -> bytes:
        data = bytes(proposal["value"])
        if len(data) % (18 * 2 * 4):
            raise LabError(f"a recording of {len(data)} bytes is no list of poses (18, 2) in float32")
        return data[: LONGEST * 18 * 2 * 4]

    def _places(self, joints: Any) -> np.ndarray:
        """Joints as float64 (18, 2), within the picture and half a picture around it."""
        try:
            places = np.array(joints, dtype=np.float64)
        except (TypeError, ValueError):
            places = np.empty(0)
        if places.shape != (18, 2) or not np.isfinite(places).all():
            raise LabError(
                f"joints have shape {places.shape}; expected 18 finite positions [x, y] in pixels of the "
                f"{self.height}x{self.width} label, in the order of stage.JOINT_NAMES; hide joints with `hidden`"
            )
        size = np.array([self.width, self.height])
        return np.clip(places, -OUTSIDE * size, (1 + OUTSIDE) * size)

    def _seen(self, joints: Any, hidden: Sequence[int]) -> np.ndarray:
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
            take = np.frombuffer(self._take, "<f4").reshape(-1, 18, 2).astype(np.float64)
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

    @staticmethod
    def _float(images: np.ndarray) -> Any:
        from labutils.images import to_float

        return to_float(images)

    def _noise(self, steps: int) -> Any:
        """z of a dance, (steps, N, h, w): zeros, or the same draws from the prior every time."""
        import torch

        if self.latent == "zero":
            return torch.zeros(steps, *self.model.latent_shape)
        return torch.randn(steps, *self.model.latent_shape, generator=torch.Generator().manual_seed(self.seed))

    def step(self, pose: np.ndarray | None = None, feed: str | None = None, latent: str | None = None) -> np.ndarray:
        """Predict the next frame, uint8 (H, W, 3); it becomes the last frame.

        Args:
            pose: (18, 2) in pixels with NaN for hidden joints; default: the pose that is shown.
            feed, latent: as the traits; default: these.
        """
        import torch

        from labutils.images import to_uint8
        from labutils.model import evaluating

        label = draw_pose(self.pose if pose is None else pose, self.height, self.width)
        z = torch.zeros(1, *self.model.latent_shape)  # (1, N, h, w)
        if (latent or self.latent) == "prior":
            self._draws += 1
            z = torch.randn(z.shape, generator=torch.Generator().manual_seed(self.seed + self._draws))
        last = self._float(self.first) if (feed or self.feed) == "first" else self._last
        with evaluating(self.model) as device:
            feature = self.model.label_transformation(self._float(label)[None].to(device))
            frame = self.model.step(last[None].to(device), feature, z.to(device))[0].clamp(0, 1)  # (3, H, W)
        self._last = frame.cpu()
        return to_uint8(self._last)

    def restart(self) -> None:
        """Make the given first frame the last one again."""
        self._last = self._float(self.first)
        self._draws = 0

    def predict(self) -> np.ndarray:
        """The whole dance as the model paints it, uint8 (T, H, W, 3): one step for each pose, from the first frame on.

        Raises:
            LabError: there is no dance yet.
        """
        return self._dance()[0]

    def labels(self) -> np.ndarray:
        """The labels of the dance, uint8 (T, H, W, 3); LabError where there is none yet."""
        return self._dance()[1]

    def _dance(self) -> tuple[np.ndarray, np.ndarray]:
        import torch

        from labutils.images import to_uint8
        from labutils.model import evaluating

        poses = self.poses
        if not len(poses):
            what = "press record and drag" if self.source == "recording" else "add key poses"
            raise LabError(f"there is no dance yet: {what}, or set studio.poses")
        labels = np.stack([draw_pose(pose, self.height, self.width) for pose in poses])  # (T, H, W, 3)
        P, x1, z = self._float(labels), self._float(self.first), self._noise(len(poses))
        with evaluating(self.model) as device:
            if self.feed == "previous":
                video = torch.cat([P[:1], P])[None]  # the model's frame 1 is the given one; its label is not used
                frames = self.model.generate(x1[None].to(device), video.to(device), z=z[None].to(device))[0, 1:]
            else:
                parts = []
                for start in range(0, len(P), 32):
                    feature = self.model.label_transformation(P[start : start + 32].to(device))
                    last = x1.to(device).expand(len(feature), -1, -1, -1)
                    parts.append(self.model.step(last, feature, z[start : start + 32].to(device)).clamp(0, 1))
                frames = torch.cat(parts)
        return to_uint8(frames), labels

    def export_gif(self, path: str | Path | None = None, scale: int = 4) -> Path:
        """Write the dance as a GIF, prediction beside pose, and return its path.

        Args:
            path: default: the ``gif`` of the studio.  scale: enlargement.

        Raises:
            LabError: there is no dance yet, or the file cannot be written.
        """
        frames, labels = self._dance()
        return write_gif(
            self.gif if path is None else path, {"prediction": frames, "pose": labels}, fps=self.fps, scale=scale
        )  # fmt: skip

    @property
    def latency(self) -> float:
        """Median time of a live step in Python in ms: label, model and conversion; NaN before the first one."""
        return float(np.median(self._model_ms)) if self._model_ms else float("nan")

    # -- the browser

    def _answer(self, _: Any, content: dict[str, Any], buffers: Any = None) -> None:
        """Answer one question of studio.js; it never asks a second one before."""
        reply: dict[str, Any] = {"answer": content.get("ask"), "what": content.get("what")}
        out: list[bytes] = []
        start = time.perf_counter()
        try:
            if content.get("what") == "step":
                if content.get("restart"):
                    self.restart()
                pose = self._seen(self._places(content["joints"]), _joint_numbers(content["hidden"]))
                prediction = self.step(pose, content["feed"], content["latent"])
                out = [prediction.tobytes(), draw_pose(pose, self.height, self.width).tobytes()]
                self._model_ms.append(1000 * (time.perf_counter() - start))
            else:
                for name in ("feed", "latent", "source", "fps", "between", "keyframes"):
                    self.set_trait(name, content[name])  # its own message may still be on the way
                if buffers:
                    self._take = bytes(buffers[0])
                if content.get("what") == "gif":
                    path = self.export_gif()
                    out = [path.read_bytes()]
                    reply |= {"path": str(path), "name": path.name, "frames": len(self.poses)}
                else:
                    frames, _ = self._dance()
                    out = [frames.tobytes(), self.poses.astype("<f4").tobytes()]
        except (LabError, traitlets.TraitError) as error:
            reply["error"] = str(error)
        except Exception as error:  # told in the widget: a traceback would go to a log that nobody reads
            reply["error"] = f"{type(error).__name__}: {error}"
        reply["ms"] = 1000 * (time.perf_counter() - start)
        self.send(reply, out)

    def __repr__(self) -> str:
        dance = f"{self.source} of {len(self.poses)} poses"
        return f"PoseStudio({self.height}x{self.width}; {dance}, {len(self.keyframes)} key poses)"

    def to_html(self, path: str | Path, title: str = "Pose studio") -> Path:
        """Write one self-contained page that plays the dance; the figure can be moved, but nobody predicts there."""
        import html

        shown = self._shown
        with self.hold_sync():  # what goes into the page need not go to a browser
            if len(self.poses):
                frames, poses = self.predict(), self.poses.astype("<f4").tobytes()
                self._shown = {**shown, "frames": zlib.compress(frames.tobytes(), 6), "poses": poses}
            try:
                return page.write_page(path, title, [f"<h1>{html.escape(title)}</h1>", self])
            finally:
                self._shown = shown

    def figure(self, columns: int = 8) -> Figure:
        """A still: ``columns`` moments of the dance, pose over prediction; before there is one, the pose shown."""
        if columns < 1:
            raise LabError(f"figure: columns is {columns}; at least 1 is needed")
        if len(self.poses):
            frames, labels = self._dance()
        else:
            frames, labels = np.frombuffer(self._shown["prediction"], np.uint8), self.label[None]
            frames = frames.reshape(labels.shape)
        shown = np.unique(np.rint(np.linspace(0, len(frames) - 1, columns)).astype(int))
        figure = LabFigure(figsize=(1.45 * max(len(shown), 2), 1.45 * 2 * self.height / self.width + 0.4))
        grid = figure.subplots(2, len(shown), squeeze=False, gridspec_kw={"hspace": 0.06, "wspace": 0.04})
        for j, t in enumerate(shown):
            grid[0, j].set_title(f"{t + 1}", fontsize=8, pad=3, color="0.35")
            for i, images in enumerate((labels, frames)):
                grid[i, j].imshow(images[t], interpolation="nearest")
                grid[i, j].set(xticks=[], yticks=[])
                grid[i, j].spines[:].set(color="0.8", linewidth=0.5)
        grid[0, 0].set_ylabel("pose", fontsize=8)
        grid[1, 0].set_ylabel("prediction", fontsize=8)
        return figure


def _joint_numbers(values: Any) -> list[int]:
    """Joints by number or by name, as sorted numbers."""
    try:
        numbers = sorted({JOINT_NAMES.index(v) if isinstance(v, str) else int(v) for v in values})
    except (TypeError, ValueError) as error:
        raise LabError(f"hidden is {values!r}; give joints by number or by their name in stage.JOINT_NAMES") from error
    if any(not 0 <= n < len(JOINT_NAMES) for n in numbers):
        raise LabError(f"hidden is {values!r}; joints are numbered from 0 to {len(JOINT_NAMES) - 1}")
    return numbers
