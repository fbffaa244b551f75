"""Prepares a pod before its process starts: issues its certificate and writes its settings.

Templates of charts can't issue certificates that name groups, and the groups are what grants rights here. So each pod's
init container issues its own, from the authority that only init containers see.

Environment: USER_NAME and GROUPS (comma separated) go into the certificate's subject, HOSTS (comma separated) are the
names and addresses it serves; $(POD_NAME), $(POD_IP) and $(CA_PEM) in SETTINGS, a JSON file, are replaced.
"""

import json
import os
import shutil
import tempfile
from pathlib import Path

from oarlock.cluster.boot.pki import Authority

AUTHORITY = Path(os.environ.get("AUTHORITY", "/authority"))
IDENTITY = Path(os.environ.get("IDENTITY", "/identity"))


def main() -> None:
    replacements = {f"$({name})": os.environ[name] for name in ("POD_NAME", "POD_IP")}
    replacements["$(CA_PEM)"] = (AUTHORITY / "ca.crt").read_text()
    issue(*(replaced(os.environ[name], replacements) for name in ("USER_NAME", "GROUPS", "HOSTS")))
    settings = json.loads(Path(os.environ["SETTINGS"]).read_bytes())
    (IDENTITY / "settings.json").write_text(json.dumps(replaced(settings, replacements)))


def issue(user, groups, hosts):
    """Write ca.crt, tls.crt and tls.key for `user`; the authority's own key stays here."""
    with tempfile.TemporaryDirectory(dir=IDENTITY) as folder:
        for name in ("ca.crt", "ca.key"):
            shutil.copyfile(AUTHORITY / name, Path(folder, name))
        files = Authority(Path(folder)).issue("tls", user, split(groups), split(hosts))
        for file in (files.ca, files.cert, files.key):
            shutil.copy(file, IDENTITY / file.name)


def replaced(value, replacements):
    """`value` with the placeholders in all its strings replaced."""
    if isinstance(value, dict):
        return {key: replaced(inner, replacements) for key, inner in value.items()}
    if isinstance(value, list):
        return [replaced(inner, replacements) for inner in value]
    if isinstance(value, str):
        for placeholder, text in replacements.items():
            value = value.replace(placeholder, text)
    return value


def split(text):
    return [part for part in text.split(",") if part]


if __name__ == "__main__":
    main()
