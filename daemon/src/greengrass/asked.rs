//! What was deployed, asked for once: for the recipe's `install` step, while a gateway of before may still run.
//!
//! It subscribes to nothing: the classic nucleus has one place for each component that wants to be asked before a deployment,
//! and that is the gateway's.

use std::time::Duration;

use nowd_greengrass::{Connection, Environment, Options};
use tokio::runtime::Builder;
use tracing::debug;

use super::document::{Deployed, Nucleus};
use super::keeper::whole;

/// The nucleus may take so long in all. A step has 120 s where nothing is said.
const WITHIN: Duration = Duration::from_secs(15);

/// Nothing where the nucleus cannot be asked. Blocks for 15 s at most.
pub(crate) fn ask(environment: &Environment) -> Option<Deployed> {
    let runtime = Builder::new_current_thread().enable_all().build().ok()?;
    let deployed = runtime.block_on(async {
        tokio::select! {
            deployed = everything(environment) => deployed,
            () = tokio::time::sleep(WITHIN) => None,
        }
    });
    runtime.shutdown_background();
    deployed
}

async fn everything(environment: &Environment) -> Option<Deployed> {
    let mut options = Options::from(environment);
    options.open_timeout = WITHIN;
    options.answer_timeout = WITHIN;
    let mut connection = match Connection::open(&options).await {
        Ok(connection) => connection,
        Err(e) => {
            debug!("the nucleus cannot be asked: {e}");
            return None;
        }
    };
    let client = connection.client();
    let asking = async {
        let own = whole(&client, None).await.ok()?.unwrap_or_default();
        let nucleus = Nucleus { thing_name: environment.thing_name.clone(), ..Nucleus::default() };
        let mut deployed = Deployed { nucleus, ..Deployed::default() }.with_component(own);
        for name in deployed.names().unwrap_or_default() {
            if let Ok(Some(configuration)) = whole(&client, Some(&name)).await {
                deployed.add_component(&name, configuration);
            }
        }
        Some(deployed)
    };
    tokio::select! {
        deployed = asking => deployed,
        // Nothing comes, since nothing was subscribed to; or the connection has ended.
        _ = connection.next() => None,
    }
}
