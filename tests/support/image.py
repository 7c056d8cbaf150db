"""Read the Dockerfile of the image; needs no Docker."""

from __future__ import annotations

import re
from pathlib import Path

DOCKER = Path(__file__).parents[2] / "build" / "docker"


def instructions(file: Path) -> list[tuple[str, str]]:
    """Instructions of a Dockerfile with their arguments; continued lines are joined."""
    text = re.sub(r"\\\n\s*", "", file.read_text())
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in lines)]


DOCKERFILE = instructions(DOCKER / "Dockerfile")


def given(word: str) -> list[str]:
    """Return the arguments of each instruction of this name."""
    return [rest for found, rest in DOCKERFILE if found == word]


def environment() -> dict[str, str]:
    """Return the environment variables that the image sets, without those of its base image."""
    stages = [number for number, (word, _) in enumerate(DOCKERFILE) if word == "FROM"]
    final = [rest for word, rest in DOCKERFILE[stages[-1] :] if word == "ENV"]
    pairs = (pair.partition("=") for rest in final for pair in rest.split())
    return {name: value for name, _, value in pairs}
