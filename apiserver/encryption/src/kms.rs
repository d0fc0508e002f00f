//! KMS v2: values are sealed with keys derived from a seed of this process, and the seed is kept beside each value,
//! encrypted by a plugin whose key never leaves it. The format is upstream's.
//!
//! A plugin is asked when a seed is made, when an unknown one is met, and once in a while for the id of its key: when
//! that changes, a new seed is made, and what was sealed before is stale.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Weak};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use async_trait::async_trait;
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Prk};
use kontiki_proto::kms::{EncryptedDekSourceType, EncryptedObject};
use parking_lot::Mutex;
use prost::Message;
use rand::RngCore;
use sha2::{Digest, Sha256};

/// A plugin, or what stands for it in tests. Errors are sentences.
#[async_trait]
pub trait KeyPlugin: Send + Sync {
    /// The id of the key it encrypts with now. `Err`: it is not healthy.
    async fn key_id(&self) -> Result<String, String>;
    async fn encrypt(&self, plain: &[u8], uid: &str) -> Result<Wrapped, String>;
    async fn decrypt(&self, wrapped: &Wrapped, uid: &str) -> Result<Vec<u8>, String>;
}

/// What a plugin has encrypted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Wrapped {
    pub ciphertext: Vec<u8>,
    pub key_id: String,
    pub annotations: BTreeMap<String, Vec<u8>>,
}

/// Upstream's bounds, in bytes.
const MAX_WRAPPED: usize = 1024;
const MAX_KEY_ID: usize = 1024;
const MAX_ANNOTATIONS: usize = 32 * 1024;
const SEED: usize = 32;
const INFO: usize = 32;
const NONCE: usize = 12;
/// Seeds that are remembered: one per replica and key.
const MAX_SEEDS: usize = 1_000;
/// How often the plugin is asked for its key, and how soon again when it did not answer.
const ASK_EVERY: Duration = Duration::from_secs(60);
const ASK_AGAIN: Duration = Duration::from_secs(10);

type Seed = [u8; SEED];
type WrappedHash = [u8; 32];

/// What is written with.
struct Current {
    seed: Seed,
    wrapped: Wrapped,
}

pub(crate) struct Kms {
    name: String,
    plugin: Arc<dyn KeyPlugin>,
    current: ArcSwapOption<Current>,
    seeds: Mutex<Seeds>,
}

/// Opened seeds, the oldest forgotten first.
#[derive(Default)]
struct Seeds {
    known: HashMap<WrappedHash, Seed>,
    order: VecDeque<WrappedHash>,
}

impl Seeds {
    fn put(&mut self, hash: WrappedHash, seed: Seed) {
        if self.known.insert(hash, seed).is_none() {
            self.order.push_back(hash);
        }
        while self.order.len() > MAX_SEEDS {
            if let Some(oldest) = self.order.pop_front() {
                self.known.remove(&oldest);
            }
        }
    }
}

fn hash(wrapped: &Wrapped) -> WrappedHash {
    let mut hash = Sha256::new();
    let mut part = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_be_bytes());
        hash.update(bytes);
    };
    part(&wrapped.ciphertext);
    part(wrapped.key_id.as_bytes());
    for (name, value) in &wrapped.annotations {
        part(name.as_bytes());
        part(value);
    }
    hash.finalize().into()
}

impl Kms {
    pub(crate) fn new(name: &str, plugin: Arc<dyn KeyPlugin>) -> Arc<Self> {
        let (current, seeds) = (ArcSwapOption::empty(), Mutex::default());
        Arc::new(Self { name: name.to_owned(), plugin, current, seeds })
    }

    /// Makes sure that there is a seed under the plugin's present key.
    pub(crate) async fn refresh(&self) -> Result<(), String> {
        let key = self.plugin.key_id().await?;
        if key.is_empty() || key.len() > MAX_KEY_ID {
            return Err("the plugin names no key, or too long a one".to_owned());
        }
        if self.current.load().as_ref().is_some_and(|current| current.wrapped.key_id == key) {
            return Ok(());
        }
        let seed = random::<SEED>();
        let wrapped = checked(self.plugin.encrypt(&seed, &uid()).await?)?;
        self.seeds.lock().put(hash(&wrapped), seed);
        self.current.store(Some(Arc::new(Current { seed, wrapped })));
        tracing::info!(plugin = self.name, "a new seed is encrypted with the plugin's key");
        Ok(())
    }

    /// `None`: there is no seed, because the plugin never answered.
    pub(crate) fn seal(&self, plain: &[u8], context: &[u8]) -> Option<Vec<u8>> {
        let current = self.current.load_full()?;
        let (info, nonce) = (random::<INFO>(), random::<NONCE>());
        let mut sealed = plain.to_vec();
        let key = derive(&current.seed, &info)?;
        key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(context), &mut sealed).ok()?;
        let Wrapped { ciphertext, key_id, annotations } = current.wrapped.clone();
        let object = EncryptedObject {
            encrypted_data: [&info[..], &nonce, &sealed].concat(),
            key_id,
            encrypted_dek_source: ciphertext,
            annotations: annotations.into_iter().collect(),
            encrypted_dek_source_type: EncryptedDekSourceType::HkdfSha256XnonceAesGcmSeed.into(),
        };
        Some(object.encode_to_vec())
    }

    /// The seed that must be known before a value can be opened; `None` when it is, or when it never can be.
    pub(crate) fn missing(&self, sealed: &[u8]) -> Option<Wrapped> {
        let wrapped = wrapped(&EncryptedObject::decode(sealed).ok()?);
        let known = self.seeds.lock().known.contains_key(&hash(&wrapped));
        (!known).then_some(wrapped)
    }

    /// Has the plugin open a seed.
    pub(crate) async fn learn(&self, wrapped: Wrapped) -> Result<(), String> {
        let wrapped = checked(wrapped)?;
        let seed = self.plugin.decrypt(&wrapped, &uid()).await?;
        let seed = seed.try_into().map_err(|_| "the plugin opened something that is not a seed".to_owned())?;
        self.seeds.lock().put(hash(&wrapped), seed);
        Ok(())
    }

    /// Whether a value is sealed under another key than the plugin's present one.
    pub(crate) fn is_old(&self, sealed: &[u8]) -> bool {
        let Ok(object) = EncryptedObject::decode(sealed) else { return false };
        self.current.load().as_ref().is_some_and(|current| current.wrapped.key_id != object.key_id)
    }

    /// `None`: it is of no seed that is known, or not of this key in the store.
    pub(crate) fn open(&self, sealed: &[u8], context: &[u8]) -> Option<Vec<u8>> {
        let object = EncryptedObject::decode(sealed).ok()?;
        if object.encrypted_dek_source_type() != EncryptedDekSourceType::HkdfSha256XnonceAesGcmSeed {
            return None;
        }
        let seed = *self.seeds.lock().known.get(&hash(&wrapped(&object)))?;
        let (info, rest) = object.encrypted_data.split_at_checked(INFO)?;
        let (nonce, body) = rest.split_at_checked(NONCE)?;
        let mut body = body.to_vec();
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let length = derive(&seed, info)?.open_in_place(nonce, Aad::from(context), &mut body).ok()?.len();
        body.truncate(length);
        Some(body)
    }
}

/// For as long as somebody uses it.
pub(crate) async fn keep(kms: Weak<Kms>) {
    loop {
        let Some(kms) = kms.upgrade() else { return };
        let pause = match kms.refresh().await {
            Ok(()) => ASK_EVERY,
            Err(error) => {
                tracing::error!(plugin = kms.name, error, "a key management plugin does not answer as it should");
                ASK_AGAIN
            }
        };
        drop(kms);
        tokio::time::sleep(pause).await;
    }
}

fn wrapped(object: &EncryptedObject) -> Wrapped {
    Wrapped {
        ciphertext: object.encrypted_dek_source.clone(),
        key_id: object.key_id.clone(),
        annotations: object.annotations.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
    }
}

fn checked(wrapped: Wrapped) -> Result<Wrapped, String> {
    let annotations: usize = wrapped.annotations.iter().map(|(name, value)| name.len() + value.len()).sum();
    let fits = (1..=MAX_WRAPPED).contains(&wrapped.ciphertext.len())
        && (1..=MAX_KEY_ID).contains(&wrapped.key_id.len())
        && annotations <= MAX_ANNOTATIONS;
    fits.then_some(wrapped).ok_or_else(|| "the plugin's answer is empty or too large".to_owned())
}

struct Length;

impl KeyType for Length {
    fn len(&self) -> usize {
        SEED
    }
}

/// HKDF's expansion with the seed as key, as upstream: a key for each value.
fn derive(seed: &Seed, info: &[u8]) -> Option<LessSafeKey> {
    let prk = Prk::new_less_safe(HKDF_SHA256, seed);
    let mut key = [0u8; SEED];
    prk.expand(&[info], Length).ok()?.fill(&mut key).ok()?;
    Some(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &key).ok()?))
}

#[expect(clippy::disallowed_methods, reason = "seeds and nonces come from the operating system's randomness")]
fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0u8; N];
    rand::rng().fill_bytes(&mut bytes);
    bytes
}

/// Names one call in the plugin's log.
fn uid() -> String {
    random::<16>().iter().map(|byte| format!("{byte:02x}")).collect()
}
