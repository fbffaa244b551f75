"""One served version of a custom resource, as its rules need it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from oarlock.cluster.objects.cel import rules
from oarlock.cluster.objects.cel.rules import Node
from oarlock.cluster.objects.custom import defaulting
from oarlock.cluster.objects.custom.columns import PrintedColumn
from oarlock.cluster.objects.custom.jsonpath import Path
from oarlock.cluster.objects.custom.shape import shape_of
from oarlock.cluster.objects.extensions.structural import Json, Structural, compiled
from oarlock.cluster.objects.schemas import Schema
from oarlock.cluster.objects.webhook_client import ClientConfig


@dataclass(frozen=True, slots=True)
class ScalePaths:
    """Where an object keeps its Scale's parts; `selector` () is none."""

    spec_replicas: Path
    status_replicas: Path
    selector: Path = ()


@dataclass(frozen=True, slots=True)
class Conversion:
    """How objects of a definition get from one version into another: without a `webhook` by their apiVersion alone.

    `generation` is different for every specification that there ever was, of this definition and of its namesakes.
    `reviews` are the versions of ConversionReview that the webhook understands, the ones it likes best first.
    """

    definition: str = ""
    generation: str = ""
    webhook: ClientConfig | None = None
    reviews: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class CustomKind:
    """What is particular to a version. `document` reads its OpenAPI schema as it was written, anew each time.

    A schema is compiled when the first object needs it: most definitions of a cluster have no objects.

    `storage_version` is the version whose form objects are stored in from now on; what was stored before may have
    another one's. `versions` are all of the definition's by name, this one and those that aren't served among them.
    `revision` is one at which the specification was already as it is: what was stored before may lack defaults, and
    have what is unknown by now.
    """

    document: Callable[[], Json]
    storage_version: str
    revision: int = 0
    conversion: Conversion = Conversion()
    versions: Mapping[str, CustomKind] = field(default_factory=dict, repr=False)
    has_status: bool = False
    scale: ScalePaths | None = None
    columns: tuple[PrintedColumn, ...] = ()
    selectable: tuple[str, ...] = ()
    deprecation: str = ""
    preserves_unknown: bool = False
    terminating: bool = False

    @cached_property
    def schema(self) -> Structural:
        """The schema, compiled."""
        return compiled(self.document())

    @cached_property
    def has_defaults(self) -> bool:
        """Whether the schema fills anything in."""
        return defaulting.has_defaults(self.schema)

    @cached_property
    def rules(self) -> Node | None:
        """The schema's CEL rules, compiled."""
        return rules.compiled(self.schema)

    @cached_property
    def shape(self) -> Schema:
        """The schema in the form that ownership and merging use."""
        return shape_of(self.schema)
