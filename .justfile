# Commands for a developer; `just` lists them. tests/run needs none of these tools.

_list:
    @just --justfile {{ justfile() }} --list

# Format, lint and document.
check:
    cargo fmt --all --check
    cargo clippy --all-targets -- -D warnings
    RUSTDOCFLAGS="-D warnings" cargo doc --no-deps

# Module tests and tests of the real binary.
test *FILTER:
    cargo nextest run {{ FILTER }}

# One client suite against the release binary.
clients SUITE *ARGS:
    cargo build --release
    tests/run venv node
    target/venv/bin/python -m pytest -c tests/clients/pytest.ini tests/clients/{{ SUITE }} {{ ARGS }}

# Everything, as CI does.
all:
    tests/run

# Everything, with all the time that random tests want.
long:
    tests/run --long

# The dependencies' licences, duplicates and advisories.
deny:
    cargo deny --config .deny.toml check

# Snapshots that have changed.
review:
    cargo insta review

# A fuzz target for some seconds.
fuzz TARGET SECONDS="600":
    RUSTC_BOOTSTRAP=1 cargo fuzz run --fuzz-dir tests/fuzz {{ TARGET }} -- -max_total_time={{ SECONDS }}
