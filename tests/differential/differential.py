"""differential.py OURS THEIRS [--only WORD] [--out FILE]: asks two servers the same, and says where their answers differ.

OURS and THEIRS are kubeconfigs. Every kind's good object (CASES_DIR/bases.json) is changed in one place at a time, after
the other server's own schema, and created, updated, applied, and updated in its status, all as dry runs; a fixed set of
reads follows. Differences are grouped by kind, verb and place; `accepted.txt` lists those that stay, with their reason. The exit code says whether others are left.
"""

import argparse
import http.client
import json
import os
import re
import signal
import sys
import threading
import time
import traceback
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent / "bench"))

from client import Api  # noqa: E402

import answers  # noqa: E402
import reads  # noqa: E402
from mutations import DEPTH, Schemas, mutations  # noqa: E402

CASES = Path(os.environ.get("CASES_DIR") or HERE.parent.parent.parent / "shared/api-surface/validation")
# What is created and only answered, never kept.
REVIEWS = ("subjectaccessreviews", "selfsubjectaccessreviews", "localsubjectaccessreviews", "tokenreviews", "serviceaccounts/token")


# Kinds that are read at once.
READERS = 8


class Pair:
    """A connection to each of the two servers."""

    def __init__(self, ours, theirs):
        self.servers = [Api(ours), Api(theirs)]

    def ask(self, method, path, bodies=None, kind="application/json", accept="application/json"):
        bodies = bodies if isinstance(bodies, tuple) else (bodies, bodies)
        return [asked(api, method, path, body, kind, accept) for api, body in zip(self.servers, bodies)]


def asked(api, method, path, body, kind, accept):
    data = json.dumps(body).encode() if body is not None and not isinstance(body, bytes) else body
    headers = {"Content-Type": kind, "Accept": accept}
    for attempt in (1, 2):
        try:
            api.connection.request(method, path, data, headers)
            answer = api.connection.getresponse()
            text = answer.read()
            break
        except (OSError, http.client.HTTPException):
            api.connection.close()
            if attempt == 2:
                return 0, [], "no answer"
    return answer.status, answer.headers.get_all("Warning") or [], read(text)


def read(text):
    """A JSON value, a list of those that a watch sends, or the text itself."""
    try:
        return json.loads(text)
    except ValueError:
        pass
    try:
        return [json.loads(line) for line in text.splitlines()]
    except ValueError:
        return text.decode(errors="replace")


class Found:
    """The differences so far."""

    def __init__(self, out):
        self.lock = threading.Lock()
        self.groups = defaultdict(list)
        self.asked = 0
        self.differ = 0
        # Whether a kind could not be asked about to the end.
        self.failed = False
        self.out = open(out, "w") if out else None

    def compare(self, resource, verb, what, pair):
        differences = list(answers.differences(*pair))
        with self.lock:
            self.asked += 1
            if not differences:
                return
            self.differ += 1
            for kind, difference in differences:
                place = re.sub(r"\[\d+\]", "[*]", what.split("=")[0])
                self.groups[resource, verb, kind, place].append((what, difference))
            if self.out:
                row = {"resource": resource, "verb": verb, "what": what, "differences": differences}
                self.out.write(json.dumps(row) + "\n")


def of_kind(resource, base, pair, schemas, found, first):
    good = base["object"]
    schema = schemas.of(good["apiVersion"], good["kind"])
    if schema is None:
        print(f"{resource}: the other server has no schema of it", file=sys.stderr)
        return
    # Templates are of pods, which are asked about themselves; so are the details of metadata, of some kinds.
    in_template = lambda path: resource != "pods" and "template" in path and "spec" in path[path.index("template"):]
    skip = lambda path: (
        path[0] in ("apiVersion", "kind", "status")
        or path[-1] == "managedFields"
        or path[0] == "metadata" and resource not in ("configmaps", "pods", "namespaces", "services")
        or in_template(path) and ("containers" in path[:-1] or path[-1] not in TEMPLATES)
    )
    suffix = "" if resource in REVIEWS else "?dryRun=All"
    for what, body in mutations(good, schema, skip, DEPTH if first else 1):
        found.compare(resource, "create", what, pair.ask("POST", base["path"] + suffix, body))
    if resource in REVIEWS:
        return
    name = good["metadata"].get("name", "x")
    pair.ask("POST", base["path"], good)
    if resource == "customresourcedefinitions":
        established(pair.servers[1], f"{base['path']}/{name}")
    settled(pair.servers[1], f"{base['path']}/{name}")
    live = pair.ask("GET", f"{base['path']}/{name}")
    if any(code != 200 for code, _, _ in live):
        found.compare(resource, "create", "as it is", live)
        return
    found.compare(resource, "get", "as it is", live)
    live = tuple(body for _, _, body in live)
    there = f"{base['path']}/{name}"
    put(resource, "update", live, there, schema, skip, pair, found)
    for what, body in mutations(good, schema, skip, 1):
        answer = pair.ask("PATCH", f"{there}?dryRun=All&fieldManager=d", body, kind="application/apply-patch+yaml")
        found.compare(resource, "apply", what, answer)
    full = tuple({**each, "status": each.get("status") or {}} for each in live)
    put(resource, "status", full, f"{there}/status", schema, lambda path: path[0] != "status", pair, found, DEPTH)
    for sub, only in SUBRESOURCES.get(resource, []):
        answer = pair.ask("GET", there if only else f"{there}/{sub}")
        found.compare(resource, f"get {sub}", "as it is", answer)
        if any(code != 200 for code, _, _ in answer):
            continue
        bodies = tuple(body for _, _, body in answer)
        inner = schemas.of(bodies[1]["apiVersion"], bodies[1]["kind"])
        skip_sub = lambda path: path[0] in ("metadata", "apiVersion", "kind") or bool(only) and path[: len(only)] != only[: len(path)]
        put(resource, sub, bodies, f"{there}/{sub}", inner, skip_sub, pair, found, DEPTH)
    for sub, body in POSTED.get(resource, []):
        body = {**body, "metadata": {"name": name, "namespace": "t"}}
        skip_sub = lambda path: path[0] in ("apiVersion", "kind") or path[0] == "metadata" and path[-1] not in ("name", "namespace")
        inner = schemas.of(body["apiVersion"], body["kind"])
        for what, changed in mutations(body, inner, skip_sub, DEPTH):
            found.compare(resource, sub, what, pair.ask("POST", f"{there}/{sub}?dryRun=All", changed))


def established(api, path):
    """Waits until upstream's controllers have said all that they say of a definition."""
    for _ in range(50):
        conditions = (api.json("GET", path).get("status") or {}).get("conditions") or []
        if any(one["type"] == "Established" and one["status"] == "True" for one in conditions):
            return
        time.sleep(0.1)


def settled(api, path):
    """Waits until they have changed what they change of any object."""
    before = None
    for _ in range(20):
        _, _, found = asked(api, "GET", path, None, "application/json", "application/json")
        version = isinstance(found, dict) and (found.get("metadata") or {}).get("resourceVersion")
        if version == before:
            return
        before = version
        time.sleep(0.5)


# What is changed of the spec of a template.
TEMPLATES = ("restartPolicy", "activeDeadlineSeconds", "containers", "hostNetwork", "nodeName")
# Subresources that are updated: what of the object is changed, or () where they have a kind of their own.
SUBRESOURCES = {
    "deployments": [("scale", ())],
    "replicasets": [("scale", ())],
    "statefulsets": [("scale", ())],
    "replicationcontrollers": [("scale", ())],
    "pods": [("ephemeralcontainers", ("spec", "ephemeralContainers")), ("resize", ("spec", "containers"))],
    "namespaces": [("finalize", ("spec",))],
    "certificatesigningrequests": [("approval", ("status",))],
}
POSTED = {
    "pods": [
        ("binding", {"apiVersion": "v1", "kind": "Binding", "target": {"kind": "Node", "name": "nx"}}),
        ("eviction", {"apiVersion": "policy/v1", "kind": "Eviction", "deleteOptions": {"gracePeriodSeconds": 5}}),
    ],
}


def put(resource, verb, bodies, path, schema, skip, pair, found, depth=1):
    """Both servers' own objects, changed alike."""
    theirs = dict(mutations(bodies[1], schema, skip, depth))
    for what, ours in mutations(bodies[0], schema, skip, depth):
        if what in theirs:
            found.compare(resource, verb, what, pair.ask("PUT", f"{path}?dryRun=All", (ours, theirs[what])))


def prepare(pair):
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "t"}}
    pair.ask("POST", "/api/v1/namespaces", namespace)
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": "t"}}
    pair.ask("POST", "/api/v1/namespaces/t/serviceaccounts", account)


def accepted():
    rules = []
    for line in (HERE / "accepted.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            rules.append(re.compile(line.split("  # ")[0].strip()))
    return rules


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ours")
    parser.add_argument("theirs")
    parser.add_argument("--only", help="kinds whose name matches")
    parser.add_argument("--out", help="a file for every difference, a JSON object a line")
    parser.add_argument("--no-reads", action="store_true")
    parser.add_argument("--threads", type=int, default=3)
    options = parser.parse_args()
    found = Found(options.out)
    prepare(Pair(options.ours, options.theirs))
    bases = json.loads((CASES / "bases.json").read_text())
    bases.update(json.loads((HERE / "bases.json").read_text()))
    wanted = [r for r in bases if not options.only or re.search(options.only, r)]

    def one(resource):
        pair = Pair(options.ours, options.theirs)
        before = found.asked
        try:
            of_kind(resource.split(" ")[0], bases[resource], pair, Schemas(pair.servers[1]), found, " " not in resource)
        except Exception:
            traceback.print_exc()
            found.failed = True
        print(f"{resource}: done ({found.asked - before} beside others)", file=sys.stderr)

    def read(resource):
        try:
            reads.of_kind(resource, bases[resource], Pair(options.ours, options.theirs), found)
        except Exception:
            traceback.print_exc()
            found.failed = True

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        with ThreadPoolExecutor(options.threads) as pool:
            list(pool.map(one, wanted))
        if not options.no_reads:
            readable = [resource for resource in wanted if "/" not in resource and "reviews" not in resource]
            # They wait for watches to end, mostly.
            with ThreadPoolExecutor(READERS) as pool:
                list(pool.map(read, readable))
            reads.of_everything(Pair(options.ours, options.theirs), found, bases)
    finally:
        stay = report(found)
    return 1 if found.failed or stay else 0


def report(found):
    """Prints what is not accepted, and answers how much that is."""
    rules = accepted()
    accepted_ones = left = 0
    for (resource, verb, kind, place), each in sorted(found.groups.items()):
        what, difference = each[0]
        line = f"{resource} {verb} {kind}: {place}: {what}: {difference}"
        if any(rule.search(line) for rule in rules):
            accepted_ones += len(each)
            continue
        left += len(each)
        print(f"{len(each):4} {line}")
    print(f"{found.asked} requests, {found.differ} answered differently: {left} differences, and {accepted_ones} accepted")
    return left


if __name__ == "__main__":
    sys.exit(main())
