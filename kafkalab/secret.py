"""Text that is never shown."""


class Secret:
    """A password or key that no repr, str, format or traceback shows.

    It can be pickled, as worker processes need it, and compared.

    Examples
    --------
    >>> password = Secret("hunter2")
    >>> print(password, repr(password), f"{password}")
    *** Secret('***') ***
    >>> password.reveal()
    'hunter2'
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the text itself."""
        return self._text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._text == other._text

    def __hash__(self) -> int:
        return hash((Secret, self._text))

    def __str__(self) -> str:
        return "***"

    def __repr__(self) -> str:
        return "Secret('***')"

    def __format__(self, spec: str) -> str:
        return format(str(self), spec)

    def __reduce__(self) -> tuple[type, tuple[str]]:
        return type(self), (self._text,)
