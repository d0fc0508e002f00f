"""Reads of every kind: how lists, gets and watches answer parameters and headers."""

TABLE = "application/json;as=Table;g=meta.k8s.io;v=v1,application/json"
METADATA = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json"
METADATA_LIST = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json"

QUERIES = [
    "limit=1",
    "limit=-1",
    "limit=x",
    "continue=x",
    "limit=1&continue=x",
    "resourceVersion=0",
    "resourceVersion=x",
    "resourceVersion=-1",
    "resourceVersionMatch=Exact",
    "resourceVersionMatch=NotOlderThan",
    "resourceVersionMatch=x",
    "resourceVersion=0&resourceVersionMatch=Exact",
    "resourceVersion=1&resourceVersionMatch=x",
    "resourceVersion=99999999999&timeoutSeconds=1",
    "labelSelector=a%3Db",
    "labelSelector=a+in+(b,c)",
    "labelSelector=!a",
    "labelSelector=a%20b",
    "labelSelector=,",
    "labelSelector=a%3E1",
    "labelSelector=a%3Ex",
    "labelSelector=A%20b%3Dc",
    "fieldSelector=metadata.name%3Dx",
    "fieldSelector=metadata.name!%3Dx",
    "fieldSelector=metadata.namespace%3Dt",
    "fieldSelector=spec.nothing%3Dx",
    "fieldSelector=metadata.name",
    "fieldSelector=metadata.name%3Dx,metadata.name%3Dy",
    "fieldSelector=metadata.uid%3Dx",
    "sendInitialEvents=true",
    "sendInitialEvents=x",
    "allowWatchBookmarks=x",
    "watch=x",
    "timeoutSeconds=x",
    "pretty=x",
    "nothing=x",
    "watch=true&sendInitialEvents=true",
    "watch=true&resourceVersionMatch=NotOlderThan&timeoutSeconds=1",
    "watch=true&sendInitialEvents=true&resourceVersionMatch=Exact",
    "watch=true&resourceVersion=x",
    "watch=true&continue=x",
    "watch=true&limit=1&timeoutSeconds=1",
    "watch=true&labelSelector=a%20b",
    "watch=true&fieldSelector=spec.nothing%3Dx",
]
DELETES = [
    {"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": -1},
    {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "x"},
    {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Orphan", "orphanDependents": True},
    {"kind": "DeleteOptions", "apiVersion": "v1", "preconditions": {"uid": "x"}},
    {"kind": "DeleteOptions", "apiVersion": "v1", "preconditions": {"resourceVersion": "1"}},
    {"kind": "DeleteOptions", "apiVersion": "v1", "dryRun": ["x"]},
    {"kind": "DeleteOptions", "apiVersion": "v1", "dryRun": ["All"]},
    {"kind": "DeleteOptions", "apiVersion": "v1", "dryRun": "All"},
    {"kind": "DeleteOptions", "apiVersion": "v2"},
    {"kind": "Pod", "apiVersion": "v1"},
    {"kind": "DeleteOptions", "apiVersion": "v1", "nothing": 1},
    b"not json",
    b"[]",
]
PATCHES = [
    ("application/json-patch+json", b"not json"),
    ("application/json-patch+json", b"{}"),
    ("application/json-patch+json", b"[]"),
    ("application/json-patch+json", b'[{"op":"x","path":"/metadata"}]'),
    ("application/json-patch+json", b'[{"op":"test","path":"/metadata/name","value":"other"}]'),
    ("application/json-patch+json", b'[{"op":"remove","path":"/metadata/nothing"}]'),
    ("application/json-patch+json", b'[{"op":"replace","path":"/metadata/nothing/x","value":1}]'),
    ("application/json-patch+json", b'[{"op":"add","path":"/metadata/labels","value":{"a":"b"}}]'),
    ("application/json-patch+json", b'[{"op":"add","path":"/metadata/labels","value":{"a":5}}]'),
    ("application/json-patch+json", b'[{"op":"replace","path":"/metadata/name","value":"other"}]'),
    ("application/json-patch+json", b'[{"op":"replace","path":"/kind","value":"Other"}]'),
    ("application/json-patch+json", b'[{"op":"replace","path":"/apiVersion","value":"other/v1"}]'),
    ("application/json-patch+json", b'[{"op":"add","path":"/nothing","value":1}]'),
    ("application/json-patch+json", b'[{"op":"copy","from":"/metadata/name","path":"/metadata/labels"}]'),
    ("application/merge-patch+json", b"not json"),
    ("application/merge-patch+json", b"[]"),
    ("application/merge-patch+json", b"null"),
    ("application/merge-patch+json", b'"x"'),
    ("application/merge-patch+json", b'{"metadata":null}'),
    ("application/merge-patch+json", b'{"metadata":{"labels":{"a":"b"}}}'),
    ("application/merge-patch+json", b'{"metadata":{"labels":"x"}}'),
    ("application/merge-patch+json", b'{"metadata":{"name":"other"}}'),
    ("application/merge-patch+json", b'{"metadata":{"uid":"other"}}'),
    ("application/merge-patch+json", b'{"metadata":{"resourceVersion":"1"}}'),
    ("application/merge-patch+json", b'{"metadata":{"resourceVersion":"x"}}'),
    ("application/merge-patch+json", b'{"metadata":{"namespace":"other"}}'),
    ("application/merge-patch+json", b'{"kind":"Other"}'),
    ("application/merge-patch+json", b'{"nothing":1}'),
    ("application/merge-patch+json", b'{"metadata":{"nothing":1}}'),
    ("application/merge-patch+json", b'{"metadata":{"finalizers":["a"]}}'),
    ("application/merge-patch+json", b'{"metadata":{"finalizers":["a.b/c"]}}'),
    ("application/strategic-merge-patch+json", b"not json"),
    ("application/strategic-merge-patch+json", b"[]"),
    ("application/strategic-merge-patch+json", b"{}"),
    ("application/strategic-merge-patch+json", b'{"metadata":{"labels":{"a":"b"}}}'),
    ("application/strategic-merge-patch+json", b'{"metadata":{"labels":"x"}}'),
    ("application/strategic-merge-patch+json", b'{"$patch":"x"}'),
    ("application/strategic-merge-patch+json", b'{"metadata":{"$patch":"delete"}}'),
    ("application/strategic-merge-patch+json", b'{"metadata":{"$patch":"replace","name":"x"}}'),
    ("application/strategic-merge-patch+json", b'{"metadata":{"$deleteFromPrimitiveList/finalizers":["a"]}}'),
    ("application/strategic-merge-patch+json", b'{"metadata":{"$setElementOrder/finalizers":["a"]}}'),
    ("application/strategic-merge-patch+json", b'{"metadata":{"$retainKeys":["a"],"labels":{}}}'),
    ("application/strategic-merge-patch+json", b'{"nothing":1}'),
    ("application/apply-patch+yaml", b"not an object"),
    ("application/apply-patch+yaml", b"a: [b"),
    ("application/apply-patch+yaml", b"{}"),
    ("application/apply-patch+yaml", b"kind: Other\napiVersion: v1\nmetadata: {name: x}"),
    ("application/x", b"{}"),
    ("application/json", b"{}"),
]
POSTS = [
    ("application/json", b""),
    ("application/json", b"not json"),
    ("application/json", b"[]"),
    ("application/json", b"null"),
    ("application/json", b"{}"),
    ("application/json", b'{"kind":"Other","apiVersion":"v1"}'),
    ("application/json", b'{"kind":"ConfigMap","apiVersion":"v9"}'),
    ("application/yaml", b"a: [b"),
    ("application/yaml", b"kind: Other"),
    ("application/x", b"{}"),
    ("application/vnd.kubernetes.protobuf", b"{}"),
    ("application/vnd.kubernetes.protobuf", b"k8s\0"),
]


def of_kind(resource, base, pair, found):
    """Of a kind of which an object is there. Nothing is changed."""
    short = resource.split(" ")[0]
    path, name = base["path"], base["object"]["metadata"].get("name", "x")
    there = f"{path}/{name}"
    for accept in (TABLE, METADATA, METADATA_LIST, "application/yaml;as=Table;g=meta.k8s.io;v=v1", "application/x"):
        found.compare(short, "get", f"as {accept}", pair.ask("GET", there, accept=accept))
        found.compare(short, "list", f"as {accept}", pair.ask("GET", f"{path}?fieldSelector=metadata.name%3D{name}", accept=accept))
    for query in QUERIES:
        soon = "&timeoutSeconds=1" if "watch=true" in query and "timeoutSeconds" not in query else ""
        found.compare(short, "list", f"?{query}", pair.ask("GET", f"{path}?{query}{soon}"))
    for query in QUERIES[5:8] + ["pretty=x", "nothing=x", "resourceVersion=99999999999"]:
        found.compare(short, "get", f"?{query}", pair.ask("GET", f"{there}?{query}"))
    for kind, body in PATCHES:
        for query in ("dryRun=All", "dryRun=All&fieldManager=d&fieldValidation=Strict"):
            answer = pair.ask("PATCH", f"{there}?{query}", body, kind=kind)
            found.compare(short, "patch", f"?{query} {kind} {body.decode()}", answer)
    for body in DELETES:
        # Of a request with a body nobody reads the query.
        body = {"dryRun": ["All"], **body} if isinstance(body, dict) else body
        found.compare(short, "delete", f"{body}", pair.ask("DELETE", there, body))
    for kind, body in POSTS:
        found.compare(short, "create", f"{kind} {body}", pair.ask("POST", f"{path}?dryRun=All", body, kind=kind))
        found.compare(short, "update", f"{kind} {body}", pair.ask("PUT", f"{there}?dryRun=All", body, kind=kind))
    for query in ("dryRun=x", "fieldManager=" + "a" * 129, "fieldManager=%07", "fieldValidation=x", "dryRun=All&fieldValidation=Strict", "nothing=x&dryRun=All"):
        body = {**base["object"], "nothing": 1}
        found.compare(short, "create", f"?{query}", pair.ask("POST", f"{path}?{query}", body))
    for method, where in (("PUT", path), ("POST", there), ("PATCH", path), ("GET", f"{there}/nothing"), ("GET", f"{path}/nothing"), ("HEAD", there), ("OPTIONS", there), ("PUT", f"{path}/other?dryRun=All")):
        found.compare(short, "other", f"{method} {where}", pair.ask(method, where, None if method in ("GET", "HEAD") else base["object"]))


def of_everything(pair, found, bases):
    """What is not of a kind."""
    for path in ("/api", "/apis", "/api/v1", "/version", "/nothing", "/apis/nothing", "/apis/apps/v9", "/apis/apps", "/api/v1/nothing", "/healthz", "/livez", "/readyz", "/healthz/nothing", "/healthz/ping", "/openapi", "/openapi/v3/nothing", "/metrics/nothing", "/logs", "/debug/nothing"):
        found.compare("-", "get", path, pair.ask("GET", path))
    for kind in {base["path"].split("/namespaces/")[0].rsplit("/", 1)[0] if "/namespaces/" not in base["path"] else base["path"].split("/namespaces/")[0] for base in bases.values()}:
        found.compare("-", "get", kind, pair.ask("GET", kind))
