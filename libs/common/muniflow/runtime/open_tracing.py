"""The tracing that the environment asks for; OpenTelemetry's SDK is imported only where it is on."""

from collections.abc import Mapping

from muniflow.errors import Fault, Invalid
from muniflow.runtime.settings import read_env
from muniflow.runtime.tracing import OFF, TraceSettings, Tracing

INSTALL = "install muniflow[traces] to send traces"


def open_tracing(env: Mapping[str, str], service: str) -> Tracing:
    """Open what MUNIFLOW_TRACES names.

    Args:
        env: with MUNIFLOW_TRACES, MUNIFLOW_TRACES_RATIO, and the OTEL_… variables of OpenTelemetry itself.
        service: name of the process.

    Raises:
        Invalid: a setting is wrong, or OpenTelemetry is not installed.
    """
    settings = read_env(TraceSettings, env)
    if settings.traces == OFF:
        return Tracing()
    try:
        from muniflow.runtime.otel import open_otel

        return open_otel(settings, service)
    except ImportError as error:
        raise Invalid((Fault("MUNIFLOW_TRACES", f"{INSTALL}: {error}"),)) from None
