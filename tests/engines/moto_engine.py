"""moto as an engine: a server in this process, for what DynamoDB Local does not do."""

from __future__ import annotations

import importlib
import logging
import threading
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

from engines import HOST, REGION, Engine, EngineUnavailable


@dataclass
class MotoServer:
    """One running moto. Start it with ``start_moto``."""

    endpoint_url: str
    _server: Any

    def database(self) -> Engine:
        """An empty database. There is but one, whatever the access key, so it lasts until the next is asked for."""
        with closing(HTTPConnection(urlsplit(self.endpoint_url).netloc, timeout=20)) as connection:
            connection.request("POST", "/moto-api/reset")
            assert connection.getresponse().status == 200
        return Engine(self.endpoint_url, REGION, "moto")

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def start_moto() -> MotoServer:
    """Starts moto on a free port.

    Raises:
        EngineUnavailable: It is not installed, or without its server.
    """
    try:
        importlib.import_module("boto3")
        dispatcher = importlib.import_module("moto.moto_server.werkzeug_app")
        serving = importlib.import_module("werkzeug.serving")
    except ImportError as error:
        raise EngineUnavailable(f"moto: moto[server,dynamodb] and boto3 are not both installed ({error})") from None
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # else a line for every request
    backends = dispatcher.DomainDispatcherApplication(dispatcher.create_backend_app)
    one_at_a_time = threading.Lock()

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        """moto looks at a condition and writes in two steps: without a lock two writers both find theirs met."""
        with one_at_a_time:
            return list(backends(environ, start_response))

    server = serving.make_server(HOST, 0, app, threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return MotoServer(f"http://{HOST}:{server.port}", server)
