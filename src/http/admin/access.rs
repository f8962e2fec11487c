//! Access to the admin API by the admin token.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::extract::{FromRef, FromRequestParts};
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use parking_lot::RwLock;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::http::problem::Problem;
use crate::metadata::{self, Commons};
use crate::runtime::entropy::Entropy;
use crate::system::secret::{self, Hidden};

/// The file in the data directory that holds the SHA-256 of the admin token, in hex.
pub const FILE: &str = "admin-token";
/// The number of random bytes in a generated token.
const TOKEN_BYTES: usize = 32;

/// The minimum number of characters of a configured token: a shorter one could be guessed.
pub const TOKEN_CHARS_MIN: usize = 8;

/// An error in reading or making the admin token.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file with the token is missing, unreadable or writable by other users.
    #[error(transparent)]
    Secret(#[from] secret::Error),
    /// The stored digest is damaged.
    #[error(
        "{file} does not contain the digest of an admin token; remove it, and the next start generates another"
    )]
    Damaged {
        /// The file.
        file: String,
    },
    /// The state shared with the other nodes cannot be read or written.
    #[error("cannot agree with the other nodes")]
    Shared(#[source] metadata::Error),
}

/// The name of the shared value with the digest of the token.
const WORD: &str = FILE;

/// Checks that requests have the admin token, of which only a digest is stored. Cheap to clone.
#[derive(Clone)]
pub struct Access(Arc<RwLock<[u8; 32]>>);

/// The result of [`Access::open`].
pub struct Opened {
    /// The access.
    pub access: Access,
    /// The token, if this start has generated it.
    pub made: Option<Made>,
}

/// A token that this start has generated. It must be stored to be valid after a restart.
pub struct Made {
    token: Hidden,
    place: Place,
}

/// The location of the digest.
enum Place {
    File(PathBuf),
    /// The digest is in the database that all nodes share. If another node has stored a digest first, that one
    /// replaces the digest of this `Access`.
    Word(Arc<dyn Commons>, Access),
}

impl Made {
    /// Stores the digest of the token, and returns the token, which cannot be read again later. Returns `None` if
    /// another node has stored a digest in the meantime.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn keep(self) -> Result<Option<Zeroizing<String>>, Error> {
        let digest = Access::of(self.token.reveal()).digest();
        match self.place {
            Place::File(path) => secret::write(&path, &digest)?,
            Place::Word(commons, access) => {
                if !commons.swap(WORD, None, &digest).await.map_err(Error::Shared)? {
                    let word = commons.word(WORD).await.map_err(Error::Shared)?;
                    access.become_of(&word.unwrap_or_default())?;
                    return Ok(None);
                }
            }
        }
        Ok(Some(self.token.reveal().clone()))
    }
}

impl Opened {
    /// Agrees with other nodes on the token: all use that of the first node, unless the operator gives a token in a
    /// file.
    ///
    /// # Errors
    /// [`Error::Shared`], [`Error::Damaged`].
    pub async fn share(self, commons: Arc<dyn Commons>) -> Result<Self, Error> {
        let Self { access, made } = self;
        let mut word = commons.word(WORD).await.map_err(Error::Shared)?;
        if word.is_none() && made.is_none() {
            let digest = access.digest();
            if !commons.swap(WORD, None, &digest).await.map_err(Error::Shared)? {
                word = commons.word(WORD).await.map_err(Error::Shared)?;
            }
        }
        let Some(word) = word else {
            let made = made.map(|made| Made { place: Place::Word(commons, access.clone()), ..made });
            return Ok(Self { access, made });
        };
        access.become_of(&word)?;
        Ok(Self { access, made: None })
    }
}

impl Access {
    /// Returns the access for the token in the file `given`, or else for the one whose digest is in `data_dir`, or else
    /// for a new one.
    ///
    /// # Errors
    /// [`Error`].
    pub fn open(data_dir: &Path, given: Option<&Path>, entropy: &Entropy) -> Result<Opened, Error> {
        if let Some(file) = given {
            return Ok(Opened { access: Self::of(&secret::read_word(file, TOKEN_CHARS_MIN)?), made: None });
        }
        let path = data_dir.join(FILE);
        let Some(digest) = secret::find(&path)? else {
            let token = Zeroizing::new(hex::encode(Zeroizing::new(entropy.bytes::<TOKEN_BYTES>())));
            return Ok(Opened {
                access: Self::of(&token),
                made: Some(Made { token: Hidden::new(&token), place: Place::File(path) }),
            });
        };
        let mut bytes = [0; 32];
        let read = hex::decode_to_slice(digest.as_bytes(), &mut bytes);
        read.map_err(|_| Error::Damaged { file: path.display().to_string() })?;
        Ok(Opened { access: Self(Arc::new(RwLock::new(bytes))), made: None })
    }

    /// Returns the access for `token`.
    pub fn of(token: &str) -> Self {
        Self(Arc::new(RwLock::new(Sha256::digest(token).into())))
    }

    /// Returns the digest in hex.
    fn digest(&self) -> Zeroizing<String> {
        Zeroizing::new(hex::encode(*self.0.read()))
    }

    /// Replaces the digest: from now on, only its token is accepted.
    fn become_of(&self, digest: &str) -> Result<(), Error> {
        let mut bytes = [0; 32];
        let read = hex::decode_to_slice(digest, &mut bytes);
        read.map_err(|_| Error::Damaged { file: format!("the shared value {WORD} in the database") })?;
        *self.0.write() = bytes;
        Ok(())
    }

    /// Checks that a request has the token in the header `Authorization`, alone or after the word `Bearer`. Takes the
    /// same time for all wrong tokens.
    fn admits(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let Some(given) = headers.get(AUTHORIZATION) else { return Err(Problem::unauthorized(MISSING)) };
        let token = bare(given.to_str().unwrap_or_default());
        let admitted: bool = self.0.read().ct_eq(&*Self::of(token).0.read()).into();
        if admitted { Ok(()) } else { Err(Problem::unauthorized(WRONG)) }
    }
}

/// Returns the token in the header `Authorization`: alone, or after the word `Bearer`.
pub(in crate::http) fn bare(header: &str) -> &str {
    let text = header.trim();
    match text.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token.trim(),
        _ => text,
    }
}

const MISSING: &str = "the header Authorization is missing; it must hold the admin token";
const WRONG: &str = "the header Authorization does not hold the admin token";

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Access(***)")
    }
}

/// An extractor for handlers of admin requests. Requests without the admin token are answered with 401.
#[derive(Clone, Copy, Debug)]
pub(in crate::http) struct Administrator;

impl<S: Send + Sync> FromRequestParts<S> for Administrator
where
    Access: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        Access::from_ref(state).admits(&parts.headers).map(|()| Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(authorization: &str) -> HeaderMap {
        HeaderMap::from_iter([(AUTHORIZATION, authorization.parse().unwrap())])
    }

    #[tokio::test]
    async fn the_token_is_made_once_and_only_its_digest_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let entropy = Entropy::seeded(1);
        let first = Access::open(folder.path(), None, &entropy).unwrap();
        assert!(
            !folder.path().join(FILE).exists(),
            "a start that fails later keeps no token that was never shown"
        );
        let token = first.made.unwrap().keep().await.unwrap().unwrap();
        assert_eq!(token.len(), 2 * TOKEN_BYTES);
        let kept = std::fs::read_to_string(folder.path().join(FILE)).unwrap();
        assert!(!kept.contains(token.as_str()));
        let second = Access::open(folder.path(), None, &entropy).unwrap();
        assert!(second.made.is_none());
        assert!(second.access.admits(&headers(&token)).is_ok());
        std::fs::write(folder.path().join(FILE), "what").unwrap();
        assert!(matches!(Access::open(folder.path(), None, &entropy), Err(Error::Damaged { .. })));
    }

    #[test]
    fn a_given_token_needs_no_place_in_the_data_directory() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("given");
        secret::write(&file, "open-sesame").unwrap();
        let opened = Access::open(Path::new("/nowhere"), Some(&file), &Entropy::seeded(1)).unwrap();
        assert!(opened.made.is_none() && opened.access.admits(&headers("open-sesame")).is_ok());
    }

    #[test]
    fn the_token_comes_alone_or_after_bearer() {
        let access = Access::of("secret");
        for right in ["secret", "Bearer secret", "bearer  secret"] {
            assert!(access.admits(&headers(right)).is_ok(), "{right}");
        }
        for wrong in ["", "Secret", "Bearer", "Bearer secrets", "Basic secret"] {
            assert!(access.admits(&headers(wrong)).is_err(), "{wrong}");
        }
        assert!(access.admits(&HeaderMap::new()).is_err());
        assert_eq!(format!("{access:?}"), "Access(***)");
    }
}
