"""The one exception a user of the lab is meant to read."""


class LabError(Exception):
    """Something in the user's input is wrong; the message names it and says what to do.

    The command line prints the message without a traceback and exits with status 2.
    """
