//! The scripts, each with the parts that it shares with others.

use std::sync::LazyLock;

use redis::Script;

macro_rules! parts {
    ($($part:literal),+) => {
        LazyLock::new(|| Script::new(concat!($(include_str!(concat!("lua/", $part, ".lua")), "\n"),+)))
    };
}

/// A script that reads, in the form for the master and the form for a replica.
pub(super) struct Reading {
    pub(super) on_master: &'static LazyLock<Script>,
    pub(super) on_replica: &'static LazyLock<Script>,
}

macro_rules! scripts {
    ($($name:ident = $($part:literal)+;)+) => {
        $(pub(super) static $name: LazyLock<Script> = parts!($($part),+);)+
    };
}

scripts! {
    ATTACH = "attach";
    SWEEP = "sweep";
    SEEN = "head" "seen";
    TAKE_OVER = "head" "shared" "scheduling" "transitions" "take_over";
    ORPHANS = "head" "shared" "scheduling" "transitions" "orphans";
    BOUND = "head" "shared" "bound";
    SYNC = "head" "sync";
    ENQUEUE = "head" "shared" "scheduling" "enqueue";
    CLAIM = "head" "shared" "scheduling" "transitions" "clock" "advance" "claim";
    HEARTBEAT = "head" "shared" "scheduling" "transitions" "clock" "advance" "heartbeat";
    ACK = "head" "shared" "scheduling" "transitions" "ack";
    NACK = "head" "shared" "scheduling" "transitions" "nack";
    RELEASE = "head" "shared" "scheduling" "transitions" "release";
    CANCEL = "head" "shared" "scheduling" "transitions" "cancel";
    PAUSE = "head" "shared" "pause";
    DEAD_LETTERS = "head" "shared" "scheduling" "transitions" "clock" "advance" "letter" "dead_letters";
    REDRIVE = "head" "shared" "scheduling" "redrive";
    DISCARD = "head" "shared" "discard";
    SHOW = "head" "shared" "scheduling" "transitions" "clock" "advance" "describe" "letter" "show";
    JOBS = "head" "shared" "scheduling" "transitions" "clock" "advance" "describe" "jobs";
    HAS_JOBS = "head" "shared" "scheduling" "transitions" "clock" "advance" "has_jobs";
    STATS = "head" "shared" "scheduling" "transitions" "clock" "advance" "stats";
    DEAD_LETTERS_SEEN = "head" "shared" "clock" "observe" "letter" "dead_letters";
    JOBS_SEEN = "head" "shared" "clock" "observe" "describe" "jobs";
    STATS_SEEN = "head" "shared" "clock" "observe" "stats";
}

impl Reading {
    pub(super) const DEAD_LETTERS: Self = Self { on_master: &DEAD_LETTERS, on_replica: &DEAD_LETTERS_SEEN };
    pub(super) const JOBS: Self = Self { on_master: &JOBS, on_replica: &JOBS_SEEN };
    pub(super) const STATS: Self = Self { on_master: &STATS, on_replica: &STATS_SEEN };
}
