//! TLS on every listener: self-signed, configured and replaced certificates, and client certificates.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use reqwest::{Certificate, Client, ClientBuilder, Identity, StatusCode};
use tempfile::TempDir;

use crate::support::{Entityd, eventually};

/// A certificate authority.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut wanted = CertificateParams::new(Vec::new()).unwrap();
        wanted.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(wanted, KeyPair::generate().unwrap()).unwrap())
    }

    fn pem(&self) -> String {
        self.0.pem()
    }

    /// Issues a certificate. Returns it and its private key, both in PEM.
    fn signs(&self, usage: ExtendedKeyUsagePurpose) -> (String, String) {
        let mut wanted = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        wanted.extended_key_usages = vec![usage];
        let key = KeyPair::generate().unwrap();
        (wanted.signed_by(&key, &self.0).unwrap().pem(), key.serialize_pem())
    }

    /// Returns a client that trusts this authority.
    fn client(&self) -> ClientBuilder {
        entityd::edge::tls::install_provider();
        Client::builder()
            .tls_certs_only([Certificate::from_pem(self.pem().as_bytes()).unwrap()])
            .pool_max_idle_per_host(0)
    }
}

/// The files with a certificate and with its private key.
struct Files {
    folder: TempDir,
}

impl Files {
    fn new(pair: &(String, String)) -> Self {
        let files = Self { folder: TempDir::new().unwrap() };
        files.write(pair);
        files
    }

    /// Writes the two files one after the other, as an operator would.
    fn write(&self, (certificate, key): &(String, String)) {
        fs::write(self.path("certificate"), certificate).unwrap();
        fs::write(self.path("key"), key).unwrap();
        fs::set_permissions(self.path("key"), fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn flags(&self) -> [String; 4] {
        let path = |name| self.path(name).display().to_string();
        ["--tls-cert".to_owned(), path("certificate"), "--tls-key".to_owned(), path("key")]
    }
}

fn serve(flags: &[String]) -> Entityd {
    Entityd::with(&flags.iter().map(String::as_str).collect::<Vec<_>>())
}

fn status(address: SocketAddr) -> String {
    format!("https://{address}/api/v1/status")
}

/// Returns the error of a server that does not start.
fn complaint(flags: &[&str]) -> String {
    let folder = TempDir::new().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_entityd"));
    command.args([
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--s3-listen",
        "127.0.0.1:0",
        "--ops-listen",
        "127.0.0.1:0",
    ]);
    let output = command.arg("--data-dir").arg(folder.path().join("data")).args(flags).output().unwrap();
    assert!(!output.status.success());
    String::from_utf8(output.stderr).unwrap().trim_end().to_owned()
}

#[tokio::test]
async fn a_self_signed_certificate_is_kept_and_every_listener_presents_it() {
    let server = Entityd::with(&["--tls", "self-signed"]);
    let made = fs::read(server.data_dir().join("tls/certificate.pem")).unwrap();
    entityd::edge::tls::install_provider();
    let client = Client::builder().tls_certs_only([Certificate::from_pem(&made).unwrap()]).build().unwrap();
    let doors = server.doors();
    let answer = client.get(status(doors.api)).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.headers()["strict-transport-security"], "max-age=31536000");
    assert_eq!(client.get(format!("https://{}/healthz", doors.ops)).send().await.unwrap().status(), 200);
    assert!(client.get(format!("https://{}/", doors.s3)).send().await.unwrap().status().as_u16() >= 400);
    let (_, folder) = server.stop();
    let again = Entityd::in_folder(folder, &["--tls", "self-signed"]);
    assert_eq!(fs::read(again.data_dir().join("tls/certificate.pem")).unwrap(), made);
    assert_eq!(client.get(status(again.doors().api)).send().await.unwrap().status(), 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_is_swapped_under_load_and_no_request_fails() {
    let authority = Authority::new();
    let pair = || authority.signs(ExtendedKeyUsagePurpose::ServerAuth);
    let files = Files::new(&pair());
    let server = serve(&files.flags());
    let (url, stop) = (status(server.doors().api), Arc::new(AtomicBool::new(false)));
    let done = Arc::new(AtomicUsize::new(0));
    let callers: Vec<_> = (0..4)
        .map(|_| {
            // The client keeps no idle connections, so that each request opens a new one.
            let (client, url) = (authority.client().build().unwrap(), url.clone());
            let (stop, done) = (Arc::clone(&stop), Arc::clone(&done));
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    assert_eq!(client.get(&url).send().await.unwrap().status(), 200);
                    done.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let reads = |count: usize| {
        let server = &server;
        async move {
            eventually("the certificate is read again", async || {
                (server.log().matches("TLS certificate reloaded").count() >= count).then_some(())
            })
            .await;
        }
    };
    for swap in 1..=2 {
        files.write(&pair());
        reads(swap).await;
    }
    // If the new certificate does not match the key, the old one stays in use, and the log reports that.
    fs::write(files.path("certificate"), pair().0).unwrap();
    eventually("the mistake is logged", async || {
        server.log().contains("keeping the old one: the private key in").then_some(())
    })
    .await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    stop.store(true, Ordering::Relaxed);
    for caller in callers {
        caller.await.unwrap();
    }
    assert!(done.load(Ordering::Relaxed) > 20);
}

#[tokio::test]
async fn clients_need_a_certificate_where_it_is_required_and_probes_do_not() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let files = Files::new(&authority.signs(ExtendedKeyUsagePurpose::ServerAuth));
    fs::write(files.path("authority"), authority.pem()).unwrap();
    let mut flags = files.flags().to_vec();
    flags.extend(["--tls-client-ca".to_owned(), files.path("authority").display().to_string()]);
    let server = serve(&flags);
    let doors = server.doors();
    let identity = |(certificate, key): (String, String)| {
        Identity::from_pem(format!("{certificate}{key}").as_bytes()).unwrap()
    };
    let client = |signer: &Authority| {
        let identity = identity(signer.signs(ExtendedKeyUsagePurpose::ClientAuth));
        authority.client().identity(identity).build().unwrap()
    };
    assert_eq!(client(&authority).get(status(doors.api)).send().await.unwrap().status(), 200);
    let without_certificate = authority.client().build().unwrap();
    assert!(without_certificate.get(status(doors.api)).send().await.is_err());
    assert!(client(&stranger).get(status(doors.api)).send().await.is_err());
    let probe = without_certificate.get(format!("https://{}/healthz", doors.ops)).send().await.unwrap();
    assert_eq!(probe.status(), 200);
}

#[tokio::test]
async fn a_plain_listener_redirects_to_the_one_with_tls() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let server = Entityd::with(&["--tls", "self-signed", "--redirect-listen", &free.to_string()]);
    let ask = |request: &str| {
        let mut stream = TcpStream::connect(free).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    let answer = ask("GET /api/v1/status?a=b HTTP/1.1\r\nHost: example.org:80\r\nConnection: close\r\n\r\n");
    let there = format!("location: https://example.org:{}/api/v1/status?a=b\r\n", server.doors().api.port());
    assert!(answer.starts_with("HTTP/1.1 308 ") && answer.contains(&there), "{answer}");
    assert!(ask("GET / HTTP/1.0\r\n\r\n").starts_with("HTTP/1.0 400 "));
}

#[test]
fn an_unusable_certificate_is_reported_in_one_line_at_start() {
    let authority = Authority::new();
    let pair = || authority.signs(ExtendedKeyUsagePurpose::ServerAuth);
    let (one, other) = (Files::new(&pair()), Files::new(&pair()));
    let text = |path: &Path| path.display().to_string();
    let (certificate, key) = (text(&one.path("certificate")), text(&other.path("key")));
    let begin = "entityd: cannot use the certificate of the listeners (--tls-cert, --tls-key): ";
    let said = complaint(&["--tls-cert", &certificate, "--tls-key", &key]);
    assert_eq!(
        said,
        format!("{begin}the private key in {key} does not belong to the certificate in {certificate}")
    );
    let said = complaint(&["--tls-cert", &certificate, "--tls-key", "/nowhere"]);
    assert!(
        said.starts_with(&format!("{begin}cannot use /nowhere: ")) && said.lines().count() == 1,
        "{said}"
    );
    let said = complaint(&["--tls-cert", &certificate]);
    assert!(said.contains("tls_cert") && said.contains("tls_key") && said.lines().count() == 1, "{said}");
    let said = complaint(&["--redirect-listen", "127.0.0.1:1"]);
    assert!(said.contains("redirect_listen") && said.contains("tls_cert"), "{said}");
}

/// Runs `openssl` in a folder.
fn openssl(folder: &Path, arguments: &str) {
    let output = Command::new("openssl").args(arguments.split(' ')).current_dir(folder).output();
    let output = output.expect("openssl is installed (tests/run does that)");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn certificates_and_keys_that_cannot_be_used_are_explained() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    openssl(
        folder.path(),
        "req -new -newkey rsa:2048 -nodes -keyout key -out request -subj /CN=node.example",
    );
    openssl(folder.path(), "x509 -req -in request -signkey key -out first");
    openssl(folder.path(), "req -x509 -key key -subj /CN=node.example -out third");
    openssl(folder.path(), "pkcs8 -topk8 -in key -out sealed -passout pass:word");
    openssl(folder.path(), "rsa -in key -traditional -aes128 -passout pass:word -out sealed-too");
    openssl(folder.path(), "x509 -in third -outform DER -out bytes");
    for name in ["sealed", "sealed-too", "key"] {
        fs::set_permissions(folder.path().join(name), fs::Permissions::from_mode(0o600)).unwrap();
    }
    for (certificate, key, said) in [
        ("first", "key", "version 1"),
        ("third", "sealed", "is encrypted"),
        ("third", "sealed-too", "is encrypted"),
        ("bytes", "key", "it is DER"),
    ] {
        let complaint = complaint(&["--tls-cert", &path(certificate), "--tls-key", &path(key)]);
        assert!(
            complaint.contains(said) && complaint.contains(folder.path().to_str().unwrap()),
            "{complaint}"
        );
        assert_eq!(complaint.lines().count(), 1, "{complaint}");
    }
    let marked = [b"\xef\xbb\xbf".as_slice(), &fs::read(folder.path().join("third")).unwrap()].concat();
    fs::write(folder.path().join("third"), marked).unwrap();
    drop(Entityd::with(&["--tls-cert", &path("third"), "--tls-key", &path("key")]));
}

#[test]
fn a_self_signed_certificate_that_is_not_valid_yet_is_replaced() {
    let (status, folder) = Entityd::with(&["--tls", "self-signed"]).stop();
    assert!(status.success());
    let tls = folder.path().join("data/tls");
    let mut wanted = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    wanted.not_before = rcgen::date_time_ymd(2090, 1, 1);
    let key = KeyPair::generate().unwrap();
    let early = wanted.self_signed(&key).unwrap().pem();
    fs::write(tls.join("self-signed.pem"), format!("{early}{}", key.serialize_pem())).unwrap();
    let server = Entityd::in_folder(folder, &["--tls", "self-signed"]);
    assert_ne!(fs::read_to_string(server.data_dir().join("tls/certificate.pem")).unwrap(), early);
    let log = server.log();
    assert!(
        log.contains("a new self-signed certificate was generated") && log.contains("fingerprint"),
        "{log}"
    );
}
