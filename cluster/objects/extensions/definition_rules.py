"""Validate CustomResourceDefinitions: names, versions, what versions share, what may change.

Source: apiextensions `pkg/apis/apiextensions/validation/validation.go`. Metadata is validated elsewhere, except that
the name must be made of the plural and the group.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from oarlock.cluster.objects import names
from oarlock.cluster.objects.causes import invalid, not_supported, required
from oarlock.cluster.objects.extensions import (
    approval,
    conversion_rules,
    go_form,
    list_rules,
    schema_defaults,
    schema_rules,
    structure_rules,
    version_rules,
)
from oarlock.cluster.objects.extensions.definition import Definition, is_established, schemas, seen
from oarlock.cluster.objects.extensions.schema_rules import Strictness
from oarlock.cluster.objects.extensions.structural import NotStructural, Structural, compiled, nodes
from oarlock.cluster.objects.metadata_validation import IMMUTABLE
from oarlock.cluster.objects.status import Cause

Obj = Mapping[str, Any]
_SCOPES: Final = ("Cluster", "Namespaced")
_MIXED_CASE: Final = "may have mixed case, but should otherwise match: "


def definition(obj: Obj) -> list[Cause]:
    """What is wrong with a new CustomResourceDefinition beyond its metadata."""
    return [*_name(obj), *_spec(seen(obj.get("spec") or {}), Strictness()), *_rest(obj, None)]


def definition_update(new: Obj, old: Obj) -> list[Cause]:
    """What is wrong with a definition that replaces `old`; what the stored one breaks already, the new one may."""
    spec, had = new.get("spec") or {}, old.get("spec") or {}
    known = conversion_rules.speaks_a_known_review(had.get("conversion"))
    established = is_established(old)
    good_bundle = established and not conversion_rules.has_bad_bundle(had.get("conversion"))
    causes = list(_spec(seen(spec), _kept_to(had), known_review=known, good_bundle=good_bundle, had=had))
    if established:
        causes += _unchanged(spec, had, "scope") + _unchanged(spec, had, "names", "kind")
    causes += _unchanged(spec, had, "group") + _unchanged(spec, had, "names", "plural")
    return [*causes, *_rest(new, old)]


def definition_status(new: Obj, old: Obj) -> list[Cause]:
    """What is wrong with a definition's new status."""
    del old
    return list(_names((new.get("status") or {}).get("acceptedNames") or {}, "status.acceptedNames"))


def _rest(new: Obj, old: Obj | None) -> Iterator[Cause]:
    state, spec = new.get("status") or {}, new.get("spec") or {}
    yield from _names(state.get("acceptedNames") or {}, "status.acceptedNames")
    yield from _stored_versions(state.get("storedVersions") or [], spec.get("versions") or ())
    yield from _approval(new, old)
    had = (old or {}).get("spec") or {}
    if spec.get("preserveUnknownFields") and not had.get("preserveUnknownFields"):
        why = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead"
        yield invalid("spec.preserveUnknownFields", value=True, detail=why)


def _name(obj: Obj) -> Iterator[Cause]:
    spec = obj.get("spec") or {}
    name = obj["metadata"].get("name", "")
    if name and name != f"{(spec.get('names') or {}).get('plural', '')}.{spec.get('group', '')}":
        yield invalid("metadata.name", name, 'must be spec.names.plural+"."+spec.group')


def _spec(
    seen_as: Definition,
    strictness: Strictness,
    *,
    known_review: bool = True,
    good_bundle: bool = False,
    had: Obj | None = None,
) -> Iterator[Cause]:
    spec, shared = seen_as.spec, seen_as.shared
    yield from _group(spec.get("group", ""))
    scope = spec.get("scope", "")
    if scope not in _SCOPES:
        yield not_supported("spec.scope", scope, _SCOPES) if scope else required("spec.scope")
    yield from _schemas_there(seen_as, all_of_them=had is None or _all_have_schemas(had))
    if spec.get("preserveUnknownFields") and any("default" in node for one in schemas(spec) for node in nodes(one)):
        why = "must be false in order to use defaults in the schema"
        yield invalid("spec.preserveUnknownFields", value=True, detail=why)
    yield from _versions(seen_as, strictness)
    yield from _required_names(spec.get("names") or {})
    yield from _names(spec.get("names") or {}, "spec.names")
    has_status = any("status" in (seen_as.of_version(one, "subresources") or {}) for one in seen_as.versions)
    yield from version_rules.validation(shared.get("validation"), "spec.validation", strictness, has_status=has_status)
    yield from version_rules.subresources(shared.get("subresources"), "spec.subresources")
    yield from version_rules.columns(shared.get("additionalPrinterColumns", ()), "spec.additionalPrinterColumns")
    if shared.get("selectableFields"):
        yield from version_rules.selectable_fields(shared["selectableFields"], shared.get("validation"), "spec")
    strategy = (spec.get("conversion") or {}).get("strategy", "None")
    if spec.get("preserveUnknownFields") and strategy != "None":
        why = "must be None if spec.preserveUnknownFields is true"
        yield invalid("spec.conversion.strategy", strategy, why)
    yield from conversion_rules.conversion(
        spec.get("conversion"), "spec.conversion", known_review=known_review, good_bundle=good_bundle
    )


def _group(group: str) -> Iterator[Cause]:
    wrong = names.dns_subdomain(group)
    if not group:
        yield required("spec.group")
    elif wrong:
        yield invalid("spec.group", group, ",".join(wrong))
    elif "." not in group:
        yield invalid("spec.group", group, "should be a domain with at least one dot")


def _schemas_there(seen_as: Definition, *, all_of_them: bool) -> Iterator[Cause]:
    if (seen_as.shared.get("validation") or {}).get("openAPIV3Schema") is not None:
        return
    for index, version in enumerate(seen_as.versions):
        if (version.get("schema") or {}).get("openAPIV3Schema") is not None:
            continue
        place = f"spec.versions[{index}].schema.openAPIV3Schema"
        if all_of_them:
            yield required(place)
        elif version.get("served") and not seen_as.spec.get("preserveUnknownFields"):
            yield required(place, "because otherwise all fields are pruned")


def _all_have_schemas(spec: Obj) -> bool:
    return len(list(schemas(spec))) == len(spec.get("versions") or ())


def _versions(seen_as: Definition, strictness: Strictness) -> Iterator[Cause]:
    called = [one.get("name", "") for one in seen_as.versions]
    for index, one in enumerate(seen_as.versions):
        place = f"spec.versions[{index}]"
        wrong = names.dns_1035_label(one.get("name", ""))
        if wrong:
            yield invalid(f"{place}.name", one.get("name", ""), ",".join(wrong))
        has_status = "status" in (seen_as.of_version(one, "subresources") or {})
        yield from version_rules.version(one, place, strictness, has_status=has_status)
    form = go_form.versions(seen_as.versions)
    if len(set(called)) != len(called):
        yield go_form.invalid("spec.versions", form, "must contain unique version names")
    if sum(bool(one.get("storage")) for one in seen_as.versions) != 1:
        yield go_form.invalid("spec.versions", form, "must have exactly one version marked as storage version")
    wrong = names.dns_1035_label(seen_as.version)
    if seen_as.version and wrong:
        yield invalid("spec.version", seen_as.version, ",".join(wrong))


def _required_names(given: Obj) -> Iterator[Cause]:
    for name in ("plural", "singular", "kind", "listKind"):
        if not given.get(name):
            yield required(f"spec.names.{name}")


def _names(given: Obj, path: str) -> Iterator[Cause]:
    for name in ("plural", "singular"):
        yield from _label(given.get(name, ""), f"{path}.{name}")
    for name in ("kind", "listKind"):
        text = given.get(name, "")
        wrong = names.dns_1035_label(text.lower())
        if text and wrong:
            yield invalid(f"{path}.{name}", text, _MIXED_CASE + ",".join(wrong))
    yield from _labels(given.get("shortNames") or (), f"{path}.shortNames")
    if given.get("kind") and given["kind"] == given.get("listKind"):
        yield invalid(f"{path}.listKind", given["kind"], "kind and listKind may not be the same")
    yield from _labels(given.get("categories") or (), f"{path}.categories")


def _label(text: str, path: str) -> Iterator[Cause]:
    wrong = names.dns_1035_label(text)
    if text and wrong:
        yield invalid(path, text, ",".join(wrong))


def _labels(texts: Sequence[str], path: str) -> Iterator[Cause]:
    for index, text in enumerate(texts):
        wrong = names.dns_1035_label(text)
        if wrong:
            yield invalid(f"{path}[{index}]", text, ",".join(wrong))


def _stored_versions(stored: Sequence[str], versions: Sequence[Obj]) -> Iterator[Cause]:
    path = "status.storedVersions"
    if not stored:
        yield invalid(path, None, "must have at least one stored version")
        return
    missing = {name: index for index, name in enumerate(stored)}
    for one in versions:
        name = one.get("name", "")
        if one.get("storage") and name not in missing:
            yield invalid(path, list(stored), f"must have the storage version {name}")
        missing.pop(name, None)
    for name, index in missing.items():
        why = (
            f"missing from spec.versions; {name} was previously a storage version, and must remain in spec.versions "
            f"until a storage migration ensures no data remains persisted in {name} and removes {name} from "
            "status.storedVersions"
        )
        yield invalid(f"{path}[{index}]", name, why)


def _approval(new: Obj, old: Obj | None) -> Iterator[Cause]:
    """Kubernetes' own groups are for APIs that were approved, or say that they weren't."""
    said = approval.of(new)
    if said is None or said.is_admitted:
        return
    had = approval.of(old) if old is not None else None
    if had is not None and had.reason == said.reason:
        return
    place = f"metadata.annotations[{approval.ANNOTATION}]"
    if said.reason == "MissingAnnotation":
        yield required(place, said.message)
    else:
        yield invalid(place, new["metadata"]["annotations"][approval.ANNOTATION], said.message)


def _unchanged(spec: Obj, had: Obj, *steps: str) -> list[Cause]:
    values: list[Any] = []
    for one in (spec, had):
        node: Any = one
        for step in steps:
            node = (node or {}).get(step)
        values.append(node or "")
    return [] if values[0] == values[1] else [invalid(".".join(("spec", *steps)), values[0], IMMUTABLE)]


def _kept_to(had: Obj) -> Strictness:
    """What the stored definition keeps to, and therefore its successor must."""
    inner = [node for one in schemas(had) for node in nodes(one)]
    forms = [_form(one) for one in schemas(had)]
    sound = [form for form in forms if form is not None and not structure_rules.structural(form, "")]
    return Strictness(
        valid_types=all(node.get("type", "") in ("", *schema_rules.TYPES) for node in inner),
        structural=len(sound) == len(forms) or not had.get("preserveUnknownFields"),
        pruned_defaults=all(schema_defaults.are_pruned(form) for form in sound),
        atomic_sets=not any(list(list_rules.items_of_set(node, "")) for node in inner),
        sound_list_keys=not any(list(list_rules.keys(node, "")) for node in inner),
        known_schemas=tuple(schemas(had)),
    )


def _form(schema: Obj) -> Structural | None:
    try:
        return compiled(schema)
    except NotStructural:
        return None
