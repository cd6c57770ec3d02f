"""How messages are versioned, so that processes of two builds understand each other or refuse, and never misread.

A field that an older process may ignore without harm is added freely. One that changes pixels or meaning is marked:

```python
class Task(Message):
    understands: ClassVar[int] = 2
    colour: Annotated[str, Since(2)] = "rgb"
```

A task in which `colour` is set then travels with `v: 2`, which an older worker refuses; every other task is written as
before, byte by byte, with `v: 1`. Parts of messages (a step of a route, a tile) have such fields in the same way.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, ClassVar, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, GetJsonSchemaHandler, field_serializer, field_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError

OPEN = ConfigDict(frozen=True, extra="ignore")
"""What processes tell each other. A field that this version does not know comes from a newer one, during an upgrade,
and is left out; a new field that must not be left out is marked with `Since`. What people write is closed to typing
errors."""


@dataclass(frozen=True)
class Since:
    """Marks a field that changes pixels or meaning: a message in which it is set has at least version `v`."""

    v: int


class Message(BaseModel):
    """Base of all messages."""

    model_config: ClassVar[ConfigDict] = OPEN
    understands: ClassVar[int] = 1
    """The highest version of this message that this build reads: the highest `Since` in it."""

    v: Annotated[int, Field(ge=1, strict=True)] = 1
    """As it was read; what is written follows from the fields that are set."""

    @field_validator("v")
    @classmethod
    def _refuse_newer(cls, v: int) -> int:
        if v > cls.understands:
            raise newer(v, cls.understands)
        return v

    @field_serializer("v")
    def _needed(self, _v: int) -> int:
        return 1 if self.understands == 1 else needed_version(self)

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        schema = handler(core)
        handler.resolve_ref_schema(schema)["properties"]["v"]["maximum"] = cls.understands
        return schema

    @classmethod
    def from_bytes(cls, body: bytes | bytearray | memoryview) -> Self:
        """Read a message.

        Raises:
            pydantic.ValidationError: the body is not such a message.
        """
        return cls.model_validate_json(bytes(body))

    def to_bytes(self) -> bytes:
        """The message as it travels."""
        return self.model_dump_json(exclude_none=True).encode()


def newer(v: int, understood: int) -> PydanticCustomError:
    """The error of a message of a later build."""
    return PydanticCustomError("newer", f"message version {v}; this build understands {understood}: update it")


def needed_version(part: BaseModel) -> int:
    """The lowest version of a message with this part in it: the highest `Since` of the fields that are set."""
    needed = 1
    for name, default, since, deep in _watched(type(part)):
        value = getattr(part, name)
        if value == default:
            continue
        needed = max(needed, since)
        if deep:
            inside = (value,) if isinstance(value, BaseModel) else value
            needed = max([needed, *map(needed_version, inside)])
    return needed


@cache
def _watched(kind: type[BaseModel]) -> tuple[tuple[str, Any, int, bool], ...]:
    """Of the fields of a part those that may need a version: name, default, `Since`, and whether parts in it may.

    Worked out once for a kind: most tasks have no such field set, and are read and written by the thousand a second.
    """
    found = []
    for name, field in kind.model_fields.items():
        since = max((mark.v for mark in field.metadata if isinstance(mark, Since)), default=1)
        deep = any(map(_watched, _models_in(field.annotation)))
        if since > 1 or deep:
            found.append((name, field.get_default(call_default_factory=True), since, deep))
    return tuple(found)


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)
