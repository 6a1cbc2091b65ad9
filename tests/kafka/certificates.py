"""Certificates for tests of TLS, made by openssl: an authority, a server and a client that it vouches for."""

import ssl
import subprocess
from pathlib import Path

CONFIG = """\
[req]
distinguished_name = subject
[subject]
"""
"""Nothing is taken from the machine's own openssl.cnf."""

AUTHORITY = ("basicConstraints=critical,CA:TRUE", "keyUsage=critical,keyCertSign,cRLSign")
SERVER = ("basicConstraints=CA:FALSE", "extendedKeyUsage=serverAuth,clientAuth", "subjectAltName=IP:127.0.0.1,DNS:localhost")
CLIENT = ("basicConstraints=CA:FALSE", "extendedKeyUsage=clientAuth")


class Certificates:
    """The files of one authority; `server` and `client` hold the key and then the certificate.

    Two of these know nothing of each other. Raises subprocess.CalledProcessError when openssl (3 or newer) refuses.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._config = folder / "openssl.cnf"
        self._config.write_text(CONFIG)
        self._key = folder / "authority.key"
        self.authority = self._made("authority", AUTHORITY)
        self.server = self._signed("server", SERVER)
        self.client = self._signed("client", CLIENT)

    def context(self, *, client: bool = False) -> ssl.SSLContext:
        """Trusts this authority and nobody else; `client`: shows the client's certificate."""
        context = ssl.create_default_context(cafile=self.authority)
        if client:
            context.load_cert_chain(self.client)
        return context

    def _signed(self, name: str, extensions: tuple[str, ...]) -> Path:
        certificate = self._made(name, extensions, "-CA", str(self.authority), "-CAkey", str(self._key))
        both = self.folder / f"{name}.both.pem"
        both.write_bytes((self.folder / f"{name}.key").read_bytes() + certificate.read_bytes())
        return both

    def _made(self, name: str, extensions: tuple[str, ...], *by: str) -> Path:
        certificate = self.folder / f"{name}.pem"
        command = ["openssl", "req", "-x509", "-config", str(self._config), "-subj", f"/CN={name}", "-days", "2", *by]
        command += ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        command += ["-keyout", str(self.folder / f"{name}.key"), "-out", str(certificate)]
        for extension in extensions:
            command += ["-addext", extension]
        subprocess.run(command, check=True, capture_output=True)
        return certificate
