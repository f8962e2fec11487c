//! A certificate of our own making, for those who have none.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, date_time_ymd};
use rustls::crypto::CryptoProvider;

use super::Error;
use super::pair::Pair;
use crate::runtime::clock::Timestamp;
use crate::runtime::secret;

/// How many years it is good for.
const YEARS: i32 = 10;
/// A certificate that ends sooner than this is made anew at the start.
const RENEWED_BEFORE: Duration = Duration::from_hours(30 * 24);

/// The file in `folder` with certificate and private key, made for `names` if there is none that is good for a
/// while. The certificate alone is put beside it, to be given to clients.
pub(super) fn keep(
    folder: &Path,
    names: &[String],
    provider: &CryptoProvider,
    now: Timestamp,
) -> Result<PathBuf, Error> {
    let path = folder.join("self-signed.pem");
    let good = match Pair::read(&path, &path, provider, now) {
        Ok(pair) if pair.ends.since(now) > RENEWED_BEFORE => {
            warn_of_others(&path, &pair, names);
            true
        }
        Err(Error::File { cause, .. }) if cause.kind() == std::io::ErrorKind::NotFound => false,
        Ok(_) | Err(Error::Expired { .. }) => false,
        Err(Error::Unusable { path, problem }) => {
            let problem = format!("{problem}; or remove it, and the next start makes another");
            return Err(Error::Unusable { path, problem });
        }
        Err(error) => return Err(error),
    };
    if !good {
        make(folder, &path, names, now)?;
    }
    Ok(path)
}

/// Clients know the certificate by now, so that a new one is for the operator to decide.
fn warn_of_others(path: &Path, pair: &Pair, names: &[String]) {
    let others: Vec<_> = names.iter().filter(|name| !pair.names.contains(name)).map(String::as_str).collect();
    if !others.is_empty() {
        tracing::warn!(
            "the self-signed certificate is not for {}, and clients that come by that name refuse it: remove {}, and \
             the next start makes another",
            others.join(", "),
            path.display()
        );
    }
}

fn make(folder: &Path, path: &Path, names: &[String], now: Timestamp) -> Result<(), Error> {
    let year = year(now);
    let mut wanted = CertificateParams::new(names)?;
    wanted.distinguished_name.push(DnType::CommonName, "entityd, self-signed");
    wanted.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    // From the start of the year: clients' clocks may be behind.
    (wanted.not_before, wanted.not_after) = (date_time_ymd(year, 1, 1), date_time_ymd(year + YEARS, 1, 1));
    let key = KeyPair::generate()?;
    let certificate = wanted.self_signed(&key)?.pem();
    let public = folder.join("certificate.pem");
    fs::write(&public, &certificate).map_err(|cause| Error::File { path: public, cause })?;
    Ok(secret::write(path, &format!("{certificate}{}", key.serialize_pem()))?)
}

fn year(now: Timestamp) -> i32 {
    let moment = jiff::Timestamp::from_microsecond(now.as_micros()).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    i32::from(moment.to_zoned(jiff::tz::TimeZone::UTC).year())
}
