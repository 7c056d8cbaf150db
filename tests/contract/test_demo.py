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
        timeout=120,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stderr == ""
    splits = re.findall(r"^ {7}([#~.]+) +(\S+) (\S+) +(\S+)", ran.stdout, re.MULTILINE)
    figures = [split[1:3] for split in splits]
    assert figures[:2] == [("3/3", "7/7")] * 2
    # Where the scheduler put how many of the seven decides how many the two lost nodes took.
    assert figures[2] in {("3/3", "2/7"), ("3/3", "3/7")}
    assert figures[4:6] == [("3/3", "7/7"), ("3/7", "7/3")]
    assert splits[-1] == ("#######~~~", "7/7", "3/3", "Balanced")
    assert "done: 4 evictions, the fewest there can be" in ran.stdout
