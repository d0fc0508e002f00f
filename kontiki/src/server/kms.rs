//! Key management plugins at their Unix sockets.

use std::sync::Arc;
use std::time::Duration;

use api_encryption::{KeyPlugin, PluginAddress, Wrapped};
use async_trait::async_trait;
use hyper_util::rt::TokioIo;
use kontiki_proto::kms::key_management_service_client::KeyManagementServiceClient;
use kontiki_proto::kms::{DecryptRequest, EncryptRequest, StatusRequest};
use tonic::transport::{Channel, Endpoint, Uri};

/// The API's version that plugins say; `v2beta1` is what those from before it was stable say.
const VERSIONS: [&str; 2] = ["v2", "v2beta1"];

/// Connects when it is asked for the first time.
pub(super) fn connect(address: &PluginAddress) -> Arc<dyn KeyPlugin> {
    let socket = address.socket.clone();
    let connector = tower::service_fn(move |_: Uri| {
        let socket = socket.clone();
        async move { tokio::net::UnixStream::connect(socket).await.map(TokioIo::new) }
    });
    // The address is never resolved: the connector goes to the socket.
    let channel = Endpoint::from_static("http://plugin.invalid").connect_with_connector_lazy(connector);
    Arc::new(Plugin { client: KeyManagementServiceClient::new(channel), timeout: address.timeout })
}

struct Plugin {
    client: KeyManagementServiceClient<Channel>,
    timeout: Duration,
}

impl Plugin {
    async fn call<T>(
        &self,
        answer: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>,
    ) -> Result<T, String> {
        match tokio::time::timeout(self.timeout, answer).await {
            Ok(Ok(answer)) => Ok(answer.into_inner()),
            Ok(Err(status)) => Err(format!("{:?}: {}", status.code(), status.message())),
            Err(_) => Err(format!("no answer within {:?}", self.timeout)),
        }
    }
}

#[async_trait]
impl KeyPlugin for Plugin {
    async fn key_id(&self) -> Result<String, String> {
        let mut client = self.client.clone();
        let status = self.call(client.status(StatusRequest {})).await?;
        match VERSIONS.contains(&status.version.as_str()) && status.healthz == "ok" {
            true => Ok(status.key_id),
            false => Err(format!("version {:?}, health {:?}", status.version, status.healthz)),
        }
    }

    async fn encrypt(&self, plain: &[u8], uid: &str) -> Result<Wrapped, String> {
        let mut client = self.client.clone();
        let request = EncryptRequest { plaintext: plain.to_vec(), uid: uid.to_owned() };
        let answer = self.call(client.encrypt(request)).await?;
        let annotations = answer.annotations.into_iter().collect();
        Ok(Wrapped { ciphertext: answer.ciphertext, key_id: answer.key_id, annotations })
    }

    async fn decrypt(&self, wrapped: &Wrapped, uid: &str) -> Result<Vec<u8>, String> {
        let mut client = self.client.clone();
        let Wrapped { ciphertext, key_id, annotations } = wrapped.clone();
        let annotations = annotations.into_iter().collect();
        let request = DecryptRequest { ciphertext, key_id, annotations, uid: uid.to_owned() };
        Ok(self.call(client.decrypt(request)).await?.plaintext)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use api_encryption::{SealedStore, Transformers};
    use kontiki_proto::kms::key_management_service_server::{KeyManagementService, KeyManagementServiceServer};
    use kontiki_proto::kms::{DecryptResponse, EncryptResponse, StatusResponse};
    use store_api::mem::MemStore;
    use store_api::{ReadAt, Store as _, Txn};
    use tonic::{Request, Response, Status};

    use super::*;

    /// A plugin that turns every byte around, and knows its key by name.
    #[derive(Clone)]
    struct Toy(Arc<Mutex<String>>);

    impl Toy {
        fn key(&self) -> String {
            self.0.lock().expect("not poisoned").clone()
        }
    }

    fn turned(bytes: &[u8]) -> Vec<u8> {
        bytes.iter().map(|byte| !byte).collect()
    }

    #[tonic::async_trait]
    impl KeyManagementService for Toy {
        async fn status(&self, _: Request<StatusRequest>) -> Result<Response<StatusResponse>, Status> {
            Ok(Response::new(StatusResponse { version: "v2".into(), healthz: "ok".into(), key_id: self.key() }))
        }
        async fn encrypt(&self, request: Request<EncryptRequest>) -> Result<Response<EncryptResponse>, Status> {
            let ciphertext = turned(&request.into_inner().plaintext);
            let annotations = [("toy.example.com".to_owned(), b"1".to_vec())].into();
            Ok(Response::new(EncryptResponse { ciphertext, key_id: self.key(), annotations }))
        }
        async fn decrypt(&self, request: Request<DecryptRequest>) -> Result<Response<DecryptResponse>, Status> {
            let request = request.into_inner();
            if request.annotations.get("toy.example.com").is_none_or(|value| value != b"1") {
                return Err(Status::invalid_argument("the annotations are not mine"));
            }
            Ok(Response::new(DecryptResponse { plaintext: turned(&request.ciphertext) }))
        }
    }

    const KEY: &str = "/registry/core/secrets/default/a";

    fn configuration(socket: &std::path::Path, timeout: &str) -> String {
        format!(
            "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n- resources: [secrets]\n  \
             providers: [{{kms: {{apiVersion: v2, name: toy, endpoint: 'unix://{}', timeout: {timeout}}}}}]\n",
            socket.display()
        )
    }

    async fn started(below: &store_api::DynStore, configuration: &str) -> SealedStore {
        let transformers = Transformers::parse(configuration, &connect).expect("a configuration");
        transformers.start().await;
        SealedStore::new(below.clone(), transformers)
    }

    async fn raw(below: &store_api::DynStore) -> bytes::Bytes {
        below.get(KEY.as_bytes(), ReadAt::Local).await.expect("read").kv.expect("there").value
    }

    #[tokio::test]
    async fn a_plugin_at_a_socket_holds_the_keys() {
        let dir = tempfile::tempdir().expect("dir");
        let socket = dir.path().join("kms.sock");
        let toy = Toy(Arc::new(Mutex::new("key-1".to_owned())));
        let listener = tokio::net::UnixListener::bind(&socket).expect("a socket");
        let incoming = futures::stream::unfold(listener, |listener| async {
            let accepted = listener.accept().await.map(|(stream, _)| stream);
            Some((accepted, listener))
        });
        let server = tonic::transport::Server::builder().add_service(KeyManagementServiceServer::new(toy.clone()));
        tokio::spawn(server.serve_with_incoming(incoming));
        let (below, text) = (MemStore::new().into_dyn(), configuration(&socket, "3s"));
        let first = started(&below, &text).await;
        first.txn(Txn::put(KEY, "{\"canary\":1}")).await.expect("written");
        let sealed = raw(&below).await;
        assert!(sealed.starts_with(b"k8s:enc:kms:v2:toy:") && !sealed.windows(6).any(|part| part == b"canary"));
        // Another process knows no seed yet: it asks the plugin.
        let second = started(&below, &text).await;
        let read = second.get(KEY.as_bytes(), ReadAt::Local).await.expect("read").kv.expect("there").value;
        assert_eq!(read, "{\"canary\":1}");
        assert!(!second.is_stale(KEY.as_bytes()).await.expect("known"));
        // The plugin has another key: what was sealed is to be sealed again.
        *toy.0.lock().expect("not poisoned") = "key-2".to_owned();
        let third = started(&below, &text).await;
        assert!(third.is_stale(KEY.as_bytes()).await.expect("known"));
        assert_eq!(api_encryption::rotate(&third, "").await.expect("a page").rewritten, 1);
        assert!(!third.is_stale(KEY.as_bytes()).await.expect("known"));
        // Bytes that somebody moved do not open.
        below.txn(Txn::put("/registry/core/secrets/default/b", raw(&below).await)).await.expect("written");
        assert!(third.get(b"/registry/core/secrets/default/b", ReadAt::Local).await.is_err());
    }

    #[tokio::test]
    async fn nothing_is_written_as_it_is_when_the_plugin_is_silent() {
        let dir = tempfile::tempdir().expect("dir");
        let text = configuration(&dir.path().join("none"), "100ms");
        let store = started(&MemStore::new().into_dyn(), &text).await;
        assert!(store.txn(Txn::put(KEY, "{}")).await.is_err());
        assert!(store.get(KEY.as_bytes(), ReadAt::Local).await.expect("read").kv.is_none());
    }
}
