//! The options that select a server, a project and a token.

use std::env;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use reqwest::Method;
use serde_json::Value;
use zeroize::Zeroizing;

use super::api::Api;
use super::profile::Profile;
use super::refusal::Asked;
use crate::cli::exit::{Failure, complain};
use crate::cli::number::seconds;
use crate::cli::ops_client;
use crate::system::secret;

/// The environment variable for the address of the server.
const SERVER: &str = "ENTITYD_SERVER";
/// The environment variable for the profile.
const PROFILE: &str = "ENTITYD_PROFILE";
const PROJECT: &str = "ENTITYD_PROJECT";
/// The environment variable for the token.
const TOKEN: &str = "ENTITYD_TOKEN";
/// The environment variable for the file with the token.
const TOKEN_FILE: &str = "ENTITYD_TOKEN_FILE";
/// The heading of these options in `--help`.
const HEADING: &str = "Server";
/// The default address of a server.
const USUAL: &str = "http://127.0.0.1:8851";
/// The minimum number of characters of a token.
const TOKEN_MIN: usize = 8;

/// The exit codes of the client commands, for `--help`.
pub(in crate::cli) const CODES: &str = "\
Exit codes:
    0  done
    1  failed: no response, a server or proxy error (5xx), or a run that failed or took too long
    2  the command line is wrong, or a token or profile is missing or wrong
    3  the server rejects the request (400, 403, 404, 409, 413), or a file is invalid
  130  interrupted before it was done";

/// The options that select a server, a project and a token. Tokens are never arguments, because other users can see
/// arguments.
#[derive(Clone, Debug, Args)]
pub(super) struct Access {
    /// Address of the server, which is entityd or an Anonlink Entity Service [default: the one in `ENTITYD_SERVER`, or in the
    /// profile, or <http://127.0.0.1:8851>]
    #[arg(long, global = true, help_heading = HEADING, value_name = "URL")]
    server: Option<String>,
    /// TLS certificate of the server, or of its CA
    #[arg(long, global = true, help_heading = HEADING, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// File with server, project and tokens, readable only by you (mode 0600): TOML, or the JSON response to creating a
    /// project
    #[arg(long, global = true, help_heading = HEADING, value_name = "FILE", env = PROFILE)]
    profile: Option<PathBuf>,
    /// Project [default: the one in the profile]
    #[arg(long, global = true, help_heading = HEADING, value_name = "ID", env = PROJECT, value_parser = id)]
    project: Option<String>,
    /// File that holds only the token [default: the token in `ENTITYD_TOKEN`, or in the profile]
    #[arg(long, global = true, help_heading = HEADING, value_name = "FILE", env = TOKEN_FILE)]
    token_file: Option<PathBuf>,
    /// Time for which requests are retried if the server is busy or does not answer, and a retry is safe; in seconds or with
    /// a unit such as 10m
    #[arg(long, global = true, help_heading = HEADING, value_name = "TIME", default_value_t = 15, value_parser = seconds(0..=86_400))]
    retry: u64,
    /// Print JSON instead of text
    #[arg(long, global = true, help_heading = HEADING)]
    pub(super) json: bool,
}

/// Accepts the id of a project or a run.
pub(super) fn id(text: &str) -> Result<String, String> {
    let is_id = (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if is_id { Ok(text.to_owned()) } else { Err("an id has 48 characters: 0 to 9 and a to f".to_owned()) }
}

/// The kind of token that a command needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The analyst's token.
    Result,
    /// The token of a party that has not uploaded yet.
    Update,
    /// The token of the analyst, or of a party that has uploaded.
    ResultOrReceipt,
}

/// A server, and the content of the profile.
pub(super) struct Session {
    pub(super) api: Api,
    pub(super) profile: Profile,
    pub(super) json: bool,
    access: Access,
}

impl Access {
    /// Reads the profile, and prepares requests to the server.
    pub(super) fn open(&self) -> Result<Session, Failure> {
        let path = self.profile.as_deref();
        let profile = path.map(Profile::read).transpose()?.unwrap_or_default();
        let variable = env::var(SERVER).ok().filter(|address| !address.is_empty());
        let server = address(self.server.as_deref(), variable.as_deref(), profile.server.as_deref())?;
        let ca = self.ca.clone().or_else(|| beside(path, profile.ca.as_deref()));
        let api = Api::new(&server, ca.as_deref(), Duration::from_secs(self.retry))?;
        if api.is_clear_text() {
            complain(
                "warning: http:// sends tokens and data in clear text; use https:// for a server on another machine",
            );
        }
        Ok(Session { api, profile, json: self.json, access: self.clone() })
    }
}

/// Returns the address of the server, from the command line, the environment or the profile. Fails if the environment names
/// another server than the profile: the tokens in the profile would be sent there.
fn address(given: Option<&str>, variable: Option<&str>, profile: Option<&str>) -> Result<String, Failure> {
    let bare = |address: &str| address.trim_end_matches('/').trim_end_matches("/api/v1").to_owned();
    match (given, variable, profile) {
        (None, Some(variable), Some(own)) if bare(variable) != bare(own) => Err(Failure::Usage(format!(
            "{SERVER} is {variable}, but the profile is for {own}: unset {SERVER}, or give --server"
        ))),
        _ => Ok(given.or(variable).or(profile).unwrap_or(USUAL).to_owned()),
    }
}

/// Resolves a path in a profile, which is relative to the profile.
fn beside(profile: Option<&Path>, path: Option<&Path>) -> Option<PathBuf> {
    Some(profile?.parent()?.join(path?))
}

impl Session {
    /// Returns the path of the project below `/api/v1`.
    pub(super) fn project_path(&self) -> Result<String, Failure> {
        self.project().map(|project| format!("/projects/{project}"))
    }

    /// Returns the id of the project.
    pub(super) fn project(&self) -> Result<String, Failure> {
        let of_profile = || self.profile.project_id.as_deref().map(id);
        let project = self.access.project.clone().map(Ok).or_else(of_profile);
        let missing = || Failure::Usage("no project is given: use --project ID or --profile FILE".to_owned());
        project.ok_or_else(missing)?.map_err(|problem| Failure::Usage(format!("project_id: {problem}")))
    }

    /// Sends a request for the path `below` the project, with the analyst's token, and returns the JSON of the
    /// response.
    pub(super) async fn ask(
        &self,
        (method, below): (Method, &str),
        body: Option<&Value>,
        asked: &Asked,
    ) -> Result<Value, Failure> {
        let (token, project) = (self.token(Kind::Result, None)?, self.project_path()?);
        self.api.ask((method, &format!("{project}{below}")), &token, body, asked).await
    }

    /// Returns the path of the profile, if there is one.
    pub(super) fn profile_path(&self) -> Option<&Path> {
        self.access.profile.as_deref()
    }

    /// Returns the certificate to trust at the object store: from the options, or else from the profile.
    pub(super) fn ca(&self) -> Option<PathBuf> {
        let of_profile = || beside(self.profile_path(), self.profile.ca.as_deref());
        self.access.ca.clone().or_else(of_profile)
    }

    /// Returns the token for a command: from a file, the environment or the profile.
    pub(super) fn token(&self, kind: Kind, party: Option<usize>) -> Result<Zeroizing<String>, Failure> {
        if let Some(file) = &self.access.token_file {
            return Ok(secret::read_word(file, TOKEN_MIN)?);
        }
        if let Some(token) = ops_client::token_in(TOKEN) {
            return Ok(token);
        }
        let profile = &self.profile;
        let update = || {
            let party = party.or(profile.party);
            profile.update_token.clone().or_else(|| profile.update_tokens.get(party?).cloned())
        };
        let found = match kind {
            Kind::Result => profile.result_token.clone(),
            Kind::Update => update(),
            Kind::ResultOrReceipt => profile.result_token.clone().or_else(|| profile.receipt_token.clone()),
        };
        let token = found.map(|token| token.reveal());
        token.filter(|token| !token.is_empty()).ok_or_else(|| Failure::Usage(self.missing(kind)))
    }

    fn missing(&self, kind: Kind) -> String {
        let name = match kind {
            Kind::Result => "result token",
            Kind::Update => "update token of the party",
            Kind::ResultOrReceipt => "result token, or the receipt token of a party,",
        };
        let several = kind == Kind::Update && self.profile.update_tokens.len() > 1;
        let hint = if several { "; the profile has several, so choose one with --party N" } else { "" };
        format!("the {name} is missing: give --token-file or --profile, or put it in {TOKEN}{hint}")
    }

    /// Returns whether a token was given outside the profile.
    pub(super) fn has_own_token(&self) -> bool {
        self.access.token_file.is_some() || ops_client::token_in(TOKEN).is_some()
    }
}

/// The admin token, for servers that require it.
#[derive(Clone, Debug, Args)]
pub(super) struct Admin {
    /// File with the admin token, for a server that requires it [default: the token in `ENTITYD_ADMIN_TOKEN`]
    #[arg(long, value_name = "FILE", env = ops_client::TOKEN_FILE)]
    admin_token_file: Option<PathBuf>,
}

impl Admin {
    /// Returns the token, if there is one.
    pub(super) fn token(&self) -> Result<Option<Zeroizing<String>>, Failure> {
        ops_client::admin_token(self.admin_token_file.as_deref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_of_a_profile_go_to_no_server_that_only_the_environment_names() {
        let here = Some("https://here.example");
        let same = Some("https://here.example/api/v1/");
        let other = Some("https://other.example");
        for (given, variable, profile, expected) in [
            (None, None, None, USUAL),
            (None, None, here, "https://here.example"),
            (None, other, None, "https://other.example"),
            (None, same, here, "https://here.example/api/v1/"),
            (other, None, here, "https://other.example"),
            (other, other, here, "https://other.example"),
            (other, here, here, "https://other.example"),
        ] {
            assert_eq!(address(given, variable, profile).ok().as_deref(), Some(expected));
        }
        let refused = address(None, other, here).err().map(|failure| failure.to_string());
        assert!(refused.is_some_and(|text| text.contains("--server") && text.contains("here.example")));
    }
}
