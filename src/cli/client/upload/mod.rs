//! `entityd upload`: sends a party's encodings to the server.

mod encodings;
mod parts;
mod sending;

use std::cell::Cell;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use linkage::encoding::check_comparable;
use reqwest::Method;
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use self::encodings::{Body, Encodings, blocks_file};
use self::parts::Parts;
use self::sending::Sent;
use super::access::{Access, CODES, Kind, Session};
use super::profile::{Profile, Token};
use super::refusal::{Asked, Shape};
use super::store::Place;
use super::{block_on, cell, show};
use crate::cli::columns::counted;
use crate::cli::exit::{Failure, complain};
use crate::cli::number::whole;
use crate::cli::output;
use crate::cli::progress::Progress;
use crate::cli::record_blocks::Blocks;

/// The size from which an upload goes through the object store by default.
const LARGE_BYTES: u64 = 64 << 20;
/// Asks for a new receipt token if the same encodings were accepted before.
const AGAIN: &str = "Receipt-Again";
/// The advice after a 403 response to an upload.
const FORBIDDEN: &str = "check that the token is the update token of the party and not used yet (each party uploads once), \
                         that the project still exists, and whether it requires --blocks";
/// The request that completes an upload.
const UPLOADING: Asked =
    Asked { forbidden: FORBIDDEN, ..Asked::new("uploading", Shape::Member("receipt_token")) };

/// Uploads a party's encodings
///
/// FILE is JSON as `entityd encode` and anonlink-client write it, or, if its name ends in .bin, rows of --encoding-bytes
/// bytes. It may be compressed (.gz, .zst). It is checked before anything is sent. The response contains the receipt
/// token, with which the party gets its permutation. If there is a profile, the token is written to it.
///
/// An upload of 1 MiB or more to entityd is sent in several requests, and resumes where it was interrupted: at once if the
/// connection broke, and when the same command runs again if its process was killed. Until the upload ends, its state is
/// in FILE.entityd-upload beside the file, without any token.
///
/// If the response to any other upload is lost, the upload is repeated. entityd then returns a new receipt token for the
/// same encodings; the reference service rejects the second upload (403), because the first has arrived.
#[derive(Debug, Args)]
#[command(after_help = CODES)]
pub(in crate::cli) struct Arguments {
    /// Encodings in the order of the records
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Blocks of the records, as `entityd block` and anonlink-client write them
    #[arg(long, value_name = "BLOCKS.json")]
    blocks: Option<PathBuf>,
    /// Bytes in an encoding of a .bin file
    #[arg(long, value_name = "BYTES", value_parser = whole::<u32>(1..=4096))]
    encoding_bytes: Option<u32>,
    /// Party whose update token is used, counted from 0, if the profile has several
    #[arg(long, value_name = "N", value_parser = whole::<usize>(0..))]
    party: Option<usize>,
    /// Ask for a new receipt token if the same encodings arrived before and the response was lost; the old token becomes
    /// invalid. The reference service does not support this
    #[arg(long)]
    again: bool,
    /// Route of the encodings to the server
    #[arg(long, value_enum, default_value = "auto")]
    route: Route,
    #[command(flatten)]
    access: Access,
}

/// The route of the encodings to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Route {
    /// To the API; from 64 MiB on through the object store, if the API cannot resume an interrupted upload and the server
    /// offers a store that can be reached
    Auto,
    /// To the API; as rows of bytes unless there are blocks
    Api,
    /// To the API as JSON. The reference service never links such an upload with one of another route, unless they have
    /// blocks
    Json,
    /// Through the object store that the server names, in parts that are retried if they fail
    Store,
}

/// An upload that is about to start.
struct Upload<'a> {
    session: &'a Session,
    project: String,
    token: Zeroizing<String>,
    encodings: Encodings,
    blocks: Option<Blocks>,
    again: bool,
    file: &'a Path,
}

impl Arguments {
    pub(in crate::cli) fn run(&self) -> Result<(), Failure> {
        let session = self.access.open()?;
        let (project, token) = (session.project_path()?, session.token(Kind::Update, self.party)?);
        let mut progress = Progress::new();
        progress.show(&format!("checking {}", self.file.display()), 0.0);
        let encodings = Encodings::read(&self.file, self.encoding_bytes)?;
        let summary = encodings.summary;
        // The server accepts the upload and rejects the run, and a party uploads once.
        check_comparable(summary.encoding_bytes)
            .map_err(|error| Failure::Input(format!("{}: {error}", self.file.display())))?;
        if summary.has_blocks && self.blocks.is_some() {
            let file = self.file.display();
            return Err(Failure::Usage(format!("{file} contains blocks; omit --blocks")));
        }
        let blocks = self.blocks.as_deref().map(|path| {
            let blocks = Blocks::read(path)?;
            blocks.check(path, summary.records.into(), "encodings").map(|()| blocks)
        });
        let blocks = blocks.transpose()?;
        if blocks.is_none() && !summary.has_blocks && session.profile.blocks == Some(true) {
            // The server may accept such an upload, and a party uploads once.
            return Err(Failure::Usage(
                "the project uses blocks, and without any these records would be compared with no record that has one: name \
                 the blocks with --blocks (`entityd block` makes them)"
                    .to_owned(),
            ));
        }
        let upload = Upload {
            session: &session,
            project,
            token,
            encodings,
            blocks,
            again: self.again,
            file: &self.file,
        };
        block_on(async {
            let answer = upload.by(self.route, &mut progress).await?;
            progress.finish();
            let (records, bytes) = (summary.records, summary.encoding_bytes);
            output::note(&format!("uploaded {} of {bytes} bytes", counted(records.into(), "encoding")));
            tell(&session, &answer)
        })
    }
}

impl Upload<'_> {
    async fn by(&self, route: Route, progress: &mut Progress) -> Result<Value, Failure> {
        let has_blocks = self.encodings.summary.has_blocks;
        match route {
            Route::Json => self.json(progress).await,
            Route::Api => self.to_api(progress).await,
            Route::Store if has_blocks => Err(Failure::Usage(
                "--route store: the blocks must be in a separate file, given with --blocks".to_owned(),
            )),
            Route::Store => match self.place().await? {
                Some(place) => self.by_store(&place, progress).await,
                None => Err(Failure::Input("--route store: this server offers no object store".to_owned())),
            },
            Route::Auto if has_blocks || self.encodings.rows()?.bytes < LARGE_BYTES => {
                self.to_api(progress).await
            }
            Route::Auto if self.can_continue().await? => self.to_api(progress).await,
            Route::Auto => match self.place().await? {
                Some(place) => match place.is_reachable().await {
                    Ok(()) => self.by_store(&place, progress).await,
                    Err(why) => {
                        complain(&format!(
                            "the object store cannot be used, so the upload goes to the API: {why}"
                        ));
                        self.to_api(progress).await
                    }
                },
                None => self.to_api(progress).await,
            },
        }
    }

    /// Returns whether the API can resume an interrupted upload.
    async fn can_continue(&self) -> Result<bool, Failure> {
        let path = format!("{}/binaryclks", self.project);
        parts::are_offered(&self.session.api, &self.token, &path).await
    }

    async fn to_api(&self, progress: &mut Progress) -> Result<Value, Failure> {
        if self.blocks.is_some() || self.encodings.summary.has_blocks {
            return self.json(progress).await;
        }
        let summary = self.encodings.summary;
        let headers =
            [("Hash-Count", summary.records.to_string()), ("Hash-Size", summary.encoding_bytes.to_string())];
        self.post("binaryclks", "application/octet-stream", &headers, &self.encodings.rows()?, progress).await
    }

    async fn json(&self, progress: &mut Progress) -> Result<Value, Failure> {
        let body = self.encodings.json(self.blocks.as_ref())?;
        self.post("clks", "application/json", &[], &body, progress).await
    }

    async fn post(
        &self,
        endpoint: &str,
        kind: &str,
        headers: &[(&str, String)],
        body: &Body,
        progress: &mut Progress,
    ) -> Result<Value, Failure> {
        let api = &self.session.api;
        let path = format!("{}/{endpoint}", self.project);
        let sent = Sent::default();
        let asked = Asked { bytes: body.bytes, ..UPLOADING };
        if body.bytes >= parts::FROM_BYTES && parts::are_offered(api, &self.token, &path).await? {
            let kind = [(CONTENT_TYPE.as_str(), kind.to_owned())];
            let again = self.again.then(|| (AGAIN, "true".to_owned()));
            let headers: Vec<_> = headers.iter().cloned().chain(kind).chain(again).collect();
            let (project, token, file) = (&self.project, &self.token, self.file);
            let parts = Parts { api, token, project, endpoint, headers: &headers, body, file, asked: &asked };
            return parts.send(&sent, progress).await;
        }
        let again = Cell::new(self.again);
        let make = async || {
            let request = api.request(Method::POST, &path, &self.token)?;
            let request = request.header(CONTENT_TYPE, kind).header(CONTENT_LENGTH, body.bytes);
            let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, value));
            let request = if again.replace(true) { request.header(AGAIN, "true") } else { request };
            Ok(request.body(sent.body(body)?))
        };
        let answer = sent.watch("uploading", body.bytes, progress, api.send(make, true)).await?;
        api.json(answer.response, &asked).await
    }

    async fn place(&self) -> Result<Option<Place>, Failure> {
        Place::ask(self.session, &self.project, &self.token).await
    }

    async fn by_store(&self, place: &Place, progress: &mut Progress) -> Result<Value, Failure> {
        let summary = self.encodings.summary;
        let attributes = [("hash-count", summary.records), ("hash-size", summary.encoding_bytes)];
        let rows = self.encodings.rows()?;
        let path = place.put("encodings.bin", &rows.file, rows.bytes, &attributes, progress).await?;
        let mut body = json!({ "encodings": place.file(&path) });
        if let Some(blocks) = &self.blocks {
            let file = blocks_file(blocks, summary.records)?;
            let path = place.put("blocks.json", &file.file, file.bytes, &[], progress).await?;
            body["blocks"] = place.file(&path);
        }
        let path = format!("{}/clks", self.project);
        self.session.api.ask((Method::POST, &path), &self.token, Some(&body), &UPLOADING).await
    }
}

/// Stores the receipt token in the profile, or prints it.
fn tell(session: &Session, answer: &Value) -> Result<(), Failure> {
    let receipt = answer["receipt_token"].as_str();
    if let (Some(path), Some(receipt), false) = (session.profile_path(), receipt, session.has_own_token()) {
        let profile = Profile { receipt_token: Some(Token::new(receipt)), ..session.profile.clone() };
        match profile.replace(path) {
            Ok(true) if !session.json => {
                return output::print(&format!("the receipt token is in {}\n", path.display()));
            }
            Ok(_) => {}
            // The receipt token cannot be saved, so it is printed.
            Err(failure) => complain(&failure.to_string()),
        }
    }
    show(answer, session.json, |answer| format!("receipt token  {}\n", cell(&answer["receipt_token"])))
}
