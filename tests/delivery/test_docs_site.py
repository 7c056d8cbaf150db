"""The documentation site can be built, lists every page, and its checks find faults."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks.outage_picture import outage_picture, simulate
from scripts.architecture_picture import architecture_picture
from scripts.docs_site import CONFIGURATION, find_problems, find_problems_of_search, main
from scripts.markdown_pages import ROOT, find_pages
from scripts.split_picture import split_picture
from scripts.svg import IMAGES, PAPER

SEARCH = """{"items": [{"location": "index.html", "text": "home"},
{"location": "docs/reference/annotations.html", "text": "spot-percentage"},
{"location": "docs/reasons/Pinned.html", "text": "Pinned"},
{"location": "docs/install/gke.html", "text": "ports"}]}"""


def test_the_site_is_built_without_dead_links_and_its_search_finds_pages() -> None:
    assert main() == 0


def test_every_page_is_in_the_navigation_once() -> None:
    listed = re.findall(r"^ +- (?:\w+: )?(\S+\.md)$", CONFIGURATION.read_text(), re.MULTILINE)
    assert sorted(listed) == [str(page.relative_to(ROOT)) for page in find_pages()]


@pytest.mark.parametrize(
    ("html", "problem"),
    [
        ('<a href="missing.html">', "index.html: missing.html: no such file"),
        ('<a href="other.html#missing">', "index.html: other.html#missing: no such anchor"),
        ('<a href="#missing">', "index.html: #missing: no such anchor"),
        ('<img src="missing.svg">', "index.html: missing.svg: no such file"),
        ('<script src="https://cdn.example/x.js">', "index.html: loads https://cdn.example/x.js"),
        (
            '<link rel="stylesheet" href="//cdn.example/x.css">',
            "index.html: loads //cdn.example/x.css",
        ),
        ('<a href="https://kubernetes.io/">', ""),
        ('<a href="other.html#there">', ""),
    ],
)
def test_a_fault_of_a_page_is_found(html: str, problem: str, tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text(html)
    (tmp_path / "other.html").write_text('<h2 id="there">')
    assert list(find_problems(tmp_path)) == ([problem] if problem else [])


def test_a_page_or_a_word_that_the_search_does_not_find_is_named(tmp_path: Path) -> None:
    for name in ("index.html", "lost.html"):
        (tmp_path / name).write_text("")
    (tmp_path / "search.json").write_text(SEARCH)
    assert list(find_problems_of_search(tmp_path)) == [
        "lost.html: not in the index of the search",
        "docs/install/gke.html: the search does not find firewall",
    ]


@pytest.mark.parametrize(
    ("name", "draw"),
    [
        ("split", split_picture),
        ("architecture", architecture_picture),
        ("outage", lambda: outage_picture(simulate())),
    ],
)
def test_the_pictures_are_up_to_date(name: str, draw: Callable[[], str]) -> None:
    assert (IMAGES / f"{name}.svg").read_text() == draw(), "run `make docs`"


@pytest.mark.parametrize("file", sorted(IMAGES.glob("*.svg")), ids=lambda file: str(file.name))
def test_a_picture_has_a_title_for_screen_readers_and_a_background_for_dark_pages(
    file: Path,
) -> None:
    svg = ElementTree.parse(file).getroot()  # a file of the repository
    assert svg.get("role") == "img"
    title, group = svg  # only a child of the root names the picture
    assert title.tag.endswith("}title")
    assert title.text
    background = group[0]
    assert background.get("fill") == PAPER
    assert svg.get("viewBox") == f"0 0 {background.get('width')} {background.get('height')}"
