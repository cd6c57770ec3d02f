"""A private RabbitMQ with its management API, which KEDA asks for the signal `messages`."""

from muniflow_cli.stack.broker import PrivateBroker
from muniflow_cli.stack.plan import ProcessPlan
from muniflow_cli.stack.ports import HOST, free_ports


class ManagedBroker(PrivateBroker):
    """Stopped and started again, its API has the same port."""

    _management_port: int | None = None

    @property
    def management_url(self) -> str:
        """The base URL, without credentials."""
        return f"http://{HOST}:{self._port}/"

    @property
    def _port(self) -> int:
        if self._management_port is None:
            (self._management_port,) = free_ports(1)
        return self._management_port

    def processes(self) -> tuple[ProcessPlan, ...]:
        plans = super().processes()
        (self.home / "enabled_plugins").write_text("[rabbitmq_prometheus,rabbitmq_management].\n")
        settings = self.home / "conf.d"
        settings.mkdir(exist_ok=True)
        (settings / "management.conf").write_text(f"management.tcp.ip = {HOST}\nmanagement.tcp.port = {self._port}\n")
        return plans
