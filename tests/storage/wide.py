"""An output model with a field of every type."""

from datetime import date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

from pydantic import BaseModel


class Inner(BaseModel):
    """A nested model."""

    name: str
    size: float | None = None


class Wide(BaseModel):
    """A model with a field of every type."""

    text: str
    yes: bool
    big: int
    ratio: float
    money: Decimal
    day: date
    moment: datetime
    hour: time
    ident: UUID
    inner: Inner
    inners: list[Inner]
    names: list[str | None]
    anything: dict[str, Any] | None
    either: int | str
