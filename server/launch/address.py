# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the engine can be reached: address, names, certificate, port. Loads no web framework."""

from __future__ import annotations

import ipaddress
import socket
import ssl
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from syncsde_engine.errors import InvalidRequest


@dataclass(frozen=True)
class Door:
    """Where the engine listens, and by which names it may be called."""

    host: str
    names: Sequence[str] = ()  # further ones
    certificate: Path | None = None  # PEM files
    key: Path | None = None

    def check(self) -> None:
        """Refuse to be reachable from other machines in the clear. Raises InvalidRequest."""
        try:
            address = ipaddress.ip_address(self.host)
        except ValueError:
            raise InvalidRequest(
                f"{self.host!r} is not an IP address.",
                hint="Give that of one network.",
                field="host",
            ) from None
        if (self.certificate is None) != (self.key is None):
            raise InvalidRequest("--certificate and --key belong together.", field="certificate")
        if address.is_unspecified:
            raise InvalidRequest(
                f"{self.host} is every network of this machine.",
                hint="Give the address of one.",
                field="host",
            )
        if self.certificate is None and not address.is_loopback:
            raise InvalidRequest(
                f"Other machines can reach {self.host}: there the engine speaks TLS only.",
                hint="Give --certificate and --key, or leave --host out.",
                field="host",
            )
        if self.certificate is not None:
            try:
                ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(self.certificate, self.key)
            except (OSError, ssl.SSLError) as error:
                raise InvalidRequest(
                    f"The certificate or its key cannot be used: {error}.", field="certificate"
                ) from None

    def hosts(self, port: int) -> set[str]:
        """What the header Host may say."""
        address = ipaddress.ip_address(self.host)
        own = [f"[{self.host}]" if address.version == 6 else self.host]
        local = ["localhost"] if address.is_loopback else []
        return {f"{name}:{port}" for name in (*own, *local, *self.names)}

    @property
    def pem(self) -> str | None:
        return None if self.certificate is None else self.certificate.read_text(encoding="ascii")


def bind(host: str, port: int) -> socket.socket:
    """Bind a listening socket; port 0 takes a free one. Raises InvalidRequest."""
    try:
        return _bind(host, port)
    except (OSError, OverflowError) as error:
        raise InvalidRequest(
            f"Port {port} of {host} cannot be used: {str(error).rstrip('.')}.", field="port"
        ) from None


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio sets TCP_NODELAY only where the protocol is named; without, each answer waits 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if sys.platform == "win32":  # there REUSEADDR lets another process take the port over
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        else:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except OSError:
        listener.close()
        raise
    return listener
