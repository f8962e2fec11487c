//! A certificate with its private key, read from files and checked.

use std::fs::File;
use std::io::Read;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{InconsistentKeys, RootCertStore};
use sha2::{Digest, Sha256};
use x509_parser::extensions::GeneralName;
use x509_parser::parse_x509_certificate;
use x509_parser::time::ASN1Time;
use x509_parser::x509::X509Version;
use zeroize::Zeroizing;

use super::Error;
use crate::runtime::clock::Timestamp;
use crate::system::{regular, secret, text};

/// The maximum size of a file that is read, since a device may have no end.
const FILE_BYTES_MAX: u64 = 4 << 20;
/// The time before the expiry of a certificate at which the server begins to warn.
const WARNED_BEFORE: Duration = Duration::from_hours(14 * 24);

/// The texts that mark an encrypted private key, in the newer and in the older format.
const ENCRYPTED: [&[u8]; 2] = [b"-----BEGIN ENCRYPTED PRIVATE KEY-----", b"Proc-Type: 4,ENCRYPTED"];
/// The first bytes of certificates and keys in DER: a sequence of 256 bytes or more.
const DER: &[u8] = &[0x30, 0x82];
/// The version of X.509 that has extensions, which contain the names.
const VERSION: X509Version = X509Version::V3;

/// The message about a private key that the library does not support.
const KEY_KINDS: &str = "its private key is of a kind that is not supported, or damaged; use ECDSA on P-256 or P-384, RSA of \
                         2048 to 8192 bits, or Ed25519";

/// A certificate that is valid now, with its chain and its private key.
pub(super) struct Pair {
    pub(super) certified: CertifiedKey,
    /// The SHA-256 of the certificate, in the format of `openssl x509 -fingerprint`.
    pub(super) fingerprint: String,
    /// The time at which the certificate expires.
    pub(super) ends: Timestamp,
    /// The hosts and addresses for which the certificate is valid.
    pub(super) names: Vec<String>,
    /// True if the certificate may sign others. Strict clients refuse such a server.
    pub(super) is_authority: bool,
}

impl Pair {
    /// Reads and checks a certificate and its key; both may be in one file.
    pub(super) fn read(
        certificate: &Path,
        key: &Path,
        provider: &CryptoProvider,
        now: Timestamp,
    ) -> Result<Self, Error> {
        let chain = certificates(certificate)?;
        let Inspected { fingerprint, ends, names, is_authority } = inspect(certificate, &chain[0], now)?;
        let private_key = private_key(key)?;
        let certified =
            CertifiedKey::from_der(chain, private_key, provider).map_err(|error| match error {
                rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                    Error::Mismatch { certificate: certificate.to_owned(), key: key.to_owned() }
                }
                rustls::Error::General(_) => Error::unusable(key, KEY_KINDS),
                other => Error::unusable(key, &other.to_string()),
            })?;
        Ok(Self { certified, fingerprint, ends, names, is_authority })
    }
}

/// A certificate that a server would present.
#[derive(Clone, Debug)]
pub struct Found {
    /// The time at which the certificate expires.
    pub ends: Timestamp,
    /// The hosts and addresses for which the certificate is valid.
    pub names: Vec<String>,
    /// True if the certificate may sign others (`CA:TRUE`). Clients that are strict, as this program's, refuse such a server.
    pub is_authority: bool,
}

/// Reads and checks a certificate and its key in the same way as a starting server.
///
/// # Errors
/// [`Error`].
pub fn look(certificate: &Path, key: &Path, now: Timestamp) -> Result<Found, Error> {
    let provider = rustls::crypto::ring::default_provider();
    let Pair { ends, names, is_authority, .. } = Pair::read(certificate, key, &provider, now)?;
    Ok(Found { ends, names, is_authority })
}

/// Reads the authorities that sign client certificates.
pub(super) fn authorities(path: &Path) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|error| Error::unusable(path, &error.to_string()))?;
    }
    Ok(roots)
}

/// Reads all certificates of a file, at least one.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let text = read(path, |_| Ok(()))?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(unmarked(path, &text)?).collect();
    match found {
        Ok(found) if found.is_empty() => Err(Error::NoCertificate { path: path.to_owned() }),
        Ok(found) => Ok(found),
        // The library's error is not used, since it contains bytes of the file.
        Err(pem::Error::MissingSectionEnd { .. }) => {
            Err(Error::unusable(path, "it ends in the middle of a certificate; copy it again, in full"))
        }
        Err(_) => Err(Error::unusable(path, "it is not a PEM file; give one with lines of base64")),
    }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, Error> {
    let text = read(path, |file| {
        let metadata = file.metadata().map_err(|cause| Error::file(path, cause))?;
        Ok(secret::check(path, &metadata)?)
    })?;
    let text = unmarked(path, &text)?;
    if ENCRYPTED.iter().any(|sign| memchr::memmem::find(text, sign).is_some()) {
        return Err(Error::EncryptedKey { path: path.to_owned() });
    }
    PrivateKeyDer::from_pem_slice(text).map_err(|_| Error::NoKey { path: path.to_owned() })
}

/// Returns PEM text without its byte order mark; rejects DER and other encodings.
fn unmarked<'a>(path: &Path, bytes: &'a [u8]) -> Result<&'a [u8], Error> {
    if bytes.starts_with(DER) {
        return Err(Error::unusable(
            path,
            "it is DER; convert it to PEM with `openssl x509` or `openssl pkey`",
        ));
    }
    text::unmarked(bytes).map_err(|foreign| Error::unusable(path, &foreign.to_string()))
}

fn read(path: &Path, check: impl FnOnce(&File) -> Result<(), Error>) -> Result<Zeroizing<Vec<u8>>, Error> {
    let unusable = |cause| Error::file(path, cause);
    let file = regular::open(path).map_err(unusable)?;
    check(&file)?;
    let mut bytes = Zeroizing::new(Vec::new());
    file.take(FILE_BYTES_MAX).read_to_end(&mut bytes).map_err(unusable)?;
    Ok(bytes)
}

/// The fields of a certificate that are logged.
struct Inspected {
    fingerprint: String,
    ends: Timestamp,
    names: Vec<String>,
    is_authority: bool,
}

/// Inspects a certificate, and checks that it is valid now.
fn inspect(path: &Path, certificate: &[u8], now: Timestamp) -> Result<Inspected, Error> {
    let (_, parsed) = parse_x509_certificate(certificate)
        .map_err(|_| Error::unusable(path, "its first certificate is damaged; copy the file again"))?;
    if parsed.version() != VERSION {
        let problem = format!(
            "its first certificate is of X.509 version {}, which is refused; have one of version 3 made, with the names \
             of a server as subjectAltName",
            parsed.version().0 + 1
        );
        return Err(Error::unusable(path, &problem));
    }
    let moment = |time: ASN1Time| Timestamp::from_micros(time.timestamp().saturating_mul(1_000_000));
    let (begins, ends) = (moment(parsed.validity().not_before), moment(parsed.validity().not_after));
    if now < begins {
        return Err(Error::NotYetValid { path: path.to_owned(), begins });
    }
    if now > ends {
        return Err(Error::Expired { path: path.to_owned(), ended: ends });
    }
    if ends.since(now) < WARNED_BEFORE {
        tracing::warn!("the certificate in {} expires at {ends}; renew it", path.display());
    }
    let is_authority = parsed.is_ca();
    let alternatives = parsed.subject_alternative_name().ok().flatten();
    let names = alternatives.iter().flat_map(|names| &names.value.general_names);
    let names = names.filter_map(name).collect();
    Ok(Inspected { fingerprint: fingerprint(certificate), ends, names, is_authority })
}

/// Formats a host or an address in a certificate; `None` for other kinds of names.
fn name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => {
            let four = <[u8; 4]>::try_from(*bytes).ok().map(IpAddr::from);
            four.or_else(|| <[u8; 16]>::try_from(*bytes).ok().map(IpAddr::from))
                .map(|address| address.to_string())
        }
        _ => None,
    }
}

fn fingerprint(certificate: &[u8]) -> String {
    let digest = Sha256::digest(certificate);
    digest.iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(":")
}
