"""The two kinds of message a user gets: an error that stops, a warning that says what was done."""


class FactvizError(ValueError):
    """Bad input: the message names it, shows the value and says what would work."""


class FactvizWarning(UserWarning):
    """Something was decided for the user; the message says what, and how to decide otherwise."""
