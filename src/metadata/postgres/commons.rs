//! The nodes that share the database, and their named values.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::sleep;
use tokio_postgres::{Client, Row};

use super::error::Fault;
use super::link::{Link, Settings};
use super::rows::get;
use super::statement::{Statement, Value};
use super::{START_PAUSE, START_WAIT, reach_current};
use crate::metadata::commons::{Commons, HeardNode, ListedNode, Node, SILENCE_MAX};
use crate::metadata::store::Error;
use crate::runtime::clock::{Stopwatch, Timestamp};
use crate::system::identity::Identity;

/// The name of the shared value with the settings that must be equal on all nodes. Only nodes without embedded engines
/// write it.
const SETTINGS: &str = "settings";
/// The remedy in the error for a node that cannot join because an engine is embedded.
const REMEDY: &str = "several nodes need --database postgres://, --queue redis:// and --objects s3://, az:// or gs:// on each of them";

/// A serving node that wants to use the database.
#[derive(Clone, Debug)]
pub struct Entrant {
    /// The node.
    pub node: Node,
    /// The process that used the node's data directory before, which has ended.
    pub ended: Option<String>,
    /// The embedded engines of the node, which are in its data directory, such as `its queue and its objects`; empty if
    /// all engines are shared.
    pub embedded: String,
    /// The settings that must be equal on all nodes, by name.
    pub settings: BTreeMap<String, String>,
    /// The identity of the node's data directory.
    pub identity: Identity,
    /// True if nothing is stored under this identity yet. The node may then adopt the identity of the database.
    pub is_new: bool,
    /// True if the operator declares that the owner of the database has ended permanently.
    pub takes_over: bool,
}

impl Entrant {
    const fn shares(&self) -> bool {
        self.embedded.is_empty()
    }
}

/// The shared state of the nodes, in `PostgreSQL`. It uses a separate connection.
#[derive(Debug)]
pub struct PostgresCommons {
    link: Link,
    embedded: String,
}

impl PostgresCommons {
    /// Connects, upgrades the tables if `migrates`, and adds the node to the list of nodes that use the database.
    /// Returns the identity of the database.
    ///
    /// # Errors
    /// [`Error::Unfit`] if this node and another live node cannot share the database; the errors of opening the
    /// database.
    pub async fn enter(
        settings: &Settings,
        migrates: bool,
        entrant: &Entrant,
    ) -> Result<(Self, Identity), Error> {
        let link =
            Link::new(&Settings { connections_max: 1, ..settings.clone() }).map_err(Fault::at_start)?;
        let waiting = Stopwatch::start();
        let identity = loop {
            match enter(&link, migrates, entrant).await {
                // Each step may be repeated.
                Err(Error::Unavailable(cause)) if waiting.elapsed() < START_WAIT => {
                    tracing::warn!("entering the database again: {cause}");
                    sleep(START_PAUSE).await;
                }
                Err(Error::Busy) if waiting.elapsed() < START_WAIT => sleep(START_PAUSE).await,
                entered => break entered?,
            }
        };
        Ok((Self { link, embedded: entrant.embedded.clone() }, identity))
    }

    async fn rows<const N: usize>(&self, statements: [Statement; N]) -> Result<[Vec<Row>; N], Error> {
        let rows = self.link.write_and_read(&statements).await?;
        rows.try_into().map_err(|_| Error::Unavailable("the answer is incomplete".into()))
    }
}

async fn enter(link: &Link, migrates: bool, entrant: &Entrant) -> Result<Identity, Error> {
    let connection = reach_current(link, migrates).await?;
    let failed = |error| link.explain(error).at_start();
    connection.batch_execute(link.begin()).await.map_err(failed)?;
    let identity = admit(&connection, entrant, failed).await?;
    connection.batch_execute("COMMIT").await.map_err(failed)?;
    connection.keep();
    Ok(identity)
}

/// Decides in a transaction whether the node may use the database together with the live nodes, and adds it to their
/// list.
async fn admit(
    client: &Client,
    entrant: &Entrant,
    failed: impl Fn(tokio_postgres::Error) -> Error + Copy,
) -> Result<Identity, Error> {
    client.batch_execute("LOCK TABLE entityd.nodes IN SHARE ROW EXCLUSIVE MODE").await.map_err(failed)?;
    let text = |text: &str| Value::from(text);
    let ended = entrant.ended.as_deref().unwrap_or_default();
    let silence = SILENCE_MAX.as_micros() as i64;
    let statements = [
        Statement::new("DELETE FROM entityd.nodes WHERE node = $1", [text(ended)]),
        Statement::new(
            "SELECT role, name, embedded, (extract(epoch FROM now() - heard) * 1000000)::bigint AS silence
             FROM entityd.nodes WHERE role <> 'worker' AND node <> $1 AND heard > now() - $2 * interval '1 microsecond'
             ORDER BY heard DESC",
            [text(&entrant.node.node), silence.into()],
        ),
        Statement::new("SELECT identity FROM entityd.store", []),
        Statement::new("SELECT value FROM entityd.words WHERE name = $1", [text(SETTINGS)]),
    ];
    let rows = super::statement::run_all(client, &statements).await.map_err(failed)?;
    let others = rows[1].iter().map(Other::of).collect::<Result<Vec<_>, Error>>()?;
    let stored = rows[2].first().map(|row| get::<String>(row, "identity")).transpose()?;
    let stored = stored.as_deref().and_then(Identity::parse);
    let agreed = rows[3].first().map(|row| get::<String>(row, "value")).transpose()?;

    let is_theirs = stored.is_some_and(|stored| stored != entrant.identity);
    // A new data directory adopts the identity of a database that other nodes share.
    let adopts = entrant.shares() && entrant.is_new && (stored.is_none() || agreed.is_some());
    // In other cases the owner is checked when the database is opened.
    if !is_theirs || adopts || others.iter().any(|other| other.embedded.is_empty()) {
        refuse(entrant, &others, agreed.as_deref())?;
    }
    let identity = stored.filter(|_| adopts).unwrap_or(entrant.identity);
    let mut statements = vec![upsert(&entrant.node, &entrant.embedded)];
    if adopts {
        let note = "INSERT INTO entityd.store (identity) VALUES ($1) ON CONFLICT (single) DO NOTHING";
        statements.push(Statement::new(note, [text(&identity.to_string())]));
    }
    if entrant.shares() && (!is_theirs || adopts) {
        let settings = serde_json::to_string(&entrant.settings).expect("texts make JSON");
        let note = "INSERT INTO entityd.words (name, value) VALUES ($1, $2)
                    ON CONFLICT (name) DO UPDATE SET value = excluded.value";
        statements.push(Statement::new(note, [text(SETTINGS), text(&settings)]));
    }
    super::statement::run_all(client, &statements).await.map_err(failed)?;
    Ok(identity)
}

/// Another serving node that is alive.
struct Other {
    role: String,
    name: String,
    embedded: String,
    silence: Duration,
}

impl Other {
    fn of(row: &Row) -> Result<Self, Error> {
        Ok(Self {
            role: get(row, "role")?,
            name: get(row, "name")?,
            embedded: get(row, "embedded")?,
            silence: micros(get(row, "silence")?),
        })
    }

    fn shown(&self) -> String {
        format!(
            "another node uses the database (on {}, role {}, heard {} s ago)",
            self.name,
            self.role,
            self.silence.as_secs()
        )
    }
}

/// Returns an error if the node cannot share the database with the live nodes.
fn refuse(entrant: &Entrant, others: &[Other], agreed: Option<&str>) -> Result<(), Error> {
    if let Some(other) = others.first().filter(|_| !entrant.shares() && !entrant.takes_over) {
        let embedded = &entrant.embedded;
        return Err(Error::Unfit(format!(
            "{}, and this one keeps {embedded} in its data directory; {REMEDY}",
            other.shown()
        )));
    }
    if let Some(other) = others.iter().find(|other| !other.embedded.is_empty() && !entrant.takes_over) {
        return Err(Error::Unfit(format!(
            "{}, and keeps {} in its data directory; {REMEDY}",
            other.shown(),
            other.embedded
        )));
    }
    let agreed: BTreeMap<String, String> =
        agreed.and_then(|agreed| serde_json::from_str(agreed).ok()).unwrap_or_default();
    let differs = entrant.settings.iter().find_map(|(name, ours)| {
        let theirs = agreed.get(name).filter(|theirs| *theirs != ours)?;
        Some(format!(
            "{name} is {ours:?} on this node and {theirs:?} on those that run; give all the same value"
        ))
    });
    differs.filter(|_| !others.is_empty() && entrant.shares()).map_or(Ok(()), |said| Err(Error::Unfit(said)))
}

fn upsert(node: &Node, embedded: &str) -> Statement {
    let upsert = "INSERT INTO entityd.nodes (node, role, name, version, queues, threads, jobs, embedded)
                  VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
                  ON CONFLICT (node) DO UPDATE SET jobs = excluded.jobs, heard = now()";
    let values: [Value; 8] = [
        node.node.as_str().into(),
        node.role.as_str().into(),
        node.name.as_str().into(),
        node.version.as_str().into(),
        node.queues.as_str().into(),
        count(node.threads).into(),
        count(node.jobs).into(),
        embedded.into(),
    ];
    Statement::new(upsert, values)
}

/// Returns the statement that records the heartbeats of workers. Keeps a later heartbeat that another node has
/// recorded. A worker that is not in the list is added only if its heartbeat is recent: otherwise it was removed.
fn note_workers(heard: &[HeardNode]) -> Statement {
    let note = "INSERT INTO entityd.nodes AS known (node, role, name, version, queues, threads, jobs, heard)
                SELECT node, role, name, version, queues, threads, jobs, now() - silence * interval '1 microsecond'
                FROM unnest($1, $2, $3, $4, $5, $6, $7, $8)
                     AS new (node, role, name, version, queues, threads, jobs, silence)
                WHERE silence < 5000000 OR EXISTS (SELECT FROM entityd.nodes AS listed WHERE listed.node = new.node)
                ORDER BY node
                ON CONFLICT (node) DO UPDATE SET jobs = excluded.jobs, heard = excluded.heard
                WHERE excluded.heard > known.heard";
    let texts = |of: fn(&Node) -> &str| -> Value {
        heard.iter().map(|heard| of(&heard.node).to_owned()).collect::<Vec<_>>().into()
    };
    let counts = |of: fn(&HeardNode) -> i64| -> Value { heard.iter().map(of).collect::<Vec<_>>().into() };
    let values: [Value; 8] = [
        texts(|node| &node.node),
        texts(|node| &node.role),
        texts(|node| &node.name),
        texts(|node| &node.version),
        texts(|node| &node.queues),
        counts(|heard| count(heard.node.threads)),
        counts(|heard| count(heard.node.jobs)),
        counts(|heard| heard.silence.as_micros() as i64),
    ];
    Statement::new(note, values)
}

fn count(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn micros(micros: i64) -> Duration {
    Duration::from_micros(u64::try_from(micros).unwrap_or(0))
}

fn listed(row: &Row) -> Result<ListedNode, Error> {
    let number =
        |column| -> Result<usize, Error> { Ok(usize::try_from(get::<i64>(row, column)?).unwrap_or(0)) };
    Ok(ListedNode {
        node: Node {
            node: get(row, "node")?,
            role: get(row, "role")?,
            name: get(row, "name")?,
            version: get(row, "version")?,
            queues: get(row, "queues")?,
            threads: number("threads")?,
            jobs: number("jobs")?,
        },
        draining: get(row, "draining")?,
        joined: Timestamp::from_micros(get(row, "joined")?),
        silence: micros(get(row, "silence")?),
    })
}

#[async_trait]
impl Commons for PostgresCommons {
    async fn beat(&self, own: &Node, heard: &[HeardNode]) -> Result<Vec<ListedNode>, Error> {
        let list = "SELECT node, role, name, version, queues, threads, jobs, draining,
                           (extract(epoch FROM joined) * 1000000)::bigint AS joined,
                           (extract(epoch FROM now() - heard) * 1000000)::bigint AS silence
                    FROM entityd.nodes ORDER BY nodes.joined, node";
        // Removes workers that have been silent for a day.
        let clear = "DELETE FROM entityd.nodes WHERE role = 'worker' AND heard < now() - interval '1 day'";
        let statements = [
            upsert(own, &self.embedded),
            note_workers(heard),
            Statement::new(clear, []),
            Statement::new(list, []),
        ];
        let [.., rows] = self.rows(statements).await?;
        rows.iter().map(listed).collect()
    }

    async fn forget(&self, node: &str) -> Result<bool, Error> {
        let forget = "DELETE FROM entityd.nodes WHERE node = $1 RETURNING node";
        let [rows] = self.rows([Statement::new(forget, [node.into()])]).await?;
        Ok(!rows.is_empty())
    }

    async fn drain(&self, node: &str) -> Result<bool, Error> {
        let drain =
            "UPDATE entityd.nodes SET draining = true WHERE node = $1 AND role = 'worker' RETURNING node";
        let [rows] = self.rows([Statement::new(drain, [node.into()])]).await?;
        Ok(!rows.is_empty())
    }

    async fn now(&self) -> Result<Timestamp, Error> {
        let read = Statement::new("SELECT (extract(epoch FROM now()) * 1000000)::bigint AS now", []);
        let rows = self.link.read(&[read]).await?;
        let row = rows.first().and_then(|rows| rows.first());
        Ok(Timestamp::from_micros(get(
            row.ok_or_else(|| Error::Unavailable("the answer is incomplete".into()))?,
            "now",
        )?))
    }

    async fn word(&self, name: &str) -> Result<Option<String>, Error> {
        let read = Statement::new("SELECT value FROM entityd.words WHERE name = $1", [name.into()]);
        let rows = self.link.read(&[read]).await?;
        rows.first().and_then(|rows| rows.first()).map(|row| get(row, "value")).transpose()
    }

    async fn swap(&self, name: &str, before: Option<&str>, after: &str) -> Result<bool, Error> {
        let change = match before {
            None => Statement::new(
                "INSERT INTO entityd.words (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING",
                [name.into(), after.into()],
            ),
            Some(before) => Statement::new(
                "UPDATE entityd.words SET value = $2 WHERE name = $1 AND value = $3",
                [name.into(), after.into(), before.into()],
            ),
        };
        // If the answer to a change was lost, the change is repeated, and finds the value that it has stored.
        let read = Statement::new("SELECT value FROM entityd.words WHERE name = $1", [name.into()]);
        let [_, rows] = self.rows([change, read]).await?;
        let found = rows.first().map(|row| get::<String>(row, "value")).transpose()?;
        Ok(found.as_deref() == Some(after))
    }
}
