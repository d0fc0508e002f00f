//! One key of one provider.

use std::sync::Arc;

use aws_lc_rs::aead::{self, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::cipher::{
    self, DecryptionContext, EncryptionContext, PaddedBlockDecryptingKey, PaddedBlockEncryptingKey, UnboundCipherKey,
};
use aws_lc_rs::iv::FixedLength;
use crypto_secretbox::aead::{AeadInPlace, KeyInit};
use crypto_secretbox::{Tag, XSalsa20Poly1305};

use crate::kms::Kms;

/// Random bytes for one value: as many as the longest nonce has.
pub(crate) type Entropy = [u8; NONCE_SECRETBOX];

const NONCE_GCM: usize = 12;
const IV_CBC: usize = 16;
const NONCE_SECRETBOX: usize = 24;
const TAG_SECRETBOX: usize = 16;

/// Nothing more is said: what exactly was wrong is nobody's business but an attacker's.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Failed;

pub(crate) enum Cipher {
    /// Binds the value to the key it is stored under.
    AesGcm(LessSafeKey),
    /// Its key, for either direction.
    AesCbc(&'static cipher::Algorithm, Vec<u8>),
    Secretbox(Box<XSalsa20Poly1305>),
    /// Binds the value to the key it is stored under.
    Managed(Arc<Kms>),
    Identity,
}

impl Cipher {
    /// `Err`: no AES key has this length.
    pub(crate) fn aes_gcm(key: &[u8]) -> Result<Self, Failed> {
        let algorithm = match key.len() {
            16 => &aead::AES_128_GCM,
            24 => &aead::AES_192_GCM,
            32 => &aead::AES_256_GCM,
            _ => return Err(Failed),
        };
        Ok(Self::AesGcm(LessSafeKey::new(UnboundKey::new(algorithm, key).map_err(|_| Failed)?)))
    }

    pub(crate) fn aes_cbc(key: &[u8]) -> Result<Self, Failed> {
        let algorithm = match key.len() {
            16 => &cipher::AES_128,
            24 => &cipher::AES_192,
            32 => &cipher::AES_256,
            _ => return Err(Failed),
        };
        Ok(Self::AesCbc(algorithm, key.to_vec()))
    }

    pub(crate) fn secretbox(key: &[u8]) -> Result<Self, Failed> {
        XSalsa20Poly1305::new_from_slice(key).map(|own| Self::Secretbox(Box::new(own))).map_err(|_| Failed)
    }

    /// Whether the plugin has another key by now.
    pub(crate) fn is_old(&self, sealed: &[u8]) -> bool {
        matches!(self, Self::Managed(kms) if kms.is_old(sealed))
    }

    /// `context` is the key in the store.
    pub(crate) fn seal(&self, plain: &[u8], context: &[u8], entropy: &Entropy) -> Result<Vec<u8>, Failed> {
        match self {
            Self::AesGcm(key) => {
                let nonce = Nonce::try_assume_unique_for_key(&entropy[..NONCE_GCM]).map_err(|_| Failed)?;
                let mut sealed = plain.to_vec();
                key.seal_in_place_append_tag(nonce, Aad::from(context), &mut sealed).map_err(|_| Failed)?;
                Ok([&entropy[..NONCE_GCM], &sealed].concat())
            }
            Self::AesCbc(algorithm, key) => {
                let iv: [u8; IV_CBC] = entropy[..IV_CBC].try_into().map_err(|_| Failed)?;
                let key = UnboundCipherKey::new(algorithm, key).map_err(|_| Failed)?;
                let key = PaddedBlockEncryptingKey::cbc_pkcs7(key).map_err(|_| Failed)?;
                let mut sealed = plain.to_vec();
                let context = EncryptionContext::Iv128(FixedLength::from(iv));
                key.less_safe_encrypt(&mut sealed, context).map_err(|_| Failed)?;
                Ok([&iv[..], &sealed].concat())
            }
            Self::Secretbox(key) => {
                let mut sealed = plain.to_vec();
                let tag = key.encrypt_in_place_detached(entropy.into(), b"", &mut sealed).map_err(|_| Failed)?;
                Ok([&entropy[..], &tag, &sealed].concat())
            }
            Self::Managed(kms) => kms.seal(plain, context).ok_or(Failed),
            Self::Identity => Ok(plain.to_vec()),
        }
    }

    pub(crate) fn open(&self, sealed: &[u8], context: &[u8]) -> Result<Vec<u8>, Failed> {
        match self {
            Self::AesGcm(key) => {
                let (nonce, body) = sealed.split_at_checked(NONCE_GCM).ok_or(Failed)?;
                let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| Failed)?;
                let mut body = body.to_vec();
                let length = key.open_in_place(nonce, Aad::from(context), &mut body).map_err(|_| Failed)?.len();
                body.truncate(length);
                Ok(body)
            }
            Self::AesCbc(algorithm, key) => {
                let (iv, body) = sealed.split_at_checked(IV_CBC).ok_or(Failed)?;
                let iv: [u8; IV_CBC] = iv.try_into().map_err(|_| Failed)?;
                let key = UnboundCipherKey::new(algorithm, key).map_err(|_| Failed)?;
                let key = PaddedBlockDecryptingKey::cbc_pkcs7(key).map_err(|_| Failed)?;
                let mut body = body.to_vec();
                let context = DecryptionContext::Iv128(FixedLength::from(iv));
                Ok(key.decrypt(&mut body, context).map_err(|_| Failed)?.to_vec())
            }
            Self::Secretbox(key) => {
                let (nonce, rest) = sealed.split_at_checked(NONCE_SECRETBOX).ok_or(Failed)?;
                let (tag, body) = rest.split_at_checked(TAG_SECRETBOX).ok_or(Failed)?;
                let mut body = body.to_vec();
                let tag = Tag::from_slice(tag);
                key.decrypt_in_place_detached(nonce.into(), b"", &mut body, tag).map_err(|_| Failed)?;
                Ok(body)
            }
            Self::Managed(kms) => kms.open(sealed, context).ok_or(Failed),
            Self::Identity => Ok(sealed.to_vec()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENTROPY: Entropy = [7; NONCE_SECRETBOX];

    fn all() -> Vec<(&'static str, Cipher, bool)> {
        vec![
            ("gcm", Cipher::aes_gcm(&[1; 32]).expect("a key"), true),
            ("gcm 128", Cipher::aes_gcm(&[1; 16]).expect("a key"), true),
            ("gcm 192", Cipher::aes_gcm(&[1; 24]).expect("a key"), true),
            ("cbc", Cipher::aes_cbc(&[1; 32]).expect("a key"), false),
            ("cbc 128", Cipher::aes_cbc(&[1; 16]).expect("a key"), false),
            ("secretbox", Cipher::secretbox(&[1; 32]).expect("a key"), false),
        ]
    }

    #[test]
    fn opens_what_it_sealed() {
        for (name, cipher, bound) in all() {
            for plain in [&b""[..], b"x", &[9; 1000]] {
                let sealed = cipher.seal(plain, b"/a", &ENTROPY).expect("sealed");
                assert!(plain.len() < 2 || !sealed.windows(plain.len()).any(|part| part == plain), "{name}");
                assert_eq!(cipher.open(&sealed, b"/a").as_deref(), Ok(plain), "{name}");
                assert_eq!(cipher.open(&sealed, b"/b").is_err(), bound, "{name}: moved to another key");
            }
        }
    }

    #[test]
    fn refuses_what_was_cut_or_changed() {
        for (name, cipher, _) in all() {
            let sealed = cipher.seal(&[9; 40], b"/a", &ENTROPY).expect("sealed");
            for length in [0, 5, 20, sealed.len() - 1] {
                assert_eq!(cipher.open(&sealed[..length], b"/a"), Err(Failed), "{name} cut to {length}");
            }
            if name.starts_with("cbc") {
                // Nothing but the padding is checked: see the crate's documentation.
                continue;
            }
            let mut changed = sealed.clone();
            *changed.last_mut().expect("bytes") ^= 1;
            assert_eq!(cipher.open(&changed, b"/a"), Err(Failed), "{name}");
        }
        assert!(Cipher::aes_gcm(&[0; 20]).is_err() && Cipher::secretbox(&[0; 16]).is_err());
    }

    /// The vector of NaCl's own tests (`tests/secretbox.c`): what other implementations wrote is read.
    #[test]
    fn secretbox_is_nacls() {
        let bytes = |text: &str| -> Vec<u8> {
            let digit = |byte: u8| char::from(byte).to_digit(16).expect("a digit") as u8;
            text.as_bytes().chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
        };
        let key = bytes("1b27556473e985d462cd51197a9a46c76009549eac6474f206c4ee0844f68389");
        let nonce = bytes("69696ee955b62b73cd62bda875fc73d68219e0036b7a0b37");
        let message = bytes(concat!(
            "be075fc53c81f2d5cf141316ebeb0c7b5228c52a4c62cbd44b66849b64244ffce5ecbaaf33bd751a1ac728d45e6c6129",
            "6cdc3c01233561f41db66cce314adb310e3be8250c46f06dceea3a7fa1348057e2f6556ad6b1318a024a838f21af1fde",
            "048977eb48f59ffd4924ca1c60902e52f0a089bc76897040e082f937763848645e0705"
        ));
        let boxed = bytes(concat!(
            "f3ffc7703f9400e52a7dfb4b3d3305d98e993b9f48681273c29650ba32fc76ce48332ea7164d96a4476fb8c531a1186a",
            "c0dfc17c98dce87b4da7f011ec48c97271d2c20f9b928fe2270d6fb863d51738b48eeee314a7cc8ab932164548e526ae",
            "90224368517acfeabd6bb3732bc0e9da99832b61ca01b6de56244a9e88d5f9b37973f622a43d14a6599b1f654cb45a74",
            "e355a5"
        ));
        let cipher = Cipher::secretbox(&key).expect("a key");
        let entropy: Entropy = nonce.clone().try_into().expect("24 bytes");
        let sealed = cipher.seal(&message, b"", &entropy).expect("sealed");
        assert_eq!(sealed, [nonce, boxed].concat());
        assert_eq!(cipher.open(&sealed, b"").as_deref(), Ok(&message[..]));
    }
}
