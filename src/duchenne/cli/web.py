"""The app: `duchenne app`."""

from __future__ import annotations

from typing import Annotated

import typer

from duchenne.cli import options
from duchenne.cli.app import JUDGE, app, echo, log
from duchenne.registry import check_reader


@app.command("app", rich_help_panel=JUDGE)
def serve(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 for any free one.")] = 8765,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    origin: Annotated[
        str | None, typer.Option(help="Address of a reverse proxy with TLS before it, such as https://lab.example.")
    ] = None,
    browser: Annotated[bool, typer.Option(help="Open the page in a browser.")] = True,
    max_mb: Annotated[float, typer.Option(min=0.001, help="Maximum size of a clip in MB.")] = 500.0,
    max_seconds: Annotated[float, typer.Option(min=1.0, help="Maximum processing time of a clip in seconds.")] = 600.0,
    memory: options.Memory = None,
    model: options.Model = "default",
    reader: options.ModelReader = None,
) -> None:
    """Open a local web page to judge, record and compare clips; no data leaves this computer."""
    import threading
    import webbrowser

    from duchenne import judging
    from duchenne.web import guard, server

    if reader is not None:
        check_reader(reader)
    origin = None if origin is None else guard.public_origin(origin)
    if model != "default":
        judging.load_model(model)  # reports an invalid model before the server starts
    if host not in server.LOOPBACK:
        log(
            f"note: on {host} other computers can reach this page; anyone with its address can see every clip, and the "
            "connection is not encrypted."
        )
    elif origin:
        log(f"note: at {origin} other computers can reach this page; anyone with its address can see every clip.")

    def on_start(url: str, once: str) -> None:
        echo(url)
        log("Clips stay on this computer and are deleted when the app ends. Press Ctrl-C to end it.")
        if browser:  # a browser in the terminal would block
            threading.Thread(target=webbrowser.open, args=(once,), daemon=True).start()

    server.serve(server.Settings(host, port, model, max_mb, max_seconds, memory, origin, reader), on_start)
