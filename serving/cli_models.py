"""`assay models`: the models of a server, their versions and states."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from serving.cli_connect import (
    RestOption,
    TimeoutOption,
    TlsCaOption,
    TlsCertOption,
    TlsKeyOption,
    TlsNameOption,
    TlsOption,
    connect,
    explained,
    is_rest,
    tls_options,
)

if TYPE_CHECKING:
    from serving.client import BlockingClient, VersionStatus

_COLORS = {"AVAILABLE": "green", "END": "red"}


def models(
    address: Annotated[str, typer.Argument(help="host:port for gRPC, http://host:port for REST.")],
    names: Annotated[
        list[str] | None,
        typer.Argument(help="Models to ask about; without, all that a server of ours lists."),
    ] = None,
    rest: RestOption = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object, for scripts.")] = False,
    timeout: TimeoutOption = 10.0,
    tls: TlsOption = False,
    tls_ca: TlsCaOption = "",
    tls_cert: TlsCertOption = "",
    tls_key: TlsKeyOption = "",
    tls_name: TlsNameOption = "",
) -> None:
    """Show the models of a server: versions, states, and why a load failed."""
    secure = tls_options(tls, tls_ca, tls_cert, tls_key, tls_name)
    with (
        explained(address, rest=rest, tls=secure is not None),
        connect(address, rest=rest, timeout_s=timeout, tls=secure) as client,
    ):
        if names:
            found = {name: client.status(name) for name in names}
        else:
            found = _all(client, is_rest(address, rest))
    if as_json:
        typer.echo(json.dumps(_plain(found), ensure_ascii=False))
    else:
        _show(found)


def _all(client: BlockingClient, over_rest: bool) -> dict[str, list[VersionStatus]]:
    from serving.client import RequestFailed

    try:
        return client.models()
    except RequestFailed as error:
        if error.code not in ("NOT_FOUND", "UNIMPLEMENTED", "INVALID_ARGUMENT"):
            raise
        error.where = client.address
        error.hint = (
            f"Name the models: `assay models {client.address} NAME ...`; only our own server "
            "lists them" + (", not tensorflow_model_server." if over_rest else ", over REST.")
        )
        raise


def _plain(found: dict[str, list[VersionStatus]]) -> dict[str, object]:
    return {
        "models": [
            {
                "name": name,
                "versions": [
                    {"version": v.version, "state": v.state, "message": v.message} for v in versions
                ],
            }
            for name, versions in found.items()
        ]
    }


def _show(found: dict[str, list[VersionStatus]]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table("model", "version", "state", "message", box=None, header_style="dim")
    for name, versions in sorted(found.items()):
        if not versions:
            table.add_row(escape(name), "-", "no version", "")
        for status in sorted(versions, key=lambda status: -status.version):
            color = _COLORS.get(status.state, "yellow")
            state = f"[{color}]{escape(status.state)}[/]"
            table.add_row(escape(name), str(status.version), state, escape(status.message))
    Console().print(table if found else "The server has no models.")
