"""A TCP proxy whose connections a test can cut or silence, as a network does."""

import contextlib
import socket
import threading

CHUNK_BYTES = 65536


class Proxy:
    """Forwards a port of this machine to a broker, until it is cut."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._closed = False
        self._silent: frozenset[str] = frozenset()
        self._whole = threading.Event()
        self._whole.set()
        self.port: int = self._listener.getsockname()[1]
        self._run(self._accept)

    def cut(self) -> None:
        """Cut every connection that there is; new ones are forwarded again."""
        with self._lock:
            sockets, self._sockets = self._sockets, set()
        for each in sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def swallow(self, *sides: str) -> None:
        """Take what these sides (`client`, `server`) say, and pass none of it on; nobody is told."""
        self._silent = frozenset(sides)
        self._whole.clear()

    def recover(self) -> None:
        """Cut the connections that have a hole in them; new ones are whole."""
        self.cut()
        self._silent = frozenset()
        self._whole.set()

    def close(self) -> None:
        """Refuse new connections, cut the old ones, end the threads."""
        self._closed = True
        self._whole.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        for thread in list(self._threads):
            thread.join(10)

    def _run(self, work: object, *arguments: socket.socket) -> None:
        assert callable(work)
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._closed:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(self._target, timeout=10)
            except OSError:
                client.close()
                continue
            server.settimeout(None)
            with self._lock:
                self._sockets |= {client, server}
            done = threading.Barrier(2)
            for side, source, sink in (("client", client, server), ("server", server, client)):
                self._run(lambda source, sink, side=side, done=done: self._pump(side, source, sink, done), source, sink)

    def _pump(self, side: str, source: socket.socket, sink: socket.socket, done: threading.Barrier) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(CHUNK_BYTES):
                if side not in self._silent:
                    sink.sendall(data)
        if side in self._silent:
            self._whole.wait(60)  # a black hole says nothing of an end either
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_RDWR)
        done.wait(10)  # both directions are over: now the sockets can be closed
        source.close()
