"""The synthetic dance: a stand-in for the course's data set, in the course's own folder layout.

One jointed figure dances seeded choreographies in a lit studio, seen by one fixed camera.  Every frame comes with the
pose image that a pose estimator would have drawn, and with one number that no pose image tells: the room light.

    figure    skeleton and kinematics       renderer  room and figure as frames    writer  ``make_data``
    dancer    movements, choreographies     pose      pose images                  stats   ``statistics``
    camera    metres to pixels              light     the hidden factor

Units and axes.  Lengths in metres, angles in degrees, image positions in pixels (pixel i covers [i, i + 1)), time in
frames, 30 to the second.  World: x to the right of the picture, y up, z away from the camera.  Yaw 0 faces the camera,
yaw 90 faces the right edge of the picture.

The processes that render a dance import this package, so it does without torch.
"""

from labutils.dance.camera import project
from labutils.dance.dancer import CENTRE_Z, Dancer, choreography
from labutils.dance.figure import JOINT_NAMES, LIMB_COLORS, LIMBS, solve
from labutils.dance.light import read_light, room_light
from labutils.dance.lights import CLEAN, GAINS, describe_lights, information, read_states, seen_lights, switching_lights
from labutils.dance.pose import draw_pose, rest_pose
from labutils.dance.stats import STATISTICS, print_stats, statistics
from labutils.dance.writer import make_data, stage_lights

__all__ = [
    "CENTRE_Z",
    "CLEAN",
    "GAINS",
    "JOINT_NAMES",
    "LIMBS",
    "LIMB_COLORS",
    "STATISTICS",
    "Dancer",
    "choreography",
    "describe_lights",
    "draw_pose",
    "information",
    "make_data",
    "print_stats",
    "project",
    "read_light",
    "read_states",
    "rest_pose",
    "room_light",
    "seen_lights",
    "solve",
    "stage_lights",
    "statistics",
    "switching_lights",
]
