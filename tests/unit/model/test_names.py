"""Names of objects."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spotalis.model.names import append_suffix, is_dns_subdomain, is_path_segment

_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")


@pytest.mark.parametrize(
    ("name", "max_length", "expected"),
    [
        ("web", 253, "web.0123456789abcdef"),
        ("w" * 236, 253, "w" * 236 + ".0123456789abcdef"),
        ("w" * 237, 253, "w" * 236 + ".0123456789abcdef"),
        ("w" * 253, 253, "w" * 236 + ".0123456789abcdef"),
        ("w" * 235 + "-x", 253, "w" * 235 + ".0123456789abcdef"),
        ("w" * 234 + ".-x", 253, "w" * 234 + ".0123456789abcdef"),
        ("host", 20, "hos.0123456789abcdef"),
    ],
)
def test_the_name_is_cut_and_the_suffix_is_kept(name: str, max_length: int, expected: str) -> None:
    assert append_suffix(name, ".0123456789abcdef", max_length=max_length) == expected


@given(st.from_regex(_SUBDOMAIN, fullmatch=True).filter(lambda name: len(name) <= 253))
def test_a_valid_name_with_a_suffix_is_a_valid_name(name: str) -> None:
    made = append_suffix(name, ".0123456789abcdef")
    assert len(made) <= 253
    assert _SUBDOMAIN.fullmatch(made)


@given(st.text(alphabet="ab0.-A/%", max_size=8))
def test_a_name_of_dns_labels_is_a_subdomain(name: str) -> None:
    assert is_dns_subdomain(name) is bool(_SUBDOMAIN.fullmatch(name))


@pytest.mark.parametrize(
    ("name", "is_segment"),
    [("web", True), ("system:node", True), ("...", True), ("x" * 253, True), ("x" * 254, False)]
    + [(name, False) for name in ("", ".", "..", "a/b", "../..", "a%2fb")],
)
def test_a_path_segment_is_what_some_kind_allows(name: str, is_segment: bool) -> None:
    assert is_path_segment(name) is is_segment
