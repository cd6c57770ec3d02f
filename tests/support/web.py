"""`httpx` for servers of this machine: it reads the certificates of the world for each client, which takes 50 ms."""

import ssl
from functools import partial

import httpx

_NONE = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

get = partial(httpx.get, verify=_NONE)
post = partial(httpx.post, verify=_NONE)
request = partial(httpx.request, verify=_NONE)
Client = partial(httpx.Client, verify=_NONE)
