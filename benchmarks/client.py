"""Sends admission requests from a process of its own (benchmarks/load.py)."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


def send_load(
    port: int, connections: int, owners: Sequence[dict[str, str]], **plan: Any
) -> list[float]:
    """Send admission requests for pods of these ReplicaSets.

    Args:
        port: of the webhook, on loopback.
        connections: that are kept.
        owners: name and UID of each.
        plan: ``rate`` (per second; 0 for a closed loop), and ``seconds`` or ``requests``; the
            ``namespace`` of the pods and the ``path`` of the webhook have defaults.

    Returns:
        The latencies in seconds, in order.

    Raises:
        subprocess.CalledProcessError: a request was not answered with 200.
    """
    plan |= {"port": port, "connections": connections, "owners": owners}
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.load"],
        input=json.dumps(plan),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        cwd=ROOT,
    )
    latencies = sorted(json.loads(done.stdout))
    assert len(latencies) == (plan["rate"] * plan["seconds"] if plan["rate"] else plan["requests"])
    return latencies


def milliseconds(ordered: Sequence[float], share: float) -> float:
    """The latency within which this share of the requests was answered."""
    return 1000 * ordered[min(len(ordered) - 1, int(len(ordered) * share))]
