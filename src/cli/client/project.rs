//! `entityd project`: creates, lists, shows and deletes projects.

use std::fs;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::access::{Access, Admin, CODES, Session};
use super::profile::{Profile, Token};
use super::refusal::{Asked, Shape};
use super::{block_on, cell, show};
use crate::cli::answer::plain;
use crate::cli::columns::aligned;
use crate::cli::exit::Failure;
use crate::cli::number::whole;
use crate::cli::output;
use crate::cli::schema_file::read_text;
use crate::system::folder;

/// Creates, lists, shows and deletes projects on a server
///
/// Works with any server that implements the API of the Anonlink Entity Service.
#[derive(Debug, Args)]
#[command(after_help = CODES)]
pub(in crate::cli) struct Arguments {
    #[command(flatten)]
    access: Access,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Create(Create),
    /// Lists the projects of the server
    List {
        #[command(flatten)]
        admin: Admin,
    },
    /// Shows the project; needs the analyst's token
    Show,
    /// Deletes the project with its uploads, runs and results; needs the analyst's token
    Delete,
}

/// Creates a project
///
/// Prints the tokens, which the server does not show again. With --save they go to a folder instead, as a profile for
/// the analyst (analyst.toml) and one for each party (party-0.toml, ...), each readable only by you. Give each party its
/// own profile over a confidential channel.
#[derive(Debug, Args)]
#[command(after_help = CODES)]
struct Create {
    /// Result type of the runs
    #[arg(long, value_enum, default_value = "groups")]
    result_type: ResultType,
    /// Number of parties that upload; more than 2 only with groups
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = whole::<u32>(2..=10_000))]
    parties: u32,
    /// Linkage schema to store with the project; the server reads only the length of encodings from it
    #[arg(long, value_name = "SCHEMA.json")]
    schema: Option<PathBuf>,
    /// Uploads contain blocks
    #[arg(long)]
    blocks: bool,
    /// Name of the project
    #[arg(long, default_value = "")]
    name: String,
    /// Notes about the project
    #[arg(long, default_value = "")]
    notes: String,
    /// Write profiles with the tokens to this folder, which must be new or empty
    #[arg(long, value_name = "DIR")]
    save: Option<PathBuf>,
    #[command(flatten)]
    admin: Admin,
}

/// The result of a project's runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
enum ResultType {
    /// Groups of records that belong to one person
    Groups,
    /// A new order for each of two parties, and a mask for the analyst
    Permutations,
    /// Every pair at or above the threshold with its score
    SimilarityScores,
}

impl ResultType {
    const fn name(self) -> &'static str {
        match self {
            Self::Groups => "groups",
            Self::Permutations => "permutations",
            Self::SimilarityScores => "similarity_scores",
        }
    }
}

impl Arguments {
    pub(in crate::cli) fn run(&self) -> Result<(), Failure> {
        let session = self.access.open()?;
        block_on(self.action.run(&session))
    }
}

impl Action {
    async fn run(&self, session: &Session) -> Result<(), Failure> {
        match self {
            Self::Create(create) => create.run(session).await,
            Self::List { admin } => {
                let asked = Asked::new("listing projects", Shape::List);
                let answer = ask(session, Method::GET, None, admin, &asked).await?;
                show(&answer, session.json, table)
            }
            Self::Show => show(&read(session).await?, session.json, lines),
            Self::Delete => {
                let asked = Asked::new("deleting the project", Shape::Nothing);
                session.ask((Method::DELETE, ""), None, &asked).await?;
                output::note(&format!("deleted project {}", session.project()?));
                Ok(())
            }
        }
    }
}

impl Create {
    async fn run(&self, session: &Session) -> Result<(), Failure> {
        let body = json!({
            "schema": self.schema()?, "result_type": self.result_type.name(), "number_parties": self.parties,
            "uses_blocking": self.blocks, "name": self.name, "notes": self.notes,
        });
        if let Some(folder) = &self.save {
            prepare(folder)?;
        }
        let asked = Asked::new("creating a project", Shape::Member("project_id"));
        let answer = ask(session, Method::POST, Some(&body), &self.admin, &asked).await?;
        let saved =
            self.save.as_deref().map(|folder| save(folder, session, self.blocks, &answer)).transpose();
        match saved {
            Ok(Some(folder)) if !session.json => output::print(&format!(
                "project {}\nprofiles of the analyst and of {} parties are in {folder}\n",
                cell(&answer["project_id"]),
                self.parties
            )),
            Ok(Some(_)) => show(&json!({ "project_id": answer["project_id"] }), true, lines),
            Ok(None) => show(&answer, session.json, tokens),
            Err(failure) => {
                // The server does not show these tokens again.
                show(&answer, session.json, tokens)?;
                Err(failure)
            }
        }
    }

    fn schema(&self) -> Result<Value, Failure> {
        let Some(path) = &self.schema else { return Ok(json!({})) };
        let schema: Option<Value> = serde_json::from_str(&read_text(path)?).ok();
        schema
            .filter(Value::is_object)
            .ok_or_else(|| Failure::Input(format!("{}: a schema is a JSON object", path.display())))
    }
}

/// Sends a request about all projects, with the admin token if the server requires it.
async fn ask(
    session: &Session,
    method: Method,
    body: Option<&Value>,
    admin: &Admin,
    asked: &Asked,
) -> Result<Value, Failure> {
    let api = &session.api;
    let token = admin.token()?;
    let make = |token: Zeroizing<String>| {
        let method = method.clone();
        async move || {
            let request = api.request(method.clone(), "/projects", &token)?;
            Ok(match body {
                Some(body) => request.json(body),
                None => request,
            })
        }
    };
    let repeats = method == Method::GET;
    let first = api.send(make(Zeroizing::default()), repeats).await?.response;
    let response = match token {
        // The admin token is sent only to a server that requires it.
        Some(token) if first.status() == StatusCode::UNAUTHORIZED => {
            let bearer = Zeroizing::new(format!("Bearer {}", token.as_str()));
            api.send(make(bearer), repeats).await?.response
        }
        _ => first,
    };
    api.json(response, asked).await
}

/// Returns the description of the project.
pub(super) async fn read(session: &Session) -> Result<Value, Failure> {
    let asked = Asked::new("reading the project", Shape::Member("name"));
    session.ask((Method::GET, ""), None, &asked).await
}

/// Creates the folder for the profiles before there are any tokens.
fn prepare(path: &Path) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::Failed(format!("--save {}: {error}", path.display()));
    if let Some(obstacle) = folder::obstacle(path) {
        return Err(Failure::Usage(format!("--save {}: {obstacle}", path.display())));
    }
    folder::create(path, folder::SHARED).map_err(failed)?;
    let mut present = fs::read_dir(path).map_err(failed)?;
    match present.next() {
        None => Ok(()),
        Some(_) => Err(Failure::Usage(format!("--save {}: the folder is not empty", path.display()))),
    }
}

/// Writes a profile for the analyst, and one for each party. Returns the folder's name.
fn save(folder: &Path, session: &Session, uses_blocks: bool, answer: &Value) -> Result<String, Failure> {
    let missing = || Failure::Failed("creating a project: the response lacks the id or a token".to_owned());
    let token = |value: &Value| value.as_str().map(Token::new);
    let common = || -> Result<Profile, Failure> {
        let server = session.api.base().trim_end_matches("/api/v1");
        let ca = session.ca().map(std::path::absolute).transpose();
        Ok(Profile {
            server: Some(server.to_owned()),
            ca: ca.map_err(|error| Failure::Failed(format!("--ca: {error}")))?,
            project_id: Some(answer["project_id"].as_str().ok_or_else(missing)?.to_owned()),
            blocks: uses_blocks.then_some(true),
            ..Profile::default()
        })
    };
    let result_token = Some(token(&answer["result_token"]).ok_or_else(missing)?);
    Profile { result_token, ..common()? }.create(&folder.join("analyst.toml"))?;
    let tokens = answer["update_tokens"].as_array().ok_or_else(missing)?;
    for (party, text) in tokens.iter().enumerate() {
        let update_token = Some(token(text).ok_or_else(missing)?);
        let profile = Profile { party: Some(party), update_token, ..common()? };
        profile.create(&folder.join(format!("party-{party}.toml")))?;
    }
    Ok(folder.display().to_string())
}

fn tokens(answer: &Value) -> String {
    let mut rows = vec![
        vec!["project".to_owned(), cell(&answer["project_id"])],
        vec!["result token, for the analyst".to_owned(), cell(&answer["result_token"])],
    ];
    for (party, token) in answer["update_tokens"].as_array().into_iter().flatten().enumerate() {
        rows.push(vec![format!("update token of party {party}"), cell(token)]);
    }
    aligned(&[], rows)
}

fn table(answer: &Value) -> String {
    let row = |project: &Value| vec![cell(&project["project_id"]), cell(&project["time_added"])];
    aligned(&["project", "created (UTC)"], answer.as_array().into_iter().flatten().map(row).collect())
}

/// Returns one line for each member except the schema.
fn lines(answer: &Value) -> String {
    let members = answer.as_object().into_iter().flatten();
    let row = |(name, value): (&String, &Value)| match value {
        Value::Object(_) => None,
        value => Some(vec![plain(name), cell(value)]),
    };
    aligned(&[], members.filter_map(row).collect())
}
