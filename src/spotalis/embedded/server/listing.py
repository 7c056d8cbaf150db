"""Lists of a collection, in one piece or in pages (v1.36).

Left out: ``resourceVersionMatch: Exact``, and the inconsistent continuation of an expired list.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from spotalis.embedded.objects.resources import Resource
from spotalis.embedded.server import errors
from spotalis.embedded.server.errors import ApiError, Cause
from spotalis.embedded.server.query_selectors import Matches, everything, from_query
from spotalis.embedded.store import ObjectStore, StoreEvent, VersionExpired, key_of

NOT_OLDER = "NotOlderThan"
FRESH_SECONDS = 3.0
"""How long a request for a future version waits for it."""
_POLL_SECONDS = 0.05
_CONTINUE_EXPIRED = (
    "The provided continue parameter is too old to display a consistent list result. You can "
    "start a new list without the continue parameter, or use the continue token in this response "
    "to retrieve the remainder of the results. Continuing with the provided token results in an "
    "inconsistent list - objects that were created, modified, or deleted between the time the "
    "first chunk was returned and now may show up in the list."
)

Show = Callable[[StoreEvent], bytes]
"""Encodes an object as JSON."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListOptions:
    """``metav1.ListOptions``, read from a query."""

    labels: str = ""
    fields: str = ""
    version: int | None = None
    """``resourceVersion``; None if it is absent."""
    match: str = ""
    limit: int = 0
    token: str = ""
    """``continue``."""
    watch: bool = False
    initial_events: bool | None = None
    bookmarks: bool = False
    timeout_seconds: float | None = None


def options_from(query: Sequence[tuple[str, str]]) -> ListOptions:
    """Read the options of a list or watch request.

    Raises:
        ApiError: 400, a value is not a number; 422, options contradict each other.
    """
    given = dict(query)
    watch = given.get("watch", "") in ("true", "1")
    options = ListOptions(
        labels=given.get("labelSelector", ""),
        fields=given.get("fieldSelector", ""),
        version=_version(given.get("resourceVersion", ""), watch=watch),
        match=given.get("resourceVersionMatch", ""),
        limit=_number(given, "limit") or 0,
        token=given.get("continue", ""),
        watch=watch,
        initial_events=_flag(given, "sendInitialEvents"),
        bookmarks=_flag(given, "allowWatchBookmarks") or False,
        timeout_seconds=_number(given, "timeoutSeconds"),
    )
    causes = _watch_problems(options) if watch else _list_problems(options)
    if causes:
        raise errors.invalid_kind("ListOptions.meta.k8s.io", "", causes)
    return options


def _version(text: str, *, watch: bool) -> int | None:
    if not text:
        return None
    if not (text.isascii() and text.isdigit()):
        why = (
            f'resourceVersion: Invalid value: "{text}": strconv.ParseUint: parsing "{text}": '
            "invalid syntax"
        )
        raise (
            ApiError(500, "", why)
            if watch
            else errors.bad_request(f"invalid resource version: {why}")
        )
    return int(text)


def _number(given: Mapping[str, str], name: str) -> int | None:
    text = given.get(name, "")
    if not text:
        return None
    try:
        return int(text)
    except ValueError:
        raise errors.bad_request(f'strconv.ParseInt: parsing "{text}": invalid syntax') from None


def _flag(given: Mapping[str, str], name: str) -> bool | None:
    return given[name] in ("true", "1") if name in given else None


def _list_problems(options: ListOptions) -> list[Cause]:
    problems = []
    if options.match not in ("", NOT_OLDER):
        problems.append(_unsupported(options.match, f'"{NOT_OLDER}", ""'))
    if options.initial_events is not None:
        why = "sendInitialEvents is forbidden for list"
        problems.append(errors.forbidden_value("sendInitialEvents", why))
    return problems


def _watch_problems(options: ListOptions) -> list[Cause]:
    field, problems = "resourceVersionMatch", []
    if options.initial_events is not None and options.match != NOT_OLDER:
        why = f"sendInitialEvents requires setting {field} to {NOT_OLDER}"
        problems.append(errors.forbidden_value(field, why))
    if options.match:
        if options.initial_events is None:
            why = f"{field} is forbidden for watch unless sendInitialEvents is provided"
            problems.append(errors.forbidden_value(field, why))
        if options.match != NOT_OLDER:
            problems.append(_unsupported(options.match, f'"{NOT_OLDER}"'))
    return problems


def _unsupported(value: str, supported: str) -> Cause:
    message = f'Unsupported value: "{value}": supported values: {supported}'
    return Cause("FieldValueNotSupported", message, "resourceVersionMatch")


@dataclass(frozen=True, slots=True)
class Page:
    """A list, or one page of it."""

    changes: list[StoreEvent]
    metadata: dict[str, Any]
    """Metadata of the list: version, continue token and number of remaining items."""


async def page_of(
    store: ObjectStore, resource: Resource, namespace: str, options: ListOptions
) -> Page:
    """List a collection.

    Raises:
        ApiError: 400, a selector or token is malformed; 410, the version is too old; 504, the
            version is in the future.
    """
    matches = from_query(resource, options.labels, options.fields)
    start, revision = ("", ""), 0
    if options.token:
        if options.version:
            why = "specifying resource version is not allowed when using continue"
            raise errors.bad_request(why)
        start, revision = _decoded(options.token, resource, namespace)
    await wait_for(store, revision or options.version or 0)
    try:
        entries = (
            store.entries_at(resource.plural, namespace, revision)
            if revision
            else store.entries(resource.plural, namespace)
        )
    except VersionExpired:
        raise errors.expired(_CONTINUE_EXPIRED) from None
    served_from_cache = options.version == 0 and not options.token
    limit = 0 if served_from_cache else options.limit
    return _cut(entries, start, matches, limit, revision or store.revision, resource, namespace)


async def wait_for(store: ObjectStore, revision: int) -> None:
    """Wait until the store has reached a version.

    Raises:
        ApiError: 504, it did not within ``FRESH_SECONDS``.
    """
    waited = 0.0
    while store.revision < revision:
        if waited >= FRESH_SECONDS:
            raise errors.too_large_version(revision, store.revision)
        await asyncio.sleep(_POLL_SECONDS)
        waited += _POLL_SECONDS


def _cut(
    entries: list[StoreEvent],
    start: tuple[str, str],
    matches: Matches,
    limit: int,
    revision: int,
    resource: Resource,
    namespace: str,
) -> Page:
    rest = [one for one in entries if key_of(one.new) >= start] if start != ("", "") else entries
    found = rest if matches is everything else [one for one in rest if matches(one.new)]
    metadata: dict[str, Any] = {"resourceVersion": str(revision)}
    if limit and len(found) > limit:
        next_start = _after(found[limit - 1])
        metadata["continue"] = _encoded(next_start, resource, namespace, revision)
        if matches is everything:
            metadata["remainingItemCount"] = len(found) - limit
        found = found[:limit]
    return Page(found, metadata)


def _after(change: StoreEvent) -> tuple[str, str]:
    """The first key after that of an object."""
    namespace, name = key_of(change.new)
    return namespace, name + "\0"


def _encoded(start: tuple[str, str], resource: Resource, namespace: str, revision: int) -> str:
    path = "/".join(part for part in start if part)
    key = path if resource.namespaced and not namespace else start[1]
    token = {"v": "meta.k8s.io/v1", "rv": revision, "start": f"/{key}"}
    return base64.urlsafe_b64encode(msgspec.json.encode(token)).rstrip(b"=").decode()


def _decoded(text: str, resource: Resource, namespace: str) -> tuple[tuple[str, str], int]:
    """The key at which a continue token resumes, and its version."""
    try:
        token = msgspec.json.decode(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        revision, start = int(token["rv"]), str(token["start"])
    except (binascii.Error, msgspec.DecodeError, KeyError, TypeError, ValueError) as problem:
        refused = "invalid continue token: continue key is not valid"
        raise errors.bad_request(f"{refused}: {problem}") from None
    first, _, second = start.lstrip("/").partition("/")
    place = (namespace, first)
    if resource.namespaced and not namespace:
        place = (first, second)
    return place, revision


def encoded(change: StoreEvent) -> bytes:
    """The object as it is stored."""
    return change.encoded


def encoded_list(resource: Resource, page: Page) -> bytes:
    """Encode a page as a list object; as in kube-apiserver, items have no kind."""
    head = {
        "kind": f"{resource.kind}List",
        "apiVersion": resource.api_version,
        "metadata": page.metadata,
    }
    prefix = len(kind_prefix(resource)) - 1
    items = b",".join(b"{" + change.encoded[prefix + 1 :] for change in page.changes)
    return msgspec.json.encode(head)[:-1] + b',"items":[' + items + b"]}"


def kind_prefix(resource: Resource) -> bytes:
    """The beginning of the JSON of every object of this kind."""
    return f'{{"kind":"{resource.kind}","apiVersion":"{resource.api_version}",'.encode()
