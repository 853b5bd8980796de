"""The names of this package's door under an earlier name; to be deleted when nothing imports it any more."""

from labutils.dance import *  # noqa: F403
