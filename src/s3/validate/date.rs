//! The time of signing, which may be in `x-amz-date` or in `Date`. `s3s` reads only the first.

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use chrono::{DateTime, NaiveDateTime, Utc};
use s3s::{S3Result, s3_error};

const AMZ_DATE: HeaderName = HeaderName::from_static("x-amz-date");
/// The format of `x-amz-date`.
const BASIC: &str = "%Y%m%dT%H%M%SZ";

/// Copies the time in `Date` to `x-amz-date`, if that is absent. The signature covers `Date`.
///
/// # Errors
/// `AccessDenied`, if there is neither.
pub(super) fn write(headers: &mut HeaderMap) -> S3Result<()> {
    if headers.contains_key(AMZ_DATE) {
        return Ok(());
    }
    let date = headers.get(header::DATE).and_then(|value| parse(value.to_str().ok()?));
    let written = date.and_then(|date| HeaderValue::try_from(date.format(BASIC).to_string()).ok());
    let written = written.ok_or_else(|| {
        s3_error!(AccessDenied, "AWS authentication requires a valid Date or x-amz-date header.")
    })?;
    headers.insert(AMZ_DATE, written);
    Ok(())
}

fn parse(text: &str) -> Option<DateTime<Utc>> {
    let http = DateTime::parse_from_rfc2822(text).map(|date| date.to_utc());
    http.ok().or_else(|| NaiveDateTime::parse_from_str(text, BASIC).ok().map(|date| date.and_utc()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_stands_in_for_x_amz_date() {
        let written = |name: HeaderName, value: &str| {
            let mut headers = HeaderMap::from_iter([(name, value.parse().unwrap())]);
            write(&mut headers).ok().map(|()| headers[AMZ_DATE].clone())
        };
        for date in ["Sat, 28 Nov 2026 18:24:16 GMT", "Sat, 28 Nov 2026 19:24:16 +0100", "20261128T182416Z"] {
            assert_eq!(written(header::DATE, date).unwrap(), "20261128T182416Z");
        }
        assert_eq!(written(AMZ_DATE, "as it is").unwrap(), "as it is");
        assert_eq!(written(header::DATE, "yesterday"), None);
        assert_eq!(written(header::FROM, "x"), None);
    }
}
