//! The current certificate, reloaded when its files change.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::default_provider;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::SingleCertAndKey;
use serde::Serialize;
use tokio::signal::unix::Signal;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use super::pair::{self, Pair};
use super::{Error, self_signed};
use crate::runtime::clock::Clock;

/// The interval at which the files are checked.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// The application protocols, the preferred first.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// The TLS mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// TLS is on if a certificate is configured.
    Auto,
    /// TLS is on, with a generated certificate.
    SelfSigned,
    /// TLS is off.
    Off,
}

/// The source of the certificate.
#[derive(Clone, Debug)]
pub enum Source {
    /// Files in PEM that the operator maintains; reloaded when they change.
    Files {
        /// The file with the server's certificate and the intermediate certificates.
        certificate: PathBuf,
        /// The file with the private key of the certificate.
        key: PathBuf,
    },
    /// A generated certificate, stored in a folder.
    SelfSigned {
        /// The folder. It must exist.
        folder: PathBuf,
        /// The names and addresses of the server that clients may use.
        names: Vec<String>,
    },
}

/// The TLS settings.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The source of the certificate.
    pub source: Source,
    /// The file with the authorities that sign client certificates. If it is set, clients need a certificate.
    pub client_authorities: Option<PathBuf>,
}

/// The certificate that the listeners present to clients. It is reloaded when its files change.
pub struct Tls {
    files: Files,
    provider: Arc<CryptoProvider>,
    clock: Clock,
    presented: RwLock<Presented>,
}

/// The files to read.
#[derive(Clone, Debug)]
struct Files {
    certificate: PathBuf,
    key: PathBuf,
    client_authorities: Option<PathBuf>,
}

/// The certificate and keys that were read.
struct Presented {
    asking: Arc<ServerConfig>,
    open: Arc<ServerConfig>,
    fingerprint: String,
}

impl Tls {
    /// Reads the certificate, or generates one.
    ///
    /// # Errors
    /// [`Error`].
    pub fn open(settings: Settings, clock: Clock) -> Result<Arc<Self>, Error> {
        let provider = Arc::new(default_provider());
        let (certificate, key) = match settings.source {
            Source::Files { certificate, key } => (certificate, key),
            Source::SelfSigned { folder, names } => {
                let path = self_signed::keep(&folder, &names, &provider, clock.now())?;
                (path.clone(), path)
            }
        };
        let files = Files { certificate, key, client_authorities: settings.client_authorities };
        let presented = RwLock::new(read(&files, &provider, &clock)?);
        Ok(Arc::new(Self { files, provider, clock, presented }))
    }

    /// Returns the SHA-256 of the current certificate, as `openssl x509 -fingerprint` shows it.
    pub fn fingerprint(&self) -> String {
        self.presented.read().fingerprint.clone()
    }

    pub(super) fn presented(&self, asks_clients: bool) -> Arc<ServerConfig> {
        let presented = self.presented.read();
        Arc::clone(if asks_clients { &presented.asking } else { &presented.open })
    }

    /// Reloads the files whenever they change, and whenever the signal `hangup` is received. If the files cannot be
    /// used, logs the reason and keeps the old certificate. Never returns.
    pub async fn follow(self: Arc<Self>, mut hangup: Signal) {
        let mut seen = self.files.stamps();
        loop {
            let asked = tokio::select! {
                _ = hangup.recv() => true,
                () = sleep(LOOK_EVERY) => false,
            };
            // The stamps are taken before the files are read, so that a later change is detected next time.
            let found = self.files.stamps();
            if asked || found != seen {
                seen = found;
                let this = Arc::clone(&self);
                if let Err(error) = spawn_blocking(move || this.read_again()).await {
                    tracing::error!("reloading the TLS certificate failed: {error}");
                }
            }
        }
    }

    fn read_again(&self) {
        match read(&self.files, &self.provider, &self.clock) {
            Ok(presented) => {
                tracing::info!(fingerprint = presented.fingerprint, "TLS certificate reloaded");
                *self.presented.write() = presented;
            }
            Err(error) => {
                tracing::error!("rejecting the new TLS certificate and keeping the old one: {error}");
            }
        }
    }
}

impl Files {
    /// Returns the stamps of the files, which reveal a change; `None` for a file without access.
    fn stamps(&self) -> [Option<(u64, u64, i64, i64)>; 3] {
        let stamp = |path: &Path| {
            let found = fs::metadata(path).ok()?;
            // The time of the last change of content or permissions.
            Some((found.ino(), found.size(), found.ctime(), found.ctime_nsec()))
        };
        let authorities = self.client_authorities.as_deref().and_then(stamp);
        [stamp(&self.certificate), stamp(&self.key), authorities]
    }
}

fn read(files: &Files, provider: &Arc<CryptoProvider>, clock: &Clock) -> Result<Presented, Error> {
    let pair = Pair::read(&files.certificate, &files.key, provider, clock.now())?;
    let verifier = files.client_authorities.as_deref().map(|path| verifier(path, provider)).transpose();
    let verifier = verifier.map_err(|error| Error::ClientAuthorities(Box::new(error)))?;
    let resolver = Arc::new(SingleCertAndKey::from(pair.certified));
    let config = |verifier: Option<Arc<dyn ClientCertVerifier>>| {
        let versions = ServerConfig::builder_with_provider(Arc::clone(provider))
            .with_safe_default_protocol_versions()
            .expect("ring has what TLS 1.2 and 1.3 need");
        let clients = match verifier {
            Some(verifier) => versions.with_client_cert_verifier(verifier),
            None => versions.with_no_client_auth(),
        };
        let mut config = clients.with_cert_resolver(resolver.clone());
        config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).into();
        Arc::new(config)
    };
    Ok(Presented { asking: config(verifier), open: config(None), fingerprint: pair.fingerprint })
}

fn verifier(path: &Path, provider: &Arc<CryptoProvider>) -> Result<Arc<dyn ClientCertVerifier>, Error> {
    let roots = Arc::new(pair::authorities(path)?);
    WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(provider))
        .build()
        .map_err(|error| Error::Unusable { path: path.to_owned(), problem: error.to_string() })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::runtime::clock::Timestamp;

    /// A time on 2026-11-22.
    const NOW: Timestamp = Timestamp::from_micros(1_795_336_801_000_000);

    fn self_signed(folder: &Path, now: Timestamp) -> Result<Arc<Tls>, Error> {
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let source = Source::SelfSigned { folder: folder.to_owned(), names };
        Tls::open(Settings { source, client_authorities: None }, Clock::manual(now))
    }

    fn files(certificate: &Path, key: &Path, now: Timestamp) -> Result<Arc<Tls>, Error> {
        let source = Source::Files { certificate: certificate.to_owned(), key: key.to_owned() };
        Tls::open(Settings { source, client_authorities: None }, Clock::manual(now))
    }

    /// Writes a certificate that is valid from one year to the other, and its key, into one file.
    fn pair(path: &Path, (begins, ends): (i32, i32)) {
        let mut wanted = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        wanted.not_before = rcgen::date_time_ymd(begins, 1, 1);
        wanted.not_after = rcgen::date_time_ymd(ends, 1, 1);
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = wanted.self_signed(&key).unwrap().pem();
        fs::write(path, format!("{certificate}{}", key.serialize_pem())).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    }

    #[test]
    fn a_self_signed_certificate_is_made_once_and_is_good_whatever_the_clock_says() {
        let folder = tempfile::tempdir().unwrap();
        let first = self_signed(folder.path(), NOW).unwrap().fingerprint();
        assert_eq!(first.len(), 32 * 3 - 1);
        let path = folder.path().join("self-signed.pem");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        for years in [0, 20, 200] {
            let now = NOW.after(Duration::from_hours(years * 366 * 24));
            assert_eq!(self_signed(folder.path(), now).unwrap().fingerprint(), first);
        }
        let before = NOW.before(Duration::from_hours(40 * 366 * 24));
        assert_eq!(self_signed(folder.path(), before).unwrap().fingerprint(), first);
    }

    #[test]
    fn one_of_our_own_that_is_not_valid_is_made_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("self-signed.pem");
        for years in [(2030, 2040), (2010, 2020), (2016, 2027)] {
            pair(&path, years);
            let old = fs::read(&path).unwrap();
            let late = NOW.after(Duration::from_hours(20 * 24));
            self_signed(folder.path(), late).unwrap();
            assert_ne!(fs::read(&path).unwrap(), old, "{years:?}");
            assert!(self_signed(folder.path(), NOW).is_ok(), "{years:?}");
        }
    }

    #[test]
    fn files_with_a_byte_order_mark_are_read_and_others_are_named() {
        let folder = tempfile::tempdir().unwrap();
        self_signed(folder.path(), NOW).unwrap();
        let path = folder.path().join("self-signed.pem");
        let pem = fs::read_to_string(&path).unwrap();
        fs::write(&path, format!("\u{feff}{pem}")).unwrap();
        assert!(files(&path, &path, NOW).is_ok());
        let said = |bytes: &[u8]| {
            fs::write(&path, bytes).unwrap();
            files(&path, &path, NOW).err().expect("this is refused").to_string()
        };
        let wide: Vec<u8> = pem.encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert!(said(&wide).ends_with("it is text in UTF-16; save it as UTF-8"), "{}", said(&wide));
        assert!(said(&[0x30, 0x82, 1, 0]).contains("it is DER"));
        let encrypted = pem.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
        assert!(said(encrypted.as_bytes()).contains("is encrypted"), "{}", said(encrypted.as_bytes()));
    }

    #[test]
    fn an_unusable_certificate_is_reported_with_its_file() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        pair(&one.path().join("self-signed.pem"), (2026, 2036));
        self_signed(other.path(), NOW).unwrap();
        let (mine, theirs) = (one.path().join("self-signed.pem"), other.path().join("self-signed.pem"));
        let certificate = one.path().join("certificate.pem");
        let pem = fs::read_to_string(&mine).unwrap();
        fs::write(&certificate, pem.split_once("-----BEGIN PRIVATE").unwrap().0).unwrap();
        let said = |certificate: &Path, key: &Path, now| {
            let error = files(certificate, key, now).err().expect("this is refused").to_string();
            error
                .replace(one.path().to_str().unwrap(), "ONE")
                .replace(other.path().to_str().unwrap(), "OTHER")
        };
        assert!(files(&certificate, &mine, NOW).is_ok());
        assert_eq!(
            said(&mine, &theirs, NOW),
            "the private key in OTHER/self-signed.pem does not belong to the certificate in ONE/self-signed.pem"
        );
        let late = NOW.after(Duration::from_hours(20 * 365 * 24));
        assert_eq!(
            said(&mine, &mine, late),
            "the certificate in ONE/self-signed.pem expired at 2036-01-01T00:00:00; renew it"
        );
        assert_eq!(
            said(&mine, &mine, Timestamp::default()),
            "the certificate in ONE/self-signed.pem is not valid before 2026-01-01T00:00:00; is the clock right?"
        );
        fs::set_permissions(&certificate, fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(
            said(&mine, &certificate, NOW),
            "ONE/certificate.pem contains no private key; give one in PEM that is not encrypted"
        );
        fs::write(&theirs, "nonsense").unwrap();
        assert_eq!(said(&theirs, &mine, NOW), "OTHER/self-signed.pem contains no certificate in PEM");
        assert!(said(Path::new("/nowhere"), &mine, NOW).starts_with("cannot use /nowhere: No such file"));
        fs::set_permissions(&mine, fs::Permissions::from_mode(0o666)).unwrap();
        assert!(said(&certificate, &mine, NOW).contains("may be written by other users"));
    }

    #[test]
    fn a_bad_new_pair_leaves_the_old_one() {
        let folder = tempfile::tempdir().unwrap();
        self_signed(folder.path(), NOW).unwrap();
        let path = folder.path().join("self-signed.pem");
        let tls = files(&path, &path, NOW).unwrap();
        let (first, stamps) = (tls.fingerprint(), tls.files.stamps());
        fs::write(&path, "half a certif").unwrap();
        assert_ne!(tls.files.stamps(), stamps);
        tls.read_again();
        assert_eq!(tls.fingerprint(), first);
        fs::remove_file(&path).unwrap();
        self_signed(folder.path(), NOW).unwrap();
        tls.read_again();
        assert_ne!(tls.fingerprint(), first);
    }
}
