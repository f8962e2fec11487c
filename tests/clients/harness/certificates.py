"""A certificate authority for a test, and certificates from it: valid, expired, with a key that may be read by others."""

import subprocess


def openssl(folder, *words, at=None):
    """Runs openssl in a folder; `at` is the time that it believes."""
    clock = ["faketime", at] if at else []
    subprocess.run([*clock, "openssl", *map(str, words)], check=True, cwd=folder, capture_output=True)


class Authority:
    """An authority whose certificate is `{name}.pem` in the folder."""

    def __init__(self, folder, name="ca"):
        self.folder, self.name = folder, name
        self.pem = folder / f"{name}.pem"
        openssl(folder, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", f"{name}.key", "-out", self.pem,
                "-days", "30", "-subj", f"/CN=the authority {name}", "-addext", "basicConstraints=critical,CA:TRUE")

    def issue(self, file, name="x", at=None):
        """Returns the paths of a certificate and of its key: for the user `name`, and for this machine as a server."""
        certificate, key = self.folder / f"{file}.pem", self.folder / f"{file}.key"
        (self.folder / "names").write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\nbasicConstraints=CA:FALSE\n")
        openssl(self.folder, "req", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", f"{file}.csr", "-subj", f"/CN={name}")
        openssl(self.folder, "x509", "-req", "-in", f"{file}.csr", "-CA", self.pem, "-CAkey", f"{self.name}.key",
                "-CAcreateserial", "-days", "30", "-out", certificate, "-extfile", "names", at=at)
        key.chmod(0o600)
        return certificate, key


def wrong_pairs(authority, folder, name):
    """Returns certificates and keys that no server may accept, each with words of the error."""
    good, key = authority.issue("good", name)
    stranger = Authority(folder, "stranger").issue("foreign", name)
    expired = authority.issue("expired", name, at="2024-01-01")
    (folder / "empty.pem").write_text("nothing\n")
    (folder / "empty.pem").chmod(0o600)
    exposed = folder / "exposed.key"
    exposed.write_bytes(key.read_bytes())
    exposed.chmod(0o666)
    return [
        (*stranger, ["does not trust the CA of the client certificate"]),
        (*expired, [f"the certificate in {expired[0]} expired at 2024-01-31", "renew it"]),
        (good, stranger[1], [f"{stranger[1]} does not belong to the certificate in {good}"]),
        (folder / "empty.pem", key, [f"{folder}/empty.pem contains no certificate in PEM"]),
        (good, folder / "empty.pem", [f"{folder}/empty.pem contains no private key"]),
        (folder / "none.pem", key, [f"{folder}/none.pem", "No such file"]),
        (good, exposed, [f"{exposed} may be written by other users", "chmod go-w"]),
    ]
