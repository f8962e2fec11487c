//! Tests the store on a real server, which the tests start, or which `TESTS_POSTGRES` names. Without a server, the
//! tests print a notice and pass.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use super::*;
use crate::metadata::commons::{Commons, HeardNode, ListedNode, Node, serving};
use crate::metadata::location::Location;
use crate::metadata::{Commit, conformance};
use crate::runtime::entropy::Entropy;
use crate::system::identity::Identity;
use crate::system::mark::Marks;
use crate::system::sqlite::Losses;

/// A server for one test. Dropping it stops the server.
struct Server {
    folder: TempDir,
    process: Child,
    port: u16,
}

impl Server {
    fn start() -> Option<Self> {
        let Some(programs) = programs() else {
            eprintln!("skipped: PostgreSQL is not installed (apt install postgresql)");
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        let user = user();
        if let Some((user, group)) = user {
            chown(folder.path(), Some(user), Some(group)).unwrap();
        }
        let data = folder.path().join("data");
        let program = |name: &str| {
            let mut command = Command::new(programs.join(name));
            command.current_dir(folder.path()).stdin(Stdio::null());
            if let Some((user, group)) = user {
                command.uid(user).gid(group);
            }
            command
        };
        let made = program("initdb")
            .args(["-U", "entityd", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync", "-D"])
            .arg(&data)
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let log = fs::File::create(folder.path().join("log")).unwrap();
        let process = program("postgres")
            .arg("-D")
            .arg(&data)
            .args(["-p", &port.to_string(), "-k", folder.path().to_str().unwrap(), "-c", "fsync=off"])
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        Some(Self { folder, process, port })
    }

    fn settings(&self, name: &str) -> Settings {
        settings(&format!("postgres://entityd@127.0.0.1:{}/{name}", self.port))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = &self.folder;
    }
}

fn programs() -> Option<PathBuf> {
    let found = fs::read_dir("/usr/lib/postgresql").ok()?.flatten().map(|entry| entry.path().join("bin"));
    found.filter(|path| path.join("postgres").exists()).max()
}

/// Returns the user and group `postgres` if this process is root: the server refuses to run as root.
fn user() -> Option<(u32, u32)> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").unwrap();
    let line = users.lines().find(|line| line.starts_with("postgres:")).expect("there is a user `postgres`");
    let field = |index| line.split(':').nth(index).unwrap().parse().unwrap();
    Some((field(2), field(3)))
}

fn settings(url: &str) -> Settings {
    let Some(Location::Postgres(address)) = Location::parse(url) else { panic!("{url}") };
    Settings {
        address: *address,
        server: None,
        name: None,
        user: None,
        password: None,
        ca_file: None,
        cert_file: None,
        key_file: None,
        connections_max: 8,
        timeout: Duration::from_secs(10),
    }
}

fn owner(seed: u64) -> Owner {
    Owner {
        identity: Identity::random(&Entropy::seeded(seed)),
        made: false,
        accepted: Losses::default(),
        companion: None,
        known: Arc::default(),
        take_over: None,
    }
}

async fn open(settings: &Settings, owner: &Owner, folder: &Path) -> Result<Postgres, Error> {
    Postgres::open(settings, owner, &folder.join("metadata.db"), true).await
}

/// Creates an empty database, and returns its settings.
async fn database(server: &Server, name: &str) -> Settings {
    let link = Link::new(&server.settings("postgres")).unwrap();
    let connection = reach(&link).await.unwrap();
    connection.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
    server.settings(name)
}

fn run<F: Future<Output = ()>>(story: impl FnOnce(Server, TempDir) -> F) {
    let Some(server) = Server::start() else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(story(server, tempfile::tempdir().unwrap()));
}

#[test]
fn postgres_lives_through_every_story() {
    run(async |server, marks| {
        let settings = database(&server, "stories").await;
        let store = open(&settings, &owner(1), marks.path()).await.unwrap();
        conformance::all(&store).await;
        store.compact().await.unwrap();
        store.check().await.unwrap();
        // The state is the same after a restart.
        drop(store);
        let store = open(&settings, &owner(1), marks.path()).await.unwrap();
        assert_eq!(store.standing(), Standing::Complete);
        let project = conformance::project(7);
        conformance::put(&store, &project).await;
        assert_eq!(store.project(project.id, Runs::All).await.unwrap(), Some(project));
    });
}

#[test]
fn another_data_directory_and_an_older_copy_are_refused_by_name() {
    run(async |server, marks| {
        let settings = database(&server, "owned").await;
        let store = open(&settings, &owner(1), marks.path()).await.unwrap();
        let project = conformance::project(7);
        conformance::put(&store, &project).await;
        // A copy of the present state.
        let admin = Link::new(&server.settings("postgres")).unwrap();
        store.close().await.unwrap();
        let copy = "CREATE DATABASE older TEMPLATE owned";
        admin.connection().await.unwrap().batch_execute(copy).await.unwrap();
        let store = open(&settings, &owner(1), marks.path()).await.unwrap();
        conformance::put(&store, &conformance::project(8)).await;
        let older = server.settings("older");
        // A standby may have the sequence of later changes, without the changes.
        let ahead = "SELECT setval('entityd.commit_numbers', 33)";
        Link::new(&older).unwrap().connection().await.unwrap().batch_execute(ahead).await.unwrap();
        drop(store);
        let Err(Error::Unfit(said)) = open(&older, &owner(1), marks.path()).await else { panic!() };
        assert!(
            said.contains("has 1 of the 2 changes") && said.contains("--accept-loss postgresql:2"),
            "{said}"
        );
        let accepting = Owner { accepted: Losses::parse("postgresql:2").unwrap(), ..owner(1) };
        let store = open(&older, &accepting, marks.path()).await.unwrap();
        assert_eq!(store.standing(), Standing::Lossy);
        let found = store.project(project.id, Runs::Unended).await.unwrap().unwrap();
        assert!(found.runs.is_empty() && found.parties.iter().all(|party| !party.uploading));
        assert_eq!(open(&older, &owner(1), marks.path()).await.unwrap().standing(), Standing::Complete);
        // Another data directory has other marks.
        let other = tempfile::tempdir().unwrap();
        let Err(Error::Unfit(said)) = open(&settings, &owner(2), other.path()).await else { panic!() };
        assert!(
            said.contains(&owner(1).identity.to_string()) && said.contains("--take-over-objects"),
            "{said}"
        );
        let taking = Owner { take_over: Some(owner(1).identity), ..owner(2) };
        let before = open(&settings, &owner(1), marks.path()).await.unwrap();
        let store = open(&settings, &taking, other.path()).await.unwrap();
        conformance::put(&store, &conformance::project(9)).await;
        // The previous owner is locked out.
        let change = Box::new(|_| Some(Commit::default()));
        let refused = before.update(project.id, Runs::None, change).await.unwrap_err();
        assert!(crate::telemetry::chain(&refused).contains("taken over"), "{refused:?}");
        // The database is replaced by an empty one.
        let empty = database(&server, "empty").await;
        let made = Owner { made: true, ..owner(3) };
        let folder = tempfile::tempdir().unwrap();
        let Err(Error::Unfit(said)) = open(&empty, &made, folder.path()).await else { panic!() };
        assert!(said.contains("is empty"), "{said}");
    });
}

#[test]
fn a_running_server_refuses_a_database_that_lacks_confirmed_changes() {
    run(async |server, marks| {
        let settings = database(&server, "promoted").await;
        let store = open(&settings, &owner(1), marks.path()).await.unwrap();
        let project = conformance::project(7);
        conformance::put(&store, &project).await;
        store.close().await.unwrap();
        let admin = Link::new(&server.settings("postgres")).unwrap();
        let execute = async |statement: &str| {
            admin.connection().await.unwrap().batch_execute(statement).await.unwrap();
        };
        let rename = async |from: &str, to: &str| {
            let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'promoted'";
            execute(end).await;
            execute(&format!("ALTER DATABASE {from} RENAME TO {to}")).await;
        };
        execute("CREATE DATABASE behind TEMPLATE promoted").await;
        let store = open(&settings, &owner(1), marks.path()).await.unwrap();
        conformance::put(&store, &conformance::project(8)).await;
        // The standby takes the place of the primary.
        rename("promoted", "former").await;
        rename("behind", "promoted").await;
        for _ in 0..2 {
            let refused = store
                .update(project.id, Runs::None, Box::new(|_| Some(Commit::default())))
                .await
                .unwrap_err();
            let said = crate::telemetry::chain(&refused);
            assert!(said.contains("has 1 of the 2 changes"), "{said}");
            let refused = store.project(conformance::project(8).id, Runs::None).await.unwrap_err();
            assert!(crate::telemetry::chain(&refused).contains("has 1 of the 2 changes"));
        }
        // The primary comes back.
        rename("promoted", "behind").await;
        rename("former", "promoted").await;
        assert!(store.project(conformance::project(8).id, Runs::None).await.unwrap().is_some());
    });
}

#[test]
fn a_program_that_stores_no_numbers_is_counted_by_the_sequence() {
    run(async |server, marks| {
        let settings = database(&server, "mixed").await;
        let store = open(&settings, &owner(1), marks.path()).await.unwrap();
        conformance::put(&store, &conformance::project(7)).await;
        let earlier = "INSERT INTO entityd.commits (writer, latest) VALUES ('\\x01', 1) RETURNING nextval('entityd.commit_numbers')";
        let link = Link::new(&settings).unwrap();
        link.connection().await.unwrap().batch_execute(earlier).await.unwrap();
        // Its own mark has the number that it drew.
        Marks::open(&owner(1).marks(&marks.path().join("metadata.db")), owner(1).identity).write(2);
        drop(store);
        for _ in 0..2 {
            let store = open(&settings, &owner(1), marks.path()).await.unwrap();
            assert_eq!(store.standing(), Standing::Complete);
            drop(store);
            link.connection()
                .await
                .unwrap()
                .batch_execute("DELETE FROM entityd.commits WHERE writer = '\\x01'")
                .await
                .unwrap();
        }
    });
}

#[test]
fn programs_that_start_at_once_migrate_once() {
    run(async |server, _| {
        let settings = database(&server, "fresh").await;
        let versions = Postgres::versions(&settings).await.unwrap();
        assert_eq!(versions, Versions { found: 0, known: schema::KNOWN });
        let never = Postgres::open(&settings, &owner(1), Path::new("/nowhere/metadata.db"), false).await;
        let Err(Error::Unfit(said)) = never else { panic!() };
        assert!(said.contains("entityd migrate apply"), "{said}");
        let all = futures::future::join_all((0..8).map(|_| Postgres::migrate(&settings))).await;
        let found: Vec<u32> = all.into_iter().map(|versions| versions.unwrap().found).collect();
        assert_eq!(found.iter().filter(|found| **found == 0).count(), 1, "{found:?}");
        // The tables of a newer program that is compatible with this version, then of one that is not.
        let link = Link::new(&settings).unwrap();
        let connection = link.connection().await.unwrap();
        let newer = "UPDATE entityd.schema_version SET version = 99, oldest = 1";
        connection.batch_execute(newer).await.unwrap();
        assert_eq!(Postgres::migrate(&settings).await.unwrap().found, 99);
        connection.batch_execute("UPDATE entityd.schema_version SET oldest = 98").await.unwrap();
        let refused = Postgres::migrate(&settings).await;
        assert!(matches!(refused, Err(Error::TooNew { found: 99, .. })), "{refused:?}");
    });
}

#[test]
fn changes_are_made_once_while_their_connections_are_cut() {
    run(async |server, marks| {
        let settings = database(&server, "cut").await;
        let store = open(&settings, &owner(1), marks.path()).await.unwrap();
        let project = conformance::project(5);
        conformance::put(&store, &project).await;
        let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let admin = Link::new(&server.settings("postgres")).unwrap();
        let stopping = Arc::clone(&stop);
        let cutting = tokio::spawn(async move {
            let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'cut'";
            let mut cuts = 0;
            while !stopping.load(Ordering::Acquire) {
                admin.connection().await.unwrap().batch_execute(cut).await.unwrap();
                cuts += 1;
                sleep(Duration::from_millis(7)).await;
            }
            cuts
        });
        let count = |message: String| {
            Box::new(move |state: Option<ProjectState>| {
                let mut state = state?;
                state.parties[0].uploads += 1;
                Some(Commit { state: Some(state), outbox: vec![message.clone()], ..Commit::default() })
            })
        };
        let (mut made, mut unknown) = (0, 0);
        for round in 0..60 {
            let changes =
                (0..4).map(|index| store.update(project.id, Runs::None, count(format!("{round}-{index}"))));
            for done in futures::future::join_all(changes).await {
                made += u32::from(done.is_ok());
                unknown += u32::from(done.is_err());
            }
        }
        stop.store(true, Ordering::Release);
        let cuts: u32 = cutting.await.unwrap();
        let after = store.project(project.id, Runs::None).await.unwrap().unwrap();
        let counted = after.parties[0].uploads - project.parties[0].uploads;
        let messages = store.outbox(10_000).await.unwrap();
        let mut bodies: Vec<_> = messages.iter().map(|message| &message.body).collect();
        bodies.sort_unstable();
        bodies.dedup();
        assert_eq!((bodies.len(), messages.len()), (counted as usize, counted as usize));
        eprintln!("{cuts} cuts: {made} changes made, {unknown} failed, {counted} counted");
        assert!(made > 0 && counted >= made && counted <= made + unknown);
    });
}

#[test]
fn other_applications_read_the_views_and_nothing_else() {
    run(async |server, marks| {
        let settings = database(&server, "viewed").await;
        let store = open(&settings, &owner(1), marks.path()).await.unwrap();
        let project = conformance::project(7);
        conformance::put(&store, &project).await;
        let link = Link::new(&settings).unwrap();
        let connection = link.connection().await.unwrap();
        let page = include_str!("../../../assets/docs/database.md");
        let sql = page.split("```sql").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
        connection.batch_execute(sql).await.unwrap();
        let mut reading = settings.clone();
        reading.address.config.user("entityd_reader");
        let reader = Link::new(&reading).unwrap();
        let reader = reader.connection().await.unwrap();
        for (view, count) in [("projects", 1), ("parties", 5), ("runs", 6)] {
            let rows = reader.query_typed(&format!("SELECT * FROM entityd_{view}"), &[]).await.unwrap();
            assert_eq!(rows.len(), count, "{view}");
            for column in rows[0].columns() {
                let name = column.name();
                assert!(["token", "seed", "key", "hash"].iter().all(|word| !name.contains(word)), "{name}");
            }
        }
        for table in TABLES.iter().chain(&["store", "rate", "mark", "schema_version"]) {
            let read = reader.query_typed(&format!("SELECT * FROM entityd.{table}"), &[]).await;
            assert_eq!(read.unwrap_err().code().unwrap().code(), "42501", "{table}");
        }
        let write = reader.batch_execute("DELETE FROM entityd_projects").await;
        assert_eq!(write.unwrap_err().code().unwrap().code(), "42501");
    });
}

fn entrant(name: &str, embedded: &str) -> Entrant {
    let node = Node {
        node: name.to_owned(),
        role: "api".to_owned(),
        name: format!("host of {name}"),
        version: String::new(),
        queues: String::new(),
        threads: 0,
        jobs: 0,
    };
    Entrant {
        node,
        ended: None,
        embedded: embedded.to_owned(),
        settings: [("lease_ms".to_owned(), "1".to_owned())].into(),
        identity: Identity::random(&Entropy::system()),
        is_new: true,
        takes_over: false,
    }
}

#[test]
fn nodes_that_start_at_once_share_one_identity_and_one_token() {
    run(async |server, _| {
        let settings = database(&server, "shared").await;
        let entering = (0..8).map(async |number| {
            let name = number.to_string();
            let (commons, identity) =
                PostgresCommons::enter(&settings, true, &entrant(&name, "")).await.unwrap();
            let first = commons.swap("token", None, &name).await.unwrap();
            (commons, identity.to_string(), first)
        });
        let entered = futures::future::join_all(entering).await;
        assert!(entered.iter().all(|(_, identity, _)| *identity == entered[0].1));
        assert_eq!(entered.iter().filter(|(.., first)| *first).count(), 1);
        let (commons, ..) = &entered[0];
        let word = commons.word("token").await.unwrap().unwrap();
        assert!(!commons.swap("token", Some("other"), "new").await.unwrap());
        assert!(commons.swap("token", Some(&word), "new").await.unwrap());
        let worker = Node { role: "worker".to_owned(), node: "w".to_owned(), ..entrant("w", "").node };
        let heard = |seconds, jobs| HeardNode {
            node: Node { jobs, ..worker.clone() },
            silence: Duration::from_secs(seconds),
        };
        let own = |name| entrant(name, "").node;
        commons.beat(&own("0"), &[heard(3, 1)]).await.unwrap();
        // An older heartbeat does not replace a later one.
        let listed = entered[1].0.beat(&own("1"), &[heard(9, 7)]).await.unwrap();
        assert_eq!(listed.len(), 9);
        let found = listed.iter().find(|listed| listed.node.node == "w").unwrap();
        assert!(
            found.node.jobs == 1 && !found.draining && found.silence >= Duration::from_secs(3),
            "{found:?}"
        );
        assert!(commons.drain("w").await.unwrap() && !commons.drain("0").await.unwrap());
        let listed = commons.beat(&own("0"), &[]).await.unwrap();
        assert!(listed.iter().any(|listed| listed.draining));
        assert_eq!(serving(&listed).len(), 8);
        assert!(commons.forget("w").await.unwrap() && !commons.forget("w").await.unwrap());
        // A heartbeat from before the removal of a worker does not add the worker again.
        let is_listed = |listed: Vec<ListedNode>| listed.into_iter().any(|listed| listed.node.node == "w");
        assert!(!is_listed(commons.beat(&own("0"), &[heard(9, 7)]).await.unwrap()));
        assert!(is_listed(commons.beat(&own("0"), &[heard(1, 7)]).await.unwrap()));
    });
}

#[test]
fn a_node_with_an_engine_of_its_own_is_refused_beside_another() {
    run(async |server, _| {
        let settings = database(&server, "mixed").await;
        let enter = async |entrant: &Entrant| match PostgresCommons::enter(&settings, true, entrant).await {
            Ok((_, identity)) => Ok(identity),
            Err(Error::Unfit(said)) => Err(said),
            Err(error) => panic!("{error}"),
        };
        let first = entrant("first", "");
        let identity = enter(&first).await.unwrap();
        let same = Entrant { identity, is_new: false, ..entrant("second", "its queue") };
        let said = enter(&same).await.unwrap_err();
        assert!(
            said.contains("this one keeps its queue in its data directory")
                && said.contains("--queue redis://"),
            "{said}"
        );
        let differs =
            Entrant { settings: [("lease_ms".to_owned(), "2".to_owned())].into(), ..entrant("third", "") };
        let said = enter(&differs).await.unwrap_err();
        assert!(said.contains("lease_ms is \"2\" on this node and \"1\" on those that run"), "{said}");
        // A server starts again on the data directory of a process that has ended.
        let again =
            Entrant { ended: Some("first".to_owned()), node: entrant("fourth", "").node, ..same.clone() };
        enter(&again).await.unwrap();
        let said = enter(&entrant("fifth", "")).await.unwrap_err();
        assert!(said.contains("and keeps its queue in its data directory"), "{said}");
    });
}

#[test]
fn each_message_is_handed_to_one_node() {
    run(async |server, marks| {
        let settings = database(&server, "messages").await;
        let file = marks.path().join("metadata.db");
        let open = async |name: &str| {
            Postgres::open_as(&settings, &owner(1), &file, true, Some(name.to_owned())).await.unwrap()
        };
        let (first, second) = (open("first").await, open("second").await);
        let project = conformance::project(3);
        let id = project.id;
        let outbox: Vec<String> = (0..5).map(|number| number.to_string()).collect();
        let commit = Commit { state: Some(project), outbox, ..Commit::default() };
        first.update(id, Runs::None, Box::new(move |_| Some(commit.clone()))).await.unwrap();
        let bodies =
            |messages: Vec<Message>| messages.into_iter().map(|message| message.body).collect::<String>();
        assert_eq!(bodies(second.outbox(2).await.unwrap()), "01");
        assert_eq!(bodies(first.outbox(9).await.unwrap()), "234");
        assert_eq!(bodies(second.outbox(9).await.unwrap()), "01", "it has them until it forgets them");
        let last = first.outbox(9).await.unwrap().pop().unwrap().sequence;
        first.forget(last).await.unwrap();
        assert!(second.has_messages().await.unwrap());
        assert_eq!(bodies(second.outbox(9).await.unwrap()), "01");
        let connection = Link::new(&settings).unwrap().connection().await.unwrap();
        let ended = "UPDATE entityd.outbox SET taken = now() - interval '1 minute'";
        connection.batch_execute(ended).await.unwrap();
        assert_eq!(bodies(first.outbox(9).await.unwrap()), "01", "the second node has ended");
    });
}
