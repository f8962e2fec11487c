//! Temporary credentials from the store behind this server: one signed `AssumeRole` call to its Security Token
//! Service.

use std::fmt::Write as _;
use std::time::Duration;

use async_trait::async_trait;
use hmac::{Hmac, KeyInit, Mac};
use reqwest::StatusCode;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::{CredentialError, CredentialIssuer, Grant, Permission, TemporaryCredentials};
use crate::objects::Error;
use crate::runtime::clock::{Clock, Timestamp};
use crate::system::outgoing;

/// Time limit of a call.
const TIMEOUT: Duration = Duration::from_secs(20);
/// Size limit of an answer.
const ANSWER_BYTES_MAX: usize = 64 << 10;
const API_VERSION: &str = "2011-06-15";
/// The shortest life that a Security Token Service grants.
const DURATION_MIN: Duration = Duration::from_mins(15);

/// Asks a Security Token Service for credentials.
#[derive(Clone)]
pub struct TokenService {
    client: reqwest::Client,
    endpoint: reqwest::Url,
    region: String,
    role: String,
    access_key: String,
    secret_key: Zeroizing<String>,
    clock: Clock,
}

/// The caller, and the service.
#[derive(Clone, Debug)]
pub struct TokenSettings {
    /// The URL of the service.
    pub endpoint: String,
    /// The region that calls are signed for.
    pub region: String,
    /// The role to assume; empty where the service knows none.
    pub role: String,
    /// The access key and the secret key.
    pub keys: (String, Zeroizing<String>),
}

impl TokenService {
    /// A client of the service. Nothing is asked of it yet.
    ///
    /// # Errors
    /// [`Error::Storage`], if the endpoint is no URL.
    pub fn new(settings: TokenSettings, clock: Clock) -> Result<Self, Error> {
        let broken = |error: Box<dyn std::error::Error + Send + Sync>| Error::Storage(error);
        let client = outgoing::client().timeout(TIMEOUT).redirect(reqwest::redirect::Policy::none());
        let TokenSettings { endpoint, region, role, keys: (access_key, secret_key) } = settings;
        Ok(Self {
            client: client.build().map_err(|error| broken(error.into()))?,
            endpoint: reqwest::Url::parse(&endpoint).map_err(|error| broken(error.to_string().into()))?,
            region,
            role,
            access_key,
            secret_key,
            clock,
        })
    }

    async fn call(&self, form: String) -> Result<String, CredentialError> {
        let signed = self.sign(&form, self.clock.now());
        let request = self.client.post(self.endpoint.clone()).body(form);
        let request = signed.iter().fold(request, |request, (name, value)| request.header(*name, value));
        let answer = request.send().await.map_err(silence)?;
        let status = answer.status();
        let text = read(answer).await?;
        if status.is_success() { Ok(text) } else { Err(refusal(status, &text)) }
    }

    /// The headers of a call, its signature among them: AWS Signature Version 4.
    fn sign(&self, form: &str, now: Timestamp) -> Vec<(&'static str, String)> {
        const MEDIA_TYPE: &str = "application/x-www-form-urlencoded";
        let moment = now.compact();
        let (day, region) = (&moment[..8], self.region.as_str());
        let host = self.endpoint.authority().to_owned();
        let body = hex::encode(Sha256::digest(form));
        let canonical = format!(
            "POST\n/\n\ncontent-type:{MEDIA_TYPE}\nhost:{host}\nx-amz-date:{moment}\n\ncontent-type;host;x-amz-date\n{body}"
        );
        let scope = format!("{day}/{region}/sts/aws4_request");
        let digest = hex::encode(Sha256::digest(canonical));
        let text = format!("AWS4-HMAC-SHA256\n{moment}\n{scope}\n{digest}");
        let mut key = Zeroizing::new(format!("AWS4{}", self.secret_key.as_str()).into_bytes());
        for step in [day, region, "sts", "aws4_request"] {
            *key = mac(&key, step);
        }
        let signature = hex::encode(mac(&key, &text));
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders=content-type;host;x-amz-date, Signature={signature}",
            self.access_key
        );
        vec![
            ("content-type", MEDIA_TYPE.to_owned()),
            ("x-amz-date", moment),
            ("authorization", authorization),
        ]
    }
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("a key of any length will do");
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

fn silence(error: reqwest::Error) -> CredentialError {
    CredentialError::Unavailable(error.without_url().into())
}

/// Maps an unsuccessful answer: ask later, or no credentials at all. A store
/// without a token service takes the call for one of its own that it does not know.
fn refusal(status: StatusCode, text: &str) -> CredentialError {
    let refusal = quick_xml::de::from_str::<Refusal>(text);
    let code = refusal.map_or_else(|_| "no reason given".to_owned(), |refusal| refusal.error.code);
    let later = status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED
        || matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT)
        || matches!(code.as_str(), "Throttling" | "ThrottlingException" | "RequestLimitExceeded");
    let answer = format!("its token service answered {status}: {code}");
    if later { CredentialError::Unavailable(answer.into()) } else { CredentialError::Refused(answer) }
}

async fn read(mut answer: reqwest::Response) -> Result<String, CredentialError> {
    let mut text = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(silence)? {
        if text.len() + chunk.len() > ANSWER_BYTES_MAX {
            return Err(CredentialError::Refused("its token service answers without end".to_owned()));
        }
        text.extend_from_slice(&chunk);
    }
    Ok(String::from_utf8_lossy(&text).into_owned())
}

#[async_trait]
impl CredentialIssuer for TokenService {
    async fn issue(&self, grant: &Grant) -> Result<TemporaryCredentials, CredentialError> {
        let mut form = String::new();
        let seconds = grant.duration.max(DURATION_MIN).as_secs().to_string();
        let mut add = |name: &str, value: &str| {
            let value: String = form_urlencoded::byte_serialize(value.as_bytes()).collect();
            let join = if form.is_empty() { "" } else { "&" };
            // Writing to a string cannot fail.
            let _ = write!(form, "{join}{name}={value}");
        };
        add("Action", "AssumeRole");
        add("Version", API_VERSION);
        add("DurationSeconds", &seconds);
        add("Policy", &policy(grant));
        add(
            "RoleArn",
            if self.role.is_empty() { "arn:aws:iam::000000000000:role/entityd" } else { &self.role },
        );
        add("RoleSessionName", &format!("entityd-{}", &grant.project.to_string()[..12]));
        let answer = self.call(form).await?;
        let answer: Answer = quick_xml::de::from_str(&answer)
            .map_err(|_| CredentialError::Refused("its token service answers something else".to_owned()))?;
        let Credentials { access_key_id, secret_access_key, session_token, expiration } =
            answer.result.credentials;
        let expiration: jiff::Timestamp = expiration
            .parse()
            .map_err(|_| CredentialError::Refused("its token service names no end".to_owned()))?;
        Ok(TemporaryCredentials {
            access_key_id,
            secret_access_key: Zeroizing::new(secret_access_key),
            session_token: Zeroizing::new(session_token),
            expiration: Timestamp::from_micros(expiration.as_microsecond()),
        })
    }
}

/// Returns the policy of the credentials, as the store reads it.
fn policy(grant: &Grant) -> String {
    let action = match grant.permission {
        Permission::Put => "s3:PutObject",
        Permission::Get => "s3:GetObject",
    };
    let resource = format!("arn:aws:s3:::{}/{}", grant.bucket, grant.path);
    serde_json::json!({
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": [action], "Resource": [resource.clone(), format!("{resource}/*")]}],
    })
    .to_string()
}

#[derive(Deserialize)]
struct Answer {
    #[serde(rename = "AssumeRoleResult")]
    result: AnswerResult,
}

#[derive(Deserialize)]
struct AnswerResult {
    #[serde(rename = "Credentials")]
    credentials: Credentials,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Credentials {
    access_key_id: String,
    secret_access_key: String,
    session_token: String,
    expiration: String,
}

#[derive(Deserialize)]
struct Refusal {
    #[serde(rename = "Error")]
    error: RefusalReason,
}

#[derive(Deserialize)]
struct RefusalReason {
    #[serde(rename = "Code")]
    code: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ProjectId;

    fn grant() -> Grant {
        Grant {
            project: ProjectId::from_bytes([1; 24]),
            permission: Permission::Put,
            bucket: "uploads".to_owned(),
            path: "p/1".to_owned(),
            duration: Duration::from_hours(12),
        }
    }

    #[test]
    fn a_pass_allows_one_thing_on_one_path() {
        let policy: serde_json::Value = serde_json::from_str(&policy(&grant())).unwrap();
        let statement = &policy["Statement"][0];
        assert_eq!(statement["Action"], serde_json::json!(["s3:PutObject"]));
        assert_eq!(
            statement["Resource"],
            serde_json::json!(["arn:aws:s3:::uploads/p/1", "arn:aws:s3:::uploads/p/1/*"])
        );
    }

    #[test]
    fn a_store_without_a_token_service_is_not_asked_again_and_one_that_is_busy_is() {
        let is_refused = |status, text: &str| {
            matches!(refusal(StatusCode::from_u16(status).unwrap(), text), CredentialError::Refused(_))
        };
        let code = |code: &str| format!("<ErrorResponse><Error><Code>{code}</Code></Error></ErrorResponse>");
        for (status, text) in [(404, "Not Found"), (405, ""), (501, ""), (403, &code("AccessDenied"))] {
            assert!(is_refused(status, text), "{status} {text}");
        }
        for (status, text) in [(500, ""), (503, ""), (429, ""), (400, &code("Throttling"))] {
            assert!(!is_refused(status, text), "{status} {text}");
        }
    }

    #[test]
    fn an_answer_is_read_whatever_else_it_says() {
        let text = r#"<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult>
            <AssumedRoleUser><Arn>x</Arn></AssumedRoleUser><Credentials><SessionToken>a&amp;b</SessionToken>
            <SecretAccessKey>s</SecretAccessKey><Expiration>2026-11-22T20:41:41.123Z</Expiration>
            <AccessKeyId>k</AccessKeyId></Credentials></AssumeRoleResult></AssumeRoleResponse>"#;
        let answer: Answer = quick_xml::de::from_str(text).unwrap();
        assert_eq!(answer.result.credentials.session_token, "a&b");
    }
}
