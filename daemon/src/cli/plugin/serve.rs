//! `nowd plugin serve`: a shipped plugin in a process of its own, with the maps that the daemon has for it. Opens no link, and
//! no port or bus but those of its maps.

use std::sync::Arc;

use clap::{Args, ValueEnum};
use nowd_plugin::bus::BusAddress;
use nowd_plugin::service::{Service, ServiceError};
use nowd_plugin::{Method, Plugin};
use tracing::info;

use crate::cli::{Failure, Source};
use crate::exit::Exit;
use crate::log;
use crate::services::shipped;
use crate::setup::plugins;

#[derive(Debug, Args)]
pub(in crate::cli) struct Serve {
    /// Which
    #[arg(value_enum)]
    plugin: Shipped,
    #[command(flatten)]
    source: Source,
    /// The bus: `system`, `session`, or an address such as unix:path=/run/example/bus [default: `bus.address`]
    #[arg(long, value_name = "ADDRESS")]
    bus: Option<BusAddress>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Shipped {
    /// Maps with a [dbus] table
    Dbus,
    /// Maps with a [serial] or a [modbus] table
    Serial,
    /// Maps with a [simulator] table
    Simulator,
}

impl Shipped {
    const fn name(self) -> &'static str {
        match self {
            Self::Dbus => "dbus",
            Self::Serial => "serial",
            Self::Simulator => "simulator",
        }
    }
}

pub(super) fn run(serve: &Serve, extra: &[Arc<dyn Plugin>]) -> Result<(), Failure> {
    let Serve { plugin, source, bus } = serve;
    let mut files = source.load()?;
    // This process is where they are isolated.
    files.config.isolate.clear();
    let _lines = log::start(&files.config.log)?;
    // All maps are read, as the daemon does: a mistake is told by both, and safe actions may be another plugin's.
    let (all, registry) = plugins(&files, extra.to_vec())?;
    let of_maps = all.into_iter().skip(extra.len()).find(|found| found.name() == plugin.name());
    let Some(hosted) = of_maps else {
        let file = source.file();
        let folder = file.parent().map(|folder| folder.join("methods.d")).unwrap_or_default();
        let message = format!(
            "no map in {} is for the plugin {}, so there is nothing to serve; add one, or do not start this process",
            folder.display(),
            plugin.name()
        );
        return Err(Failure { message, exit: Exit::Config });
    };
    let methods = own_safe_actions(hosted.methods());
    let bus = bus.clone().unwrap_or(files.config.bus.address);
    let target = shipped(plugin.name(), bus);
    let service = Service::describing(hosted, &methods, target.bus, &target.name, &target.path)?;
    info!(
        version = env!("CARGO_PKG_VERSION"),
        plugin = plugin.name(),
        bus = service.bus().called(),
        methods = methods.len(),
        of = registry.methods().count(),
        "starting"
    );
    let served = service.run_until_signal();
    if let Err(ServiceError::NotAllowed { .. }) = &served {
        return Err(not_allowed(plugin.name(), service.bus(), service.name()));
    }
    Ok(served?)
}

/// The policy of shipped plugins is shipped, too.
fn not_allowed(plugin: &str, bus: &BusAddress, name: &str) -> Failure {
    let message = format!(
        "{} does not allow this user to own the name {name}; as shipped, only the user nowd-{plugin} may, by \
         /usr/share/dbus-1/system.d/io.nowd.Plugin.conf: start this as that user (`systemctl start nowd-plugin@{plugin}`), and \
         where the file or the user came after the bus, let it read its policy again (`systemctl reload dbus`)",
        bus.called()
    );
    Failure { message, exit: Exit::Config }
}

/// A plugin describes safe actions only of its own. The daemon knows all of them by the maps.
fn own_safe_actions(mut methods: Vec<Method>) -> Vec<Method> {
    let names: Vec<String> = methods.iter().map(|method| method.name.clone()).collect();
    for policy in methods.iter_mut().map(|method| &mut method.policy) {
        for action in [&mut policy.on_timeout, &mut policy.on_stop] {
            action.take_if(|target| !names.contains(target));
        }
    }
    methods
}

impl From<ServiceError> for Failure {
    fn from(e: ServiceError) -> Self {
        let exit = match &e {
            // Its methods come from maps.
            ServiceError::Description(_) | ServiceError::Address(_) | ServiceError::NotAllowed { .. } => {
                Exit::Config
            }
            ServiceError::NameTaken { .. } => Exit::Io,
            ServiceError::Name(_) | ServiceError::Path(_) | ServiceError::Start(_) => Exit::Internal,
        };
        Self { message: e.to_string(), exit }
    }
}
