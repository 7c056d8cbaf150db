"""HTTP semantics of the API, independent of the transport: path, query and body to response."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from email.utils import format_datetime
from typing import Any

import msgspec

from spotalis.embedded.objects.resources import Object
from spotalis.embedded.server import errors, openapi, tables
from spotalis.embedded.server.api import Api, DeleteOptions
from spotalis.embedded.server.discovery import document
from spotalis.embedded.server.errors import ApiError
from spotalis.embedded.server.listing import Show, encoded, encoded_list, options_from, page_of
from spotalis.embedded.server.routes import Route, route
from spotalis.embedded.server.scale import scale_of
from spotalis.embedded.server.validation import check_types
from spotalis.embedded.server.watching import Stream, open_watch
from spotalis.embedded.store import StoreEvent
from spotalis.model.transport import Request

_JSON = {"content-type": "application/json"}


@dataclass(slots=True, kw_only=True)
class ApiResponse:
    """A response with a body or with a stream."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=lambda: _JSON)
    stream: Stream | None = None


class Endpoints:
    """Handles requests of users, all of which may do everything."""

    def __init__(self, api: Api) -> None:
        self._api = api

    async def handle(self, request: Request, *, user: str, accept: str = "") -> ApiResponse:
        """Handle one request; errors become responses.

        ``accept`` is the Accept header: with ``as=Table``, objects are returned as a Table.
        """
        response = await self._answer(request, user, accept)
        date = format_datetime(self._api.clock.now(), usegmt=True)
        return replace(response, headers={"date": date, **response.headers})

    async def _answer(self, request: Request, user: str, accept: str) -> ApiResponse:
        try:
            return await self._handle(request, user, accept)
        except ApiError as refused:
            headers = dict(_JSON)
            if refused.retry_after_seconds:
                headers["retry-after"] = str(refused.retry_after_seconds)
            if refused.plain_text:
                text = {"content-type": "text/plain; charset=utf-8"}
                return ApiResponse(
                    status=refused.status, body=refused.plain_text.encode(), headers=text
                )
            body = msgspec.json.encode(refused.to_status())
            return ApiResponse(status=refused.status, body=body, headers=headers)

    async def _handle(self, request: Request, user: str, accept: str) -> ApiResponse:
        if request.method == "GET":
            found = document(request.path, self._api.custom_groups) or openapi.document(
                request.path
            )
            if isinstance(found, str):
                return ApiResponse(body=found.encode(), headers={"content-type": "text/plain"})
            if found is not None:
                return _json(found)
        where = route(request.path)
        query = dict(request.query)
        _check_dry_run(request.method, query)
        match request.method:
            case "GET" if where.name:
                return self._get(where, user, accept)
            case "GET":
                return await self._collection(where, request, user, accept)
            case "POST" if where.name:
                return await self._post_subresource(where, request, query, user)
            case "POST" if where.namespace or not where.resource.namespaced:
                return await self._create(where, request, query, user)
            case "PUT" if where.name:
                return await self._put(where, request, query, user)
            case "PATCH" if where.name:
                return await self._patch(where, request, query, user)
            case "DELETE" if where.name and not where.subresource:
                return await self._delete(where, request, query, user)
            case "DELETE" if not where.name and where.namespace:
                return await self._delete_all(where, request, query, user)
        raise errors.method_not_allowed()

    def _get(self, where: Route, user: str, accept: str) -> ApiResponse:
        plural = where.resource.plural
        with self._api.audit.entry(
            "get", plural, where.namespace, where.name, user, subresource=where.subresource
        ):
            change = self._api.store.entry(plural, where.namespace, where.name)
            if change is None:
                raise errors.not_found(where.resource, where.name)
        if where.subresource == "scale":
            return _json(scale_of(change.new))
        if where.subresource == "log":
            return ApiResponse(body=b"", headers={"content-type": "text/plain"})
        if _wants_table(where, accept):
            table = tables.table(plural, [change.new], {}, self._api.clock.now())
            return _json(table)
        return ApiResponse(body=change.encoded)

    async def _collection(
        self, where: Route, request: Request, user: str, accept: str
    ) -> ApiResponse:
        options = options_from(request.query)
        verb = "watch" if options.watch else "list"
        plural, store = where.resource.plural, self._api.store
        with self._api.audit.entry(verb, plural, where.namespace, "", user):
            table = _wants_table(where, accept)
            if options.watch:
                show = self._row(where) if table else encoded
                stream = await open_watch(
                    store, where.resource, where.namespace, options, show, self._api.rng
                )
                return ApiResponse(stream=stream)
            page = await page_of(store, where.resource, where.namespace, options)
        if table:
            objects = [change.new for change in page.changes]
            return _json(tables.table(plural, objects, page.metadata, self._api.clock.now()))
        return ApiResponse(body=encoded_list(where.resource, page))

    def _row(self, where: Route) -> Show:
        def show(change: StoreEvent) -> bytes:
            now = self._api.clock.now()
            return msgspec.json.encode(tables.table(where.resource.plural, [change.new], {}, now))

        return show

    async def _create(
        self, where: Route, request: Request, query: Mapping[str, str], user: str
    ) -> ApiResponse:
        made = await self._api.create(
            where.resource.plural,
            _object(where, request),
            user=user,
            dry_run=_dry_run(query),
        )
        return _json(made, 201)

    async def _put(
        self, where: Route, request: Request, query: Mapping[str, str], user: str
    ) -> ApiResponse:
        body = _object(where, request)
        if (given := body["metadata"].setdefault("name", where.name)) != where.name:
            raise errors.wrong_name(given, where.name)
        plural = where.resource.plural
        existed = self._api.store.get(plural, where.namespace, where.name) is not None
        written = await self._api.update(
            plural, body, user=user, subresource=where.subresource, dry_run=_dry_run(query)
        )
        return _shown(where, written, 200 if existed else 201)

    async def _patch(
        self, where: Route, request: Request, query: Mapping[str, str], user: str
    ) -> ApiResponse:
        plural = where.resource.plural
        written = await self._api.patch(
            plural,
            where.namespace,
            where.name,
            _decoded(request.body),
            patch_type=request.content_type.partition(";")[0].strip(),
            user=user,
            subresource=where.subresource,
            dry_run=_dry_run(query),
        )
        return _shown(where, written)

    async def _post_subresource(
        self, where: Route, request: Request, query: Mapping[str, str], user: str
    ) -> ApiResponse:
        body = _decoded_object(request)
        if where.subresource not in ("eviction", "binding"):
            raise errors.method_not_allowed()
        kind = where.subresource.capitalize()
        if (body.get("metadata") or {}).get("name", where.name) != where.name:
            raise errors.bad_request(f"name in URL does not match name in {kind} object")
        if where.subresource == "eviction":
            await self._evict(where, body, query, user)
        else:
            node = (body.get("target") or {}).get("name") or ""
            self._api.bind(where.namespace, where.name, node, user=user)
        return _json(_success(201), 201)

    async def _evict(self, where: Route, body: Object, query: Mapping[str, str], user: str) -> None:
        options = body.get("deleteOptions") or {}
        dry_run = _dry_run(query) or bool(options.get("dryRun"))
        wanted = _delete_options(options, {})
        await self._api.evict(
            where.namespace, where.name, wanted, user=user, dry_run=dry_run, body=body
        )

    async def _delete(
        self, where: Route, request: Request, query: Mapping[str, str], user: str
    ) -> ApiResponse:
        body = _delete_body(request)
        query = {} if request.body else query  # options in the body replace those in the query
        wanted = _delete_options(body, query)
        dry_run = _dry_run(query) or bool(body.get("dryRun"))
        plural = where.resource.plural
        deleted = await self._api.delete(
            plural, where.namespace, where.name, wanted, user=user, dry_run=dry_run
        )
        resource = where.resource
        there = self._api.store.get(plural, where.namespace, where.name)
        metadata = deleted["metadata"]
        stays = metadata.get("finalizers") or metadata.get("deletionGracePeriodSeconds")
        gone = there is None or there["metadata"]["uid"] != metadata["uid"]
        gone = gone or (dry_run and not stays)
        if resource.returns_deleted or not gone:
            return _json(deleted)
        group = resource.group
        details = {"name": where.name, "group": group, "kind": plural}
        details["uid"] = deleted["metadata"]["uid"]
        present = {key: value for key, value in details.items() if value}
        status_object = {**_success(0), "details": present}
        del status_object["code"]
        return _json(status_object)

    async def _delete_all(
        self, where: Route, request: Request, query: Mapping[str, str], user: str
    ) -> ApiResponse:
        options = options_from(request.query)
        page = await page_of(self._api.store, where.resource, where.namespace, options)
        wanted = _delete_options(_delete_body(request), query)
        for change in page.changes:
            plural, name = where.resource.plural, change.new["metadata"]["name"]
            await self._api.delete(
                plural, where.namespace, name, wanted, user=user, dry_run=_dry_run(query)
            )
        return ApiResponse(body=encoded_list(where.resource, page))


def _json(value: Object, status: int = 200) -> ApiResponse:
    return ApiResponse(status=status, body=msgspec.json.encode(value))


def _shown(where: Route, written: Object, status: int = 200) -> ApiResponse:
    """What was written, as the subresource shows it."""
    return _json(scale_of(written) if where.subresource == "scale" else written, status)


def _success(code: int) -> Object:
    status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}
    return {**status, "code": code}


def _wants_table(where: Route, accept: str) -> bool:
    return "as=Table" in accept and not where.subresource


def _check_dry_run(method: str, query: Mapping[str, str]) -> None:
    options = {"POST": "Create", "PUT": "Update", "PATCH": "Patch", "DELETE": "Delete"}
    if method in options and query.get("dryRun", "All") != "All":
        why = f'Unsupported value: ["{query["dryRun"]}"]: supported values: "All"'
        cause = errors.Cause("FieldValueNotSupported", why, "dryRun")
        raise errors.invalid_kind(f"{options[method]}Options.meta.k8s.io", "", [cause])


def _dry_run(query: Mapping[str, str]) -> bool:
    return query.get("dryRun") == "All"


def _decoded(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body or b"null")
    except msgspec.DecodeError as problem:
        raise errors.bad_request(f"the body cannot be read: {problem}") from None


def _decoded_object(request: Request) -> Object:
    body = _decoded(request.body)
    if not isinstance(body, dict):
        raise errors.bad_request("the body is not an object")
    return body


def _object(where: Route, request: Request) -> Object:
    """Decode the object in the body, and set the namespace of the path."""
    if "json" not in request.content_type or not request.body:
        raise errors.unsupported_body()
    body = _decoded_object(request)
    kind = body.get("kind") or where.resource.kind
    version = body.setdefault("apiVersion", where.resource.api_version)
    if where.subresource != "scale":
        message = f'{kind} in version "{version}" cannot be handled as a {where.resource.kind}'
        if kind != where.resource.kind:
            raise errors.bad_request(message)
        if version != where.resource.api_version:
            why = f'no kind "{kind}" is registered for version "{version}" in scheme '
            raise errors.bad_request(f'{message}: {why}"pkg/runtime/scheme.go:111"')
        check_types(where.resource, body)
    metadata = body.get("metadata") or {}
    body["metadata"] = metadata
    if where.namespace:
        if metadata.get("namespace") not in (None, "", where.namespace):
            message = (
                "the namespace of the provided object does not match the namespace sent on the "
                "request"
            )
            raise errors.bad_request(message)
        metadata["namespace"] = where.namespace
    return body


def _delete_body(request: Request) -> Object:
    body = _decoded(request.body)
    return body if isinstance(body, dict) else {}


def _delete_options(body: Object, query: Mapping[str, str]) -> DeleteOptions:
    """Read DeleteOptions from the body, or else from the query."""
    preconditions = body.get("preconditions") or {}
    grace: Any = body.get("gracePeriodSeconds", query.get("gracePeriodSeconds"))
    propagation = body.get("propagationPolicy") or query.get("propagationPolicy") or ""
    if propagation not in ("", "Background"):
        cause = errors.unsupported_value("propagationPolicy", propagation, ["Background"])
        raise errors.invalid_kind("DeleteOptions.meta.k8s.io", "", [cause])
    return DeleteOptions(
        uid=preconditions.get("uid") or "",
        resource_version=preconditions.get("resourceVersion") or "",
        grace_seconds=None if grace is None else int(grace),
    )
