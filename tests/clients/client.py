"""The official Python client: create, watch, patch and delete through two different replicas.

Usage: client.py KUBECONFIG_OF_ONE KUBECONFIG_OF_ANOTHER
"""

import sys
import threading

from kubernetes import client, config, watch
from kubernetes.client.rest import ApiException

NAMESPACE = "default"


def core(kubeconfig):
    return client.CoreV1Api(config.new_client_from_config(kubeconfig))


def main():
    one, two = core(sys.argv[1]), core(sys.argv[2])
    start = two.list_namespaced_config_map(NAMESPACE).metadata.resource_version
    seen = []

    def follow():
        stream = watch.Watch().stream(
            two.list_namespaced_config_map, NAMESPACE, field_selector="metadata.name=py",
            resource_version=start, timeout_seconds=20)
        for event in stream:
            seen.append(event["type"])
            if event["type"] == "DELETED":
                return

    watcher = threading.Thread(target=follow)
    watcher.start()
    body = client.V1ConfigMap(metadata=client.V1ObjectMeta(name="py"), data={"a": "1"})
    created = one.create_namespaced_config_map(NAMESPACE, body)
    assert two.read_namespaced_config_map("py", NAMESPACE).metadata.uid == created.metadata.uid
    patched = two.patch_namespaced_config_map("py", NAMESPACE, {"data": {"b": "2"}})
    assert patched.data == {"a": "1", "b": "2"}, patched.data
    try:
        one.create_namespaced_config_map(NAMESPACE, body)
        raise AssertionError("created twice")
    except ApiException as error:
        assert (error.status, error.reason) == (409, "Conflict"), error
    deployment = client.V1Deployment(
        metadata=client.V1ObjectMeta(name="py"),
        spec=client.V1DeploymentSpec(
            replicas=0, selector=client.V1LabelSelector(match_labels={"app": "py"}),
            template=client.V1PodTemplateSpec(
                metadata=client.V1ObjectMeta(labels={"app": "py"}),
                spec=client.V1PodSpec(containers=[client.V1Container(name="c", image="i")]))))
    apps = client.AppsV1Api(two.api_client)
    apps.create_namespaced_deployment(NAMESPACE, deployment)
    apps.delete_namespaced_deployment("py", NAMESPACE)
    one.delete_namespaced_config_map("py", NAMESPACE)
    watcher.join(30)
    assert seen == ["ADDED", "MODIFIED", "DELETED"], seen
    print("python: created, read, patched, refused a second time, deleted, watched through two replicas")


main()
