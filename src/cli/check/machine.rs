//! Checks the machine: processor, kernel, memory and limits.

use std::fs;

use linkage::similarity::{Kernel, KernelName};

use super::finding::Finding;
use crate::app::inspect;
use crate::config::Settings;
use crate::system::{memory, open_files, threads};

/// The available memory below which large runs wait or fail, in bytes.
const MEMORY_FEW: u64 = 256 << 20;

pub(super) fn check(settings: &Settings) -> Vec<Finding> {
    vec![limits(settings), processor(settings), kernel(), memory()]
}

fn limits(settings: &Settings) -> Finding {
    let name = "limits";
    match inspect::limits(settings) {
        Ok(()) => Finding::ok(
            name,
            format!("{} open files; threads, address space and file size suffice", open_files::max()),
        ),
        Err(error) => Finding::failed(name, error.to_string()),
    }
}

fn processor(settings: &Settings) -> Finding {
    let name = "processor";
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let model = model.map_or("unknown", |(_, model)| model.trim());
    let (cores, best) = (threads::cores(), Kernel::best().name());
    let all: Vec<String> = Kernel::available().into_iter().map(|kernel| kernel.name().to_string()).collect();
    let quota =
        quota().map(|cores| format!(", at most {cores:.1} of them by the control group")).unwrap_or_default();
    let said = format!("{model}: {cores} cores{quota}; compares with {best} (of {})", all.join(", "));
    if let Some(Err(error)) = settings.kernel.map(Kernel::named) {
        return Finding::failed(name, error.to_string());
    }
    if best == KernelName::Portable {
        Finding::warning(name, format!("{said}: comparisons are slow without AVX2 or NEON"))
    } else {
        Finding::ok(name, said)
    }
}

/// Returns the number of cores that the control group of this process allows, if it limits them.
fn quota() -> Option<f64> {
    let text = fs::read_to_string("/sys/fs/cgroup/cpu.max").ok()?;
    let (quota, period) = text.trim().split_once(' ')?;
    Some(quota.parse::<f64>().ok()? / period.parse::<f64>().ok()?)
}

fn kernel() -> Finding {
    let system = rustix::system::uname();
    let text = |part: &std::ffi::CStr| part.to_string_lossy().into_owned();
    Finding::ok(
        "kernel",
        format!("{} {} on {}", text(system.sysname()), text(system.release()), text(system.machine())),
    )
}

fn memory() -> Finding {
    let name = "memory";
    let Some(available) = memory::available() else {
        return Finding::warning(name, "the system does not report the available memory; set --memory-limit");
    };
    let said = format!("{} MiB ({})", available.bytes >> 20, available.bound);
    if available.bytes < MEMORY_FEW {
        Finding::warning(name, format!("{said}: large runs may not fit"))
    } else {
        Finding::ok(name, said)
    }
}
