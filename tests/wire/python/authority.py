"""An authority of the tests' own: certificates good and bad, and a context that trusts them."""

import socket
import ssl

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import serialization

NAMES = ("127.0.0.1", "localhost", "chat.example.com")


class Pair:
    """A certificate with its chain, and its key, as PEM."""

    def __init__(self, leaf):
        self.certificate = b"".join(blob.bytes() for blob in leaf.cert_chain_pems)
        self.key = leaf.private_key_pem.bytes()  # SEC1 for a curve, PKCS #1 for RSA
        self.serial = x509.load_pem_x509_certificate(self.certificate).serial_number

    def pkcs8(self, password=None):
        key = serialization.load_pem_private_key(self.key, None)
        how = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
        return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, how)

    def traditional(self, password):
        key = serialization.load_pem_private_key(self.key, None)
        how = serialization.BestAvailableEncryption(password)
        return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, how)

    @property
    def files(self):
        return {"tls.pem": self.certificate, "tls.key": self.key}


class Authority:
    def __init__(self):
        self._ca = trustme.CA()
        self.context = self.new_context()

    def new_context(self, alpn=("http/1.1",)):
        context = ssl.create_default_context()
        context.set_alpn_protocols(list(alpn))
        self._ca.configure_trust(context)
        return context

    def pair(self, **options):
        return Pair(self._ca.issue_cert(*NAMES, **options))


def shake_hands(port, context, timeout=10):
    """One TLS connection: (the serial number of the server's certificate, the version, the protocol)."""
    with socket.create_connection(("127.0.0.1", port), timeout=timeout) as plain:
        with context.wrap_socket(plain, server_hostname="localhost") as secure:
            certificate = x509.load_der_x509_certificate(secure.getpeercert(binary_form=True))
            return certificate.serial_number, secure.version(), secure.selected_alpn_protocol()
