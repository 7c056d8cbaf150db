"""A certificate in files that change while the webhook serves with them."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from spotalis.webhook import certificate_files
from spotalis.webhook.certificate_files import CertificateFiles
from spotalis.webhook.issuer import IssueFailed
from spotalis.webhook.serving_certificate import CertificateMismatch
from tests.support.tls_pairs import Pair, a_pair


def _write(folder: Path, pair: Pair) -> tuple[Path, Path]:
    cert, key = folder / "tls.crt", folder / "tls.key"
    cert.write_bytes(pair.cert_pem)
    key.write_bytes(pair.key_pem)
    return cert, key


async def test_the_files_are_reloaded_when_both_have_changed(tmp_path: Path) -> None:
    old, new = a_pair(), a_pair()
    cert, key = _write(tmp_path, old)
    files = CertificateFiles(cert, key)
    serving = await files.load()
    assert not await files.reload(serving), "nothing has changed"
    cert.write_bytes(new.cert_pem)
    assert not await files.reload(serving), "the certificate and the key do not match"
    assert serving.expires_at == old.key_pair.expires_at
    key.write_bytes(new.key_pem)
    assert await files.reload(serving)
    assert serving.expires_at == new.key_pair.expires_at


async def test_files_that_do_not_match_cannot_be_loaded(tmp_path: Path) -> None:
    cert, key = _write(tmp_path, a_pair())
    key.write_bytes(a_pair().key_pem)
    with pytest.raises(CertificateMismatch):
        await CertificateFiles(cert, key).load()


async def test_a_problem_with_the_files_is_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cert, key = _write(tmp_path, a_pair())
    files = CertificateFiles(cert, key)
    serving = await files.load()
    with caplog.at_level(logging.WARNING):
        key.write_bytes(b"invalid")
        assert [await files.reload(serving) for _ in range(3)] == [False] * 3
        key.unlink()
        assert [await files.reload(serving) for _ in range(3)] == [False] * 3
    assert [record.message for record in caplog.records] == [
        "Cannot use certificate files",
        "Cannot read certificate files",
    ]


async def test_a_reload_is_repeated_after_the_child_process_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(cert_pem: bytes) -> object:
        raise IssueFailed("cannot start the certificate process")

    files = CertificateFiles(*_write(tmp_path, a_pair()))
    serving = await files.load()
    _write(tmp_path, new := a_pair())
    with monkeypatch.context() as patch:
        patch.setattr(certificate_files, "inspect_certificate", fail)
        assert not await files.reload(serving)
    assert await files.reload(serving)
    assert serving.expires_at == new.key_pair.expires_at


async def test_changed_files_are_reported_while_watching(tmp_path: Path) -> None:
    files = CertificateFiles(*_write(tmp_path, a_pair()))
    serving = await files.load()
    reloaded = asyncio.Event()
    watch = asyncio.create_task(
        files.watch(serving, interval_seconds=0.01, on_certificate=lambda _: reloaded.set())
    )
    _write(tmp_path, new := a_pair())
    async with asyncio.timeout(60):
        await reloaded.wait()
    assert serving.expires_at == new.key_pair.expires_at
    watch.cancel()
