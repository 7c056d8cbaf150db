"""``spotalis demo``, as a newcomer runs it: no TTY, no kubectl, nothing but loopback."""

from __future__ import annotations

import re
import subprocess
import sys


def test_the_demo_tells_its_story_and_ends_as_the_arithmetic_says() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "spotalis", "demo", "--ascii"],
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stderr == ""
    splits = re.findall(r"^ {7}([#~.]+) +(\S+) (\S+) +(\S+)", ran.stdout, re.MULTILINE)
    figures = [split[1:3] for split in splits]
    assert figures[:2] == [("3/3", "7/7")] * 2
    # However many of the seven the two lost nodes took: the one that is left has room for four.
    assert figures[2] == ("3/3", "4/7")
    assert "3 wait for a spot node" in ran.stdout
    assert "all 3 replicas return to spot" in ran.stdout
    assert figures[4:6] == [("3/3", "7/7"), ("3/7", "7/3")]
    assert splits[-1] == ("#######~~~", "7/7", "3/3", "Balanced")
    assert "balanced after 4 evictions, the minimum" in ran.stdout
