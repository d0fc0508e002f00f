"""Makes the Deployment of density.sh, waits for it, and prints what it took. Only Python's standard library."""

import os
import re
import sys
import time

from client import Api, resident

NAME = "density"
PATH = "/apis/apps/v1/namespaces/default/deployments"


def deployment(replicas):
    return {
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": NAME},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": NAME}},
                 "template": {"metadata": {"labels": {"app": NAME}},
                              "spec": {"containers": [{"name": "c", "image": "kontiki.local/sample:1",
                                                       "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}}}]}}},
    }


def quantile(buckets, wanted):
    """Where the quantile lies inside its bucket, by straight line between the bounds as Prometheus' histogram_quantile."""
    total = buckets[-1][1]
    below, before = 0.0, 0.0
    for bound, count in buckets:
        if count >= wanted * total:
            if bound == float("inf"):
                return below
            return below + (bound - below) * (wanted * total - before) / max(count - before, 1)
        below, before = bound, count
    return below


def latencies(apis):
    """Verb to (count, p50, p99) over all replicas."""
    pattern = re.compile(r'apiserver_request_duration_seconds_bucket\{([^}]*)\} (\S+)')
    counts = {}
    for api in apis:
        for labels, count in pattern.findall(api.call("GET", "/metrics", accept="text/plain").decode()):
            labels = dict(re.findall(r'(\w+)="([^"]*)"', labels))
            bound = float(labels["le"].replace("+Inf", "inf"))
            verb = counts.setdefault(labels.get("verb", ""), {})
            verb[bound] = verb.get(bound, 0) + float(count)
    found = {}
    for verb, buckets in sorted(counts.items()):
        ordered = sorted(buckets.items())
        if verb not in ("WATCH", "CONNECT") and ordered[-1][1] > 0:
            found[verb] = (int(ordered[-1][1]), quantile(ordered, 0.5), quantile(ordered, 0.99))
    return found


def main():
    dir, pods = sys.argv[1], int(sys.argv[2])
    apis = [Api(f"{dir}/admin-{number}.kubeconfig") for number in (1, 2, 3)]
    started = time.monotonic()
    apis[0].call("POST", PATH, deployment(pods))
    ready = 0
    while ready < pods:
        if time.monotonic() - started > 600:
            sys.exit(f"only {ready} of {pods} pods were ready after 600 s")
        time.sleep(0.5)
        ready = apis[0].json("GET", f"{PATH}/{NAME}").get("status", {}).get("readyReplicas", 0)
    seconds = time.monotonic() - started
    print(f"pods: {pods} ready after {seconds:.1f} s, {pods / seconds:.0f} pods/s; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    print(f"{'verb':<18} {'requests':>9} {'p50 ms':>9} {'p99 ms':>9}")
    for verb, (count, middle, high) in latencies(apis).items():
        print(f"{verb:<18} {count:>9} {middle * 1000:>9.1f} {high * 1000:>9.1f}")
    for line in open(f"{dir}/pids"):
        name, pid = line.split()
        print(f"{name}: {resident(pid):.0f} MiB resident")


main()
