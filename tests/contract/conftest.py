"""The webhook that the tests of admission requests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.admission_webhook import AdmissionWebhook


@pytest.fixture(scope="module")
def webhook() -> Iterator[AdmissionWebhook]:
    served = AdmissionWebhook()
    yield served
    served.close()
