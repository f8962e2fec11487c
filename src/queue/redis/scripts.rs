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
    TAKE_OVER = "head" "book" "lanes" "fate" "take_over";
    ORPHANS = "head" "book" "lanes" "fate" "orphans";
    BOUND = "head" "book" "bound";
    SYNC = "head" "sync";
    ENQUEUE = "head" "book" "lanes" "enqueue";
    CLAIM = "head" "book" "lanes" "fate" "advance" "claim";
    HEARTBEAT = "head" "book" "lanes" "fate" "advance" "heartbeat";
    ACK = "head" "book" "lanes" "fate" "ack";
    NACK = "head" "book" "lanes" "fate" "nack";
    RELEASE = "head" "book" "lanes" "fate" "release";
    CANCEL = "head" "book" "lanes" "fate" "cancel";
    PAUSE = "head" "book" "pause";
    DEAD_LETTERS = "head" "book" "lanes" "fate" "advance" "letter" "dead_letters";
    REDRIVE = "head" "book" "lanes" "redrive";
    DISCARD = "head" "book" "discard";
    SHOW = "head" "book" "lanes" "fate" "advance" "describe" "letter" "show";
    JOBS = "head" "book" "lanes" "fate" "advance" "describe" "jobs";
    HAS_JOBS = "head" "book" "lanes" "fate" "advance" "has_jobs";
    STATS = "head" "book" "lanes" "fate" "advance" "stats";
}
