//! Temporary credentials. Their rights are encrypted in the session token, so that no node stores them.
//!
//! An access key id is random; its secret key is derived from it and the root secret key, so that a holder of the
//! root secret key can verify a signature. The session token contains the expiry and the policy, encrypted and
//! authenticated together with the access key id: it is valid with that id only. Credentials are valid across
//! restarts and on every node with the same root credentials, until the root credentials are replaced.
//!
//! | offset | width | content of a session token, before base64                |
//! |--------|-------|-----------------------------------------------------------|
//! | 0      | 1     | version, 1                                                |
//! | 1      | 12    | nonce                                                     |
//! | 13     |       | the [`Session`] in postcard, ChaCha20-Poly1305, its tag   |

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::credentials::Root;
use super::policy::Policy;
use crate::external::TemporaryCredentials;
use crate::model::ProjectId;
use crate::runtime::clock::Timestamp;
use crate::runtime::entropy::Entropy;

const VERSION: u8 = 1;
/// The prefix of the ids of temporary credentials.
const PREFIX: &str = "TEMP";
/// The length of the id of temporary credentials.
const ID_CHARS: usize = 24;
/// The maximum length of a session token, about twice the length with the longest policy.
const TOKEN_CHARS_MAX: usize = 8_192;

/// The scope of temporary credentials.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// The time of expiry.
    pub expires: Timestamp,
    /// The project whose deletion ends the credentials, if there is one.
    pub project: Option<ProjectId>,
    /// The policy of the credentials. Without one, they allow everything.
    pub policy: Option<Policy>,
}

/// An error in a session token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidToken {
    /// The token was changed, belongs to another access key, or was issued with other root credentials.
    Foreign,
    /// The token has expired.
    Expired,
}

/// The root credentials, and the keys derived from them.
pub struct Keys {
    root: Root,
    secrets: Zeroizing<[u8; 32]>,
    seal: LessSafeKey,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").field("root", &self.root).finish_non_exhaustive()
    }
}

impl Keys {
    /// Returns the keys derived from `root`.
    pub fn new(root: Root) -> Self {
        let derive = |purpose: &str| Zeroizing::new(mac(root.secret_key.as_bytes(), purpose));
        let secrets = derive("entityd: secret keys of temporary credentials, version 1");
        let seal = derive("entityd: session tokens, version 1");
        let seal =
            UnboundKey::new(&CHACHA20_POLY1305, &*seal).expect("the key has the length of its algorithm");
        Self { root, secrets, seal: LessSafeKey::new(seal) }
    }

    /// Returns true if `access_key` belongs to the root credentials.
    pub fn is_root(&self, access_key: &str) -> bool {
        access_key.as_bytes().ct_eq(self.root.access_key.as_bytes()).into()
    }

    /// Returns the secret key of an access key, even if it was never issued: the rights depend on the session token.
    pub fn secret_of(&self, access_key: &str) -> Option<Zeroizing<String>> {
        if self.is_root(access_key) {
            return Some(self.root.secret_key.clone());
        }
        let ours = access_key.len() == ID_CHARS && access_key.starts_with(PREFIX);
        ours.then(|| Zeroizing::new(hex::encode(&mac(&*self.secrets, access_key)[..20])))
    }

    /// Issues credentials for a session.
    pub fn issue(&self, session: &Session, entropy: &Entropy) -> TemporaryCredentials {
        let access_key_id = format!("{PREFIX}{}", hex::encode_upper(entropy.bytes::<10>()));
        let secret_access_key = self.secret_of(&access_key_id).expect("the id is one of ours");
        let nonce: [u8; NONCE_LEN] = entropy.bytes();
        let mut sealed = postcard::to_stdvec(session).expect("a session is plain data");
        self.seal
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(access_key_id.as_bytes()),
                &mut sealed,
            )
            .expect("a session is short");
        let token = [&[VERSION], &nonce[..], &sealed].concat();
        let session_token = Zeroizing::new(base64_simd::URL_SAFE_NO_PAD.encode_to_string(token));
        TemporaryCredentials { access_key_id, secret_access_key, session_token, expiration: session.expires }
    }

    /// Decrypts `token`, if it belongs to `access_key` and has not expired.
    ///
    /// # Errors
    /// [`InvalidToken`].
    pub fn open(&self, access_key: &str, token: &str, now: Timestamp) -> Result<Session, InvalidToken> {
        let session = self.unseal(access_key, token).ok_or(InvalidToken::Foreign)?;
        if session.expires <= now { Err(InvalidToken::Expired) } else { Ok(session) }
    }

    fn unseal(&self, access_key: &str, token: &str) -> Option<Session> {
        if token.len() > TOKEN_CHARS_MAX {
            return None;
        }
        let mut bytes = base64_simd::URL_SAFE_NO_PAD.decode_to_vec(token).ok()?;
        let (head, sealed) = bytes.split_at_mut_checked(1 + NONCE_LEN)?;
        if head[0] != VERSION {
            return None;
        }
        let nonce = Nonce::try_assume_unique_for_key(&head[1..]).ok()?;
        let plain = self.seal.open_in_place(nonce, Aad::from(access_key.as_bytes()), sealed).ok()?;
        postcard::from_bytes(plain).ok()
    }
}

fn mac(key: &[u8], text: &str) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("a key of any length will do");
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::s3::policy::Action;

    fn keys(secret: &str) -> Keys {
        Keys::new(Root { access_key: "owner".to_owned(), secret_key: Zeroizing::new(secret.to_owned()) })
    }

    fn session(expires: i64) -> Session {
        Session {
            expires: Timestamp::from_micros(expires),
            project: Some(ProjectId::from_bytes([7; 24])),
            policy: Some(Policy::for_path(Action::PutObject, "uploads", "p/1")),
        }
    }

    #[test]
    fn a_token_says_what_was_sealed_until_its_time_is_over() {
        let (keys, entropy) = (keys("a-secret-of-mine"), Entropy::seeded(1));
        let pass = keys.issue(&session(10), &entropy);
        let open = |now| keys.open(&pass.access_key_id, &pass.session_token, Timestamp::from_micros(now));
        assert_eq!(open(9), Ok(session(10)));
        assert_eq!(open(10), Err(InvalidToken::Expired));
    }

    #[test]
    fn a_token_is_good_with_its_own_key_and_root_alone() {
        let (ours, entropy) = (keys("a-secret-of-mine"), Entropy::seeded(1));
        let (one, other) = (ours.issue(&session(10), &entropy), ours.issue(&session(10), &entropy));
        let now = Timestamp::from_micros(0);
        assert_eq!(ours.open(&other.access_key_id, &one.session_token, now), Err(InvalidToken::Foreign));
        assert_eq!(ours.open("owner", &one.session_token, now), Err(InvalidToken::Foreign));
        let restarted = keys("a-secret-of-mine");
        assert!(restarted.open(&one.access_key_id, &one.session_token, now).is_ok());
        assert_eq!(restarted.secret_of(&one.access_key_id), Some(one.secret_access_key.clone()));
        let replaced = keys("another-secret");
        assert_eq!(replaced.open(&one.access_key_id, &one.session_token, now), Err(InvalidToken::Foreign));
        assert_ne!(replaced.secret_of(&one.access_key_id), Some(one.secret_access_key));
    }

    #[test]
    fn keys_that_are_not_ours_have_no_secret() {
        let keys = keys("a-secret-of-mine");
        assert_eq!(keys.secret_of("owner").unwrap().as_str(), "a-secret-of-mine");
        for strange in ["", "Owner", "TEMP", "AKIA00000000000000000000"] {
            assert_eq!(keys.secret_of(strange), None, "{strange}");
        }
    }

    proptest! {
        #[test]
        fn a_token_that_was_changed_opens_nothing(at in 0_usize..400, to in "[A-Za-z0-9_=+/.-]") {
            let (keys, entropy) = (keys("a-secret-of-mine"), Entropy::seeded(1));
            let pass = keys.issue(&session(10), &entropy);
            let at = at % pass.session_token.len();
            let mut token = pass.session_token.to_string();
            token.replace_range(at..=at, &to);
            prop_assume!(token != *pass.session_token);
            let opened = keys.open(&pass.access_key_id, &token, Timestamp::from_micros(0));
            prop_assert_eq!(opened, Err(InvalidToken::Foreign));
        }

        #[test]
        fn no_token_is_read_with_a_panic(token in ".{0,100}") {
            let opened = keys("a-secret-of-mine").open("TEMP", &token, Timestamp::from_micros(0));
            prop_assert_eq!(opened, Err(InvalidToken::Foreign));
        }
    }
}
