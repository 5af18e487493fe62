"""A certificate authority made for one cluster, and what it has signed."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from kafkalab.errors import BrokerStartError

if TYPE_CHECKING:
    from trustme import LeafCert


@dataclass(frozen=True, slots=True)
class Certificates:
    """PEM files of one cluster.

    Parameters
    ----------
    ca : Path
        The certificate of the authority; what a client is to trust.
    server : Path
        The brokers' private key and certificates, for ``localhost``, ``127.0.0.1`` and ``::1``.
    client : Path
        A client's certificate.
    client_key : Path
        Its private key.
    """

    ca: Path
    server: Path
    client: Path
    client_key: Path

    @classmethod
    def at(cls, folder: Path) -> Self:
        """Name the files in a folder."""
        return cls(*(folder / name for name in ("ca.pem", "server.pem", "client.pem", "client-key.pem")))

    @classmethod
    def make(cls, folder: Path) -> Self:
        """Make them, in a folder.

        Raises
        ------
        BrokerStartError
            If the package trustme is not installed.
        """
        try:
            import trustme
        except ImportError as error:
            raise BrokerStartError(
                'a broker with TLS needs the package trustme, which is not installed: pip install "kafkalab[broker]"'
            ) from error
        files = cls.at(folder)
        authority = trustme.CA()
        authority.cert_pem.write_to_path(files.ca)
        server = authority.issue_cert("localhost", "127.0.0.1", "::1")
        files.server.write_bytes(_private_key(server) + _chain(server))
        client = authority.issue_cert("client@localhost", common_name="client")
        files.client.write_bytes(_chain(client))
        files.client_key.write_bytes(_private_key(client))
        return files


def _chain(certificate: "LeafCert") -> bytes:
    return b"".join(blob.bytes() for blob in certificate.cert_chain_pems)


def _private_key(certificate: "LeafCert") -> bytes:
    from cryptography.hazmat.primitives import serialization as form

    key = form.load_pem_private_key(certificate.private_key_pem.bytes(), password=None)
    # Java reads private keys in PKCS #8 only.
    return key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption())
