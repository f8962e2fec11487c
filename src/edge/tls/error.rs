//! Errors in certificates and keys.

use std::io;
use std::path::{Path, PathBuf};

use crate::runtime::clock::Timestamp;
use crate::system::permission::explained;
use crate::system::secret;

/// An error in certificates or keys. Its message is one line, with the file and a remedy.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read or written.
    #[error("cannot use {}: {cause}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The operating system's error.
        cause: io::Error,
    },
    /// The file has no certificate.
    #[error("{} contains no certificate in PEM", path.display())]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// The file has no private key.
    #[error("{} contains no private key; give one in PEM that is not encrypted", path.display())]
    NoKey {
        /// The file.
        path: PathBuf,
    },
    /// The private key needs a passphrase.
    #[error(
        "the private key in {} is encrypted, and the server cannot ask for its passphrase; decrypt it with `openssl pkey -in \
         FILE -out NEW-FILE`, and keep the new one readable by the server alone",
        path.display()
    )]
    EncryptedKey {
        /// The file.
        path: PathBuf,
    },
    /// The content of a file cannot be used.
    #[error("{} cannot be used: {problem}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// The problem.
        problem: String,
    },
    /// The key does not belong to the certificate.
    #[error("the private key in {} does not belong to the certificate in {}", key.display(), certificate.display())]
    Mismatch {
        /// The file of the certificate.
        certificate: PathBuf,
        /// The file of the private key.
        key: PathBuf,
    },
    /// The certificate has expired.
    #[error("the certificate in {} expired at {ended}; renew it", path.display())]
    Expired {
        /// The file.
        path: PathBuf,
        /// The time of expiry.
        ended: Timestamp,
    },
    /// The certificate is not valid yet.
    #[error("the certificate in {} is not valid before {begins}; is the clock right?", path.display())]
    NotYetValid {
        /// The file.
        path: PathBuf,
        /// The time from which it is valid.
        begins: Timestamp,
    },
    /// The file of the authorities of client certificates cannot be used.
    #[error(transparent)]
    ClientAuthorities(Box<Error>),
    /// The key file is insecure or invalid: for example, other users may write it.
    #[error(transparent)]
    Secret(#[from] secret::Error),
    /// No certificate could be generated.
    #[error("cannot generate a certificate: {0}")]
    Making(#[from] rcgen::Error),
}

impl Error {
    /// Returns the error for a file that cannot be read or written.
    pub(super) fn file(path: &Path, cause: io::Error) -> Self {
        Self::File { path: path.to_owned(), cause: explained(path, cause) }
    }

    /// Returns the error for a file whose content cannot be used.
    pub(super) fn unusable(path: &Path, problem: &str) -> Self {
        Self::Unusable { path: path.to_owned(), problem: problem.to_owned() }
    }
}
