"""A pod's volumes as folders on the node."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from oarlock.cluster.kubelet import downward
from oarlock.cluster.kubelet.downward import Addresses
from oarlock.cluster.kubelet.references import References
from oarlock.cluster.kubelet.runtime import ConfigFailure

FILE_MODE = 0o644


def prepare(pod: Mapping[str, Any], folder: Path, references: References, addresses: Addresses) -> dict[str, str]:
    """Make every volume below `folder` and return their paths by name. Raises ConfigFailure.

    An emptyDir keeps its contents over restarts of containers; the others are brought up to date.
    """
    return {
        volume["name"]: str(_one(pod, volume, folder / volume["name"], references, addresses))
        for volume in pod["spec"].get("volumes") or []
    }


def _one(
    pod: Mapping[str, Any], volume: Mapping[str, Any], path: Path, references: References, addresses: Addresses
) -> Path:
    if "hostPath" in volume:
        return _host_path(volume["hostPath"])
    if "emptyDir" in volume:
        path.mkdir(parents=True, exist_ok=True)
        return path
    sources = volume["projected"].get("sources") or [] if "projected" in volume else [volume]
    known = ("configMap", "secret", "downwardAPI", "serviceAccountToken")
    files: dict[str, bytes] = {}
    for source in sources:
        if not any(name in source for name in known):
            kind = next((key for key in source if key != "name"), "unknown")
            raise ConfigFailure(f'volume "{volume["name"]}": volumes of type {kind} are not supported on this node')
        files |= _files(pod, source, references, addresses)
    _write(path, files)
    return path


def _files(
    pod: Mapping[str, Any], source: Mapping[str, Any], references: References, addresses: Addresses
) -> dict[str, bytes]:
    """Return the files of one source by relative path; a service account token is not among them yet."""
    if "downwardAPI" in source:
        return {item["path"]: _downward(pod, item, addresses) for item in source["downwardAPI"].get("items") or []}
    for field, plural in (("configMap", "configmaps"), ("secret", "secrets")):
        if field not in source:
            continue
        wanted = source[field]
        optional = bool(wanted.get("optional"))
        name = wanted.get("secretName") or wanted.get("name", "")
        data = references.data(plural, name, optional=optional)
        items = wanted.get("items")
        if not items:
            return data
        missing = [item["key"] for item in items if item["key"] not in data]
        if missing and not optional:
            raise ConfigFailure(f"references non-existent {field.lower()} key: {missing[0]}")
        return {item["path"]: data[item["key"]] for item in items if item["key"] in data}
    return {}


def _downward(pod: Mapping[str, Any], item: Mapping[str, Any], addresses: Addresses) -> bytes:
    if "fieldRef" in item:
        return downward.field(pod, item["fieldRef"]["fieldPath"], addresses).encode()
    selector = item["resourceFieldRef"]
    containers = [c for c in pod["spec"]["containers"] if c["name"] == selector.get("containerName")]
    if not containers:
        raise ConfigFailure(f"container {selector.get('containerName')} not found")
    return downward.resource(containers[0], selector, addresses).encode()


def _host_path(source: Mapping[str, Any]) -> Path:
    path, kind = Path(source["path"]), source.get("type") or ""
    if kind == "DirectoryOrCreate":
        path.mkdir(parents=True, exist_ok=True)
    elif kind == "FileOrCreate":
        path.touch()
    tests = {"Directory": path.is_dir, "File": path.is_file, "Socket": path.is_socket}
    if kind in tests and not tests[kind]():
        raise ConfigFailure(f"hostPath type check failed: {path} is not a {kind.lower()}")
    return path


def _write(path: Path, files: Mapping[str, bytes]) -> None:
    """Bring the folder's files to these contents; a running container sees each file old or new, never half-written."""
    path.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        if ".." in Path(name).parts or Path(name).is_absolute():
            raise ConfigFailure(f"invalid path {name}")
        target = path / name
        if target.is_file() and target.read_bytes() == content:
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        fresh = target.with_name(f".{target.name}.new")
        fresh.write_bytes(content)
        fresh.chmod(FILE_MODE)
        fresh.replace(target)
    for present in path.rglob("*"):
        if present.is_file() and str(present.relative_to(path)) not in files:
            present.unlink()
