//! Every check over pods that pass and pods that do not, with upstream's words.

use std::fmt::Write as _;

use expect_test::{Expect, expect};
use serde_json::{Value, json};

use super::super::evaluate::evaluate;
use super::super::pods::Pod;
use super::super::policy::{Level, LevelVersion, Version};
use super::{CHECKS, NEWEST};

fn pod(spec: Value) -> Value {
    json!({"metadata": {"name": "p"}, "spec": spec})
}

/// A container of each kind with this security context.
fn each_kind(context: Value) -> Value {
    let with = |name: &str| json!({"name": name, "securityContext": context});
    pod(json!({"initContainers": [with("i")], "containers": [with("c"), {"name": "plain"}],
               "ephemeralContainers": [with("e")]}))
}

fn pod_level(context: Value) -> Value {
    pod(json!({"securityContext": context, "containers": [{"name": "c"}]}))
}

/// What one check says as it was in a version.
fn says(id: &str, minor: u32, pod: &Value) -> String {
    let check = CHECKS.iter().find(|check| check.id == id).expect("a check");
    match check.at(minor) {
        None => "not yet".to_owned(),
        Some(look) => match look(Pod::of(pod)) {
            None => "ok".to_owned(),
            Some(found) => format!("{} ({})", found.reason, found.detail),
        },
    }
}

fn table(rows: &[(&str, u32, Value)], expect: &Expect) {
    let mut told = String::new();
    for (id, minor, pod) in rows {
        writeln!(told, "{id} v1.{minor}: {}", says(id, *minor, pod)).expect("a String takes all");
    }
    expect.assert_eq(&told);
}

#[test]
fn the_list_is_in_order_and_its_versions_grow() {
    let order = |check: &super::Check| (check.level, check.id);
    assert!(CHECKS.is_sorted_by_key(order), "baseline first, each by id");
    let versions = |check: &super::Check| check.versions.iter().map(|(minor, _)| *minor).collect::<Vec<_>>();
    assert!(CHECKS.iter().all(|check| versions(check).is_sorted_by(|a, b| a < b)));
    assert_eq!(CHECKS.iter().flat_map(versions).max(), Some(NEWEST));
    let known = |id: &&str| CHECKS.iter().any(|check| check.id == *id && check.level == Level::Baseline);
    assert!(CHECKS.iter().filter_map(|check| check.replaces.as_ref()).all(known));
}

#[test]
fn containers() {
    table(
        &[
            ("privileged", 0, each_kind(json!({"privileged": true}))),
            ("privileged", 0, each_kind(json!({"privileged": false}))),
            ("capabilities_baseline", 0, each_kind(json!({"capabilities": {"add": ["NET_RAW", "CHOWN", "BPF"]}}))),
            ("capabilities_baseline", 0, each_kind(json!({"capabilities": {"add": ["CHOWN"]}}))),
            ("capabilities_restricted", 21, each_kind(json!({}))),
            ("capabilities_restricted", 22, each_kind(json!({"capabilities": {"add": ["CHOWN"], "drop": ["ALL"]}}))),
            ("capabilities_restricted", 25, pod(json!({"os": {"name": "windows"}, "containers": [{"name": "c"}]}))),
            ("allowPrivilegeEscalation", 7, each_kind(json!({}))),
            ("allowPrivilegeEscalation", 8, each_kind(json!({"allowPrivilegeEscalation": false}))),
            ("allowPrivilegeEscalation", 24, pod(json!({"os": {"name": "windows"}, "containers": [{"name": "c"}]}))),
            ("allowPrivilegeEscalation", 25, pod(json!({"os": {"name": "windows"}, "containers": [{"name": "c"}]}))),
            (
                "hostPorts",
                0,
                pod(json!({"containers": [
                {"name": "a", "ports": [{"hostPort": 80}, {"hostPort": 0}]}, {"name": "b", "ports": [{"hostPort": 443}]},
                {"name": "c", "ports": [{"containerPort": 1}]}]})),
            ),
            ("hostPorts", 0, pod(json!({"containers": [{"name": "a", "ports": [{"hostPort": 0}]}]}))),
            ("procMount", 0, each_kind(json!({"procMount": "Unmasked"}))),
            ("procMount", 0, each_kind(json!({"procMount": "Default"}))),
            (
                "procMount",
                35,
                pod(json!({"hostUsers": false, "containers": [
                {"name": "c", "securityContext": {"procMount": "Unmasked"}}]})),
            ),
            (
                "procMount_restricted",
                35,
                pod(json!({"hostUsers": false, "containers": [
                {"name": "c", "securityContext": {"procMount": "Unmasked"}}]})),
            ),
            ("hostProbesAndHostLifecycle", 33, pod(json!({}))),
            (
                "hostProbesAndHostLifecycle",
                34,
                pod(json!({"containers": [
                {"name": "b", "livenessProbe": {"httpGet": {"host": "10.0.0.1"}}, "lifecycle": {"preStop": {"tcpSocket": {"host": "x"}}}},
                {"name": "a", "readinessProbe": {"tcpSocket": {"host": "x"}}}]})),
            ),
            (
                "hostProbesAndHostLifecycle",
                34,
                pod(json!({"containers": [{"name": "b", "livenessProbe": {"httpGet": {"host": ""}}}]})),
            ),
        ],
        &expect![[r#"
            privileged v1.0: privileged (containers "i", "c", "e" must not set securityContext.privileged=true)
            privileged v1.0: ok
            capabilities_baseline v1.0: non-default capabilities (containers "i", "c", "e" must not include "BPF", "NET_RAW" in securityContext.capabilities.add)
            capabilities_baseline v1.0: ok
            capabilities_restricted v1.21: not yet
            capabilities_restricted v1.22: unrestricted capabilities (container "plain" must set securityContext.capabilities.drop=["ALL"]; containers "i", "c", "e" must not include "CHOWN" in securityContext.capabilities.add)
            capabilities_restricted v1.25: ok
            allowPrivilegeEscalation v1.7: not yet
            allowPrivilegeEscalation v1.8: allowPrivilegeEscalation != false (container "plain" must set securityContext.allowPrivilegeEscalation=false)
            allowPrivilegeEscalation v1.24: allowPrivilegeEscalation != false (container "c" must set securityContext.allowPrivilegeEscalation=false)
            allowPrivilegeEscalation v1.25: ok
            hostPorts v1.0: hostPort (containers "a", "b" use hostPorts 443, 80)
            hostPorts v1.0: ok
            procMount v1.0: procMount (containers "i", "c", "e" must not set securityContext.procMount to "Unmasked")
            procMount v1.0: ok
            procMount v1.35: ok
            procMount_restricted v1.35: procMount (container "c" must not set securityContext.procMount to "Unmasked")
            hostProbesAndHostLifecycle v1.33: not yet
            hostProbesAndHostLifecycle v1.34: probe or lifecycle host (containers "a", "b" use probe or lifecycle hosts "10.0.0.1", "x")
            hostProbesAndHostLifecycle v1.34: ok
        "#]],
    );
}

#[test]
fn hosts_and_volumes() {
    table(
        &[
            ("hostNamespaces", 0, pod(json!({"hostPID": true, "hostNetwork": true, "hostIPC": true}))),
            ("hostNamespaces", 0, pod(json!({"hostPID": false}))),
            (
                "hostPathVolumes",
                0,
                pod(json!({"volumes": [{"name": "a", "hostPath": {"path": "/"}}, {"name": "b", "emptyDir": {}}]})),
            ),
            ("hostPathVolumes", 0, pod(json!({"volumes": [{"name": "b", "emptyDir": {}}]}))),
            (
                "restrictedVolumes",
                0,
                pod(json!({"volumes": [{"name": "a", "hostPath": {"path": "/"}},
                {"name": "b", "nfs": {}}, {"name": "c"}, {"name": "d", "csi": {}}]})),
            ),
            (
                "restrictedVolumes",
                0,
                pod(json!({"volumes": [{"name": "a", "projected": {}}, {"name": "b", "image": {}},
                {"name": "c", "persistentVolumeClaim": {"claimName": "x"}}]})),
            ),
            (
                "sysctls",
                0,
                pod_level(
                    json!({"sysctls": [{"name": "kernel.shm_rmid_forced"}, {"name": "net.ipv4.tcp_rmem"}, {"name": "x"}]}),
                ),
            ),
            ("sysctls", 26, pod_level(json!({"sysctls": [{"name": "net.ipv4.ip_local_reserved_ports"}]}))),
            ("sysctls", 27, pod_level(json!({"sysctls": [{"name": "net.ipv4.ip_local_reserved_ports"}]}))),
            ("sysctls", 28, pod_level(json!({"sysctls": [{"name": "net.ipv4.tcp_fin_timeout"}]}))),
            ("sysctls", 29, pod_level(json!({"sysctls": [{"name": "net.ipv4.tcp_fin_timeout"}]}))),
            ("sysctls", 31, pod_level(json!({"sysctls": [{"name": "net.ipv4.tcp_wmem"}]}))),
            ("sysctls", 32, pod_level(json!({"sysctls": [{"name": "net.ipv4.tcp_wmem"}]}))),
            ("windowsHostProcess", 0, each_kind(json!({"windowsOptions": {"hostProcess": true}}))),
            ("windowsHostProcess", 0, pod_level(json!({"windowsOptions": {"hostProcess": true}}))),
            ("windowsHostProcess", 0, pod_level(json!({"windowsOptions": {"hostProcess": false}}))),
        ],
        &expect![[r#"
            hostNamespaces v1.0: host namespaces (hostNetwork=true, hostPID=true, hostIPC=true)
            hostNamespaces v1.0: ok
            hostPathVolumes v1.0: hostPath volumes (volume "a")
            hostPathVolumes v1.0: ok
            restrictedVolumes v1.0: restricted volume types (volumes "a", "b", "c" use restricted volume types "hostPath", "nfs", "unknown")
            restrictedVolumes v1.0: ok
            sysctls v1.0: forbidden sysctls (net.ipv4.tcp_rmem, x)
            sysctls v1.26: forbidden sysctls (net.ipv4.ip_local_reserved_ports)
            sysctls v1.27: ok
            sysctls v1.28: forbidden sysctls (net.ipv4.tcp_fin_timeout)
            sysctls v1.29: ok
            sysctls v1.31: forbidden sysctls (net.ipv4.tcp_wmem)
            sysctls v1.32: ok
            windowsHostProcess v1.0: hostProcess (containers "i", "c", "e" must not set securityContext.windowsOptions.hostProcess=true)
            windowsHostProcess v1.0: hostProcess (pod must not set securityContext.windowsOptions.hostProcess=true)
            windowsHostProcess v1.0: ok
        "#]],
    );
}

#[test]
fn users_and_profiles() {
    let annotated = |key: &str, value: &str| json!({"metadata": {"name": "p", "annotations": {key: value}}, "spec": {"containers": [{"name": "c"}]}});
    let app_armor = "container.apparmor.security.beta.kubernetes.io/c";
    let seccomp = "container.seccomp.security.alpha.kubernetes.io/c";
    let own_users =
        pod(json!({"hostUsers": false, "securityContext": {"runAsUser": 0}, "containers": [{"name": "c"}]}));
    table(
        &[
            ("runAsNonRoot", 0, each_kind(json!({"runAsNonRoot": true}))),
            ("runAsNonRoot", 0, each_kind(json!({"runAsNonRoot": false}))),
            ("runAsNonRoot", 0, pod_level(json!({"runAsNonRoot": false}))),
            ("runAsNonRoot", 0, pod_level(json!({"runAsNonRoot": true}))),
            ("runAsNonRoot", 34, own_users.clone()),
            ("runAsNonRoot", 35, own_users.clone()),
            ("runAsUser", 22, own_users.clone()),
            ("runAsUser", 23, own_users.clone()),
            ("runAsUser", 35, own_users),
            ("runAsUser", 35, each_kind(json!({"runAsUser": 0}))),
            ("runAsUser", 35, each_kind(json!({"runAsUser": 1}))),
            ("appArmorProfile", 0, annotated(app_armor, "unconfined")),
            ("appArmorProfile", 0, annotated(app_armor, "localhost/x")),
            ("appArmorProfile", 0, each_kind(json!({"appArmorProfile": {"type": "Unconfined"}}))),
            ("appArmorProfile", 0, pod_level(json!({"appArmorProfile": {"type": "RuntimeDefault"}}))),
            ("seccompProfile_baseline", 18, annotated(seccomp, "unconfined")),
            ("seccompProfile_baseline", 18, annotated(seccomp, "docker/default")),
            ("seccompProfile_baseline", 19, annotated(seccomp, "unconfined")),
            ("seccompProfile_baseline", 19, each_kind(json!({"seccompProfile": {"type": "Unconfined"}}))),
            ("seccompProfile_baseline", 19, pod_level(json!({"seccompProfile": {"type": "Localhost"}}))),
            ("seccompProfile_restricted", 18, pod_level(json!({}))),
            ("seccompProfile_restricted", 19, pod_level(json!({}))),
            ("seccompProfile_restricted", 19, pod_level(json!({"seccompProfile": {"type": "Unconfined"}}))),
            ("seccompProfile_restricted", 19, pod_level(json!({"seccompProfile": {"type": "RuntimeDefault"}}))),
            ("seccompProfile_restricted", 25, pod(json!({"os": {"name": "windows"}, "containers": [{"name": "c"}]}))),
            ("seLinuxOptions", 0, each_kind(json!({"seLinuxOptions": {"type": "x", "user": "u", "role": "r"}}))),
            ("seLinuxOptions", 0, pod_level(json!({"seLinuxOptions": {"type": "container_t", "level": "s0"}}))),
            ("seLinuxOptions", 30, pod_level(json!({"seLinuxOptions": {"type": "container_engine_t"}}))),
            ("seLinuxOptions", 31, pod_level(json!({"seLinuxOptions": {"type": "container_engine_t"}}))),
        ],
        &expect![[r#"
            runAsNonRoot v1.0: runAsNonRoot != true (pod or container "plain" must set securityContext.runAsNonRoot=true)
            runAsNonRoot v1.0: runAsNonRoot != true (containers "i", "c", "e" must not set securityContext.runAsNonRoot=false)
            runAsNonRoot v1.0: runAsNonRoot != true (pod must not set securityContext.runAsNonRoot=false)
            runAsNonRoot v1.0: ok
            runAsNonRoot v1.34: runAsNonRoot != true (pod or container "c" must set securityContext.runAsNonRoot=true)
            runAsNonRoot v1.35: ok
            runAsUser v1.22: not yet
            runAsUser v1.23: runAsUser=0 (pod must not set runAsUser=0)
            runAsUser v1.35: ok
            runAsUser v1.35: runAsUser=0 (containers "i", "c", "e" must not set runAsUser=0)
            runAsUser v1.35: ok
            appArmorProfile v1.0: forbidden AppArmor profile (annotation must not set AppArmor profile type to "container.apparmor.security.beta.kubernetes.io/c="unconfined"")
            appArmorProfile v1.0: ok
            appArmorProfile v1.0: forbidden AppArmor profile (containers "i", "c", "e" must not set AppArmor profile type to "Unconfined")
            appArmorProfile v1.0: ok
            seccompProfile_baseline v1.18: seccompProfile (forbidden annotation container.seccomp.security.alpha.kubernetes.io/c="unconfined")
            seccompProfile_baseline v1.18: ok
            seccompProfile_baseline v1.19: ok
            seccompProfile_baseline v1.19: seccompProfile (containers "i", "c", "e" must not set securityContext.seccompProfile.type to "Unconfined")
            seccompProfile_baseline v1.19: ok
            seccompProfile_restricted v1.18: not yet
            seccompProfile_restricted v1.19: seccompProfile (pod or container "c" must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost")
            seccompProfile_restricted v1.19: seccompProfile (pod must not set securityContext.seccompProfile.type to "Unconfined")
            seccompProfile_restricted v1.19: ok
            seccompProfile_restricted v1.25: ok
            seLinuxOptions v1.0: seLinuxOptions (containers "i", "c", "e" set forbidden securityContext.seLinuxOptions: type "x"; user may not be set; role may not be set)
            seLinuxOptions v1.0: ok
            seLinuxOptions v1.30: seLinuxOptions (pod set forbidden securityContext.seLinuxOptions: type "container_engine_t")
            seLinuxOptions v1.31: ok
        "#]],
    );
}

#[test]
fn levels() {
    let host = pod(json!({"volumes": [{"name": "v", "hostPath": {}}], "containers": [{"name": "c"}]}));
    let strict = pod(json!({"securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [{"name": "c", "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}}]}));
    let mut told = String::new();
    for (level, version, pod) in [
        (Level::Privileged, Version::Latest, &host),
        (Level::Baseline, Version::Latest, &host),
        (Level::Restricted, Version::Latest, &host),
        (Level::Restricted, Version::Minor(0), &host),
        (Level::Restricted, Version::Minor(18), &host),
        (Level::Restricted, Version::Minor(u64::MAX), &host),
        (Level::Restricted, Version::Latest, &strict),
    ] {
        let wanted = LevelVersion { level, version };
        let found = evaluate(wanted, Pod::of(pod));
        let (reason, detail) = (found.reason(), found.detail());
        writeln!(told, "{}: {reason} | {detail}", if found.is_empty() { "ok" } else { "no" })
            .expect("a String takes all");
    }
    expect![[r#"
        ok:  | 
        no: hostPath volumes | hostPath volumes (volume "v")
        no: allowPrivilegeEscalation != false, unrestricted capabilities, restricted volume types, runAsNonRoot != true, seccompProfile | allowPrivilegeEscalation != false (container "c" must set securityContext.allowPrivilegeEscalation=false), unrestricted capabilities (container "c" must set securityContext.capabilities.drop=["ALL"]), restricted volume types (volume "v" uses restricted volume type "hostPath"), runAsNonRoot != true (pod or container "c" must set securityContext.runAsNonRoot=true), seccompProfile (pod or container "c" must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost")
        no: restricted volume types, runAsNonRoot != true | restricted volume types (volume "v" uses restricted volume type "hostPath"), runAsNonRoot != true (pod or container "c" must set securityContext.runAsNonRoot=true)
        no: allowPrivilegeEscalation != false, restricted volume types, runAsNonRoot != true | allowPrivilegeEscalation != false (container "c" must set securityContext.allowPrivilegeEscalation=false), restricted volume types (volume "v" uses restricted volume type "hostPath"), runAsNonRoot != true (pod or container "c" must set securityContext.runAsNonRoot=true)
        no: allowPrivilegeEscalation != false, unrestricted capabilities, restricted volume types, runAsNonRoot != true, seccompProfile | allowPrivilegeEscalation != false (container "c" must set securityContext.allowPrivilegeEscalation=false), unrestricted capabilities (container "c" must set securityContext.capabilities.drop=["ALL"]), restricted volume types (volume "v" uses restricted volume type "hostPath"), runAsNonRoot != true (pod or container "c" must set securityContext.runAsNonRoot=true), seccompProfile (pod or container "c" must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost")
        ok:  | 
    "#]].assert_eq(&told);
}
