use axum::routing::get;
use nowd_link::Options;
use nowd_protocol::Level;
use serde_json::{Value, json};

use super::event::Format;
use super::*;
use crate::http::Arrived;

fn event(path: &str) -> LambdaEvent<Event> {
    let payload = json!({
        "path": path,
        "httpMethod": "GET",
        "requestContext": { "identity": { "userArn": "arn:ann" } }
    });
    LambdaEvent::new(serde_json::from_value(payload).unwrap(), Context::default())
}

fn function(router: Router) -> Arc<Function> {
    let config = Config::new(Options::new("", "127.0.0.1", 1), Level::new("c").unwrap());
    let (invoker, _) = Invoker::new(config).unwrap();
    let recorder: Recorder = Arc::new(|_| ());
    Arc::new(Function { invoker, router, recorder, base_path: String::new(), allow_anonymous: false })
}

async fn answer_of(function: &Arc<Function>, path: &str) -> (u64, Value) {
    let reply = serve(Arc::clone(function), event(path)).await.unwrap();
    let reply = serde_json::to_value(reply).unwrap();
    assert_eq!(reply["isBase64Encoded"], false);
    let body = reply["body"].as_str().unwrap();
    (reply["statusCode"].as_u64().unwrap(), serde_json::from_str(body).unwrap_or_else(|_| body.into()))
}

#[tokio::test]
async fn a_panic_ends_its_own_request_and_nothing_else() {
    let panics = || async {
        assert!(std::hint::black_box(false), "as the test wants");
    };
    let router = Router::new().route("/panics", get(panics)).route("/works", get(|| async { "works" }));
    let function = function(router);
    for _ in 0..2 {
        let (status, body) = answer_of(&function, "/panics").await;
        assert_eq!((status, &body["outcome"], &body["code"]), (500, &json!("unknown"), &json!("internal")));
        assert_eq!(answer_of(&function, "/works").await, (200, "works".into()));
    }
}

#[tokio::test]
async fn the_router_learns_who_asks_and_how_long_there_is() {
    let seen = |request: axum::extract::Request| async move {
        let extensions = request.extensions();
        let Caller(caller) = extensions.get::<Caller>().unwrap();
        let AnswerBy(by) = extensions.get::<AnswerBy>().unwrap();
        let arrived = extensions.get::<Arrived>().unwrap();
        assert_eq!(by.saturating_since(arrived.at), Duration::from_millis(28_900));
        caller.clone()
    };
    let function = function(Router::new().route("/", get(seen)));
    assert_eq!(answer_of(&function, "/").await, (200, "arn:ann".into()));
}

#[tokio::test]
async fn each_format_has_its_answer() {
    let response = || {
        let builder = Response::builder().status(422).header("a", "1").header("a", "2").header("b", "3");
        builder.body(Body::from("{}")).unwrap()
    };
    let rest = serde_json::to_value(Reply::new(Format::One, response()).await).unwrap();
    let expected = json!({
        "statusCode": 422, "headers": {}, "multiValueHeaders": { "a": ["1", "2"], "b": ["3"] },
        "body": "{}", "isBase64Encoded": false
    });
    assert_eq!(rest, expected);
    let http = serde_json::to_value(Reply::new(Format::Two, response()).await).unwrap();
    let expected = json!({
        "statusCode": 422, "headers": { "a": "1, 2", "b": "3" }, "multiValueHeaders": {},
        "body": "{}", "isBase64Encoded": false, "cookies": []
    });
    assert_eq!(http, expected);
    let bytes = Reply::new(Format::Two, Response::new(Body::from(vec![0xff, 0]))).await;
    let bytes = serde_json::to_value(bytes).unwrap();
    assert_eq!((&bytes["body"], &bytes["isBase64Encoded"]), (&json!("/wA="), &json!(true)));
}
