"""Writes a cluster's entry into a kubeconfig without disturbing what else is there.

Source: client-go's clientcmd: the file is locked by a sibling named FILE.lock.
"""

from __future__ import annotations

import base64
import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from oarlock.cluster.boot.errors import BootError
from oarlock.cluster.boot.pki import CertificateFiles
from oarlock.cluster.boot.state import write_private

SECTIONS = ("clusters", "users", "contexts")


def default_file() -> Path:
    """Return the file that kubectl would write to: the first of $KUBECONFIG, else ~/.kube/config."""
    listed = [part for part in os.environ.get("KUBECONFIG", "").split(os.pathsep) if part]
    return Path(listed[0]) if listed else Path.home() / ".kube" / "config"


def load(path: Path) -> dict[str, Any]:
    """Return the kubeconfig, an empty one if there is no file. Raises BootError if it is broken."""
    try:
        content = yaml.safe_load(path.read_bytes()) or {}
    except FileNotFoundError:
        return {}
    except (OSError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise BootError(
            f"the kubeconfig {path} can't be read: {reason}", "Mend it, or write elsewhere: --kubeconfig FILE."
        ) from None
    sound = isinstance(content, dict) and all(_is_named_list(content.get(section)) for section in SECTIONS)
    if not sound:
        raise BootError(f"{path} is no kubeconfig", "Mend it, or write elsewhere: --kubeconfig FILE.")
    return dict(content)


def check(path: Path) -> None:
    """Raise BootError unless the kubeconfig is sound and can be written."""
    load(path)
    with _locked(path):
        pass


def merge(path: Path, context: str, server: str, admin: CertificateFiles) -> None:
    """Add or replace cluster, user and context `context` in the file and make it the current context."""
    with _locked(path):
        config = load(path)
        entry = {"server": server, "certificate-authority-data": _data(admin.ca)}
        user = {"client-certificate-data": _data(admin.cert), "client-key-data": _data(admin.key)}
        _put(config, "clusters", context, "cluster", entry)
        _put(config, "users", context, "user", user)
        _put(config, "contexts", context, "context", {"cluster": context, "user": context})
        _write(path, {"apiVersion": "v1", "kind": "Config", "preferences": {}} | config | {"current-context": context})


def remove(path: Path, context: str) -> None:
    """Take the entries of `context` out of the file; no file or no entry is fine."""
    if not path.exists():
        return
    with _locked(path):
        config = load(path)
        for section in SECTIONS:
            config[section] = [item for item in config.get(section) or [] if item["name"] != context]
        if config.get("current-context") == context:
            config["current-context"] = ""
        _write(path, config)


def _is_named_list(value: object) -> bool:
    return value is None or (isinstance(value, list) and all(isinstance(i, dict) and "name" in i for i in value))


def _put(config: dict[str, Any], section: str, name: str, key: str, value: dict[str, str]) -> None:
    others = [item for item in config.get(section) or [] if item["name"] != name]
    config[section] = [*others, {"name": name, key: value}]


def _data(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def _write(path: Path, config: dict[str, Any]) -> None:
    write_private(path, yaml.safe_dump(config, sort_keys=False).encode())


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    lock = path.with_name(path.name + ".lock")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock.touch(mode=0o600, exist_ok=False)
    except FileExistsError:
        raise BootError(f"{lock} exists: another program is writing {path}", "If none is, remove it.") from None
    except OSError as error:
        raise BootError(
            f"the kubeconfig {path} can't be written: {error.strerror}", "Write elsewhere: --kubeconfig FILE."
        ) from None
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)
