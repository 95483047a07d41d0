"""Refuses connections that leave this machine; Python imports this at its start where it stands in PYTHONPATH."""

import errno
import ipaddress
import socket
from typing import Any

_connect, _sendto, _lookup = socket.socket.connect, socket.socket.sendto, socket.getaddrinfo


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
        raise OSError(errno.ENETUNREACH, f"the network is cut: {address[0]} was asked")
    _connect(self, address)


def _guarded_lookup(host: Any, *arguments: Any, **options: Any) -> Any:
    if not _is_local(host):
        raise socket.gaierror(socket.EAI_FAIL, f"the network is cut: {host} was looked up")
    return _lookup(host, *arguments, **options)


def _guarded_connect_ex(self: socket.socket, address: Any) -> int:
    try:
        _guarded_connect(self, address)
    except OSError as error:
        return error.errno or errno.ENETUNREACH
    return 0


def _guarded_sendto(self: socket.socket, data: Any, *arguments: Any) -> int:
    if self.family in (socket.AF_INET, socket.AF_INET6) and not _is_local(arguments[-1][0]):
        raise OSError(errno.ENETUNREACH, f"the network is cut: {arguments[-1][0]} was asked")
    return _sendto(self, data, *arguments)


socket.socket.connect_ex = _guarded_connect_ex  # type: ignore[method-assign]
socket.socket.sendto = _guarded_sendto  # type: ignore[method-assign]
socket.socket.connect = _guarded_connect  # type: ignore[method-assign]
socket.getaddrinfo = _guarded_lookup
