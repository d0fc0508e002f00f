//! What the signers of `kubernetes.io` sign. The texts are upstream's; they end up in the request's conditions.

use std::collections::BTreeSet;

use api_machinery::certificates::Asked;

pub(super) const API_CLIENT: &str = "kubernetes.io/kube-apiserver-client";
pub(super) const KUBELET_CLIENT: &str = "kubernetes.io/kube-apiserver-client-kubelet";
pub(super) const KUBELET_SERVING: &str = "kubernetes.io/kubelet-serving";
pub(super) const LEGACY: &str = "kubernetes.io/legacy-unknown";

const NODES: &str = "system:nodes";
const NODE: &str = "system:node:";

/// `None`: the signer is not ours.
pub(super) fn check(signer: &str, asked: &Asked, usages: &[String]) -> Option<Result<(), String>> {
    match signer {
        API_CLIENT => Some(api_client(usages)),
        KUBELET_CLIENT => Some(kubelet_client(asked, usages)),
        KUBELET_SERVING => Some(kubelet_serving(asked, usages)),
        LEGACY => Some(Ok(())),
        _ => None,
    }
}

fn no(what: &str) -> Result<(), String> {
    Err(what.to_owned())
}

fn api_client(usages: &[String]) -> Result<(), String> {
    let fine =
        usages.iter().all(|usage| matches!(usage.as_str(), "digital signature" | "key encipherment" | "client auth"));
    match fine && usages.iter().any(|usage| usage == "client auth") {
        true => Ok(()),
        false => Err(format!("invalid usages for client certificate: [{}]", usages.join(" "))),
    }
}

/// Also what the approver lets pass.
pub(super) fn kubelet_client(asked: &Asked, usages: &[String]) -> Result<(), String> {
    if asked.organizations != [NODES] {
        return no("subject organization is not system:nodes");
    }
    if !asked.dns_names.is_empty() {
        return no("DNS subjectAltNames are not allowed");
    }
    if !asked.emails.is_empty() {
        return no("Email subjectAltNames are not allowed");
    }
    if !asked.ips.is_empty() {
        return no("IP subjectAltNames are not allowed");
    }
    if !asked.uris.is_empty() {
        return no("URI subjectAltNames are not allowed");
    }
    if !asked.common_name.starts_with(NODE) {
        return no("subject common name does not begin with system:node:");
    }
    exactly(usages, "client auth")
}

fn kubelet_serving(asked: &Asked, usages: &[String]) -> Result<(), String> {
    if asked.organizations != [NODES] {
        return no("subject organization is not system:nodes");
    }
    if asked.dns_names.is_empty() && asked.ips.is_empty() {
        return no("DNS or IP subjectAltName is required");
    }
    if !asked.emails.is_empty() {
        return no("Email subjectAltNames are not allowed");
    }
    if !asked.uris.is_empty() {
        return no("URI subjectAltNames are not allowed");
    }
    exactly(usages, "server auth")?;
    if !asked.common_name.starts_with(NODE) {
        return no("subject common name does not begin with system:node:");
    }
    Ok(())
}

/// Digital signature and the purpose, with key encipherment (which RSA keys need) or without.
fn exactly(usages: &[String], purpose: &str) -> Result<(), String> {
    let found: BTreeSet<&str> = usages.iter().map(String::as_str).collect();
    let plain: BTreeSet<&str> = ["digital signature", purpose].into();
    let rsa: BTreeSet<&str> = ["digital signature", "key encipherment", purpose].into();
    if found == plain || found == rsa {
        return Ok(());
    }
    let list = |set: &BTreeSet<&str>| set.iter().copied().collect::<Vec<_>>().join(" ");
    Err(format!("usages did not match [{}]", list(&rsa)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usages(all: &[&str]) -> Vec<String> {
        all.iter().map(|usage| (*usage).to_owned()).collect()
    }

    fn node() -> Asked {
        Asked { common_name: "system:node:a".into(), organizations: vec![NODES.into()], ..Asked::default() }
    }

    fn said(signer: &str, asked: &Asked, all: &[&str]) -> String {
        match check(signer, asked, &usages(all)) {
            None => "not ours".to_owned(),
            Some(Ok(())) => "fine".to_owned(),
            Some(Err(why)) => why,
        }
    }

    #[test]
    fn kubelets_get_client_certificates_for_nodes_and_nothing_else() {
        let client = ["digital signature", "client auth"];
        let with = |change: fn(&mut Asked)| {
            let mut asked = node();
            change(&mut asked);
            asked
        };
        for (asked, all, want) in [
            (node(), &client[..], "fine"),
            (node(), &["client auth", "key encipherment", "digital signature"], "fine"),
            (node(), &["client auth"], "usages did not match [client auth digital signature key encipherment]"),
            (
                node(),
                &["digital signature", "client auth", "server auth"],
                "usages did not match [client auth digital signature key encipherment]",
            ),
            (
                with(|own| own.common_name = "admin".into()),
                &client,
                "subject common name does not begin with system:node:",
            ),
            (
                with(|own| own.organizations.push("system:masters".into())),
                &client,
                "subject organization is not system:nodes",
            ),
            (with(|own| own.organizations.clear()), &client, "subject organization is not system:nodes"),
            (with(|own| own.dns_names.push("a".into())), &client, "DNS subjectAltNames are not allowed"),
            (with(|own| own.ips.push([10, 0, 0, 1].into())), &client, "IP subjectAltNames are not allowed"),
            (with(|own| own.emails.push("a@b".into())), &client, "Email subjectAltNames are not allowed"),
            (with(|own| own.uris.push("a:b".into())), &client, "URI subjectAltNames are not allowed"),
        ] {
            assert_eq!(said(KUBELET_CLIENT, &asked, all), want, "{asked:?} {all:?}");
        }
    }

    #[test]
    fn serving_certificates_need_a_name() {
        let serving = ["digital signature", "server auth"];
        let named = Asked { dns_names: vec!["a".into()], ..node() };
        assert_eq!(said(KUBELET_SERVING, &named, &serving), "fine");
        assert_eq!(said(KUBELET_SERVING, &node(), &serving), "DNS or IP subjectAltName is required");
        let mail = Asked { emails: vec!["a@b".into()], ..named.clone() };
        assert_eq!(said(KUBELET_SERVING, &mail, &serving), "Email subjectAltNames are not allowed");
        let user = Asked { common_name: "jane".into(), ..named.clone() };
        assert_eq!(said(KUBELET_SERVING, &user, &serving), "subject common name does not begin with system:node:");
        assert!(
            said(KUBELET_SERVING, &named, &["client auth", "digital signature"]).starts_with("usages did not match")
        );
    }

    #[test]
    fn clients_are_clients_only() {
        let jane = Asked { common_name: "jane".into(), ..Asked::default() };
        assert_eq!(said(API_CLIENT, &jane, &["client auth"]), "fine");
        assert_eq!(said(API_CLIENT, &jane, &["client auth", "digital signature", "key encipherment"]), "fine");
        assert_eq!(
            said(API_CLIENT, &jane, &["client auth", "server auth"]),
            "invalid usages for client certificate: [client auth server auth]"
        );
        assert_eq!(
            said(API_CLIENT, &jane, &["digital signature"]),
            "invalid usages for client certificate: [digital signature]"
        );
        assert_eq!(said(LEGACY, &jane, &["cert sign"]), "fine");
        assert_eq!(said("example.com/x", &jane, &[]), "not ours");
    }
}
