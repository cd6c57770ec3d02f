"""The encoded source of a task, decoded once: whole, or smaller where the batch asked for `decode: fast`."""

from functools import partial

from muniflow.images.decode import decode, reduction
from muniflow.images.header import ImageHeader
from muniflow.images.limits import ImageLimits
from muniflow.images.types import Image
from muniflow.model.messages import Task
from muniflow.model.operation import Params, Size
from muniflow.model.rendering import DEFAULT, keeps_alpha


def decode_source(
    data: memoryview, header: ImageHeader, limits: ImageLimits, params: Params, task: Task
) -> tuple[Image, Params | None]:
    """Decode the source of `task`, whose header was read, for a first step with `params`.

    Returns:
        The pixels, and the parameters to use on them instead of `params`, when it was decoded smaller.

    Raises:
        Rejected: not an image that is allowed.
    """
    rendering = task.rendering or DEFAULT
    how = partial(decode, data, limits, header=header, rendering=rendering, alpha=keeps_alpha(rendering, task.encoding))
    on_reduced = params.on_reduced(header.size) if task.decode == "fast" else None
    if on_reduced is None:
        return how(), None
    factor = reduction(header.size, _target(params, header.size, on_reduced))
    image = how(reduction=factor)
    return image, None if factor == 1 else on_reduced


def _target(params: Params, source: Size, on_reduced: Params) -> Size:
    (target,) = params.sizes(source)
    if on_reduced.sizes(source) != (target,):
        raise RuntimeError(f"{params!r} makes {target}, and its form for a reduced decode does not")
    return target
