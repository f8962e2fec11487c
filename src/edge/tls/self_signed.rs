//! Generates a self-signed certificate.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, date_time_ymd};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::Error;
use super::pair::Pair;
use crate::runtime::clock::Timestamp;
use crate::system::secret;

/// The year from whose beginning the certificate is valid, up to the beginning of the year [`ENDS`]: a wrong clock of
/// this machine or of a client does not make it invalid. Both years are defaults of the library, and clients accept
/// them.
const BEGINS: i32 = 1975;
const ENDS: i32 = 4096;
/// The name in the certificate.
const NAME: &str = "entityd, self-signed";
/// The name of the file with the certificate only.
const PUBLIC: &str = "certificate.pem";
/// The remaining validity below which a certificate is replaced at the start.
const RENEWED_BEFORE: Duration = Duration::from_hours(30 * 24);

/// Returns the file in `folder` with certificate and private key. Generates them for `names` if there are none, or if
/// they expire soon. Writes the certificate also into a separate file, for clients.
pub(super) fn keep(
    folder: &Path,
    names: &[String],
    provider: &CryptoProvider,
    now: Timestamp,
) -> Result<PathBuf, Error> {
    let path = folder.join("self-signed.pem");
    let why = match Pair::read(&path, &path, provider, now) {
        Ok(pair) if pair.ends.since(now) > RENEWED_BEFORE => {
            warn_of_others(&path, &pair, names);
            return Ok(path);
        }
        Ok(pair) => Some(format!("it expires at {}", pair.ends)),
        Err(Error::File { cause, .. }) if cause.kind() == std::io::ErrorKind::NotFound => None,
        Err(error @ (Error::Expired { .. } | Error::NotYetValid { .. })) => Some(error.to_string()),
        Err(Error::Unusable { path, problem }) => {
            let problem = format!("{problem}; or remove it, and the next start makes another");
            return Err(Error::Unusable { path, problem });
        }
        Err(error) => return Err(error),
    };
    make(folder, &path, names)?;
    if let Some(why) = why {
        let Pair { fingerprint, .. } = Pair::read(&path, &path, provider, now)?;
        tracing::warn!(
            fingerprint,
            "a new self-signed certificate was generated, because the old one is no longer valid: {why}; clients that \
             trust the old one need {}",
            folder.join(PUBLIC).display()
        );
    }
    Ok(path)
}

/// Warns if the certificate is not valid for all `names`. Clients may trust it, so only the operator replaces it.
fn warn_of_others(path: &Path, pair: &Pair, names: &[String]) {
    let others: Vec<_> = names.iter().filter(|name| !pair.names.contains(name)).map(String::as_str).collect();
    if !others.is_empty() {
        tracing::warn!(
            "the self-signed certificate is not for {}, and clients that use that name reject it: remove {}, and \
             the next start generates another",
            others.join(", "),
            path.display()
        );
    }
}

fn make(folder: &Path, path: &Path, names: &[String]) -> Result<(), Error> {
    let mut wanted = CertificateParams::new(names)?;
    wanted.distinguished_name.push(DnType::CommonName, NAME);
    wanted.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    (wanted.not_before, wanted.not_after) = (date_time_ymd(BEGINS, 1, 1), date_time_ymd(ENDS, 1, 1));
    let key = KeyPair::generate()?;
    let certificate = wanted.self_signed(&key)?.pem();
    let public = folder.join(PUBLIC);
    if !is_ours_or_absent(&public) {
        let problem = "it is not a certificate that this server has generated, and it would be overwritten; move it away, or \
                       use it with --tls-cert and --tls-key"
            .to_owned();
        return Err(Error::Unusable { path: public, problem });
    }
    fs::write(&public, &certificate).map_err(|cause| Error::file(&public, cause))?;
    Ok(secret::write(path, &format!("{certificate}{}", key.serialize_pem()))?)
}

/// Returns true if nothing is lost by writing to `path`: it is missing, empty, or a certificate of this server.
fn is_ours_or_absent(path: &Path) -> bool {
    match fs::symlink_metadata(path) {
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
        Ok(found) => {
            let is_ours =
                |pem: CertificateDer<'_>| pem.windows(NAME.len()).any(|part| part == NAME.as_bytes());
            found.len() == 0 || CertificateDer::from_pem_file(path).is_ok_and(is_ours)
        }
    }
}
