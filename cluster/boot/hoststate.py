"""What one host of several keeps on disk beside its certificates: its record, Ray's token, the two join tokens."""

from __future__ import annotations

import json
import secrets

from oarlock.cluster.boot.errors import BootError
from oarlock.cluster.boot.hosts import FORMAT, HostRecord
from oarlock.cluster.boot.jointokens import Secrets
from oarlock.cluster.boot.state import StateFolder, write_private

RAY_TOKEN, TOKENS = "ray-token", "tokens.json"


def load_host(folder: StateFolder) -> HostRecord | None:
    """Return the host's record, None if this folder is no host's of several. Raises BootError if it can't be read."""
    file = folder.host_file
    restore = "Restore it, or start this host anew: --fresh."
    try:
        document = json.loads(file.read_bytes())
        version = document.get("format")
        if version == FORMAT:
            return HostRecord.of(document)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise BootError(f"{file} can't be read: {error}", restore) from None
    raise BootError(
        f"the state folder {folder.path} has format {version}, this version of Oarlock reads format {FORMAT}",
        "Use the version that wrote it, or another folder: --state DIR.",
    )


def save_host(folder: StateFolder, record: HostRecord) -> None:
    write_private(folder.host_file, json.dumps(record.document(), indent=1).encode())


def ray_token(folder: StateFolder) -> str:
    """Return the token that Ray's processes on all servers share; made by the founder."""
    file = folder.pki / RAY_TOKEN
    if not file.exists():
        write_private(file, secrets.token_hex(32).encode())
    return file.read_text()


def load_secrets(folder: StateFolder) -> Secrets:
    """Return the secrets of the join tokens; made by the founder. Raises BootError if they can't be read."""
    file = folder.pki / TOKENS
    try:
        if not file.exists():
            save_secrets(folder, Secrets.new())
        return Secrets.of(json.loads(file.read_bytes()))
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise BootError(f"{file} can't be read: {error}", "Remove it, and new tokens are made.") from None


def save_secrets(folder: StateFolder, found: Secrets) -> None:
    write_private(folder.pki / TOKENS, json.dumps(found.document()).encode())
