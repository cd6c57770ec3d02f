"""The URL to which a batch's end is told, read strictly: what it names is what is connected to. Pure."""

import re
from typing import NamedTuple

MAX_CALLBACK_CHARS = 2000
_HOST = r"\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?"
# All of printable ASCII but `#` and `\`; an `@` is no part of a host, so there is no user in front of one.
_URL = re.compile(rf"(https?)://({_HOST})(?::([0-9]{{1,5}}))?(/[!\"$-\[\]-~]*)?", re.ASCII)
_PORTS = {"https": 443, "http": 80}


class CallbackUrl(NamedTuple):
    """The parts of a URL."""

    scheme: str
    host: str
    """In lower case, without the brackets of IPv6."""
    port: int
    path: str
    """With its query; begins with `/`."""

    @property
    def authority(self) -> str:
        """Host and port as in the header `Host`."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"


def read_callback(url: str) -> CallbackUrl:
    """Read a URL.

    Raises:
        ValueError: it is none of the form that is taken.
    """
    found = _URL.fullmatch(url) if len(url) <= MAX_CALLBACK_CHARS else None
    if found is None or not 0 < (port := int(found[3] or _PORTS[found[1]])) < 2**16:
        raise ValueError(
            "write https://host/path or https://host:port/path, without a user, a password or a `#`; "
            f"at most {MAX_CALLBACK_CHARS} characters"
        )
    return CallbackUrl(found[1], found[2].strip("[]").lower(), port, found[4] or "/")
