"""The grammar of label selector texts: `a=b, c in (d,e), !f, g>1`.

A recursive descent over a handful of tokens that refuses exactly what upstream refuses, in upstream's words.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from oarlock.cluster.objects.gotext import quote
from oarlock.cluster.objects.selectors import Operator, Requirement
from oarlock.cluster.objects.status import ApiError, bad_request

_NAME = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]\Z")
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*\Z")
_INTEGER = re.compile(r"[+-]?[0-9]+\Z")

_NAME_RULE = (
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character "
    "(e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
    "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)
_VALUE_RULE = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is "
    "'(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)
_PREFIX_RULE = (
    "prefix part a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and "
    "must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    r"'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)

_WORD = "word"
_END = "end"
_TOKENS = re.compile(r"[ \t\r\n]*(?:(==|!=|[=!(),<>])|([^ \t\r\n=!(),<>]+)|\Z)")
_BINARY = {
    "in": Operator.IN,
    "notin": Operator.NOT_IN,
    "=": Operator.EQUALS,
    "==": Operator.DOUBLE_EQUALS,
    "!=": Operator.NOT_EQUALS,
    ">": Operator.GREATER_THAN,
    "<": Operator.LESS_THAN,
}
_OPERATORS_LISTED = "in, notin, =, ==, !=, gt, lt"


class _Token(NamedTuple):
    kind: str
    text: str


class Parser:
    """Reads one selector text."""

    def __init__(self, text: str) -> None:
        self._tokens = list(_tokens(text))
        self._at = 0

    def parse(self) -> list[Requirement]:
        """The requirements in order of their keys. Raises ApiError 400."""
        requirements: list[Requirement] = []
        while self._peek().kind != _END:
            if self._peek().kind not in {_WORD, "!"}:
                raise bad_request(f"found '{self._peek().text}', expected: !, identifier, or 'end of string'")
            try:
                requirements.append(self._requirement())
            except ApiError as refusal:
                raise bad_request(f"unable to parse requirement: {refusal.message}") from refusal
            self._separator()
        return sorted(requirements, key=lambda requirement: requirement.key)

    def _separator(self) -> None:
        token = self._next()
        if token.kind == _END:
            return
        if token.kind != ",":
            raise bad_request(f"found '{token.text}', expected: ',' or 'end of string'")
        if self._peek().kind not in {_WORD, "!"}:
            raise bad_request(f"found '{self._peek().text}', expected: identifier after ','")

    def _requirement(self) -> Requirement:
        negated = self._peek().kind == "!"
        if negated:
            self._next()
        token = self._next()
        if token.kind != _WORD:
            raise bad_request(f"found '{token.text}', expected: identifier")
        key = token.text
        _refuse_first(_key_errors(key))
        if negated:
            return Requirement(key, Operator.DOES_NOT_EXIST)
        if self._peek().kind in {_END, ","}:
            return Requirement(key, Operator.EXISTS)
        operator = self._operator()
        values = self._value_list() if operator in {Operator.IN, Operator.NOT_IN} else self._exact_value()
        _check_values(key, operator, values)
        return Requirement(key, operator, frozenset(values))

    def _operator(self) -> Operator:
        token = self._next()
        operator = _BINARY.get(token.text)
        if operator is None:
            raise bad_request(f"found '{token.text}', expected: {_OPERATORS_LISTED}")
        return operator

    def _exact_value(self) -> set[str]:
        if self._peek().kind in {_END, ","}:
            return {""}
        token = self._next()
        if token.kind != _WORD:
            raise bad_request(f"found '{token.text}', expected: identifier")
        return {token.text}

    def _value_list(self) -> set[str]:
        token = self._next()
        if token.kind != "(":
            raise bad_request(f"found '{token.text}' expected: '('")
        first = self._peek()
        if first.kind == ")":
            self._next()
            return {""}
        if first.kind not in {_WORD, ","}:
            raise bad_request(f"found '{first.text}', expected: ',', ')' or identifier")
        values = self._members()
        if self._next().kind != ")":
            raise bad_request(f"found '{first.text}', expected: ')'")
        return values

    def _members(self) -> set[str]:
        """Words between commas up to the closing parenthesis; a missing word is the empty value."""
        values: set[str] = set()
        while True:
            token = self._next()
            if token.kind == _WORD:
                values.add(token.text)
                following = self._peek()
                if following.kind == ")":
                    return values
                if following.kind != ",":
                    raise bad_request(f"found '{following.text}', expected: ',' or ')'")
            elif token.kind == ",":
                if not values:
                    values.add("")
                if self._peek().kind in {")", ","}:
                    values.add("")
                if self._peek().kind == ")":
                    return values
            else:
                raise bad_request(f"found '{token.text}', expected: ',', or identifier")

    def _peek(self) -> _Token:
        return self._tokens[self._at]

    def _next(self) -> _Token:
        token = self._tokens[self._at]
        self._at = min(self._at + 1, len(self._tokens) - 1)
        return token


def _tokens(text: str) -> Iterator[_Token]:
    position = 0
    while position < len(text):
        match = _TOKENS.match(text, position)
        if match is None or match.end() == position:
            break
        position = match.end()
        if match[1]:
            yield _Token(match[1], match[1])
        elif match[2]:
            yield _Token(_WORD, match[2])
    yield _Token(_END, "")


def _check_values(key: str, operator: Operator, values: set[str]) -> None:
    errors = []
    ordered = sorted(values)
    if operator in {Operator.GREATER_THAN, Operator.LESS_THAN}:
        errors += [
            f"values[{index}]: Invalid value: {quote(value)}: for 'Gt', 'Lt' operators, the value must be an integer"
            for index, value in enumerate(ordered)
            if not _INTEGER.match(value)
        ]
    for index, value in enumerate(ordered):
        broken = list(_value_errors(value))
        if broken:
            errors.append(f"values[{index}][{key}]: Invalid value: {quote(value)}: {'; '.join(broken)}")
    if errors:
        raise bad_request(errors[0] if len(errors) == 1 else f"[{', '.join(errors)}]")


def _refuse_first(errors: Iterable[str]) -> None:
    for error in errors:
        raise bad_request(error)


def _key_errors(key: str) -> Iterator[str]:
    broken = list(_qualified_name_errors(key))
    if broken:
        yield f"<nil>: Invalid value: {quote(key)}: {'; '.join(broken)}"


def _qualified_name_errors(key: str) -> Iterator[str]:
    parts = key.split("/")
    if len(parts) > 2:
        rule = _NAME_RULE.replace("must consist", "a qualified name must consist", 1)
        yield f"{rule} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
        return
    if len(parts) == 2:
        if not parts[0]:
            yield "prefix part must be non-empty"
        elif len(parts[0]) > 253:
            yield "prefix part must be no more than 253 bytes"
        elif not _SUBDOMAIN.match(parts[0]):
            yield _PREFIX_RULE
    name = parts[-1]
    if not name:
        yield "name part must be non-empty"
    elif len(name) > 63:
        yield "name part must be no more than 63 bytes"
    if not _NAME.match(name):
        yield f"name part {_NAME_RULE}"


def _value_errors(value: str) -> Iterator[str]:
    if len(value.encode()) > 63:
        yield "must be no more than 63 bytes"
    if value and not _NAME.match(value):
        yield _VALUE_RULE
