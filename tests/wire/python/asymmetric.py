"""Key pairs for tokens: PEM files and key sets of them."""

import functools
import json

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

KINDS = ("RS256", "ES256", "EdDSA")


class Pair:
    def __init__(self, algorithm, private):
        self.algorithm, self.private = algorithm, private
        self.private_pem = private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        self.public_pem = private.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)

    def jwk(self, kid, **more):
        kind = {"RS256": "RSAAlgorithm", "ES256": "ECAlgorithm", "EdDSA": "OKPAlgorithm"}[self.algorithm]
        key = getattr(jwt.algorithms, kind).to_jwk(self.private.public_key())
        key = json.loads(key) if isinstance(key, str) else key
        key = {"kty": key["kty"], **{name: key[name] for name in ("n", "e", "crv", "x", "y") if name in key}}
        return {**key, **({} if kid is None else {"kid": kid}), "alg": self.algorithm, "use": "sig", **more}


def fresh(algorithm, bits=2048):
    if algorithm == "RS256":
        return Pair(algorithm, rsa.generate_private_key(65537, bits))
    if algorithm == "ES256":
        return Pair(algorithm, ec.generate_private_key(ec.SECP256R1()))
    return Pair(algorithm, ed25519.Ed25519PrivateKey.generate())


def pair(algorithm, name="first"):
    """The same one each time that it is asked for under this name."""
    return _pair(algorithm, name)


@functools.cache
def _pair(algorithm, name):
    return fresh(algorithm)
