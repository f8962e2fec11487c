//! `entityd join-token`: manages the tokens with which workers join.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use super::context::runtime;
use super::destination::{Destination, cannot_write};
use super::interrupt::Unfinished;
use super::ops_client::{Client, Options};
use super::{Failure, output};
use crate::cli::number::whole;

/// Creates a token with which workers join
///
/// Calls the operations listener of a running server, which requires the admin token. The new token is shown only once;
/// the server keeps its digest. It identifies the server's certificate if that is self-signed, so that a worker needs
/// nothing else to join safely: `entityd serve --role worker --join https://SERVER:8854 --join-token-file FILE`. Earlier
/// tokens stay valid for a day, so that there is time to give the new token to workers.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    server: Options,
    /// Hours for which earlier tokens stay valid
    #[arg(long, value_name = "HOURS", default_value_t = 24, value_parser = whole::<u64>(0..=8_784))]
    keep: u64,
    /// Write the token to this file, readable only by this user, and print its path
    #[arg(long, value_name = "FILE", conflicts_with = "revoke")]
    output: Option<PathBuf>,
    /// Revoke all tokens, and create none
    #[arg(long, conflicts_with = "keep")]
    revoke: bool,
}

impl Arguments {
    pub(super) fn run(self) -> Result<(), Failure> {
        let client = Client::new(&self.server)?;
        let runtime = runtime()?;
        // The output is opened before the token is created.
        let unfinished = Unfinished::watch(&runtime);
        let open = |path: &PathBuf| Destination::open_private(path, &self.server.files(), unfinished);
        let output = self.output.as_ref().map(open).transpose()?;
        runtime.block_on(self.ask(&client, output))
    }

    async fn ask(&self, client: &Client, output: Option<Destination>) -> Result<(), Failure> {
        // A token that cannot be printed would be lost, and the earlier ones would still expire.
        output::stdout()?;
        if self.revoke {
            let answer = client.post("join-token/revoke", &json!({}), "revoked").await?;
            let Some(revoked) = answer["revoked"].as_u64() else {
                return Err(Failure::Failed(
                    "the server has not confirmed that the tokens are revoked".to_owned(),
                ));
            };
            return output::print(&format!("{revoked} tokens revoked\n"));
        }
        let answer = client.post("join-token", &json!({ "keep_s": 3_600 * self.keep }), "join_token").await?;
        let Value::String(token) = &answer["join_token"] else {
            return Err(Failure::Failed("the server has answered without a token".to_owned()));
        };
        match self.output.as_ref().zip(output) {
            Some((path, mut file)) => {
                writeln!(file, "{token}").map_err(|error| cannot_write(path, &error))?;
                file.finish()?;
                output::print(&format!("{}\n", path.display()))
            }
            None => output::print(&format!("{token}\n")),
        }
    }
}
