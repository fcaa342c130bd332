"""The base of every frozen, typed record."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Record(BaseModel):
    """Immutable data with named, typed fields; an unknown field is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")
