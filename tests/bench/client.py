"""A small client of a cluster that kontiki made, and what its processes cost. Only Python's standard library."""

import base64
import http.client
import json
import os
import re
import ssl
import tempfile
from urllib.parse import urlsplit


def kubeconfig(path):
    """Server, CA, certificate and key of a kubeconfig that kontiki wrote."""
    text = open(path).read()
    field = lambda name: re.search(name + r": \"?([^\s\"]+)", text).group(1)
    decoded = lambda name: base64.b64decode(field(name + "-data"))
    return field("server"), decoded("certificate-authority"), decoded("client-certificate"), decoded("client-key")


class Failed(Exception):
    """An answer that says no."""

    def __init__(self, code, text):
        super().__init__(text)
        self.code = code


class Api:
    """One connection, kept open; by the kubeconfig's certificate, or by a token instead."""

    def __init__(self, path, token=None):
        server, ca, certificate, key = kubeconfig(path)
        context = ssl.create_default_context(cadata=ca.decode())
        self.credentials = {"Authorization": f"Bearer {token}"} if token else {}
        if not token:
            with tempfile.NamedTemporaryFile() as pair:
                pair.write(certificate + b"\n" + key)
                pair.flush()
                context.load_cert_chain(pair.name)
        address = urlsplit(server)
        self.connection = http.client.HTTPSConnection(address.hostname, address.port, context=context, timeout=60)

    def open(self, method, path, body=None, kind="application/json", accept="application/json"):
        """The answer, its body not read yet."""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        self.connection.request(method, path, data, {"Content-Type": kind, "Accept": accept, **self.credentials})
        answer = self.connection.getresponse()
        if answer.status >= 300:
            text = answer.read().decode(errors="replace")
            raise Failed(answer.status, f"{method} {path}: {answer.status} {text}")
        return answer

    def call(self, method, path, body=None, **how):
        return self.open(method, path, body, **how).read()

    def json(self, method, path, body=None, **how):
        return json.loads(self.call(method, path, body, **how))


def pids(directory):
    """Process ids of the replicas of `kontiki up`, by name."""
    lines = (line.split() for line in open(f"{directory}/pids"))
    return {name: int(pid) for name, pid in lines if name.startswith("replica")}


def resident(pid):
    """Mebibytes."""
    pages = int(open(f"/proc/{pid}/statm").read().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def processor(pid):
    """Seconds that a process has used."""
    fields = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
