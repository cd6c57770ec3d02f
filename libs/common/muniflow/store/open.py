"""From the URL in a setting to a store."""

from pathlib import Path

from muniflow.errors import Fault, Invalid
from muniflow.runtime.failpoints import Failpoints
from muniflow.store.local import LocalStore
from muniflow.store.places import store_faults
from muniflow.store.types import Store

OBJECT_SCHEMES = ("s3", "gs", "az")
FORMS = "file:///absolute/folder, file://relative/folder, a plain path, s3://bucket/prefix, gs://… or az://…"


def open_store(url: str, failpoints: Failpoints | None = None) -> Store:
    """The store at `url`; connects to nothing and makes nothing yet (`Store.check` does).

    Args:
        url: `file:///absolute/folder`, `file://relative/folder` or a plain path (relative to the current folder),
            `s3://bucket/prefix`, `gs://bucket/prefix`, `az://container/prefix`. What follows `file://` is a path as
            it is: `%20` is not a space.
        failpoints: where a test may trouble the writes of a local volume.

    Raises:
        Invalid: the URL is none of these, or the extra `objects` is missing.
    """
    scheme, separator, rest = url.partition("://")
    if not separator:
        scheme, rest = "file", url
    if scheme == "file" and rest and "\0" not in rest:
        return LocalStore(Path(rest), failpoints or Failpoints())
    if scheme in OBJECT_SCHEMES and rest.strip("/"):
        return _open_objects(url)
    raise Invalid((Fault(url or "store URL", f"is not the address of a store; allowed are {FORMS}"),))


def open_stores(
    source_url: str, work_url: str, output_url: str, failpoints: Failpoints | None = None
) -> tuple[Store, Store, Store]:
    """Source, work and output; `failpoints` may trouble the writes of outputs.

    Raises:
        Invalid: a URL is wrong, or intermediates would lie among sources or outputs.
    """
    source, work, output = open_store(source_url), open_store(work_url), open_store(output_url, failpoints)
    if faults := store_faults(source.location(), work.location(), output.location()):
        raise Invalid(faults)
    return source, work, output


def _open_objects(url: str) -> Store:
    try:
        from muniflow.store.objects import ObjectStore
    except ModuleNotFoundError as error:
        if error.name != "obstore":
            raise
        fault = Fault(url, "needs the extra 'objects': pip install 'muniflow[objects]'")
        raise Invalid((fault,)) from error
    return ObjectStore.from_url(url)
