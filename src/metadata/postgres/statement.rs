//! Statements with their values. They are sent without names, because a connection pooler may use another session for
//! each transaction.

use std::borrow::Cow;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use futures::future::{MaybeDone, maybe_done};
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Error, Row};

/// A statement and its values.
#[derive(Clone, Debug)]
pub(super) struct Statement {
    sql: Cow<'static, str>,
    values: Vec<Value>,
}

/// A value of a statement.
#[derive(Clone)]
pub(super) enum Value {
    Bytes(Option<Vec<u8>>),
    Text(Option<String>),
    Int(Option<i64>),
    Real(f64),
    Bool(bool),
    ManyBytes(Vec<Vec<u8>>),
    ManyTexts(Vec<String>),
    ManyInts(Vec<i64>),
    ManyBools(Vec<bool>),
}

impl std::fmt::Debug for Value {
    /// Does not show the value, which may be secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

impl Value {
    fn bound(&self) -> (&(dyn ToSql + Sync), Type) {
        match self {
            Self::Bytes(value) => (value, Type::BYTEA),
            Self::Text(value) => (value, Type::TEXT),
            Self::Int(value) => (value, Type::INT8),
            Self::Real(value) => (value, Type::FLOAT8),
            Self::Bool(value) => (value, Type::BOOL),
            Self::ManyBytes(value) => (value, Type::BYTEA_ARRAY),
            Self::ManyTexts(value) => (value, Type::TEXT_ARRAY),
            Self::ManyInts(value) => (value, Type::INT8_ARRAY),
            Self::ManyBools(value) => (value, Type::BOOL_ARRAY),
        }
    }
}

macro_rules! from {
    ($($type:ty, $value:ident => $variant:expr;)+) => {
        $(impl From<$type> for Value {
            fn from($value: $type) -> Self {
                $variant
            }
        })+
    };
}

from! {
    &[u8], value => Self::Bytes(Some(value.to_vec()));
    Option<&[u8]>, value => Self::Bytes(value.map(<[u8]>::to_vec));
    &str, value => Self::Text(Some(value.to_owned()));
    Option<&str>, value => Self::Text(value.map(str::to_owned));
    i64, value => Self::Int(Some(value));
    Option<i64>, value => Self::Int(value);
    f64, value => Self::Real(value);
    bool, value => Self::Bool(value);
    Vec<Vec<u8>>, value => Self::ManyBytes(value);
    Vec<String>, value => Self::ManyTexts(value);
    Vec<i64>, value => Self::ManyInts(value);
    Vec<bool>, value => Self::ManyBools(value);
}

impl Statement {
    pub(super) fn new(sql: impl Into<Cow<'static, str>>, values: impl Into<Vec<Value>>) -> Self {
        Self { sql: sql.into(), values: values.into() }
    }

    /// Runs the statement; returns its rows.
    async fn run(&self, client: &Client) -> Result<Vec<Row>, Error> {
        let values: Vec<_> = self.values.iter().map(Value::bound).collect();
        client.query_typed(&self.sql, &values).await
    }
}

/// Runs the statements in order, and returns the rows of each. They share a round trip: all are sent before the first
/// is answered. Returns the first failure, after all answers have arrived.
pub(super) async fn run_all(client: &Client, statements: &[Statement]) -> Result<Vec<Vec<Row>>, Error> {
    let mut runs: Vec<_> =
        statements.iter().map(|statement| Box::pin(maybe_done(statement.run(client)))).collect();
    // Each future sends its statement when it is first polled.
    poll_fn(|context| {
        let mut unanswered = 0;
        for run in &mut runs {
            unanswered += usize::from(run.as_mut().poll(context).is_pending());
        }
        if unanswered == 0 { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    runs.iter_mut().map(|run| done(run.as_mut())).collect()
}

fn done<F: Future>(run: Pin<&mut MaybeDone<F>>) -> F::Output {
    run.take_output().expect("every future was polled to its end")
}
