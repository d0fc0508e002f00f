"""Objects that differ from a good one in one place, by the schema of their kind."""

import copy

STRINGS = ["", "x", "A b!", "example.com/x", "1.2.3.4", "a" * 300, 5]
NUMBERS = [0, 1, -1, 5, 70000, 2147483648, "x"]
BOOLEANS = [True, False, "x"]
QUANTITIES = ["1", "0", "-1", "1.5", "bad", ""]
INT_OR_STRINGS = [0, 1, -1, 70000, "x", "A b", "http", "50%", "150%", True]
TIMES = ["2026-01-01T00:00:00Z", "2026-01-01T00:00:00.123456Z", "bad"]
BYTES = ["", "dg==", "not base64!"]
MAPS = [{}, {"a": "b"}, {"A b!": "x"}, {"a": "A b!"}, {"kubernetes.io/os": "x"}, {"a": 5}]
AMOUNTS = [
    {"cpu": "1"},
    {"cpu": "-1"},
    {"memory": "1.5"},
    {"A b!": "1"},
    {"example.com/gpu": "1.5"},
    {"hugepages-2Mi": "3Mi"},
    {"requests.storage": "1"},
    {"cpu": "bad"},
]
ANY = [{}, {"a": 1}, "x"]
# Levels that are made up of a kind's first good object.
DEPTH = 5


class Schemas:
    """The OpenAPI v3 documents of a server, by kind."""

    def __init__(self, api):
        self.api = api
        self.documents = {}
        self.paths = api.json("GET", "/openapi/v3")["paths"]

    def of(self, version, kind):
        """The schema of a kind, resolved against its document; None without one."""
        group, _, version = version.rpartition("/")
        path = f"apis/{group}/{version}" if group else f"api/{version}"
        if path not in self.documents:
            url = self.paths[path]["serverRelativeURL"]
            self.documents[path] = self.api.json("GET", url)["components"]["schemas"]
        wanted = {"group": group, "kind": kind, "version": version}
        # Subresources have kinds of other groups, in the documents of those that they are of.
        for document in [self.documents[path], *self.documents.values()]:
            for name, schema in document.items():
                if wanted in schema.get("x-kubernetes-group-version-kind", []) and "properties" in schema:
                    return Schema(document, name, schema)
        return None


class Schema:
    """One place of a schema: `form` says what it holds."""

    def __init__(self, document, name, schema):
        self.document = document
        inner = schema
        self.name = name
        for _ in range(4):
            if "allOf" in inner:
                inner = inner["allOf"][0]
            elif "$ref" in inner:
                self.name = inner["$ref"].rsplit("/", 1)[1]
                inner = document[self.name]
        self.inner = inner
        self.enum = schema.get("enum") or inner.get("enum") or []
        self.form = self._form()

    def _form(self):
        short = (self.name or "").rsplit(".", 1)[-1]
        kind, form = self.inner.get("type"), self.inner.get("format")
        if short in ("Quantity", "IntOrString", "Time", "MicroTime"):
            return {"MicroTime": "Time"}.get(short, short)
        if "properties" in self.inner:
            return "object"
        if kind == "array":
            return "list"
        if kind == "object" and "additionalProperties" in self.inner:
            values = self.child(self.inner["additionalProperties"])
            return "amounts" if values.form == "Quantity" else "map" if values.form == "string" else "any map"
        if kind == "string":
            return "bytes" if form == "byte" else "string"
        return {"integer": "number", "number": "number", "boolean": "boolean"}.get(kind, "any")

    def child(self, schema):
        return Schema(self.document, None, schema)

    def fields(self):
        return {name: self.child(schema) for name, schema in self.inner.get("properties", {}).items()}

    def items(self):
        return self.child(self.inner["items"])

    def least(self, seen=()):
        """The smallest value that has what is required."""
        if self.form == "object":
            if self.name in seen:
                return {}
            fields, seen = self.fields(), (*seen, self.name)
            return {name: fields[name].least(seen) for name in self.inner.get("required", []) if name in fields}
        if self.form == "list":
            return []
        if self.form == "string":
            return self.enum[0] if self.enum else "x"
        return {
            "number": 1,
            "boolean": True,
            "Quantity": "1",
            "IntOrString": 1,
            "Time": TIMES[0],
            "bytes": "dg==",
        }.get(self.form, {})

    def values(self):
        """What is tried in this place."""
        if self.form == "string":
            return [*self.enum, *STRINGS]
        if self.form == "object":
            return [{}, self.least(), None, "x"]
        if self.form == "list":
            item = self.items()
            if item.form == "object":
                least = item.least()
                return [[], [{}], [least], [least, least], [None], "x"]
            values = [value for value in item.values() if not isinstance(value, list)]
            return [[], *([value] for value in values), [item.least(), item.least()], "x"]
        if self.form == "any map":
            least = self.child(self.inner["additionalProperties"]).least()
            return [{}, {"a": least}, {"A b!": least}, {"a": None}]
        return {
            "number": NUMBERS,
            "boolean": BOOLEANS,
            "Quantity": QUANTITIES,
            "IntOrString": INT_OR_STRINGS,
            "Time": TIMES,
            "bytes": BYTES,
            "map": MAPS,
            "amounts": AMOUNTS,
        }.get(self.form, ANY)


def shown(path):
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


def changed(base, path, value):
    """A copy of `base` with `value` at `path`; without it if the value is `DELETED`."""
    copied = copy.deepcopy(base)
    place = copied
    for step in path[:-1]:
        place = place[step]
    if value is DELETED:
        del place[path[-1]]
    elif isinstance(place, list) and path[-1] == len(place):
        place.append(value)
    else:
        place[path[-1]] = value
    return copied


DELETED = object()


def mutations(base, schema, skip, depth):
    """(where and what, object), each with one place changed. `skip(path)` says what to leave alone; `depth`
    levels below what the good object holds are made up."""
    yield from _inside(base, base, schema, (), depth, (), skip)


def _inside(base, value, schema, path, depth, seen, skip):
    """`value` is what `base` has at `path`, of form object or list."""
    if schema.form == "list":
        if value and schema.items().form in ("object", "list"):
            yield from _inside(base, value[0], schema.items(), (*path, 0), depth, seen, skip)
        return
    if schema.form != "object" or not isinstance(value, dict):
        return
    for name, field in schema.fields().items():
        here = (*path, name)
        if skip(here):
            continue
        present = name in value
        if present:
            yield f"{shown(here)} deleted", changed(base, here, DELETED)
        for tried in field.values():
            if not present or value[name] != tried:
                yield f"{shown(here)}={brief(tried)}", changed(base, here, tried)
        left = depth if present else depth - 1
        again = seen.count(field.name or (field.form == "list" and field.items().name))
        if left < 0 or (not present and again):
            continue
        inner = field
        if field.form == "list" and field.items().form == "object":
            inner = field.items()
        if inner.form != "object":
            continue
        start = value[name] if present and value[name] else [inner.least()] if field.form == "list" else inner.least()
        yield from _inside(changed(base, here, start), start, field, here, left, (*seen, inner.name), skip)


def brief(value):
    text = repr(value)
    return text if len(text) < 60 else f"{text[:40]}...({len(text)})"
