"""The app: `duchenne app`."""

from __future__ import annotations

from typing import Annotated

import typer

from duchenne.cli.app import app, log
from duchenne.cli.batch import Memory
from duchenne.cli.clips import ModelOption


@app.command("app")
def serve(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the page; 0 takes any that is free.")] = 8765,
    host: Annotated[str, typer.Option(help="Address to listen on; any other lets other computers in.")] = "127.0.0.1",
    browser: Annotated[bool, typer.Option(help="Open the page in a browser.")] = True,
    max_mb: Annotated[float, typer.Option(min=0.001, help="Largest clip, in megabytes.")] = 500.0,
    max_seconds: Annotated[float, typer.Option(min=1.0, help="Longest work on one clip, in seconds.")] = 600.0,
    memory: Memory = None,
    model: ModelOption = "default",
) -> None:
    """Open a page on this computer on which to drop clips, record one, read verdicts and compare; nothing leaves it."""
    import threading
    import webbrowser

    from duchenne import judging
    from duchenne.web import server

    if model != "default":
        judging.load_model(model)  # says now what is wrong with it
    if host not in server.LOOPBACK:
        log(
            f"Warning: on {host} other computers can reach this page; whoever has its address sees every clip, and "
            "nothing is encrypted on the way."
        )

    def opened(url: str, once: str) -> None:
        typer.echo(url)
        log("Clips stay on this computer and are deleted when the app ends. Ctrl-C ends it.")
        if browser:  # one that runs in the terminal would hold everything up
            threading.Thread(target=webbrowser.open, args=(once,), daemon=True).start()

    server.serve(server.Settings(host, port, model, max_mb, max_seconds, memory), opened)
