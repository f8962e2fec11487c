//! The real binary, driven over real sockets; a file per subject.

mod command_line;
