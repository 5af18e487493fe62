"""What is wrong with a schema: an error of the call that gave it, or of the rows that were written with it."""


class Unfit(Exception):  # noqa: N818 - it says why, and becomes the error of whoever uses the schema
    """A schema that makes no columns, or cannot be read as the one that is wanted."""
