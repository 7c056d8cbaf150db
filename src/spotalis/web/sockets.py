"""Opens the sockets on which a server listens."""

from __future__ import annotations

import errno
import socket

from spotalis.model.errors import PortInUse

_BACKLOG = 1024
"""Connections that the system queues while the limit is reached, as in a burst."""
_SILENT_SECONDS = 10
"""Time for which the kernel keeps a connection that has sent nothing, before it is accepted."""


def bind(host: str, port: int) -> list[socket.socket]:
    """Listen on each address of the host.

    "" and "::" stand for all addresses of both families. Addresses that this machine does not
    have, such as those of a family that is switched off, are skipped if there is another one.

    Raises:
        PortInUse: another process listens on the port.
        OSError: the address is not local, or the port is privileged.
    """
    name = None if host in ("", "::") else host
    found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    listeners: list[socket.socket] = []
    missing: OSError | None = None
    for family, address in dict.fromkeys((entry[0], entry[4]) for entry in found):
        chosen = port_of(listeners[0]) if listeners else port  # the same for all if port is 0
        try:
            listener = socket.create_server(
                (address[0], chosen, *address[2:]),
                family=family,
                backlog=_BACKLOG,
            )
        except OSError as error:
            if error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                missing = error
                continue
            for listener in listeners:
                listener.close()
            if error.errno == errno.EADDRINUSE:
                raise PortInUse(host, port) from None
            raise
        listener.setblocking(False)
        if hasattr(socket, "TCP_DEFER_ACCEPT"):  # Linux
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, _SILENT_SECONDS)
        listeners.append(listener)
    if missing is not None and not listeners:
        raise missing
    return listeners


def port_of(listener: socket.socket) -> int:
    """The port on which a socket listens."""
    return int(listener.getsockname()[1])
