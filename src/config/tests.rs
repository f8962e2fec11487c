//! Tests precedence, every kind of error, and the files in `config/`.

use linkage::similarity::{Kernel, KernelName};

use super::*;

fn inputs() -> Inputs {
    Inputs::default()
}

impl Inputs {
    fn flag(mut self, key: &'static str, value: &str) -> Self {
        self.flags.insert(key, value.to_owned());
        self
    }

    fn variable(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// Returns a settings file with these contents.
fn file(contents: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), contents).unwrap();
    file
}

/// Loads settings from a file and `inputs`.
fn load_file(contents: &str, inputs: Inputs) -> Result<Loaded, Error> {
    let file = file(contents);
    load(&Inputs { file: Some(file.path().display().to_string()), ..inputs })
}

fn source(loaded: &Loaded, key: &str) -> String {
    loaded.sources.iter().find(|(name, _)| *name == key).unwrap().1.to_string()
}

/// Returns the error about a file with these contents, without its path.
fn complaint(contents: &str) -> String {
    let file = file(contents);
    let path = file.path().display().to_string();
    load(&Inputs { file: Some(path.clone()), ..inputs() }).unwrap_err().to_string().replace(&path, "FILE")
}

#[test]
fn flag_wins_over_environment_over_file_over_alias_over_default() {
    let alias = inputs().variable("CHUNK_SIZE_AIM", "1");
    let both = alias.clone().variable("ENTITYD_COMPARISONS_PER_JOB", "3");
    let all = both.clone().flag("comparisons_per_job", "4");
    let written = "comparisons_per_job = 2";
    for (loaded, value, from) in [
        (load(&inputs()), None, "default"),
        (load(&alias), Some(1), "environment CHUNK_SIZE_AIM"),
        (load_file(written, alias.clone()), Some(2), "file"),
        (load_file(written, both), Some(3), "environment ENTITYD_COMPARISONS_PER_JOB"),
        (load_file(written, all), Some(4), "flag --comparisons-per-job"),
    ] {
        let loaded = loaded.unwrap();
        assert_eq!(loaded.settings.comparisons_per_job, value);
        assert!(source(&loaded, "comparisons_per_job").starts_with(from), "{from}");
    }
}

#[test]
fn the_file_may_be_named_in_the_environment_and_a_flag_wins() {
    let (named, flagged) = (file("lease_ms = 1000"), file("lease_ms = 2000"));
    let environment = inputs().variable("ENTITYD_CONFIG", &named.path().display().to_string());
    assert_eq!(load(&environment).unwrap().settings.lease_ms, 1000);
    let both = Inputs { file: Some(flagged.path().display().to_string()), ..environment };
    assert_eq!(load(&both).unwrap().settings.lease_ms, 2000);
}

#[test]
fn the_reference_service_s_names_are_understood() {
    let loaded = load(
        &inputs()
            .variable("MIN_ENCODING_SIZE", "1")
            .variable("MAX_ENCODING_SIZE", "2048")
            .variable("SOLVER_MAX_CANDIDATE_PAIRS", "10_000")
            .variable("SIMILARITY_SCORES_MAX_CANDIDATE_PAIRS", "")
            .variable("CELERYD_CONCURRENCY", "3")
            .variable("LOG_HTTP_HEADER_FIELDS", "X-Request-Id"),
    );
    let settings = loaded.unwrap().settings;
    assert_eq!((settings.min_encoding_bytes, settings.max_encoding_bytes), (1, 2048));
    assert_eq!((settings.solver_pairs_max, settings.run_pairs_max), (10_000, 500_000_000));
    assert_eq!(
        (settings.worker_threads, settings.log_http_header_fields),
        (3, vec!["x-request-id".to_owned()])
    );
}

#[test]
fn a_boolean_is_understood_in_any_usual_spelling_and_refused_by_name_otherwise() {
    let switches = [
        ("UPLOAD_OBJECT_STORE_ENABLED", "external_uploads"),
        ("UPLOAD_OBJECT_STORE_SECURE", "upload_secure"),
        ("DOWNLOAD_OBJECT_STORE_SECURE", "download_secure"),
        ("MINIO_SECURE", "MINIO_SECURE"),
        ("ENTITYD_REQUIRE_ADMIN_TOKEN", "require_admin_token"),
    ];
    for (variable, named) in switches {
        for value in ["true", "False", "YES", "no", "on", "Off", "1", "0", " true ", "off\n"] {
            assert!(load(&inputs().variable(variable, value)).is_ok(), "{variable}={value:?}");
        }
        let error = load(&inputs().variable(variable, "maybe")).unwrap_err().to_string();
        let said = format!("{named} = \"maybe\" from environment {variable}: give true");
        assert!(error.starts_with(&said), "{error}");
    }
}

#[test]
fn a_settings_file_may_begin_with_a_byte_order_mark_and_is_utf_8() {
    assert_eq!(load_file("\u{feff}lease_ms = 5000", inputs()).unwrap().settings.lease_ms, 5_000);
    let wide = file("");
    let text: Vec<u8> = "\u{feff}lease_ms = 5000".encode_utf16().flat_map(u16::to_le_bytes).collect();
    std::fs::write(wide.path(), text).unwrap();
    let inputs = Inputs { file: Some(wide.path().display().to_string()), ..inputs() };
    let error = load(&inputs).unwrap_err().to_string();
    assert!(error.ends_with("it is text in UTF-16; save it as UTF-8"), "{error}");
}

#[test]
fn proxies_close_idle_connections_before_we_do() {
    // nginx keeps idle connections for 75 s, and most load balancers for 60 s.
    assert!(load(&inputs()).unwrap().settings.idle_timeout_ms > 75_000);
}

#[test]
fn blanks_around_a_value_do_not_count() {
    let loaded = load_file("listen = ' :8900 '", inputs().variable("ENTITYD_LEASE_MS", " 5_000\n")).unwrap();
    assert_eq!(loaded.settings.listen, "[::]:8900".parse().unwrap());
    assert_eq!(loaded.settings.lease_ms, 5_000);
}

#[test]
fn toml_values_may_be_numbers_texts_or_lists() {
    let loaded = load_file(
        "solver_pairs_max = 1_000\nrun_pairs_max = '2_000'\nlog_http_header_fields = ['via', 'x-a']\n",
        inputs(),
    );
    let settings = loaded.unwrap().settings;
    assert_eq!((settings.solver_pairs_max, settings.run_pairs_max), (1000, 2000));
    assert_eq!(settings.log_http_header_fields, ["via", "x-a"]);
}

#[test]
fn times_and_sizes_may_have_units() {
    let inputs = inputs().flag("body_bytes_max", "2GiB").variable("ENTITYD_UPLOAD_DURATION_S", "1h");
    let settings = load_file("lease_ms = '45s'", inputs).unwrap().settings;
    assert_eq!(settings.lease_ms, 45_000);
    assert_eq!(settings.body_bytes_max, 2 << 30);
    assert_eq!(settings.upload_duration_s, 3_600);
}

#[test]
fn a_mistake_in_the_file_is_one_line() {
    insta::assert_snapshot!(complaint("\nlease_ms = 'soon'"), @r#"lease_ms = "soon" from file FILE line 2: give milliseconds from 100 to 86_400_000, such as 30_000, or a time such as 30s"#);
    insta::assert_snapshot!(complaint("leese_ms = 5"), @r#"leese_ms = "5" from file FILE line 1: there is no such setting; did you mean lease_ms?"#);
    insta::assert_snapshot!(complaint("colour = 'blue'"), @r#"colour = "blue" from file FILE line 1: there is no such setting; `entityd config show` lists all"#);
    insta::assert_snapshot!(complaint("admin_token = 'hush'"), @"admin_token = *** from file FILE line 1: there is no such setting; did you mean admin_token_file?");
    insta::assert_snapshot!(complaint("database_pasword = 'hush'"), @"database_pasword = *** from file FILE line 1: there is no such setting; did you mean database_password?");
    insta::assert_snapshot!(complaint("[server]\nlisten = 5"), @r#"server = "[table]" from file FILE line 1: there is no such setting; `entityd config show` lists all"#);
    insta::assert_snapshot!(complaint("[listen]\nport = 5"), @r#"listen = "[table]" from file FILE line 1: give an address and a port, such as 127.0.0.1:8851 or [::]:8851, :8851 for every address, or 8851 for this machine alone"#);
    insta::assert_snapshot!(complaint("lease_ms = 5 5"), @r#"settings file FILE line 1: lease_ms = "5 5": string values must be quoted, expected literal string"#);
    insta::assert_snapshot!(complaint("lease_ms = 1000\nlease_ms = 2000"), @r#"settings file FILE line 2: lease_ms = "2000": duplicate key"#);
    insta::assert_snapshot!(complaint("log_http_header_fields = 'Authorization'"), @r#"log_http_header_fields = "Authorization" from file FILE line 1: give names of request headers separated by commas, none of them carrying a secret as authorization does"#);
    insta::assert_snapshot!(complaint("solver_pairs_max = 1.5"), @r#"solver_pairs_max = "1.5" from file FILE line 1: give a whole number, at least 1, such as 300_000_000"#);
    insta::assert_snapshot!(load(&Inputs { file: Some("/does/not/exist".into()), ..inputs() }).unwrap_err(), @"settings file /does/not/exist: cannot be read: No such file or directory (os error 2)");
}

#[test]
fn an_error_in_the_file_repeats_no_secret() {
    for contents in [
        "hush",
        "database_password: hush",
        "database_password = hush",
        "database_pasword = hush",
        "database_password = 'hush",
        "database_password = \"\"\"a\nhush",
        "aHVzaC1odXNo== hush",
    ] {
        let said = complaint(contents);
        assert!(said.starts_with("settings file FILE line ") && !said.contains("hush"), "{said}");
    }
    assert!(!complaint("aHVzaC1odXNo").contains("aHVz"), "a file with a token alone");
}

#[test]
fn a_mistake_in_a_flag_or_in_the_environment_is_one_line() {
    let complaint = |inputs: Inputs| load(&inputs).unwrap_err().to_string();
    insta::assert_snapshot!(complaint(inputs().flag("listen", "localhost")), @r#"listen = "localhost" from flag --listen: give an address and a port, such as 127.0.0.1:8851 or [::]:8851, :8851 for every address, or 8851 for this machine alone"#);
    insta::assert_snapshot!(complaint(inputs().flag("data_dir", "")), @r#"data_dir = "" from flag --data-dir: give the path of a directory"#);
    insta::assert_snapshot!(complaint(inputs().flag("log", "loud")), @r#"log = "loud" from flag --log: give error, warn, info, debug, trace or off, or levels by module such as info,entityd::queue=debug"#);
    insta::assert_snapshot!(complaint(inputs().flag("proxy_header", "forwarded")), @r#"proxy_header = "forwarded" from flag --proxy-header: name the proxies that send it as well: trusted_proxies = "" from default"#);
    insta::assert_snapshot!(complaint(inputs().flag("log_format", "xml")), @r#"log_format = "xml" from flag --log-format: give auto, text or json"#);
    insta::assert_snapshot!(complaint(inputs().flag("kernel", "abacus")), @r#"kernel = "abacus" from flag --kernel: give auto, portable, popcnt, avx2, avx512, amx or neon"#);
    insta::assert_snapshot!(complaint(inputs().variable("ENTITYD_LEASE", "5")), @r#"ENTITYD_LEASE = "5" from environment ENTITYD_LEASE: there is no such setting; did you mean ENTITYD_LEASE_MS?"#);
    insta::assert_snapshot!(complaint(inputs().variable("ENTITYD_NONSENSE", "5")), @r#"ENTITYD_NONSENSE = "5" from environment ENTITYD_NONSENSE: there is no such setting; `entityd config show` lists all"#);
    insta::assert_snapshot!(complaint(Inputs { file: Some(String::new()), ..inputs() }), @r#"settings file "": the path is empty: give a path with --config or ENTITYD_CONFIG, or neither"#);
    insta::assert_snapshot!(complaint(inputs().variable("ENTITYD_WORKER_THREADS", "many")), @r#"worker_threads = "many" from environment ENTITYD_WORKER_THREADS: give a number of threads from 1 to 1024, or 0 for one on each core"#);
    insta::assert_snapshot!(complaint(inputs().variable("MAX_ENCODING_SIZE", "1MB")), @r#"max_encoding_bytes = "1MB" from environment MAX_ENCODING_SIZE: give bytes from 1 to 4096, such as 128"#);
}

#[test]
fn a_mistake_that_is_overridden_is_still_one() {
    let overridden = |contents| load_file(contents, inputs().flag("lease_ms", "1000"));
    assert_eq!(overridden("lease_ms = 2000").unwrap().settings.lease_ms, 1000);
    let error = overridden("lease_ms = 'soon'").unwrap_err().to_string();
    assert!(error.starts_with("lease_ms = \"soon\" from file"), "{error}");
    let reference = inputs().flag("worker_threads", "2").variable("CELERYD_CONCURRENCY", "auto");
    assert_eq!(load(&reference).unwrap().settings.worker_threads, 2, "another service's variable");
}

#[test]
fn settings_that_contradict_one_another_are_refused() {
    let complaint = |inputs: Inputs| load(&inputs).unwrap_err().to_string();
    insta::assert_snapshot!(complaint(inputs().flag("s3_listen", "0.0.0.0:8851")), @r#"s3_listen = "0.0.0.0:8851" from flag --s3-listen: give another port, this one is taken by listen = "127.0.0.1:8851" from default"#);
    insta::assert_snapshot!(complaint(inputs().variable("MIN_ENCODING_SIZE", "2048")), @r#"min_encoding_bytes = "2048" from environment MIN_ENCODING_SIZE: give a number that is not more than max_encoding_bytes = "1024" from default"#);
    let free = inputs().flag("listen", "127.0.0.1:0").flag("s3_listen", "127.0.0.1:0");
    assert!(load(&free).is_ok(), "port 0 is any free one");
    assert!(load(&inputs().flag("s3_listen", "127.0.0.2:8851")).is_ok(), "another address");
}

#[test]
fn variables_of_kubernetes_and_docker_are_ignored_and_misspelt_settings_are_errors() {
    let announced = inputs()
        .variable("ENTITYD_PORT", "tcp://10.0.0.7:80")
        .variable("ENTITYD_S3_SERVICE_HOST", "10.0.0.7")
        .variable("ENTITYD_LEASE_ENV_HOME", "/root");
    assert!(load(&announced).is_ok());
    let error = load(&announced.variable("ENTITYD_S3_PORT", "8852")).unwrap_err().to_string();
    assert!(error.contains("ENTITYD_S3_PORT: there is no such setting"), "{error}");
}

#[test]
fn show_names_value_and_source() {
    let loaded = load(&inputs().flag("lease_ms", "5_000").variable("MAX_ENCODING_SIZE", "128")).unwrap();
    let table = show::table(&loaded);
    let line = |key: &str| {
        let line =
            table.lines().find(|line| line.split_whitespace().next() == Some(key)).expect("a line a key");
        line.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(line("key"), "key value source");
    assert_eq!(line("data_dir"), "data_dir entityd-data default");
    assert_eq!(line("max_encoding_bytes"), "max_encoding_bytes 128 environment MAX_ENCODING_SIZE");
    assert_eq!(line("lease_ms"), "lease_ms 5000 flag --lease-ms");
    assert_eq!(table.lines().count(), 1 + KEYS.len());
    let json: Vec<serde_json::Value> = serde_json::from_str(&show::json(&loaded)).unwrap();
    let expected = serde_json::json!({"key": "lease_ms", "value": 5000, "source": "flag --lease-ms"});
    assert!(json.contains(&expected) && json.len() == KEYS.len());
}

#[test]
fn a_kernel_that_the_processor_lacks_is_refused_and_those_that_it_has_are_named() {
    for name in KernelName::ALL {
        let loaded = load(&inputs().flag("kernel", name.as_str()));
        match Kernel::named(name) {
            Ok(kernel) => assert_eq!(loaded.unwrap().settings.kernel, Some(kernel.name())),
            Err(missing) => {
                let said = format!("kernel = \"{name}\" from flag --kernel: {missing}");
                assert_eq!(loaded.unwrap_err().to_string(), said);
                assert!(said.contains(Kernel::best().name().as_str()), "{said}");
            }
        }
    }
}

/// Returns the expected content of `config/all.toml`: every key with its help and default.
fn all_toml() -> String {
    let quote = |value: &str| {
        if value.starts_with(|c: char| c.is_ascii_digit()) && !value.contains(['.', ':']) {
            value.to_owned()
        } else {
            format!("{value:?}")
        }
    };
    let aliases = |key: &Key| match key.aliases {
        [] => String::new(),
        aliases => format!(" Also {}.", aliases.join(", ")),
    };
    let lines = KEYS
        .iter()
        .map(|key| format!("\n#{}{}\n{} = {}\n", key.help, aliases(key), key.name, quote(key.default)));
    "# Every setting of entityd with its default: entityd serve --config FILE.\n\
     # A setting may also be a flag (--lease-ms) or an environment variable (ENTITYD_LEASE_MS), which take precedence.\n\
     # Times and sizes may have a unit, in quotes here: \"30s\", \"12h\", \"10GiB\".\n"
        .to_owned()
        + &lines.collect::<String>()
}

#[test]
fn config_all_toml_lists_every_setting_with_its_default() {
    let text = include_str!("../../config/all.toml");
    assert_eq!(text, all_toml(), "config/all.toml should be:\n{}", all_toml());
    let loaded = load_file(text, inputs()).unwrap();
    let defaults = load(&inputs()).unwrap().settings;
    assert_eq!(serde_json::json!(loaded.settings), serde_json::json!(defaults));
}

#[test]
fn each_role_has_a_settings_file() {
    let api = load_file(include_str!("../../config/api.toml"), inputs()).unwrap().settings;
    assert_eq!((api.role, api.worker_listen.address(api.role).unwrap().port()), (Role::Api, 8854));
    let worker = load_file(include_str!("../../config/worker.toml"), inputs()).unwrap().settings;
    assert_eq!((worker.role, worker.join.len()), (Role::Worker, 1));
    assert_eq!(worker.worker_listen.address(worker.role), None);
}

#[test]
fn a_role_goes_with_its_settings() {
    let worker = || inputs().flag("role", "worker");
    let joined = || worker().flag("join", "https://a:8854, http://b:8854").flag("join_token_file", "/f");
    assert_eq!(load(&joined()).unwrap().settings.join, ["https://a:8854", "http://b:8854"]);
    // The environment may be that of several nodes.
    load(&joined().variable("ENTITYD_QUEUE", "redis://host")).unwrap();
    for (inputs, fault) in [
        (worker(), "join "),
        (worker().flag("join", "https://a:8854"), "join_token_file "),
        (joined().flag("worker_listen", "8854"), "worker_listen "),
        (joined().flag("queues", "maintenance"), "queues "),
        (joined().flag("listen", "127.0.0.1:1"), "listen "),
        (joined().flag("database", "postgres://host/name"), "database "),
        (joined().flag("queue", "redis://host"), "queue "),
        (inputs().flag("join", "https://a:8854"), "join "),
        (inputs().flag("join_ca", "/f"), "join_ca "),
        (joined().flag("join", "a:8854"), "join "),
        (inputs().flag("worker_listen", "8851"), "worker_listen "),
        (inputs().flag("role", "boss"), "role "),
    ] {
        let error = load(&inputs).unwrap_err().to_string();
        assert!(error.starts_with(fault), "{fault}: {error}");
    }
}
