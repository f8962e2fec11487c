//! The tokens with which workers join. Only their digests are stored.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use parking_lot::RwLock;
use ring::hmac;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};
use zeroize::Zeroizing;

use crate::http::admin::access::bare;
use crate::http::problem::Problem;
use crate::metadata::{self, Commons};
use crate::queue::LeaseId;
use crate::runtime::clock::{Clock, Timestamp};
use crate::runtime::entropy::Entropy;
use crate::system::secret;
use crate::worker::protocol::Ticket;
use crate::worker::remote::JoinToken;

/// The file in the data directory that holds the digests, and the key that signs tickets.
pub const FILE: &str = "join-tokens";
/// The name of the shared value with the tokens and the key, if several nodes share them.
const WORD: &str = FILE;
/// The number of random bytes in a token, and in the key.
const SECRET_BYTES: usize = 32;

/// An error in reading or writing the tokens.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be used.
    #[error(transparent)]
    Secret(#[from] secret::Error),
    /// The file is damaged.
    #[error("{} does not hold the digests of join tokens; remove it, and make a new token", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// The state shared with the other nodes cannot be read or written.
    #[error("cannot agree with the other nodes")]
    Shared(#[source] metadata::Error),
    /// The file that the operator gives does not contain a token.
    #[error("{} holds no join token: one word of at least 16 characters", path.display())]
    NoToken {
        /// The file.
        path: PathBuf,
    },
}

/// The valid tokens, and the key that signs tickets. Cheap to clone.
#[derive(Clone)]
pub struct JoinTokens(Arc<Inner>);

struct Inner {
    /// The file, which is used if no other nodes share the tokens.
    path: PathBuf,
    /// The shared values with the tokens, if several nodes may share them.
    commons: Option<Arc<dyn Commons>>,
    /// The digest of the token that the operator gives in a file.
    given: Option<[u8; 32]>,
    stored: RwLock<(Stored, hmac::Key)>,
    /// The time by the clock that the nodes share, and the steady time of this node at which it was read.
    shared_time: RwLock<Option<(Timestamp, Timestamp)>>,
    clock: Clock,
    entropy: Entropy,
}

/// The content of the file.
#[derive(Clone, Serialize, Deserialize)]
struct Stored {
    /// The key that signs tickets, in hex.
    key: String,
    tokens: Vec<StoredToken>,
}

#[derive(Clone, Serialize, Deserialize)]
struct StoredToken {
    /// SHA-256 of the secret, in hex.
    sha256: String,
    /// The time at which the token expires, by the clock that the nodes share; `None` for the latest token, which does not.
    until: Option<Timestamp>,
}

impl Stored {
    /// Returns the key that signs tickets; `None` if it is damaged.
    fn signer(&self) -> Option<hmac::Key> {
        let key = Zeroizing::new(hex::decode(&self.key).ok()?);
        Some(hmac::Key::new(hmac::HMAC_SHA256, &key))
    }
}

impl JoinTokens {
    /// Reads the tokens in `data_dir`, and the one in the file `given`. If there are none yet, a key that signs
    /// tickets is generated; it is stored with the first token, or by [`keep`](Self::keep).
    ///
    /// # Errors
    /// [`Error`].
    pub fn open(data_dir: &Path, given: Option<&Path>, entropy: &Entropy) -> Result<Self, Error> {
        let given = given.map(|path| -> Result<[u8; 32], Error> {
            let no_token = || Error::NoToken { path: path.to_owned() };
            let text = secret::read_word(path, 1)?;
            Ok(digest(JoinToken::parse(&text).ok_or_else(no_token)?.secret()))
        });
        let given = given.transpose()?;
        let path = data_dir.join(FILE);
        let damaged = || Error::Damaged { path: path.clone() };
        let stored: Stored = if let Some(text) = secret::find(&path)? {
            serde_json::from_str(&text).map_err(|_| damaged())?
        } else {
            let key = hex::encode(Zeroizing::new(entropy.bytes::<SECRET_BYTES>()));
            Stored { key, tokens: Vec::new() }
        };
        let signer = stored.signer().ok_or_else(damaged)?;
        let (stored, clock, entropy) = (RwLock::new((stored, signer)), Clock::system(), entropy.clone());
        let shared_time = RwLock::new(None);
        Ok(Self(Arc::new(Inner { path, commons: None, given, stored, shared_time, clock, entropy })))
    }

    /// Agrees with other nodes on the tokens and the key: all use the tokens and the key of the first node.
    ///
    /// # Errors
    /// [`Error::Shared`], [`Error::Damaged`].
    pub async fn share(self, commons: Arc<dyn Commons>) -> Result<Self, Error> {
        let Inner { path, given, clock, entropy, .. } = &*self.0;
        let stored = self.0.stored.read().clone();
        let shared = Self(Arc::new(Inner {
            path: path.clone(),
            commons: Some(Arc::clone(&commons)),
            given: *given,
            stored: RwLock::new(stored.clone()),
            shared_time: RwLock::new(None),
            clock: clock.clone(),
            entropy: entropy.clone(),
        }));
        if commons.word(WORD).await.map_err(Error::Shared)?.is_none() {
            // Another node may store the value first.
            commons.swap(WORD, None, &spelled(&stored.0)).await.map_err(Error::Shared)?;
        }
        shared.refresh().await?;
        Ok(shared)
    }

    /// Applies the changes of other nodes.
    ///
    /// # Errors
    /// [`Error::Shared`], [`Error::Damaged`].
    pub async fn refresh(&self) -> Result<(), Error> {
        let Some(commons) = &self.0.commons else { return Ok(()) };
        let word = commons.word(WORD).await.map_err(Error::Shared)?;
        let next = parse(word.as_deref()).ok_or_else(damaged_word)?;
        let steady = self.0.clock.steady();
        let now = commons.now().await.map_err(Error::Shared)?;
        *self.0.shared_time.write() = Some((now, steady));
        *self.0.stored.write() = next;
        Ok(())
    }

    /// Returns the time at which tokens expire or not: that of the clock that the nodes share, if there are several.
    fn now(&self) -> Timestamp {
        match *self.0.shared_time.read() {
            Some((shared, steady)) => shared.after(self.0.clock.steady().since(steady)),
            None => self.0.clock.now(),
        }
    }

    /// Stores the key that signs tickets, so that tickets stay valid after a restart.
    ///
    /// # Errors
    /// [`Error::Secret`].
    pub async fn keep(&self) -> Result<(), Error> {
        if self.0.commons.is_some() || self.0.path.exists() { Ok(()) } else { self.change(|_| {}).await }
    }

    /// Creates a token. Earlier ones stay valid for `keep`.
    ///
    /// # Errors [`Error::Secret`]. In that case nothing is changed.
    pub async fn issue(&self, keep: Duration, pin: Option<[u8; 32]>) -> Result<JoinToken, Error> {
        let now = self.now();
        let secret = Zeroizing::new(hex::encode(Zeroizing::new(self.0.entropy.bytes::<SECRET_BYTES>())));
        let until = now.after(keep);
        self.change(|stored| {
            stored.tokens.retain(|token| token.until.is_none_or(|until| until > now));
            for token in &mut stored.tokens {
                token.until = Some(token.until.map_or(until, |before| before.min(until)));
            }
            stored.tokens.push(StoredToken { sha256: hex::encode(digest(&secret)), until: None });
        })
        .await?;
        Ok(JoinToken::new(&secret, pin))
    }

    /// Revokes all tokens that [`issue`](Self::issue) has created; returns the number of those that were valid.
    ///
    /// # Errors [`Error::Secret`]. In that case nothing is changed.
    pub async fn revoke(&self) -> Result<usize, Error> {
        let now = self.now();
        let is_valid = |token: &&StoredToken| token.until.is_none_or(|until| until > now);
        let count = self.0.stored.read().0.tokens.iter().filter(is_valid).count();
        self.change(|stored| stored.tokens.clear()).await?;
        Ok(count)
    }

    async fn change(&self, change: impl Fn(&mut Stored)) -> Result<(), Error> {
        let Some(commons) = &self.0.commons else {
            let mut stored = self.0.stored.write();
            let mut next = stored.0.clone();
            change(&mut next);
            secret::write(&self.0.path, &spelled(&next))?;
            stored.0 = next;
            return Ok(());
        };
        loop {
            let word = commons.word(WORD).await.map_err(Error::Shared)?;
            let mut next = parse(word.as_deref()).ok_or_else(damaged_word)?;
            change(&mut next.0);
            if commons.swap(WORD, word.as_deref(), &spelled(&next.0)).await.map_err(Error::Shared)? {
                *self.0.stored.write() = next;
                return Ok(());
            }
        }
    }

    /// Checks that a request has a valid token. Takes the same time for all wrong tokens.
    pub(super) fn admit(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let Some(given) = headers.get(AUTHORIZATION) else {
            return Err(Problem::unauthorized(
                "the header Authorization is missing; it must hold the join token",
            ));
        };
        let found = digest(bare(given.to_str().unwrap_or_default()));
        let now = self.now();
        let mut admitted = self.0.given.map_or(Choice::from(0), |given| given.ct_eq(&found));
        for token in &self.0.stored.read().0.tokens {
            let is_valid = Choice::from(u8::from(token.until.is_none_or(|until| until > now)));
            admitted |= is_valid & hex::encode(found).as_bytes().ct_eq(token.sha256.as_bytes());
        }
        if admitted.into() {
            Ok(())
        } else {
            Err(Problem::unauthorized("the header Authorization does not hold a valid join token"))
        }
    }

    /// Signs a ticket for a lease.
    pub(super) fn ticket(&self, lease: LeaseId, attempt: u8) -> Ticket {
        let grant = hex::encode(hmac::sign(&self.0.stored.read().1, &signed(&lease, attempt)));
        Ticket { lease, attempt, grant }
    }

    /// Returns true if this service has signed the ticket.
    pub(super) fn has_signed(&self, ticket: &Ticket) -> bool {
        let message = signed(&ticket.lease, ticket.attempt);
        hex::decode(&ticket.grant)
            .is_ok_and(|tag| hmac::verify(&self.0.stored.read().1, &message, &tag).is_ok())
    }
}

impl fmt::Debug for JoinTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JoinTokens(***)")
    }
}

fn signed(lease: &LeaseId, attempt: u8) -> Vec<u8> {
    format!("{} {attempt} {}", lease.fence, lease.job).into_bytes()
}

fn digest(secret: &str) -> [u8; 32] {
    Sha256::digest(secret).into()
}

fn spelled(stored: &Stored) -> Zeroizing<String> {
    Zeroizing::new(serde_json::to_string(stored).expect("texts and numbers make JSON"))
}

fn parse(text: Option<&str>) -> Option<(Stored, hmac::Key)> {
    let stored: Stored = serde_json::from_str(text?).ok()?;
    let signer = stored.signer()?;
    Some((stored, signer))
}

fn damaged_word() -> Error {
    Error::Damaged { path: format!("the shared value {WORD} in the database").into() }
}

#[cfg(test)]
mod unit_tests {
    use super::*;
    use crate::queue::Fence;

    fn bearing(token: &JoinToken) -> HeaderMap {
        HeaderMap::from_iter([(AUTHORIZATION, format!("Bearer {}", token.secret()).parse().unwrap())])
    }

    #[tokio::test]
    async fn a_token_is_kept_as_a_digest_and_rotates() {
        let folder = tempfile::tempdir().unwrap();
        let open = || JoinTokens::open(folder.path(), None, &Entropy::system()).unwrap();
        let tokens = open();
        let first = tokens.issue(Duration::ZERO, None).await.unwrap();
        assert!(tokens.admit(&bearing(&first)).is_ok());
        let second = tokens.issue(Duration::from_hours(1), None).await.unwrap();
        let third = open().issue(Duration::ZERO, None).await.unwrap();
        let again = open();
        assert!(again.admit(&bearing(&third)).is_ok(), "it survives a restart");
        for ended in [&first, &second] {
            assert!(again.admit(&bearing(ended)).is_err());
        }
        assert!(tokens.admit(&bearing(&first)).is_ok() && tokens.admit(&bearing(&second)).is_ok());
        let text = std::fs::read_to_string(folder.path().join(FILE)).unwrap();
        assert!(!text.contains(third.secret()));
        assert_eq!(again.revoke().await.unwrap(), 1);
        assert!(again.admit(&bearing(&third)).is_err());
        assert!(again.admit(&HeaderMap::new()).is_err());
    }

    #[test]
    fn a_ticket_is_good_for_what_was_signed_alone() {
        let folder = tempfile::tempdir().unwrap();
        let tokens = JoinTokens::open(folder.path(), None, &Entropy::system()).unwrap();
        let ticket = tokens.ticket(LeaseId { job: "a/b".into(), fence: Fence::from_bits(1) }, 1);
        assert!(tokens.has_signed(&ticket));
        for wrong in [
            Ticket { attempt: 2, ..ticket.clone() },
            Ticket { grant: String::new(), ..ticket.clone() },
            Ticket { lease: LeaseId { job: "a/c".into(), ..ticket.lease.clone() }, ..ticket.clone() },
            Ticket { lease: LeaseId { fence: Fence::from_bits(2), ..ticket.lease.clone() }, ..ticket },
        ] {
            assert!(!tokens.has_signed(&wrong), "{wrong:?}");
        }
    }
}
