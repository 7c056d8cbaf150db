"""Short hashes for names: FNV-1a in an alphabet without vowels.

The format is upstream's (``rand.SafeEncodeString`` of a 32-bit FNV). The value is not: upstream
hashes a dump of Go structures, and this module hashes canonical JSON. Do not rely on the value.
"""

from __future__ import annotations

import json
from typing import Any

from spotalis.embedded.server.writes import ALPHABET


def short_hash(value: Any, salt: int | None = None) -> str:
    """Hash ``value`` (any JSON) to at most ten characters; ``salt`` is the collision count."""
    data = json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
    if salt is not None:
        data += salt.to_bytes(8, "little")
    number = 0x811C9DC5
    for byte in data:
        number = ((number ^ byte) * 0x01000193) & 0xFFFFFFFF
    return "".join(ALPHABET[ord(digit) % len(ALPHABET)] for digit in str(number))
