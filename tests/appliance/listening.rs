//! The addresses of the listeners, and the errors if the server cannot listen.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::command_line::{entityd, stderr};

/// A server in its own network namespace. It is killed when this value is dropped.
struct Apart {
    child: Child,
    _folder: TempDir,
}

impl Drop for Apart {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// Returns a command that creates a network namespace, runs `setup` in it, and starts the server there with these
/// flags; `None` where no namespace can be created.
fn apart(setup: &str, folder: &TempDir, flags: &[&str]) -> Option<Command> {
    let script = format!("ip link set lo up && {setup} && exec \"$0\" \"$@\"");
    let possible = Command::new("unshare").args(["-n", "sh", "-c", &script, "true"]).output();
    if !possible.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: no network namespace can be created here");
        return None;
    }
    let mut command = Command::new("unshare");
    command.args(["-n", "sh", "-c", &script]).arg(entityd().get_program()).arg("serve").args(flags);
    command.arg("--data-dir").arg(folder.path().join("data"));
    Some(command)
}

#[test]
fn an_ipv6_listener_serves_ipv4_whatever_the_system_default() {
    let folder = TempDir::new().unwrap();
    let setup = "echo 1 > /proc/sys/net/ipv6/bindv6only";
    let Some(mut command) = apart(setup, &folder, &["--listen", ":8851"]) else { return };
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let server = Apart { child, _folder: folder };
    let started = lines.map_while(Result::ok).any(|line| line.contains("no telemetry"));
    assert!(started);
    for host in ["127.0.0.1", "[::1]", "localhost"] {
        let network = format!("--net=/proc/{}/ns/net", server.child.id());
        let url = format!("http://{host}:8851/api/v1/status");
        let output =
            Command::new("nsenter").args([&network, "curl", "-sS", "--fail", "-g", &url]).output().unwrap();
        assert!(output.status.success(), "{host}: {}", stderr(&output));
    }
}

#[test]
fn an_address_that_cannot_be_listened_on_is_explained() {
    let folder = TempDir::new().unwrap();
    let setup = "echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6";
    if let Some(mut command) = apart(setup, &folder, &["--listen", "[::1]:8851"]) {
        let said = stderr(&command.output().unwrap());
        assert!(
            said.contains("cannot listen on [::1]:8851 (--listen)") && said.contains("no IPv6"),
            "{said}"
        );
        assert!(said.contains("give 127.0.0.1:8851"), "{said}");
    }
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut command = entityd();
    command.args(["serve", "--listen", &address, "--data-dir"]).arg(folder.path().join("data"));
    let said = stderr(&command.output().unwrap());
    assert!(said.contains(&address) && said.contains("another process listens there"), "{said}");
}
