"""A TCP proxy that cuts connections after a number of bytes from the client."""

import contextlib
import socket
import struct
import threading


class CuttingProxy(contextlib.AbstractContextManager):
    """Forwards connections to a port. A connection that sends more than `spared` bytes takes a value of `budgets`: it
    is reset when the client has sent that number of bytes; None is no limit."""

    def __init__(self, port, budgets, spared=64 << 10):
        self.target = ("127.0.0.1", port)
        self.budgets = iter(budgets)
        self.spared = spared
        self.cuts = 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def __exit__(self, *_):
        self.listener.close()

    def _accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        try:
            server = socket.create_connection(self.target)
        except OSError:
            client.close()
            return
        answers = threading.Thread(target=self._copy, args=(server, client), daemon=True)
        answers.start()
        passed, budget = 0, None
        with contextlib.suppress(OSError):
            while piece := client.recv(65_536):
                if passed <= self.spared < passed + len(piece):
                    budget = next(self.budgets, None)
                passed += len(piece)
                if budget is not None and passed >= budget:
                    server.sendall(piece[: max(0, len(piece) - (passed - budget))])
                    self.cuts += 1
                    # The client gets a reset; the server reads the forwarded bytes.
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    client.close()
                    break
                server.sendall(piece)
            server.shutdown(socket.SHUT_WR)
            answers.join(60)
        client.close()
        server.close()

    @staticmethod
    def _copy(source, sink):
        with contextlib.suppress(OSError):
            while piece := source.recv(65_536):
                sink.sendall(piece)
            sink.shutdown(socket.SHUT_WR)
