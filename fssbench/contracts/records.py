"""The bases of every frozen, typed record."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Self, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    PrivateAttr,
    ValidationError,
    ValidationInfo,
    model_validator,
)

T = TypeVar("T")
Items = Annotated[tuple[T, ...], Field(strict=False)]
"""A tuple that is a list in JSON."""
_PLAIN = frozenset({str, int, float, bool, type(None)})
"""Types whose values are in JSON as they are."""
_FROM_FILE: dict[str, bool] = {"from_file": True}
"""Context of a validation whose content comes from a file."""


class Record(BaseModel):
    """Immutable data with named, typed fields; an unknown field is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def changed(self, **values: Any) -> Self:
        """Make a copy in which some fields have other values.

        Raises:
            pydantic.ValidationError: for a field that the record lacks, or a value that the field cannot hold.
        """
        return type(self).model_validate({**self.given_values(), **values})

    def given_values(self) -> dict[str, Any]:
        """Return the values that were given, by field; a default that nobody gave is left out."""
        return {
            name: getattr(self, name) for name in type(self).model_fields if name in self.model_fields_set
        }


class StoredRecord(Record):
    """A record that is kept in a file, as JSON.

    In code an unknown field is an error, as in every record.  In a file it is not: `read_stored` keeps what a
    newer version wrote, and `as_stored` gives it back.  Fields that a file lacks stay absent, so that the JSON,
    and its hash, stay equal to the byte.
    """

    model_config = ConfigDict(strict=True, use_attribute_docstrings=True)

    _unknown: dict[str, Any] = PrivateAttr(default_factory=dict)

    @classmethod
    def read_stored(cls, stored: Any) -> Self:
        """Make the record from the content of a file.

        Raises:
            ValueError: for content that is not of this kind.  The message names the field.
        """
        return cls.model_validate(stored, context=_FROM_FILE)

    @model_validator(mode="wrap")
    @classmethod
    def _keep_unknown(cls, value: Any, make: ModelWrapValidatorHandler[Self], info: ValidationInfo) -> Self:
        """Set aside the fields that this version does not know, if the content comes from a file."""
        if info.context is not _FROM_FILE or not isinstance(value, Mapping):
            return make(value)
        known, unknown = cls._split_stored(value)
        record = make(known)
        record._unknown = unknown
        return record

    @classmethod
    def _split_stored(cls, stored: Mapping[Any, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Divide the content of a file into the fields that are read and those that are only kept."""
        known = {name: stored[name] for name in cls.model_fields if name in stored}
        return known, {str(name): value for name, value in stored.items() if name not in known}

    def as_stored(self) -> dict[str, Any]:
        """Return the content for a file: the fields that were given, and those of a newer version."""
        return {**{name: _as_json(value) for name, value in self.given_values().items()}, **self._unknown}

    def changed(self, **values: Any) -> Self:
        """Make a copy in which some fields have other values; what a newer version wrote is kept."""
        copy = super().changed(**values)
        copy._unknown = self._unknown
        return copy


def _as_json(value: Any) -> Any:
    """Return a value of a field as JSON holds it.  Numbers stay as they are, so that nan is refused and not lost."""
    if type(value) in _PLAIN:
        return value
    if isinstance(value, StoredRecord):
        return value.as_stored()
    if isinstance(value, Mapping):
        return {str(key): _as_json(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_as_json(each) for each in value]
    return str(value) if isinstance(value, str) else value


def differing_fields(one: StoredRecord, other: StoredRecord) -> list[str]:
    """Return the names of the fields in which two records differ, those of a newer version included, sorted."""
    first, second = one.as_stored(), other.as_stored()
    absent = object()
    return sorted(n for n in first.keys() | second.keys() if first.get(n, absent) != second.get(n, absent))


def first_problem(error: ValidationError) -> str:
    """Say in one line what is wrong with the content of a file: the first field, and what it should be."""
    first = error.errors(include_url=False)[0]
    where = ".".join(map(str, first["loc"]))
    return f"{where}: {first['msg']}" if where else first["msg"]
