"""Refuses connections that leave this machine; Python imports this at its start where it stands in PYTHONPATH."""

import ipaddress
import socket
from typing import Any

_connect, _lookup = socket.socket.connect, socket.getaddrinfo


def _is_local(host: object) -> bool:
    name = host.decode() if isinstance(host, bytes) else str(host)
    if name in ("", "localhost", "None"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _guarded_connect(self: socket.socket, address: Any) -> None:
    if self.family in (socket.AF_INET, socket.AF_INET6) and not _is_local(address[0]):
        raise OSError(f"the network is cut: {address[0]} was asked")
    _connect(self, address)


def _guarded_lookup(host: Any, *arguments: Any, **options: Any) -> Any:
    if not _is_local(host):
        raise socket.gaierror(socket.EAI_FAIL, f"the network is cut: {host} was looked up")
    return _lookup(host, *arguments, **options)


socket.socket.connect = _guarded_connect  # type: ignore[method-assign]
socket.getaddrinfo = _guarded_lookup
