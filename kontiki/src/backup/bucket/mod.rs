//! Backups in a bucket of S3, or of a service that speaks its protocol.
//!
//! Requests are rusty-s3's, signed in their URLs (AWS Signature Version 4). An object is written in parts and is not
//! there before the last of them is; whoever gives up takes back what was sent.

mod http;
mod read;
mod upload;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use rusty_s3::actions::{CompleteMultipartUploadResponse, CreateMultipartUpload};
use rusty_s3::{Bucket, Credentials, S3Action, UrlStyle};
use tokio::sync::mpsc;
use url::Url;

use self::http::{Answer, Http};
use self::read::Content;
pub(super) use self::upload::Parts;
use crate::Failure;
use crate::client::Download;

/// How the service is reached. Credentials come from the environment, as other programs for S3 have them.
#[derive(Args, Clone, Debug)]
pub(crate) struct BucketArgs {
    /// For s3://: the address of the service; otherwise AWS's own in the region
    #[arg(long, value_name = "URL", env = "AWS_ENDPOINT_URL_S3")]
    s3_endpoint: Option<Url>,
    /// For s3://: the region
    #[arg(long, value_name = "REGION", env = "AWS_REGION", default_value = "us-east-1")]
    s3_region: String,
    /// For s3://: PEM file of the CAs that the service's certificate may be of; otherwise those that this system trusts
    #[arg(long, value_name = "FILE", env = "AWS_CA_BUNDLE")]
    s3_ca_file: Option<PathBuf>,
}

/// A signed URL is good for so long: each is used at once, and a part may take a while.
const SIGNED_FOR: Duration = Duration::from_secs(3600);
/// Parts of an object at most, by the protocol.
const MAX_PARTS: u64 = 10_000;
/// Bytes of a part at least. The protocol's own bound is 5 MiB.
const MIN_PART_BYTES: u64 = 16 << 20;

/// One object, there or not.
#[derive(Clone)]
pub(crate) struct Object(Arc<Inner>);

struct Inner {
    bucket: Bucket,
    key: String,
    credentials: Credentials,
    http: Http,
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s3://{}/{}", self.0.bucket.name(), self.0.key)
    }
}

impl Object {
    /// `s3://BUCKET/KEY`. `is_sealed`: whether its content is encrypted before it is sent.
    pub(super) fn named(name: &str, args: &BucketArgs, is_sealed: bool) -> Result<Self, Failure> {
        let (bucket, key) = parse(name)?;
        let region = args.s3_region.clone();
        let (endpoint, style) = match &args.s3_endpoint {
            Some(endpoint) => (endpoint.clone(), UrlStyle::Path),
            // A certificate covers one label before the service's name.
            None if bucket.contains('.') => (aws(&region)?, UrlStyle::Path),
            None => (aws(&region)?, UrlStyle::VirtualHost),
        };
        if endpoint.scheme() == "http" && !is_sealed {
            return Err(format!(
                "{endpoint} would see Secrets and CA keys travel in the clear: give an https:// address, or encrypt the \
                 backup with --key-file"
            )
            .into());
        }
        let bucket = Bucket::new(endpoint, style, bucket, region).map_err(|error| format!("{name}: {error}"))?;
        let credentials = Credentials::from_env()
            .ok_or("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not set: a bucket needs credentials")?;
        let http = Http::new(args.s3_ca_file.as_deref())?;
        Ok(Self(Arc::new(Inner { bucket, key, credentials, http })))
    }

    pub(super) async fn exists(&self) -> Result<bool, Failure> {
        let Inner { bucket, key, credentials, http } = &*self.0;
        let answer = http.ask("HEAD", || bucket.head_object(Some(credentials), key).sign(SIGNED_FOR), &[]).await?;
        match answer.status {
            200 => Ok(true),
            404 => Ok(false),
            403 => Err(format!(
                "{self}: 403 Forbidden: the credentials need s3:PutObject, s3:GetObject, s3:DeleteObject, \
                 s3:AbortMultipartUpload and s3:ListBucket"
            )
            .into()),
            _ => Err(answer.failure(self)),
        }
    }

    /// Its content, read as it comes, and how long that is.
    pub(super) async fn get(&self) -> Result<(Content, u64), Failure> {
        let Inner { bucket, key, credentials, http } = &*self.0;
        let url = bucket.get_object(Some(credentials), key).sign(SIGNED_FOR);
        let response = http.open("GET", &url, Bytes::new()).await?;
        if response.status() != 200 {
            return Err(Answer::whole(response).await?.failure(self));
        }
        let download = Download::of(response)?;
        let bytes = download.bytes;
        Ok((Content::of(download), bytes))
    }

    /// Writes what `fill` writes. `bytes`: about how many that will be, so that the parts are few enough.
    pub(super) async fn put(
        &self,
        bytes: u64,
        fill: impl AsyncFnOnce(Parts) -> Result<Parts, Failure>,
    ) -> Result<(), Failure> {
        let id = self.begin().await?;
        let put = async {
            let etags = self.put_parts(&id, bytes, fill).await?;
            self.complete(&id, &etags).await
        };
        let put = put.await;
        if put.is_err()
            && let Err(error) = self.abort(&id).await
        {
            tracing::warn!(%error, upload = id, "parts may be left, which cost: abort the upload");
        }
        put
    }

    async fn put_parts(
        &self,
        id: &str,
        bytes: u64,
        fill: impl AsyncFnOnce(Parts) -> Result<Parts, Failure>,
    ) -> Result<Vec<String>, Failure> {
        // A place in the queue: one part is filled while another is sent.
        let (sender, receiver) = mpsc::channel(1);
        let (object, upload) = (self.clone(), id.to_owned());
        // Apart, because what fills may block.
        let sending = tokio::spawn(async move { object.send_parts(&upload, receiver).await });
        let parts = Parts::new(part_bytes(bytes), sender);
        let filled = async { fill(parts).await?.end().await }.await;
        // Why nothing more was taken says more than that.
        let etags = sending.await??;
        filled.map(|()| etags)
    }

    async fn send_parts(&self, id: &str, mut parts: mpsc::Receiver<Bytes>) -> Result<Vec<String>, Failure> {
        let Inner { bucket, key, credentials, http } = &*self.0;
        let mut etags = Vec::new();
        while let Some(part) = parts.recv().await {
            let number = u16::try_from(etags.len() + 1)?;
            let url = || bucket.upload_part(Some(credentials), key, number, id).sign(SIGNED_FOR);
            let answer = http.ask("PUT", url, &part).await?.ok(self)?;
            etags.push(answer.etag.ok_or_else(|| format!("{self}: part {number} was taken without an ETag"))?);
        }
        Ok(etags)
    }

    async fn begin(&self) -> Result<String, Failure> {
        let Inner { bucket, key, credentials, http } = &*self.0;
        let url = || bucket.create_multipart_upload(Some(credentials), key).sign(SIGNED_FOR);
        let answer = http.ask("POST", url, &[]).await?.ok(self)?;
        let begun = CreateMultipartUpload::parse_response(&answer.text()).map_err(|error| self.odd(&answer, &error))?;
        Ok(begun.upload_id().to_owned())
    }

    async fn complete(&self, id: &str, etags: &[String]) -> Result<(), Failure> {
        let Inner { bucket, key, credentials, http } = &*self.0;
        let completion =
            || bucket.complete_multipart_upload(Some(credentials), key, id, etags.iter().map(String::as_str));
        let body = completion().body();
        let answer = http.ask("POST", || completion().sign(SIGNED_FOR), body.as_bytes()).await?.ok(self)?;
        // It may begin to answer before it knows how it ends.
        CompleteMultipartUploadResponse::parse(&answer.text()).map_err(|error| self.odd(&answer, &error))?;
        Ok(())
    }

    async fn abort(&self, id: &str) -> Result<(), Failure> {
        let Inner { bucket, key, credentials, http } = &*self.0;
        let url = || bucket.abort_multipart_upload(Some(credentials), key, id).sign(SIGNED_FOR);
        http.ask("DELETE", url, &[]).await?.ok(self).map(drop)
    }

    pub(super) async fn delete(&self) -> Result<(), Failure> {
        let Inner { bucket, key, credentials, http } = &*self.0;
        let url = || bucket.delete_object(Some(credentials), key).sign(SIGNED_FOR);
        http.ask("DELETE", url, &[]).await?.ok(self).map(drop)
    }

    fn odd(&self, answer: &Answer, error: &dyn fmt::Display) -> Failure {
        match answer.said() {
            Some(said) => format!("{self}: {said}").into(),
            None => format!("{self}: the service's answer is not understood: {error}").into(),
        }
    }
}

fn aws(region: &str) -> Result<Url, Failure> {
    Ok(Url::parse(&format!("https://s3.{region}.amazonaws.com"))?)
}

/// Bucket and key.
fn parse(name: &str) -> Result<(String, String), Failure> {
    let (bucket, key) = name.strip_prefix("s3://").and_then(|rest| rest.split_once('/')).unwrap_or_default();
    let is_path = |key: &str| key.split('/').all(|part| !matches!(part, "" | "." | ".."));
    match !bucket.is_empty() && is_path(key) {
        true => Ok((bucket.to_owned(), key.to_owned())),
        false => Err(format!("{name} names no object: s3://BUCKET/KEY, like s3://backups/prod/monday").into()),
    }
}

/// Of one part, so that so many bytes, and some more, are no more parts than there may be.
fn part_bytes(bytes: u64) -> usize {
    let needed = bytes.div_ceil(MAX_PARTS / 2);
    usize::try_from(needed.max(MIN_PART_BYTES)).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_of_objects() {
        let of = |name| parse(name).map_err(|error| error.to_string());
        assert_eq!(of("s3://b/k"), Ok(("b".into(), "k".into())));
        assert_eq!(of("s3://b/prod/monday.bak"), Ok(("b".into(), "prod/monday.bak".into())));
        for name in ["s3://", "s3://b", "s3://b/", "s3:///k", "s3://b/a/../k", "s3://b//k", "s3://b/./k", "s3://b/k/"] {
            assert!(of(name).is_err_and(|why| why.starts_with(name) && why.contains("s3://BUCKET/KEY")), "{name}");
        }
    }

    #[test]
    fn parts_are_few_enough() {
        for bytes in [0, 1, 1 << 30, 1 << 40, 50 << 40] {
            let part = part_bytes(bytes) as u64;
            assert!(part >= MIN_PART_BYTES && (bytes + bytes / 2).div_ceil(part) <= MAX_PARTS, "{bytes}");
        }
    }

    #[test]
    fn nothing_travels_in_the_clear() {
        let args = |endpoint: &str| BucketArgs {
            s3_endpoint: Some(endpoint.parse().expect("a URL")),
            s3_region: "here".into(),
            s3_ca_file: None,
        };
        let refused = Object::named("s3://b/k", &args("http://127.0.0.1:9000"), false);
        assert!(refused.is_err_and(|error| error.to_string().contains("--key-file")));
    }
}
