//! The requests of two parties and an analyst, who continue after the server was unavailable.

use futures::stream;
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use reqwest::{Body, Client, Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use std::time::Duration;

use crate::system::outgoing;

const ENCODING_BYTES: usize = 64;
const THRESHOLD: f64 = 0.7;
/// The interval at which the status of a run is requested.
const PAUSE: Duration = Duration::from_millis(5);

/// The reason why the scenario stops before its end.
#[derive(Debug)]
pub enum Stopped {
    /// The server disconnected during a request.
    Gone,
    /// The server gave a wrong response. The text describes it.
    Wrong(String),
}

impl From<reqwest::Error> for Stopped {
    fn from(_: reqwest::Error) -> Self {
        Self::Gone
    }
}

/// The people of each party. All parties have the same people in the same order.
#[derive(Clone, Copy, Debug)]
pub struct People {
    /// The number of people.
    pub count: u32,
}

impl People {
    /// Returns the upload of a party, in overlapping blocks. Many pairs with the other party's records have equal
    /// scores.
    fn upload(self, party: usize) -> Vec<u8> {
        let mut rng = ChaCha20Rng::seed_from_u64(7);
        let record = |record: u32| {
            let mut encoding = [0_u8; ENCODING_BYTES];
            rng.fill_bytes(&mut encoding);
            let noise = rng.next_u32() as usize % ENCODING_BYTES;
            if party == 1 {
                encoding[noise] ^= 0x11;
            }
            let encoding = base64_simd::STANDARD.encode_to_string(encoding);
            json!([encoding, format!("a{}", record % 7), format!("b{}", record % 3)])
        };
        let records: Vec<Value> = (0..self.count).map(record).collect();
        json!({ "clknblocks": records }).to_string().into_bytes()
    }
}

/// The result of a completed run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The result, byte for byte.
    pub result: Vec<u8>,
    /// The number of comparisons in the status of the run.
    pub comparisons: u64,
}

impl Outcome {
    /// Checks that all true matches were found and no others.
    ///
    /// # Errors
    /// A description of the difference.
    pub fn is_the_known_answer(&self, people: People) -> Result<(), String> {
        let result: Value =
            serde_json::from_slice(&self.result).map_err(|error| format!("no JSON: {error}"))?;
        let groups = result["groups"].as_array().ok_or("the result has no groups")?;
        let mut found: Vec<u64> = Vec::with_capacity(groups.len());
        for group in groups {
            let record = group[0][1].as_u64().ok_or("a group has no records")?;
            let pair = [json!([0, record]), json!([1, record])];
            if group
                .as_array()
                .is_none_or(|group| group.len() != 2 || !pair.iter().all(|one| group.contains(one)))
            {
                return Err(format!("the group {group} is not one person"));
            }
            found.push(record);
        }
        found.sort_unstable();
        if found == (0..u64::from(people.count)).collect::<Vec<_>>() {
            Ok(())
        } else {
            Err(format!("{} of {} people were found", found.len(), people.count))
        }
    }
}

/// The progress of the scenario: everything that the server has acknowledged.
#[derive(Debug)]
pub struct Scenario {
    people: People,
    project: Option<Project>,
    uploaded: [bool; 2],
    run: Option<String>,
    outcome: Option<Outcome>,
    deleted: bool,
}

#[derive(Clone, Debug)]
struct Project {
    path: String,
    result_token: String,
    update_tokens: Vec<String>,
}

impl Scenario {
    /// Returns a scenario in which no request was sent.
    pub const fn new(people: People) -> Self {
        Self { people, project: None, uploaded: [false; 2], run: None, outcome: None, deleted: false }
    }

    /// Returns the outcome of the run, if it has completed.
    pub const fn outcome(&self) -> Option<&Outcome> {
        self.outcome.as_ref()
    }

    /// Returns the id of the run, if it was started.
    pub fn run(&self) -> Option<&str> {
        self.run.as_deref().and_then(|path| path.rsplit('/').next())
    }

    /// Continues after the last acknowledged step, until the project is deleted.
    ///
    /// # Errors
    /// [`Stopped`]. After [`Stopped::Gone`], this may be called again.
    pub async fn go_on(&mut self, api: &Api) -> Result<(), Stopped> {
        let project = match self.project.clone() {
            Some(project) => project,
            None => self.project.insert(api.create().await?).clone(),
        };
        if self.deleted {
            return Ok(());
        }
        for party in 0..2 {
            if !self.uploaded[party] {
                api.upload(&project, party, self.people).await?;
                self.uploaded[party] = true;
            }
        }
        let run = match self.run.clone() {
            Some(run) => run,
            None => self.run.insert(api.post_run(&project).await?).clone(),
        };
        if self.outcome.is_none() {
            self.outcome = Some(api.collect(&run, &project.result_token).await?);
        }
        api.delete(&project).await?;
        self.deleted = true;
        Ok(())
    }

    /// Checks that everything that the server has acknowledged still exists.
    ///
    /// # Errors
    /// [`Stopped`], if something is missing or the server is unavailable.
    pub async fn check(&self, api: &Api) -> Result<(), Stopped> {
        let Some(project) = &self.project else { return Ok(()) };
        let answer = api.get(&project.path, &project.result_token).send().await?;
        let status = answer.status();
        if self.deleted {
            return expect(status == StatusCode::FORBIDDEN, "a deleted project came back");
        }
        if self.outcome.is_some() && status == StatusCode::FORBIDDEN {
            // The project was deleted by an earlier request, whose response was lost.
            return Ok(());
        }
        expect(status == StatusCode::OK, "an acknowledged project was lost")?;
        let described: Value = answer.json().await?;
        let uploaded = self.uploaded.iter().filter(|uploaded| **uploaded).count() as u64;
        let contributed = described["parties_contributed"].as_u64().unwrap_or(0);
        expect(contributed >= uploaded, "an acknowledged upload was lost")?;
        let Some(run) = &self.run else { return Ok(()) };
        let answer = api.get(run, &project.result_token).send().await?;
        expect(answer.status() == StatusCode::OK, "an acknowledged run was lost")
    }
}

fn expect(holds: bool, otherwise: &str) -> Result<(), Stopped> {
    if holds { Ok(()) } else { Err(Stopped::Wrong(otherwise.to_owned())) }
}

/// A client for the API of a server.
#[derive(Clone, Debug)]
pub struct Api {
    client: Client,
    base: String,
}

impl Api {
    /// Returns a client for the API at `base`, which ends in `/api/v1`.
    pub fn new(base: &str) -> Self {
        let client = outgoing::client().build().expect("a client without settings can be built");
        Self { client, base: base.to_owned() }
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.base))
    }

    fn get(&self, path: &str, token: &str) -> RequestBuilder {
        self.request(Method::GET, path).header("Authorization", token)
    }

    async fn create(&self) -> Result<Project, Stopped> {
        let body = json!({"schema": {}, "result_type": "groups", "uses_blocking": true});
        let answer = self.request(Method::POST, "/projects").json(&body).send().await?;
        expect(answer.status() == StatusCode::CREATED, "a project was refused")?;
        let created: Value = answer.json().await?;
        let tokens = created["update_tokens"].as_array().into_iter().flatten();
        Ok(Project {
            path: format!("/projects/{}", text(&created["project_id"])),
            result_token: text(&created["result_token"]),
            update_tokens: tokens.map(text).collect(),
        })
    }

    async fn upload(&self, project: &Project, party: usize, people: People) -> Result<(), Stopped> {
        let body = people.upload(party);
        // The body is sent in pieces, so that the server can be killed between two of them.
        let pieces: Vec<Result<Vec<u8>, std::io::Error>> =
            body.chunks(body.len() / 4).map(|piece| Ok(piece.to_vec())).collect();
        let request = self
            .request(Method::POST, &format!("{}/clks", project.path))
            .header("Authorization", &project.update_tokens[party])
            .header("Content-Type", "application/json")
            .body(Body::wrap_stream(stream::iter(pieces)));
        let answer = request.send().await?;
        match answer.status() {
            StatusCode::CREATED => answer.bytes().await.map(drop).map_err(Stopped::from),
            // An earlier request, whose response was lost, has uploaded the data.
            StatusCode::FORBIDDEN => Ok(()),
            status => Err(Stopped::Wrong(format!("an upload was answered {status}"))),
        }
    }

    async fn post_run(&self, project: &Project) -> Result<String, Stopped> {
        let path = format!("{}/runs", project.path);
        let request = self.request(Method::POST, &path).header("Authorization", &project.result_token);
        let answer = request.json(&json!({ "threshold": THRESHOLD })).send().await?;
        expect(answer.status() == StatusCode::CREATED, "a run was refused")?;
        let run: Value = answer.json().await?;
        Ok(format!("{path}/{}", text(&run["run_id"])))
    }

    /// Waits for a run to complete, and returns its outcome.
    async fn collect(&self, run: &str, token: &str) -> Result<Outcome, Stopped> {
        let comparisons = loop {
            let status: Value = self.get(&format!("{run}/status"), token).send().await?.json().await?;
            match status["state"].as_str() {
                Some("completed") => break status["total_number_comparisons"].as_u64().unwrap_or(0),
                Some("error") => {
                    return Err(Stopped::Wrong(format!("the run failed: {}", status["message"])));
                }
                _ => tokio::time::sleep(PAUSE).await,
            }
        };
        let answer = self.get(&format!("{run}/result"), token).send().await?;
        expect(answer.status() == StatusCode::OK, "the result of a completed run is missing")?;
        Ok(Outcome { result: answer.bytes().await?.to_vec(), comparisons })
    }

    async fn delete(&self, project: &Project) -> Result<(), Stopped> {
        let request =
            self.request(Method::DELETE, &project.path).header("Authorization", &project.result_token);
        let status = request.send().await?.status();
        // 403: the project was deleted by an earlier request, whose response was lost.
        expect([204, 403].contains(&status.as_u16()), "a project could not be deleted")
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
