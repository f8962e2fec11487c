//! Keeps the files of an object while they are read, even if the object is replaced or deleted in the meantime.

use std::collections::HashMap;
use std::sync::{Arc, mpsc};
use std::thread;

use parking_lot::{Mutex, RwLock};
use tokio::sync::oneshot;

use super::files::{Files, Number};

/// The files that are being read, and the thread that removes files. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Pins(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// Readers hold this lock shared while they look up and pin an object. After an object is removed from the index,
    /// its pins are checked under the exclusive lock: every reader that found the object has pinned it by then.
    gate: RwLock<()>,
    held: Mutex<HashMap<Number, Held>>,
    remover: mpsc::Sender<Doomed>,
}

#[derive(Debug, Default)]
struct Held {
    readers: usize,
    /// Files that are removed once the last reader has closed them.
    files: Vec<Number>,
}

/// Files without references, and a channel that is notified of their removal.
#[derive(Debug)]
struct Doomed {
    files: Vec<Number>,
    gone: Option<oneshot::Sender<()>>,
}

impl Pins {
    pub(super) fn start(files: Files) -> std::io::Result<Self> {
        let (remover, doomed) = mpsc::channel::<Doomed>();
        thread::Builder::new().name("bucket files".to_owned()).spawn(move || {
            for Doomed { files: numbers, gone } in doomed {
                for number in numbers {
                    if let Err(error) = files.remove(number) {
                        tracing::warn!(
                            "cannot remove an unused file; it stays until the next start: {error}"
                        );
                    }
                }
                // The caller may no longer wait.
                gone.map(|gone| gone.send(()));
            }
        })?;
        Ok(Self(Arc::new(Inner { gate: RwLock::default(), held: Mutex::default(), remover })))
    }

    /// Looks up data and pins it, so that it stays readable until the pin is dropped.
    pub(super) fn pin<T, E>(
        &self,
        look_up: impl FnOnce() -> Result<T, E>,
        number: impl Fn(&T) -> Number,
    ) -> Result<(T, Pin), E> {
        let _open = self.0.gate.read();
        let found = look_up()?;
        let number = number(&found);
        self.0.held.lock().entry(number).or_default().readers += 1;
        Ok((found, Pin { number, pins: self.clone() }))
    }

    /// Removes the files of data that was removed from the index. Without readers they are removed at once, and `gone`
    /// is notified; otherwise they are removed after the last reader has ended, and `gone` is dropped.
    pub(super) fn doom(&self, data: Number, files: Vec<Number>, gone: Option<oneshot::Sender<()>>) {
        let closed = self.0.gate.write();
        let mut held = self.0.held.lock();
        match held.get_mut(&data) {
            Some(held) => held.files.extend(files),
            None => self.remove(files, gone),
        }
        drop((held, closed));
    }

    fn remove(&self, files: Vec<Number>, gone: Option<oneshot::Sender<()>>) {
        // The thread runs as long as a handle exists, such as this one.
        let _ = self.0.remover.send(Doomed { files, gone });
    }
}

/// Keeps data readable until it is dropped.
#[derive(Debug)]
pub(super) struct Pin {
    number: Number,
    pins: Pins,
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut all = self.pins.0.held.lock();
        let Some(held) = all.get_mut(&self.number) else { return };
        held.readers -= 1;
        if held.readers == 0 {
            let files = all.remove(&self.number).map(|held| held.files).unwrap_or_default();
            drop(all);
            if !files.is_empty() {
                self.pins.remove(files, None);
            }
        }
    }
}
