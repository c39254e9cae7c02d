//! The function behind API Gateway: the same router as `nowd-cloud serve`, with one connection to AWS IoT Core that is
//! opened while the function is set up and kept between calls.
//!
//! It takes events of REST APIs, HTTP APIs and function URLs. Nobody is served whom IAM has not named: an API without IAM
//! authorisation must not move machines. An event is believed: who may invoke the function itself can ask in anybody's
//! name, so that right (`lambda:InvokeFunction`) is for the API alone. Of a function URL IAM does not see the path: who may
//! call it may call every method, unless `NOWD_POLICY` says otherwise. A panic ends its own request and nothing else.
//!
//! | setting | what it says | unless set |
//! |---|---|---|
//! | `NOWD_ENDPOINT` | the data endpoint of AWS IoT Core: `host` or `host:port` | must be set |
//! | `NOWD_CA` | a PEM file of the authorities that may vouch for it | the system's |
//! | `NOWD_CLIENT` | the beginning of client id and return address | `nowd-cloud` |
//! | `NOWD_DELIVERY` | `mqtt` publishes requests, `direct` sends Direct Messages | `mqtt` |
//! | `NOWD_KEEP_ALIVE` | how long the connection may be silent, `5s` to `20min`; AWS IoT Core takes `30s` or more | `20min` |
//! | `NOWD_DEFAULT_TIMEOUT` | the budget of a call that names none, such as `800ms` | `2s` |
//! | `NOWD_MAX_TIMEOUT` | the largest budget that a call may name, at most `29s` | `29s` |
//! | `NOWD_COMPAT` | `true` offers the public sample's `GET /invoke` too | `false` |
//! | `NOWD_TARGETS` | which gateways are served, such as `vehicle-*`: those that the function's role reaches | all |
//! | `NOWD_UNANNOUNCED` | which gateways are called though they have announced nothing, such as `line-*`: those behind a nucleus that keeps no presence | nobody |
//! | `NOWD_POLICY` | a policy file in the function's package or a layer | whom IAM lets through may do everything |
//! | `NOWD_BASE_PATH` | what a domain of one's own puts before the path, such as `/gateways` | nothing |
//! | `NOWD_LOG` | `off`, `error`, `warn`, `info`, `debug` or `trace` | `info` |
//! | `NOWD_ALLOW_ANONYMOUS` | `true` serves everybody: for emulators and tests | `false` |
//! | `AWS_REGION` | the region to sign for, where the endpoint's name does not hold it | set by Lambda |
//!
//! An empty value is none. A file's path is relative to the function's package.
//!
//! Times: a budget begins when API Gateway got the request, so that a cold start counts against it. The answer is there 100 ms
//! before the function's time is up, or API Gateway's 29 s. Setting up waits at most 3 s for the connection: calls are taken
//! without it, too, and wait for it within their budgets.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Response;
use futures_util::FutureExt as _;
use lambda_runtime::tower::ServiceExt as _;
use lambda_runtime::{Context, LambdaEvent, service_fn};
use nowd_protocol::Status;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::filter::{LevelFilter, Targets as LogTargets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use super::credentials::Aws;
use super::direct::Direct;
use super::emf::emf;
use super::websocket::WebSocket;
use crate::clock::{BootInstant, unix_ms_at, until};
use crate::http::{AnswerBy, Caller, RouterOptions, Targets, refuse, router};
use crate::invoker::{Config, ConfigError, Delivery, Invoker, Unannounced};
use crate::record::Recorder;

mod event;
mod reply;
mod settings;
mod times;
mod trace;

pub use settings::SettingError;

use event::{Asked, Event, NotHttp};
use reply::Reply;
use settings::{DeliveryBy, Settings};
use times::times;

/// How long setting up waits for the connection. Lambda allows 10 s in all.
const CONNECTED_WITHIN: Duration = Duration::from_secs(3);

/// Why the function ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LambdaError {
    /// Not under Lambda.
    #[error(
        "{name} is not set: this program is for AWS Lambda and its emulators; elsewhere there is `nowd-cloud serve`"
    )]
    NotLambda {
        /// What Lambda sets.
        name: &'static str,
    },
    /// Under `SnapStart`.
    #[error(
        "SnapStart is on: each copy of this environment would have the same return address and MQTT client id, and end the \
         others' connections; turn it off for this function"
    )]
    SnapStart,
    /// A setting is wrong.
    #[error(transparent)]
    Setting(#[from] SettingError),
    /// The invoker cannot be set up.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The work behind the calls is over.
    #[error("the work behind the calls ended, which is a bug")]
    Background,
    /// Lambda's runtime interface failed.
    #[error("Lambda's runtime interface failed")]
    Runtime {
        /// What it said.
        #[source]
        source: lambda_runtime::Error,
    },
}

/// Serves until the environment ends. Sets up logging for the whole process.
pub async fn run() -> Result<(), LambdaError> {
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    let settings = Settings::know(names).and_then(|()| Settings::read(|name| std::env::var(name).ok()));
    log_to_stdout(settings.as_ref().map_or(LevelFilter::INFO, |settings| settings.log));
    // What Lambda says of itself, and its library takes for granted.
    for name in [
        "AWS_LAMBDA_RUNTIME_API",
        "AWS_LAMBDA_FUNCTION_NAME",
        "AWS_LAMBDA_FUNCTION_VERSION",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
    ] {
        if std::env::var_os(name).is_none() {
            return Err(LambdaError::NotLambda { name });
        }
    }
    if std::env::var_os("AWS_LAMBDA_INITIALIZATION_TYPE").is_some_and(|how| how == "snap-start") {
        return Err(LambdaError::SnapStart);
    }
    let settings = settings?;
    let began = BootInstant::now();
    let mut tasks = JoinSet::new();
    let function = Arc::new(Function::start(settings, &mut tasks).await?);
    if until(began.saturating_add(CONNECTED_WITHIN), function.invoker.connected()).await.is_none() {
        tracing::warn!("not connected yet; calls are taken, and wait for the connection");
    }
    tracing::info!(
        took_ms = u64::try_from(BootInstant::now().saturating_since(began).as_millis()).unwrap_or(u64::MAX),
        client = %function.invoker.client(),
        "set up"
    );
    let serve = lambda_runtime::run_concurrent(service_fn(move |event| serve(Arc::clone(&function), event)));
    tokio::select! {
        ended = serve => ended.map_err(|source| LambdaError::Runtime { source }),
        _ = tasks.join_next() => Err(LambdaError::Background),
    }
}

/// JSON, a line for each. Only our own lines can be had in full: at their finest, those of libraries hold signed URLs and
/// events.
fn log_to_stdout(level: LevelFilter) {
    let lines = tracing_subscriber::fmt::layer().json().flatten_event(true).with_writer(std::io::stdout);
    let ours = ["nowd_cloud", "nowd_lambda", "nowd_link"].map(|target| (target, level));
    let which = LogTargets::new().with_default(level.min(LevelFilter::WARN)).with_targets(ours);
    // There is one already where a test has set one.
    drop(tracing_subscriber::registry().with(which).with(lines).try_init());
}

/// What all requests share.
struct Function {
    invoker: Invoker,
    router: Router,
    recorder: Recorder,
    base_path: String,
    allow_anonymous: bool,
}

impl Function {
    async fn start(settings: Settings, tasks: &mut JoinSet<()>) -> Result<Self, LambdaError> {
        if settings.allow_anonymous {
            tracing::warn!(
                "NOWD_ALLOW_ANONYMOUS is set: everybody who reaches this function may call every method"
            );
        }
        let access = settings.access()?;
        let aws = Arc::new(Aws::load(None).await);
        let config = Config {
            dial: Arc::new(WebSocket::new(Arc::clone(&aws))),
            delivery: delivery(&settings, &aws).await?,
            freezes: true,
            unannounced: settings.unannounced.as_deref().map_or_else(Unannounced::default, Unannounced::like),
            ..Config::new(settings.link()?, settings.client.clone())
        };
        let (invoker, background) = Invoker::new(config)?;
        tasks.spawn(background.run(CancellationToken::new()));
        let recorder =
            emf(std::env::var("AWS_LAMBDA_FUNCTION_NAME").unwrap_or_else(|_| "nowd-lambda".to_owned()));
        let options = RouterOptions {
            default_timeout: settings.default_timeout,
            max_timeout: settings.max_timeout,
            compat: settings.compat,
            access,
            targets: settings.targets.as_deref().map_or_else(Targets::default, Targets::like),
            recorder: Some(Arc::clone(&recorder)),
        };
        let router = router(invoker.clone(), options);
        let Settings { base_path, allow_anonymous, .. } = settings;
        Ok(Self { invoker, router, recorder, base_path, allow_anonymous })
    }
}

/// How requests are delivered.
async fn delivery(settings: &Settings, aws: &Aws) -> Result<Delivery, SettingError> {
    match settings.delivery {
        DeliveryBy::Mqtt => Ok(Delivery::Mqtt),
        DeliveryBy::Direct => {
            let (sdk, endpoint) = (aws.sdk_config().await, settings.authority());
            let direct = Direct::new(&sdk, &endpoint, settings.ca.as_deref());
            Ok(Delivery::Direct(Arc::new(direct.map_err(|source| SettingError::Direct { source })?)))
        }
    }
}

async fn serve(function: Arc<Function>, event: LambdaEvent<Event>) -> Result<Reply, NotHttp> {
    let LambdaEvent { payload, context } = event;
    let asked = payload.asked()?;
    let format = asked.format;
    let answer = AssertUnwindSafe(answer(&function, payload, asked, &context)).catch_unwind();
    let response = answer.await.unwrap_or_else(|_| {
        // What the panic said is in the log already.
        tracing::error!(request = %context.request_id, "a request ended in a panic; this is a bug");
        let message = "nowd failed inside, which is a bug; the call may have run";
        refuse(Status::Internal, message, None, &function.recorder)
    });
    Ok(Reply::new(format, response).await)
}

async fn answer(function: &Function, event: Event, asked: Asked, context: &Context) -> Response<Body> {
    let now = BootInstant::now();
    if asked.caller.is_none() && !function.allow_anonymous {
        let message = "IAM has not said who asks; the API must authorise with IAM (AWS_IAM), and the request be signed; \
                       nothing was sent";
        tracing::warn!("a request was refused that IAM has not authorised; check the API");
        return refuse(Status::Forbidden, message, None, &function.recorder);
    }
    let mut request = match event.request(&function.base_path) {
        Ok(request) => request,
        Err(problem_is) => {
            let message = format!("{problem_is}; nothing was sent");
            return refuse(Status::InvalidRequest, &message, asked.caller, &function.recorder);
        }
    };
    trace::complete(request.headers_mut(), context.xray_trace_id.as_deref());
    let times = times(now, unix_ms_at(now), asked.at, context.deadline);
    let extensions = request.extensions_mut();
    extensions.insert(times.arrived);
    extensions.insert(AnswerBy(times.answer_by));
    if let Some(caller) = asked.caller {
        extensions.insert(Caller(caller));
    }
    let response = function.router.clone().oneshot(request).await;
    response.unwrap_or_else(|never| match never {})
}

#[cfg(test)]
mod tests;
