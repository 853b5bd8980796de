"""What the figure does: a ``Dancer`` moves from pose to pose, actions are made of moves, a choreography of actions."""

import math
from collections.abc import Callable

import numpy as np

from labutils.dance.figure import ARM_CHANNELS, BODY_CHANNELS, CHANNELS, SIDES, STANDING

CENTRE_Z = 4.35  # where the figure mostly dances, metres from the camera
PICTURE_EDGE = 0.57  # the edge of a 2:1 picture, metres to the side for each metre from the camera
STEP, STEP_FRAMES = 0.53, 15  # length and duration of a walking step


class Dancer:
    """Appends frames of pose channels, one movement after the other; each starts and ends at rest.

    Attributes:
        rng: source of every choice.
        now: value of each channel in the last frame.
        frames: blocks (n, len(CHANNELS)) so far.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.now = dict.fromkeys(CHANNELS, 0.0) | STANDING
        self.frames: list[np.ndarray] = []
        self.stand(rng.uniform(-1.3, 1.3), CENTRE_Z + rng.uniform(-0.3, 0.3), self.facing())

    # -- where the figure is

    def length(self) -> int:
        """Number of frames so far."""
        return sum(map(len, self.frames))

    def heading(self) -> float:
        """The yaw between that of both feet."""
        return (self.now["r_yaw"] + self.now["l_yaw"]) / 2

    def place(self) -> tuple[float, float]:
        """The spot (x, z) between both feet."""
        return (self.now["r_x"] + self.now["l_x"]) / 2, (self.now["r_z"] + self.now["l_z"]) / 2

    def ahead(self, forward: float, left: float = 0.0) -> tuple[float, float]:
        """The spot so many metres forward and to the left of where the figure stands."""
        (x, z), yaw = self.place(), math.radians(self.heading())
        return (x + forward * math.sin(yaw) + left * math.cos(yaw), z - forward * math.cos(yaw) + left * math.sin(yaw))

    @staticmethod
    def foothold(foot: str, x: float, z: float, yaw: float, apart: float = 0.1) -> dict[str, float]:
        """Channels of one foot when the figure stands over (x, z): ``apart`` metres beside it, toes a little out."""
        sign, a = SIDES[foot], math.radians(yaw)
        return {
            f"{foot}_x": x + sign * apart * math.cos(a),
            f"{foot}_z": z + sign * apart * math.sin(a),
            f"{foot}_yaw": yaw + sign * 7,
        }

    def stand(self, x: float, z: float, yaw: float) -> None:
        """Put both feet down over (x, z) at once; the next frame begins there."""
        for foot in SIDES:
            self.now |= self.foothold(foot, x, z, yaw)

    # -- choices

    def facing(self) -> float:
        """A direction to face: mostly to the camera, else to a side, seldom away."""
        return float(self.rng.choice([0, 90, -90, 180], p=[0.6, 0.16, 0.16, 0.08]) + self.rng.normal(0, 6))

    def sides(self) -> tuple[str, str]:
        """A side, "r" or "l", and the other one."""
        return ("r", "l") if self.rng.choice(["r", "l"]) == "r" else ("l", "r")

    # -- movements

    def move(self, frames: int, swing: str = "", /, **to: float) -> None:
        """Ease the channels ``to`` to their new values; ``swing`` names a foot that leaves the floor meanwhile.

        The easing is the minimum-jerk curve 10 s^3 - 15 s^4 + 6 s^5 (Flash and Hogan, 1985).
        """
        start = np.array([self.now[c] for c in CHANNELS])
        self.now |= to
        end = np.array([self.now[c] for c in CHANNELS])
        s = np.arange(1, frames + 1)[:, None] / frames
        block = start + (end - start) * (10 * s**3 - 15 * s**4 + 6 * s**5)
        if swing:
            x, z, lift, pitch = (CHANNELS.index(f"{swing}_{c}") for c in ("x", "z", "lift", "pitch"))
            stride = min(1.0, math.hypot(end[x] - start[x], end[z] - start[z]))  # metres
            block[:, lift] += (0.03 + 0.05 * stride) * np.sin(np.pi * s[:, 0]) ** 2
            block[:, pitch] += (8 + 20 * stride) * np.sin(np.pi * s[:, 0] ** 0.7) ** 2  # early
        self.frames.append(block)

    def arms(self, frames: int, both: dict[str, float], **to: float) -> None:
        """Move both arms alike."""
        self.move(frames, **{f"{s}_{c}": v for s in "rl" for c, v in both.items()}, **to)

    def rest(self, frames: int) -> None:
        """Back to standing upright with the arms down, feet as they are."""
        self.move(frames, **{c: 0.0 for c in BODY_CHANNELS}, **{f"{s}_flex": 0.0 for s in "rl"}, **STANDING)

    def turn(self, yaw: float) -> None:
        """Turn on the spot in small steps, the inner foot first."""
        rest = (yaw - self.heading() + 180) % 360 - 180  # degrees, the short way round
        if abs(rest) < 12:
            return
        x, z = self.place()
        count = math.ceil(abs(rest) / 65)
        for i in range(1, count + 1):
            target = yaw - rest * (1 - i / count)
            target += 360 * round((self.heading() - target) / 360)
            for foot in "lr" if rest > 0 else "rl":
                self.move(9, foot, **self.foothold(foot, x, z, target))

    def walk(self, x: float, z: float) -> None:
        """Turn towards (x, z), walk there and close the feet; the arms swing against the legs."""
        x0, z0 = self.place()
        distance = math.hypot(x - x0, z - z0)
        if distance < 0.3:
            return
        self.turn(math.degrees(math.atan2(x - x0, -(z - z0))))
        yaw = self.heading()
        count = max(1, round(distance / STEP))
        pace = STEP_FRAMES + int(self.rng.integers(-2, 3))
        feet = "lr" if self.rng.random() < 0.5 else "rl"
        for i in range(1, count + 1):
            foot, other = feet[i % 2], feet[(i + 1) % 2]
            part = i / count
            swing = {f"{other}_flex": 22.0, f"{foot}_flex": -20.0, f"{other}_elbow": 28.0, f"{foot}_elbow": 14.0}
            hold = self.foothold(foot, x0 + part * (x - x0), z0 + part * (z - z0), yaw, apart=0.07)
            heels = {f"{other}_pitch": 16.0, f"{foot}_pitch": 0.0}
            self.move(pace, foot, lean=4.0, shift=0.04, **hold, **swing, **heels)
        last = feet[(count + 1) % 2]
        level = dict.fromkeys(("r_flex", "l_flex", "r_pitch", "l_pitch", "lean", "shift"), 0.0)
        self.move(pace, last, **level, **self.foothold(last, x, z, yaw), **STANDING)

    def come_back(self) -> None:
        """From the rim of the picture, or from too near or too far, back to the middle."""
        x, z = self.place()
        if abs(x) > 1.5 or abs(z - CENTRE_Z) > 0.5:
            self.walk(self.rng.uniform(-1.2, 1.2), CENTRE_Z + self.rng.uniform(-0.3, 0.3))


# ----------------------------------------------------------- actions: each starts and ends standing, with the arms down


def idle(d: Dancer) -> None:
    """Stand; shift the weight, look about, now and then bring the hands together or one to the face."""
    for _ in range(int(d.rng.integers(1, 4))):
        pose = {f"{s}_{c}": 0.0 for s in "rl" for c in ARM_CHANNELS} | STANDING
        kind = d.rng.random()
        if kind < 0.25:
            pose |= {f"{s}_{c}": v for s in "rl" for c, v in {"elbow": 95.0, "rot": -55.0, "flex": 10.0}.items()}
        elif kind < 0.45:
            s, _ = d.sides()
            pose |= {f"{s}_elbow": 130.0, f"{s}_rot": -30.0, f"{s}_flex": 40.0}
        turn = {"look": d.rng.uniform(-35, 35), "sway": d.rng.uniform(-0.05, 0.05), "twist": d.rng.uniform(-8, 8)}
        d.move(int(d.rng.integers(18, 30)), **pose, **turn)
        d.move(int(d.rng.integers(8, 24)), nod=d.rng.uniform(-5, 10))
    d.rest(18)


def raise_arms(d: Dancer) -> None:
    """Arms sideways to a T or overhead, with straight or bent elbows, or forward and up."""
    for _ in range(int(d.rng.integers(1, 3))):
        kind = int(d.rng.integers(4))
        if kind == 0:  # sideways
            d.arms(20, {"abd": d.rng.uniform(55, 95), "elbow": 8.0})
        elif kind == 1:  # overhead
            d.arms(28, {"abd": d.rng.uniform(150, 168), "elbow": 10.0, "rot": 60.0})
        elif kind == 2:  # hands up, elbows out
            d.arms(24, {"abd": d.rng.uniform(95, 120), "elbow": 70.0, "rot": 88.0})
        else:  # forward
            d.arms(22, {"flex": d.rng.uniform(80, 165), "elbow": 10.0})
        d.move(int(d.rng.integers(6, 20)))
        d.rest(24)


def wave(d: Dancer) -> None:
    """Raise one arm and wave the forearm."""
    s, _ = d.sides()
    upper = d.rng.uniform(70, 110)
    d.move(20, **{f"{s}_abd": upper, f"{s}_elbow": 70.0, f"{s}_rot": 85.0}, look=10.0 if s == "l" else -10.0)
    for _ in range(int(d.rng.integers(2, 5))):
        d.move(9, **{f"{s}_elbow": 35.0})
        d.move(9, **{f"{s}_elbow": 85.0})
    d.rest(22)


def squat(d: Dancer) -> None:
    """Bend both knees, arms forward for balance."""
    for _ in range(int(d.rng.integers(1, 3))):
        deep = d.rng.uniform(0.28, 0.42)
        d.arms(26, {"flex": 75.0, "elbow": 15.0}, drop=deep, lean=80 * deep, shift=-0.2 * deep, nod=-12.0)
        d.move(int(d.rng.integers(4, 14)))
        d.rest(26)


def bow(d: Dancer) -> None:
    """Bend forward from the hips."""
    deep = d.rng.uniform(35, 70)
    d.arms(30, {"flex": 0.45 * deep}, lean=deep, bend=0.3 * deep, shift=-0.1, nod=8.0)
    d.move(int(d.rng.integers(6, 20)))
    d.rest(30)


def lunge(d: Dancer) -> None:
    """A long step forward on a bent knee, the heel behind lifted, some dips, and the front foot comes back."""
    yaw, (x, z) = d.heading(), d.place()
    s, o = d.sides()
    to = d.ahead(d.rng.uniform(0.75, 0.95))
    d.move(24, s, drop=0.24, lean=8.0, **{f"{o}_pitch": 35.0}, **d.foothold(s, *to, yaw))
    for _ in range(int(d.rng.integers(1, 3))):
        d.move(16, drop=0.38, **{f"{o}_pitch": 50.0, f"{o}_flex": 35.0, f"{o}_elbow": 60.0, f"{s}_flex": -20.0})
        d.move(16, drop=0.24, **{f"{o}_pitch": 35.0})
    d.move(22, s, drop=0.0, lean=0.0, **{f"{o}_pitch": 0.0}, **d.foothold(s, x, z, yaw))
    d.rest(16)


def kneel(d: Dancer) -> None:
    """Down on one knee, stay, and up again."""
    yaw, (x, z) = d.heading(), d.place()
    s, o = d.sides()
    d.move(22, s, drop=0.08, **d.foothold(s, *d.ahead(0.8), yaw))
    knee = {f"{o}_pitch": 72.0, f"{s}_flex": 35.0, f"{s}_elbow": 40.0}
    d.move(30, drop=0.45, shift=0.06, lean=8.0, **knee)
    d.move(int(d.rng.integers(12, 36)), look=d.rng.uniform(-30, 30))
    d.move(30, drop=0.08, shift=0.0, lean=4.0, look=0.0, **{f"{o}_pitch": 0.0, f"{s}_flex": 0.0})
    d.move(20, s, drop=0.0, lean=0.0, **d.foothold(s, x, z, yaw))
    d.rest(14)


def side_steps(d: Dancer) -> None:
    """Two or three steps sideways and as many back, arms half out."""
    yaw, start = d.heading(), d.place()
    count, size = int(d.rng.integers(2, 4)), d.rng.uniform(0.3, 0.45)
    way = 1 if d.rng.random() < 0.5 else -1
    spots = [d.ahead(0, way * size * i) for i in range(1, count + 1)]
    for sign, path in ((way, spots), (-way, spots[-2::-1] + [start])):
        for spot in path:
            for foot in "lr" if sign > 0 else "rl":
                d.move(11, foot, r_abd=30.0, l_abd=30.0, drop=0.04, **d.foothold(foot, *spot, yaw))
    d.rest(16)


def turn_round(d: Dancer) -> None:
    """Face another way, wait, and often turn on."""
    for _ in range(int(d.rng.integers(1, 3))):
        d.turn(d.heading() + float(d.rng.choice([90, -90, 180])))
        d.move(int(d.rng.integers(8, 24)))


def walk_across(d: Dancer) -> None:
    """Walk to one side of the picture, sometimes half out of it, turn, and walk back."""
    way = -1 if d.place()[0] > 0 else 1
    z = CENTRE_Z + d.rng.uniform(-0.3, 0.3)
    edge = PICTURE_EDGE * z - 0.1
    d.walk(way * d.rng.uniform(0.65, 1) * edge, z)
    d.move(int(d.rng.integers(4, 16)))
    d.walk(-way * d.rng.uniform(0.2, 1) * edge, z)


def approach(d: Dancer) -> None:
    """Walk towards the camera until the picture cuts head and feet off, turn round, walk back."""
    d.walk(0.4 * d.place()[0] + d.rng.uniform(-0.3, 0.3), d.rng.uniform(1.9, 2.5))
    d.turn(d.rng.uniform(-8, 8))
    d.move(int(d.rng.integers(10, 30)), look=d.rng.uniform(-20, 20))
    d.come_back()


# The deck of actions from which a choreography is dealt; a new one is shuffled when it is empty.
ACTIONS: tuple[Callable[[Dancer], None], ...] = (
    walk_across, walk_across, walk_across, approach, approach, idle, raise_arms, wave, squat, bow, lunge, lunge, kneel,
    side_steps, turn_round,
)  # fmt: skip


def choreography(frames: int, rng: np.random.Generator) -> np.ndarray:
    """A seeded sequence of actions as pose channels, (frames, len(CHANNELS))."""
    dancer = Dancer(rng)
    deck: list[Callable[[Dancer], None]] = []
    while dancer.length() < frames + 30:
        deck = deck or [ACTIONS[i] for i in rng.permutation(len(ACTIONS))]
        deck.pop()(dancer)
        dancer.come_back()
        if rng.random() < 0.6:
            dancer.turn(dancer.facing())
    channels = np.concatenate(dancer.frames)
    skip = int(rng.integers(0, 30))  # not every sequence begins at the first frame of an action
    return channels[skip : skip + frames]
