//! What OpenAI's two wires have in common: the errors, and what their usage can say.
//!
//! Errors are <https://platform.openai.com/docs/guides/error-codes/api-errors>: `{"error": {message, type, param, code}}`. The usage
//! counts the cache's tokens among the prompt's, and has no word for those that were written to it.

use hyper::body::Bytes;
use serde_json::{Value, json};

use super::scenario::{Fault, Usage};

/// What the account's end says, word for word; clients look for it.
const QUOTA: &str = "You exceeded your current quota, please check your plan and billing details. For more information on this error, \
                     read the docs: https://platform.openai.com/docs/guides/error-codes/api-errors.";

/// Status and message of a fault that is an HTTP error.
pub fn fault(fault: &Fault) -> Option<(u16, String)> {
    match fault {
        Fault::Status(status) => {
            let message = status.message.clone().unwrap_or_else(|| default_message(status.code).into());
            Some((status.code, message))
        }
        Fault::ContextLength(length) => Some((
            400,
            format!(
                "This model's maximum context length is {} tokens. However, your messages resulted in {} tokens. Please reduce the \
                 length of the messages.",
                length.limit, length.tokens
            ),
        )),
        Fault::Credit(_) => Some((429, QUOTA.into())),
        Fault::Silence(_) | Fault::Close(_) => None,
    }
}

/// The body of an HTTP error.
pub fn error(status: u16, message: &str) -> Bytes {
    json!({"error": error_fields(status, message)}).to_string().into()
}

/// What stands in an error, in a body of its own and in the middle of a stream.
pub fn error_fields(status: u16, message: &str) -> Value {
    let (kind, code) = kind_and_code(status, message);
    json!({"message": message, "type": kind, "param": null, "code": code})
}

/// What it says when it is overloaded in mid-stream: status and message.
pub fn overloaded() -> (u16, &'static str) {
    (503, default_message(503))
}

/// The part of a usage that this wire can say: what was written to the cache is prompt like any other.
pub fn sayable(usage: Usage) -> Usage {
    Usage { input: usage.input + usage.cache_write, cache_write: 0, ..usage }
}

fn kind_and_code(status: u16, message: &str) -> (&'static str, Option<&'static str>) {
    match status {
        _ if message == QUOTA => ("insufficient_quota", Some("insufficient_quota")),
        400 if message.contains("maximum context length") => ("invalid_request_error", Some("context_length_exceeded")),
        401 => ("invalid_request_error", Some("invalid_api_key")),
        403 => ("invalid_request_error", Some("model_access_denied")),
        404 => ("invalid_request_error", Some("model_not_found")),
        429 => ("requests", Some("rate_limit_exceeded")),
        503 => ("server_error", Some("server_is_overloaded")),
        _ if status < 500 => ("invalid_request_error", None),
        _ => ("server_error", None),
    }
}

fn default_message(status: u16) -> &'static str {
    match status {
        401 => "Incorrect API key provided. You can find your API key at https://platform.openai.com/account/api-keys.",
        402 => "There is a problem with this account's billing.",
        403 => "This project does not have access to the model `{{model}}`.",
        404 => "The model `{{model}}` does not exist or you do not have access to it.",
        429 => "Rate limit reached for {{model}} on requests per min (RPM). Please try again later.",
        503 => "The server is currently overloaded with other requests. Please try again later.",
        529 => "Overloaded",
        _ if status < 500 => "The scripted model finds this request invalid.",
        _ => "The server had an error while processing your request.",
    }
}

#[cfg(test)]
mod tests {
    use super::super::scenario::{ContextLength, Credit};
    use super::*;

    fn error_of(given: &Fault) -> (u16, Value) {
        let (status, message) = fault(given).unwrap();
        let body: Value = serde_json::from_slice(&error(status, &message)).unwrap();
        (status, body["error"].clone())
    }

    #[test]
    fn no_money_and_a_long_prompt_have_codes_of_their_own() {
        let (status, error) = error_of(&Fault::Credit(Credit {}));
        assert_eq!((status, &error["type"], &error["code"]), (429, &json!("insufficient_quota"), &json!("insufficient_quota")));
        let (status, error) = error_of(&Fault::ContextLength(ContextLength { tokens: 250_000, limit: 128_000 }));
        assert_eq!((status, &error["code"]), (400, &json!("context_length_exceeded")));
        assert!(error["message"].as_str().unwrap().contains("128000 tokens. However, your messages resulted in 250000 tokens"));
    }

    #[test]
    fn each_status_has_its_code() {
        for (status, code) in [
            (400, Value::Null),
            (401, json!("invalid_api_key")),
            (404, json!("model_not_found")),
            (429, json!("rate_limit_exceeded")),
            (500, Value::Null),
        ] {
            assert_eq!(error_fields(status, "no")["code"], code, "{status}");
        }
    }
}
