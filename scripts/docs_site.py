"""Builds the documentation site (`make docs-site`) in dist/site, and checks it.

The pages link to each other relative to their place in the repository. So the site has the same
layout: this script collects the pages of ``mkdocs.yml`` and their pictures in dist/site-pages, lets
Zensical build them with warnings as errors, and adds the other files to which the pages link.

Exit status: 0 the site is built and sound, 1 it is not; each problem is printed.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

from scripts.markdown_pages import ROOT, find_pages, read_page

CONFIGURATION = ROOT / "mkdocs.yml"
PAGES = ROOT / "dist" / "site-pages"
"""``docs_dir`` of mkdocs.yml."""
SITE = ROOT / "dist" / "site"
"""``site_dir`` of mkdocs.yml."""
_LOADED = {"script": "src", "img": "src", "link": "href", "iframe": "src"}
"""Tags of what a browser loads without a click, with the attribute that names it."""
_HINTS = {"canonical", "prev", "next"}
"""Relations of ``link`` tags that a browser does not load."""
_FOUND = {
    "spot-percentage": "docs/reference/annotations.html",
    "Pinned": "docs/reasons/Pinned.html",
    "firewall": "docs/install/gke.html",
}
"""Words that a reader may search for, and a page that the search must find."""


def main() -> int:
    """Collect the pages, build the site, and print its problems."""
    for folder in (PAGES, SITE):
        shutil.rmtree(folder, ignore_errors=True)
    linked = collect()
    command = [sys.executable, "-m", "zensical", "build", "--strict", "-f", str(CONFIGURATION)]
    if subprocess.run(command, cwd=ROOT, check=False).returncode:  # noqa: S603  # a fixed command
        return 1
    for file in linked:
        _copy(file, SITE)
    found = [*find_problems(SITE), *find_problems_of_search(SITE)]
    print("\n".join(found) or f"{SITE.relative_to(ROOT)}: no problem found")
    return bool(found)


def collect() -> list[Path]:
    """Copy pages and pictures to ``docs_dir``. Returns the other files to which pages link."""
    others = set()
    for path in find_pages():
        _copy(path, PAGES)
        page = read_page(path)
        for link in page.links:
            file = page.resolve(link)
            if link.is_image:
                _copy(file, PAGES)
            elif file.suffix != ".md" and file.is_file():
                others.add(file)
    return sorted(others)


def find_problems(site: Path) -> Iterator[str]:
    """Yield what is wrong in the HTML of a site: dead links, and parts from other hosts."""
    for file in sorted(site.rglob("*.html")):
        if file.name == "404.html":  # its links are absolute: it is served for any path
            continue
        found = _read(file)
        name = file.relative_to(site)
        for address in found.loaded:
            if _is_elsewhere(address):
                yield f"{name}: loads {address}"
        for address in (*found.links, *found.loaded):
            if not _is_elsewhere(address) and (reason := _is_dead(file, address)):
                yield f"{name}: {address}: {reason}"


def find_problems_of_search(site: Path) -> Iterator[str]:
    """Yield the pages that the search of a site does not find. It needs no other host."""
    items = json.loads((site / "search.json").read_text())["items"]
    indexed = {item["location"].partition("#")[0] for item in items}
    for file in sorted(site.rglob("*.html")):
        location = str(file.relative_to(site))
        if location not in indexed and file.name != "404.html":
            yield f"{location}: not in the index of the search"
    for word, location in _FOUND.items():
        texts = [str(item) for item in items if item["location"].startswith(location)]
        if not any(word in text for text in texts):
            yield f"{location}: the search does not find {word}"


class _Page(HTMLParser):
    """Collects the links, the loaded files and the anchors of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.anchors: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Record what the tag names."""
        values = {key: value or "" for key, value in attrs}
        if values.get("id"):
            self.anchors.add(values["id"])
        if tag == "a" and values.get("href"):
            self.links.append(values["href"])
        address = values.get(_LOADED.get(tag, ""), "")
        if address and values.get("rel") not in _HINTS:
            self.loaded.append(address)


@cache
def _read(file: Path) -> _Page:
    page = _Page()
    page.feed(file.read_text())
    return page


def _is_elsewhere(address: str) -> bool:
    return address.startswith("//") or ":" in address.partition("/")[0]


def _is_dead(file: Path, address: str) -> str:
    """Why a relative link of a page leads nowhere; "" if it does not."""
    target, _, fragment = address.partition("#")
    found = (file.parent / unquote(target)).resolve() if target else file
    if found.is_dir():
        found /= "index.html"
    if not found.is_file():
        return "no such file"
    if fragment and found.suffix == ".html" and unquote(fragment) not in _read(found).anchors:
        return "no such anchor"
    return ""


def _copy(file: Path, folder: Path) -> None:
    target = folder / file.relative_to(ROOT)
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(file, target)


if __name__ == "__main__":
    sys.exit(main())
