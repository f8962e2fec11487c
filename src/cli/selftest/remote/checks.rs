//! The checks of a server.

use std::collections::BTreeSet;
use std::path::Path;

use reqwest::Method;
use serde_json::{Value, json};

use super::api::{Api, Project, Wrong};
use super::external;
use super::people::{Groups, People};

/// The outcome of a check that has found no fault.
pub(super) enum Passed {
    /// The checked property holds. The text gives details.
    Yes(String),
    /// The server does not offer the checked feature. The text gives the reason.
    NotOffered(String),
}

/// The checks, in the order in which they run.
#[derive(Clone, Copy)]
pub(super) enum Check {
    Groups,
    Scores,
    Permutations,
    Blocks,
    External,
    Refusals,
}

impl Check {
    pub(super) const ALL: [Self; 6] =
        [Self::Groups, Self::Scores, Self::Permutations, Self::Blocks, Self::External, Self::Refusals];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Groups => "groups of three parties",
            Self::Scores => "similarity scores",
            Self::Permutations => "permutations",
            Self::Blocks => "blocks",
            Self::External => "external upload",
            Self::Refusals => "refusals",
        }
    }

    pub(super) async fn run(self, api: &Api, people: &People, ca: Option<&Path>) -> Result<Passed, Wrong> {
        match self {
            Self::Groups => groups(api, people).await,
            Self::Scores => scores(api, people).await,
            Self::Permutations => permutations(api, people).await,
            Self::Blocks => blocks(api, people).await,
            Self::External => external(api, people, ca).await,
            Self::Refusals => refusals(api, people).await,
        }
    }
}

/// Checks that the server implements the API, and returns its version.
pub(super) async fn version(api: &Api) -> Result<String, Wrong> {
    let status = api.ask(api.request(Method::GET, "/status", ""), 200, "GET /status").await;
    let status = status.map_err(|wrong| format!("{wrong}; is --server the address of the API?"))?;
    if status["status"] != "ok" || !status["project_count"].is_u64() {
        return Err("GET /status is not answered by an entity service".to_owned());
    }
    let version = api.ask(api.request(Method::GET, "/version", ""), 200, "GET /version").await?;
    let text = version["entityservice"].as_str();
    text.map(str::to_owned).ok_or_else(|| "GET /version does not return `entityservice`".to_owned())
}

async fn groups(api: &Api, people: &People) -> Result<Passed, Wrong> {
    const PARTIES: usize = 3;
    let project = api.create("groups", PARTIES, false).await?;
    for party in 0..PARTIES {
        api.upload(&project, party, &people.json(party, false)).await?;
    }
    found(&api.run(&project).await?.result().await?, &people.groups(PARTIES, |_| true))
}

async fn scores(api: &Api, people: &People) -> Result<Passed, Wrong> {
    let project = api.create("similarity_scores", 2, false).await?;
    for party in 0..2 {
        api.upload_binary(&project, party, &people.records(party)).await?;
    }
    let result = api.run(&project).await?.result().await?;
    let pairs = result["similarity_scores"].as_array().ok_or("the result has no scores")?;
    let mut listed = Vec::with_capacity(pairs.len());
    for pair in pairs {
        let [a, b] = [&pair[0], &pair[1]].map(record);
        match (a, b, pair[2].as_f64()) {
            (Some((0, left)), Some((1, right)), Some(score)) => listed.push((left, right, score)),
            _ => return Err(format!("{pair} is not a pair with its score")),
        }
    }
    if !listed.is_sorted_by(|a, b| a.2 >= b.2) {
        return Err("the scores are not in descending order".to_owned());
    }
    let expected = people.scores();
    let bits = listed.iter().map(|(left, right, score)| (*left, *right, score.to_bits()));
    if listed.len() != expected.len() || bits.collect::<BTreeSet<_>>() != expected {
        return Err(format!(
            "{} pairs were listed; the {} known ones with their exact scores were expected",
            listed.len(),
            expected.len()
        ));
    }
    Ok(Passed::Yes(format!("{} pairs, scores equal to the bit", listed.len())))
}

async fn permutations(api: &Api, people: &People) -> Result<Passed, Wrong> {
    let project = api.create("permutations", 2, false).await?;
    let mut receipts = Vec::new();
    for party in 0..2 {
        receipts.push(api.upload(&project, party, &people.json(party, false)).await?);
    }
    let run = api.run(&project).await?;
    let mask = numbers(&run.result().await?["mask"]).ok_or("the owner's result has no mask")?;
    let mut orders = Vec::new();
    for receipt in &receipts {
        let result = run.result_for(receipt).await?;
        let order = numbers(&result["permutation"]).ok_or("a party's result has no permutation")?;
        let positions: BTreeSet<u64> = order.iter().copied().collect();
        if positions != (0..people.count() as u64).collect() {
            return Err("a party's permutation is invalid".to_owned());
        }
        orders.push(order);
    }
    let position = |(party, record): (u64, u64)| orders[party as usize][record as usize];
    let known = people.groups(2, |_| true);
    let meet = |group: &BTreeSet<(u64, u64)>| {
        let at: BTreeSet<u64> = group.iter().map(|record| position(*record)).collect();
        at.len() == 1 && at.iter().all(|at| mask.get(*at as usize) == Some(&1))
    };
    if mask.iter().sum::<u64>() != known.len() as u64 || !known.iter().all(meet) {
        return Err("records of the same person do not have the same row where the mask is 1".to_owned());
    }
    Ok(Passed::Yes(format!("{} records of each party have the same row where the mask is 1", known.len())))
}

async fn blocks(api: &Api, people: &People) -> Result<Passed, Wrong> {
    let project = api.create("groups", 2, true).await?;
    for party in 0..2 {
        api.upload(&project, party, &people.json(party, true)).await?;
    }
    found(&api.run(&project).await?.result().await?, &people.groups(2, |person| person % 2 == 0))
}

async fn external(api: &Api, people: &People, ca: Option<&Path>) -> Result<Passed, Wrong> {
    let project = api.create("groups", 2, false).await?;
    for party in 0..2 {
        let Some(place) = external::authorize(api, &project, party).await? else {
            return Ok(Passed::NotOffered("the server issues no credentials".to_owned()));
        };
        let path = place.put(people.records(party).concat(), people.count(), ca).await?;
        let file = json!({ "bucket": place.bucket, "path": path });
        api.upload(&project, party, &json!({ "encodings": { "file": file } })).await?;
    }
    found(&api.run(&project).await?.result().await?, &people.groups(2, |_| true))
}

/// Checks that invalid requests are rejected, and that their token is still valid afterwards.
async fn refusals(api: &Api, people: &People) -> Result<Passed, Wrong> {
    let project = api.create("groups", 2, false).await?;
    let get = |token: &str| api.request(Method::GET, &project.path, token);
    api.ask(get(&"0".repeat(48)), 403, "a request with a wrong token").await?;
    api.ask(get(""), 400, "a request without a token").await?;
    api.ask(get(project.update_token(0)), 403, "a description for an update token").await?;
    let short = api.binary(&project, 0, people.count(), vec![0; 1]);
    api.ask(short, 400, "an upload of the wrong length").await?;
    upload_once(api, &project, people).await?;
    Ok(Passed::Yes("5 requests rejected, and the token of a failed upload stays usable".to_owned()))
}

async fn upload_once(api: &Api, project: &Project, people: &People) -> Result<(), Wrong> {
    api.upload(project, 0, &people.json(0, false)).await?;
    let path = format!("{}/clks", project.path);
    let second = api.request(Method::POST, &path, project.update_token(0)).json(&people.json(0, false));
    api.ask(second, 403, "a second upload with one token").await.map(drop)
}

/// Compares the groups of a result with the known groups.
fn found(result: &Value, known: &Groups) -> Result<Passed, Wrong> {
    let groups = result["groups"].as_array().ok_or("the result has no groups")?;
    let parsed = |group: &Value| group.as_array()?.iter().map(record).collect::<Option<BTreeSet<_>>>();
    let listed =
        groups.iter().map(parsed).collect::<Option<Vec<_>>>().ok_or("a group is not a list of records")?;
    let count = listed.len();
    let right = listed.iter().filter(|group| known.contains(*group)).count();
    if count != known.len() || listed.into_iter().collect::<Groups>() != *known {
        return Err(format!("{count} groups were listed, {right} of them right; {} are known", known.len()));
    }
    Ok(Passed::Yes(format!("{count} groups, all right")))
}

fn record(value: &Value) -> Option<(u64, u64)> {
    Some((value[0].as_u64()?, value[1].as_u64()?))
}

fn numbers(value: &Value) -> Option<Vec<u64>> {
    value.as_array()?.iter().map(Value::as_u64).collect()
}
