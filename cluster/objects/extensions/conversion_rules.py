"""Validate how a CustomResourceDefinition's objects are converted, and the webhook that does it.

Source: apiextensions `validateCustomResourceConversion`.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from oarlock.cluster.objects import names, webhook_client_validation
from oarlock.cluster.objects.causes import forbidden, invalid, not_supported, required
from oarlock.cluster.objects.status import Cause

Obj = Mapping[str, Any]
_STRATEGIES: Final = ("None", "Webhook")
_REVIEWS: Final = ("v1", "v1beta1")
_ONLY_WEBHOOK: Final = "should not be set when strategy is not set to Webhook"


def conversion(
    given: Obj | None, path: str, *, known_review: bool = True, good_bundle: bool = False
) -> Iterator[Cause]:
    """What is wrong with a conversion.

    `known_review` wants a review version that the server speaks; `good_bundle` certificates that can be read.
    """
    if given is None:
        return
    strategy = given.get("strategy", "")
    if not strategy:
        yield required(f"{path}.strategy")
    elif strategy not in _STRATEGIES:
        yield not_supported(f"{path}.strategy", strategy, _STRATEGIES)
    webhook = given.get("webhook") or {}
    client, reviews = webhook.get("clientConfig"), webhook.get("conversionReviewVersions") or []
    if strategy == "Webhook":
        yield from _client(client, f"{path}.webhookClientConfig", good_bundle=good_bundle)
        yield from _review_versions(reviews, f"{path}.conversionReviewVersions", known=known_review)
        return
    if client is not None:
        yield forbidden(f"{path}.webhookClientConfig", _ONLY_WEBHOOK)
    if reviews:
        yield forbidden(f"{path}.conversionReviewVersions", _ONLY_WEBHOOK)


def speaks_a_known_review(given: Obj | None) -> bool:
    """Whether a stored conversion names a review version that the server speaks, or none at all."""
    reviews = ((given or {}).get("webhook") or {}).get("conversionReviewVersions") or ()
    return not reviews or any(one in _REVIEWS for one in reviews)


def has_bad_bundle(given: Obj | None) -> bool:
    """Whether a stored conversion has certificates that can't be read."""
    client = ((given or {}).get("webhook") or {}).get("clientConfig") or {}
    return bool(client.get("caBundle")) and not _holds_certificates(client["caBundle"])


def _client(client: Obj | None, path: str, *, good_bundle: bool) -> Iterator[Cause]:
    if client is None:
        yield required(path, "required when strategy is set to Webhook")
        return
    url, service = client.get("url"), client.get("service")
    if (url is None) == (service is None):
        yield required(path, "exactly one of url or service is required")
    elif url is not None:
        yield from webhook_client_validation.url(url, f"{path}.url")
    elif service is not None:
        yield from webhook_client_validation.service(service, f"{path}.service")
    bundle = client.get("caBundle")
    if good_bundle and bundle and not _holds_certificates(bundle):
        why = "unable to load root certificates: unable to parse bytes as PEM block"
        yield invalid(f"{path}.caBundle", bundle, why)


def _holds_certificates(bundle: str) -> bool:
    return b"-----BEGIN CERTIFICATE-----" in base64.b64decode(bundle)


def _review_versions(given: Sequence[str], path: str, *, known: bool) -> Iterator[Cause]:
    if not given:
        yield required(path)
        return
    for index, one in enumerate(given):
        if one in given[:index]:
            yield invalid(f"{path}[{index}]", one, "duplicate version")
        else:
            yield from (invalid(f"{path}[{index}]", one, why) for why in names.dns_1035_label(one))
    if known and not any(one in _REVIEWS for one in given):
        yield invalid(path, list(given), f"must include at least one of {', '.join(_REVIEWS)}")
