//! The function behind API Gateway, as AWS Lambda starts it.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    match nowd_cloud::aws::lambda::run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report(&error);
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stderr, reason = "the last word of a program that cannot go on is for its log")]
fn report(error: &dyn std::error::Error) {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    eprintln!("error: {text}");
}
