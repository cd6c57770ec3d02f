"""How stores may overlap: no outputs among sources, no intermediates among sources or outputs. Same on both engines."""

from dataclasses import dataclass

from muniflow.errors import Fault
from muniflow.model.keys import is_hidden
from muniflow.runtime.settings import variable


@dataclass(frozen=True)
class Location:
    """Where the blobs of a store are."""

    system: str
    """`file`, or `s3://bucket`: blobs of different systems never meet."""
    parts: tuple[str, ...]
    """The folders on the way to the store's root; no link is among them."""


def destination_in(source: Location, output: Location, destination: str) -> str | None:
    """The destination as a prefix of keys of the source store, ending in `/`.

    Empty where it holds the whole source store; `None` where no key of the source store can lie in it.
    """
    place = (*output.parts, *destination.split("/"))
    shared = min(len(place), len(source.parts))
    if source.system != output.system or place[:shared] != source.parts[:shared]:
        return None
    return "".join(f"{part}/" for part in place[len(source.parts) :])


def is_among(outputs: str, sources: str) -> bool:
    """Whether outputs below one prefix may replace what is listed below another, or be listed there themselves."""
    return sources.startswith(outputs) or (outputs.startswith(sources) and not is_hidden(outputs[len(sources) :]))


def store_faults(source: Location, work: Location, output: Location) -> tuple[Fault, ...]:
    """What is wrong with three roots: intermediates are removed by folder, with everything in it."""
    others = {"source_url": source, "output_url": output}
    return tuple(
        Fault(
            variable("work_url"),
            f"the work store is, holds or lies in the store of {variable(name)} ({_text(other)}), and intermediates "
            "are removed by the folder; give it a folder of its own",
        )
        for name, other in others.items()
        if _meet(work, other)
    )


def _meet(one: Location, other: Location) -> bool:
    """Whether two stores overlap; hidden folders below a root are not part of its store."""
    outer, inner = sorted((one.parts, other.parts), key=len)
    below = inner[len(outer) :]
    return one.system == other.system and inner[: len(outer)] == outer and not any(map(is_hidden, below))


def _text(location: Location) -> str:
    folder = "/".join(location.parts)
    return f"/{folder}" if location.system == "file" else f"{location.system}/{folder}"
