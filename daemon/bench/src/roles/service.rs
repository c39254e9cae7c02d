//! A service on D-Bus: the bare call is made to it, and the gateway's too.

use std::future::pending;

use zbus::interface;

struct Bench;

#[interface(name = "com.example.Bench1")]
impl Bench {
    /// Gives back what it is given.
    #[expect(clippy::unused_self, reason = "what a method on the bus looks like")]
    fn set(&self, number: u32) -> u32 {
        number
    }
}

/// Says `ready` when it is on the bus.
pub(super) async fn run(bus: String) -> anyhow::Result<()> {
    let _service = zbus::connection::Builder::address(bus.as_str())
        .serve_at("/com/example/bench", Bench)
        .name("com.example.Bench")
        .build()
        .await?;
    println!("ready");
    pending().await
}
