"""What SIGHUP does to a running process (behaviour.md 7): log levels, and nothing else."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from tests.support.free_ports import claim_ports
from tests.support.operator_process import HOST, Operator, operator


async def until_logged(it: Operator, message: str) -> dict[str, object]:
    """The line with this message; meanwhile callers come by that speak no TLS."""
    async with asyncio.timeout(90):
        while True:
            found = [line for line in it.log_lines() if line["message"] == message]
            if found:
                return dict(found[-1])
            _, writer = await asyncio.open_connection(HOST, it.ports[0])
            writer.write(b"hello")
            writer.close()
            await asyncio.sleep(0.1)


async def test_hanging_up_applies_log_levels_and_names_the_rest(tmp_path: Path) -> None:
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

            levels = {"levels": {"spotalis.webhook": "debug"}}
            changed = {"serving": serving, "logging": levels, "cooldown": "9s"}
            file.write_text(json.dumps(changed))
            it.hang_up()
            told = await until_logged(it, "Changed settings take effect after a restart")
            assert told["settings"] == ["cooldown"]
            assert (await until_logged(it, "handshake failed"))["level"] == "debug"

            file.write_text("resnyc: 9s")
            it.hang_up()
            refused = await until_logged(it, "Failed to reload settings")
            assert refused["problems"] == [
                f"{file}:1  `resnyc` is not a setting; did you mean `resync`?"
            ]
            assert (await it.health("/healthz"))["status"] == "ok"
    finally:
        claim.release()
