//! What a plugin in a process of its own answers to a call.

use nowd_plugin::service::Answer;
use nowd_plugin::{Completion, Outcome};

use super::sentence;

/// `data` is status, outcome and response, between NULs.
pub(crate) fn check(data: &[u8]) {
    let mut parts = data.splitn(3, |byte| *byte == 0).map(std::str::from_utf8);
    let (Some(Ok(status)), Some(Ok(outcome)), Some(Ok(response))) =
        (parts.next(), parts.next(), parts.next())
    else {
        return;
    };
    let answer = Answer { status: status.into(), outcome: outcome.into(), response_json: response.into() };
    let (known, wrong) = match answer.completion() {
        Ok(known) => (known, None),
        Err((error, known)) => (known, Some(error)),
    };
    let said = match outcome {
        "executed" => Some(Outcome::Executed),
        "not_executed" => Some(Outcome::NotExecuted),
        "unknown" => Some(Outcome::Unknown),
        _ => None,
    };
    // Never better than what the plugin claims, nor than what is known.
    assert!(Some(known.outcome()) == said || known.outcome() == Outcome::Unknown, "{known:?}");
    if matches!(known, Completion::Ok(_)) {
        assert_eq!((status, said, &wrong), ("ok", Some(Outcome::Executed), &None));
    }
    if let Some(error) = wrong {
        sentence::check(&error);
        assert!(matches!(known, Completion::Failed { .. }), "{known:?}");
    }
    if let Completion::Failed { error, .. } | Completion::Refused(error) | Completion::Unavailable(error) =
        &known
    {
        let code = &error.code;
        assert!(!code.contains(char::is_control) && code.chars().count() <= 100, "{code:?}");
    }
    // What is handed on is said in the same words.
    assert_eq!(Answer::of(&known).completion(), Ok(known));
}
