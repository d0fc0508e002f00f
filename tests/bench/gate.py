"""Loads the two clusters of gate.sh in turns. Only Python's standard library."""

import os
import statistics
import sys
import time
from multiprocessing import Barrier, Process, Queue

from client import Api, pids, processor

NAMESPACE = "/api/v1/namespaces/bench"
RBAC = "/apis/rbac.authorization.k8s.io/v1"
GROUP = "rbac.authorization.k8s.io"
ROLES, BINDINGS = 500, 2000
CLIENTS, SECONDS = 4, 5
# Of the throughput without: what the issue of this measurement asks for.
WANTED = 0.8


def grant(api, name, account):
    """A role in the namespace for a ServiceAccount."""
    rules = [{"verbs": ["*"], "apiGroups": [""], "resources": ["configmaps", "secrets"]}]
    api.call("POST", f"{RBAC}/namespaces/bench/roles", {"metadata": {"name": name}, "rules": rules})
    bind(api, name, name, account)


def bind(api, name, role, account):
    subject = {"kind": "ServiceAccount", "namespace": "bench", "name": account}
    reference = {"apiGroup": GROUP, "kind": "Role", "name": role}
    binding = {"metadata": {"name": name}, "roleRef": reference, "subjects": [subject]}
    api.call("POST", f"{RBAC}/namespaces/bench/rolebindings", binding)


def prepare(directory):
    """Roles, bindings, a quota, and a token of an account that may do what the load does."""
    api = Api(f"{directory}/admin-1.kubeconfig")
    api.call("POST", "/api/v1/namespaces", {"metadata": {"name": "bench"}})
    api.call("POST", f"{NAMESPACE}/serviceaccounts", {"metadata": {"name": "load"}})
    quota = {"metadata": {"name": "quota"}, "spec": {"hard": {"count/configmaps": "1000000", "secrets": "1000000"}}}
    api.call("POST", f"{NAMESPACE}/resourcequotas", quota)
    for number in range(ROLES):
        grant(api, f"role-{number}", f"account-{number}")
    for number in range(BINDINGS - ROLES):
        bind(api, f"binding-{number}", f"role-{number % ROLES}", f"other-{number}")
    grant(api, "load", "load")
    spec = {"spec": {"expirationSeconds": 7200}}
    return api.json("POST", f"{NAMESPACE}/serviceaccounts/load/token", spec)["status"]["token"]


def load(directory, token, name, seconds, barrier, done):
    """Creates, reads, updates and deletes small objects of two kinds."""
    api = Api(f"{directory}/admin-1.kubeconfig", token)
    barrier.wait()
    ends, operations = time.monotonic() + seconds, 0
    while time.monotonic() < ends:
        for plural in ("configmaps", "secrets"):
            target = f"{NAMESPACE}/{plural}"
            made = api.json("POST", target, {"metadata": {"name": f"{name}-{operations}"}, "data": {"key": "dmFsdWU="}})
            one = f"{target}/{made['metadata']['name']}"
            found = api.json("GET", one)
            found["data"]["other"] = "dmFsdWU="
            api.call("PUT", one, found)
            api.call("DELETE", one)
            operations += 4
    done.put(operations)


def turn(directory, token, round_number):
    """Operations a second, and milliseconds of the replicas' processor time for each."""
    servers, barrier, done = pids(directory), Barrier(CLIENTS + 1), Queue()
    clients = [
        Process(target=load, args=(directory, token, f"r{round_number}c{number}", SECONDS, barrier, done))
        for number in range(CLIENTS)
    ]
    for client in clients:
        client.start()
    barrier.wait()
    used, began = sum(map(processor, servers.values())), time.monotonic()
    operations = sum(done.get(timeout=SECONDS * 10) for _ in clients)
    wall, used = time.monotonic() - began, sum(map(processor, servers.values())) - used
    for client in clients:
        client.join()
    return operations / wall, used / operations * 1000


def main():
    everything, bare, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3])
    tokens = {directory: prepare(directory) for directory in (everything, bare)}
    time.sleep(2)
    print(f"{CLIENTS} clients, {SECONDS} s a turn; {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    rates, costs = {everything: [], bare: []}, {everything: [], bare: []}
    for number in range(rounds + 1):
        for directory in (everything, bare) if number % 2 else (bare, everything):
            rate, cost = turn(directory, tokens[directory], number)
            # The first round warms up.
            if number:
                rates[directory].append(rate)
                costs[directory].append(cost)
    for name, directory in (("everything on", everything), ("without", bare)):
        spread = f"{min(rates[directory]):.0f} to {max(rates[directory]):.0f}"
        rate, cost = statistics.median(rates[directory]), statistics.median(costs[directory])
        print(f"{name:<14} {rate:>7.0f} operations/s ({spread}), {cost:.2f} ms of processor time each")
    ratio = statistics.median(rates[everything]) / statistics.median(rates[bare])
    print(f"ratio of medians: {ratio:.2f} (wanted: {WANTED})")
    log = f"{everything}/replica-1/audit/audit.log"
    print(f"records in replica 1's audit log: {sum(1 for _ in open(log))}")


main()
