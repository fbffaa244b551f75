"""What isn't read while a process imports its code, and that nothing of that lasts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from oarlock.cluster.boot.pki import Authority

LOOK = """
import os, ssl, sys
from oarlock.cluster.boot.importing import import_aiohttp
before = dict(os.environ)
assert "aiohttp" not in sys.modules
import_aiohttp()
from aiohttp import connector
print(connector._SSL_CONTEXT_VERIFIED.cert_store_stats()["x509_ca"], os.environ == before)
context = ssl.create_default_context()
print(context.cert_store_stats()["x509_ca"])
"""


def test_aiohttp_reads_no_certificates_and_who_asks_for_the_systems_has_them(tmp_path: Path) -> None:
    ca = Authority(tmp_path).issue("x", "x").ca
    run = [sys.executable, "-c", LOOK]
    environment = {**os.environ, "SSL_CERT_FILE": str(ca)}
    shown = subprocess.run(run, check=True, stdout=subprocess.PIPE, text=True, timeout=60, env=environment).stdout
    assert shown.splitlines() == ["0 True", "1"]
