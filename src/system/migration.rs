//! The migrations of a database: the version and the description of each.

/// A migration of the tables from one version to the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The version after the migration.
    pub version: u32,
    /// The description of the change: the first comment in the migration's file.
    pub description: String,
}

/// Returns the migrations after version `found`. The first of all leads to version 1.
pub fn steps(migrations: &[&str], found: u32) -> Vec<Step> {
    let numbered = (1..).zip(migrations).skip(found as usize);
    numbered.map(|(version, sql)| Step { version, description: first_comment(sql) }).collect()
}

/// Returns the first block of comment lines.
fn first_comment(sql: &str) -> String {
    let lines = sql.lines().skip_while(|line| !line.starts_with("--"));
    let lines = lines.map_while(|line| line.strip_prefix("--")).map(str::trim);
    lines.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_begin_after_the_version_found_and_use_the_first_comment() {
        let migrations = [
            "-- One.\nCREATE TABLE a (b);",
            "\n-- Two, in\n-- two lines.\n\n-- Not this.\nSELECT 1; -- nor this",
            "SELECT 1",
        ];
        let step = |version, description: &str| Step { version, description: description.to_owned() };
        let all = [step(1, "One."), step(2, "Two, in two lines."), step(3, "")];
        for found in 0..=4 {
            assert_eq!(steps(&migrations, found), all[(found as usize).min(3)..]);
        }
    }
}
