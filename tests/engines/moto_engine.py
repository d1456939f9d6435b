"""moto as an engine: a server in this process, for what DynamoDB Local does not do."""

from __future__ import annotations

import importlib
import logging
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
        self._server.stop()


def start_moto() -> MotoServer:
    """Starts moto on a free port.

    Raises:
        EngineUnavailable: It is not installed, or without its server.
    """
    try:
        importlib.import_module("boto3")
        server = importlib.import_module("moto.server").ThreadedMotoServer(ip_address=HOST, port=0, verbose=False)
    except ImportError as error:
        raise EngineUnavailable(f"moto: moto[server,dynamodb] and boto3 are not both installed ({error})") from None
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # else a line for every request
    server.start()
    host, port = server.get_host_and_port()
    return MotoServer(f"http://{host}:{port}", server)
