"""Which functions there are, by the types that they take and give, under cel-go's names for their overloads.

Source: cel-go `common/stdlib`, `cel/library.go` (optionals), `ext/{strings,sets,math}.go`; apiserver `pkg/cel/library`.
A line is `function overload (types) result`; a leading dot makes a member, called on its first argument.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import permutations
from typing import Final

from oarlock.cluster.objects.cel.types import Type, parsed

_ORDERED: Final = ("bool", "int", "uint", "double", "string", "bytes", "timestamp", "duration")
_NUMBERS: Final = ("int", "uint", "double")
_NAMES: Final = {"int": "int64", "uint": "uint64"}

_STANDARD: Final = """
_&&_ logical_and (bool, bool) bool
_||_ logical_or (bool, bool) bool
!_ logical_not (bool) bool
@not_strictly_false not_strictly_false (bool) bool
_?_:_ conditional (bool, A, A) A
_==_ equals (A, A) bool
_!=_ not_equals (A, A) bool
@in in_list (A, list(A)) bool
@in in_map (A, map(A, B)) bool
_[_] index_list (list(A), int) A
_[_] index_map (map(A, B), A) B
_[_] optional_list_index_int (optional_type(list(A)), int) optional_type(A)
_[_] optional_map_index_value (optional_type(map(A, B)), A) optional_type(B)
_[?_] list_optindex_optional_int (list(A), int) optional_type(A)
_[?_] optional_list_optindex_optional_int (optional_type(list(A)), int) optional_type(A)
_[?_] map_optindex_optional_value (map(A, B), A) optional_type(B)
_[?_] optional_map_optindex_optional_value (optional_type(map(A, B)), A) optional_type(B)
_+_ add_bytes (bytes, bytes) bytes
_+_ add_double (double, double) double
_+_ add_duration_duration (duration, duration) duration
_+_ add_duration_timestamp (duration, timestamp) timestamp
_+_ add_timestamp_duration (timestamp, duration) timestamp
_+_ add_int64 (int, int) int
_+_ add_list (list(A), list(A)) list(A)
_+_ add_string (string, string) string
_+_ add_uint64 (uint, uint) uint
_-_ subtract_double (double, double) double
_-_ subtract_duration_duration (duration, duration) duration
_-_ subtract_int64 (int, int) int
_-_ subtract_timestamp_duration (timestamp, duration) timestamp
_-_ subtract_timestamp_timestamp (timestamp, timestamp) duration
_-_ subtract_uint64 (uint, uint) uint
_*_ multiply_double (double, double) double
_*_ multiply_int64 (int, int) int
_*_ multiply_uint64 (uint, uint) uint
_/_ divide_double (double, double) double
_/_ divide_int64 (int, int) int
_/_ divide_uint64 (uint, uint) uint
_%_ modulo_int64 (int, int) int
_%_ modulo_uint64 (uint, uint) uint
-_ negate_double (double) double
-_ negate_int64 (int) int
size size_string (string) int
size size_bytes (bytes) int
size size_list (list(A)) int
size size_map (map(A, B)) int
.size string_size (string) int
.size bytes_size (bytes) int
.size list_size (list(A)) int
.size map_size (map(A, B)) int
type type (A) type(A)
dyn to_dyn (A) dyn
bool bool_to_bool (bool) bool
bool string_to_bool (string) bool
bytes bytes_to_bytes (bytes) bytes
bytes string_to_bytes (string) bytes
double double_to_double (double) double
double int64_to_double (int) double
double string_to_double (string) double
double uint64_to_double (uint) double
duration duration_to_duration (duration) duration
duration int64_to_duration (int) duration
duration string_to_duration (string) duration
int int64_to_int64 (int) int
int double_to_int64 (double) int
int duration_to_int64 (duration) int
int string_to_int64 (string) int
int timestamp_to_int64 (timestamp) int
int uint64_to_int64 (uint) int
string string_to_string (string) string
string bool_to_string (bool) string
string bytes_to_string (bytes) string
string double_to_string (double) string
string duration_to_string (duration) string
string int64_to_string (int) string
string timestamp_to_string (timestamp) string
string uint64_to_string (uint) string
timestamp timestamp_to_timestamp (timestamp) timestamp
timestamp int64_to_timestamp (int) timestamp
timestamp string_to_timestamp (string) timestamp
uint uint64_to_uint64 (uint) uint
uint double_to_uint64 (double) uint
uint int64_to_uint64 (int) uint
uint string_to_uint64 (string) uint
.contains contains_string (string, string) bool
.endsWith ends_with_string (string, string) bool
.startsWith starts_with_string (string, string) bool
.matches matches_string (string, string) bool
matches matches (string, string) bool
.getHours duration_to_hours (duration) int
.getMinutes duration_to_minutes (duration) int
.getSeconds duration_to_seconds (duration) int
.getMilliseconds duration_to_milliseconds (duration) int
cel.@mapInsert @mapInsert_map_key_value (map(A, B), A, B) map(A, B)
cel.@mapInsert @mapInsert_map_map (map(A, B), map(A, B)) map(A, B)
optional.of optional_of (A) optional_type(A)
optional.ofNonZeroValue optional_ofNonZeroValue (A) optional_type(A)
optional.none optional_none () optional_type(A)
.hasValue optional_hasValue (optional_type(A)) bool
.value optional_value (optional_type(A)) A
.or optional_or_optional (optional_type(A), optional_type(A)) optional_type(A)
.orValue optional_orValue_value (optional_type(A), A) A
"""
_STRINGS: Final = """
.charAt string_char_at_int (string, int) string
.indexOf string_index_of_string (string, string) int
.indexOf string_index_of_string_int (string, string, int) int
.lastIndexOf string_last_index_of_string (string, string) int
.lastIndexOf string_last_index_of_string_int (string, string, int) int
.lowerAscii string_lower_ascii (string) string
.upperAscii string_upper_ascii (string) string
.trim string_trim (string) string
.replace string_replace_string_string (string, string, string) string
.replace string_replace_string_string_int (string, string, string, int) string
.split string_split_string (string, string) list(string)
.split string_split_string_int (string, string, int) list(string)
.substring string_substring_int (string, int) string
.substring string_substring_int_int (string, int, int) string
.join list_join (list(string)) string
.join list_join_string (list(string), string) string
.format string_format (string, list(dyn)) string
strings.quote strings_quote (string) string
sets.contains list_sets_contains_list (list(A), list(A)) bool
sets.equivalent list_sets_equivalent_list (list(A), list(A)) bool
sets.intersects list_sets_intersects_list (list(A), list(A)) bool
.find string_find_string (string, string) string
.findAll string_find_all_string (string, string) list(string)
.findAll string_find_all_string_int (string, string, int) list(string)
.indexOf list_a_index_of_int (list(A), A) int
.lastIndexOf list_a_last_index_of_int (list(A), A) int
"""
_KUBERNETES: Final = """
url string_to_url (string) url
isURL is_url_string (string) bool
.getScheme url_get_scheme (url) string
.getHost url_get_host (url) string
.getHostname url_get_hostname (url) string
.getPort url_get_port (url) string
.getEscapedPath url_get_escaped_path (url) string
.getQuery url_get_query (url) map(string, list(string))
quantity string_to_quantity (string) quantity
isQuantity is_quantity_string (string) bool
.sign quantity_sign (quantity) int
.isInteger quantity_is_integer (quantity) bool
.asInteger quantity_get_int (quantity) int
.asApproximateFloat quantity_get_float (quantity) double
.isGreaterThan quantity_is_greater_than (quantity, quantity) bool
.isLessThan quantity_is_less_than (quantity, quantity) bool
.compareTo quantity_compare_to (quantity, quantity) int
.add quantity_add (quantity, quantity) quantity
.add quantity_add_int (quantity, int) quantity
.sub quantity_sub (quantity, quantity) quantity
.sub quantity_sub_int (quantity, int) quantity
ip string_to_ip (string) ip
isIP is_ip (string) bool
ip.isCanonical ip_is_canonical (string) bool
.family family (ip) int
.isUnspecified is_unspecified (ip) bool
.isLoopback is_loopback (ip) bool
.isLinkLocalMulticast is_link_local_multicast (ip) bool
.isLinkLocalUnicast is_link_local_unicast (ip) bool
.isGlobalUnicast is_global_unicast (ip) bool
string ip_to_string (ip) string
cidr string_to_cidr (string) cidr
isCIDR is_cidr (string) bool
.containsIP cidr_contains_ip_string (cidr, string) bool
.containsIP cidr_contains_ip_ip (cidr, ip) bool
.containsCIDR cidr_contains_cidr_string (cidr, string) bool
.containsCIDR cidr_contains_cidr (cidr, cidr) bool
.ip cidr_ip (cidr) ip
.masked cidr_masked (cidr) cidr
.prefixLength cidr_prefix_length (cidr) int
string cidr_to_string (cidr) string
semver string_to_semver (string) semver
semver string_bool_to_semver (string, bool) semver
isSemver is_semver_string (string) bool
isSemver is_semver_string_bool (string, bool) bool
.major semver_major (semver) int
.minor semver_minor (semver) int
.patch semver_patch (semver) int
.isGreaterThan semver_is_greater_than (semver, semver) bool
.isLessThan semver_is_less_than (semver, semver) bool
.compareTo semver_compare_to (semver, semver) int
format.named format_named (string) optional_type(format)
.validate format_validate (format, string) optional_type(list(string))
"""
#: What an authorizer is asked. Nothing evaluates these yet: no expression that is evaluated has one.
_AUTHORIZATION: Final = """
.path authorizer_path (authorizer, string) path_check
.group authorizer_group (authorizer, string) group_check
.serviceAccount authorizer_serviceaccount (authorizer, string, string) authorizer
.resource groupcheck_resource (group_check, string) resource_check
.subresource resourcecheck_subresource (resource_check, string) resource_check
.namespace resourcecheck_namespace (resource_check, string) resource_check
.name resourcecheck_name (resource_check, string) resource_check
.fieldSelector authorizer_fieldselector (resource_check, string) resource_check
.labelSelector authorizer_labelselector (resource_check, string) resource_check
.check pathcheck_check (path_check, string) decision
.check resourcecheck_check (resource_check, string) decision
.errored decision_errored (decision) bool
.error decision_error (decision) string
.allowed decision_allowed (decision) bool
.reason decision_reason (decision) string
"""
_FORMATS: Final = (
    *("dns1123Label", "dns1123Subdomain", "dns1035Label", "qualifiedName", "dns1123LabelPrefix"),
    *("dns1123SubdomainPrefix", "dns1035LabelPrefix", "labelValue", "uri", "uuid", "byte", "date", "datetime"),
)
_CALENDAR: Final = (
    *("FullYear", "Month", "Date", "DayOfMonth", "DayOfWeek", "DayOfYear", "Hours", "Minutes", "Seconds"),
    "Milliseconds",
)


@dataclass(frozen=True, slots=True)
class Overload:
    """One form of a function."""

    id: str
    takes: tuple[Type, ...]
    gives: Type
    is_member: bool


@cache
def functions() -> dict[str, tuple[Overload, ...]]:
    """Every function's overloads, in the order in which they are looked at."""
    found: dict[str, list[Overload]] = {}
    for line in (*f"{_STANDARD}{_STRINGS}{_KUBERNETES}{_AUTHORIZATION}".strip().splitlines(), *_series()):
        if not line:
            continue
        name, id_, rest = line.split(" ", 2)
        takes, gives = _split(rest)
        types = parsed(f"f{takes}").of if takes != "()" else ()
        one = Overload(id_, types, parsed(gives), name.startswith("."))
        found.setdefault(name.removeprefix("."), []).append(one)
    return {name: tuple(overloads) for name, overloads in found.items()}


def _split(rest: str) -> tuple[str, str]:
    """The arguments and the result of a line."""
    depth = 0
    for at, char in enumerate(rest):
        depth += (char == "(") - (char == ")")
        if depth == 0:
            return rest[: at + 1], rest[at + 2 :]
    raise AssertionError(rest)


def _series() -> list[str]:
    """Lines that only differ in a type or a name."""
    lines = []
    for sign, name in (("<", "less"), ("<=", "less_equals"), (">", "greater"), (">=", "greater_equals")):
        lines += [f"_{sign}_ {name}_{_NAMES.get(one, one)} ({one}, {one}) bool" for one in _ORDERED]
        lines += [
            f"_{sign}_ {name}_{_NAMES.get(one, one)}_{_NAMES.get(two, two)} ({one}, {two}) bool"
            for one, two in permutations(_NUMBERS, 2)
        ]
    for name in _CALENDAR:
        lines.append(f".get{name} timestamp_to_{name} (timestamp) int")
        lines.append(f".get{name} timestamp_to_{name}_with_tz (timestamp, string) int")
    for one in ("int", "uint", "double", "bool", "string", "bytes", "timestamp", "duration"):
        lines.append(f".isSorted list_{one}_is_sorted_bool (list({one})) bool")
        lines += [f".{name} list_{one}_{name}_{one} (list({one})) {one}" for name in ("min", "max")]
    lines += [f".sum list_{one}_sum_{one} (list({one})) {one}" for one in ("int", "uint", "double", "duration")]
    return lines + [f"format.{name} format_{name} () format" for name in _FORMATS]
