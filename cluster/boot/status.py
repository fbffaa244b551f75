"""`oarlock status`: every part, where it listens, who leads, how old it is."""

from __future__ import annotations

import asyncio
import http.client
import json
import ssl
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, TextIO

from oarlock.cluster.boot import control
from oarlock.cluster.boot.access import Access, access_to
from oarlock.cluster.boot.components import is_component_lease
from oarlock.cluster.boot.errors import BootError
from oarlock.cluster.boot.hoststate import load_host
from oarlock.cluster.boot.state import StateFolder

if TYPE_CHECKING:
    from oarlock.consensus.model import MemberStatus

ANSWER_S = 3.0
COLUMNS = ("NAME", "KIND", "STATE", "PID", "ADDRESS", "ACTIVE", "AGE", "RESTARTS")


@dataclass(frozen=True, slots=True)
class Row:
    """One part. `active` marks the store's leader and the holders of leases; `age_s` counts from the last start."""

    name: str
    kind: str
    state: str
    pid: int
    address: str
    active: bool
    age_s: float
    restarts: int
    error: str = ""


def show(folder: StateFolder, name: str, output: str, out: TextIO) -> int:
    """Print the parts; return 0 if all are ready, else 1. Raises BootError if the cluster isn't running."""
    rows = gather(folder, name)
    if output == "json":
        print(json.dumps({"name": name, "parts": [asdict(row) for row in rows]}, indent=1), file=out)
    else:
        _print_table(rows, out)
    return 0 if all(row.state == "ready" for row in rows) else 1


def gather(folder: StateFolder, name: str) -> list[Row]:
    access = access_to(folder)
    try:
        snapshot = next(control.ask(folder.control_socket, "status", ANSWER_S))
    except OSError:
        way_out = f"Start it: {access.start}." if access else "See oarlock up --help."
        raise BootError(f"the cluster {name} is not running", way_out) from None
    assert access is not None
    targets, holders = _api_view(access)
    active = {_store_leader(access, snapshot["parts"]), *holders}
    return [
        *(_row(part, active) for part in snapshot["parts"]),
        *_actors(targets, active),
        *_other_servers(folder),
    ]


def _other_servers(folder: StateFolder) -> list[Row]:
    """Return the other servers of a cluster on several hosts, by whether their join servers answer."""
    record = load_host(folder)
    if record is None:
        return []
    from oarlock.cluster.boot.hosttelling import others_that_answer

    found = others_that_answer(record, folder)
    states = {True: "ready", False: "unreachable"}
    members = record.cluster.members
    return [Row(name, "host", states[there], 0, members[name], False, 0.0, 0) for name, there in found.items()]  # noqa: FBT003


def _row(part: Mapping[str, Any], active: set[str]) -> Row:
    age_s = time.time() - part["started"] if part["started"] and part["pid"] else 0.0
    return Row(
        part["name"],
        part["kind"],
        part["state"],
        part["pid"],
        part["address"],
        part["name"] in active,
        round(age_s, 1),
        part["restarts"],
        part["error"],
    )


def _store_leader(access: Access, parts: list[dict[str, Any]]) -> str:
    """Return the leading replica's name, "" while there is none or nobody answers."""
    if access.single:
        return next((str(part["name"]) for part in parts if part["kind"] == "store"), "")
    endpoints = [part["address"] for part in parts if part["kind"] == "store" and part["address"] and part["pid"]]
    members = store_members(access, endpoints)
    return max(members, key=lambda member: member.term).leader if members else ""


def store_members(access: Access, endpoints: list[str]) -> list[MemberStatus]:
    """Return what each replica that answers says of itself."""
    from oarlock.cluster.boot.roles import store_client
    from oarlock.consensus.model import Unavailable

    tls = {key: str(file) for key, file in access.files.items()}

    async def ask() -> list[MemberStatus]:
        client = store_client(endpoints, tls)
        try:
            async with asyncio.timeout(ANSWER_S):
                await client.start()
                return await client.status()
        finally:
            await client.close()

    try:
        return asyncio.run(ask()) if endpoints else []
    except (OSError, TimeoutError, Unavailable):
        return []


def _api_view(access: Access) -> tuple[list[dict[str, Any]], set[str]]:
    """Return the metrics targets and the holders of leases; an API that doesn't answer knows of none."""
    try:
        leases = _get(access, "/oarlock/v1/leases")
        targets: list[dict[str, Any]] = _get(access, "/oarlock/v1/targets")
    except (OSError, ValueError):
        return [], set()
    return targets, {_copy_of(item["holder"]) for item in leases["items"]}


def takes_pods(folder: StateFolder) -> bool:
    """Tell whether the controllers have made what a first pod needs: the default namespace's account."""
    access = access_to(folder)
    assert access is not None
    try:
        found = _get(access, "/api/v1/namespaces/default/serviceaccounts/default")
    except (OSError, ValueError):
        return False
    return bool(found["kind"] == "ServiceAccount")


def _copy_of(holder: str) -> str:
    """Return the copy's name out of an identity `COPY/PID.TERM`, or `COPY.TERM` in one process."""
    return holder.rpartition(".")[0].partition("/")[0]


def _actors(targets: list[dict[str, Any]], active: set[str]) -> list[Row]:
    """Return the rows of the actors, which Ray runs and which register themselves."""
    rows = []
    for target in targets:
        labels = target["labels"]
        if is_component_lease(labels.get("job", "")):
            started = float(labels.get("started", 0))
            age_s = round(time.time() - started, 1) if started else 0.0
            name = labels["instance_name"]
            pid = int(labels.get("pid", 0))
            rows.append(Row(name, "actor", "ready", pid, target["targets"][0], name in active, age_s, 0))
    return sorted(rows, key=lambda row: row.name)


def _get(access: Access, path: str) -> Any:
    context = ssl.create_default_context(cafile=str(access.files["ca_file"]))
    context.load_cert_chain(access.files["cert_file"], access.files["key_file"])
    connection = http.client.HTTPSConnection(access.host, access.port, timeout=ANSWER_S, context=context)
    try:
        connection.request("GET", path)
        return json.loads(connection.getresponse().read())
    finally:
        connection.close()


def _print_table(rows: list[Row], out: TextIO) -> None:
    lines: list[tuple[str, ...]] = [COLUMNS]
    for row in rows:
        active = "*" if row.active else ""
        pid = str(row.pid) if row.pid else "-"
        lines.append((row.name, row.kind, row.state, pid, row.address, active, f"{row.age_s:.0f}s", str(row.restarts)))
    widths = [max(len(line[column]) for line in lines) for column in range(len(COLUMNS))]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip(), file=out)
    for row in rows:
        if row.error:
            print(f"{row.name}: {row.error}", file=out)
