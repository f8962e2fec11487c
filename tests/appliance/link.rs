//! `entityd link`: reads the parties' files and writes the result.

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::command_line::{entityd, stderr};

/// Returns the recorded linkages of the reference service.
fn flows() -> Vec<Value> {
    let file = include_str!("../fixtures/vectors/flows.json");
    let flows: Value = serde_json::from_str(file).unwrap();
    flows["cases"].as_array().unwrap().clone()
}

fn link(files: &[PathBuf], threshold: &Value, options: &[&str]) -> Output {
    let mut command = entityd();
    command.arg("link").args(files).args(["--threshold", &threshold.to_string()]).args(options);
    command.output().unwrap()
}

/// Writes a file for each party of a linkage, and returns their paths. `shape` makes a document of encodings and
/// blocks.
fn files(folder: &Path, flow: &Value, shape: fn(&Value, &Value) -> Value) -> Vec<PathBuf> {
    let datasets = flow["datasets"].as_array().unwrap().iter().enumerate();
    let file = |(party, encodings): (usize, &Value)| {
        let path = folder.join(format!("{party}.json"));
        fs::write(&path, shape(encodings, &flow["blocks"][party]).to_string()).unwrap();
        path
    };
    datasets.map(file).collect()
}

/// Returns a document with `clks`, or with `clknblocks` if there are blocks.
fn in_one(encodings: &Value, blocks: &Value) -> Value {
    let Some(blocks) = blocks.as_array() else { return json!({ "clks": encodings }) };
    let record = |(encoding, blocks): (&Value, &Value)| {
        let names = blocks.as_array().unwrap().iter().cloned();
        Value::Array(std::iter::once(encoding.clone()).chain(names).collect())
    };
    let records: Vec<Value> = encodings.as_array().unwrap().iter().zip(blocks).map(record).collect();
    json!({ "clknblocks": records })
}

/// Returns `encodings`, and `blocks` in front of them.
fn apart(encodings: &Value, blocks: &Value) -> Value {
    let Some(blocks) = blocks.as_array() else { return json!({ "encodings": encodings }) };
    let text = |name: &Value| name.as_str().map_or_else(|| name.to_string(), str::to_owned);
    let names = |names: &Value| names.as_array().unwrap().iter().map(text).collect::<Vec<_>>();
    let by_record: serde_json::Map<_, _> =
        blocks.iter().enumerate().map(|(record, list)| (record.to_string(), json!(names(list)))).collect();
    json!({ "blocks": by_record, "encodings": encodings })
}

fn answer(output: &Output) -> Value {
    assert!(output.status.success(), "{}", stderr(output));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn groups_and_scores_are_those_of_the_reference() {
    for flow in flows() {
        let folder = TempDir::new().unwrap();
        let threshold = &flow["threshold"];
        let groups = answer(&link(&files(folder.path(), &flow, in_one), threshold, &[]));
        assert_eq!(groups, json!({ "groups": flow["groups"] }), "{}", flow["name"]);
        let scores = link(&files(folder.path(), &flow, apart), threshold, &["--result", "scores"]);
        let pair = |pair: &Value| json!([[pair[1], pair[3]], [pair[2], pair[4]], pair[0]]);
        let expected: Vec<_> = flow["pairs"].as_array().unwrap().iter().map(pair).collect();
        assert_eq!(answer(&scores), json!({ "similarity_scores": expected }), "{}", flow["name"]);
    }
}

/// Writes the same two encodings of 8 bytes for two parties, one as JSON and one in the binary format.
fn two_parties(folder: &TempDir) -> [PathBuf; 2] {
    let [json, rows] = ["a.json", "b.bin"].map(|name| folder.path().join(name));
    fs::write(&json, r#"{"clks": ["AAECAwQFBgc=", "//79/Pv6+fg="]}"#).unwrap();
    fs::write(&rows, b"\x00\x01\x02\x03\x04\x05\x06\x07\xff\xfe\xfd\xfc\xfb\xfa\xf9\xf8").unwrap();
    [json, rows]
}

#[test]
fn rows_and_json_link_with_each_other_and_csv_is_an_output_format() {
    let folder = TempDir::new().unwrap();
    let files = two_parties(&folder);
    let csv = link(&files, &json!(1), &["--encoding-bytes", "8", "--format", "csv"]);
    let expected = "group,dataset,record\r\n0,0,0\r\n0,1,0\r\n1,0,1\r\n1,1,1\r\n";
    assert_eq!(String::from_utf8(csv.stdout).unwrap(), expected);
}

#[test]
fn an_output_file_is_complete_or_absent() {
    let folder = TempDir::new().unwrap();
    let files = two_parties(&folder);
    let path = folder.path().join("groups.json");
    let options = ["--encoding-bytes", "8", "-o", path.to_str().unwrap()];
    let output = link(&files, &json!(0.9), &options);
    assert!(output.status.success() && output.stdout.is_empty());
    assert_eq!(fs::read_to_string(&path).unwrap(), r#"{"groups": [[[0, 0], [1, 0]], [[0, 1], [1, 1]]]}"#);

    let absent = folder.path().join("no/such/folder/groups.json");
    let options = ["--encoding-bytes", "8", "-o", absent.to_str().unwrap()];
    assert_eq!(link(&files, &json!(0.9), &options).status.code(), Some(1));
}

/// Links two documents. Returns the exit code and the errors, without the path of the folder.
fn complaint(left: &str, right: &str, options: &[&str]) -> String {
    let folder = TempDir::new().unwrap();
    let files = ["a.json", "b.json"].map(|name| folder.path().join(name));
    fs::write(&files[0], left).unwrap();
    fs::write(&files[1], right).unwrap();
    let output = link(&files, &json!(0.9), options);
    assert!(output.stdout.is_empty());
    let lines = stderr(&output).replace(&format!("{}/", folder.path().display()), "");
    let line = lines.lines().find(|line| line.starts_with("entityd: ")).unwrap_or_default();
    format!("{} {line}", output.status.code().unwrap())
}

#[test]
fn an_unusable_file_is_one_line() {
    const GOOD: &str = r#"{"clks": ["AAECAwQFBgc="]}"#;
    const BLOCKS: &str = r#"{"clknblocks": [["AAECAwQFBgc=", "north"]]}"#;
    insta::assert_snapshot!(complaint(GOOD, r#"{"clks": ["AAECAwQFBgc="#, &[]), @"3 entityd: b.json: the JSON document ends early, at byte 23");
    insta::assert_snapshot!(complaint(GOOD, r#"{"clks": []}"#, &[]), @"3 entityd: b.json: `clks` is empty");
    insta::assert_snapshot!(complaint(GOOD, r#"{"clks": ["AAEC*wQFBgc="]}"#, &[]), @"3 entityd: b.json: record 0: the encoding is not valid base64 (standard alphabet, with padding)");
    insta::assert_snapshot!(complaint(GOOD, r#"{"clks": ["AAECAwQFBgcAAQIDBAUGBw=="]}"#, &[]), @"3 entityd: b.json: its encodings have 16 bytes, but those of a.json have 8");
    insta::assert_snapshot!(complaint(r#"{"clks": ["AAEC"]}"#, GOOD, &[]), @"3 entityd: a.json: encodings of 3 bytes cannot be compared: the size must be a multiple of 8 bytes");
    insta::assert_snapshot!(complaint(GOOD, BLOCKS, &[]), @"3 entityd: b.json: it has blocks, but a.json has no blocks");
    insta::assert_snapshot!(complaint(BLOCKS, r#"{"encodings": ["AAECAwQFBgc="], "blocks": {"1": ["a"]}}"#, &[]), @"3 entityd: b.json: `blocks` names record 1, but the records are 0 to 0");
    insta::assert_snapshot!(complaint(GOOD, r#"{"encodings": {"file": {"bucket": "b", "path": "p"}}}"#, &[]), @"3 entityd: b.json: names files in an object store; give the encodings themselves");
    insta::assert_snapshot!(complaint(GOOD, GOOD, &["--pairs-max", "0"]), @"3 entityd: 1 candidate pairs found so far, which is more than the limit of 0; a higher threshold or blocking would give fewer (--pairs-max allows more)");
}

/// Runs a program, such as a compressor, in `folder`, and asserts that it succeeds.
fn run(program: &str, arguments: &[&str], folder: &Path) {
    let output = std::process::Command::new(program).args(arguments).current_dir(folder).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(output.status.success(), "{program}: {}", stderr(&output));
}

#[test]
fn compressed_files_and_pipes_are_read() {
    let folder = TempDir::new().unwrap();
    let [json, rows] = two_parties(&folder);
    let plain = link(&[json.clone(), rows.clone()], &json!(0.9), &["--encoding-bytes", "8"]);
    run("gzip", &["-k", "a.json", "b.bin"], folder.path());
    let marked = [b"\xef\xbb\xbf".as_slice(), &fs::read(&json).unwrap()].concat();
    fs::write(folder.path().join("marked.json"), marked).unwrap();
    let zstd = zstd::encode_all(fs::File::open(&json).unwrap(), 3).unwrap();
    fs::write(folder.path().join("zstd.json"), zstd).unwrap();
    for (left, right) in [("a.json.gz", "b.bin.gz"), ("zstd.json", "b.bin"), ("marked.json", "b.bin")] {
        let files = [left, right].map(|name| folder.path().join(name));
        assert_eq!(answer(&link(&files, &json!(0.9), &["--encoding-bytes", "8"])), answer(&plain), "{left}");
    }
    let script = "\"$0\" link <(cat a.json) b.bin --threshold 0.9 --encoding-bytes 8";
    let mut piped = std::process::Command::new("bash");
    let piped = piped.args(["-c", script]).arg(entityd().get_program()).current_dir(folder.path()).output();
    assert_eq!(answer(&piped.unwrap()), answer(&plain));
}

#[test]
fn a_file_of_another_format_is_reported_as_such() {
    let folder = TempDir::new().unwrap();
    two_parties(&folder);
    run("tar", &["-cf", "archive.json", "a.json"], folder.path());
    run("tar", &["-czf", "archive.bin.gz", "b.bin"], folder.path());
    fs::create_dir(folder.path().join("folder")).unwrap();
    fs::write(folder.path().join("empty.bin"), "").unwrap();
    fs::write(folder.path().join("empty.json"), "").unwrap();
    fs::write(folder.path().join("zip.bin"), b"PK\x03\x04rest").unwrap();
    let wide: Vec<u8> = "{\"clks\": []}".encode_utf16().flat_map(u16::to_le_bytes).collect();
    fs::write(folder.path().join("wide.json"), wide).unwrap();
    for (name, said) in [
        ("empty.bin", "is empty"),
        ("empty.json", "is empty"),
        ("folder", "is a folder"),
        ("zip.bin", "is a zip archive"),
        ("archive.json", "is a tar archive"),
        ("archive.bin.gz", "is a tar archive"),
        ("wide.json", "UTF-16"),
    ] {
        let files = [folder.path().join("a.json"), folder.path().join(name)];
        let output = link(&files, &json!(0.9), &["--encoding-bytes", "8"]);
        let complaint = stderr(&output).lines().last().unwrap_or_default().to_owned();
        assert_eq!(output.status.code(), Some(3), "{name}: {complaint}");
        assert!(complaint.contains(&format!("/{name}: ")) && complaint.contains(said), "{complaint}");
    }
}

#[test]
fn a_compressed_file_that_is_cut_off_is_bad_input() {
    let folder = TempDir::new().unwrap();
    let [json, _] = two_parties(&folder);
    let content = fs::read(&json).unwrap();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(&content).unwrap();
    let zstd = zstd::encode_all(&content[..], 1).unwrap();
    for (name, packed) in [("b.json.gz", gzip.finish().unwrap()), ("b.json.zst", zstd)] {
        let file = folder.path().join(name);
        fs::write(&file, &packed[..packed.len() - 3]).unwrap();
        let output = link(&[json.clone(), file.clone()], &json!(0.9), &[]);
        assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
        assert!(stderr(&output).contains(&format!("/{name}: is truncated")), "{}", stderr(&output));
        fs::write(&file, &packed).unwrap();
        let output = link(&[json.clone(), file], &json!(0.9), &[]);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    }
}

#[test]
fn an_output_is_written_through_a_symbolic_link() {
    let folder = TempDir::new().unwrap();
    let [json, _] = two_parties(&folder);
    let at = |name: &str| folder.path().join(name);
    fs::create_dir(at("elsewhere")).unwrap();
    symlink("elsewhere/groups.json", at("link")).unwrap();
    let files = [json.clone(), json.clone()];
    let output = link(&files, &json!(0.9), &["-o", at("link").to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(at("link").is_symlink() && at("elsewhere/groups.json").is_file());
    // The output may not be a link to an input either.
    symlink(&json, at("input")).unwrap();
    let before = fs::read(&json).unwrap();
    let output = link(&files, &json!(0.9), &["-o", at("input").to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert_eq!(fs::read(&json).unwrap(), before);
}

#[test]
fn a_command_line_error_is_one_line() {
    let folder = TempDir::new().unwrap();
    let [json, rows] = two_parties(&folder);
    let said = |output: Output| {
        let line =
            stderr(&output).lines().last().unwrap_or_default().replace(folder.path().to_str().unwrap(), "");
        format!("{} {line}", output.status.code().unwrap())
    };
    insta::assert_snapshot!(said(link(&[json.clone(), rows.clone()], &json!(0.9), &[])), @"2 entityd: /b.bin: give the size of an encoding in this file with --encoding-bytes");
    insta::assert_snapshot!(said(link(&[json.clone(), rows.clone()], &json!(0.9), &["--encoding-bytes", "24"])), @"3 entityd: /b.bin: has 16 bytes, which is not a multiple of 24");
    insta::assert_snapshot!(said(link(&[json.clone(), rows.clone()], &json!(1.5), &[])), @"2 entityd: invalid value '1.5' for '--threshold <T>': the threshold must be greater than 0 and at most 1, not 1.5");
    insta::assert_snapshot!(said(link(std::slice::from_ref(&json), &json!(0.9), &[])), @"2 entityd: give a file for each party, at least two");
    insta::assert_snapshot!(said(link(&[json, folder.path().join("none.json")], &json!(0.9), &[])), @"1 entityd: cannot read /none.json: No such file or directory (os error 2)");
}

#[test]
fn a_linkage_needs_no_temporary_directory() {
    let folder = TempDir::new().unwrap();
    let files: Vec<PathBuf> = (0..2).map(|party| folder.path().join(format!("{party}.json"))).collect();
    for file in &files {
        fs::write(file, r#"{"clks": ["AAECAwQFBgc="]}"#).unwrap();
    }
    let output = entityd()
        .arg("link")
        .args(&files)
        .args(["--threshold", "0.9"])
        .env("TMPDIR", "/does/not/exist")
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert_eq!(answer(&output), json!({"groups": [[[0, 0], [1, 0]]]}));
    assert!(stderr(&output).contains("since /does/not/exist is missing"), "{}", stderr(&output));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
}
