"""``spotalis demo`` without a terminal, without kubectl and with loopback as the only network."""

from __future__ import annotations

import re
import subprocess
import sys


def test_the_demo_prints_the_expected_splits() -> None:
    completed = subprocess.run(
        [sys.executable, "-m", "spotalis", "demo", "--ascii"],
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert completed.returncode == 0, completed.stdout + completed.stderr
    assert completed.stderr == ""
    splits = re.findall(r"^ {7}([#~.]+) +(\S+) (\S+) +(\S+)", completed.stdout, re.MULTILINE)
    figures = [split[1:3] for split in splits]
    assert figures[:2] == [("3/3", "7/7")] * 2
    # Whatever the two lost nodes ran, the remaining spot node has room for four replicas.
    assert figures[2] == ("3/3", "4/7")
    assert "3 wait for a spot node" in completed.stdout
    assert "all 3 replicas return to spot" in completed.stdout
    assert figures[4:6] == [("3/3", "7/7"), ("3/7", "7/3")]
    assert splits[-1] == ("#######~~~", "7/7", "3/3", "Balanced")
    assert "balanced after 4 evictions, the minimum" in completed.stdout
