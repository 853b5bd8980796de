"""The synthetic dance: a stand-in for the course's data set, in the course's own folder layout."""

from labutils.dance.stage import (
    CENTRE_Z,
    JOINT_NAMES,
    LIMB_COLORS,
    LIMBS,
    STATISTICS,
    Dancer,
    draw_pose,
    make_data,
    print_stats,
    project,
    rest_pose,
    room_light,
    solve,
    statistics,
)

__all__ = [
    "CENTRE_Z",
    "JOINT_NAMES",
    "LIMBS",
    "LIMB_COLORS",
    "STATISTICS",
    "Dancer",
    "draw_pose",
    "make_data",
    "print_stats",
    "project",
    "rest_pose",
    "room_light",
    "solve",
    "statistics",
]
