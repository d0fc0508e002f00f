"""Measures the operations of api.sh. Only Python's standard library."""

import json
import os
import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from client import Api, Failed, pids, processor, resident

PODS = "/api/v1/namespaces/default/pods"
NODE = "bench-node"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/default/leases"
PROTOBUF = "application/vnd.kubernetes.protobuf"
APPLY = "application/apply-patch+yaml"
# Milliseconds of processor time upstream, API server and etcd together, and which part of that ours may be.
UPSTREAM = {
    "create a 5 KB pod": (5.1, 4),
    "get and update it": (9.4, 4),
    "apply it": (9.4, 4),
    "renew a lease": (2.4, 6),
    "get it from the cache": (0.7, None),
    "list 2,000 pods, JSON": (337, 10),
    "list 2,000 pods, protobuf": (178, 10),
    "list 100 of them by node": (18, 10),
    "ten WatchLists of 1,000": (3100, 10),
}


def pod(name, kilobytes, node=None):
    padding = {f"bench.example.com/{i}": "x" * 100 for i in range(kilobytes * 1024 // 140)}
    container = {
        "name": "main",
        "image": "registry.example.com/bench:1",
        "env": [{"name": f"VARIABLE_{i}", "value": f"value {i}"} for i in range(10)],
        "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}},
        "volumeMounts": [{"name": "scratch", "mountPath": "/scratch"}],
    }
    spec = {
        "schedulerName": "nobody",
        "containers": [container],
        "volumes": [{"name": "scratch", "emptyDir": {}}],
        "tolerations": [{"key": "bench", "operator": "Exists"}],
    }
    if node:
        spec["nodeName"] = node
    metadata = {"name": name, "labels": {"app": "bench", "number": name}, "annotations": padding}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def timed(taken, count, operation):
    for number in range(count):
        began = time.monotonic()
        operation(number)
        taken.append(time.monotonic() - began)


def at_once(clients, work):
    """The first failure of any of them is raised."""
    with ThreadPoolExecutor(clients) as pool:
        for done in [pool.submit(work, client) for client in range(clients)]:
            done.result()


class Bench:
    def __init__(self, directory):
        self.directory = directory
        self.api = Api(f"{directory}/admin-1.kubeconfig")
        self.servers = pids(directory)
        self.idle = 0.0
        self.figures = {}

    def used(self):
        return sum(map(processor, self.servers.values()))

    def rest(self, seconds=3):
        """What the replicas use while nobody asks them for anything, in seconds a second."""
        before = self.used()
        time.sleep(seconds)
        self.idle = (self.used() - before) / seconds

    def measure(self, name, count, operation):
        taken = []
        self.cost(name, taken, lambda: timed(taken, count, operation))

    def measure_crowd(self, name, count, clients, operation):
        """`count` operations of each of `clients`, all at once, each on a connection of its own."""
        apis = [Api(f"{self.directory}/admin-1.kubeconfig") for _ in range(clients)]
        for api in apis:
            api.call("GET", "/version")
        taken = []
        one = lambda client: timed(taken, count, lambda number: operation(apis[client], client, number))
        self.cost(name, taken, lambda: at_once(clients, one))

    def cost(self, name, taken, work):
        """What work costs that adds to `taken` how long each of its operations took."""
        self.rest()
        before, started = self.used(), time.monotonic()
        work()
        wall = time.monotonic() - started
        self.report(name, len(taken), max(self.used() - before - self.idle * wall, 0.0), taken)

    def report(self, name, count, used, taken):
        taken = sorted(taken)
        cost, upstream = used / count * 1000, UPSTREAM.get(name)
        beside = ""
        if upstream:
            theirs, part = upstream
            beside = f"{theirs:>10} {theirs / max(cost, 0.001):>7.1f}"
            beside += f" {part:>6} {'yes' if cost * part <= theirs else 'NO'}" if part else ""
        middle, high = taken[len(taken) // 2] * 1000, taken[int(len(taken) * 0.99)] * 1000
        self.figures[name] = cost, middle, high
        print(f"{name:<28} {count:>6} {cost:>10.2f} {beside:<28} {middle:>9.2f} {high:>9.2f}", flush=True)


def first_byte(bench):
    started = time.monotonic()
    answer = bench.api.open("GET", f"{PODS}?resourceVersion=0")
    answer.read(1)
    taken = time.monotonic() - started
    answer.read()
    return taken


def watch_list(bench, clients):
    """Each client has all pods when the bookmark comes that ends them."""
    query = "watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"

    def one(_client):
        api = Api(f"{bench.directory}/admin-1.kubeconfig")
        answer = api.open("GET", f"{PODS}?{query}&labelSelector=half%3Done&timeoutSeconds=60", accept=PROTOBUF + ";stream=watch")
        # What ends them may begin in one piece and end in the next.
        mark, last = b"k8s.io/initial-events-end", b""
        while mark not in (last := last[-len(mark) :] + (read := answer.read1(1 << 20))):
            if not read:
                raise SystemExit("a watch ended before its initial events")
        api.connection.close()

    at_once(clients, one)


def make_account(api):
    """Pods need it. A controller makes it, where there is one."""
    try:
        api.call("POST", "/api/v1/namespaces/default/serviceaccounts", {"metadata": {"name": "default"}})
    except Failed as failed:
        if failed.code != 409:
            raise


def compare(file):
    """Medians of the runs of each side, and what theirs is in ours."""
    runs = [json.loads(line) for line in open(file)]
    of = lambda peer, name, which: statistics.median(run["figures"][name][which] for run in runs if run["peer"] == peer)
    print(f"{'medians':<28} {'CPU ms':>10} {'upstream':>10} {'ratio':>7} {'wanted':>6}     {'p50 ms':>9} {'upstream':>9} {'p99 ms':>9} {'upstream':>9}")
    for name in runs[0]["figures"]:
        (ours, theirs), (middle, their_middle), (high, their_high) = (
            (of("kontiki", name, which), of("upstream", name, which)) for which in range(3)
        )
        part = UPSTREAM.get(name, (0, None))[1]
        wanted = f"{part:>6} {'yes' if ours * part <= theirs else 'NO'}" if part else ""
        ratio = theirs / max(ours, 0.001)
        print(f"{name:<28} {ours:>10.2f} {theirs:>10.2f} {ratio:>7.1f} {wanted:<10} {middle:>9.2f} {their_middle:>9.2f} {high:>9.2f} {their_high:>9.2f}")


def main():
    if sys.argv[1] == "compare":
        return compare(sys.argv[2])
    directory, count = sys.argv[1], int(sys.argv[2])
    bench = Bench(directory)
    measure_all(bench, count)
    if len(sys.argv) > 3:
        peer, file = sys.argv[3:]
        with open(file, "a") as runs:
            print(json.dumps({"peer": peer, "figures": bench.figures}), file=runs)


def measure_all(bench, count):
    api = bench.api
    make_account(api)
    print(f"{len(bench.servers)} processes; {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    print(f"{'operation':<28} {'times':>6} {'CPU ms':>10} {'upstream':>10} {'ratio':>7} {'wanted':>6}     {'p50 ms':>9} {'p99 ms':>9}")

    bench.measure("create a 5 KB pod", count, lambda i: api.call("POST", PODS, pod(f"small-{i}", 5)))

    def get_and_update(i):
        found = api.json("GET", f"{PODS}/small-{i}")
        found["metadata"]["labels"]["changed"] = str(i)
        api.call("PUT", f"{PODS}/small-{i}", found)

    bench.measure("get and update it", count, get_and_update)

    def apply(i):
        wanted = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": f"small-{i}", "labels": {"applied": "yes"}}}
        api.call("PATCH", f"{PODS}/small-{i}?fieldManager=bench&force=true", wanted, kind=APPLY)

    bench.measure("apply it", count, apply)
    lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "bench"}, "spec": {"leaseDurationSeconds": 40}}
    kept = [api.json("POST", LEASES, lease)]

    def renew(i):
        kept[0]["spec"]["renewTime"] = f"2026-01-01T00:00:00.{i:06}Z"
        kept[0] = api.json("PUT", f"{LEASES}/bench", kept[0])

    bench.measure("renew a lease", count, renew)

    crowd, each = 50, max(count // 10, 1)
    leases = [api.json("POST", LEASES, {**lease, "metadata": {"name": f"crowd-{client}"}}) for client in range(crowd)]

    def renew_own(api, client, i):
        leases[client]["spec"]["renewTime"] = f"2026-01-01T00:00:01.{i:06}Z"
        leases[client] = api.json("PUT", f"{LEASES}/crowd-{client}", leases[client])

    bench.measure_crowd("renew a lease, 50 clients", each, crowd, renew_own)

    def create_and_delete(api, client, i):
        api.call("POST", PODS, pod(f"crowd-{client}-{i}", 5))
        api.call("DELETE", f"{PODS}/crowd-{client}-{i}?gracePeriodSeconds=0")

    bench.measure_crowd("make and delete, 50 clients", each, crowd, create_and_delete)
    bench.measure("get it from the cache", count, lambda i: api.call("GET", f"{PODS}/small-{i}?resourceVersion=0"))
    for i in range(count):
        api.call("DELETE", f"{PODS}/small-{i}?gracePeriodSeconds=0")

    api.call("POST", "/api/v1/nodes", {"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE}})
    for i in range(2000):
        made = pod(f"large-{i}", 9, NODE if i % 20 == 0 else None)
        made["metadata"]["labels"]["half"] = "one" if i % 2 else "other"
        api.call("POST", PODS, made)
    size = len(api.call("GET", f"{PODS}?resourceVersion=0"))
    print(f"2,000 pods are there: {size / 1e6:.1f} MB as JSON")
    bench.measure("list 2,000 pods, JSON", 20, lambda i: api.call("GET", f"{PODS}?resourceVersion=0"))
    in_protobuf = lambda i: api.call("GET", f"{PODS}?resourceVersion=0", accept=PROTOBUF)
    # Ours keeps what it has encoded, as far as there is room.
    bench.measure("the first list in protobuf", 1, in_protobuf)
    bench.measure("list 2,000 pods, protobuf", 20, in_protobuf)
    by_node = f"{PODS}?resourceVersion=0&fieldSelector=spec.nodeName%3D{NODE}"
    found = len(api.json("GET", by_node)["items"])
    if found != 100:
        sys.exit(f"{found} pods are on the node, not 100")
    bench.measure("list 100 of them by node", 100, lambda i: api.call("GET", by_node, accept=PROTOBUF))
    bench.measure("ten WatchLists of 1,000", 5, lambda i: watch_list(bench, 10))
    firsts = sorted(first_byte(bench) for _ in range(20))
    print(f"first byte of a list of 2,000: p50 {firsts[10] * 1000:.1f} ms, most {firsts[-1] * 1000:.1f} ms (wanted: 10)")
    for name, pid in bench.servers.items():
        print(f"{name}: {resident(pid):.0f} MiB resident")


main()
