"""``/mutate`` with requests that are damaged, and with bytes that are not a request."""

from __future__ import annotations

import copy
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from spotalis.webhook.admission_review import MAX_VALUES
from tests.support.admission_webhook import AdmissionWebhook
from tests.support.pod_strategies import POD_KEYS, REQUIRED, keys, texts

Json = Any
SLOT, DECISION = POD_KEYS[1:]
POD: Json = {
    "metadata": {"labels": {"app": "api"}, "annotations": {DECISION: '{"id":"x"}', SLOT: "3"}},
    "spec": {
        "nodeSelector": {"disk": "ssd"},
        "tolerations": [{"key": "dedicated", "operator": "Exists"}],
        "affinity": {
            "nodeAffinity": {
                REQUIRED: {
                    "nodeSelectorTerms": [
                        {"matchExpressions": [{"key": "d", "operator": "In", "values": ["ssd"]}]}
                    ]
                }
            }
        },
    },
}
"""A pod with every field that the webhook reads."""
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=6,
)


def post(webhook: AdmissionWebhook, body: bytes) -> None:
    """Expect 200 and allowed, or 400 with the JSON error body, and nothing logged as an error."""
    errors: list[logging.LogRecord] = []
    handler = logging.Handler(logging.ERROR)
    handler.emit = errors.append  # type: ignore[method-assign,assignment]
    logging.getLogger().addHandler(handler)
    try:
        reply = webhook.post(body)
    finally:
        logging.getLogger().removeHandler(handler)
    assert not errors, errors[0].getMessage()
    if reply.status == 200:
        assert reply.json()["response"]["allowed"] is True
    else:
        assert (reply.status, reply.json()["error"]["code"]) == (400, "INVALID_REQUEST")
        assert reply.json()["error"]["message"]


def paths(document: Json, at: tuple[Json, ...] = ()) -> list[tuple[Json, ...]]:
    """The path of every value in a document."""
    members: Iterator[tuple[Json, Json]] = iter(())
    if isinstance(document, dict):
        members = iter(document.items())
    elif isinstance(document, list):
        members = iter(enumerate(document))
    return [at, *(path for key, value in members for path in paths(value, (*at, key)))]


@given(data=st.data(), workload=st.sampled_from(["api", "db"]))
def test_a_request_with_one_replaced_value_is_rejected_or_admitted(
    webhook: AdmissionWebhook, data: st.DataObject, workload: str
) -> None:
    document: Json = {"": webhook.request(workload, POD, dryRun=True)}
    *parents, last = data.draw(st.sampled_from(paths(document)[1:]))
    inner = document
    for key in parents:
        inner = inner[key]
    inner[last] = data.draw(json_values)
    post(webhook, json.dumps(document[""]).encode())


@given(body=st.binary(max_size=200))
@example(body=b"")
@example(body=b"null")
@example(body=b"\xff\xfe{}")
@example(body=b"[" * 60_000)
@example(body=b'{"a":' * 60_000)
@example(body=b'{"request":{"object":{"spec":{"affinity":{"a":' + b"[" * 60_000)
def test_bytes_that_are_not_a_request_are_rejected(webhook: AdmissionWebhook, body: bytes) -> None:
    post(webhook, body)


@given(data=st.data())
def test_a_request_with_changed_or_missing_bytes_is_rejected_or_admitted(
    webhook: AdmissionWebhook, data: st.DataObject
) -> None:
    review = webhook.request("api", POD, dryRun=True, uid="00000000-0000-4000-8000-000000000000")
    body = bytearray(json.dumps(review).encode())  # Always as long: the strategies depend on it.
    for at in data.draw(st.lists(st.integers(0, len(body) - 1), min_size=1, max_size=4)):
        body[at] = data.draw(st.integers(0, 255))
    end = data.draw(st.integers(0, len(body)) | st.just(len(body)))
    post(webhook, bytes(body[:end]))


@pytest.mark.parametrize(
    "annotation",
    ['{"id":"x","a":' + "[" * 20_000, "[" * 20_000, '{"id":7}', "\ud800"],
    ids=["deep member", "deep", "wrong type", "surrogate"],
)
def test_an_invalid_decision_annotation_is_ignored(
    webhook: AdmissionWebhook, annotation: str
) -> None:
    pod = copy.deepcopy(POD)
    pod["metadata"]["annotations"][DECISION] = annotation
    post(webhook, json.dumps(webhook.request("api", pod, dryRun=True)).encode())


@pytest.mark.parametrize(("excess", "status"), [(0, 200), (1, 400)])
def test_the_number_of_values_is_limited(
    webhook: AdmissionWebhook, excess: int, status: int
) -> None:
    review = webhook.request("api", POD, dryRun=True)
    review["request"]["options"] = []
    body = json.dumps(review, separators=(",", ":")).encode()
    count = sum(body.count(mark) for mark in (b",", b"{", b"["))
    options = b"1" + b",1" * (MAX_VALUES - count + excess)
    body = body.replace(b'"options":[]', b'"options":[%s]' % options)
    assert webhook.post(body).status == status


@pytest.mark.parametrize(
    ("field", "limit"),
    [("request.uid", 64), ("request.name", 253), ("request.namespace", 253)],
)
def test_names_that_no_object_can_have_are_refused(
    webhook: AdmissionWebhook, field: str, limit: int
) -> None:
    for length, status in ((limit, 200), (limit + 1, 400), (6_900_000, 400)):
        name = field.removeprefix("request.")
        review = webhook.request("api", POD, dryRun=True, **{name: "x" * length})
        reply = webhook.post(json.dumps(review).encode())
        assert reply.status == status
        if status == 400:
            message = f"{field} has {length} characters; at most {limit} are accepted"
            assert reply.json()["error"]["message"].endswith(message)


@pytest.mark.parametrize(
    ("field", "limit"), [("name", 253), ("uid", 64)], ids=["the owner's name", "the owner's uid"]
)
def test_owners_that_no_object_can_be_are_refused(
    webhook: AdmissionWebhook, field: str, limit: int
) -> None:
    for length, status in ((limit, 200), (limit + 1, 400)):
        review = webhook.request("api", POD, dryRun=True)
        (owner,) = review["request"]["object"]["metadata"]["ownerReferences"]
        owner[field] = "x" * length
        assert webhook.post(json.dumps(review).encode()).status == status


def test_a_pod_with_thousands_of_affinity_terms_is_admitted_unchanged(
    webhook: AdmissionWebhook,
) -> None:
    pod = copy.deepcopy(POD)
    required = pod["spec"]["affinity"]["nodeAffinity"][REQUIRED]
    required["nodeSelectorTerms"] *= 5_000
    reply = webhook.post(json.dumps(webhook.request("api", pod, dryRun=True)).encode())
    response = reply.json()["response"]
    assert (response["allowed"], "patch" in response) == (True, False)
    assert response["auditAnnotations"] == {"decision": "constraints-too-long"}
