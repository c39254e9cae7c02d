//! Refusals of both nuclei, and what is said of them.

use super::*;

#[test]
fn refusals_of_both_nuclei_are_understood() {
    for (model, payload, kind, said) in [
        (
            None,
            r#"{"_message":"IPC Operation not authorized.","_errorCode":"UnauthorizedError"}"#,
            RefusalKind::Unauthorized,
            "UnauthorizedError: IPC Operation not authorized",
        ),
        (
            None,
            r#"{"_message":"Key not found","_errorCode":"ResourceNotFoundError","resourceName":"x"}"#,
            RefusalKind::NotFound,
            "ResourceNotFoundError: Key not found",
        ),
        // Lite, for whatever it does not serve.
        (None, r#"{"_message":"","_errorCode":"ServiceError"}"#, RefusalKind::Service, "ServiceError"),
        // Classic.
        (
            None,
            r#"{ "error": "Unsupported Operation", "message": "aws.greengrass#X is an unsupported operation." }"#,
            RefusalKind::NotSupported,
            "Unsupported Operation: aws.greengrass#X is an unsupported operation",
        ),
        (Some("aws.greengrass#ConflictError"), "", RefusalKind::Conflict, "ConflictError"),
        (
            Some("aws.greengrass#InvalidArgumentError"),
            "[]",
            RefusalKind::InvalidArguments,
            "InvalidArgumentError",
        ),
        (None, "no json", RefusalKind::Other, "without a reason"),
        (None, r#"{"message": 7}"#, RefusalKind::Other, "without a reason"),
        (None, "{\"_message\":\"a\\u001b[2Jb\\n.\"}", RefusalKind::Other, "a [2Jb"),
    ] {
        let refusal = Refusal::read(model, payload.as_bytes());
        assert_eq!((refusal.kind, refusal.to_string().as_str()), (kind, said), "{payload}");
    }
}

#[test]
fn words_have_a_bound() {
    let long = format!(r#"{{"_message":"{}","_errorCode":"{}"}}"#, "m".repeat(9_000), "c".repeat(9_000));
    assert_eq!(Refusal::read(None, long.as_bytes()).to_string().len(), 602);
}
