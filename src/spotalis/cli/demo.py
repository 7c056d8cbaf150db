"""``spotalis demo``: see it work, with no cluster, kubectl or network."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter


def demo(
    *,
    kubeconfig_out: Path | None = None,
    stay: Annotated[bool, Parameter(negative="")] = False,
    seed: int = 7,
    ascii_only: Annotated[bool, Parameter(name="--ascii", negative="")] = False,
) -> int:
    """Run the real operator on an embedded cluster and tell what happens, in under 30 s.

    Parameters
    ----------
    kubeconfig_out
        Write a kubeconfig for the embedded cluster there, so that kubectl can look.
    stay
        Keep the cluster after the story, until Ctrl-C.
    seed
        Names and ties follow from it.
    ascii_only
        Bars of #, ~ and . instead of block characters.
    """
    import asyncio
    import logging
    import random
    import sys

    from spotalis.app import logs
    from spotalis.app.clock import SystemClock
    from spotalis.cli.bars import bar, texture
    from spotalis.cli.faults import ExitCode, Fault
    from spotalis.simulator.stage import stage
    from spotalis.simulator.story import Line, Story, WentWrong

    logs.configure(sys.stderr, form="text", level="error")
    signs = texture(ascii_only=ascii_only, encoding=sys.stdout.encoding)
    tick = "ok" if ascii_only else "✔"

    def show(line: Line) -> None:
        have = line.measured
        cells = bar(have.on_demand, have.spot, have.pending, signs)
        counts = f"{have.on_demand}/{line.want[0]} {have.spot}/{line.want[1]}"
        reason = line.reason or "-"
        print(f"\n{_stamp(line.seconds)}  {line.what}")
        print(f"       {cells:<12} {counts}  {reason:<14} {line.remark}", flush=True)

    async def play() -> None:
        clock = SystemClock()
        async with stage(
            clock=clock,
            rng=random.Random(seed),  # noqa: S311  # names and ties, no secret
            spot=3,
            on_demand=3,
        ) as there:
            if kubeconfig_out is not None:
                await asyncio.to_thread(kubeconfig_out.write_text, there.kubeconfig)
            print(
                "embedded cluster: 3 on-demand and 3 spot nodes of 4 CPUs, API on "
                f"{there.url}\nthe operator and its webhook are the real ones; "
                "a line shows on-demand have/want, then spot",
                flush=True,
            )
            if kubeconfig_out is not None:
                print(f"look in: kubectl --kubeconfig {kubeconfig_out} get pods -o wide -w")
            async for line in Story(there).tell():
                show(line)
            print(f"\n{tick} every split is what the arithmetic says")
            print("Run it on yours, moving nothing: spotalis controller --read-only")
            if stay:
                print("The cluster stays until Ctrl-C.", flush=True)
                await asyncio.Event().wait()

    logging.captureWarnings(True)
    try:
        asyncio.run(play())
    except WentWrong as wrong:
        raise Fault(
            code="SP040",
            what=f"the demo did not come to its end: {wrong}",
            fix="run it again; if it stays so, report it with the lines above",
        ) from None
    except OSError as error:
        raise Fault(
            code="SP041", what=f"the demo could not start: {error}", fix="see the line above"
        ) from None
    return ExitCode.DONE


def _stamp(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes:02}:{rest:02}"
