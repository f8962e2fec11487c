//! The scripts, each with the parts that it shares with others.

use std::sync::LazyLock;

use redis::Script;

macro_rules! parts {
    ($($part:literal),+) => {
        LazyLock::new(|| Script::new(concat!($(include_str!(concat!("lua/", $part, ".lua")), "\n"),+)))
    };
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
    CLAIM = "head" "shared" "scheduling" "transitions" "advance" "claim";
    HEARTBEAT = "head" "shared" "scheduling" "transitions" "advance" "heartbeat";
    ACK = "head" "shared" "scheduling" "transitions" "ack";
    NACK = "head" "shared" "scheduling" "transitions" "nack";
    RELEASE = "head" "shared" "scheduling" "transitions" "release";
    CANCEL = "head" "shared" "scheduling" "transitions" "cancel";
    PAUSE = "head" "shared" "pause";
    DEAD_LETTERS = "head" "shared" "scheduling" "transitions" "advance" "letter" "dead_letters";
    REDRIVE = "head" "shared" "scheduling" "redrive";
    DISCARD = "head" "shared" "discard";
    SHOW = "head" "shared" "scheduling" "transitions" "advance" "describe" "letter" "show";
    JOBS = "head" "shared" "scheduling" "transitions" "advance" "describe" "jobs";
    HAS_JOBS = "head" "shared" "scheduling" "transitions" "advance" "has_jobs";
    STATS = "head" "shared" "scheduling" "transitions" "advance" "stats";
}
