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
"""Number of ports in a claim."""

_FIRST, _END = 20_000, 32_000


class NoFreePortsError(RuntimeError):
    """Every block is claimed, or another process listens on one of its ports."""


@dataclass(frozen=True)
class PortClaim:
    """A claim of BLOCK consecutive TCP ports on 127.0.0.1. It is valid until `release`."""

    ports: tuple[int, ...]
    _lock: TextIO

    def release(self) -> None:
        """Release the ports. A second call does nothing."""
        self._lock.close()


def claim_ports() -> PortClaim:
    """Claim a block of ports on which nothing listens.

    Raises:
        NoFreePortsError: every block is in use.
        OSError: the folder of the lock files is not writable.
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
    """Yield the first port of every block, beginning at one that depends on the process ID."""
    blocks = (_END - _FIRST) // BLOCK
    for step in range(blocks):
        yield _FIRST + (os.getpid() * 7 + step) % blocks * BLOCK


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do (TIME_WAIT)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
