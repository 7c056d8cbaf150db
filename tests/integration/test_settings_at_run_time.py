"""SIGHUP applies log levels to a running process; other changes take effect after a restart."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from tests.support.free_ports import claim_ports
from tests.support.operator_process import HOST, OperatorProcess, operator


async def wait_for_log_line(it: OperatorProcess, message: str) -> dict[str, object]:
    """The last log line with this message; meanwhile, open connections without TLS."""
    async with asyncio.timeout(90):
        while True:
            found = [line for line in it.log_lines() if line["message"] == message]
            if found:
                return dict(found[-1])
            _, writer = await asyncio.open_connection(HOST, it.ports[0])
            writer.write(b"hello")
            writer.close()
            await asyncio.sleep(0.1)


async def test_sighup_applies_log_levels_and_reports_other_changes(tmp_path: Path) -> None:
    claim = claim_ports()
    webhook, metrics, health = claim.ports[:3]
    serving = {
        "host": HOST,
        "webhookPort": webhook,
        "metricsPort": metrics,
        "healthPort": health,
    }
    file = tmp_path / "run" / "spotalis.yaml"
    try:
        async with operator(tmp_path / "run", claim.ports, {"serving": serving}) as it:
            async with asyncio.timeout(90):
                while (await it.health("/readyz")).get("status") != "ready":
                    await asyncio.sleep(0.1)

            levels = {"levels": {"spotalis.web": "debug"}}
            changed = {"serving": serving, "logging": levels, "cooldown": "9s"}
            file.write_text(json.dumps(changed))
            it.hang_up()
            reported = await wait_for_log_line(it, "Changed settings take effect after a restart")
            assert reported["settings"] == ["cooldown"]
            assert (await wait_for_log_line(it, "TLS handshake failed"))["level"] == "debug"

            file.write_text("resnyc: 9s")
            it.hang_up()
            rejected = await wait_for_log_line(it, "Failed to reload settings")
            assert rejected["problems"] == [
                f"{file}:1  `resnyc` is not a setting; did you mean `resync`?"
            ]
            assert (await it.health("/healthz"))["status"] == "ok"
    finally:
        claim.release()
