//! Where API servers are.

use std::sync::Arc;

use parking_lot::RwLock;

/// Addresses of API servers (`https://HOST:PORT`). They may change while a node runs: all clones see it.
#[derive(Clone, Debug, Default)]
pub struct Servers(Arc<RwLock<Vec<String>>>);

impl From<Vec<String>> for Servers {
    fn from(urls: Vec<String>) -> Self {
        Self(Arc::new(RwLock::new(urls)))
    }
}

impl Servers {
    pub fn get(&self) -> Vec<String> {
        self.0.read().clone()
    }

    /// From the next connection on.
    pub fn set(&self, urls: Vec<String>) {
        *self.0.write() = urls;
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Server {
    pub(super) host: String,
    pub(super) port: u16,
}

impl Server {
    pub(super) fn parse(url: &str) -> Result<Self, String> {
        let uri: http::Uri = url.parse().map_err(|e| format!("server {url:?}: {e}"))?;
        let host = uri.host().ok_or_else(|| format!("server {url:?} has no host"))?;
        if uri.scheme_str() != Some("https") {
            return Err(format!("server {url:?} is not https"));
        }
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        Ok(Self { host, port: uri.port_u16().unwrap_or(443) })
    }

    pub(super) fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

/// Every server once, the first one first. What is no address of a server is left out.
pub(super) fn all(first: &Server, more: &[String]) -> Vec<Server> {
    let mut all = vec![first.clone()];
    for server in more.iter().filter_map(|url| Server::parse(url).ok()) {
        if !all.contains(&server) {
            all.push(server);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_server_once_and_what_comes_later_too() {
        let first = Server::parse("https://a:6443").expect("a server");
        let servers = Servers::from(vec!["https://b".to_owned(), "https://a:6443/".to_owned(), "nonsense".to_owned()]);
        let shown =
            |servers: &Servers| -> Vec<String> { all(&first, &servers.get()).iter().map(Server::authority).collect() };
        assert_eq!(shown(&servers), ["a:6443", "b:443"]);
        servers.clone().set(vec!["https://[fd00::1]:7443".to_owned()]);
        assert_eq!(shown(&servers), ["a:6443", "[fd00::1]:7443"]);
    }
}
