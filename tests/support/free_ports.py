"""Ports on loopback for the processes of a test, so that several control planes run side by side.

Asking the system for port 0 and closing the socket leaves a gap in which another process, or any
outgoing connection, can get the same number. So numbers are taken in blocks below the range that
the system assigns by itself. A lock file holds each block while its control plane runs; the system
drops the lock when the process ends, however it ends.
"""

from __future__ import annotations

import fcntl
import os
import socket
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

BLOCK = 8
"""The number of ports in one claim."""

_FIRST, _END = 20_000, 32_000


class NoFreePortsError(RuntimeError):
    """Every block is claimed, or has a port that something else listens on."""


@dataclass(frozen=True)
class PortClaim:
    """BLOCK neighbouring TCP ports on 127.0.0.1, ours until `release`."""

    ports: tuple[int, ...]
    _lock: TextIO

    def release(self) -> None:
        """Gives the ports back; a second call does nothing."""
        self._lock.close()


def claim_ports() -> PortClaim:
    """Claims a block of ports that nothing listens on.

    Raises: NoFreePortsError; OSError if the folder of the lock files cannot be written.
    """
    folder = Path(tempfile.gettempdir(), f"spotalis-ports-{os.getuid()}")
    folder.mkdir(mode=0o700, exist_ok=True)
    for first in _first_ports():
        lock = (folder / f"{first}.lock").open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            continue
        ports = tuple(range(first, first + BLOCK))
        if all(_is_free(port) for port in ports):
            return PortClaim(ports, lock)
        lock.close()
    raise NoFreePortsError(f"no {BLOCK} free ports between {_FIRST} and {_END}")


def _first_ports() -> Iterator[int]:
    """The first port of every block, from one that depends on the process, all round."""
    blocks = (_END - _FIRST) // BLOCK
    for step in range(blocks):
        yield _FIRST + (os.getpid() * 7 + step) % blocks * BLOCK


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: old ones rest
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
