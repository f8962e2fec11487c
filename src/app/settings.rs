//! What each room is told of the settings.

use crate::config::Settings;
use crate::coordinator::Rules;
use crate::http;
use crate::linkage::similarity::Kernel;

pub(super) fn rules(settings: &Settings) -> Rules {
    Rules {
        min_encoding_bytes: settings.min_encoding_bytes,
        max_encoding_bytes: settings.max_encoding_bytes,
        run_pairs_max: settings.run_pairs_max,
        solver_pairs_max: settings.solver_pairs_max,
        comparisons_per_job: settings.comparisons_per_job,
    }
}

pub(super) fn kernel(settings: &Settings) -> Kernel {
    let named = |name| Kernel::named(name).expect("the settings were checked against the processor");
    settings.kernel.map_or_else(Kernel::best, named)
}

pub(super) fn http(settings: &Settings) -> http::Settings {
    http::Settings {
        body_bytes_max: settings.body_bytes_max,
        log_http_header_fields: settings.log_http_header_fields.clone(),
    }
}
