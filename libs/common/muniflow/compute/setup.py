"""From a `ChildSpec` to a `Context`: in the fork server (imports) and in each child (stores)."""

import importlib
from collections.abc import Callable, Mapping
from typing import cast

from muniflow.compute.context import Context
from muniflow.compute.device import on_device, open_device
from muniflow.compute.spec import ChildSpec
from muniflow.compute.step import Step, Steps
from muniflow.errors import Fault, Invalid
from muniflow.images.limits import ImageLimits
from muniflow.runtime.failpoints import Failpoints
from muniflow.runtime.settings import CPU
from muniflow.store.open import open_store


def preload(spec: ChildSpec) -> Steps:
    """Import everything that a child needs; returns its steps.

    Raises:
        Invalid: an operation of `spec` is not installed.
        ImportError: a module cannot be imported.
    """
    for module in spec.preload:
        importlib.import_module(module)
    return load_steps(spec.steps, spec.operations)


def load_steps(place: str, operations: tuple[str, ...] | None) -> Steps:
    """The steps that `module:function` gives, restricted to `operations`.

    Raises:
        Invalid: one of the operations is not there.
    """
    module, _, function = place.partition(":")
    load = cast("Callable[[], Mapping[str, Step]]", getattr(importlib.import_module(module), function))
    found = load()
    if missing := sorted(set(operations or ()) - set(found)):
        installed = ", ".join(found) or "none"
        raise Invalid((Fault("operations", f"{', '.join(missing)} not installed here; installed: {installed}"),))
    return {name: found[name] for name in operations} if operations is not None else found


def open_context(spec: ChildSpec, steps: Steps, env: Mapping[str, str]) -> Context:
    """The context of a process: after a fork, because a store may have threads, and so has an OpenCL driver.

    Raises:
        Invalid: a store's URL, a limit or `MUNIFLOW_FAILPOINTS` is wrong, or the device of `spec` is not there.
    """
    failpoints = Failpoints.from_env(env)
    open_device(spec.device)
    return Context(
        steps=on_device(steps, spec.device),
        source=open_store(spec.source_url),
        work=open_store(spec.work_url, failpoints),
        output=open_store(spec.output_url, failpoints),
        limits=ImageLimits.model_validate(spec.limits),
        durable_outputs=spec.durable_outputs,
        device=spec.device,
        shared_cores=spec.shared_cores and spec.device == CPU,
        after_load=failpoints.at("child.after_load"),
        after_compute=failpoints.at("child.after_compute"),
    )
