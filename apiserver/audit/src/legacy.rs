//! The one-line text format (`--audit-log-format=legacy`), also used where a lost record is shown.

use api_machinery::quote::quoted;

use crate::event::Event;

/// Without its end.
pub fn line(event: &Event) -> String {
    let names = |groups: &[String]| groups.iter().map(|group| quoted(group)).collect::<Vec<_>>().join(",");
    let or = |text: &str, other: &str| if text.is_empty() { other.to_owned() } else { text.to_owned() };
    let user = or(&event.user.username, "<none>");
    let groups = match event.user.username.is_empty() || event.user.groups.is_empty() {
        true => "<none>".to_owned(),
        false => names(&event.user.groups),
    };
    let (mut as_user, mut as_groups) = ("<self>".to_owned(), "<lookup>".to_owned());
    if let Some(user) = &event.impersonated_user {
        as_user.clone_from(&user.username);
        as_groups = names(&user.groups);
    }
    let namespace = event.object_ref.as_ref().map_or("", |object| object.namespace.as_str());
    let response = event.response_status.as_ref().map_or("<deferred>".to_owned(), |status| status.code.to_string());
    let ip = event.source_ips.first().map_or("<unknown>", String::as_str);
    format!(
        "{} AUDIT: id={} stage={} ip={} method={} user={} groups={} as={} asgroups={} user-agent={} namespace={} uri={} response=\"{response}\"",
        event.request_received_timestamp,
        quoted(&event.audit_id),
        quoted(event.stage.as_str()),
        quoted(ip),
        quoted(&event.verb),
        quoted(&user),
        quoted(&groups),
        quoted(&as_user),
        quoted(&as_groups),
        quoted(&event.user_agent),
        quoted(&or(namespace, "<none>")),
        quoted(&event.request_uri),
    )
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::event::{Level, ObjectRef, ResponseStatus, User};

    #[test]
    fn a_record_in_one_line() {
        let received = "2026-01-02T03:04:05.678901Z".parse().expect("a time");
        let mut event = Event::new(Level::Metadata, "an-id".to_owned(), received);
        event.verb = "get".to_owned();
        event.request_uri = "/api/v1/namespaces/a/pods/\"p".to_owned();
        expect![[r#"2026-01-02T03:04:05.678901Z AUDIT: id="an-id" stage="RequestReceived" ip="<unknown>" method="get" user="<none>" groups="<none>" as="<self>" asgroups="<lookup>" user-agent="" namespace="<none>" uri="/api/v1/namespaces/a/pods/\"p" response="<deferred>""#]].assert_eq(&line(&event));
        event.user = User { username: "u".into(), groups: vec!["g".into(), "h".into()], ..User::default() };
        event.impersonated_user = Some(User { username: "v".into(), groups: vec!["i".into()], ..User::default() });
        event.source_ips = vec!["10.0.0.1".into(), "10.0.0.2".into()];
        event.object_ref = Some(ObjectRef { namespace: "a".into(), ..ObjectRef::default() });
        event.response_status = Some(ResponseStatus::code(200));
        expect![[r#"2026-01-02T03:04:05.678901Z AUDIT: id="an-id" stage="RequestReceived" ip="10.0.0.1" method="get" user="u" groups="\"g\",\"h\"" as="v" asgroups="\"i\"" user-agent="" namespace="a" uri="/api/v1/namespaces/a/pods/\"p" response="200""#]].assert_eq(&line(&event));
    }
}
