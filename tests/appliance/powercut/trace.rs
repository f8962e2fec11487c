//! Parses the output of `strace` into operations on files.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

/// An operation with the numbers of the lines in which it began and ended.
#[derive(Debug)]
pub(super) struct Event {
    pub(super) began: usize,
    /// The line in which it ended; `usize::MAX` if it never ended.
    pub(super) ended: usize,
    pub(super) operation: Operation,
}

#[derive(Debug)]
pub(super) enum Operation {
    /// A file or a folder was created, unless the name existed.
    Make {
        path: PathBuf,
        folder: bool,
    },
    Write {
        path: PathBuf,
        offset: u64,
        data: Vec<u8>,
    },
    Truncate {
        path: PathBuf,
        length: u64,
    },
    Rename {
        from: PathBuf,
        to: PathBuf,
    },
    Remove {
        path: PathBuf,
    },
    Sync {
        path: PathBuf,
    },
    /// The workload printed a line.
    Word(String),
}

#[derive(Debug)]
pub(super) struct Trace {
    pub(super) root: PathBuf,
    pub(super) events: Vec<Event>,
}

/// Reads the operations on files below `root`, and the writes to `log`.
pub(super) fn read(trace: &Path, root: &Path, log: &Path) -> Trace {
    let mut reader = Reader {
        root: root.to_owned(),
        log: log.to_owned(),
        events: Vec::new(),
        offsets: HashMap::new(),
        unfinished: HashMap::new(),
    };
    for (number, line) in BufReader::new(File::open(trace).unwrap()).lines().enumerate() {
        reader.line(number, &line.unwrap());
    }
    let mut events = reader.events;
    events.sort_by_key(|event| event.began);
    Trace { root: reader.root, events }
}

struct Reader {
    root: PathBuf,
    log: PathBuf,
    events: Vec<Event>,
    /// The position in the file for the next `write`, by descriptor.
    offsets: HashMap<u32, u64>,
    /// The beginning of each unfinished call and the number of its line, by thread.
    unfinished: HashMap<String, (usize, String)>,
}

impl Reader {
    fn line(&mut self, number: usize, line: &str) {
        let Some((thread, call)) = line.split_once(' ') else { return };
        let call = call.trim_start();
        if let Some(half) = call.strip_suffix("<unfinished ...>") {
            self.unfinished.insert(thread.to_owned(), (number, half.trim_end().to_owned()));
        } else if let Some(rest) = call.strip_prefix("<... ") {
            let Some((began, half)) = self.unfinished.remove(thread) else { return };
            let rest = rest.split_once("resumed>").map_or("", |(_, rest)| rest);
            self.call(began, number, &format!("{half}{rest}"));
        } else {
            self.call(number, number, call);
        }
    }

    fn call(&mut self, began: usize, ended: usize, call: &str) {
        let Some((name, rest)) = call.split_once('(') else { return };
        let Some((arguments, result)) = rest.rsplit_once(" = ") else { return };
        let Some(arguments) = arguments.trim_end().strip_suffix(')') else { return };
        if result.starts_with('-') || result.starts_with('?') {
            return;
        }
        for operation in self.operations(name, arguments, result) {
            self.events.push(Event { began, ended, operation });
        }
    }

    fn operations(&mut self, name: &str, arguments: &str, result: &str) -> Vec<Operation> {
        let descriptor = || descriptor(arguments).filter(|(_, path)| path.starts_with(&self.root));
        match name {
            "openat" => self.open(arguments, result),
            "write" => self.write(arguments).into_iter().collect(),
            "writev" | "pwritev" | "fallocate" => {
                assert!(descriptor().is_none(), "{name} is not supported here");
                Vec::new()
            }
            "pwrite64" => descriptor()
                .map(|(_, path)| {
                    let (offset, data) = (last_number(arguments), quoted(arguments).remove(0));
                    Operation::Write { path, offset, data }
                })
                .into_iter()
                .collect(),
            "ftruncate" => descriptor()
                .map(|(_, path)| Operation::Truncate { path, length: last_number(arguments) })
                .into_iter()
                .collect(),
            "lseek" => {
                let offset = result.split_whitespace().next().and_then(|offset| offset.parse().ok());
                if let Some(((descriptor, _), offset)) = descriptor().zip(offset) {
                    self.offsets.insert(descriptor, offset);
                }
                Vec::new()
            }
            "fsync" | "fdatasync" => {
                descriptor().map(|(_, path)| Operation::Sync { path }).into_iter().collect()
            }
            "rename" | "renameat" | "renameat2" => {
                let mut paths = quoted(arguments).into_iter().map(path);
                let (from, to) = (paths.next().unwrap(), paths.next().unwrap());
                if to.starts_with(&self.root) { vec![Operation::Rename { from, to }] } else { Vec::new() }
            }
            "unlink" | "unlinkat" => self.named(arguments, |path| Operation::Remove { path }),
            "mkdir" | "mkdirat" => self.named(arguments, |path| Operation::Make { path, folder: true }),
            _ => Vec::new(),
        }
    }

    fn named(&self, arguments: &str, operation: impl Fn(PathBuf) -> Operation) -> Vec<Operation> {
        let path = path(quoted(arguments).remove(0));
        if path.starts_with(&self.root) { vec![operation(path)] } else { Vec::new() }
    }

    fn open(&mut self, arguments: &str, result: &str) -> Vec<Operation> {
        let Some((descriptor, path)) = descriptor(result).filter(|(_, path)| path.starts_with(&self.root))
        else {
            return Vec::new();
        };
        self.offsets.insert(descriptor, 0);
        let mut operations = Vec::new();
        if arguments.contains("O_CREAT") {
            operations.push(Operation::Make { path: path.clone(), folder: false });
        }
        if arguments.contains("O_TRUNC") {
            operations.push(Operation::Truncate { path, length: 0 });
        }
        operations
    }

    fn write(&mut self, arguments: &str) -> Option<Operation> {
        let (descriptor, path) = descriptor(arguments)?;
        if path == self.log {
            let words = String::from_utf8(quoted(arguments).remove(0)).unwrap();
            return Some(Operation::Word(words.trim_end().to_owned()));
        }
        if !path.starts_with(&self.root) {
            return None;
        }
        let data = quoted(arguments).remove(0);
        let offset = self.offsets.entry(descriptor).or_default();
        let at = *offset;
        *offset += data.len() as u64;
        Some(Operation::Write { path, offset: at, data })
    }
}

/// Parses a descriptor such as `5<\x2f\x61>` at the beginning of a text.
fn descriptor(text: &str) -> Option<(u32, PathBuf)> {
    let (number, rest) = text.trim_start().split_once('<')?;
    let (name, _) = rest.split_once('>')?;
    Some((number.parse().ok()?, path(bytes(name))))
}

fn last_number(arguments: &str) -> u64 {
    arguments.rsplit(", ").next().unwrap().trim().parse().unwrap()
}

/// Returns the quoted texts, all of whose bytes are hexadecimal: `"\x61\x62"`.
fn quoted(arguments: &str) -> Vec<Vec<u8>> {
    arguments.split('"').skip(1).step_by(2).map(bytes).collect()
}

fn bytes(hex: &str) -> Vec<u8> {
    hex.split("\\x").skip(1).map(|hex| u8::from_str_radix(&hex[..2], 16).unwrap()).collect()
}

fn path(bytes: Vec<u8>) -> PathBuf {
    String::from_utf8(bytes).unwrap().into()
}
