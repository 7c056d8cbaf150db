"""The Markdown pages of the repository: their links, anchors and code blocks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parents[1]
FOLDERS = ("docs", "build", "charts", "requirements", "testbed")
"""Folders with pages, besides the root itself."""
_PARSER = MarkdownIt("commonmark").enable("table")
_TITLE = re.compile(r'title="([^"]*)"')


@dataclass(frozen=True)
class CodeBlock:
    """A code block.

    language: the first word after the fence; "" for an indented block or a fence without one.
    title: ``title="..."`` after the language. The site shows it above the block.
    line: number of its first line in the file.
    """

    language: str
    title: str
    content: str
    line: int


@dataclass(frozen=True)
class Link:
    """A link or an image: the file it leads to, "" for the page itself, and the fragment."""

    target: str
    fragment: str
    is_image: bool


@dataclass(frozen=True)
class MarkdownPage:
    """What the tests and the site need to know about a page."""

    path: Path
    links: tuple[Link, ...]
    anchors: frozenset[str]
    blocks: tuple[CodeBlock, ...]

    def resolve(self, link: Link) -> Path:
        """Return the file that a relative link leads to. It may not exist."""
        return (self.path.parent / link.target).resolve() if link.target else self.path


def find_pages() -> list[Path]:
    """Return the paths of all pages, sorted."""
    found = [*ROOT.glob("*.md")]
    for folder in FOLDERS:
        found += (ROOT / folder).rglob("*.md")
    return sorted(found)


@cache
def read_page(path: Path) -> MarkdownPage:
    """Parse a page. Links to other sites are left out."""
    tokens = _PARSER.parse(path.read_text())
    return MarkdownPage(
        path, tuple(_links(tokens)), frozenset(_anchors(tokens)), tuple(_blocks(tokens))
    )


def _inline(tokens: list[Token]) -> Iterator[Token]:
    for token in tokens:
        yield from token.children or ()


def _links(tokens: list[Token]) -> Iterator[Link]:
    for token in _inline(tokens):
        if token.type not in ("link_open", "image"):
            continue
        address = str(token.attrs["src" if token.type == "image" else "href"])
        if re.match(r"[a-z]+:", address):
            continue
        target, _, fragment = address.partition("#")
        yield Link(target, fragment, token.type == "image")


def _anchors(tokens: list[Token]) -> Iterator[str]:
    """The anchors of headings as GitHub makes them, and as mkdocs.yml configures the site."""
    seen: dict[str, int] = {}
    for opened, content in pairwise(tokens):
        if opened.type != "heading_open":
            continue
        text = "".join(
            token.content
            for token in content.children or ()
            if token.type in ("text", "code_inline")
        )
        anchor = re.sub(r"[^\w\- ]", "", text.lower()).strip().replace(" ", "-")
        count = seen[anchor] = seen.get(anchor, -1) + 1
        yield f"{anchor}-{count}" if count else anchor


def _blocks(tokens: list[Token]) -> Iterator[CodeBlock]:
    for token in tokens:
        if token.type not in ("fence", "code_block"):
            continue
        language, _, rest = token.info.strip().partition(" ")
        title = _TITLE.search(rest)
        line = token.map[0] + 1 if token.map else 0
        yield CodeBlock(language, title[1] if title else "", token.content, line)
