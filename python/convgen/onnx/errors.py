"""What goes wrong, as sentences for the user."""


class Refused(ValueError):
    """The whole model: nothing is written."""


class LeftOut(Exception):
    """One node, and what follows it."""
