//! Profiles: files with a server, a project and its tokens, which only their owner can read.

use std::fs::{self, File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

use crate::cli::destination::followed;
use crate::cli::exit::Failure;
use crate::system::{regular, text};

/// The maximum number of bytes of a profile.
const BYTES_MAX: u64 = 1 << 20;

/// A token in a profile.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Token(Zeroizing<String>);

impl Token {
    /// Returns a token that the server has issued, for a profile.
    pub(super) fn new(token: &str) -> Self {
        Self(Zeroizing::new(token.to_owned()))
    }

    /// Returns the token without surrounding whitespace.
    pub(super) fn reveal(&self) -> Zeroizing<String> {
        Zeroizing::new(self.0.trim().to_owned())
    }
}

impl<'de> Deserialize<'de> for Token {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|token| Self(Zeroizing::new(token)))
    }
}

impl Serialize for Token {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// The content of a profile. The response to creating a project is a valid profile as well.
#[derive(Clone, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Profile {
    /// The address of the server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) server: Option<String>,
    /// A certificate to trust.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ca: Option<PathBuf>,
    /// The project.
    #[serde(alias = "project", skip_serializing_if = "Option::is_none")]
    pub(super) project_id: Option<String>,
    /// Set if the uploads of the project have blocks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) blocks: Option<bool>,
    /// The number of the party that owns the profile, from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) party: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) result_token: Option<Token>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) update_token: Option<Token>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) update_tokens: Vec<Token>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) receipt_token: Option<Token>,
}

impl Profile {
    /// Reads a profile: TOML, or the JSON response to creating a project.
    pub(super) fn read(path: &Path) -> Result<Self, Failure> {
        let failed = |error: io::Error| Failure::unusable("--profile", path, &error);
        let file = regular::open(path).map_err(failed)?;
        check(path, &file)?;
        // The buffer has its final size: growing it would leave copies of secrets behind.
        let mut bytes =
            Zeroizing::new(Vec::with_capacity(file.metadata().map_err(failed)?.len() as usize + 1));
        file.take(BYTES_MAX).read_to_end(&mut bytes).map_err(failed)?;
        let refused = |problem: &dyn std::fmt::Display| Failure::unusable("--profile", path, problem);
        let text = text::unmarked(&bytes).map_err(|error| refused(&error))?;
        let text = str::from_utf8(text).map_err(|_| refused(&"it is not text in UTF-8"))?;
        // The messages of the parsers quote the text, which contains tokens.
        if is_json(text) {
            return serde_json::from_str(text).map_err(|error| {
                let (line, column) = (error.line(), error.column());
                refused(&format!(
                    "line {line}, column {column}: this is not the response to creating a project"
                ))
            });
        }
        toml::from_str(text).map_err(|error| {
            let start = error.span().map_or(0, |span| span.start);
            let line = text.get(..start).unwrap_or_default().matches('\n').count() + 1;
            refused(&format!(
                "line {line}: expected `name = \"value\"` with one of server, ca, project_id, blocks, party, result_token, \
                 update_token, update_tokens, receipt_token"
            ))
        })
    }

    /// Writes a new profile, which only its owner can read.
    pub(super) fn create(&self, path: &Path) -> Result<(), Failure> {
        let failed = |error: io::Error| Failure::Failed(format!("cannot write {}: {error}", path.display()));
        self.write(path)
            .and_then(|file| file.persist_noclobber(path).map(drop).map_err(io::Error::from))
            .map_err(failed)
    }

    /// Replaces a profile. Returns false and leaves the file as it is if the file is the JSON response to creating a
    /// project.
    pub(super) fn replace(&self, path: &Path) -> Result<bool, Failure> {
        let failed = |error: io::Error| Failure::Failed(format!("cannot write {}: {error}", path.display()));
        let present = Zeroizing::new(fs::read_to_string(path).map_err(failed)?);
        if is_json(&present) {
            return Ok(false);
        }
        let written = followed(path)
            .and_then(|path: PathBuf| self.write(&path)?.persist(path).map_err(io::Error::from));
        written.map_err(failed).map(|_| true)
    }

    fn write(&self, path: &Path) -> io::Result<tempfile::NamedTempFile> {
        let text = Zeroizing::new(toml::to_string(self).map_err(io::Error::other)?);
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let mut builder = tempfile::Builder::new();
        builder.permissions(Permissions::from_mode(0o600));
        let mut file = builder.tempfile_in(folder.unwrap_or(Path::new(".")))?;
        file.write_all(text.as_bytes())?;
        file.as_file().sync_all()?;
        Ok(file)
    }
}

fn is_json(text: &str) -> bool {
    text.trim_start().starts_with('{')
}

/// Rejects a file that other users may read or write.
fn check(path: &Path, file: &File) -> Result<(), Failure> {
    let metadata = file.metadata();
    let metadata = metadata.map_err(|error| Failure::unusable("--profile", path, &error))?;
    if metadata.mode() & 0o077 != 0 {
        return Err(Failure::Usage(format!(
            "--profile {}: it holds tokens, but other users may open it (mode {:04o}); restrict it with `chmod 600`",
            path.display(),
            metadata.mode() & 0o7777
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str, mode: u32) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("profile");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        (folder, path)
    }

    #[test]
    fn a_profile_is_read_back_and_closed_to_others() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("party-1.toml");
        let secret = |text: &str| Some(Token::new(text));
        let profile = Profile { party: Some(1), update_token: secret("u"), ..Profile::default() };
        profile.create(&path).unwrap();
        assert!(profile.create(&path).is_err(), "a profile is not overwritten");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        let mut read = Profile::read(&path).unwrap();
        assert!(read.party == Some(1) && read.update_token == secret("u"));
        read.receipt_token = secret("r");
        assert!(read.replace(&path).unwrap());
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert!(Profile::read(&path).unwrap().receipt_token == secret("r"));
    }

    #[test]
    fn a_profile_that_others_may_read_is_refused() {
        for (mode, refused) in [(0o600, false), (0o400, false), (0o640, true), (0o604, true)] {
            let (_folder, path) = written("server = \"http://a\"\n", mode);
            assert_eq!(Profile::read(&path).is_err(), refused, "{mode:o}");
        }
    }

    #[test]
    fn a_profile_that_is_missing_is_a_usage_error() {
        let refused = Profile::read(Path::new("/none/profile.toml")).err();
        assert!(
            matches!(refused, Some(Failure::Usage(said)) if said.starts_with("--profile /none/profile.toml: "))
        );
    }

    #[test]
    fn a_mistake_is_named_without_the_tokens() {
        for text in [
            "server = \"http://a\"\ntoken = \"5ecret\"\n",
            "result_token = 5ecret\n",
            "{\"result_token\": 5ecret}",
        ] {
            let (_folder, path) = written(text, 0o600);
            let Some(Failure::Usage(said)) = Profile::read(&path).err() else { panic!("{text}") };
            assert!(said.contains("line ") && !said.contains("5ecret"), "{said}");
        }
        let created = r#"{"project_id": "p", "result_token": "r", "update_tokens": ["a", "b"]}"#;
        let (_folder, path) = written(created, 0o600);
        let profile = Profile::read(&path).unwrap();
        assert_eq!((profile.project_id.as_deref(), profile.update_tokens.len()), (Some("p"), 2));
        assert!(!profile.replace(&path).unwrap());
    }
}
