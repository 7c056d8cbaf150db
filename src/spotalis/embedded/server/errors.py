"""Errors of the API server, in the wording of kube-apiserver (``metav1.Status``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from spotalis.embedded.objects.resources import Object, Resource


@dataclass(frozen=True, slots=True)
class Cause:
    """One of the ``details.causes`` of a Status."""

    reason: str
    message: str = ""
    field: str = ""

    def to_json(self) -> Object:
        """Encode for the API, without empty fields."""
        parts = {"reason": self.reason, "message": self.message, "field": self.field}
        return {name: value for name, value in parts.items() if value}


class ApiError(Exception):
    """An error response of the API server."""

    def __init__(
        self,
        status: int,
        reason: str,
        message: str,
        *,
        causes: Sequence[Cause] = (),
        details: Mapping[str, Any] | None = None,
        retry_after_seconds: int | None = None,
        plain_text: str = "",
    ) -> None:
        """Create an error.

        Args:
            status: the HTTP status.
            reason: ``reason`` of the Status.
            message: ``message`` of the Status.
            causes: ``details.causes`` of the Status.
            details: name, group, kind and uid; None leaves ``details`` out of the Status unless
                there are causes or a time to wait.
            retry_after_seconds: ``details.retryAfterSeconds``, also sent as a header.
            plain_text: the body, instead of a Status.
        """
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.message = message
        self.causes = tuple(causes)
        self.details = details
        self.retry_after_seconds = retry_after_seconds
        self.plain_text = plain_text

    def to_status(self) -> Object:
        """The ``v1.Status`` for the body of the response."""
        status: Object = {"kind": "Status", "apiVersion": "v1", "metadata": {}}
        status |= {"status": "Failure", "message": self.message}
        if self.reason:
            status["reason"] = self.reason
        details = {key: value for key, value in (self.details or {}).items() if value}
        if self.causes:
            details["causes"] = [cause.to_json() for cause in self.causes]
        if self.retry_after_seconds:
            details["retryAfterSeconds"] = self.retry_after_seconds
        if details or self.details is not None:
            status["details"] = details
        return {**status, "code": self.status}


def _named(resource: Resource, name: str) -> Object:
    return {"name": name, "group": resource.group, "kind": resource.plural}


def bad_request(message: str) -> ApiError:
    """400."""
    return ApiError(400, "BadRequest", message)


def wrong_name(given: str, name: str) -> ApiError:
    """400: an object has another name than the path."""
    message = f"the name of the object ({given}) does not match the name on the URL ({name})"
    return bad_request(message)


def forbidden(resource: Resource, name: str, why: str, causes: Sequence[Cause] = ()) -> ApiError:
    """403."""
    message = f'{resource.qualified} "{name}" is forbidden: {why}'
    return ApiError(403, "Forbidden", message, details=_named(resource, name), causes=causes)


def not_found(resource: Resource, name: str) -> ApiError:
    """404: the object does not exist."""
    message = f'{resource.qualified} "{name}" not found'
    return ApiError(404, "NotFound", message, details=_named(resource, name))


def no_such_path() -> ApiError:
    """404: the resource does not exist."""
    message = "the server could not find the requested resource"
    return ApiError(404, "NotFound", message, details={})


def no_such_group() -> ApiError:
    """404 in plain text: unknown API group or version."""
    text = "404 page not found\n"
    return ApiError(404, "NotFound", text, plain_text=text)


def method_not_allowed() -> ApiError:
    """405."""
    message = "the server does not allow this method on the requested resource"
    return ApiError(405, "MethodNotAllowed", message, details={})


def already_exists(resource: Resource, name: str, *, deleting: bool) -> ApiError:
    """409 on create; ``deleting``: the existing object is being deleted."""
    message = f'{resource.qualified} "{name}" already exists'
    if deleting:
        message = f"object is being deleted: {message}"
    return ApiError(409, "AlreadyExists", message, details=_named(resource, name))


def conflict(resource: Resource, name: str, why: str) -> ApiError:
    """409: a precondition is not met."""
    message = f'Operation cannot be fulfilled on {resource.qualified} "{name}": {why}'
    return ApiError(409, "Conflict", message, details=_named(resource, name))


MODIFIED = (
    "the object has been modified; please apply your changes to the latest version and try again"
)


def another_uid(resource: Resource, metadata: Mapping[str, Any], there: str) -> ApiError:
    """409: the UID in ``metadata`` is not that of the existing object (``there``)."""
    given, name, namespace = metadata["uid"], metadata["name"], metadata.get("namespace", "")
    steps = (resource.plural, namespace, name) if namespace else (resource.plural, name)
    place = "/".join(("/registry", *steps))
    why = (
        f"StorageError: invalid object, Code: 4, Key: {place}, ResourceVersion: 0, "
        f"AdditionalErrorMsg: Precondition failed: UID in precondition: {given}, "
        f"UID in object meta: {there}"
    )
    return conflict(resource, name, why)


def precondition_failed(resource: Resource, name: str, why: str) -> ApiError:
    """409 on delete; the message names the kind instead of the resource."""
    message = f'Operation cannot be fulfilled on {_kind(resource)} "{name}": {why}'
    details = {"name": name, "group": resource.group, "kind": resource.kind}
    return ApiError(409, "Conflict", message, details=details)


def expired(message: str) -> ApiError:
    """410."""
    return ApiError(410, "Expired", message)


def unsupported_media_type() -> ApiError:
    """415 on patch."""
    message = "415: Unsupported Media Type"
    return ApiError(415, "UnsupportedMediaType", message, details={})


def unsupported_body() -> ApiError:
    """415 on create and update."""
    message = (
        "the body of the request was in an unknown format - accepted media types include: "
        "application/json, application/yaml, application/vnd.kubernetes.protobuf"
    )
    return ApiError(415, "UnsupportedMediaType", message)


def invalid(resource: Resource, name: str, causes: Sequence[Cause]) -> ApiError:
    """422: invalid fields."""
    return invalid_kind(_kind(resource), name, causes)


def invalid_kind(kind: str, name: str, causes: Sequence[Cause]) -> ApiError:
    """422 for a qualified kind such as ``Pod`` or ``Deployment.apps``."""
    messages = list(dict.fromkeys(f"{cause.field}: {cause.message}" for cause in causes))
    what = messages[0] if len(messages) == 1 else f"[{', '.join(messages)}]"
    plain, _, group = kind.partition(".")
    details = {"name": name, "group": group, "kind": plain}
    message = f'{kind} "{name}" is invalid: {what}'
    return ApiError(422, "Invalid", message, details=details, causes=causes)


def unprocessable() -> ApiError:
    """422: a JSON patch cannot be applied."""
    message = "the server rejected our request due to an error in our request"
    return ApiError(422, "Invalid", message, details={})


def too_many_requests(message: str, cause: Cause, retry_after_seconds: int = 0) -> ApiError:
    """429."""
    return ApiError(
        429,
        "TooManyRequests",
        message,
        causes=[cause],
        details={},
        retry_after_seconds=retry_after_seconds or None,
    )


def internal(message: str) -> ApiError:
    """500."""
    cause = Cause("", message)
    return ApiError(
        500, "InternalError", f"Internal error occurred: {message}", causes=[cause], details={}
    )


def too_large_version(wanted: int, current: int) -> ApiError:
    """504: the requested version is newer than the current one."""
    return ApiError(
        504,
        "Timeout",
        f"Timeout: Too large resource version: {wanted}, current: {current}",
        causes=[Cause("ResourceVersionTooLarge", "Too large resource version")],
        retry_after_seconds=1,
    )


def _kind(resource: Resource) -> str:
    return f"{resource.kind}.{resource.group}" if resource.group else resource.kind


def required(field: str, why: str = "") -> Cause:
    """The cause for a missing field."""
    return Cause("FieldValueRequired", f"Required value{': ' + why if why else ''}", field)


def invalid_value(field: str, value: str, why: str) -> Cause:
    """The cause for an invalid value; ``value`` is shown as given, usually JSON."""
    return Cause("FieldValueInvalid", f"Invalid value: {value}: {why}", field)


def unsupported_value(field: str, value: str, supported: Sequence[str]) -> Cause:
    """The cause for a value that is not among the supported ones."""
    listed = ", ".join(f'"{one}"' for one in supported)
    message = f'Unsupported value: "{value}": supported values: {listed}'
    return Cause("FieldValueNotSupported", message, field)


def forbidden_value(field: str, why: str) -> Cause:
    """The cause for a field that must not be set or changed."""
    return Cause("FieldValueForbidden", f"Forbidden: {why}", field)
