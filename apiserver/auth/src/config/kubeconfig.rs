//! A kubeconfig that says where a webhook is and who we are to it.

use std::path::Path;

use api_machinery::Value;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::ConfigError;
use crate::outbound::Trust;

/// Where to send reviews.
pub struct Target {
    /// The very address requests are posted to.
    pub url: String,
    pub trust: Trust,
    pub bearer: Option<String>,
}

fn invalid(text: impl Into<String>) -> ConfigError {
    ConfigError::Invalid(text.into())
}

/// Reads the current context of a file; files it names are beside it.
pub fn load(path: &Path) -> Result<Target, ConfigError> {
    let text = read_file(path)?;
    let dir = path.parent().unwrap_or(Path::new("."));
    parse(&text, dir).map_err(|error| invalid(format!("{}: {error}", path.display())))
}

fn read_file(path: &Path) -> Result<String, ConfigError> {
    std::fs::read_to_string(path).map_err(|error| invalid(format!("cannot read {}: {error}", path.display())))
}

fn parse(text: &str, dir: &Path) -> Result<Target, ConfigError> {
    let document: Value = serde_saphyr::from_str(text).map_err(|error| ConfigError::Syntax(error.to_string()))?;
    let context = entry(&document, "contexts", &document["current-context"], "context")
        .ok_or_else(|| invalid("no current context"))?;
    let cluster = entry(&document, "clusters", &context["cluster"], "cluster")
        .ok_or_else(|| invalid("the cluster of the current context is missing"))?;
    // A context may do without a user.
    let user = entry(&document, "users", &context["user"], "user").unwrap_or(&Value::Null);
    let url = cluster["server"].as_str().unwrap_or("").to_owned();
    if !url.starts_with("https://") {
        return Err(invalid(format!("server {url:?}: URL scheme must be https")));
    }
    refuse_unknown(cluster, user)?;
    let identity = match (data(user, "client-certificate", dir)?, data(user, "client-key", dir)?) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        _ => return Err(invalid("client-certificate and client-key belong together")),
    };
    let server_name = cluster["tls-server-name"].as_str().map(str::to_owned);
    let trust = Trust { ca: data(cluster, "certificate-authority", dir)?, identity, server_name };
    Ok(Target { url, trust, bearer: token(user, dir)? })
}

/// What would be ignored otherwise.
fn refuse_unknown(cluster: &Value, user: &Value) -> Result<(), ConfigError> {
    if cluster["insecure-skip-tls-verify"] == true {
        return Err(invalid("insecure-skip-tls-verify is not supported: name a certificate-authority"));
    }
    for field in ["exec", "auth-provider", "username", "password"] {
        if !user[field].is_null() {
            return Err(invalid(format!("user.{field} is not supported: use a client certificate or a token")));
        }
    }
    match cluster["proxy-url"].is_null() {
        true => Ok(()),
        false => Err(invalid("cluster.proxy-url is not supported")),
    }
}

fn token(user: &Value, dir: &Path) -> Result<Option<String>, ConfigError> {
    match (user["token"].as_str(), user["tokenFile"].as_str()) {
        (Some(token), _) => Ok(Some(token.to_owned())),
        (None, Some(file)) => Ok(Some(read_file(&dir.join(file))?.trim().to_owned())),
        (None, None) => Ok(None),
    }
}

fn entry<'a>(document: &'a Value, list: &str, name: &Value, inner: &str) -> Option<&'a Value> {
    let entries = document.get(list)?.as_array()?;
    entries.iter().find(|entry| entry["name"] == *name && name.is_string())?.get(inner)
}

/// `FIELD-data` in base64, or the file that `FIELD` names.
fn data(section: &Value, field: &str, dir: &Path) -> Result<Option<String>, ConfigError> {
    if let Some(inline) = section[&format!("{field}-data")].as_str() {
        let bytes = STANDARD.decode(inline).map_err(|error| invalid(format!("{field}-data: {error}")))?;
        return String::from_utf8(bytes).map(Some).map_err(|_| invalid(format!("{field}-data is not text")));
    }
    section[field].as_str().map(|file| read_file(&dir.join(file))).transpose()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn document(cluster: Value, user: Value) -> String {
        json!({"apiVersion": "v1", "kind": "Config", "current-context": "c",
            "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
            "clusters": [{"name": "k", "cluster": cluster}], "users": [{"name": "u", "user": user}]})
        .to_string()
    }

    #[test]
    fn files_and_data() {
        let dir = tempfile::tempdir().expect("dir");
        std::fs::write(dir.path().join("ca.pem"), "CA").expect("writes");
        std::fs::write(dir.path().join("token"), "secret\n").expect("writes");
        let text = document(
            json!({"server": "https://a/x", "certificate-authority": "ca.pem", "tls-server-name": "b"}),
            json!({"tokenFile": "token", "client-certificate-data": STANDARD.encode("C"),
                "client-key-data": STANDARD.encode("K")}),
        );
        let target = parse(&text, dir.path()).expect("reads");
        assert_eq!((target.url.as_str(), target.bearer.as_deref()), ("https://a/x", Some("secret")));
        assert_eq!((target.trust.ca.as_deref(), target.trust.server_name.as_deref()), (Some("CA"), Some("b")));
        assert_eq!(target.trust.identity, Some(("C".to_owned(), "K".to_owned())));
    }

    #[test]
    fn what_is_not_done_is_refused() {
        for (cluster, user, why) in [
            (json!({"server": "http://a"}), json!({}), r#"server "http://a": URL scheme must be https"#),
            (
                json!({"server": "https://a", "insecure-skip-tls-verify": true}),
                json!({}),
                "insecure-skip-tls-verify is not supported: name a certificate-authority",
            ),
            (
                json!({"server": "https://a"}),
                json!({"exec": {"command": "x"}}),
                "user.exec is not supported: use a client certificate or a token",
            ),
            (
                json!({"server": "https://a"}),
                json!({"client-key-data": "Sw=="}),
                "client-certificate and client-key belong together",
            ),
        ] {
            let error = parse(&document(cluster, user), Path::new(".")).err().expect(why);
            assert_eq!(error.to_string(), why);
        }
    }
}
