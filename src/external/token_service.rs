//! Gets temporary credentials from an external store, with one signed `AssumeRole` call to its Security Token Service.

use std::fmt::Write as _;
use std::time::Duration;

use async_trait::async_trait;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Method, StatusCode, Url};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::signed_client::{CallError, SignedClient};
use super::{CredentialError, CredentialIssuer, Grant, Permission, TemporaryCredentials};
use crate::objects::Error;
use crate::runtime::clock::Timestamp;

/// The maximum size of an answer.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// The version of the API of the token service.
const API_VERSION: &str = "2011-06-15";
const MEDIA_TYPE: &str = "application/x-www-form-urlencoded";
/// The shortest lifetime that a Security Token Service grants.
const DURATION_MIN: Duration = Duration::from_mins(15);

/// A client of a Security Token Service.
pub struct TokenService {
    client: SignedClient,
    endpoint: Url,
    role: String,
}

/// The settings of a token service.
#[derive(Clone, Debug)]
pub struct TokenSettings {
    /// The URL of the service.
    pub endpoint: String,
    /// The region in the signature of calls.
    pub region: String,
    /// The role to assume; empty for a service without roles.
    pub role: String,
    /// The access key and the secret key.
    pub keys: (String, Zeroizing<String>),
}

impl TokenService {
    /// Returns a client of the service, without contacting it.
    ///
    /// # Errors
    /// [`Error::Storage`], if the endpoint is not a URL, or a header cannot contain the access key.
    pub fn new(settings: TokenSettings) -> Result<Self, Error> {
        let TokenSettings { endpoint, region, role, keys } = settings;
        let endpoint = Url::parse(&endpoint).map_err(|error| Error::Storage(error.to_string().into()))?;
        Ok(Self { client: SignedClient::new("sts", region, keys)?, endpoint, role })
    }

    async fn call(&self, form: String) -> Result<String, CredentialError> {
        let answer = self.client.call(Method::POST, &self.endpoint, form_headers(), form, ANSWER_BYTES_MAX);
        let (status, text) = answer.await.map_err(|error| match error {
            CallError::Failed(error) => CredentialError::Unavailable(error),
            CallError::TooLong => {
                CredentialError::Refused("the answer of its token service is too long".to_owned())
            }
        })?;
        if status.is_success() { Ok(text) } else { Err(refusal(status, &text)) }
    }
}

fn form_headers() -> HeaderMap {
    HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE))])
}

/// Converts an error response into a temporary or a final error. A store without a token service responds that the
/// operation is unknown.
fn refusal(status: StatusCode, text: &str) -> CredentialError {
    let refusal = quick_xml::de::from_str::<Refusal>(text);
    let code = refusal.map_or_else(|_| "no reason given".to_owned(), |refusal| refusal.error.code);
    let later = status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED
        || matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT)
        || matches!(code.as_str(), "Throttling" | "ThrottlingException" | "RequestLimitExceeded");
    let answer = format!("its token service answered {status}: {code}");
    if later { CredentialError::Unavailable(answer.into()) } else { CredentialError::Refused(answer) }
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
        let answer: Answer = quick_xml::de::from_str(&answer).map_err(|_| {
            CredentialError::Refused("the answer of its token service is malformed".to_owned())
        })?;
        let Credentials { access_key_id, secret_access_key, session_token, expiration } =
            answer.result.credentials;
        let expiration: jiff::Timestamp = expiration.parse().map_err(|_| {
            CredentialError::Refused("the answer of its token service has no expiry".to_owned())
        })?;
        Ok(TemporaryCredentials {
            access_key_id,
            secret_access_key: Zeroizing::new(secret_access_key),
            session_token: Zeroizing::new(session_token),
            expiration: Timestamp::from_micros(expiration.as_microsecond()),
        })
    }
}

/// Returns the session policy, which limits the credentials to the grant.
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
    fn a_call_is_signed_with_its_body_and_host() {
        let settings = |key: &str| TokenSettings {
            endpoint: "https://sts.example:9000".to_owned(),
            region: "us-east-1".to_owned(),
            role: String::new(),
            keys: (key.to_owned(), Zeroizing::new("secret".to_owned())),
        };
        let service = TokenService::new(settings("key")).unwrap();
        let body = "Action=AssumeRole";
        let headers = service.client.sign(&Method::POST, &service.endpoint, form_headers(), body).unwrap();
        let authorization = headers["authorization"].to_str().unwrap();
        assert!(authorization.starts_with("AWS4-HMAC-SHA256 Credential=key/"), "{authorization}");
        assert!(
            authorization.contains("/us-east-1/sts/aws4_request, SignedHeaders=content-type;host;x-amz-"),
            "{authorization}"
        );
        let digest = hex::encode(<sha2::Sha256 as sha2::Digest>::digest("Action=AssumeRole"));
        assert_eq!(headers["x-amz-content-sha256"], digest);
        assert!(!headers.contains_key("host"), "the client sets it");
        assert!(TokenService::new(settings("k\ney")).is_err());
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
