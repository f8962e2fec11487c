//! The root credentials: given by the operator, or generated at the first start.

use std::fmt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::runtime::entropy::Entropy;
use crate::system::secret;

/// Keys from documentation and examples, which attackers would try first.
const PUBLISHED: [&str; 14] = [
    "12345678",
    "accesskey",
    "adminadmin",
    "changeme",
    "garageadmin",
    "minio123",
    "minioadmin",
    "miniosecret",
    "miniostorage",
    "password",
    "rustfsadmin",
    "secretkey",
    "testtest",
    "verysecret",
];
/// The allowed number of characters of an access key.
const ACCESS_KEY_CHARS: std::ops::RangeInclusive<usize> = 3..=128;
/// The allowed number of characters of a secret key.
const SECRET_KEY_CHARS: std::ops::RangeInclusive<usize> = 8..=256;

/// The root credentials, which grant all rights.
#[derive(Clone)]
pub struct Root {
    /// The access key id.
    pub access_key: String,
    /// The secret key, with which requests are signed.
    pub secret_key: Zeroizing<String>,
}

/// Shows the access key id, and no secret.
impl fmt::Debug for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Root").field("access_key", &self.access_key).finish_non_exhaustive()
    }
}

/// The settings of the root credentials.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// The access key.
    pub access_key: Option<String>,
    /// The secret key, if it is given directly.
    pub secret_key: Option<Zeroizing<String>>,
    /// The file that holds the secret key.
    pub secret_key_file: Option<PathBuf>,
}

/// An error in the root credentials.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Only one of the two root credentials was given.
    #[error(
        "the S3 endpoint needs {missing} in addition to {given}; give both, or neither to have them generated"
    )]
    Half {
        /// The setting that is present.
        given: &'static str,
        /// The setting that is missing.
        missing: &'static str,
    },
    /// The secret key was given twice.
    #[error("the S3 secret key is given both directly and by --s3-secret-key-file; give one of them")]
    Twice,
    /// The key is published in examples.
    #[error("the S3 {which} key is published in examples; choose another")]
    Published {
        /// The published key: `access` or `secret`.
        which: &'static str,
    },
    /// The text cannot be an access key or a secret key.
    #[error(
        "the S3 {which} key must have {min} to {max} visible ASCII characters without `/`, `=`, `,` or quotes"
    )]
    Malformed {
        /// The key at fault: `access` or `secret`.
        which: &'static str,
        /// The minimum number of characters.
        min: usize,
        /// The maximum number of characters.
        max: usize,
    },
    /// The server's own file does not hold two valid keys.
    #[error("{} is damaged: {cause}; restore it, or remove it to have new credentials generated", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The fault of a key.
        cause: Box<Self>,
    },
    /// The file that holds the secret key cannot be used.
    #[error(transparent)]
    File(#[from] secret::Error),
}

impl Root {
    /// Returns the credentials in the settings, or else those in the file `kept`, which is created with mode 0600 at
    /// the first start. The second value is true if they are new.
    ///
    /// # Errors
    /// [`Error`].
    pub fn open(given: &Given, kept: &Path, entropy: &Entropy) -> Result<(Self, bool), Error> {
        if given.secret_key.is_some() && given.secret_key_file.is_some() {
            return Err(Error::Twice);
        }
        let read = |path| secret::read_word(path, *SECRET_KEY_CHARS.start());
        let from_file = given.secret_key_file.as_deref().map(read).transpose()?;
        match (given.access_key.clone(), given.secret_key.clone().or(from_file)) {
            (Some(access_key), Some(secret_key)) => {
                Self { access_key, secret_key }.checked().map(|root| (root, false))
            }
            (Some(_), None) => Err(Error::Half { given: "--s3-access-key", missing: "--s3-secret-key-file" }),
            (None, Some(_)) => Err(Error::Half { given: "a secret key", missing: "--s3-access-key" }),
            (None, None) => Self::keep(kept, entropy),
        }
    }

    /// Reads or makes the server's own credentials: two words in one file.
    fn keep(path: &Path, entropy: &Entropy) -> Result<(Self, bool), Error> {
        let make = || {
            let access_key = hex::encode_upper(entropy.bytes::<10>());
            let secret_key = Zeroizing::new(hex::encode(entropy.bytes::<20>()));
            Zeroizing::new(format!("{access_key} {}", secret_key.as_str()))
        };
        let (text, is_new) = secret::keep(path, make)?;
        let (access_key, secret_key) =
            text.split_once(' ').ok_or_else(|| secret::Error::Malformed { path: path.to_owned() })?;
        let root =
            Self { access_key: access_key.to_owned(), secret_key: Zeroizing::new(secret_key.to_owned()) };
        let damaged = |cause| Error::Damaged { path: path.to_owned(), cause: Box::new(cause) };
        Ok((root.checked().map_err(damaged)?, is_new))
    }

    fn checked(self) -> Result<Self, Error> {
        check("access", &self.access_key, &ACCESS_KEY_CHARS, "/=,\"'")?;
        check("secret", &self.secret_key, &SECRET_KEY_CHARS, "")?;
        Ok(self)
    }
}

fn check(
    which: &'static str,
    key: &str,
    chars: &std::ops::RangeInclusive<usize>,
    barred: &str,
) -> Result<(), Error> {
    let lower = key.to_ascii_lowercase();
    if lower.contains("example") || PUBLISHED.contains(&lower.as_str()) {
        return Err(Error::Published { which });
    }
    let visible = key.bytes().all(|byte| byte.is_ascii_graphic() && !barred.as_bytes().contains(&byte));
    if visible && chars.contains(&key.len()) {
        Ok(())
    } else {
        Err(Error::Malformed { which, min: *chars.start(), max: *chars.end() })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn given(access_key: &str, secret_key: &str) -> Given {
        Given {
            access_key: Some(access_key.to_owned()),
            secret_key: Some(Zeroizing::new(secret_key.to_owned())),
            secret_key_file: None,
        }
    }

    #[test]
    fn without_any_they_are_made_once_and_for_one_user() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s3-root");
        let entropy = Entropy::seeded(1);
        let (first, is_new) = Root::open(&Given::default(), &path, &entropy).unwrap();
        assert!(is_new && first.access_key.len() == 20 && first.secret_key.len() == 40);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let (again, is_new) = Root::open(&Given::default(), &path, &entropy).unwrap();
        assert!(!is_new);
        assert_eq!((again.access_key, again.secret_key), (first.access_key, first.secret_key));
    }

    #[test]
    fn a_damaged_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s3-root");
        let entropy = Entropy::seeded(1);
        Root::open(&Given::default(), &path, &entropy).unwrap();
        let whole = fs::read_to_string(&path).unwrap();
        fs::write(&path, whole.trim_end().replacen(' ', " \u{7f}", 1)).unwrap();
        let refused = Root::open(&Given::default(), &path, &entropy).map(|_| ()).unwrap_err().to_string();
        assert!(refused.contains("s3-root is damaged: the S3 secret key must have"), "{refused}");
    }

    #[test]
    fn published_keys_are_refused() {
        for (access, secret) in [
            ("minioadmin", "a-secret-of-mine"),
            ("owner", "minioadmin"),
            ("owner", "MinioAdmin"),
            ("AKIAIOSFODNN7EXAMPLE", "a-secret-of-mine"),
            ("owner", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
            ("EXAMPLE_UPLOAD_KEY", "a-secret-of-mine"),
        ] {
            let refused = Root::open(&given(access, secret), Path::new("/nowhere"), &Entropy::seeded(1));
            assert!(matches!(refused, Err(Error::Published { .. })), "{access} {secret}");
        }
        assert!(
            Root::open(&given("owner", "a-secret/of+mine="), Path::new("/nowhere"), &Entropy::seeded(1))
                .is_ok()
        );
    }

    #[test]
    fn half_a_pair_is_refused() {
        let entropy = Entropy::seeded(1);
        let mut half = given("owner", "a-secret-of-mine");
        half.secret_key = None;
        assert!(matches!(Root::open(&half, Path::new("/nowhere"), &entropy), Err(Error::Half { .. })));
        let mut twice = given("owner", "a-secret-of-mine");
        twice.secret_key_file = Some(PathBuf::from("/nowhere"));
        assert!(matches!(Root::open(&twice, Path::new("/nowhere"), &entropy), Err(Error::Twice)));
        for (access, secret) in
            [("ow ner", "a-secret-of-mine"), ("a/b", "a-secret-of-mine"), ("owner", "short")]
        {
            let refused = Root::open(&given(access, secret), Path::new("/nowhere"), &entropy);
            assert!(matches!(refused, Err(Error::Malformed { .. })), "{access}");
        }
    }

    #[test]
    fn nothing_prints_the_secret() {
        let root = Root {
            access_key: "owner".to_owned(),
            secret_key: Zeroizing::new("a-secret-of-mine".to_owned()),
        };
        assert!(!format!("{root:?}").contains("secret-of"));
    }
}
