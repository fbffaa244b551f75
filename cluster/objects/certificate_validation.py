"""Validate CertificateSigningRequests: what is asked for, of whom, and what comes through approval and status.

Source: upstream's pkg/apis/certificates/validation and `ValidateSignerName` in pkg/apis/core/validation.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

from oarlock.cluster.objects import names
from oarlock.cluster.objects.causes import duplicate, forbidden, invalid, not_supported, required, too_long
from oarlock.cluster.objects.gotext import quote
from oarlock.cluster.objects.status import Cause

Obj = Mapping[str, Any]
USAGES: Final = (
    *("any", "cert sign", "client auth", "code signing", "content commitment", "crl sign", "data encipherment"),
    *("decipher only", "digital signature", "email protection", "encipher only", "ipsec end system", "ipsec tunnel"),
    *("ipsec user", "key agreement", "key encipherment", "microsoft sgc", "netscape sgc", "ocsp signing", "s/mime"),
    *("server auth", "signing", "timestamping"),
)
_DECISIONS: Final = ("Approved", "Denied")
_ALWAYS_TRUE: Final = (*_DECISIONS, "Failed")
_LEGACY: Final = "kubernetes.io/legacy-unknown"
_SIGNER_FORM: Final = "must be a fully qualified domain and path of the form 'example.com/signer-name'"
_SIGNER_MAX: Final = 571
_SECONDS_MIN: Final = 600
_BLOCK: Final = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----\r?\n(.*?)-----END \1-----", re.DOTALL)
_EXCLUSIVE: Final = "Approved and Denied conditions are mutually exclusive"


def request(obj: Obj) -> list[Cause]:
    """What is wrong with a new CertificateSigningRequest beyond its metadata."""
    return _request(obj, None)


def _request(obj: Obj, old: Obj | None) -> list[Cause]:
    spec = obj.get("spec") or {}
    causes = _asked(spec.get("request")) + _usages(spec.get("usages") or (), old)
    signer = spec.get("signerName", "")
    was_legacy = old is not None and (old.get("spec") or {}).get("signerName") == _LEGACY
    if signer == _LEGACY and not was_legacy:
        causes.append(invalid("spec.signerName", signer, "the legacy signerName is not allowed via this API version"))
    else:
        causes += signer_name(signer, "spec.signerName")
    seconds = spec.get("expirationSeconds")
    if seconds is not None and seconds < _SECONDS_MIN:
        why = "may not specify a duration less than 600 seconds (10 minutes)"
        causes.append(invalid("spec.expirationSeconds", seconds, why))
    return causes + _conditions(obj, old) + _certificate(obj, old)


def _asked(encoded: str | None) -> list[Cause]:
    block = _BLOCK.search(base64.b64decode(encoded or ""))
    why = ""
    if block is None or block[1] != b"CERTIFICATE REQUEST":
        why = "PEM block type must be CERTIFICATE REQUEST"
    else:
        try:
            asked = x509.load_der_x509_csr(base64.b64decode(block[2]))
            if not asked.is_signature_valid:
                why = "x509: ECDSA verification failure"
        except (ValueError, binascii.Error, UnsupportedAlgorithm, InvalidSignature) as error:
            why = f"asn1: structure error: {error}"
    return [invalid("spec.request", encoded or None, why)] if why else []


def _usages(given: Sequence[str], old: Obj | None) -> list[Cause]:
    had = ((old or {}).get("spec") or {}).get("usages") or ()
    causes = [] if given else [required("spec.usages")]
    if all(one in USAGES for one in had):
        causes += [
            not_supported(f"spec.usages[{index}]", one, USAGES) for index, one in enumerate(given) if one not in USAGES
        ]
    if len({*had}) == len(had):
        causes += [duplicate(f"spec.usages[{index}]", one) for index, one in enumerate(given) if one in given[:index]]
    return causes


def signer_name(text: str, path: str) -> list[Cause]:
    """What is wrong with the name of a signer: a domain and a path."""
    if not text:
        return [required(path)]
    parts = text.split("/")
    if len(parts) != 2:
        return [invalid(path, text, _SIGNER_FORM)]
    domain, tail = parts
    causes = [too_long(path, names.SUBDOMAIN_MAX)] if len(domain) > names.SUBDOMAIN_MAX else []
    causes += _labels(domain, path, names.dns_label)
    if "." not in domain:
        causes.append(invalid(path, domain, "should be a domain with at least two segments separated by dots"))
    causes += _labels(tail, path, names.dns_subdomain)
    return [*causes, too_long(path, _SIGNER_MAX)] if len(text) > _SIGNER_MAX else causes


def _labels(text: str, path: str, rule: Callable[[str], Sequence[str]]) -> list[Cause]:
    """What is wrong with the first bad one of the labels between dots."""
    bad = next((one for one in text.split(".") if rule(one)), None)
    if bad is None:
        return []
    return [invalid(path, text, f"validating label {quote(bad)}: {why}") for why in rule(bad)]


def _listed(obj: Obj | None) -> Sequence[Obj]:
    found: Sequence[Obj] = ((obj or {}).get("status") or {}).get("conditions") or ()
    return found


def _conditions(obj: Obj, old: Obj | None) -> list[Cause]:
    had = [one.get("type", "") for one in _listed(old)]
    causes: list[Cause] = []
    seen: set[str] = set()
    for index, condition in enumerate(_listed(obj)):
        place, kind, truth = f"status.conditions[{index}]", condition.get("type", ""), condition.get("status", "")
        if not kind and "" not in had:
            causes.append(required(f"{place}.type"))
        values = ("True",) if kind in _ALWAYS_TRUE else ("False", "True", "Unknown")
        if truth not in values:
            causes.append(not_supported(f"{place}.status", truth, values) if truth else required(f"{place}.status"))
        other = {*_DECISIONS} - {kind}
        if kind in _DECISIONS and other <= seen and not {*_DECISIONS} <= {*had}:
            causes.append(invalid("status.conditions", kind, _EXCLUSIVE))
        if kind in seen and len({*had}) == len(had):
            causes.append(duplicate(f"{place}.type", kind))
        seen.add(kind)
    return causes


def _certificate(obj: Obj, old: Obj | None) -> list[Cause]:
    issued, had = (((one or {}).get("status") or {}).get("certificate") for one in (obj, old))
    if old is not None and (issued == had or certificate_fault(had)):
        return []
    why = certificate_fault(issued)
    return [invalid("status.certificate", "<certificate data>", why)] if why else []


def certificate_fault(encoded: str | None) -> str:
    """What is wrong with an issued certificate (PEM in base64): only certificates, without headers; empty is fine."""
    if not encoded:
        return ""
    blocks = _BLOCK.findall(base64.b64decode(encoded))
    for kind, body in blocks:
        if kind != b"CERTIFICATE":
            return f"only CERTIFICATE PEM blocks are allowed, found {quote(kind.decode())}"
        if b":" in body:
            return "no PEM block headers are permitted"
        try:
            x509.load_der_x509_certificate(base64.b64decode(body))
        except (ValueError, binascii.Error):
            return "x509: malformed certificate"
    return "" if blocks else "must contain at least one CERTIFICATE PEM block"


def request_update(new: Obj, old: Obj) -> list[Cause]:
    """What is wrong with a CertificateSigningRequest that replaces `old`."""
    return _update(new, old, decides=False, issues=False)


def status(new: Obj, old: Obj) -> list[Cause]:
    """What is wrong with a request's new status: the signer issues, decisions stay with who makes them."""
    return _update(new, old, decides=False, issues=True)


def approval(new: Obj, old: Obj) -> list[Cause]:
    """What is wrong with a request's decision: it is made once, and it is one."""
    return _update(new, old, decides=True, issues=False)


def _update(new: Obj, old: Obj, *, decides: bool, issues: bool) -> list[Cause]:
    causes = _request(new, old)
    counts = {kind: tuple(len(_of_kind(one, kind)) for one in (new, old)) for kind in _ALWAYS_TRUE}
    causes += [_unchanging("remove", kind) for kind, (now, then) in counts.items() if now < then]
    if not decides:
        for kind in _DECISIONS:
            now, then = counts[kind]
            if now > then:
                causes.append(_unchanging("add", kind))
            elif now == then and _of_kind(new, kind) != _of_kind(old, kind):
                causes.append(_unchanging("modify", kind))
    issued, had = ((one.get("status") or {}).get("certificate") for one in (new, old))
    if issued != had and not issues:
        causes.append(forbidden("status.certificate", "updates may not set certificate content"))
    elif issued != had and had:
        causes.append(forbidden("status.certificate", "updates may not modify existing certificate content"))
    return causes


def _of_kind(obj: Obj, kind: str) -> list[Obj]:
    return [one for one in _listed(obj) if one.get("type") == kind]


def _unchanging(what: str, kind: str) -> Cause:
    return forbidden("status.conditions", f"updates may not {what} a condition of type {quote(kind)}")
