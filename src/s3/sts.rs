//! Issues temporary credentials through the `AssumeRole` call of the AWS Security Token Service, at the address of the
//! S3 endpoint. Only calls with the root credentials are accepted.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{Extensions, HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use s3s::route::S3Route;
use s3s::{Body, S3Request, S3Response, S3Result, s3_error};

use super::policy::Policy;
use super::session::{Keys, Session};
use crate::external::TemporaryCredentials;
use crate::runtime::clock::Clock;
use crate::runtime::entropy::Entropy;

/// The shortest lifetime of credentials.
pub const DURATION_MIN: Duration = Duration::from_mins(15);
/// The default lifetime of credentials.
const DURATION_DEFAULT: Duration = Duration::from_hours(1);
const API_VERSION: &str = "2011-06-15";
const NAMESPACE: &str = "https://sts.amazonaws.com/doc/2011-06-15/";
const FORM: &str = "application/x-www-form-urlencoded";
/// The maximum size of a call, which is also that of `s3s` when it verifies the signature.
const BODY_BYTES_MAX: usize = 8_192;

/// Answers `AssumeRole`.
#[derive(Clone)]
pub struct Sts {
    keys: Arc<Keys>,
    clock: Clock,
    entropy: Entropy,
    duration_max: Duration,
}

/// The error response to a call: a code and a message.
#[derive(Debug, PartialEq, Eq)]
struct Refusal(&'static str, String);

impl Sts {
    /// Returns a service that issues credentials derived from `keys`, valid for at most `duration_max`.
    pub const fn new(keys: Arc<Keys>, clock: Clock, entropy: Entropy, duration_max: Duration) -> Self {
        Self { keys, clock, entropy, duration_max }
    }

    fn assume_role(&self, body: &[u8]) -> Result<TemporaryCredentials, Refusal> {
        let call = read(body)?;
        let parameter = |name: &str| call.get(name).map(String::as_str).filter(|value| !value.is_empty());
        if parameter("Action") != Some("AssumeRole") {
            return Err(Refusal("InvalidAction", "the only action is AssumeRole".to_owned()));
        }
        if parameter("Version") != Some(API_VERSION) {
            return Err(Refusal("InvalidParameterValue", format!("Version must be {API_VERSION}")));
        }
        let duration = parameter("DurationSeconds")
            .map_or(Ok(DURATION_DEFAULT.min(self.duration_max)), |text| self.duration(text))?;
        if call.keys().any(|name| name.starts_with("PolicyArns")) {
            return Err(Refusal(
                "ValidationError",
                "named policies are not supported; use Policy".to_owned(),
            ));
        }
        // An empty policy is invalid. A missing one allows everything.
        let policy = call.get("Policy").map(|text| Policy::parse(text)).transpose();
        let policy = policy.map_err(|error| Refusal("MalformedPolicyDocument", error.to_string()))?;
        let session = Session { expires: self.clock.now().after(duration), project: None, policy };
        Ok(self.keys.issue(&session, &self.entropy))
    }

    fn duration(&self, text: &str) -> Result<Duration, Refusal> {
        let asked = text.parse().ok().map(Duration::from_secs);
        asked.filter(|asked| (DURATION_MIN..=self.duration_max).contains(asked)).ok_or_else(|| {
            let (min, max) = (DURATION_MIN.as_secs(), self.duration_max.as_secs());
            Refusal("ValidationError", format!("DurationSeconds must be {min} to {max}"))
        })
    }
}

/// Reads the parameters of a call, each at most once.
fn read(body: &[u8]) -> Result<HashMap<String, String>, Refusal> {
    let mut call = HashMap::new();
    for (name, value) in form_urlencoded::parse(body) {
        if call.insert(name.clone().into_owned(), value.into_owned()).is_some() {
            return Err(Refusal("InvalidParameterCombination", "a parameter is repeated".to_owned()));
        }
    }
    Ok(call)
}

fn granted(credentials: &TemporaryCredentials, request_id: &str) -> String {
    let TemporaryCredentials { access_key_id, secret_access_key, session_token, expiration } = credentials;
    let (secret_access_key, session_token) = (secret_access_key.as_str(), session_token.as_str());
    format!(
        concat!(
            r#"<?xml version="1.0" encoding="UTF-8"?>"#,
            r#"<AssumeRoleResponse xmlns="{}"><AssumeRoleResult>"#,
            "<AssumedRoleUser><Arn></Arn><AssumedRoleId></AssumedRoleId></AssumedRoleUser><Credentials>",
            "<AccessKeyId>{}</AccessKeyId><SecretAccessKey>{}</SecretAccessKey><SessionToken>{}</SessionToken>",
            "<Expiration>{}Z</Expiration></Credentials></AssumeRoleResult>",
            "<ResponseMetadata><RequestId>{}</RequestId></ResponseMetadata></AssumeRoleResponse>",
        ),
        NAMESPACE,
        access_key_id,
        secret_access_key,
        session_token,
        expiration.whole_seconds(),
        request_id,
    )
}

fn refused(Refusal(code, message): &Refusal, request_id: &str) -> String {
    format!(
        concat!(
            r#"<?xml version="1.0" encoding="UTF-8"?><ErrorResponse xmlns="{}"><Error><Type>Sender</Type>"#,
            "<Code>{}</Code><Message>{}</Message></Error><RequestId>{}</RequestId></ErrorResponse>",
        ),
        NAMESPACE,
        code,
        escape(message),
        request_id,
    )
}

/// Escapes the text for XML, and removes characters that XML cannot represent.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '\u{fffe}' | '\u{ffff}' => {}
            character if character.is_control() => {}
            character => escaped.push(character),
        }
    }
    escaped
}

#[async_trait::async_trait]
impl S3Route for Sts {
    fn is_match(&self, method: &Method, uri: &Uri, headers: &HeaderMap, _: &mut Extensions) -> bool {
        let form = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let form =
            form.is_some_and(|value| value.split(';').next().is_some_and(|media| media.trim() == FORM));
        method == Method::POST && uri.path() == "/" && form
    }

    async fn check_access(&self, request: &mut S3Request<Body>) -> S3Result<()> {
        let Some(credentials) = &request.credentials else {
            return Err(s3_error!(AccessDenied, "The call must be signed."));
        };
        if request.service.as_deref() != Some("sts") {
            return Err(s3_error!(AccessDenied, "The call must be signed for the service sts."));
        }
        // Without the header, the signature covers the hash of the body. Values other than a hash mean that the body is
        // not signed, or not as a whole.
        let is_hash =
            |hash: &HeaderValue| hash.len() == 64 && hash.as_bytes().iter().all(u8::is_ascii_hexdigit);
        let covered = request.headers.get("x-amz-content-sha256").is_none_or(is_hash);
        if !self.keys.is_root(&credentials.access_key) || !covered {
            return Err(s3_error!(AccessDenied, "Only the root credentials may ask for others."));
        }
        Ok(())
    }

    async fn call(&self, mut request: S3Request<Body>) -> S3Result<S3Response<Body>> {
        let body = request.input.store_all_limited(BODY_BYTES_MAX).await;
        let body = body.map_err(|_| s3_error!(EntityTooLarge, "The call is too long or was cut off."))?;
        let id = hex::encode(self.entropy.bytes::<8>());
        let (status, text) = match self.assume_role(&body) {
            Ok(credentials) => (StatusCode::OK, granted(&credentials, &id)),
            Err(refusal) => (StatusCode::BAD_REQUEST, refused(&refusal, &id)),
        };
        let mut response = S3Response::with_status(Body::from(text), status);
        response.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/xml"));
        Ok(response)
    }
}

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::*;
    use crate::runtime::clock::Timestamp;
    use crate::s3::credentials::Root;

    fn sts() -> Sts {
        let secret_key = Zeroizing::new("a-secret-of-mine".to_owned());
        let keys = Keys::new(Root { access_key: "owner".to_owned(), secret_key });
        let clock = Clock::manual(Timestamp::from_micros(1_500_000));
        Sts::new(Arc::new(keys), clock, Entropy::seeded(1), Duration::from_hours(12))
    }

    fn call(extra: &str) -> Result<TemporaryCredentials, Refusal> {
        sts().assume_role(format!("Action=AssumeRole&Version=2011-06-15{extra}").as_bytes())
    }

    #[test]
    fn credentials_last_as_long_as_asked_within_the_limits() {
        assert_eq!(call("").unwrap().expiration, Timestamp::from_micros(3_601_500_000));
        assert_eq!(call("&DurationSeconds=900").unwrap().expiration, Timestamp::from_micros(901_500_000));
        for wrong in ["0", "899", "43201", "-1", "1e3", "99999999999999999999"] {
            assert_eq!(
                call(&format!("&DurationSeconds={wrong}")).unwrap_err().0,
                "ValidationError",
                "{wrong}"
            );
        }
    }

    #[test]
    fn the_requested_rights_are_sealed_into_the_token() {
        let policy =
            r#"{"Statement":[{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::b/*"}]}"#;
        let encoded: String = form_urlencoded::byte_serialize(policy.as_bytes()).collect();
        let credentials = call(&format!("&Policy={encoded}&RoleArn=any&RoleSessionName=any")).unwrap();
        let session = sts()
            .keys
            .open(&credentials.access_key_id, &credentials.session_token, Timestamp::default())
            .unwrap();
        assert_eq!(session.policy, Some(Policy::parse(policy).unwrap()));
        assert_eq!(call("&Policy=%7B%7D").unwrap_err().0, "MalformedPolicyDocument");
        assert_eq!(call("&Policy=").unwrap_err().0, "MalformedPolicyDocument");
        assert_eq!(call("&PolicyArns.member.1.arn=a").unwrap_err().0, "ValidationError");
    }

    #[test]
    fn other_calls_are_refused() {
        assert_eq!(sts().assume_role(b"").unwrap_err().0, "InvalidAction");
        assert_eq!(sts().assume_role(b"Action=GetCallerIdentity").unwrap_err().0, "InvalidAction");
        assert_eq!(sts().assume_role(b"Action=AssumeRole&Version=1").unwrap_err().0, "InvalidParameterValue");
        assert_eq!(call("&Action=AssumeRole").unwrap_err().0, "InvalidParameterCombination");
    }

    #[test]
    fn answers_are_xml() {
        let text = granted(&call("").unwrap(), "1");
        assert!(text.contains("<Expiration>1970-01-01T01:00:01Z</Expiration>"), "{text}");
        let text = refused(&Refusal("MalformedPolicyDocument", "a < b & \u{1} c".to_owned()), "1");
        assert!(text.contains("<Message>a &lt; b &amp;  c</Message>"), "{text}");
    }
}
