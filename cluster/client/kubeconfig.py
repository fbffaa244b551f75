"""Read client settings out of a kubeconfig file."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from oarlock.cluster.client.errors import BadKubeconfig
from oarlock.cluster.client.settings import ClientSettings


def load(path: str | Path, context: str | None = None) -> ClientSettings:
    """Return the settings of `context`, by default the file's current one.

    Relative file names count from the kubeconfig's folder, as kubectl reads them. Raises BadKubeconfig.
    """
    path = Path(path)
    try:
        document = yaml.safe_load(path.read_text())
    except OSError as error:
        raise BadKubeconfig(f"can't read kubeconfig {path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BadKubeconfig(f"kubeconfig {path} is not valid YAML: {error}") from error
    if not isinstance(document, dict):
        raise BadKubeconfig(f"kubeconfig {path} holds no mapping")
    chosen = _named(path, document, "contexts", context or document.get("current-context") or "", "context")
    cluster = _named(path, document, "clusters", chosen.get("cluster") or "", "cluster")
    user = _named(path, document, "users", chosen.get("user") or "", "user") if chosen.get("user") else {}
    if not isinstance(cluster.get("server"), str):
        raise BadKubeconfig(f"kubeconfig {path}: the cluster of the chosen context has no server")
    return ClientSettings(
        server=cluster["server"],
        ca_file=_file(path, cluster, "certificate-authority"),
        cert_file=_file(path, user, "client-certificate"),
        key_file=_file(path, user, "client-key"),
        token=_token(path, user),
        ca_pem=_inline(path, cluster, "certificate-authority-data"),
        cert_pem=_inline(path, user, "client-certificate-data"),
        key_pem=_inline(path, user, "client-key-data"),
        insecure=bool(cluster.get("insecure-skip-tls-verify")),
    )


def _named(path: Path, document: Mapping[str, Any], section: str, name: str, member: str) -> Mapping[str, Any]:
    for entry in document.get(section) or []:
        if isinstance(entry, dict) and entry.get("name") == name and isinstance(entry.get(member), dict):
            found: Mapping[str, Any] = entry[member]
            return found
    raise BadKubeconfig(f"kubeconfig {path} has no {member} named {name!r}")


def _file(path: Path, section: Mapping[str, Any], key: str) -> str | None:
    value = section.get(key)
    return str(path.parent / value) if value else None


def _inline(path: Path, section: Mapping[str, Any], key: str) -> str | None:
    value = section.get(key)
    if not value:
        return None
    try:
        return base64.b64decode(value, validate=True).decode("ascii")
    except (binascii.Error, ValueError, TypeError) as error:
        raise BadKubeconfig(f"kubeconfig {path}: {key} is not base64 of a PEM file") from error


def _token(path: Path, user: Mapping[str, Any]) -> str | None:
    if user.get("token"):
        return str(user["token"])
    file = _file(path, user, "tokenFile")
    if not file:
        return None
    try:
        return Path(file).read_text().strip()
    except OSError as error:
        raise BadKubeconfig(f"kubeconfig {path}: can't read tokenFile {file}: {error.strerror}") from error
