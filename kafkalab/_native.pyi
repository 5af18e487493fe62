"""The native half of kafkalab, written in Rust (``rust/``)."""

def version() -> str:
    """Tell the version of the native half, as Cargo spells it.

    Returns
    -------
    str
        A semantic version such as ``"0.1.0-dev.0"``, which Python spells ``0.1.0.dev0``.
    """
