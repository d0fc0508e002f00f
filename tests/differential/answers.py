"""What two servers answered to one request, and in what they differ."""

import ipaddress
import json
import os
import re

# Of today, or made up by each server for itself: not comparable.
OF_EACH = [
    (re.compile(r"\b20(?:2[6-9]|[3-9]\d)-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z"), "NOW"),
    (re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b"), "UUID"),
    (re.compile(r"X509SHA256=[0-9a-f]{64}"), "X509SHA256"),
    (re.compile(r"kube-api-access-[a-z0-9]{5}"), "kube-api-access-*"),
    (re.compile(r"\b10\.96\.\d+\.\d+\b"), "10.96.*"),
    (re.compile(r"(Too large resource version: \d+, current: )\d+"), r"\1*"),
    (re.compile(r"(ResourceVersion in (?:record \(|object meta: ))\d+"), r"\1*"),
    # Within the text of a patched object.
    (re.compile(r'(\\"resourceVersion\\":\\")\d+'), r"\1*"),
    (re.compile(r"\b(age|AGE): \S+|<invalid>"), "age"),
    # An empty list or map that was written out is shown as none.
    (re.compile(r"(?<=[:\s])(\[\]|\{\})(?=[,:\s}\]]|$)"), "null"),
    # How far down an object the difference begins: OpenShift's API server adds lines above it.
    (re.compile(r"@@ -\d+,(\d+) \+\d+,(\d+) @@"), r"@@ -*,\1 +*,\2 @@"),
]
# Controllers within upstream's API server set the status of what ours has none for.
THEIR_SERVER = os.path.basename(os.environ.get("KUBE_APISERVER", "kube-apiserver"))
OWN = ("uid", "resourceVersion", "creationTimestamp")


def cleaned(value, path=()):
    """Without what each server makes up for itself, and what OpenShift's API server adds to upstream's."""
    if isinstance(value, list) and path[-1:] == ("sources",):
        value = [each for each in value if (each.get("configMap") or {}).get("name") != "openshift-service-ca.crt"]
    if isinstance(value, dict):
        return {
            common(key): cleaned(inner, (*path, key))
            for key, inner in value.items()
            if not (path[-1:] == ("metadata",) and key in OWN)
            and not (path[-2:] == ("metadata", "managedFields") and key == "time")
            and key not in ("nodePort", "healthCheckNodePort")
            and not (key == "description" and path[-2:] == ("columnDefinitions", "*"))
            and not (key == "continue" and path == ("metadata",) and inner)
        }
    if isinstance(value, list):
        if path[-1:] == ("managedFields",):
            return [cleaned(inner, path) for inner in value if inner.get("manager") not in ("kube-apiserver", THEIR_SERVER)]
        if path[-1:] == ("clusterIPs",):
            return [address(inner) for inner in value]
        return [cleaned(inner, (*path, "*")) for inner in value]
    if isinstance(value, str):
        if path[-1:] == ("clusterIP",):
            return address(value)
        return common(value)
    return value


def common(text):
    """What is the same on both servers."""
    for pattern, instead in OF_EACH:
        text = pattern.sub(instead, text)
    return text


def address(text):
    try:
        return f"an address of version {ipaddress.ip_address(text).version}"
    except ValueError:
        return text


def differences(ours, theirs):
    """Words about each difference, the weightiest first; each (kind, what)."""
    (code, warnings, body), (their_code, their_warnings, their_body) = ours, theirs
    if code != their_code:
        yield "code", f"{code} for {their_code}: {reason(body)} for {reason(their_body)}"
        return
    if code >= 300 and isinstance(body, dict) and not isinstance(their_body, dict):
        yield "message", f"{text(body)!r} for {common(str(their_body)).strip()!r}"
    elif isinstance(body, dict) and body.get("kind") == "Status" and code >= 300:
        yield from of_statuses(body, their_body)
    else:
        for place in sorted(set(places(cleaned(body), cleaned(their_body)))):
            yield "object", place
    if sorted(warnings) != sorted(their_warnings):
        yield "warnings", f"{warnings} for {their_warnings}"


def reason(body):
    if isinstance(body, dict) and body.get("kind") == "Status":
        return f"{body.get('reason')} {body.get('message', '')[:300]}"
    return "an object"


def of_statuses(ours, theirs):
    if ours.get("reason") != theirs.get("reason"):
        yield "reason", f"{ours.get('reason')} for {theirs.get('reason')}"
    causes, their_causes = of_details(ours), of_details(theirs)
    pairs, their_pairs = sorted(c[:2] for c in causes), sorted(c[:2] for c in their_causes)
    if pairs != their_pairs:
        for missing in minus(their_pairs, pairs):
            yield "cause missing", " ".join(missing)
        for extra in minus(pairs, their_pairs):
            yield "cause too many", " ".join(extra)
    elif sorted(causes) != sorted(their_causes):
        for extra, missing in zip(minus(sorted(causes), sorted(their_causes)), minus(sorted(their_causes), sorted(causes))):
            yield "cause text", f"{extra[2]!r} for {missing[2]!r}"
    elif text(ours) != text(theirs):
        kind = "message order" if sorted(text(ours)) == sorted(text(theirs)) else "message"
        yield kind, f"{text(ours)!r} for {text(theirs)!r}"
    details = [{k: v for k, v in (body.get("details") or {}).items() if k != "causes"} for body in (ours, theirs)]
    if details[0] != details[1]:
        yield "details", f"{json.dumps(details[0])} for {json.dumps(details[1])}"


def text(status):
    return common(status.get("message") or "")


def of_details(status):
    causes = (status.get("details") or {}).get("causes") or []
    return [(cause.get("field", ""), cause.get("reason", ""), common(cause.get("message", ""))) for cause in causes]


def minus(these, those):
    """Of two sorted lists of pairs, what the second lacks."""
    left = list(those)
    for each in these:
        if each in left:
            left.remove(each)
        else:
            yield each


def places(ours, theirs, path=""):
    """Where two values differ."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key in sorted(set(ours) | set(theirs)):
            inner = f"{path}.{key}" if path else key
            if key not in ours:
                yield f"{inner} missing: {json.dumps(theirs[key])[:200]}"
            elif key not in theirs:
                yield f"{inner} too many: {json.dumps(ours[key])[:200]}"
            else:
                yield from places(ours[key], theirs[key], inner)
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for index, (one, other) in enumerate(zip(ours, theirs)):
            yield from places(one, other, f"{path}[{index}]")
    elif ours != theirs or type(ours) is not type(theirs):
        yield f"{path}: {json.dumps(ours)[:200]} for {json.dumps(theirs)[:200]}"
