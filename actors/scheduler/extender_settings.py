"""What a configuration says of an extender. Source: upstream's kubescheduler.config.k8s.io/v1 Extender."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass, replace

from oarlock.actors.scheduler.located import Section
from oarlock.cluster.client.settings import ClientSettings

_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class ExtenderSettings:
    """Where an extender is and what it is asked: a verb that is empty isn't. `resources`, if any, tell which pods."""

    url: str
    filter_verb: str = ""
    prioritize_verb: str = ""
    preempt_verb: str = ""
    bind_verb: str = ""
    weight: int = 1
    timeout_s: float = _TIMEOUT_S
    names_only: bool = False
    ignorable: bool = False
    resources: frozenset[str] = frozenset()
    ignored_by_scheduler: frozenset[str] = frozenset()
    tls: Tls | None = None

    def client(self) -> ClientSettings:
        """Return what a client for it needs."""
        tls = self.tls or Tls()
        return ClientSettings(
            self.url,
            # Who asks counts the time, and says so in upstream's words.
            timeout_s=2 * self.timeout_s + 1,
            insecure=tls.insecure,
            ca_file=tls.ca_file,
            cert_file=tls.cert_file,
            key_file=tls.key_file,
            ca_pem=tls.ca_pem,
            cert_pem=tls.cert_pem,
            key_pem=tls.key_pem,
        )


@dataclass(frozen=True, slots=True)
class Tls:
    """Whom to trust, and who asks; files are PEM."""

    insecure: bool = False
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    ca_pem: str | None = None
    cert_pem: str | None = None
    key_pem: str | None = None

    @property
    def has_authority(self) -> bool:
        return self.ca_file is not None or self.ca_pem is not None


def extender(section: Section) -> ExtenderSettings:
    """Read one extender of the configuration. Raises Broken."""
    url = section.get("urlPrefix", str, "")
    if not url.startswith(("http://", "https://")):
        raise section.broken("urlPrefix", "must be an http or https URL")
    weight = section.get("weight", int, 1)
    if weight < 1:
        raise section.broken("weight", "must be positive")
    resources: set[str] = set()
    ignored: set[str] = set()
    for one in section.sections("managedResources"):
        name = one.get("name", str, "")
        if name in resources:
            raise one.broken("name", f"{name!r} is managed twice")
        resources.add(name)
        if one.get("ignoredByScheduler", bool, default=False):
            ignored.add(name)
        one.done()
    made = ExtenderSettings(
        url.rstrip("/"),
        section.get("filterVerb", str, ""),
        section.get("prioritizeVerb", str, ""),
        section.get("preemptVerb", str, ""),
        section.get("bindVerb", str, ""),
        weight,
        section.seconds("httpTimeout", _TIMEOUT_S),
        section.get("nodeCacheCapable", bool, default=False),
        section.get("ignorable", bool, default=False),
        frozenset(resources),
        frozenset(ignored),
        _tls(section),
    )
    section.done()
    return made


def extenders(sections: Sequence[Section]) -> tuple[ExtenderSettings, ...]:
    """Read all of them. Raises Broken."""
    found: list[ExtenderSettings] = []
    for section in sections:
        made = extender(section)
        if made.bind_verb and any(one.bind_verb for one in found):
            raise section.broken("bindVerb", "is another extender's too: only one may bind")
        found.append(made)
    return tuple(found)


def _tls(section: Section) -> Tls | None:
    """Without an authority to trust, HTTPS that is asked for trusts anybody, as upstream's does."""
    enabled, given = section.get("enableHTTPS", bool, default=False), section.section("tlsConfig")
    if given is None:
        return Tls(insecure=True) if enabled else None
    if given.get("serverName", str, ""):
        raise given.broken("serverName", "is not supported: name the extender as its certificate does")
    tls = Tls(
        given.get("insecure", bool, default=False),
        *(given.get(name, str, "") or None for name in ("caFile", "certFile", "keyFile")),
        *(_pem(given, name) for name in ("caData", "certData", "keyData")),
    )
    if (tls.cert_file is None) != (tls.key_file is None) or (tls.cert_pem is None) != (tls.key_pem is None):
        raise given.broken("certFile", "and its key must be given together")
    given.done()
    if enabled and not tls.has_authority:
        return replace(tls, insecure=True)
    return tls


def _pem(section: Section, name: str) -> str | None:
    text = section.get(name, str, "")
    if not text:
        return None
    try:
        return base64.b64decode(text, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise section.broken(name, "must be PEM in base64") from None
