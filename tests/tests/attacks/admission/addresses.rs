//! Addresses that are not for whoever writes them, and those that not everybody reads alike (A42 to A44).

use serde_json::{Value, json};

use super::{APPLY, done, forbidden, forbidden_in_all_ways, invalid, put, user_as};
use crate::world::{PODS, World, pod, ways};

fn service(name: &str, more: &Value) -> Value {
    let mut service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
        "spec": {"selector": {"a": "b"}, "ports": [{"port": 80}]}});
    put(&mut service, more);
    service
}

/// With DenyServiceExternalIPs, off by default as upstream, nobody has traffic for other addresses. What a load
/// balancer answers with is a status that who writes Services does not write.
pub(crate) async fn a42_services_take_no_foreign_addresses(world: &World) {
    let services = "/api/v1/namespaces/default/services";
    let strict = World::with(&["--enable-admission-plugins", "DenyServiceExternalIPs"]);
    strict.settle().await;
    const WHY: &str = "Use of external IPs is denied by admission control";
    let external = json!({"spec": {"externalIPs": ["203.0.113.42"]}});
    let bad = service("a42-bad", &external);
    for (method, target, content) in [
        ("POST", services.to_owned(), system_tests::client::JSON),
        ("POST", format!("{services}?dryRun=All"), system_tests::client::JSON),
        ("PUT", format!("{services}/a42-bad"), system_tests::client::JSON),
        ("PATCH", format!("{services}/a42-bad?fieldManager=a42"), APPLY),
    ] {
        let answer = strict.admin.send(method, &target, &[content], bad.to_string()).await;
        forbidden(&answer, WHY, &format!("{method} {target}"));
    }
    let stored = strict.admin.make(services, &service("a42", &json!({}))).await;
    forbidden_in_all_ways(&strict.admin, &format!("{services}/a42"), &ways(&stored, &external), WHY).await;
    drop(strict);

    // Where it is off the addresses may still not be those of every machine.
    done(&world.admin.post(&format!("{services}?dryRun=All"), &bad).await, "external addresses without the plugin");
    for address in ["127.0.0.1", "169.254.169.254", "224.0.0.1", "0.0.0.0", "::1", "fe80::1", "::ffff:127.0.0.1"] {
        let bad = service("a42-bad", &json!({"spec": {"externalIPs": [address]}}));
        invalid(&world.admin.post(services, &bad).await, &format!("the external address {address}"));
    }

    world.namespace("a42", json!({})).await;
    let services = "/api/v1/namespaces/a42/services";
    let balanced = service("a42", &json!({"spec": {"type": "LoadBalancer"}}));
    let stored = world.admin.make(services, &balanced).await;
    let target = format!("{services}/a42");
    let ingress = json!({"status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.42", "ipMode": "VIP"}]}}});
    let ways = ways(&stored, &ingress);
    let rules = json!([{"verbs": ["*"], "apiGroups": [""], "resources": ["services"]}]);
    for user in [
        user_as(world, "a42-admin", "admin", "a42").await,
        user_as(world, "a42-edit", "edit", "a42").await,
        world.user_with("a42-writer", rules).await,
    ] {
        forbidden_in_all_ways(&user, &format!("{target}/status"), &ways, "services").await;
        for way in &ways {
            done(&way.send(&user, &target).await, "a writer of services writes one");
        }
        done(&user.post(&format!("{services}?dryRun=All"), &service("a42-new", &ingress)).await, "a new one");
    }
    let mut with_status = balanced.clone();
    (with_status["metadata"]["name"], with_status["status"]) = ("a42-status".into(), ingress["status"].clone());
    let made = world.admin.make(services, &with_status).await;
    for service in [made, world.admin.get(&target).await.json()] {
        assert!(service["status"]["loadBalancer"]["ingress"].is_null(), "a status by the Service itself: {service:#}");
    }
    done(&ways[1].send(&world.admin, &format!("{target}/status")).await, "who may write the status does");
    world.admin.delete("/api/v1/namespaces/a42").await;
}

/// Endpoints lead to no machine's own addresses, and are not written by those who have the roles of a namespace.
pub(crate) async fn a43_endpoints_on_forbidden_addresses(world: &World) {
    let endpoints = "/api/v1/namespaces/a43/endpoints";
    let slices = "/apis/discovery.k8s.io/v1/namespaces/a43/endpointslices";
    world.namespace("a43", json!({})).await;
    let old = |list: &str, ip: &str| {
        json!({"apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": "a43"},
            "subsets": [{list: [{"ip": ip}], "ports": [{"port": 80}]}]})
    };
    let slice = |ip: &str| {
        let family = if ip.contains(':') { "IPv6" } else { "IPv4" };
        json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": {"name": "a43"},
            "addressType": family, "endpoints": [{"addresses": [ip]}], "ports": [{"name": "p", "port": 80}]})
    };
    let v4 = ["127.0.0.1", "127.255.255.254", "169.254.169.254", "169.254.0.1", "224.0.0.1", "0.0.0.0"];
    let v6 =
        ["::1", "fe80::1", "febf::1", "ff02::1", "::", "::ffff:127.0.0.1", "::ffff:7f00:1", "::ffff:169.254.169.254"];
    let bad: Vec<&str> = v4.into_iter().chain(v6).collect();
    for ip in &bad {
        for list in ["addresses", "notReadyAddresses"] {
            invalid(&world.admin.post(endpoints, &old(list, ip)).await, &format!("{list} of Endpoints: {ip}"));
        }
        invalid(&world.admin.post(slices, &slice(ip)).await, &format!("a slice with {ip}"));
    }
    let good = world.admin.make(endpoints, &old("addresses", "10.43.0.1")).await;
    let good_slice = world.admin.make(slices, &slice("10.43.0.1")).await;
    for ip in &v4 {
        let mut body = good.clone();
        body["subsets"] = old("addresses", ip)["subsets"].clone();
        invalid(&world.admin.put(&format!("{endpoints}/a43"), &body).await, &format!("Endpoints become {ip}"));
        let patch = json!({"endpoints": slice(ip)["endpoints"]});
        invalid(&world.admin.merge(&format!("{slices}/a43"), &patch).await, &format!("a slice becomes {ip}"));
    }
    let mut other = slice("10.43.0.2");
    other["metadata"]["name"] = "a43-other".into();
    let label = json!({"metadata": {"labels": {"a43": "x"}}});
    for role in ["edit", "admin"] {
        let user = user_as(world, &format!("a43-{role}"), role, "a43").await;
        for (list, object, body) in [(endpoints, &good, &old("addresses", "10.43.0.2")), (slices, &good_slice, &other)]
        {
            assert_eq!(user.get(&format!("{list}/a43")).await.code, 200, "{role} reads {list}");
            let mut body = body.clone();
            body["metadata"]["name"] = "a43-other".into();
            forbidden(&user.post(list, &body).await, "cannot create", &format!("{role} makes in {list}"));
            let put = user.put(&format!("{list}/a43-other"), &body).await;
            forbidden(&put, "cannot update", &format!("{role} puts into {list}"));
            forbidden_in_all_ways(&user, &format!("{list}/a43"), &ways(object, &label), "cannot").await;
            for target in [format!("{list}/a43"), list.to_owned()] {
                forbidden(&user.delete(&target).await, "cannot delete", &format!("{role} deletes {target}"));
            }
        }
    }
    world.admin.delete("/api/v1/namespaces/a43").await;
}

/// `010.0.0.1` is 8.0.0.1 to some and 10.0.0.1 to others: no field takes it, nor other ways to write an address that
/// not everybody reads alike. Upstream does not look at `spec.loadBalancerIP` and the addresses in a Node's status.
pub(crate) async fn a44_addresses_with_leading_zeros(world: &World) {
    const ADDRESS: &str = "10.47.0.8";
    const ADDRESSES: [&str; 9] = [
        "010.47.0.8",
        "10.047.0.8",
        "10.47.00.8",
        "10.47.0.010",
        "0x0a.47.0.8",
        "10.47.8",
        "170852360",
        "10.47.0.256",
        "::ffff:10.47.0.8",
    ];
    const BLOCK: &str = "10.47.0.0/16";
    const BLOCKS: [&str; 7] = [
        "010.47.0.0/16",
        "10.047.0.0/16",
        "10.47.0.0/016",
        "10.47.0.0/33",
        "10.47/16",
        "10.47.0.1/16",
        "::ffff:10.47.0.0/112",
    ];
    let services = "/api/v1/namespaces/default/services";
    let balanced = json!({"spec": {"type": "LoadBalancer"}});
    world.admin.make(services, &service("a44", &balanced)).await;
    world.admin.make(PODS, &pod("a44")).await;
    let ingresses = "/apis/networking.k8s.io/v1/namespaces/default/ingresses";
    let backend = json!({"service": {"name": "a44", "port": {"number": 80}}});
    let ingress = json!({"metadata": {"name": "a44"}, "spec": {"defaultBackend": backend}});
    world.admin.make(ingresses, &ingress).await;
    let own = world.admin.get(&format!("{services}/kubernetes")).await.json()["spec"]["clusterIP"].clone();
    let own = own.as_str().expect("an address").to_owned();
    let (prefix, _) = own.rsplit_once('.').expect("IPv4");
    let free = format!("{prefix}.247");

    let spec = |fields: Value| service("a44-new", &json!({"spec": fields}));
    let balanced = |fields: Value| {
        let mut all = spec(json!({"type": "LoadBalancer"}));
        put(&mut all, &fields);
        all
    };
    let policy = |block: Value| {
        json!({"metadata": {"name": "a44-new"},
            "spec": {"podSelector": {}, "egress": [{"to": [{"ipBlock": block}]}]}})
    };
    let of_pod = |fields: Value| {
        let mut all = pod("a44-new");
        put(&mut all["spec"], &fields);
        all
    };
    let subset = |list: &str| json!({list: [{"ip": "IP"}], "ports": [{"port": 80}]});
    let endpoints = |list: &str| json!({"metadata": {"name": "a44-new"}, "subsets": [subset(list)]});
    let slice = json!({"metadata": {"name": "a44-new"}, "addressType": "IPv4", "endpoints": [{"addresses": ["IP"]}],
        "ports": [{"name": "p", "port": 80}]});
    let parent = json!({"group": "", "resource": "services", "namespace": "default", "name": "a44"});
    let policies = "/apis/networking.k8s.io/v1/namespaces/default/networkpolicies";
    let node = |fields: Value| json!({"metadata": {"name": "a44-new"}, "spec": fields});
    let of_balancer = json!({"status": {"loadBalancer": {"ingress": [{"ip": "IP"}]}}});
    let new: Vec<(&str, Value)> = vec![
        (services, spec(json!({"clusterIP": "CLUSTER"}))),
        (services, spec(json!({"clusterIP": "CLUSTER", "clusterIPs": ["CLUSTER"]}))),
        (services, spec(json!({"externalIPs": ["IP"]}))),
        (services, balanced(json!({"spec": {"loadBalancerSourceRanges": ["BLOCK"]}}))),
        (
            services,
            balanced(json!({"metadata": {"annotations":
                {"service.beta.kubernetes.io/load-balancer-source-ranges": "BLOCK"}}})),
        ),
        ("/api/v1/namespaces/default/endpoints", endpoints("addresses")),
        ("/api/v1/namespaces/default/endpoints", endpoints("notReadyAddresses")),
        ("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices", slice),
        (policies, policy(json!({"cidr": "BLOCK"}))),
        (policies, policy(json!({"cidr": "10.0.0.0/8", "except": ["BLOCK"]}))),
        ("/api/v1/nodes", node(json!({"podCIDR": "BLOCK"}))),
        ("/api/v1/nodes", node(json!({"podCIDRs": ["BLOCK"]}))),
        (PODS, of_pod(json!({"hostAliases": [{"ip": "IP", "hostnames": ["h"]}]}))),
        (PODS, of_pod(json!({"dnsPolicy": "None", "dnsConfig": {"nameservers": ["IP"]}}))),
        ("/apis/networking.k8s.io/v1/ipaddresses", json!({"metadata": {"name": "IP"}, "spec": {"parentRef": parent}})),
        (
            "/apis/networking.k8s.io/v1/servicecidrs",
            json!({"metadata": {"name": "a44-new"}, "spec": {"cidrs": ["BLOCK"]}}),
        ),
    ];
    let changed: Vec<(String, Value)> = vec![
        (format!("{services}/a44"), json!({"spec": {"externalIPs": ["IP"]}})),
        (format!("{services}/a44"), json!({"spec": {"loadBalancerSourceRanges": ["BLOCK"]}})),
        (format!("{services}/a44/status"), of_balancer.clone()),
        (format!("{ingresses}/a44/status"), of_balancer),
        (format!("{PODS}/a44/status"), json!({"status": {"podIP": "IP", "podIPs": [{"ip": "IP"}]}})),
        (format!("{PODS}/a44/status"), json!({"status": {"hostIP": "IP", "hostIPs": [{"ip": "IP"}]}})),
    ];
    let said = |body: &Value, ip: &str, block: &str, cluster: &str| -> Value {
        let text = body.to_string().replace("\"IP\"", &format!("{ip:?}"));
        let text = text.replace("\"BLOCK\"", &format!("{block:?}")).replace("\"CLUSTER\"", &format!("{cluster:?}"));
        serde_json::from_str(&text).expect("JSON")
    };
    // Spellings of an address that is free.
    let clusters = [format!("0{free}"), free.replace(".247", ".0247"), format!("::ffff:{free}")];
    let spellings = |body: &Value| -> Vec<Value> {
        let text = body.to_string();
        if text.contains("\"IP\"") {
            ADDRESSES.iter().map(|ip| said(body, ip, BLOCK, &free)).collect()
        } else if text.contains("\"BLOCK\"") {
            BLOCKS.iter().map(|block| said(body, ADDRESS, block, &free)).collect()
        } else {
            clusters.iter().map(|cluster| said(body, ADDRESS, BLOCK, cluster)).collect()
        }
    };
    for (list, body) in &new {
        let target = format!("{list}?dryRun=All");
        done(&world.admin.post(&target, &said(body, ADDRESS, BLOCK, &free)).await, &format!("{list}: {body}"));
        for bad in spellings(body) {
            invalid(&world.admin.post(&target, &bad).await, &format!("{list}: {bad}"));
        }
    }
    for (target, patch) in &changed {
        let dry = format!("{target}?dryRun=All");
        done(&world.admin.merge(&dry, &said(patch, ADDRESS, BLOCK, &free)).await, &format!("{target}: {patch}"));
        for bad in spellings(patch) {
            invalid(&world.admin.merge(&dry, &bad).await, &format!("{target}: {bad}"));
        }
    }
    for target in [format!("{services}/a44"), format!("{PODS}/a44"), format!("{ingresses}/a44")] {
        world.admin.delete(&target).await;
    }
}
