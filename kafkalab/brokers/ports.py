"""Free ports of the loopback interface."""

import contextlib
import random
import socket

# Below the ports that systems give to outgoing connections: a client that calls a broker which is down could be given
# the broker's own port, would then talk to itself, and keep the broker from coming back.
_RANGE = range(20_000, 32_768)


def free_ports(count: int) -> list[int]:
    """Choose ports that nothing listens on.

    Parameters
    ----------
    count : int
        How many.

    Returns
    -------
    list of int
        Different ports. Another program can still take one before it is used.
    """
    ports: list[int] = []
    with contextlib.ExitStack() as held:
        for port in random.SystemRandom().sample(_RANGE, len(_RANGE)):
            if len(ports) == count:
                break
            with contextlib.suppress(OSError):
                held.enter_context(socket.create_server(("127.0.0.1", port)))
                ports.append(port)
    return ports
