//! The interface's description is what it was, or somebody has looked at the difference.

use axum::body::{Body, to_bytes};
use axum::http::Request;
use nowd_cloud::{Config, Invoker, RouterOptions, router};
use nowd_link::Options;
use nowd_protocol::Status;
use serde_json::Value;
use tower::ServiceExt as _;

use crate::gateway::level;

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json");

async fn served(options: RouterOptions) -> String {
    let config = Config::new(Options::new("", "127.0.0.1", 1), level("cloud"));
    let (invoker, _background) = Invoker::new(config).unwrap();
    let request = Request::builder().uri("/openapi.json").body(Body::empty()).unwrap();
    let response = router(invoker, options).oneshot(request).await.unwrap();
    assert_eq!(
        (response.status().as_u16(), &response.headers()["content-type"]),
        (200, &"application/json".parse().unwrap())
    );
    String::from_utf8(to_bytes(response.into_body(), usize::MAX).await.unwrap().to_vec()).unwrap()
}

#[tokio::test]
async fn the_description_is_the_golden_one() {
    let found = served(RouterOptions { compat: true, ..RouterOptions::default() }).await;
    if std::env::var_os("NOWD_GOLDEN").is_some_and(|value| value == "write") {
        std::fs::write(GOLDEN, &found).unwrap();
    }
    let expected = std::fs::read_to_string(GOLDEN).unwrap_or_default();
    assert_eq!(found, expected, "{GOLDEN}: NOWD_GOLDEN=write writes what is described now");
}

#[tokio::test]
async fn it_describes_what_is_there() {
    let options =
        RouterOptions { max_timeout: std::time::Duration::from_secs(7), ..RouterOptions::default() };
    let plain: Value = serde_json::from_str(&served(options).await).unwrap();
    assert_eq!(plain["openapi"], "3.1.0");
    assert!(plain["paths"].get("/invoke").is_none() && plain["paths"].get("/things/{target}").is_some());
    let call = &plain["paths"]["/things/{target}/methods/{method}"]["post"];
    let timeout = call["parameters"].as_array().unwrap().iter().find(|p| p["name"] == "timeout").unwrap();
    assert_eq!((&timeout["schema"]["maximum"], &timeout["schema"]["minimum"]), (&7_000.into(), &1.into()));
    for status in Status::ALL {
        let described = call["responses"][status.http().to_string()]["description"].as_str().unwrap();
        assert!(described.contains(&format!("`{}`", status.as_str())), "{described}");
    }
}

/// For those that make clients of it.
#[tokio::test]
async fn a_generator_can_read_it() {
    let text = served(RouterOptions { compat: true, ..RouterOptions::default() }).await;
    let patterns: Vec<&str> = text.lines().filter(|line| line.contains("\"pattern\":")).collect();
    assert!(patterns.len() >= 3, "{patterns:?}");
    assert!(
        patterns.iter().all(|pattern| !pattern.contains("(?") && !pattern.contains("\\\\u")),
        "{patterns:?}"
    );

    let described: Value = serde_json::from_str(&text).unwrap();
    let scheme = &described["components"]["securitySchemes"]["sigv4"];
    assert_eq!((&scheme["type"], &scheme["in"]), (&"apiKey".into(), &"header".into()));
    assert_eq!(scheme["x-amazon-apigateway-authtype"], "awsSigv4");
    // Signed, or not at all.
    assert_eq!(described["security"], serde_json::json!([{ "sigv4": [] }, {}]));
    assert_eq!(described["servers"][0]["url"], "/");
}
